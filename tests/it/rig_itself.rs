//! The rig can fail: what it promises to the other tests is tested without a gateway.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use gateway_tests::auditor::{Evidence, audit};
use gateway_tests::breaker::{Breaker, Mode};
use gateway_tests::client::Client;
use gateway_tests::postgres::Postgres;
use gateway_tests::upstream::{Answer, Receipt, Shape, Upstream};
use serde_json::json;
use sqlx::postgres::PgPoolOptions;

fn client(upstream: &Upstream) -> Client {
    Client::new(&upstream.url(), None, Default::default())
}

#[tokio::test]
async fn the_upstream_speaks_both_eras_and_keeps_a_ledger() {
    let upstream = Upstream::start().await;
    let client = client(&upstream);
    let reply = client.modern("server/discover", json!({})).await;
    assert_eq!(reply.result()["supportedVersions"], json!(["2026-07-28"]));
    let listed = client.modern("tools/list", json!({})).await.names("tools");
    assert_eq!(listed, ["echo", "list_items", "delete_item", "hidden"]);
    let session = client.legacy().await;
    let reply = session.call("echo", json!({"text": "a"})).await;
    assert_eq!(reply.result()["content"][0]["text"], r#"echo {"text":"a"}"#);
    client.call("echo", json!({})).await;
    let receipts = upstream.receipts();
    assert_eq!(receipts.len(), 2, "{receipts:?}");
    assert_eq!(upstream.calls("echo").len(), 2);
}

#[tokio::test]
async fn legacy_only_and_modern_only() {
    let legacy = Upstream::of(Shape { modern: false, ..Shape::default() }).await;
    assert_eq!(client(&legacy).modern("server/discover", json!({})).await.status, 400);
    let modern = Upstream::of(Shape { legacy: false, ..Shape::default() }).await;
    let client = client(&modern);
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}});
    assert_eq!(client.send(client.post(body.to_string())).await.status, 400);
}

#[tokio::test]
async fn answers_are_sent_as_told() {
    let upstream = Upstream::start().await;
    let client = client(&upstream);
    upstream.answer("echo", Answer::Json(200, r#"{"id":$ID, "a":1e400}"#.into()));
    let body = client.modern_body("tools/call", json!({"name": "echo"}));
    let reply = client.send(client.modern_request(&body)).await;
    assert_eq!(reply.body, format!(r#"{{"id":{}, "a":1e400}}"#, body["id"]));
    upstream.answer("echo", Answer::events(&["{\"n\":1}", "{\"n\":2}"]));
    assert_eq!(client.call("echo", json!({})).await.messages().len(), 2);
    upstream.answer("echo", Answer::Cut(100, "{\"half".into()));
    let body = client.modern_body("tools/call", json!({"name": "echo"}));
    assert!(client.try_send(client.modern_request(&body)).await.is_err());
}

#[tokio::test]
async fn the_breaker_breaks() {
    let postgres = Postgres::shared();
    let database = postgres.database().await;
    let target = format!("127.0.0.1:{}", postgres.port()).parse().unwrap();
    let breaker = Breaker::start(target).await;
    let url = database.url_through(breaker.address.port());
    let options = PgPoolOptions::new().acquire_timeout(Duration::from_millis(300));
    let pool = options.max_connections(1).connect(&url).await.unwrap();
    let ask = async || sqlx::query("select 1").execute(&pool).await.is_ok();
    assert!(ask().await);
    breaker.set(Mode::Refuse);
    assert!(!ask().await);
    breaker.set(Mode::Pass);
    assert!(ask().await);
    breaker.set(Mode::Stall);
    let stalled = tokio::time::timeout(Duration::from_millis(300), ask()).await;
    assert!(!stalled.unwrap_or(false));
}

#[tokio::test]
async fn a_postgres_of_ones_own_survives_a_kill_and_a_freeze() {
    let postgres = Postgres::start();
    let database = postgres.database().await;
    let run = async |sql: &'static str| sqlx::query(sql).execute(&database.pool).await;
    run("create table kept (n int)").await.unwrap();
    run("insert into kept values (7)").await.unwrap();
    postgres.kill();
    let killed =
        tokio::time::timeout(Duration::from_millis(300), run("insert into kept values (8)"));
    assert!(!killed.await.is_ok_and(|answer| answer.is_ok()), "a killed Postgres has answered");
    postgres.start_again();
    assert_eq!(database.count("select count(*) from kept").await, 1);
    postgres.freeze();
    let frozen = tokio::time::timeout(Duration::from_millis(300), run("select 1")).await;
    assert!(frozen.is_err(), "a frozen Postgres has answered");
    postgres.thaw();
    assert_eq!(database.count("select count(*) from kept").await, 1);
}

/// Only as much of the schema as the auditor reads.
const TABLES: &str = "
    create table audit_intent (ts timestamptz default now(), id uuid, subject text);
    create table audit_event (ts timestamptz default now(), id uuid default gen_random_uuid(),
        call_id uuid, concludes boolean, action text default '', outcome text default 'ok',
        reason text, detail text, actor_email text, method text, resource_name text,
        count bigint default 1);
    create table audit_payload (codec text, body bytea);";

const INTENT: &str = r#"
    insert into audit_intent (id, subject) values ('00000000-0000-7000-8000-000000000001',
        '{"request_id":"\"a\"","method":"tools/call","resource_name":"echo"}')"#;

const EVENT: &str = "
    insert into audit_event (call_id, concludes)
    values ('00000000-0000-7000-8000-000000000001', true)";

#[tokio::test]
async fn the_auditor_finds_what_is_wrong() {
    let receipt = Receipt { id: "\"a\"".into(), method: "tools/call".into(), name: "echo".into() };
    let secret = "insert into audit_payload values ('raw', 'my-canary-secret'::bytea)";
    let hidden = "update audit_event set detail = 'my-canary-secret'";
    let twice = [receipt.clone(), receipt.clone()];
    let once = &twice[..1];
    type Case<'a> = (&'a str, &'a [&'a str], &'a [Receipt], &'a str, bool);
    let cases: [Case<'_>; 10] = [
        ("all is well", &[INTENT, EVENT], once, "", true),
        ("no receipt is fine", &[INTENT, EVENT], &[], "", true),
        ("a receipt without an intent", &[], once, "", false),
        ("a receipt twice", &[INTENT, EVENT], &twice, "", false),
        ("never concluded", &[INTENT], once, "", false),
        ("concluded twice", &[INTENT, EVENT, EVENT], once, "", false),
        ("concluded without an intent", &[EVENT], &[], "", false),
        ("a secret in a column", &[INTENT, EVENT, hidden], once, "", false),
        ("a secret in a payload", &[INTENT, EVENT, secret], once, "", false),
        ("a secret in a log", &[INTENT, EVENT], once, "hello my-canary-secret", false),
    ];
    for (name, statements, receipts, log, good) in cases {
        let database = Postgres::shared().database().await;
        sqlx::raw_sql(TABLES).execute(&database.pool).await.unwrap();
        for statement in statements {
            let statement = sqlx::AssertSqlSafe((*statement).to_owned());
            sqlx::query(statement).execute(&database.pool).await.unwrap();
        }
        let evidence = Evidence {
            receipts: receipts.to_vec(),
            secrets: vec!["my-canary-secret".into()],
            texts: vec![log.into()],
            ..Evidence::default()
        };
        let audited = AssertUnwindSafe(audit(&database, &evidence)).catch_unwind().await;
        assert_eq!(audited.is_ok(), good, "{name}");
    }
}
