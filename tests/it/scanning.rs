//! What flows through is read: every field of what clients and servers send, in both eras, as JSON and as events, and
//! what is found is recorded, masked or stopped. Wherever something is looked for, the auditor greps every table, log
//! and figure for it.

mod answers;
mod asked;
mod limits;
mod requests;
mod streams;
mod unreadable;

use gateway_tests::auditor::EventRow;
use gateway_tests::client::{Client, Reply, Session, legacy_body};
use gateway_tests::rig::{Rig, Setup};
use serde_json::Value;
use sqlx::Row;

/// Looks like a key and opens nothing.
pub(crate) const SECRET: &str = "AKIAQ3EGRZV5WKJ7XN4T";
/// What stands in its place.
pub(crate) const MASKED: &str = "[masked:aws_access_key_id]";

/// What is done about a finding.
pub(crate) const MODES: [&str; 4] = ["off", "monitor", "mask", "block"];

/// A world in which one guard does that about secrets; of the rest it only takes note.
pub(crate) fn world(guard: &str, mode: &str) -> Setup {
    settings(&format!("[scanners.modes.{guard}]\nsecrets = \"{mode}\"\n"))
}

/// A world with these settings of scanners.
pub(crate) fn settings(scanners: &str) -> Setup {
    Setup { state: scanners.into(), ..Setup::default() }
}

/// Nobody may find the secret, where somebody looked for it.
pub(crate) fn hide(rig: &mut Rig, mode: &str) {
    if mode != "off" {
        rig.secrets.push(SECRET.into());
    }
}

/// A client of either era.
pub(crate) enum Speaker {
    Modern(Client),
    Legacy(Session),
}

impl Speaker {
    /// Bob, in both eras.
    pub(crate) async fn both(rig: &Rig) -> [Speaker; 2] {
        let bob = rig.client("bob");
        [Speaker::Legacy(bob.legacy().await), Speaker::Modern(bob)]
    }

    /// A request of its era.
    pub(crate) fn body(&self, method: &str, params: Value) -> Value {
        match self {
            Speaker::Modern(client) => client.modern_body(method, params),
            Speaker::Legacy(_) => legacy_body(method, params),
        }
    }

    /// Sends a message as its era does.
    pub(crate) async fn send(&self, body: &Value) -> Reply {
        match self {
            Speaker::Modern(client) => client.send(client.modern_request(body)).await,
            Speaker::Legacy(session) => session.client.send(session.request(body)).await,
        }
    }
}

/// The secrets found in every event that has some, with the event's call. What else is taken note of does not count:
/// random ids look like this and that.
pub(crate) async fn findings(rig: &Rig) -> Vec<(String, Value)> {
    let rows = sqlx::query(
        "select call_id::text, findings::text from audit_event where findings::text <> '[]' order by ts, id",
    );
    let rows = rows.fetch_all(&rig.database.pool).await.expect("the trail can be read");
    let secrets = |row: &sqlx::postgres::PgRow| {
        let findings: Value = serde_json::from_str(row.get(1)).expect("findings are JSON");
        let all = findings.as_array().into_iter().flatten();
        let secrets: Vec<Value> = all.filter(|one| one["class"] == "secrets").cloned().collect();
        (!secrets.is_empty()).then(|| (row.get(0), Value::Array(secrets)))
    };
    rows.iter().filter_map(secrets).collect()
}

/// The record of a refusal that a client was told of.
pub(crate) async fn record_of(rig: &Rig, reply: &Reply) -> EventRow {
    let seen = reply.refusal().unwrap_or_else(|| panic!("not refused: {:?}", reply.body));
    let wanted = |row: &EventRow| row.call.to_string() == seen.correlation_id;
    gateway_tests::auditor::events_of(&rig.database, 1, wanted).await.remove(0)
}

/// The body as text.
pub(crate) fn text(reply: &Reply) -> String {
    String::from_utf8_lossy(&reply.body).into_owned()
}
