//! Limits over real sockets: what a client is told, what is recorded, and one budget over two replicas and a death.

use gateway_tests::auditor::events_of;
use gateway_tests::client::Reply;
use gateway_tests::gateway::{Gateway, Options};
use gateway_tests::rig::{Rig, Setup, check};
use serde_json::json;

fn setup(limits: &str) -> Setup {
    Setup { state: limits.into(), ..Setup::default() }
}

fn assert_limited(reply: &Reply, reason: &str, limit: &str) -> u64 {
    let text = String::from_utf8_lossy(&reply.body);
    assert_eq!(reply.status, 429, "{text}");
    assert_eq!(reply.reason(), reason, "{text}");
    let error = reply.error();
    assert_eq!(
        (&error["code"], &error["data"]["limit"]),
        (&json!(-31429), &json!(limit)),
        "{text}"
    );
    assert!(error["message"].as_str().unwrap().contains(&format!("\"{limit}\"")), "{text}");
    let seconds: u64 = reply.header("retry-after").parse().expect("Retry-After in seconds");
    assert_eq!(error["data"]["retry_after"], json!(seconds), "{text}");
    seconds
}

#[tokio::test]
async fn a_call_over_a_limit_gets_429_and_a_record_and_nothing_goes_upstream() {
    let limits = r#"
[[limits]]
name = "three an hour"
principals = ["group:engineering"]
server = "fake"
tools = ["ec*"]
rate = { calls = 3, per = "hour" }

[[limits]]
name = "two reads a day"
principals = ["everyone"]
counts = "together"
server = "fake"
budget = { calls = 5 }

[[limits]]
name = "no questions"
principals = ["user:carol@example.com"]
server = "runlayer"
budget = { calls = 0, timezone = "Europe/Berlin" }
"#;
    check(setup(limits), async |rig| {
        let bob = rig.client("bob");
        let session = bob.legacy().await;
        for n in 0..3 {
            let reply = if n == 1 {
                session.call("echo", json!({"text": "a"})).await
            } else {
                bob.call("echo", json!({"text": "a"})).await
            };
            assert_eq!(reply.status, 200);
        }
        // Both eras; the session lives on, and so does everything that is no call.
        for reply in [
            bob.call("echo", json!({"text": "a"})).await,
            session.call("echo", json!({"text": "a"})).await,
        ] {
            let seconds = assert_limited(&reply, "rate_limited", "three an hour");
            assert!((1..=1200).contains(&seconds), "{seconds}");
        }
        assert_eq!(session.ask("tools/list", json!({})).await.status, 200);
        assert_eq!(bob.modern("server/discover", json!({})).await.status, 200);
        // Another tool, and resources, are left of the day's budget of five: two.
        let read = json!({"uri": "fake://open/readme"});
        assert_eq!(session.call("list_items", json!({})).await.status, 200);
        assert_eq!(session.ask("resources/read", read.clone()).await.status, 200);
        let seconds = assert_limited(
            &session.ask("resources/read", read).await,
            "budget_exhausted",
            "two reads a day",
        );
        assert!((1..=86_400).contains(&seconds), "{seconds}");
        let carol = rig.client("carol");
        let echo = carol.call("echo", json!({"text": "a"})).await;
        assert_limited(&echo, "budget_exhausted", "two reads a day");
        // What policy denies is denied, and counts as nothing.
        let denied = bob.call("echo", json!({"text": "forbidden"})).await;
        assert_eq!(denied.reason(), "policy_denied");
        // The Runlayer MCP's tools are calls like others.
        let asks = rig.client_of("carol", "runlayer");
        let refused = asks.call("list_servers", json!({})).await;
        assert_limited(&refused, "budget_exhausted", "no questions");
        let alice = rig.client_of("alice", "runlayer");
        let listed = alice.call("list_limits", json!({})).await.result();
        let data = listed["structuredContent"]["data"].as_array().unwrap().clone();
        let shared = data.iter().find(|row| row["name"] == "two reads a day").unwrap();
        assert_eq!(shared["used_today"], json!([{"who": "together", "calls": 5}]), "{listed}");

        assert_eq!(rig.upstream.calls("echo").len(), 3);
        let rows = events_of(&rig.database, 5, |row| {
            ["rate_limited", "budget_exhausted"].contains(&row.reason.as_str())
        })
        .await;
        assert_eq!(rows.len(), 5, "{rows:?}");
        assert!(rows.iter().all(|row| row.action == "request_refused" && !row.concludes));
        assert!(rows[0].detail.contains("three an hour"), "{rows:?}");
        let metrics = rig.gateway.metrics().await;
        assert!(metrics.contains(r#"gateway_limited_total{limit="three an hour"} 2"#), "{metrics}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_and_a_death_never_pass_more_than_the_budget() {
    let limits = r#"
[[limits]]
name = "shared"
principals = ["everyone"]
counts = "together"
server = "fake"
budget = { calls = 60 }
"#;
    let mut rig = Rig::start(setup(limits)).await;
    let options = Options { state: None, ..rig.gateway.options.clone() };
    let mut b = Gateway::start(options).await;
    let bob = rig.client("bob");
    let at_b = bob.at(&b.proxy_url("fake"));
    let echo = || json!({"text": "a"});
    let passes = |reply: &Reply| match reply.status {
        200 => true,
        _ => {
            assert_limited(reply, "budget_exhausted", "shared");
            false
        }
    };
    // Each holds a block of three; b dies with what it has left.
    assert!(passes(&bob.call("echo", echo()).await));
    assert!(passes(&at_b.call("echo", echo()).await));
    b.kill();
    let mut passed = 2;
    for _ in 0..80 {
        passed += usize::from(passes(&bob.call("echo", echo()).await));
    }
    assert_eq!(passed, 60 - 2, "two died with b");
    b.restart().await;
    assert!(!passes(&at_b.call("echo", echo()).await), "and they stay dead");
    assert_eq!(rig.upstream.calls("echo").len(), 58);
    // What a replica holds that stops in peace, the next one may use.
    let more = rig.gateway.apply("[[limits]]\nname = \"shared\"\nprincipals = [\"everyone\"]\ncounts = \"together\"\nserver = \"fake\"\nbudget = { calls = 100 }\n");
    assert!(more.contains("~ limit shared"), "{more}");
    let first = gateway_tests::wait::eventually(
        "b knows",
        std::time::Duration::from_secs(10),
        async || passes(&at_b.call("echo", echo()).await).then_some(()),
    );
    first.await;
    assert!(b.terminate().success());
    let mut rest = 1;
    for _ in 0..60 {
        rest += usize::from(passes(&bob.call("echo", echo()).await));
    }
    assert_eq!(rest, 40);
    rig.patience = std::time::Duration::from_secs(60);
    rig.finish().await;
}

#[tokio::test]
async fn limits_are_set_by_rest_and_count_at_once() {
    check(Setup::default(), async |rig| {
        let limit = json!({"principals": ["user:bob@example.com"], "server": "fake", "budget": {"calls": 1}});
        let url = format!("{}/api/v1/limits/one%20a%20day", rig.gateway.base);
        let alice = rig.client("alice").at(&url);
        let put = alice.request(http::Method::PUT).header("content-type", "application/json");
        let put = alice.send(put.body(limit.to_string())).await;
        assert_eq!(put.status, 200, "{}", String::from_utf8_lossy(&put.body));
        assert_eq!(put.json()["name"], "one a day");
        let bob = rig.client("bob");
        assert_eq!(bob.call("echo", json!({"text": "a"})).await.status, 200);
        assert_limited(&bob.call("echo", json!({"text": "a"})).await, "budget_exhausted", "one a day");
        let gone = alice.send(alice.request(http::Method::DELETE)).await;
        assert_eq!(gone.status, 200, "{}", String::from_utf8_lossy(&gone.body));
        assert_eq!(bob.call("echo", json!({"text": "a"})).await.status, 200);
    })
    .await;
}
