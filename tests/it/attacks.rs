//! Ways in which products of this kind were broken (`F` rows), each as what a client would send. Those that
//! have a subject of their own are tested there: F1 in `identity`, F2 in `refusals`, F5 in `refusals`, `tasks`
//! and the server's sessions, F8 in the server's config and keys.

use gateway_tests::auditor::{events_of, intents};
use gateway_tests::rig::{Setup, UPSTREAM_SECRET, check};
use serde_json::json;

/// F4: what a client says in headers overrides nothing and gets nowhere, under whatever name it comes.
#[tokio::test]
async fn headers_of_the_client_override_nothing() {
    check(Setup::default(), async |rig| {
        let bob = rig.client("bob");
        let body = bob.modern_body("tools/call", json!({"name": "echo", "arguments": {}}));
        let evil = "evil-b3d1";
        let headers = [
            "x-upstream-key",
            "X-Upstream-Key",
            "x-forwarded-for",
            "x-forwarded-host",
            "forwarded",
            "x-real-ip",
            "x-original-url",
            "cookie",
            "proxy-authorization",
            "x-runlayer-user-email",
            "x-runlayer-identity-token",
            "x-api-key",
            "te",
            "accept-encoding",
            "mcp-session-id",
            "user-agent",
            "mcp-evil",
        ];
        let request =
            headers.iter().fold(bob.modern_request(&body), |r, name| r.header(*name, evil));
        let reply = bob.send(request).await;
        assert_eq!(reply.status, 200, "{:?}", reply.body);
        let calls = rig.upstream.calls("echo");
        let [received] = calls.as_slice() else { panic!("{} calls arrived", calls.len()) };
        assert_eq!(received.header("x-upstream-key"), UPSTREAM_SECRET);
        assert_eq!(received.headers.get_all("x-upstream-key").iter().count(), 1);
        for (name, value) in &received.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            assert!(!value.contains(evil), "{name}: {value}");
            assert!(!value.contains(rig.key("bob")), "{name} carries the caller's credential");
        }
    })
    .await;
}

/// F4: naming a header in `Connection` takes nothing away, neither ours nor what was checked.
#[tokio::test]
async fn a_hop_by_hop_header_takes_nothing_away() {
    check(Setup::default(), async |rig| {
        let bob = rig.client("bob");
        for named in ["x-upstream-key", "mcp-name, mcp-method", "authorization", "content-length"] {
            let body = bob.modern_body("tools/call", json!({"name": "echo", "arguments": {}}));
            let before = rig.upstream.calls("echo").len();
            let request = bob.modern_request(&body).header("connection", named);
            let reply = bob.send(request).await;
            let calls = rig.upstream.calls("echo");
            if reply.status != 200 {
                assert_eq!(calls.len(), before, "{named}: refused and sent");
                continue;
            }
            let received = calls.last().unwrap();
            assert_eq!(received.header("x-upstream-key"), UPSTREAM_SECRET, "{named}");
            assert_eq!(received.header("mcp-name"), "echo", "{named}");
            assert_eq!(received.json, body, "{named}");
        }
    })
    .await;
}

/// F3: what the scanner looks for is found wherever it stands, in whatever spelling, up to the largest body
/// that passes; a larger one is refused, never passed unread.
#[tokio::test]
async fn the_scanner_reads_every_byte_that_leaves() {
    let setup = Setup { config: "server.max_body = \"256KiB\"".into(), ..Setup::default() };
    check(setup, async |rig| {
        let bob = rig.client("bob");
        let text = |padding: usize, hidden: &str| {
            let body = bob.modern_body("tools/call", json!({"name": "echo", "arguments": {}}));
            let arguments = format!(r#""arguments":{{"text":"{}{hidden}"}}"#, "x".repeat(padding));
            let text = body.to_string().replace(r#""arguments":{}"#, &arguments);
            assert!(text.len() > padding);
            (text, body)
        };
        let spellings = [r"\u202e", r"\u202E", "\u{202e}", r"\udb40\udc41", "\u{e0041}"];
        let mut sent = 0;
        for padding in [0, 4 << 10, (64 << 10) - 1, 64 << 10, 200 << 10] {
            for hidden in spellings {
                let (text, body) = text(padding, hidden);
                let request = bob.modern_request(&body).body(text);
                let reply = bob.send(request).await;
                assert_eq!(reply.status, 200, "{padding} {hidden}: {:?}", reply.body);
                sent += 1;
            }
        }
        let (large, body) = text(300 << 10, spellings[0]);
        assert_eq!(bob.send(bob.modern_request(&body).body(large)).await.status, 413);
        let (clean, body) = text(200 << 10, "");
        assert_eq!(bob.send(bob.modern_request(&body).body(clean)).await.status, 200);

        assert_eq!(rig.upstream.calls("echo").len(), sent + 1);
        events_of(&rig.database, sent + 1, |row| row.action == "tool_call_success").await;
        let found = intents(&rig.database).await;
        let found =
            found.iter().filter(|row| row.subject.to_string().contains("hidden_characters"));
        assert_eq!(found.count(), sent, "findings in the trail");
    })
    .await;
}
