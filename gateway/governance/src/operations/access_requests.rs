//! Operations on requests for access: asking, seeing, withdrawing; deciding is in `decide`.
//!
//! A server may be named whether or not there is one, and the answer is the same: asking tells nobody what
//! exists. Whoever decides sees whether it does.

mod decide;
mod duration;

use std::sync::Arc;

use gateway_core::caller::{PrincipalKind, User};
use gateway_core::ids::{AccessRequestId, ServerId, Slug};
use gateway_core::reason::Reason;
use gateway_core::record::ActionType;
use gateway_core::server::Server;
use gateway_store::access_request::{AccessRequest, AccessRequestStatus, Listed, Opened};
use policies::{Stance, hidden_character};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

pub(super) use decide::decide;
pub use decide::{DecideAccessRequest, Ruling};

use super::run::{Page, Run, page_limit};
use super::{Change, Step, answer, rfc3339};
use crate::perform::{About, Answer, Planned, Refused};

/// Most open requests of one principal.
const MOST_OPEN: i64 = 20;
/// Most tools of one request.
const MOST_TOOLS: usize = 100;
/// Longest name of a tool, in bytes.
const LONGEST_TOOL: usize = 128;
/// Longest reason or note, in characters.
const LONGEST_TEXT: usize = 1000;

/// Of `request_access`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestAccess {
    /// The server's slug or id.
    pub server_id: String,
    /// Names of tools; everything on the server if absent.
    #[serde(default)]
    pub tools: Option<Vec<String>>,
    /// Why you need it, for whoever decides.
    pub reason: String,
    /// For how long, such as 8h or 7d.
    #[serde(default)]
    pub duration: Option<String>,
    /// Must be the boolean true; otherwise nothing changes and the answer shows what would.
    #[serde(default)]
    pub confirm: Option<bool>,
}

/// Of `list_access_requests`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListAccessRequests {
    /// Only those that are this.
    #[serde(default)]
    pub status: Option<Status>,
    /// Only those for this server, by slug or id.
    #[serde(default)]
    pub server_id: Option<String>,
    /// Rows per page, 1 to 200; 50 if absent.
    #[serde(default)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// Of `cancel_access_request`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelAccessRequest {
    /// From `list_access_requests`.
    pub id: String,
    /// Must be the boolean true; otherwise nothing changes and the answer shows what would.
    #[serde(default)]
    pub confirm: Option<bool>,
}

/// How far a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Status {
    Pending,
    Approved,
    Rejected,
    Cancelled,
    Expired,
}

impl From<Status> for AccessRequestStatus {
    fn from(status: Status) -> AccessRequestStatus {
        match status {
            Status::Pending => AccessRequestStatus::Pending,
            Status::Approved => AccessRequestStatus::Approved,
            Status::Rejected => AccessRequestStatus::Rejected,
            Status::Cancelled => AccessRequestStatus::Cancelled,
            Status::Expired => AccessRequestStatus::Expired,
        }
    }
}

/// A request for access.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct AccessRequestRow {
    /// Its id, and that of the policy that an approval makes.
    pub id: String,
    /// For whom: `user:EMAIL` or `agent:NAME`.
    pub principal: String,
    /// As it was asked for.
    pub server: String,
    /// Null: everything on the server.
    pub tools: Option<Vec<String>>,
    /// In the words of whoever asked.
    pub reason: String,
    /// For how long.
    pub duration: Option<String>,
    /// `pending`, `approved`, `rejected`, `cancelled` or `expired`.
    pub status: &'static str,
    /// True while its policy is there.
    pub in_force: bool,
    /// True when your decision counts.
    pub yours_to_decide: bool,
    /// RFC 3339.
    pub created_at: String,
    /// Who decided.
    pub decided_by: Option<String>,
    /// What they said.
    pub note: Option<String>,
    /// When the access ends, RFC 3339.
    pub expires_at: Option<String>,
}

impl RequestAccess {
    /// The same that is open already is given back: nothing changes, and nothing has to be confirmed.
    pub(crate) async fn step(self, run: &Run<'_>) -> Result<Step, Refused> {
        run.authorize(true)?;
        let new = self.read(run)?;
        let open = run.governance.store.open_request_like(&new).await.map_err(Refused::store)?;
        if let Some(open) = open {
            return Ok(Step::Answer(known(run, &open)?));
        }
        Ok(Step::change(Planned {
            action: ActionType::AccessRequestCreated,
            about: about(run, &new),
            confirmed: self.confirm == Some(true),
            before: Value::Null,
            after: json!({"access_request": row(run, &new)}),
            change: Change::NewAccessRequest(Box::new(new)),
        }))
    }

