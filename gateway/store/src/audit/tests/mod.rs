//! The trail's promises, on a real Postgres: one file a promise, and here what they share.

mod chain;
mod durability;
mod outage;
mod reading;
mod recorded;
mod roles;
mod rollups;
mod spool;
mod sweep;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use gateway_core::ids::{CallId, EventId, ServerId, UserId};
use gateway_core::record::{ActionType, Event, Intent, Outcome, Subject};
use gateway_core::{Clock, Timestamp};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};
use uuid::Uuid;

use super::{Only, Trail, TrailSettings, Verdict, Verified, verify};
use crate::{Store, testing};

/// Far beyond what anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);
const KEY: [u8; 32] = [0x5A; 32];

struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now_utc()
    }
}

/// A directory of our own, removed at the end.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Dir {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("audit-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Dir(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

fn settings(dir: &Dir) -> TrailSettings {
    TrailSettings {
        upkeep_every: Duration::from_millis(50),
        ..TrailSettings::new(Uuid::new_v4(), dir.0.join("spool"), KEY, Arc::new(SystemClock))
    }
}

async fn start(store: &Store, dir: &Dir) -> Trail {
    Trail::start(store, settings(dir)).await.unwrap()
}

fn user(n: u128) -> UserId {
    UserId(Uuid::from_u128(n))
}

fn only(n: u128) -> Only {
    Only { actor: Some(user(n)), agent: None }
}

fn subject(tool: &str) -> Subject {
    Subject {
        actor_id: Some(user(1)),
        actor_email: Some("bob@example.com".into()),
        auth_method: Some("api_key"),
        client_name: Some("Cursor".into()),
        client_ip: Some("10.1.2.3".into()),
        server_id: Some(ServerId(Uuid::from_u128(7))),
        server_slug: Some("tickets".into()),
        method: Some("tools/call".into()),
        resource_type: Some("tool"),
        resource_name: Some(tool.into()),
        policy_ids: vec!["11111111-1111-1111-1111-111111111111".into()],
        ..Subject::default()
    }
}

fn intent(subject: Subject) -> Intent {
    Intent {
        id: CallId(Uuid::now_v7()),
        at: SystemClock.now(),
        subject: Arc::new(subject),
        arguments: Some(Bytes::from_static(b"{\"id\":1}")),
        request_bytes: 100,
    }
}

fn outcome(intent: &Intent) -> Event {
    Event {
        id: EventId(Uuid::now_v7()),
        at: SystemClock.now(),
        call: intent.id,
        concludes_intent: true,
        subject: intent.subject.clone(),
        action: ActionType::ToolCallSuccess,
        outcome: Outcome::Ok,
        reason: None,
        detail: None,
        latency_us: Some(12_345),
        upstream_us: Some(12_000),
        request_bytes: Some(100),
        response_bytes: Some(50),
        arguments: None,
        result: Some(Bytes::from_static(b"{\"content\":[]}")),
        count: 1,
    }
}

/// One governed call from start to end.
async fn call(trail: &Trail, tool: &str) -> (Intent, Event) {
    let intent = intent(subject(tool));
    let durable = trail.record(intent.clone()).await.unwrap();
    assert_eq!(durable.call(), intent.id);
    let event = outcome(&intent);
    trail.conclude(event.clone());
    (intent, event)
}

/// The superuser's view.
async fn admin(store: &Store) -> PgConnection {
    PgConnection::connect_with(&store.pool().connect_options()).await.unwrap()
}

async fn sql(store: &Store, text: &str) {
    let mut admin = admin(store).await;
    admin.execute(sqlx::raw_sql(AssertSqlSafe(text.to_owned()))).await.unwrap();
    admin.close().await.unwrap();
}

async fn number(store: &Store, text: &str) -> i64 {
    let mut admin = admin(store).await;
    let row = admin.fetch_one(sqlx::raw_sql(AssertSqlSafe(text.to_owned()))).await.unwrap();
    row.get(0)
}

async fn verified(store: &Store) -> Verified {
    match verify(store, &KEY).await.unwrap() {
        Verdict::Verified(verified) => verified,
        Verdict::Broken(broken) => panic!("{broken}"),
    }
}

/// Asks again until `holds`; panics when it never does.
async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    for _ in 0..600 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never: {what}");
}

/// One event for each intent, none without.
async fn assert_closed(store: &Store) {
    let open = "select count(*) from audit_intent i where (select count(*) from audit_event e
        where e.call_id = i.id and e.concludes) <> 1";
    assert_eq!(number(store, open).await, 0, "intents without exactly one event");
}
