//! One entry in full: what was said, how it was decided, and what else belongs to the same exchange.

use gateway_core::reason::Reason;
use gateway_store::audit::{EventDetail, EventEntry, Payload};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::run::Run;
use super::super::{answer, rfc3339, sensitive};
use super::filter::own_entries;
use super::trace::{self, TracedConfirmation, TracedPolicy};
use super::{Entry, known};
use crate::perform::{Answer, Refused};

/// Of `get_audit_log`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetAuditLog {
    /// From list_audit_logs.
    pub id: String,
}

/// An audit entry in full.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Detail {
    /// The same as in lists.
    #[serde(flatten)]
    pub entry: Entry,
    /// When it was over.
    pub finished_at: String,
    /// When its intent was durable.
    pub intended_at: Option<String>,
    /// What was tried, on what: the error's text.
    pub detail: Option<String>,
    /// The key's id or the token's issuer.
    pub credential: Option<String>,
    /// The MCP client's version.
    pub client_version: Option<String>,
    /// The caller's address.
    pub client_ip: Option<String>,
    /// A short hash of the session handle.
    pub session: Option<String>,
    /// The JSON-RPC id.
    pub request_id: Option<String>,
    /// legacy or modern.
    pub era: Option<String>,
    /// The W3C trace id.
    pub trace_id: Option<String>,
    /// What the scanners saw.
    pub findings: Value,
    /// The deciding policies, then others about the call.
    pub policies: Vec<TracedPolicy>,
    /// The confirmation that let it pass, or that it waits for.
    pub confirmation_id: Option<String>,
    /// What people were asked.
    pub confirmation: Option<TracedConfirmation>,
    /// Time spent with the server.
    pub upstream_us: Option<i64>,
    /// Of the request's body.
    pub request_bytes: Option<i64>,
    /// Of the answer's body.
    pub response_bytes: Option<i64>,
    /// True: detail, arguments and result are not for you.
    pub withheld: bool,
    /// Why.
    pub why_withheld: Option<&'static str>,
    /// If kept.
    pub arguments: Option<Body>,
    /// The answer, or a change's before and after, if kept.
    pub result: Option<Body>,
    /// Other entries of the exchange, oldest first.
    pub related: Vec<Neighbour>,
}

/// Another entry of the same exchange.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Neighbour {
    /// Its id.
    pub id: String,
    /// When it began.
    pub timestamp: String,
    /// What happened.
    pub action_type: String,
    /// How it ended.
    pub outcome: String,
    /// Why it was refused or failed.
    pub reason: Option<String>,
    /// Slug.
    pub server: Option<String>,
    /// Name, URI or id.
    pub resource_id: Option<String>,
}

/// Arguments or a result.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Body {
    /// As it was, but for bytes that are no UTF-8.
    pub text: String,
    /// How many there were.
    pub bytes: u64,
    /// True when only the beginning was kept.
    pub cut: bool,
}

impl GetAuditLog {
    pub(crate) async fn answer(self, run: &Run<'_>) -> Result<Answer, Refused> {
        run.authorize(true)?;
        let absent =
            || Refused::new(Reason::EntityNotFound, "no such audit entry, or it is not yours");
        let id = self.id.parse().map_err(|_| absent())?;
        let found = run.governance.store.get_event(id, own_entries(run)).await;
        let found = found.map_err(Refused::store)?.ok_or_else(absent)?;
        let confirmation = trace::confirmation(run, &found.event).await?;
        answer(&detail(run, found, confirmation))
    }
}

fn detail(run: &Run<'_>, found: EventDetail, confirmation: Option<TracedConfirmation>) -> Detail {
    let EventDetail { event, arguments, result, intended_at, neighbours } = found;
    let event = known(run, event);
    let policies = trace::policies(run, &event, arguments.as_ref());
    let why_withheld = sensitive::why_withheld(run, &event);
    let withheld = why_withheld.is_some();
    let body = |payload: Payload| Body {
        cut: payload.is_cut(),
        bytes: payload.size,
        text: String::from_utf8_lossy(&payload.bytes).into_owned(),
    };
    Detail {
        finished_at: rfc3339(event.finished_at),
        intended_at: intended_at.map(rfc3339),
        detail: event.detail.clone().filter(|_| !withheld),
        credential: event.credential.clone(),
        client_version: event.client_version.clone(),
        client_ip: event.client_ip.clone(),
        session: event.session.clone(),
        request_id: event.request_id.clone(),
        era: event.era.clone(),
        trace_id: event.trace_id.clone(),
        findings: event.findings.clone(),
        policies,
        confirmation_id: event.confirmation_id.map(|id| id.to_string()),
        confirmation,
        upstream_us: event.upstream_us,
        request_bytes: event.request_bytes,
        response_bytes: event.response_bytes,
        withheld,
        why_withheld,
        arguments: arguments.filter(|_| !withheld).map(body),
        result: result.filter(|_| !withheld).map(body),
        related: neighbours.into_iter().map(Neighbour::from).collect(),
        entry: Entry::from(event),
    }
}

impl From<EventEntry> for Neighbour {
    fn from(event: EventEntry) -> Neighbour {
        Neighbour {
            id: event.id.to_string(),
            timestamp: rfc3339(event.timestamp),
            action_type: event.action_type,
            outcome: event.outcome,
            reason: event.reason,
            server: event.server_slug,
            resource_id: event.resource_name,
        }
    }
}
