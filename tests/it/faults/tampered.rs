//! The trail shows what was done to it (A5), and the gateway's own role can do nothing to it (A7).

use std::time::Duration;

use gateway_core::keys::{Purpose, RootKey};
use gateway_store::audit::{Verdict, verify as walk};
use gateway_store::{Store, StoreSettings};
use gateway_tests::auditor::events_of;
use gateway_tests::gateway::Options;
use gateway_tests::postgres::Postgres;
use gateway_tests::rig::{Rig, Setup, check};
use secrecy::SecretString;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};
use uuid::Uuid;

/// What the verifier says, and its exit code.
fn verify(rig: &Rig) -> (Option<i32>, String) {
    let output = rig.gateway.cli(&["audit", "verify"], &[]);
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[tokio::test]
async fn a_changed_row_shows_and_is_named() {
    check(Setup::default(), async |rig| {
        for text in ["one", "two", "three"] {
            assert_eq!(rig.client("bob").call("echo", json!({"text": text})).await.status, 200);
        }
        let called = |event: &gateway_tests::auditor::EventRow| event.action == "tool_call_success";
        let call = events_of(&rig.database, 3, called).await[1].call;
        assert_eq!(verify(rig).0, Some(0), "{}", verify(rig).1);
        // What somebody with the database in hand would like to have been so, and how it was.
        let cases = [
            (
                "audit_event",
                "call_id",
                "actor_email = 'carol@example.com'",
                "actor_email = 'bob@example.com'",
            ),
            ("audit_event", "call_id", "outcome = 'denied'", "outcome = 'ok'"),
            (
                "audit_intent",
                "id",
                "request_bytes = request_bytes + 1",
                "request_bytes = request_bytes - 1",
            ),
        ];
        for (table, key, forged, true_again) in cases {
            let set = async |to: &str| {
                let sql =
                    format!("update {table} set {to} where {key} = '{call}' returning id::text");
                let changed = sqlx::query_scalar::<_, String>(AssertSqlSafe(sql));
                changed.fetch_one(&rig.database.pool).await.unwrap()
            };
            let id = set(forged).await;
            let (code, said) = verify(rig);
            assert_eq!(code, Some(1), "{forged}: {said}");
            assert!(said.contains(table) && said.contains(&id), "{forged}: {said}");
            set(true_again).await;
            assert_eq!(verify(rig).0, Some(0), "{true_again}: {}", verify(rig).1);
        }
    })
    .await;
}

#[tokio::test]
async fn a_missing_row_shows() {
    let rig = Rig::start(Setup::default()).await;
    rig.client("bob").call("echo", json!({})).await;
    events_of(&rig.database, 1, |event| event.action == "tool_call_success").await;
    assert_eq!(verify(&rig).0, Some(0), "{}", verify(&rig).1);
    let removed = "delete from audit_event where action = 'tool_call_success'";
    assert_eq!(rig.database.pool.execute(removed).await.unwrap().rows_affected(), 1);
    let (code, said) = verify(&rig);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.starts_with("BROKEN "), "{said}");
}

#[tokio::test]
async fn the_gateways_role_only_adds() {
    check(Setup::default(), async |rig| {
        rig.client("bob").call("echo", json!({})).await;
        let called = events_of(&rig.database, 1, |event| event.action == "tool_call_success").await;
        let mut connection = PgConnection::connect(&rig.database.url).await.unwrap();
        connection.execute("set role gateway_app").await.unwrap();
        let tables = "select relname::text from pg_class
            where relkind in ('r', 'p') and relname ~ '^audit_(intent|event|payload|batch|quarantine)'";
        let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&mut connection).await.unwrap();
        assert!(tables.len() > 10, "with their days: {tables:?}");
        for table in tables {
            let column = if table == "audit_quarantine" { "id" } else { "ts" };
            for attempt in [
                format!("update {table} set {column} = {column}"),
                format!("delete from {table}"),
                format!("truncate {table}"),
                format!("drop table {table}"),
                format!("alter table {table} add column more text"),
                format!("create rule silence as on insert to {table} do instead nothing"),
            ] {
                let refused = connection.execute(AssertSqlSafe(attempt.clone())).await;
                let error = refused.expect_err(&attempt).into_database_error().unwrap();
                // Insufficient privilege.
                assert_eq!(error.code().as_deref(), Some("42501"), "{attempt}: {error}");
            }
        }
        let before = called[0].call;
        let after = events_of(&rig.database, 1, |event| event.call == before).await;
        assert_eq!(after.len(), 1);
    })
    .await;
}

/// The walk over the chains in this process: as `gateway audit verify`, and quick.
struct Walker {
    store: Store,
    key: [u8; 32],
}

impl Walker {
    async fn open(rig: &Rig) -> Walker {
        let settings = StoreSettings {
            url: Some(SecretString::from(rig.database.url.clone())),
            migrate_url: None,
            data_dir: std::env::temp_dir(),
            migrate: false,
            max_connections: 6,
            acquire_timeout: Duration::from_secs(10),
        };
        let root = RootKey::new(&rig.gateway.options.root_key).unwrap();
        let store = Store::open(&settings).await.unwrap();
        Walker { store, key: root.derive(Purpose::AuditChain) }
    }