    fn read(&self, run: &Run<'_>) -> Result<AccessRequest, Refused> {
        let (server, server_id) = server(run, &self.server_id)?;
        let now = run.governance.clock().now();
        let user = run.user();
        let principal = match user.kind {
            PrincipalKind::Person => format!("user:{}", user.email),
            PrincipalKind::Agent => format!("agent:{}", user.name),
        };
        let person = run.snapshot.person_behind(&run.caller).ok_or_else(|| {
            Refused::new(Reason::EntityNotFound, "nobody answers for this agent account")
        })?;
        let seconds = self.duration.as_deref().map(duration::read("duration")).transpose()?;
        Ok(AccessRequest {
            id: AccessRequestId(run.governance.next_id(now)),
            principal_id: user.id,
            principal,
            person,
            server,
            server_id,
            tools: tools(self.tools.as_deref())?,
            reason: text("reason", &self.reason)?,
            seconds: seconds.map(time::Duration::whole_seconds),
            status: AccessRequestStatus::Pending,
            created_at: now,
            decided_at: None,
            decider: None,
            note: None,
            expires_at: None,
        })
    }
}

/// Stores a request.
pub(super) async fn open(run: &Run<'_>, new: AccessRequest) -> Result<Answer, Refused> {
    let notices = run.governance.notices.of_request(&run.snapshot, &new);
    let opened = run.governance.store.open_access_request(&new, MOST_OPEN, &notices).await;
    match opened.map_err(Refused::store)? {
        Opened::New => {
            run.governance.notices.wake();
            answer(&row(run, &new))
        }
        Opened::Known(open) => known(run, &open),
        Opened::TooMany => Err(Refused::new(
            Reason::TooManyOpen,
            format!(
                "{MOST_OPEN} of your requests are open: withdraw one with cancel_access_request (their ids: \
                 list_access_requests with status pending), or wait until somebody decides"
            ),
        )),
    }
}

fn known(run: &Run<'_>, open: &AccessRequest) -> Result<Answer, Refused> {
    let note = "You have asked for this before, and nobody has decided yet.";
    Ok(Answer { note: Some(note.into()), ..answer(&row(run, open))? })
}

impl ListAccessRequests {
    pub(crate) async fn answer(self, run: &Run<'_>) -> Result<Answer, Refused> {
        run.authorize(true)?;
        let limit = page_limit(self.limit)?;
        let before = match self.cursor.as_deref() {
            Some(cursor) => Some(read_id(&run.open_cursor(cursor)?)?),
            None => None,
        };
        let everybody = run.may(false);
        let administered: Vec<ServerId> =
            run.snapshot.servers.iter().filter(|s| run.administers(s)).map(|s| s.id).collect();
        let server = self.server_id.as_deref().map(|name| server(run, name)).transpose()?;
        // By name and id alike only for those who know which is which.
        let known = |id: &ServerId| {
            let server = run.snapshot.server_by_id(*id);
            everybody || server.is_some_and(|s| run.administers(s) || run.may_enter(s))
        };
        let listed = Listed {
            viewer: (!everybody).then_some((run.user().id, administered.as_slice())),
            status: self.status.map(AccessRequestStatus::from),
            server: server.as_ref().map(|(name, id)| (id.filter(known), name.as_str())),
            now: run.governance.clock().now(),
            before,
            limit: u16::try_from(limit + 1).unwrap_or(u16::MAX),
        };
        let found = run.governance.store.list_access_requests(listed).await;
        let mut found = found.map_err(Refused::store)?;
        let more = found.len() > limit as usize;
        found.truncate(limit as usize);
        let last = found.last().filter(|_| more).map(|last| last.id.to_string());
        let next_cursor = last.map(|last| run.seal_cursor(&last));
        answer(&Page { data: found.iter().map(|found| row(run, found)).collect(), next_cursor })
    }
}

impl CancelAccessRequest {
    pub(crate) async fn plan(self, run: &Run<'_>) -> Result<Planned, Refused> {
        let found = run.governance.store.get_access_request(read_id(&self.id)?).await;
        let found = found.map_err(Refused::store)?;
        let found = found.filter(|found| run.may(is_own(run, run.user(), found)));
        let found = found.ok_or_else(absent)?;
        must_be_open(run, &found)?;
        Ok(Planned {
            action: ActionType::AccessRequestCancelled,
            about: about(run, &found),
            confirmed: self.confirm == Some(true),
            before: json!({"access_request": row(run, &found)}),
            after: json!({"status": "cancelled"}),
            change: Change::CancelAccessRequest(Box::new(found)),
        })
    }
}

/// Withdraws a request.
pub(super) async fn cancel(run: &Run<'_>, mut found: AccessRequest) -> Result<Answer, Refused> {
    let now = run.governance.clock().now();
    found.status = AccessRequestStatus::Cancelled;
    let notices = run.governance.notices.of_request(&run.snapshot, &found);
    let done = run.governance.store.cancel_access_request(found.id, now, &notices).await;
    if !done.map_err(Refused::store)? {
        return Err(Refused::new(Reason::Conflict, "it was decided meanwhile"));
    }
    run.governance.notices.wake();
    answer(&row(run, &found))
}

