//! Operations on confirmations: what waits for the caller, and deciding it out of band.

use std::sync::Arc;

use gateway_core::decision::Approver;
use gateway_core::ids::ConfirmationId;
use gateway_core::reason::Reason;
use gateway_store::confirmation::{Confirmation, ConfirmationStatus, Listed};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::run::{Page, Run, page_limit};
use super::{Change, answer, rfc3339, sensitive};
use crate::confirmations::{Decided, Settled, Via, action, concerns, names, speaks_for};
use crate::perform::{About, Answer, Face, Planned, Refused};

/// Of `list_confirmations`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListConfirmations {
    /// Rows per page, 1 to 200; 50 if absent.
    #[serde(default)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// Of `get_confirmation`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetConfirmation {
    /// The confirmation's id, from `list_confirmations` or the call that waits.
    pub id: String,
}

/// Of `decide_confirmation`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DecideConfirmation {
    /// The confirmation's id, from `list_confirmations` or the call that waits.
    pub id: String,
    /// true: the call may pass once; false: it may not.
    pub approve: bool,
    /// Must be the boolean true; otherwise nothing changes and the answer shows what would.
    #[serde(default)]
    pub confirm: Option<bool>,
}

/// A call that waits for people.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ConfirmationRow {
    /// Its id.
    pub id: String,
    /// Who made the call.
    pub requested_by: String,
    /// The server's slug.
    pub server: String,
    /// What is called, as `tool:NAME`.
    pub target: String,
    /// The call's arguments, JSON text.
    pub arguments: Option<String>,
    /// True when the arguments are not for you: the server is sensitive.
    pub withheld: bool,
    /// What the rule says about it.
    pub message: String,
    /// The rules that ask for it.
    pub policy_ids: Vec<String>,
    /// Everybody who must agree.
    pub approvers: Vec<String>,
    /// Who agreed already.
    pub agreed: Vec<String>,
    /// True for your own call.
    pub own: bool,
    /// True when your decision counts here.
    pub yours_to_decide: bool,
    /// `pending`, `agreed`, `declined`, `used` or `expired`.
    pub status: &'static str,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339; from then on an agreement is worth nothing.
    pub expires_at: String,
}

/// What a decision led to.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Decision {
    /// The confirmation's id.
    pub id: String,
    /// `agreed`, `declined`, or `pending` while others must agree too.
    pub status: &'static str,
    /// Who must still agree.
    pub waiting_for: Vec<String>,
}

impl ListConfirmations {
    pub(crate) async fn answer(self, run: &Run<'_>) -> Result<Answer, Refused> {
        run.authorize(true)?;
        let limit = page_limit(self.limit)?;
        let before = match self.cursor.as_deref() {
            Some(cursor) => Some(read_id(&run.open_cursor(cursor)?)?),
            None => None,
        };
        let everybody = run.may(false);
        let listed = Listed {
            viewer: (!everybody).then(|| run.user()),
            pending_only: true,
            now: run.governance.clock().now(),
            before,
            limit: u16::try_from(limit + 1).unwrap_or(u16::MAX),
        };
        let found = run.governance.store.list_confirmations(listed).await;
        let mut found = found.map_err(Refused::store)?;
        let more = found.len() > limit as usize;
        found.truncate(limit as usize);
        let last = found.last().filter(|_| more).map(|last| last.id.to_string());
        let next_cursor = last.map(|last| run.seal_cursor(&last));
        let shown = found.iter().filter(|found| everybody || concerns(run.user(), found));
        answer(&Page { data: shown.map(|found| row(run, found)).collect(), next_cursor })
    }
}

impl GetConfirmation {
    pub(crate) async fn answer(self, run: &Run<'_>) -> Result<Answer, Refused> {
        run.authorize(true)?;
        answer(&row(run, &find(run, &self.id).await?))
    }
}

