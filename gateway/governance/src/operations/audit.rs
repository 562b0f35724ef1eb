//! Operations on the audit trail: what happened, one's own or, for those who may, everybody's. Lists are here,
//! one entry in full in `detail.rs`, many in `export.rs`.

mod detail;
mod export;
mod filter;
mod trace;

use gateway_core::caller::PrincipalKind;
use gateway_core::reason::Reason;
use gateway_store::audit::{EventEntry, EventFilter};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use detail::{Body, Detail, GetAuditLog, Neighbour};
pub use export::{Export, ExportAuditLogs};
pub use filter::OutcomeName;
pub use trace::{TracedConfirmation, TracedPolicy};

use self::filter::{Filters, read_cursor, with_filters};
use super::run::{Page, Run, page_limit};
use super::{answer, rfc3339};
use crate::perform::{Answer, Refused};

with_filters! {
    /// Of `list_audit_logs`. Who may not see others' entries gets own ones whatever is asked.
    ListAuditLogs {
        /// 1 to 200 rows; 50 if absent.
        limit: Option<u32>,
        /// next_cursor of the page before.
        cursor: Option<String>,
    }
}

/// An audit entry without its large fields.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Entry {
    /// Its id.
    pub id: String,
    /// When the exchange began.
    pub timestamp: String,
    /// What happened, as tool_call_success.
    pub action_type: String,
    /// How it ended.
    pub outcome: String,
    /// Why it was refused or failed: a code.
    pub reason: Option<String>,
    /// Who: e-mail address.
    pub actor_email: Option<String>,
    /// Who: id.
    pub actor_id: Option<String>,
    /// person or agent.
    pub actor_kind: Option<String>,
    /// For whom an agent acted.
    pub on_behalf_of: Option<String>,
    /// The agent account that acted.
    pub act: Option<Act>,
    /// api_key, jwt, oauth_token or browser.
    pub auth_method: Option<String>,
    /// The MCP client, as it names itself.
    pub client_name: Option<String>,
    /// Slug.
    pub server: Option<String>,
    /// Id.
    pub server_id: Option<String>,
    /// MCP method, or operation.
    pub method: Option<String>,
    /// tool, resource, prompt, server, ...
    pub resource_type: Option<String>,
    /// Name, URI or id.
    pub resource_id: Option<String>,
    /// The exchange.
    pub correlation_id: String,
    /// The deciding policies.
    pub policy_ids: Vec<String>,
    /// Microseconds.
    pub latency_us: Option<i64>,
    /// For how many equal events it stands.
    pub count: i64,
}

/// Who acted, as in a token's `act`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Act {
    /// The agent account's id.
    pub sub: String,
    /// Its name at the time.
    pub name: Option<String>,
}

impl ListAuditLogs {
    pub(crate) async fn answer(self, run: &Run<'_>) -> Result<Answer, Refused> {
        run.authorize(true)?;
        let limit = page_limit(self.limit)?;
        let after = read_cursor(run, self.cursor.as_deref())?;
        let Some(filter) = self.filter(run)? else {
            return answer(&Page::<Entry> { data: vec![], next_cursor: None });
        };
        let found = run.governance.store.list_events(&filter, after, limit as usize).await;
        let found = found.map_err(Refused::store)?;
        answer(&Page {
            data: found.events.into_iter().map(|event| Entry::from(known(run, event))).collect(),
            next_cursor: found.next.map(|next| run.seal_cursor(&next.to_string())),
        })
    }
}

/// The entry as the caller may know it: a server that they may not enter looks like none in their own entries,
/// too.
fn known(run: &Run<'_>, mut event: EventEntry) -> EventEntry {
    if event.reason.as_deref() == Some(Reason::ServerNotFound.as_str()) && !run.may(false) {
        (event.server_id, event.detail) = (None, None);
    }
    event
}

impl From<EventEntry> for Entry {
    fn from(event: EventEntry) -> Entry {
        let person = event.actor_kind.as_deref() == Some(PrincipalKind::Person.as_str());
        let for_somebody = person && event.agent_id.is_some();
        Entry {
            id: event.id.to_string(),
            timestamp: rfc3339(event.timestamp),
            action_type: event.action_type,
            outcome: event.outcome,
            reason: event.reason,
            on_behalf_of: event.actor_email.clone().filter(|_| for_somebody),
            act: event.agent_id.map(|id| Act { sub: id.to_string(), name: event.agent_name }),
            actor_email: event.actor_email,
            auth_method: event.auth_method,
            actor_kind: event.actor_kind,
            actor_id: event.actor_id.map(|id| id.to_string()),
            client_name: event.client_name,
            server: event.server_slug,
            server_id: event.server_id.map(|id| id.to_string()),
            method: event.method,
            resource_type: event.resource_type,
            resource_id: event.resource_name,
            correlation_id: event.correlation_id.to_string(),
            policy_ids: event.policy_ids,
            latency_us: event.latency_us,
            count: event.count,
        }
    }
}