/// The server's name as it is kept, and which one that is. The slug replaces an id only for those who may
/// know that they belong together.
fn server(run: &Run<'_>, name: &str) -> Result<(String, Option<ServerId>), Refused> {
    let name = name.trim().to_lowercase();
    if name.parse::<Slug>().is_err() && Uuid::parse_str(&name).is_err() {
        return Err(Refused::params("server_id: expected a server's slug or id"));
    }
    match run.snapshot.server(&name) {
        Some(server) if run.may_enter(server) => Ok((server.slug.to_string(), Some(server.id))),
        found => Ok((name, found.map(|server| server.id))),
    }
}

/// Sorted, each once. A star would be a pattern in the policy.
fn tools(names: Option<&[String]>) -> Result<Vec<String>, Refused> {
    let Some(names) = names else { return Ok(Vec::new()) };
    if names.is_empty() || names.len() > MOST_TOOLS {
        return Err(Refused::params(format!(
            "tools: expected 1 to {MOST_TOOLS} names, or nothing for everything"
        )));
    }
    let wrong = |name: &&String| {
        name.is_empty()
            || name.len() > LONGEST_TOOL
            || name.contains('*')
            || hidden_character(name).is_some()
    };
    if names.iter().any(|name| wrong(&name)) {
        let detail = format!(
            "tools: expected exact names of 1 to {LONGEST_TOOL} bytes, no patterns, no invisible characters"
        );
        return Err(Refused::params(detail));
    }
    let mut names = names.to_vec();
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// Words of one person for another.
fn text(field: &str, text: &str) -> Result<String, Refused> {
    let text = text.trim();
    let seen = hidden_character(&text.replace(['\n', '\r', '\t'], " ")).is_none();
    if text.is_empty() || text.chars().count() > LONGEST_TEXT || !seen {
        return Err(Refused::params(format!(
            "{field}: expected 1 to {LONGEST_TEXT} characters, none of them invisible"
        )));
    }
    Ok(text.to_owned())
}

/// Asked for by `user` or for them, also through an agent account of theirs.
fn is_own(run: &Run<'_>, user: &User, request: &AccessRequest) -> bool {
    let mut agents = run.snapshot.agents.iter();
    request.principal_id == user.id
        || request.person == user.id
        || agents.any(|agent| agent.principal.id == request.principal_id && agent.owner == user.id)
}

/// The server that was asked for, as it is now.
fn server_of<'a>(run: &'a Run<'_>, request: &AccessRequest) -> Option<&'a Arc<Server>> {
    match request.server_id {
        Some(id) => run.snapshot.server_by_id(id),
        None => run.snapshot.server(&request.server),
    }
}

/// Whether the caller, and everybody behind them, may decide on it.
fn may_decide(run: &Run<'_>, request: &AccessRequest) -> bool {
    let owns = server_of(run, request).is_some_and(|server| run.administers(server));
    let about_self = run.caller.principals().any(|user| is_own(run, user, request));
    let stance = Stance { owns, about_self };
    let may = |user: &Arc<User>| {
        run.snapshot.policies.authorize_as(user, "decide_access_request", stance)
    };
    run.caller.principals().all(may)
}

fn must_be_open(run: &Run<'_>, request: &AccessRequest) -> Result<(), Refused> {
    let status = request.status_at(run.governance.clock().now());
    if status == AccessRequestStatus::Pending {
        return Ok(());
    }
    Err(Refused::new(Reason::Conflict, format!("it is over: {}", status.as_str())))
}

fn row(run: &Run<'_>, request: &AccessRequest) -> AccessRequestRow {
    let now = run.governance.clock().now();
    let status = request.status_at(now);
    let policy = run.snapshot.policy(gateway_core::ids::PolicyId(request.id.0));
    AccessRequestRow {
        id: request.id.to_string(),
        principal: request.principal.clone(),
        server: request.server.clone(),
        tools: (!request.tools.is_empty()).then(|| request.tools.clone()),
        reason: request.reason.clone(),
        duration: request.seconds.map(duration::written),
        status: status.as_str(),
        in_force: policy.is_some_and(|policy| !policy.spec.is_over(now)),
        yours_to_decide: status == AccessRequestStatus::Pending && may_decide(run, request),
        created_at: rfc3339(request.created_at),
        decided_by: request.decider.clone(),
        note: request.note.clone(),
        expires_at: request.expires_at.map(rfc3339),
    }
}

/// People read records of their own: those name the server only where it is theirs to know.
fn about(run: &Run<'_>, request: &AccessRequest) -> About {
    let knows =
        |server: &&Arc<Server>| run.may(false) || run.administers(server) || run.may_enter(server);
    About {
        kind: Some("access_request"),
        name: Some(request.id.to_string()),
        server: server_of(run, request).filter(knows).cloned(),
    }
}

fn read_id(text: &str) -> Result<AccessRequestId, Refused> {
    text.parse().map_err(|_| absent())
}

fn absent() -> Refused {
    Refused::new(Reason::EntityNotFound, "no such request, or it is not yours")
}
