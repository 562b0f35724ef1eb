//! `bench trail`: the trail's writer by itself, on a Postgres of its own with `fsync` on: intents alone, and whole calls
//! (an intent before, an event after, arguments of 212 bytes and results of 1 KB kept).

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use gateway_core::Clock;
use gateway_core::ids::{CallId, EventId, ServerId, UserId};
use gateway_core::record::{ActionType, Event, Intent, Outcome, Subject};
use gateway_governance::SystemClock;
use gateway_store::audit::{Trail, TrailSettings};
use gateway_store::{Store, StoreSettings};
use gateway_tests::postgres::Postgres;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::sides::prose;
use crate::usage::Usage;

/// Calls under way at once.
const CALLS: usize = 512;

/// What is written.
#[derive(Clone, Copy)]
enum What {
    Intents,
    Calls,
}

/// Measures both and prints one table.
pub(crate) async fn measure(length: Duration) -> anyhow::Result<()> {
    let spool = std::env::temp_dir().join(format!("trail-bench-{}", std::process::id()));
    std::fs::create_dir_all(&spool)?;
    let done = rows(&spool, length).await;
    std::fs::remove_dir_all(&spool)?;
    done
}

async fn rows(spool: &Path, length: Duration) -> anyhow::Result<()> {
    let postgres = Postgres::start();
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "| what | a second | not written | CPU ms each | Postgres CPU ms each | most rows waiting | RSS MB before and after |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|")?;
    for what in [What::Intents, What::Calls] {
        let database = postgres.database().await;
        let settings = StoreSettings {
            url: Some(database.url.clone().into()),
            migrate_url: None,
            data_dir: spool.to_path_buf(),
            migrate: true,
            max_connections: 4,
            acquire_timeout: Duration::from_secs(5),
        };
        let store = Store::open(&settings).await?;
        let settings =
            TrailSettings::new(Uuid::now_v7(), spool.join("spool"), [7; 32], Arc::new(SystemClock));
        let trail = Trail::start(&store, settings).await?;
        // The first second warms connections and statements.
        let (warm, _, _) = write(&trail, what, Duration::from_secs(1)).await?;
        let processes: Vec<u32> = postgres.process_id().into_iter().collect();
        let before = (Usage::of(&[std::process::id()]), Usage::of(&processes));
        let started = Instant::now();
        let (written, failed, most) = write(&trail, what, length).await?;
        anyhow::ensure!(trail.flush(Duration::from_secs(30)).await, "the trail does not end");
        let seconds = started.elapsed().as_secs_f64();
        let rows = database.count("SELECT count(*) FROM audit_intent").await;
        let ended = database.count("SELECT count(*) FROM audit_event").await;
        let all = i64::try_from(warm + written)?;
        let expected = if matches!(what, What::Calls) { all } else { 0 };
        anyhow::ensure!(
            (rows, ended) == (all, expected),
            "{rows} intents and {ended} events for {all}"
        );
        let after = (Usage::of(&[std::process::id()]), Usage::of(&processes));
        let each = |after: Usage, before: Usage| {
            (after.cpu_seconds - before.cpu_seconds) * 1e3 / written.max(1) as f64
        };
        writeln!(
            out,
            "| {} | {:.0} | {failed} | {:.3} | {:.3} | {most} | {:.0}, {:.0} |",
            what.name(),
            written as f64 / seconds,
            each(after.0, before.0),
            each(after.1, before.1),
            before.0.rss_mb,
            after.0.rss_mb,
        )?;
        trail.stop().await;
        store.close().await;
    }
    Ok(())
}

impl What {
    fn name(self) -> &'static str {
        match self {
            What::Intents => "intents",
            What::Calls => "whole calls",
        }
    }
}

/// So many at once for so long: how many were written, how many were not, and how many rows waited at most.
async fn write(trail: &Trail, what: What, length: Duration) -> anyhow::Result<(u64, u64, usize)> {
    let until = Instant::now() + length;
    let mut calls = JoinSet::new();
    let made = Made::new();
    for _ in 0..CALLS {
        let (trail, made) = (trail.clone(), made.clone());
        calls.spawn(async move {
            let (mut written, mut failed) = (0, 0);
            while Instant::now() < until && failed < 1_000 {
                let intent = made.intent();
                let event = matches!(what, What::Calls).then(|| made.event(&intent));
                match trail.record(intent).await {
                    Ok(durable) => {
                        written += 1;
                        drop(durable);
                        event.into_iter().for_each(|event| trail.conclude(event));
                    }
                    Err(_) => failed += 1,
                }
            }
            (written, failed)
        });
    }
    let mut most = 0;
    while Instant::now() < until {
        most = most.max(trail.health().queued);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (mut written, mut failed) = (0, 0);
    while let Some(one) = calls.join_next().await {
        let one = one.context("a call panicked")?;
        (written, failed) = (written + one.0, failed + one.1);
    }
    Ok((written, failed, most))
}

/// What all calls share: making it should not be what is measured.
#[derive(Clone)]
struct Made {
    subject: Arc<Subject>,
    arguments: Bytes,
    result: Bytes,
}

impl Made {
    fn new() -> Made {
        Made {
            subject: Arc::new(subject()),
            arguments: format!("{{\"query\":\"{}\"}}", prose(200)).into(),
            result: format!("{{\"text\":\"{}\"}}", prose(1_000)).into(),
        }
    }

    fn intent(&self) -> Intent {
        Intent {
            id: CallId(Uuid::now_v7()),
            at: SystemClock.now(),
            subject: Arc::clone(&self.subject),
            arguments: Some(self.arguments.clone()),
            request_bytes: 673,
        }
    }

    fn event(&self, intent: &Intent) -> Event {
        Event {
            id: EventId(Uuid::now_v7()),
            at: SystemClock.now(),
            call: intent.id,
            concludes_intent: true,
            subject: Arc::clone(&intent.subject),
            action: ActionType::ToolCallSuccess,
            outcome: Outcome::Ok,
            reason: None,
            detail: None,
            latency_us: Some(1_200),
            upstream_us: Some(300),
            request_bytes: Some(673),
            response_bytes: Some(1_113),
            arguments: None,
            result: Some(self.result.clone()),
            count: 1,
        }
    }
}

fn subject() -> Subject {
    Subject {
        actor_id: Some(UserId(Uuid::from_u128(1))),
        actor_email: Some("caller@example.com".into()),
        auth_method: Some("api_key"),
        client_name: Some("bench".into()),
        client_ip: Some("127.0.0.1".into()),
        server_id: Some(ServerId(Uuid::from_u128(7))),
        server_slug: Some("bench".into()),
        method: Some("tools/call".into()),
        resource_type: Some("tool"),
        resource_name: Some("lookup".into()),
        policy_ids: vec![Uuid::from_u128(3).to_string()],
        ..Subject::default()
    }
}
