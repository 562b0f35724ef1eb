//! How long analytics take: five million events over 31 days in a private Postgres, then every dataset as an analytics
//! admin asks for it, in a time zone whose days begin at quarters. Prints Markdown tables. Run with
//! `just bench-analytics`; not part of CI.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use gateway_core::keys::RootKey;
use gateway_governance::operations::analytics::datasets::{DATASETS, SERVER_DATASETS};
use gateway_governance::{
    Governance, GovernanceSettings, Offline, Parts, SystemClock, SystemRandom, command_line,
    operations,
};
use gateway_store::audit::{Trail, TrailSettings};
use gateway_store::private_postgres::PrivatePostgres;
use gateway_store::{Store, StoreSettings};
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};
use time::{Date, OffsetDateTime};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const DAYS: i32 = 31;
const ZONE: &str = "Asia/Kathmandu";
const RUNS: usize = 9;
const EVENTS: &str = include_str!("events.sql");
/// One of the servers that `events.sql` makes.
const SERVER: &str = "server-7";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let events: i32 = std::env::args().nth(1).map_or(Ok(5_000_000), |text| text.parse())?;
    anyhow::ensure!((10_000..=50_000_000).contains(&events), "EVENTS: expected 10000 to 50000000");
    gateway_tests::install_crypto();
    let postgres = PrivatePostgres::throwaway(&std::env::temp_dir()).await?;
    let spool = std::env::temp_dir().join(format!("analytics-spool-{}", std::process::id()));
    std::fs::create_dir_all(&spool)?;
    let done = run(&postgres, &spool, events).await;
    std::fs::remove_dir_all(&spool)?;
    done
}

async fn run(postgres: &PrivatePostgres, spool: &Path, events: i32) -> anyhow::Result<()> {
    let url = postgres.url(None);
    let store = open(&url, spool.to_path_buf()).await?;
    let mut admin = PgConnection::connect(&url).await?;
    let today = OffsetDateTime::now_utc().date();
    let started = Instant::now();
    fill(&mut admin, today, events).await?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{events} events of {DAYS} days in {:.0} s\n", started.elapsed().as_secs_f64())?;
    writeln!(out, "| rollup | rows | size |\n|---|---|---|")?;
    for row in sizes(&mut admin).await? {
        writeln!(out, "{row}")?;
    }
    let governance = govern(&store, spool).await?;
    writeln!(
        out,
        "\n| dataset | rows | first ms | median ms | slowest ms |\n|---|---|---|---|---|"
    )?;
    for (dataset, _) in DATASETS {
        let row = measure(&governance, "export_analytics_dataset", dataset, today).await?;
        writeln!(out, "{row}")?;
    }
    for (dataset, _) in SERVER_DATASETS {
        let row = measure(&governance, "export_server_analytics", dataset, today).await?;
        writeln!(out, "{row}")?;
    }
    writeln!(out, "\n| events in a statement | ms with rollups | ms without |\n|---|---|---|")?;
    for count in [8, 96, 496] {
        let with = inserts(&mut admin, today, count).await?;
        admin.execute("alter table audit_event disable trigger audit_rolled_up").await?;
        let without = inserts(&mut admin, today, count).await?;
        admin.execute("alter table audit_event enable trigger audit_rolled_up").await?;
        writeln!(out, "| {count} | {with:.2} | {without:.2} |")?;
    }
    store.close().await;
    Ok(())
}

async fn open(url: &str, data_dir: PathBuf) -> anyhow::Result<Store> {
    let settings = StoreSettings {
        url: Some(url.to_owned().into()),
        migrate_url: None,
        data_dir,
        migrate: true,
        max_connections: 8,
        acquire_timeout: Duration::from_secs(5),
    };
    Ok(Store::open(&settings).await?)
}

