//! What clients are told when something may not pass: the shape, the reason, and that nothing was sent.

use gateway_tests::auditor::events_of;
use gateway_tests::client::{Client, Reply, legacy_body};
use gateway_tests::rig::{Setup, check};
use serde_json::{Value, json};

/// A refusal is schema-valid and tells its reason where machines look for it.
fn assert_refused(reply: &Reply, status: u16, reason: &str, what: &str) {
    let text = String::from_utf8_lossy(&reply.body);
    assert_eq!(reply.status, status, "{what}: {text}");
    assert_eq!(reply.reason(), reason, "{what}: {text}");
    let json = reply.json();
    assert_eq!(json["jsonrpc"], "2.0", "{what}");
    if json.get("error").is_some() {
        let code = json["error"]["code"].as_i64().unwrap();
        let ours = !(-32768..=-32000).contains(&code);
        let specified = [-32700, -32600, -32601, -32602, -32603, -32020, -32021, -32022];
        assert!(ours || specified.contains(&code), "{what}: invented code {code}");
        assert!(json["error"]["message"].is_string(), "{what}");
        assert!(json["error"]["data"]["policy_ids"].is_array(), "{what}: {text}");
    } else {
        assert_eq!(json["result"]["isError"], true, "{what}");
        assert_eq!(json["result"]["content"][0]["type"], "text", "{what}");
    }
}

#[tokio::test]
async fn a_denied_call_names_the_policy_and_leaves_nothing_upstream() {
    check(Setup::default(), async |rig| {
        let bob = rig.client("bob");
        let session = bob.legacy().await;
        let arguments = json!({"text": "this is forbidden"});
        let modern = bob.call("echo", arguments.clone()).await;
        assert_refused(&modern, 200, "policy_denied", "modern");
        assert_eq!(modern.result()["resultType"], "complete");
        let legacy = session.call("echo", arguments).await;
        assert_refused(&legacy, 200, "policy_denied", "legacy");
        let text = modern.result()["content"][0]["text"].to_string();
        assert!(text.contains("That word is forbidden"), "{text}");
        assert!(rig.upstream.calls("echo").is_empty());
        let denied = events_of(&rig.database, 2, |row| row.reason == "policy_denied").await;
        assert_eq!(denied.len(), 2, "{denied:?}");
        assert!(denied.iter().all(|row| row.actor_email == "bob@example.com"));
    })
    .await;
}

#[tokio::test]
async fn what_no_policy_allows_looks_like_what_does_not_exist() {
    check(Setup::default(), async |rig| {
        let carol = rig.client("carol");
        let same = |a: &Reply, b: &Reply| {
            let blank = |reply: &Reply| {
                let mut json = reply.json();
                json["id"] = Value::Null;
                if let Some(data) = json["error"]["data"].as_object_mut() {
                    data.insert("correlation_id".into(), Value::Null);
                }
                (reply.status, json.to_string())
            };
            let (a, b) = (blank(a), blank(b));
            assert_eq!(a.0, b.0);
            assert_eq!(a.1.replace("list_items", "NAME"), b.1.replace("no_such_tool", "NAME"));
        };
        let existing = carol.call("list_items", json!({})).await;
        let missing = carol.call("no_such_tool", json!({})).await;
        assert_refused(&existing, 200, "target_not_found", "a tool for others");
        same(&existing, &missing);
        let alice = rig.client("alice");
        let closed = alice.call("echo", json!({})).await;
        let absent = alice.at(&rig.gateway.proxy_url("absent")).call("echo", json!({})).await;
        assert_refused(&closed, 404, "server_not_found", "a server for others");
        same(&closed, &absent);
        // Nor does a session tell, or one's own entries.
        let with_session = async |server: &str| {
            let there = alice.at(&rig.gateway.proxy_url(server));
            let body = legacy_body("tools/call", json!({"name": "echo", "arguments": {}}));
            there.send(there.post(body.to_string()).header("mcp-session-id", "x")).await
        };
        let (closed, absent) = (with_session("fake").await, with_session("absent").await);
        assert_refused(&closed, 404, "server_not_found", "a session of a server for others");
        same(&closed, &absent);
        assert!(rig.upstream.received_of("tools/call").is_empty());
    })
    .await;
}

