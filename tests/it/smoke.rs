//! The line works at all: list, call, denied, unauthenticated, in both eras.

use gateway_tests::rig::{Setup, UPSTREAM_SECRET, check};
use serde_json::json;

#[tokio::test]
async fn an_engineer_lists_and_calls_in_the_modern_era() {
    check(Setup::default(), async |rig| {
        let bob = rig.client("bob");
        let listed = bob.modern("tools/list", json!({})).await;
        assert_eq!(listed.names("tools"), ["echo", "list_items", "delete_item"]);
        assert_eq!(listed.result()["cacheScope"], "private");
        let reply = bob.call("echo", json!({"text": "hello"})).await;
        assert_eq!(reply.status, 200, "{:?}", reply.body);
        assert_eq!(reply.result()["content"][0]["text"], r#"echo {"text":"hello"}"#);
        let received = rig.upstream.calls("echo");
        assert_eq!(received.len(), 1);
        assert_eq!(received[0].header("x-upstream-key"), UPSTREAM_SECRET);
        assert_eq!(received[0].header("authorization"), "", "the client's key must not leave");
        assert_eq!(received[0].header("mcp-method"), "tools/call");
        assert_eq!(received[0].header("mcp-name"), "echo");
    })
    .await;
}

#[tokio::test]
async fn an_engineer_lists_and_calls_in_a_legacy_session() {
    check(Setup::default(), async |rig| {
        let session = rig.client("bob").legacy().await;
        let listed = session.ask("tools/list", json!({})).await;
        assert_eq!(listed.names("tools"), ["echo", "list_items", "delete_item"]);
        let reply = session.call("echo", json!({"text": "hello"})).await;
        assert_eq!(reply.result()["content"][0]["text"], r#"echo {"text":"hello"}"#);
        let ours = session.id.as_deref().unwrap_or_default();
        let theirs = rig.upstream.calls("echo")[0].header("mcp-session-id").to_owned();
        assert!(!theirs.is_empty() && !ours.contains(&theirs), "{ours} shows {theirs}");
        let gone = session.client.request(http::Method::DELETE);
        let gone = session.client.send(gone.header("mcp-session-id", ours)).await;
        assert!((200..300).contains(&gone.status), "{}", gone.status);
        assert_eq!(session.call("echo", json!({})).await.status, 404);
    })
    .await;
}

#[tokio::test]
async fn listings_differ_by_person_and_show_what_may_be_called() {
    check(Setup::default(), async |rig| {
        for (name, tools, resources) in [
            ("bob", vec!["echo", "list_items", "delete_item"], vec!["fake://open/readme"]),
            ("carol", vec!["echo"], vec![]),
        ] {
            let client = rig.client(name);
            let session = client.legacy().await;
            for (method, member, expected) in
                [("tools/list", "tools", &tools), ("resources/list", "resources", &resources)]
            {
                let modern = client.modern(method, json!({})).await;
                assert_eq!(&modern.names(member), expected, "{name} {method}");
                let legacy = session.ask(method, json!({})).await;
                assert_eq!(&legacy.names(member), expected, "{name} {method}, legacy");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn nobody_gets_in_without_a_credential() {
    check(Setup::default(), async |rig| {
        let revoked = format!("rl_{}", "A".repeat(43));
        for credential in [None, Some("rl_wrong"), Some(revoked.as_str()), Some("a.b.c"), Some("")]
        {
            let stranger = rig.stranger("fake", credential);
            let reply = stranger.call("echo", json!({})).await;
            assert_eq!(reply.status, 401, "{credential:?}");
            let challenge = reply.header("www-authenticate");
            assert!(challenge.starts_with("Bearer "), "{challenge}");
            let metadata = "/.well-known/oauth-protected-resource/api/v1/proxy/fake/mcp\"";
            assert!(challenge.contains(metadata), "{challenge}");
        }
        assert!(rig.upstream.received_of("tools/call").is_empty());
    })
    .await;
}
