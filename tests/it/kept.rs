//! What the trail keeps of calls that were refused or wait: the same as of calls that passed, for the same
//! readers. Of callers whom nobody knows it keeps nothing that they said.

use std::time::Duration;

use gateway_tests::auditor::events_of;
use gateway_tests::rig::{Rig, Setup, check};
use gateway_tests::wait::eventually;
use serde_json::{Value, json};
use sqlx::Row;

const PATIENCE: Duration = Duration::from_secs(20);
const SETUP: &str = r#"
[[servers]]
slug = "diary"
url = "http://127.0.0.1:9/mcp"
sensitive = true
[[limits]]
name = "no lists"
principals = ["user:bob@example.com"]
server = "fake"
tools = ["list_items"]
budget = { calls = 0 }
"#;
const ON_DIARY: &str = r#"
[[policies]]
name = "bob reads it"
effect = "allow"
principals = ["user:bob@example.com"]
server = "diary"
tools = ["read"]
"#;

fn setup() -> Setup {
    let policies = format!("{}{ON_DIARY}", Setup::default().policies);
    Setup { state: SETUP.into(), policies, ..Setup::default() }
}

/// The entry of an exchange, as that person reads it.
async fn entry(rig: &Rig, who: &str, call: &str) -> Value {
    let found = eventually("the exchange is in the trail", PATIENCE, async || {
        let listed = rig.ask(who, "list_audit_logs", json!({"correlation_id": call})).await;
        listed["data"].as_array()?.first().map(|row| row["id"].clone())
    });
    let id = found.await;
    rig.ask(who, "get_audit_log", json!({"id": id})).await
}

async fn kept(rig: &Rig) -> Vec<String> {
    let rows =
        sqlx::query("select body from audit_payload where kind = 'arguments' and codec = 'raw'");
    let rows = rows.fetch_all(&rig.database.pool).await.unwrap();
    rows.iter().map(|row| String::from_utf8_lossy(row.get(0)).into_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_refused_keeps_what_it_was_to_do() {
    check(setup(), async |rig| {
        let (bob, carol) = (rig.client("bob"), rig.client("carol"));
        let session = bob.legacy().await;
        let mark = |n: usize| json!({"text": format!("forbidden {n}"), "item": n});
        let mismatch = bob.modern_body("tools/call", json!({"name": "echo", "arguments": mark(5)}));
        let replies = [
            ("policy_denied", bob.call("echo", mark(0)).await),
            ("policy_denied", session.call("echo", mark(1)).await),
            ("target_not_found", carol.call("delete_item", mark(2)).await),
            ("confirmation_required", bob.call("delete_item", mark(3)).await),
            ("budget_exhausted", bob.call("list_items", mark(4)).await),
            ("header_mismatch", bob.send(bob.post(mismatch.to_string())).await),
            ("server_not_found", bob.at(&rig.gateway.proxy_url("absent")).call("x", mark(6)).await),
        ];
        for (n, (reason, reply)) in replies.iter().enumerate() {
            let seen = reply.refusal().unwrap_or_else(|| panic!("{reason}: {:?}", reply.body));
            assert_eq!(seen.reason, *reason);
            let read = entry(rig, "alice", &seen.correlation_id).await;
            assert_eq!(read["arguments"]["text"], json!(mark(n).to_string()), "{read}");
            assert_eq!((&read["reason"], &read["result"]), (&json!(reason), &Value::Null));
        }
        // Whose call it was reads the same, but for what no server answers for.
        let own = async |n: usize| {
            let call = replies[n].1.refusal().unwrap().correlation_id;
            entry(rig, "bob", &call).await
        };
        assert_eq!(own(0).await["arguments"]["text"], json!(mark(0).to_string()));
        let nowhere = own(6).await;
        assert_eq!((&nowhere["arguments"], &nowhere["withheld"]), (&Value::Null, &json!(true)));
        // What passed has them once: with its intent.
        let passed = json!({"text": "only once"});
        assert_eq!(bob.call("echo", passed.clone()).await.status, 200);
        events_of(&rig.database, 1, |row| {
            row.action == "tool_call_success" && row.resource_name == "echo"
        })
        .await;
        let passed = passed.to_string();
        let found = kept(rig).await.into_iter().filter(|kept| *kept == passed);
        assert_eq!(found.count(), 1);
        assert!(rig.upstream.calls("delete_item").is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_sensitive_server_was_to_hear_is_for_those_who_may_read_it() {
    check(setup(), async |rig| {
        let diary = rig.client_of("bob", "diary");
        let refused = diary.call("write", json!({"text": "dear diary"})).await;
        let call = refused.refusal().unwrap().correlation_id;
        let (own, all) = (entry(rig, "bob", &call).await, entry(rig, "alice", &call).await);
        assert_eq!((&own["arguments"], &own["withheld"]), (&Value::Null, &json!(true)), "{own}");
        assert_eq!(all["arguments"]["text"], json!("{\"text\":\"dear diary\"}"), "{all}");
    })
    .await;
}

/// Anybody can send as many of these as they like: their records are counted together, and small.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_callers_whom_nobody_knows_nothing_is_kept() {
    check(setup(), async |rig| {
        let canary = "canary-nobodys-7c20";
        // The auditor looks for it in every table.
        rig.secrets.push(canary.into());
        for key in [None, Some("rl_unknown-0123456789012345678901234567890123456789")] {
            for _ in 0..20 {
                let refused = rig.stranger("fake", key).call("echo", json!({"text": canary})).await;
                assert_eq!(refused.status, 401);
            }
        }
        // Nor of what could not be read, whoever sent it.
        let bob = rig.client("bob");
        for broken in [
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"echo","arguments":{{"text":"{canary}"}}}}"#),
            format!(r#"[{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"echo","arguments":{{"text":"{canary}"}}}}}}]"#),
        ] {
            assert_eq!(bob.send(bob.post(broken)).await.status, 400);
        }
        let refused = |row: &gateway_tests::auditor::EventRow| row.reason.starts_with("credential_");
        let rows = events_of(&rig.database, 4, refused).await;
        assert!(rows.len() <= 14, "{} rows for 40 requests", rows.len());
        assert!(kept(rig).await.is_empty());
    })
    .await;
}