    /// What is broken, if anything is.
    async fn broken(&self) -> Option<String> {
        match walk(&self.store, &self.key).await.unwrap() {
            Verdict::Verified(_) => None,
            Verdict::Broken(broken) => Some(broken.to_string()),
        }
    }
}

/// What is tamper-evident, and the columns of which only a part is: the time range of a batch is an index that
/// may be wider than its rows, and bodies may be gone (they are kept for a shorter time), so that a body which is not
/// found is no finding.
const TABLES: [(&str, &[&str]); 5] = [
    ("audit_intent", &[]),
    ("audit_event", &[]),
    ("audit_payload", &["ts", "id", "kind"]),
    ("audit_batch", &["from_ts", "to_ts"]),
    ("audit_chain", &[]),
];

/// Another value of the column.
fn changed(column: &str, kind: &str) -> String {
    match kind {
        // Of two that may stand there.
        _ if column == "codec" => "case codec when 'raw' then 'zstd' else 'raw' end".into(),
        "text" => format!("coalesce({column}, '') || 'x'"),
        "boolean" => format!("not coalesce({column}, false)"),
        "uuid" => "gen_random_uuid()".into(),
        "bytea" => format!("coalesce({column}, '') || '\\x00'::bytea"),
        "timestamp with time zone" => format!("{column} + interval '1 microsecond'"),
        _ => format!("coalesce({column}, 0) + 1"),
    }
}

/// Runs statements as the owner of everything.
async fn run(rig: &Rig, sql: &str) -> u64 {
    let done = rig.database.pool.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await;
    done.unwrap_or_else(|error| panic!("{sql}: {error}")).rows_affected()
}

/// A trail in which every column of every table means something; its gateway has ended.
async fn trail() -> (Rig, Walker) {
    let mut rig = Rig::start(Setup::default()).await;
    let bob = rig.client("bob");
    let session = bob.legacy().await;
    for n in 0..4 {
        assert_eq!(bob.call("echo", json!({"text": n.to_string()})).await.status, 200);
        session.call("echo", json!({"text": format!("{n} forbidden")})).await;
    }
    rig.stranger("fake", Some("rl_nobody")).call("echo", json!({})).await;
    events_of(&rig.database, 4, |event| event.action == "tool_call_success").await;
    assert!(tokio::task::block_in_place(|| rig.gateway.terminate()).success());
    let walker = Walker::open(&rig).await;
    assert_eq!(walker.broken().await, None);
    (rig, walker)
}