#[tokio::test]
async fn headers_must_agree_with_the_body() {
    check(Setup::default(), async |rig| {
        let bob = rig.client("bob");
        let body = bob.modern_body("tools/call", json!({"name": "echo", "arguments": {}}));
        let with = |headers: &[(&str, &str)]| {
            let request = bob.post(body.to_string());
            headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))
        };
        let version = ("mcp-protocol-version", "2026-07-28");
        let (method, name) = (("mcp-method", "tools/call"), ("mcp-name", "echo"));
        let bad: [(&str, &[(&str, &str)]); 8] = [
            ("no version", &[method, name]),
            ("another version", &[("mcp-protocol-version", "2025-11-25"), method, name]),
            ("no method", &[version, name]),
            ("another method", &[version, ("mcp-method", "tools/list"), name]),
            ("method in other case", &[version, ("mcp-method", "Tools/Call"), name]),
            ("no name", &[version, method]),
            ("another name", &[version, method, ("mcp-name", "list_items")]),
            ("two names", &[version, method, name, ("mcp-name", "list_items")]),
        ];
        for (what, headers) in bad {
            let reply = bob.send(with(headers)).await;
            assert_refused(&reply, 400, "header_mismatch", what);
            assert_eq!(reply.error()["code"], -32020, "{what}");
            assert_eq!(reply.json()["id"], body["id"], "{what}");
        }
        assert!(rig.upstream.calls("echo").is_empty());
        let encoded = ("mcp-name", "=?base64?ZWNobw==?=");
        let reply = bob.send(with(&[version, method, encoded])).await;
        assert_eq!(reply.status, 200, "{:?}", reply.body);
    })
    .await;
}

