//! What must hold at the end of every test, whatever the test was about: one intent and at most one event
//! for a forwarded call, one record for a refusal, no receipt without an intent, no secret anywhere.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde_json::Value;
use sqlx::Row;
use uuid::Uuid;

use crate::client::Sighting;
use crate::postgres::Database;
use crate::upstream::Receipt;
use crate::wait::eventually;

/// What is audited, and against what.
#[derive(Debug, Default)]
pub struct Evidence {
    /// What reached upstreams.
    pub receipts: Vec<Receipt>,
    /// What clients were refused.
    pub sightings: Vec<Sighting>,
    /// What nobody may find.
    pub secrets: Vec<String>,
    /// Logs and metrics.
    pub texts: Vec<String>,
    /// How long the trail may take to close what is open: outcomes are written behind the answer, and
    /// what a dead gateway left is closed by the sweeper after a minute.
    pub patience: Duration,
}

/// One row of `audit_intent`.
#[derive(Debug, Clone)]
pub struct IntentRow {
    /// The call's id.
    pub id: Uuid,
    /// Who does what.
    pub subject: Value,
}

/// One row of `audit_event`, as far as tests need it.
#[derive(Debug, Clone)]
pub struct EventRow {
    /// The call's id: what clients see as correlation id.
    pub call: Uuid,
    /// True when it concludes an intent.
    pub concludes: bool,
    /// `tool_call_success`, ...
    pub action: String,
    /// `ok`, `error`, `denied`, `cancelled`, `unknown`
    pub outcome: String,
    /// The refusal's reason, or "".
    pub reason: String,
    /// For operators, or "".
    pub detail: String,
    /// Who, or "".
    pub actor_email: String,
    /// MCP method, or "".
    pub method: String,
    /// Tool, resource, prompt, or "".
    pub resource_name: String,
    /// How many like it the row stands for.
    pub count: i64,
}

/// All events, in the order of their time.
pub async fn events(database: &Database) -> Vec<EventRow> {
    let rows = sqlx::query(
        "select call_id, concludes, action, outcome, coalesce(reason, ''), coalesce(detail, ''),
                coalesce(actor_email, ''), coalesce(method, ''), coalesce(resource_name, ''), count
           from audit_event order by ts, id",
    );
    let rows = rows.fetch_all(&database.pool).await.expect("the trail can be read");
    rows.iter()
        .map(|row| EventRow {
            call: row.get(0),
            concludes: row.get(1),
            action: row.get(2),
            outcome: row.get(3),
            reason: row.get(4),
            detail: row.get(5),
            actor_email: row.get(6),
            method: row.get(7),
            resource_name: row.get(8),
            count: row.get(9),
        })
        .collect()
}

/// The events that `wanted` picks, once there are `count` of them: records of refusals and outcomes are
/// written behind the answer.
pub async fn events_of(
    database: &Database,
    count: usize,
    wanted: impl Fn(&EventRow) -> bool,
) -> Vec<EventRow> {
    let what = format!("{count} such events");
    eventually(&what, Duration::from_secs(10), async || {
        let found: Vec<EventRow> = events(database).await.into_iter().filter(&wanted).collect();
        (found.len() >= count).then_some(found)
    })
    .await
}

/// All intents, in the order of their time.
pub async fn intents(database: &Database) -> Vec<IntentRow> {
    let rows = sqlx::query("select id, subject from audit_intent order by ts, id");
    let rows = rows.fetch_all(&database.pool).await.expect("the trail can be read");
    let subject = |text: &str| serde_json::from_str(text).expect("a subject is JSON");
    rows.iter().map(|row| IntentRow { id: row.get(0), subject: subject(row.get(1)) }).collect()
}

/// Checks everything.
pub async fn audit(database: &Database, evidence: &Evidence) {
    eventually("every intent is concluded", evidence.patience, async || {
        let events = events(database).await;
        let concluded: HashSet<Uuid> =
            events.iter().filter(|event| event.concludes).map(|event| event.call).collect();
        let intents = intents(database).await;
        intents.iter().all(|intent| concluded.contains(&intent.id)).then_some(())
    })
    .await;
    let (intents, events) = (intents(database).await, events(database).await);
    one_conclusion_each(&intents, &events);
    receipts_are_intended(&evidence.receipts, &intents);
    for seen in &evidence.sightings {
        refusal_is_recorded(database, seen).await;
    }
    let dump = dump(database).await;
    for secret in evidence.secrets.iter().filter(|secret| !secret.is_empty()) {
        let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
        for (place, text) in &dump {
            assert!(!text.contains(secret.as_str()), "a secret is in table {place}");
            assert!(!text.contains(&hex), "a secret is in table {place}, in hexadecimal");
        }
        for text in &evidence.texts {
            let line = text.lines().find(|line| line.contains(secret.as_str()));
            assert!(line.is_none(), "a secret is in logs or metrics: {line:?}");
        }
    }
}

