//! Deciding on a request: an approval makes a policy that ends by itself.

use gateway_core::Timestamp;
use gateway_core::caller::{AuthMethod, PrincipalKind};
use gateway_core::ids::PolicyId;
use gateway_core::reason::Reason;
use gateway_core::record::ActionType;
use gateway_store::access_request::{AccessRequest, AccessRequestStatus, Decided, Decision, Grant};
use policies::{PolicySet, PolicySpec, Source};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::duration::{self, LONGEST};
use super::{about, absent, is_own, may_decide, must_be_open, read_id, row, server_of, text};
use crate::operations::run::Run;
use crate::operations::{Change, answer, instant, rfc3339, seen_here};
use crate::perform::{Answer, Planned, Refused};

/// How long a grant lasts when nobody said how long.
const USUAL: time::Duration = time::Duration::days(30);

/// Of `decide_access_request`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DecideAccessRequest {
    /// From `list_access_requests`.
    pub id: String,
    /// What you decide.
    pub decision: Ruling,
    /// For whoever asked.
    #[serde(default)]
    pub note: Option<String>,
    /// When the access ends, RFC 3339.
    #[serde(default)]
    pub expires_at: Option<String>,
    /// Instead: for how long, such as 8h; else as asked, or 30d.
    #[serde(default)]
    pub duration: Option<String>,
    /// Must be the boolean true; otherwise nothing changes and the answer shows what would.
    #[serde(default)]
    pub confirm: Option<bool>,
}

/// A decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ruling {
    /// A policy grants it.
    Approve,
    /// Nothing changes for whoever asked.
    Reject,
}

impl DecideAccessRequest {
    pub(crate) async fn plan(self, run: &Run<'_>) -> Result<Planned, Refused> {
        let found = run.governance.store.get_access_request(read_id(&self.id)?).await;
        let found = found.map_err(Refused::store)?.ok_or_else(absent)?;
        authorize(run, &found)?;
        let now = run.governance.clock().now();
        let end = self.end(&found, now)?;
        let note = self.note.as_deref().map(|note| text("note", note)).transpose()?;
        must_be_open(run, &found)?;
        let (action, grant, after) = match self.decision {
            Ruling::Approve => {
                let (grant, policy) = grant(run, &found, end)?;
                (ActionType::AccessRequestApproved, Some(grant), policy)
            }
            Ruling::Reject => {
                (ActionType::AccessRequestRejected, None, json!({"status": "rejected"}))
            }
        };
        // The operator is nobody of the catalogue.
        let operator = run.caller.auth == AuthMethod::CommandLine;
        let decision = Decision {
            id: found.id,
            decider: (!operator).then_some(run.user().id),
            email: if operator { "operator".into() } else { run.user().email.clone() },
            note,
            now,
            grant,
        };
        Ok(Planned {
            action,
            about: about(run, &found),
            confirmed: self.confirm == Some(true),
            before: json!({"access_request": row(run, &found)}),
            after,
            change: Change::DecideAccessRequest(Box::new((found, decision))),
        })
    }

    fn end(&self, request: &AccessRequest, now: Timestamp) -> Result<Timestamp, Refused> {
        let expires_at = self.expires_at.as_deref().map(instant("expires_at")).transpose()?;
        let lasts = self.duration.as_deref().map(duration::read("duration")).transpose()?;
        if self.decision == Ruling::Reject && (expires_at.is_some() || lasts.is_some()) {
            let field = if expires_at.is_some() { "expires_at" } else { "duration" };
            return Err(Refused::params(format!("{field}: expected nothing with reject")));
        }
        let asked = request.seconds.map_or(USUAL, time::Duration::seconds);
        let end = match (expires_at, lasts) {
            (Some(_), Some(_)) => {
                return Err(Refused::params("duration: expected nothing beside expires_at"));
            }
            (Some(end), None) if end <= now || end > now + LONGEST => {
                let detail = "expires_at: expected an instant in the future, at most 366 days away";
                return Err(Refused::params(detail));
            }
            (Some(end), None) => end,
            (None, lasts) => now + lasts.unwrap_or(asked),
        };
        // The clock of the policies has whole seconds; what is granted is not cut short.
        let whole = end.replace_nanosecond(0).unwrap_or(end);
        Ok(if whole < end { whole + time::Duration::SECOND } else { whole })
    }
}