impl DecideConfirmation {
    pub(crate) async fn plan(self, run: &Run<'_>) -> Result<Planned, Refused> {
        run.authorize(true)?;
        let found = find(run, &self.id).await?;
        let id = found.id;
        let own = found.user == run.user().id;
        if own && run.origin.face == Face::Tools {
            let detail = "a tool cannot agree to your own call: answer your client's question, or decide \
                          it yourself at /confirmations/ and its id, in a browser";
            return Err(Refused::new(Reason::RoleMissing, detail));
        }
        if speaks_for(run.user(), &found, Via::OutOfBand).is_empty() {
            let detail = format!("{} must decide this, not you", names(&found.approvers));
            return Err(Refused::new(Reason::RoleMissing, detail));
        }
        let status = found.status_at(run.governance.clock().now());
        if status != ConfirmationStatus::Pending {
            let detail = format!("it is over: {}", status.as_str());
            return Err(Refused::new(Reason::ConfirmationExpired, detail));
        }
        Ok(Planned {
            action: action(self.approve),
            about: About {
                kind: Some("confirmation"),
                name: Some(id.to_string()),
                server: run.snapshot.server_by_id(found.server).map(Arc::clone),
            },
            confirmed: self.confirm == Some(true),
            before: json!({"confirmation": row(run, &found)}),
            after: json!({"decision": if self.approve { "agreed" } else { "declined" }}),
            change: Change::Confirmation { id, approve: self.approve },
        })
    }
}

/// Notes the decision.
pub(super) async fn decide(
    run: &Run<'_>,
    id: ConfirmationId,
    approve: bool,
) -> Result<Answer, Refused> {
    let confirmations = run.governance.confirmations();
    let (decided, _) = confirmations.answer(run.user(), id, approve, Via::OutOfBand).await?;
    let (status, waiting_for) = match decided {
        Decided::Settled(Settled::Agreed) => ("agreed", vec![]),
        Decided::Settled(Settled::Declined) => ("declined", vec![]),
        Decided::Settled(Settled::Expired) => ("expired", vec![]),
        Decided::Waiting(others) => ("pending", others),
    };
    let waiting_for = waiting_for.into_iter().map(String::from).collect();
    answer(&Decision { id: id.to_string(), status, waiting_for })
}

/// The confirmation, if the caller may know of it.
async fn find(run: &Run<'_>, id: &str) -> Result<Confirmation, Refused> {
    let found = run.governance.store.get_confirmation(read_id(id)?).await;
    let found = found.map_err(Refused::store)?;
    found.filter(|found| run.may(false) || concerns(run.user(), found)).ok_or_else(absent)
}

fn read_id(text: &str) -> Result<ConfirmationId, Refused> {
    text.parse().map_err(|_| absent())
}

fn absent() -> Refused {
    Refused::new(Reason::EntityNotFound, "no such confirmation, or it is not yours to decide")
}

fn row(run: &Run<'_>, found: &Confirmation) -> ConfirmationRow {
    let approver = |approver: &Approver| String::from(approver.clone());
    let decides = !speaks_for(run.user(), found, Via::OutOfBand).is_empty();
    // Whoever is to agree sees to what.
    let withheld = !decides && sensitive::is_withheld(run, Some(found.server), None);
    ConfirmationRow {
        id: found.id.to_string(),
        requested_by: found.user_email.clone(),
        server: found.server_slug.clone(),
        target: found.tool.clone(),
        arguments: found.arguments.clone().filter(|_| !withheld),
        withheld,
        message: found.message.clone(),
        policy_ids: found.policies.iter().map(ToString::to_string).collect(),
        approvers: found.approvers.iter().map(approver).collect(),
        agreed: found.answers.iter().filter(|a| a.approve).map(|a| a.email.clone()).collect(),
        own: found.user == run.user().id,
        yours_to_decide: decides,
        status: found.status_at(run.governance.clock().now()).as_str(),
        created_at: rfc3339(found.created_at),
        expires_at: rfc3339(found.expires_at),
    }
}