/// Whether an event that concludes an intent may stand without it. A call that was refused because its
/// record was not confirmed in time: the intent may have been committed all the same, or not. And chatter,
/// whose intent nobody waits for: it can be lost with Postgres while its event waits on disk.
fn may_stand_alone(event: &EventRow) -> bool {
    let chatter = ["initialize", "ping", "server/discover", "logging/setLevel"];
    let chatter = chatter.contains(&event.method.as_str())
        || event.method.ends_with("/list")
        || event.method.starts_with("notifications/");
    chatter || (event.outcome == "denied" && event.reason == "audit_unavailable")
}

fn one_conclusion_each(intents: &[IntentRow], events: &[EventRow]) {
    let known: HashSet<Uuid> = intents.iter().map(|intent| intent.id).collect();
    assert_eq!(known.len(), intents.len(), "an intent is there twice");
    let mut concluded: HashMap<Uuid, usize> = HashMap::new();
    for event in events.iter().filter(|event| event.concludes) {
        *concluded.entry(event.call).or_default() += 1;
        let intended = known.contains(&event.call) || may_stand_alone(event);
        assert!(intended, "concluded but never intended: {event:?}");
    }
    for (call, count) in concluded {
        assert_eq!(count, 1, "{call} is concluded {count} times");
    }
}

/// A multiset inclusion: ids of real clients repeat between sessions, those of the rig never do.
fn receipts_are_intended(receipts: &[Receipt], intents: &[IntentRow]) {
    let mut left: HashMap<Receipt, i64> = HashMap::new();
    for IntentRow { subject, .. } in intents {
        let text = |key: &str| subject[key].as_str().unwrap_or_default().to_owned();
        let (id, method, name) = (text("request_id"), text("method"), text("resource_name"));
        *left.entry(Receipt { id, method, name }).or_default() += 1;
    }
    for receipt in receipts {
        let count = left.entry(receipt.clone()).or_default();
        *count -= 1;
        assert!(*count >= 0, "reached the upstream without an intent, or twice: {receipt:?}");
    }
}

async fn refusal_is_recorded(database: &Database, seen: &Sighting) {
    // Without a database there is nowhere to record it.
    if seen.reason == "audit_unavailable" {
        return;
    }
    let call: Uuid = seen.correlation_id.parse().expect("a correlation id is a UUID");
    // A flood from callers whom nobody identified, and a crowd's, becomes one row for many: the first one's id is in it.
    let many = ["insufficient_scope", "catalogue_stale", "overloaded", "upstream_unavailable"];
    let flood = many.contains(&&*seen.reason) || seen.reason.starts_with("credential_");
    let what = format!("a record of the refusal {seen:?}");
    let rows = eventually(&what, Duration::from_secs(15), async || {
        let rows = events(database).await.into_iter();
        let rows = rows.filter(|row| row.reason == seen.reason && (flood || row.call == call));
        Some(rows.collect::<Vec<_>>()).filter(|rows| !rows.is_empty())
    })
    .await;
    assert!(flood || rows.len() == 1, "{seen:?} is recorded {} times: {rows:?}", rows.len());
}

/// Every table as text; payloads decompressed.
async fn dump(database: &Database) -> Vec<(String, String)> {
    let tables = sqlx::query(
        "select table_name::text from information_schema.tables
          where table_schema = 'public' and table_type = 'BASE TABLE'",
    );
    let tables = tables.fetch_all(&database.pool).await.expect("the catalogue can be read");
    let mut dump = Vec::new();
    for table in tables.iter().map(|row| row.get::<String, _>(0)) {
        let sql = format!("select coalesce(string_agg(t::text, E'\\n'), '') from \"{table}\" t");
        let row = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_one(&database.pool).await;
        dump.push((table, row.expect("a table can be read").get(0)));
    }
    let rows = sqlx::query("select codec, body from audit_payload").fetch_all(&database.pool).await;
    for row in rows.expect("payloads can be read") {
        let body: Vec<u8> = row.get(1);
        let body = match row.get::<&str, _>(0) {
            "zstd" => zstd::decode_all(body.as_slice()).expect("payloads can be decompressed"),
            _ => body,
        };
        dump.push(("audit_payload".into(), String::from_utf8_lossy(&body).into_owned()));
    }
    dump
}