/// F2, C3.
#[tokio::test]
async fn bodies_that_two_parsers_could_read_differently_are_refused() {
    check(Setup::default(), async |rig| {
        let bob = rig.client("bob");
        let session = bob.legacy().await;
        let call = |params: &str| {
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#)
        };
        let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
        let bad: Vec<(&str, Vec<u8>, &str)> = vec![
            ("empty", Vec::new(), "invalid_json"),
            ("not JSON", b"hello".to_vec(), "invalid_json"),
            ("cut off", b"{\"jsonrpc\":\"2.0\"".to_vec(), "invalid_json"),
            ("trailing data", [call("{}").as_bytes(), b" {}"].concat(), "invalid_json"),
            ("BOM", ["\u{feff}".as_bytes(), call("{}").as_bytes()].concat(), "invalid_json"),
            (
                "bad UTF-8",
                b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\"}".to_vec(),
                "invalid_json",
            ),
            ("lone surrogate", call(r#"{"name":"\ud800"}"#).into(), "invalid_json"),
            ("duplicate name", call(r#"{"name":"hidden","name":"echo"}"#).into(), "invalid_json"),
            (
                "duplicate deep inside",
                call(r#"{"name":"echo","arguments":{"a":{"b":1,"\u0062":2}}}"#).into(),
                "invalid_json",
            ),
            (
                "too deep",
                call(&format!(r#"{{"name":"echo","arguments":{deep}}}"#)).into(),
                "invalid_json",
            ),
            ("batch", format!("[{}]", call(r#"{"name":"echo"}"#)).into(), "batch_not_supported"),
            (
                "wrong-case key",
                br#"{"jsonrpc":"2.0","id":1,"Method":"tools/call","params":{"name":"echo"}}"#
                    .to_vec(),
                "invalid_message",
            ),
            (
                "a twin by a long s",
                r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"},"paramſ":{"name":"hidden"}}"#
                    .into(),
                "invalid_message",
            ),
            (
                "a twin in params",
                call(r#"{"name":"echo","arguments":{},"Arguments":{"text":"forbidden"}}"#).into(),
                "invalid_params",
            ),
            ("a number", b"7".to_vec(), "invalid_message"),
            (
                "wrong version",
                br#"{"jsonrpc":"1.0","id":1,"method":"tools/call","params":{"name":"echo"}}"#
                    .to_vec(),
                "invalid_message",
            ),
            (
                "null id",
                br#"{"jsonrpc":"2.0","id":null,"method":"tools/call","params":{"name":"echo"}}"#
                    .to_vec(),
                "invalid_message",
            ),
        ];
        for (what, body, reason) in bad {
            let id = session.id.clone().unwrap_or_default();
            let request = bob.post(body).header("mcp-session-id", id);
            let reply = bob.send(request).await;
            assert_eq!(reply.status, 400, "{what}: {:?}", reply.body);
            assert_eq!(reply.reason(), reason, "{what}: {:?}", reply.body);
        }
        assert!(rig.upstream.received_of("tools/call").is_empty());
    })
    .await;
}

/// C5.
#[tokio::test]
async fn unknown_methods_are_refused_in_both_eras() {
    check(Setup::default(), async |rig| {
        let bob = rig.client("bob");
        let session = bob.legacy().await;
        let before = rig.upstream.received().len();
        let removed = ["ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"];
        for method in
            ["no/such", "Tools/List", "tools/list ", "completion", "sampling/createMessage"]
                .iter()
                .chain(&removed)
        {
            let reply = bob.modern(method, json!({})).await;
            assert_refused(&reply, 404, "unknown_method", method);
            assert_eq!(reply.error()["code"], -32601, "{method}");
        }
        for method in ["no/such", "Tools/List", "subscriptions/listen", "tasks/list"] {
            // 404 would tell a legacy client that its session is dead.
            let reply = session.ask(method, json!({})).await;
            assert_refused(&reply, 200, "unknown_method", method);
            assert_eq!(reply.error()["code"], -32601, "{method}: {:?}", reply.body);
        }
        assert_eq!(rig.upstream.received().len(), before, "something was forwarded");
    })
    .await;
}

/// F5.
#[tokio::test]
async fn sessions_belong_to_one_person() {
    check(Setup::default(), async |rig| {
        let session = rig.client("bob").legacy().await;
        let id = session.id.clone().unwrap();
        let steal = async |client: &Client, id: &str| {
            let body = legacy_body("tools/call", json!({"name": "echo", "arguments": {}}));
            let request = client.post(body.to_string()).header("mcp-session-id", id);
            client.send(request).await
        };
        let carol = rig.client("carol");
        assert_refused(&steal(&carol, &id).await, 404, "session_unknown", "another person");
        let flipped = id.chars().rev().collect::<String>();
        assert_refused(
            &steal(&rig.client("bob"), &flipped).await,
            404,
            "session_unknown",
            "changed",
        );
        assert!(rig.upstream.calls("echo").is_empty());
        assert_eq!(steal(&rig.client("bob"), &id).await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_from_its_declared_length() {
    let setup = Setup { config: "server.max_body = \"64KiB\"".into(), ..Setup::default() };
    check(setup, async |rig| {
        let bob = rig.client("bob");
        let body = bob.modern_body(
            "tools/call",
            json!({"name": "echo", "arguments": {"text": "x".repeat(100 << 10)}}),
        );
        let reply = bob.send(bob.modern_request(&body)).await;
        assert_eq!((reply.status, reply.reason().as_str()), (413, "body_too_large"));
        assert!(rig.upstream.calls("echo").is_empty());
        let small = bob.call("echo", json!({})).await;
        assert_eq!(small.status, 200, "the next request is served: {:?}", small.body);
    })
    .await;
}