/// Own requests are refused in so many words, foreign ones look absent to those who see none.
fn authorize(run: &Run<'_>, request: &AccessRequest) -> Result<(), Refused> {
    if may_decide(run, request) {
        return Ok(());
    }
    if run.caller.principals().any(|user| is_own(run, user, request)) {
        let detail = "nobody decides on what they asked for, or what was asked for them";
        return Err(Refused::new(Reason::RoleMissing, detail));
    }
    let administers = server_of(run, request).is_some_and(|server| run.administers(server));
    let sees = |user: &std::sync::Arc<gateway_core::caller::User>| {
        run.snapshot.policies.authorize(user, "list_access_requests", false)
    };
    if administers || run.caller.principals().all(sees) {
        let detail =
            "decide_access_request: people who administer policies, or this server, decide";
        return Err(Refused::new(Reason::RoleMissing, detail));
    }
    Err(absent())
}

/// The policy that an approval makes, and how it looks.
fn grant(
    run: &Run<'_>,
    request: &AccessRequest,
    end: Timestamp,
) -> Result<(Grant, Value), Refused> {
    let gone =
        |what: &str| Refused::new(Reason::EntityNotFound, format!("{what}; reject this request"));
    let server = server_of(run, request)
        .ok_or_else(|| gone(&format!("there is no server \"{}\"", request.server)))?;
    let principal = run.snapshot.principal(request.principal_id).filter(|user| user.active);
    let principal = principal.ok_or_else(|| gone("whoever asked is gone or switched off"))?;
    let principal = match principal.kind {
        PrincipalKind::Person => format!("user:{}", principal.email),
        PrincipalKind::Agent => format!("agent:{}", principal.name),
    };
    let spec = PolicySpec {
        name: format!("access request {}", request.id),
        effect: Some("allow".into()),
        principals: Some(vec![principal]),
        server: Some(server.slug.to_string()),
        tools: (!request.tools.is_empty()).then(|| request.tools.clone()),
        until: Some(rfc3339(end)),
        ..PolicySpec::default()
    };
    let id = PolicyId(request.id.0);
    let source = Source { id, spec: spec.clone() };
    let compiled = PolicySet::compile(&[source]).map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Refused::params(problems.join("; "))
    })?;
    let internal = |e: serde_json::Error| Refused::new(Reason::Internal, e.to_string());
    let spec_json = serde_json::to_string(&spec).map_err(internal)?;
    let shown = json!({
        "status": "approved",
        "expires_at": rfc3339(end),
        "policy": serde_json::to_value(&spec).map_err(internal)?,
        "cedar": compiled.cedar(id),
    });
    Ok((Grant { server: server.id, name: spec.name, spec_json, expires_at: end }, shown))
}

/// Notes the decision; an approval counts here at once.
pub(crate) async fn decide(
    run: &Run<'_>,
    (request, decision): (AccessRequest, Decision),
) -> Result<Answer, Refused> {
    let expires_at = decision.grant.as_ref().map(|grant| grant.expires_at);
    let told = AccessRequest {
        status: match &decision.grant {
            Some(_) => AccessRequestStatus::Approved,
            None => AccessRequestStatus::Rejected,
        },
        decider: Some(decision.email.clone()),
        note: decision.note.clone(),
        expires_at,
        ..request
    };
    let governance = run.governance;
    let notices = governance.notices.of_request(&run.snapshot, &told);
    let decided = governance.store.decide_access_request(&decision, &notices).await;
    match decided.map_err(Refused::store)? {
        Decided::Done(request) => {
            governance.notices.wake();
            seen_here(run).await;
            let mut row = row(run, &request);
            row.in_force = expires_at.is_some();
            answer(&row)
        }
        Decided::Over(status) => {
            let detail = format!("somebody was faster: {}", status.as_str());
            Err(Refused::new(Reason::Conflict, detail))
        }
        Decided::Absent => Err(absent()),
    }
}
