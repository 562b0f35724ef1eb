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
pub const SECRET: &str = "AKIAQ3EGRZV5WKJ7XN4T";
/// What stands in its place.
pub const MASKED: &str = "[masked:aws_access_key_id]";

/// What is done about a finding.
pub const MODES: [&str; 4] = ["off", "monitor", "mask", "block"];

/// A world in which one guard does that about secrets; of the rest it only takes note.
pub fn world(guard: &str, mode: &str) -> Setup {
    settings(&format!("[scanners.modes.{guard}]\nsecrets = \"{mode}\"\n"))
}

/// A world with these settings of scanners.
pub fn settings(scanners: &str) -> Setup {
    Setup { state: scanners.into(), ..Setup::default() }
}

/// Nobody may find the secret, where somebody looked for it.
pub fn hide(rig: &mut Rig, mode: &str) {
    if mode != "off" {
        rig.secrets.push(SECRET.into());
    }
}

/// A client of either era.
pub enum Speaker {
    Modern(Client),
    Legacy(Session),
}

impl Speaker {
    /// Bob, in both eras.
    pub async fn both(rig: &Rig) -> [Speaker; 2] {
        let bob = rig.client("bob");
        [Speaker::Legacy(bob.legacy().await), Speaker::Modern(bob)]
    }

    /// A request of its era.
    pub fn body(&self, method: &str, params: Value) -> Value {
        match self {
            Speaker::Modern(client) => client.modern_body(method, params),
            Speaker::Legacy(_) => legacy_body(method, params),
        }
    }

    /// Sends a message as its era does.
    pub async fn send(&self, body: &Value) -> Reply {
        match self {
            Speaker::Modern(client) => client.send(client.modern_request(body)).await,
            Speaker::Legacy(session) => session.client.send(session.request(body)).await,
        }
    }

    /// The same where the answer may break off.
    pub async fn try_send(&self, body: &Value) -> Option<Reply> {
        let reply = match self {
            Speaker::Modern(client) => client.try_send(client.modern_request(body)).await,
            Speaker::Legacy(session) => session.client.try_send(session.request(body)).await,
        };
        reply.ok()
    }
}

/// The findings of every event that has some, as JSON text, with the event's call.
pub async fn findings(rig: &Rig) -> Vec<(String, Value)> {
    let rows = sqlx::query(
        "select call_id::text, findings::text from audit_event where findings::text <> '[]' order by ts, id",
    );
    let rows = rows.fetch_all(&rig.database.pool).await.expect("the trail can be read");
    let row = |row: &sqlx::postgres::PgRow| {
        let findings: String = row.get(1);
        (row.get(0), serde_json::from_str(&findings).expect("findings are JSON"))
    };
    rows.iter().map(row).collect()
}

/// The record of a refusal that a client was told of.
pub async fn record_of(rig: &Rig, reply: &Reply) -> EventRow {
    let seen = reply.refusal().unwrap_or_else(|| panic!("not refused: {:?}", reply.body));
    let wanted = |row: &EventRow| row.call.to_string() == seen.correlation_id;
    gateway_tests::auditor::events_of(&rig.database, 1, wanted).await.remove(0)
}

/// The body as text.
pub fn text(reply: &Reply) -> String {
    String::from_utf8_lossy(&reply.body).into_owned()
}
