//! Both eras of MCP on one address: what each message does, stream by stream.

use std::time::Duration;

use gateway_tests::client::legacy_body;
use gateway_tests::rig::{Setup, check};
use gateway_tests::upstream::{Answer, Shape};
use gateway_tests::wait::eventually;
use serde_json::{Value, json};

fn event(data: &str) -> (Duration, String) {
    (Duration::ZERO, format!("data: {data}\n\n"))
}

#[tokio::test]
async fn a_legacy_only_server_makes_modern_clients_fall_back() {
    let shape = Shape { modern: false, ..Shape::default() };
    check(Setup { shape, ..Setup::default() }, async |rig| {
        let bob = rig.client("bob");
        for (method, params) in [
            ("server/discover", json!({})),
            ("tools/call", json!({"name": "echo", "arguments": {}})),
        ] {
            let reply = bob.modern(method, params).await;
            assert_eq!((reply.status, reply.error()["code"].as_i64()), (400, Some(-32022)));
            assert_eq!(reply.error()["data"]["supported"], json!(["2025-11-25"]));
            assert_eq!(reply.error()["data"]["requested"], "2026-07-28");
        }
        let session = bob.legacy().await;
        assert_eq!(session.call("echo", json!({})).await.result()["isError"], false);
    })
    .await;
}

