//! Many entries at once, for other systems: every column of lists and the error text, no arguments or results.
//! An answer holds at most 10,000 rows and about 8 MiB; the cursor leads on.

use gateway_store::audit::{EXPORT_LIMIT, EventEntry, EventFilter};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::super::run::Run;
use super::super::table::{Columns, Format, Row, csv, objects};
use super::super::{answer, rfc3339, sensitive};
use super::filter::OutcomeName;
use super::{Filters, known, read_cursor, with_filters};
use crate::perform::{Answer, Refused};

/// Entries that are read at once.
const CHUNK: usize = 1000;
/// No more entries are read once their texts take this.
const BYTES: usize = 8 << 20;

with_filters! {
    /// Of `export_audit_logs`. Who may not see others' entries gets own ones whatever is asked.
    ExportAuditLogs {
        /// csv if absent.
        format: Option<Format>,
        /// 1 to 10000 rows; 10000 if absent.
        limit: Option<u32>,
        /// next_cursor of the export before.
        cursor: Option<String>,
    }
}

/// Exported entries, newest first.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Export {
    /// As CSV.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub csv: Option<String>,
    /// As JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Vec<Map<String, Value>>>,
    /// Gives the next rows as `cursor`.
    pub next_cursor: Option<String>,
}

const COLUMNS: Columns = &[
    ("id", "the entry"),
    ("timestamp", "when the exchange began"),
    ("finished_at", "when it was over"),
    ("action_type", "what happened"),
    ("outcome", "how it ended"),
    ("reason", "why it was refused or failed"),
    ("detail", "the error's text"),
    ("withheld", "true where the error's text is not for the reader"),
    ("actor_email", "who"),
    ("actor_id", "who"),
    ("actor_kind", "person or agent"),
    ("agent", "the agent account that acted"),
    ("agent_id", "its id"),
    ("auth_method", "how the caller proved who it is"),
    ("client_name", "the MCP client"),
    ("client_version", "its version"),
    ("client_ip", "the caller's address"),
    ("session", "a short hash of the session handle"),
    ("server", "slug"),
    ("server_id", "id"),
    ("method", "MCP method or operation"),
    ("resource_type", "tool, resource, prompt, ..."),
    ("resource_id", "name, URI or id"),
    ("correlation_id", "the exchange"),
    ("policy_ids", "the deciding policies"),
    ("confirmation_id", "the confirmation that let it pass"),
    ("latency_us", "microseconds"),
    ("upstream_us", "microseconds"),
    ("request_bytes", "bytes"),
    ("response_bytes", "bytes"),
    ("count", "for how many equal events it stands"),
];

impl ExportAuditLogs {
    pub(crate) async fn answer(self, run: &Run<'_>) -> Result<Answer, Refused> {
        run.authorize(true)?;
        let limit = match self.limit.map_or(EXPORT_LIMIT, |limit| limit as usize) {
            limit @ 1..=EXPORT_LIMIT => limit,
            _ => return Err(Refused::params(format!("limit: expected 1 to {EXPORT_LIMIT}"))),
        };
        let mut after = read_cursor(run, self.cursor.as_deref())?;
        let (mut rows, mut bytes) = (Vec::new(), 0);
        if let Some(filter) = self.filter(run)? {
            loop {
                let chunk = CHUNK.min(limit - rows.len());
                let found = run.governance.store.export_events(&filter, after, chunk).await;
                let found = found.map_err(Refused::store)?;
                after = found.next;
                let fresh = found.events.into_iter().map(|event| row(run, event));
                rows.extend(fresh.inspect(|row| bytes += weight(row)));
                if after.is_none() || rows.len() >= limit || bytes >= BYTES {
                    break;
                }
            }
        }
        let next_cursor = after.map(|next| run.seal_cursor(&next.to_string()));
        let format = self.format.unwrap_or_default();
        let export = match format {
            Format::Csv => Export { csv: Some(csv(COLUMNS, &rows)?), data: None, next_cursor },
            Format::Json => Export { csv: None, data: Some(objects(COLUMNS, rows)), next_cursor },
        };
        let now = run.governance.clock().now();
        let file = format!("audit_logs_{}.{}", now.date(), format.ending());
        Ok(answer(&export)?.saved_as(file))
    }
}

fn weight(row: &Row) -> usize {
    row.iter().map(|value| 8 + value.as_str().map_or(0, str::len)).sum()
}

fn row(run: &Run<'_>, event: EventEntry) -> Row {
    let event = known(run, event);
    let withheld = event.detail.is_some() && sensitive::why_withheld(run, &event).is_some();
    vec![
        json!(event.id),
        json!(rfc3339(event.timestamp)),
        json!(rfc3339(event.finished_at)),
        json!(event.action_type),
        json!(event.outcome),
        json!(event.reason),
        json!(event.detail.filter(|_| !withheld)),
        json!(withheld),
        json!(event.actor_email),
        json!(event.actor_id),
        json!(event.actor_kind),
        json!(event.agent_name),
        json!(event.agent_id),
        json!(event.auth_method),
        json!(event.client_name),
        json!(event.client_version),
        json!(event.client_ip),
        json!(event.session),
        json!(event.server_slug),
        json!(event.server_id),
        json!(event.method),
        json!(event.resource_type),
        json!(event.resource_name),
        json!(event.correlation_id),
        json!(event.policy_ids.join(" ")),
        json!(event.confirmation_id),
        json!(event.latency_us),
        json!(event.upstream_us),
        json!(event.request_bytes),
        json!(event.response_bytes),
        json!(event.count),
    ]
}
