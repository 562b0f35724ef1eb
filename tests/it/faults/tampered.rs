//! The trail shows what was done to it, and the gateway's own role can do nothing to it.

use gateway_tests::auditor::events_of;
use gateway_tests::rig::{Rig, Setup, check};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

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