/// A day at a time, through the same trigger as every event.
async fn fill(admin: &mut PgConnection, today: Date, events: i32) -> anyhow::Result<()> {
    let first = today - time::Duration::days(i64::from(DAYS));
    sqlx::query("select audit_make_days($1::date, $2)")
        .bind(first.to_string())
        .bind(DAYS)
        .execute(&mut *admin)
        .await?;
    // The server that is asked about has to be in the catalogue.
    sqlx::query("insert into server (id, slug, url) values (md5('server 7')::uuid, $1, 'http://127.0.0.1:9/')")
        .bind(SERVER)
        .execute(&mut *admin)
        .await?;
    for day in 0..DAYS {
        let midnight = (first + time::Duration::days(i64::from(day))).midnight().assume_utc();
        sqlx::query(EVENTS).bind(midnight).bind(events / DAYS).execute(&mut *admin).await?;
    }
    admin.execute("vacuum analyze").await?;
    Ok(())
}

async fn sizes(admin: &mut PgConnection) -> anyhow::Result<Vec<String>> {
    Ok(sqlx::query_scalar(
        "select '| ' || relname || ' | ' || n_live_tup || ' | ' || pg_size_pretty(pg_total_relation_size(relid)) || ' |'
         from pg_stat_user_tables where relname ~ '^audit_.*_(quarter|day)$' order by relname",
    )
    .fetch_all(admin)
    .await?)
}

async fn govern(store: &Store, spool: &Path) -> anyhow::Result<Arc<Governance>> {
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom::new()));
    let trail = TrailSettings::new(Uuid::new_v4(), spool.to_path_buf(), [7; 32], clock.clone());
    let root = RootKey::new(&std::array::from_fn::<u8, 32, _>(|i| (i * 37 + 11) as u8))
        .map_err(|error| anyhow::anyhow!("{error:?}"))?;
    let parts = Parts {
        store: store.clone(),
        trail: Trail::start(store, trail).await?,
        settings: GovernanceSettings::new(root, "https://gw.example.com".parse()?),
        upstreams: Arc::new(Offline),
        fetch: Arc::new(Offline),
        mail: None,
        scanner: None,
        clock,
        random,
    };
    Ok(Governance::start(parts, CancellationToken::new()).await?)
}

/// The whole operation: authorised, counted, named, written as CSV.
async fn measure(
    governance: &Governance,
    operation: &str,
    dataset: &str,
    today: Date,
) -> anyhow::Result<String> {
    let start = today - time::Duration::days(i64::from(DAYS));
    let mut arguments = json!({
        "dataset": dataset, "timezone": ZONE, "start": start.to_string(), "end": today.to_string()
    });
    if operation == "export_server_analytics" {
        arguments["server_id"] = json!(SERVER);
    }
    let origin = governance.command_line_origin();
    let (mut times, mut rows) = (Vec::new(), 0);
    for _ in 0..RUNS {
        let spec = operations::spec(operation).context("no such operation")?;
        let asked = (spec.read)(arguments.clone())?;
        let started = Instant::now();
        let answer = governance.perform(&command_line(), &origin, asked).await?;
        times.push(started.elapsed().as_secs_f64() * 1000.0);
        rows = answer
            .value
            .get("csv")
            .and_then(Value::as_str)
            .map_or(0, |csv| csv.lines().count() - 1);
    }
    let first = times.first().copied().unwrap_or_default();
    times.sort_by(f64::total_cmp);
    let (median, slowest) = (times[RUNS / 2], times[RUNS - 1]);
    Ok(format!("| {dataset} | {rows} | {first:.0} | {median:.0} | {slowest:.0} |"))
}

/// The median time of a statement that inserts so many events.
async fn inserts(admin: &mut PgConnection, today: Date, count: i32) -> anyhow::Result<f64> {
    let yesterday = (today - time::Duration::days(1)).midnight().assume_utc();
    let mut times = Vec::new();
    for _ in 0..60 {
        let started = Instant::now();
        sqlx::query(EVENTS).bind(yesterday).bind(count).execute(&mut *admin).await?;
        times.push(started.elapsed().as_secs_f64() * 1000.0);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}