/// Puts everything back as it was.
async fn restore(rig: &Rig) {
    for (table, _) in TABLES {
        run(rig, &format!("delete from {table}; insert into {table} select * from saved_{table}"))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_column_of_every_table_is_covered() {
    let (rig, walker) = trail().await;
    let mut tried = 0;
    for (table, _) in TABLES {
        run(&rig, &format!("create table saved_{table} as select * from {table}")).await;
    }
    for (table, loose) in TABLES {
        let columns = format!(
            "select column_name::text, data_type::text from information_schema.columns
             where table_schema = 'public' and table_name = '{table}' and is_generated = 'NEVER'"
        );
        let columns =
            sqlx::query(AssertSqlSafe(columns)).fetch_all(&rig.database.pool).await.unwrap();
        assert!(columns.len() > 3, "{table} has {} columns", columns.len());
        for column in columns {
            let (column, kind) = (column.get::<String, _>(0), column.get::<String, _>(1));
            if loose.contains(&&*column) {
                continue;
            }
            let value = changed(&column, &kind);
            let one = format!("(select ctid from {table} order by 1 limit 1)");
            let partition =
                format!("tableoid = (select tableoid from {table} order by ctid limit 1)");
            let sql =
                format!("update {table} set {column} = {value} where ctid = {one} and {partition}");
            assert_eq!(run(&rig, &sql).await, 1, "{sql}");
            let broken = walker.broken().await;
            assert!(broken.is_some(), "{table}.{column} was changed and nobody noticed");
            restore(&rig).await;
            tried += 1;
        }
    }
    assert_eq!(walker.broken().await, None);
    println!("{tried} columns changed, each one found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_removed_added_or_moved_shows() {
    let (rig, walker) = trail().await;
    for (table, _) in TABLES {
        run(&rig, &format!("create table saved_{table} as select * from {table}")).await;
    }
    let copied = |table: &str, with: &str| {
        format!(
            "create temporary table forged as select * from {table} limit 1; update forged set {with};
             insert into {table} select * from forged; drop table forged"
        )
    };
    let cases = [
        "delete from audit_intent where id = (select id from audit_intent limit 1)".to_owned(),
        "delete from audit_event where id = (select id from audit_event where concludes limit 1)".into(),
        "delete from audit_event where id = (select id from audit_event where not concludes limit 1)".into(),
        "delete from audit_intent; delete from audit_event".into(),
        "delete from audit_batch where batch = 1".into(),
        // The end of a chain, with everything that was in it.
        "delete from audit_event e using (select replica, max(batch) as batch from audit_batch group by 1) l
          where e.replica = l.replica and e.batch = l.batch;
         delete from audit_intent i using (select replica, max(batch) as batch from audit_batch group by 1) l
          where i.replica = l.replica and i.batch = l.batch;
         delete from audit_batch b using (select replica, max(batch) as batch from audit_batch group by 1) l
          where b.replica = l.replica and b.batch = l.batch".into(),
        // The same, and its end set back to the link before.
        "delete from audit_event e using (select replica, max(batch) as batch from audit_batch group by 1) l
          where e.replica = l.replica and e.batch = l.batch;
         delete from audit_intent i using (select replica, max(batch) as batch from audit_batch group by 1) l
          where i.replica = l.replica and i.batch = l.batch;
         delete from audit_batch b using (select replica, max(batch) as batch from audit_batch group by 1) l
          where b.replica = l.replica and b.batch = l.batch;
         update audit_chain c set batch = b.batch, mac = b.mac from audit_batch b
          where b.replica = c.replica and b.batch = c.batch - 1".into(),
        "delete from audit_chain".into(),
        copied("audit_event", "id = gen_random_uuid(), concludes = false"),
        copied("audit_event", "id = gen_random_uuid(), concludes = false, replica = gen_random_uuid()"),
        copied("audit_event", "id = gen_random_uuid(), concludes = false, place = place + 1000"),
        copied("audit_event", "id = gen_random_uuid(), concludes = false, batch = batch + 1000"),
        copied("audit_intent", "id = gen_random_uuid()"),
        copied("audit_batch", "batch = batch + 1000"),
        // Two rows change places, in their chain and in what they say.
        "update audit_event set outcome = case outcome when 'ok' then 'denied' else 'ok' end".into(),
        "update audit_event set place = -1 - place; update audit_event set place = 1 - place
          where place < 0".into(),
    ];
    for case in &cases {
        run(&rig, case).await;
        assert!(walker.broken().await.is_some(), "nobody noticed: {case}");
        restore(&rig).await;
        assert_eq!(walker.broken().await, None, "after {case}");
    }
    println!("{} ways to remove, add or move, each one found", cases.len());
}

/// As operators run it: a sign-in role that owns nothing, and another one for migrations.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_role_that_signs_in_can_do_no_more() {
    let database = Postgres::shared().database().await;
    let login = format!("gateway_{}", Uuid::new_v4().simple());
    let make = format!("create role {login} login");
    database.pool.execute(AssertSqlSafe(make)).await.unwrap();
    let config = format!("database.migrate_url = \"{}\"\n", database.url);
    let url = database.url.replace("postgres@", &format!("{login}@"));
    let options = Options { config, ..Options::new(&url) };
    let rig = Rig::start_with(Setup::default(), database, options).await;
    assert_eq!(rig.client("bob").call("echo", json!({})).await.status, 200);
    events_of(&rig.database, 1, |event| event.action == "tool_call_success").await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let attempts = [
        "update audit_event set outcome = 'ok'",
        "delete from audit_event",
        "truncate audit_intent",
        "drop table audit_event cascade",
        "alter table audit_event disable trigger all",
        "alter table audit_event owner to current_user",
        "alter table audit_event detach partition audit_event_default",
        "create trigger t before insert on audit_event for each row execute function pg_catalog.suppress_redundant_updates_trigger()",
        "create rule silence as on insert to audit_event do instead nothing",
        "alter table audit_event add constraint never check (false) not valid",
        "create policy p on audit_event using (false)",
        "lock table audit_event in access exclusive mode",
        "merge into audit_event e using (select 1) s on true when matched then delete",
        "set role postgres",
        "set session authorization postgres",
        "set session_replication_role = replica",
        "alter role current_user superuser",
        "alter system set fsync = off",
        "copy audit_event from program 'true'",
        "copy (select 1) to '/tmp/gateway-never'",
        "create or replace function audit_make_days(first date, count integer) returns integer language sql as 'select 1'",
        "create function stolen() returns void language sql security definer as 'delete from audit_event'",
        "create extension dblink",
        "select pg_read_file('/etc/passwd')",
        "delete from _sqlx_migrations",
    ];
    for who in ["none", "gateway_app"] {
        connection.execute(AssertSqlSafe(format!("set role {who}"))).await.unwrap();
        for attempt in attempts {
            let refused = connection.execute(AssertSqlSafe(attempt.to_owned())).await;
            assert!(refused.is_err(), "as {who}: {attempt}");
        }
    }
    // Whoever may not give it away is only warned.
    let given = "grant update, delete on audit_event to public";
    let _ = connection.execute(given).await;
    let may = format!("select has_table_privilege('{login}', 'audit_event', 'update, delete')");
    let may: bool =
        sqlx::query_scalar(AssertSqlSafe(may)).fetch_one(&mut connection).await.unwrap();
    assert!(!may, "the role has given itself more");
    let walker = Walker::open(&rig).await;
    assert_eq!(walker.broken().await, None);
    println!("{} attempts, all refused", 2 * attempts.len());
    rig.finish().await;
}