#[tokio::test]
async fn what_belongs_to_the_other_era_is_refused() {
    check(Setup::default(), async |rig| {
        let bob = rig.client("bob");
        for method in ["initialize", "ping", "logging/setLevel", "resources/subscribe", "nonsense"]
        {
            let reply = bob.modern(method, json!({})).await;
            assert_eq!(
                (reply.status, reply.error()["code"].as_i64()),
                (404, Some(-32601)),
                "{method}"
            );
        }
        for method in [http::Method::GET, http::Method::DELETE] {
            let request = bob.request(method).header("mcp-protocol-version", "2026-07-28");
            assert_eq!(bob.send(request).await.status, 405);
        }
        let mut unknown = bob.modern_body("tools/list", json!({}));
        unknown["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2031-01-01");
        let request = bob
            .post(unknown.to_string())
            .header("mcp-protocol-version", "2031-01-01")
            .header("mcp-method", "tools/list");
        let reply = bob.send(request).await;
        assert_eq!((reply.status, reply.error()["code"].as_i64()), (400, Some(-32022)));
        assert_eq!(reply.error()["data"]["requested"], "2031-01-01");
        let session = bob.legacy().await;
        let odd = session.request(&legacy_body("ping", Value::Null));
        let odd = odd.header("mcp-protocol-version", "1999-01-01");
        assert_eq!(bob.send(odd).await.status, 400);
        // A stray modern header on a legacy initialize says nothing about the era.
        let body = legacy_body(
            "initialize",
            json!({
                "protocolVersion": "2025-11-25", "capabilities": {},
                "clientInfo": {"name": "stray", "version": "1"},
            }),
        );
        let stray = bob.post(body.to_string()).header("mcp-method", "initialize");
        assert_eq!(bob.send(stray).await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn a_session_handle_works_for_its_owner_only() {
    let setup = Setup::default();
    check(setup, async |rig| {
        let (bob, carol) = (rig.client("bob"), rig.client("carol"));
        let session = bob.legacy().await;
        let handle = session.id.clone().unwrap_or_default();
        let mut stolen = carol.legacy().await;
        let before = rig.upstream.received().len();
        stolen.id = Some(handle.clone());
        assert_eq!(stolen.call("echo", json!({})).await.status, 404);
        stolen.id = Some(format!("{handle}x"));
        assert_eq!(stolen.call("echo", json!({})).await.status, 404);
        let get = carol.request(http::Method::GET).header("mcp-session-id", &handle);
        let get = get.header("accept", "text/event-stream");
        assert_eq!(carol.send(get).await.status, 404);
        let delete = carol.request(http::Method::DELETE).header("mcp-session-id", &handle);
        assert_eq!(carol.send(delete).await.status, 404);
        assert_eq!(rig.upstream.received().len(), before, "nothing reached the upstream");
        assert_eq!(session.call("echo", json!({})).await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn progress_questions_and_answers_pass_in_a_legacy_session() {
    check(Setup::default(), async |rig| {
        let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":0.50}}"#;
        let question = r#"{"jsonrpc":"2.0","id":77,"method":"sampling/createMessage","params":{"messages":[],"maxTokens":1}}"#;
        let result = r#"{"jsonrpc":"2.0","id":$ID,"result":{"content":[],"isError":false}}"#;
        let events = [event(progress), event(question), event(result)];
        rig.upstream.answer("echo", Answer::Events(events.to_vec()));
        let session = rig.client("bob").legacy().await;
        let reply = session.call("echo", json!({})).await;
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        assert!(text.contains(progress) && text.contains(question), "{text}");
        let answer = json!({"jsonrpc": "2.0", "id": 77, "result": {"role": "assistant"}});
        assert_eq!(session.client.send(session.request(&answer)).await.status, 202);
        let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
        assert_eq!(session.client.send(session.request(&cancel)).await.status, 202);
        let received = rig.upstream.received();
        assert!(received.iter().any(|r| r.json == answer), "the answer went to the upstream");
        assert!(received.iter().any(|r| r.json == cancel), "the cancellation too");
    })
    .await;
}

#[tokio::test]
async fn a_modern_server_may_not_question_its_client() {
    check(Setup::default(), async |rig| {
        let question = r#"{"jsonrpc":"2.0","id":77,"method":"sampling/createMessage","params":{}}"#;
        let result = r#"{"jsonrpc":"2.0","id":$ID,"result":{"resultType":"complete","content":[],"isError":false}}"#;
        rig.upstream.answer("echo", Answer::Events(vec![event(question), event(result)]));
        let reply = rig.client("bob").call("echo", json!({})).await;
        assert_eq!(reply.messages().len(), 1, "{:?}", reply.body);
        assert_eq!(reply.result()["isError"], false);
    })
    .await;
}

#[tokio::test]
async fn a_stream_is_reopened_where_it_broke_off() {
    check(Setup::default(), async |rig| {
        let session = rig.client("bob").legacy().await;
        let missed = "id: 8\nretry: 10\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\"}\n\n";
        let answer = Answer::Events(vec![(Duration::ZERO, missed.into())]);
        // GET has no JSON-RPC method: its answers are told by the empty name.
        rig.upstream.answer("", answer);
        let get = session.client.request(http::Method::GET);
        let get = get.header("accept", "text/event-stream").header("last-event-id", "7");
        let get = get.header("mcp-session-id", session.id.as_deref().unwrap_or_default());
        let reply = session.client.send(get).await;
        assert_eq!(String::from_utf8_lossy(&reply.body), missed);
        let received = rig.upstream.received();
        let got = received.iter().find(|r| r.http_method == http::Method::GET);
        assert_eq!(got.map(|r| r.header("last-event-id").to_owned()).as_deref(), Some("7"));
    })
    .await;
}

#[tokio::test]
async fn a_subscription_streams_until_access_is_revoked() {
    check(Setup::default(), async |rig| {
        let first =
            r#"{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{}}"#;
        let changed = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
        rig.upstream
            .answer("subscriptions/listen", Answer::Open(vec![event(first), event(changed)]));
        let key = rig.gateway.key("bob@example.com");
        rig.secrets.push(key.clone());
        let bob = rig.stranger("fake", Some(&key));
        let body = bob.modern_body("subscriptions/listen", json!({"notifications": {}}));
        let mut stream = bob.modern_request(&body).send().await.expect("it opens");
        let mut text = String::new();
        while !text.contains("list_changed") {
            let chunk = stream.chunk().await.expect("it goes on").expect("it stays open");
            text.push_str(&String::from_utf8_lossy(&chunk));
        }
        let listed = rig.gateway.cli(&["key", "list"], &[]);
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let last_four = &key[key.len() - 4..];
        let line = listed.lines().find(|line| line.contains(last_four)).expect("it is listed");
        let id = line.split_whitespace().find(|word| word.len() == 36).expect("its id is shown");
        assert!(rig.gateway.cli(&["key", "revoke"], &[id]).status.success());
        while let Some(chunk) = stream.chunk().await.expect("it ends cleanly") {
            text.push_str(&String::from_utf8_lossy(&chunk));
        }
        assert!(text.contains("notifications/cancelled"), "{text}");
        let refused = async || (bob.call("echo", json!({})).await.status == 401).then_some(());
        eventually("the key is refused", Duration::from_secs(10), refused).await;
    })
    .await;
}

#[tokio::test]
async fn a_dead_upstream_is_told_and_hurts_nobody_else() {
    let config = "limits.connect = \"1s\"\nlimits.first_byte = \"1s\"\n".to_owned();
    check(Setup { config, ..Setup::default() }, async |rig| {
        let bob = rig.client("bob");
        assert_eq!(bob.call("echo", json!({})).await.status, 200);
        rig.upstream.answer("echo", Answer::Hang);
        let hung = bob.call("echo", json!({})).await;
        assert_eq!((hung.status, hung.reason().as_str()), (504, "upstream_timeout"));
        rig.upstream.answer("echo", Answer::Cut(100, "{\"jsonrpc\"".into()));
        let cut = bob.try_send(bob.modern_request(
            &bob.modern_body("tools/call", json!({"name": "echo", "arguments": {}})),
        ));
        let cut = cut.await;
        let broken = cut.as_ref().map_or(true, |reply| reply.status == 502);
        assert!(broken, "a broken body must not look whole: {cut:?}");
        for status in [301, 401, 403, 500, 503] {
            rig.upstream.answer("echo", Answer::Json(status, "{}".into()));
            let reply = bob.call("echo", json!({})).await;
            assert_eq!(
                (reply.status, reply.reason().as_str()),
                (502, "upstream_invalid"),
                "{status}"
            );
        }
        assert_eq!(bob.call("list_items", json!({})).await.status, 200);
    })
    .await;
}
