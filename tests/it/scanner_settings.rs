//! Settings of the scanners over real sockets: they hold on every replica, told by the notify channel or found by
//! looking (how long it took is printed), and what is pasted to try them is kept nowhere.

use std::time::{Duration, Instant};

use gateway_tests::gateway::{Gateway, Options};
use gateway_tests::rig::{Rig, Setup, check};
use gateway_tests::wait::eventually;
use serde_json::{Value, json};

/// Looks like a key and opens nothing.
const PASTED: &str = "AKIAQ7YHTZM3WKP5XN2V";
/// The catalogue counts as ever and says nothing.
const CUT: &str = r#"
create or replace function catalogue_changed() returns trigger language plpgsql as $$
begin
    update catalogue_version set version = version + 1, changed_by = pg_current_xact_id()
     where changed_by <> pg_current_xact_id();
    return null;
end
$$"#;

async fn rest(rig: &Rig, base: &str, (method, path): (&str, &str), body: Value) -> Value {
    let request =
        rig.client("alice").http.request(method.parse().unwrap(), format!("{base}{path}"));
    let request = request.bearer_auth(rig.key("alice")).header("content-type", "application/json");
    let answer = request.body(body.to_string()).send().await.unwrap();
    let status = answer.status();
    let body = answer.json().await.unwrap_or(Value::Null);
    assert!(status.is_success(), "{method} {path}: {status} {body}");
    body
}

/// Sets modes on the first replica, one after the other, and waits until calls through the second one follow them.
async fn follows(rig: &Rig, other: &Gateway, how: &str) {
    let bob = rig.client("bob").at(&other.proxy_url("fake"));
    for (mode, expected) in
        [("block", "scanner_blocked"), ("monitor", ""), ("block", "scanner_blocked")]
    {
        let settings = json!({"settings": {"modes": {"tool_intent": {"secrets": mode}}}});
        let base = &rig.gateway.base;
        rest(rig, base, ("PATCH", "/api/v1/scanners?server_id=fake"), settings).await;
        let from = Instant::now();
        eventually(&format!("{how}: {mode}"), Duration::from_secs(10), async || {
            let reply = bob.call("echo", json!({"text": PASTED})).await;
            (reply.reason() == expected).then_some(())
        })
        .await;
        println!("{how}: {mode} held after {} ms", from.elapsed().as_millis());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_hold_on_every_replica_told_or_not() {
    let mut rig = Rig::start(Setup::default()).await;
    rig.secrets.push(PASTED.into());
    let config = format!("server.public_url = \"{}\"\n", rig.gateway.base);
    let config = format!("{config}{}", rig.gateway.options.config);
    let mut other =
        Gateway::start(Options { state: None, config, ..rig.gateway.options.clone() }).await;
    follows(&rig, &other, "told").await;
    sqlx::query(CUT).execute(&rig.database.pool).await.unwrap();
    follows(&rig, &other, "not told").await;
    assert!(other.terminate().success());
    rig.finish().await;
}

#[tokio::test]
async fn what_is_pasted_to_try_the_scanners_is_kept_nowhere() {
    check(Setup::default(), async |rig| {
        rig.secrets.push(PASTED.into());
        let text = format!("the key is {PASTED}, keep it");
        rig.secrets.push(text.clone());
        let base = rig.gateway.base.clone();
        let body = json!({"text": text});
        let tried = rest(rig, &base, ("POST", "/api/v1/scanners/test"), body.clone()).await;
        assert_eq!(tried["findings"][0]["class"], "secrets", "{tried}");
        let tried = rig.ask("alice", "test_scanner", body).await;
        assert_eq!(tried["findings"][0]["rule"], "aws_access_key_id", "{tried}");
        // Nothing else of the text is there either: neither as argument nor as result.
        let canary = json!({"text": "canary-2f8d"});
        rig.secrets.push("canary-2f8d".into());
        assert_eq!(rig.ask("alice", "test_scanner", canary).await["verdict"], "pass");
    })
    .await;
}
