//! What clients send.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gateway_tests::rig::{Rig, check};
use serde_json::{Value, json};

use super::{MASKED, MODES, SECRET, Speaker, findings, hide, record_of, text, world};

/// A request that carries the secret: where, and whether it can be masked there.
struct Case {
    method: &'static str,
    params: Value,
    path: &'static str,
    maskable: bool,
}

fn case(method: &'static str, params: Value, path: &'static str) -> Case {
    Case { method, params, path, maskable: true }
}

/// What both eras have.
fn cases() -> Vec<Case> {
    let said = format!("it is {SECRET}, keep it");
    let call = |arguments: Value| json!({"name": "echo", "arguments": arguments});
    vec![
        case("tools/call", call(json!({"a": said})), "/params/arguments/a"),
        case(
            "tools/call",
            call(json!({"a": [1, {"b~/": [said]}]})),
            "/params/arguments/a/1/b~0~1/0",
        ),
        case(
            "tools/call",
            call(json!({SECRET: 1})),
            "/params/arguments/[masked:aws_access_key_id]",
        ),
        case("tools/call", json!({"name": "echo", "x-more": {"y": said}}), "/params/x-more/y"),
        case(
            "prompts/get",
            json!({"name": "greet", "arguments": {"who": said}}),
            "/params/arguments/who",
        ),
        case(
            "completion/complete",
            json!({"ref": {"type": "ref/prompt", "name": "greet"}, "argument": {"name": "who", "value": said}}),
            "/params/argument/value",
        ),
        Case {
            maskable: false,
            ..case("resources/read", json!({"uri": format!("fake://open/{SECRET}")}), "/params/uri")
        },
    ]
}

/// What comes from the legacy era's clients without being asked for anything.
fn messages() -> Vec<(Value, &'static str)> {
    let said = format!("it is {SECRET}");
    let answer = |result: Value| json!({"jsonrpc": "2.0", "id": 77, "result": result});
    let notify =
        |method: &str, params: Value| json!({"jsonrpc": "2.0", "method": method, "params": params});
    vec![
        (answer(json!({"action": "accept", "content": {"key": said}})), "/result/content/key"),
        (
            answer(
                json!({"role": "assistant", "model": "m", "content": {"type": "text", "text": said}}),
            ),
            "/result/content/text",
        ),
        (answer(json!({"roots": [{"uri": "file:///x", "name": said}]})), "/result/roots/0/name"),
        (
            json!({"jsonrpc": "2.0", "id": 77, "error": {"code": 1, "message": said, "data": 1}}),
            "/error/message",
        ),
        (
            json!({"jsonrpc": "2.0", "id": 77, "error": {"code": 1, "message": "m", "data": [said]}}),
            "/error/data/0",
        ),
        (
            notify(
                "notifications/progress",
                json!({"progressToken": 1, "progress": 1, "message": said}),
            ),
            "/params/message",
        ),
        (
            notify("notifications/cancelled", json!({"requestId": 1, "reason": said})),
            "/params/reason",
        ),
        (
            notify("notifications/roots/list_changed", json!({"_meta": {"k": said}})),
            "/params/_meta/k",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_field_is_read_in_every_mode() {
    for mode in MODES {
        check(world("tool_intent", mode), async |rig| {
            hide(rig, mode);
            // Tools say what they were called with: only what was asked for counts here.
            let answer = gateway_tests::upstream::Answer::text("done");
            for named in ["echo", "completion/complete", "resources/read"] {
                rig.upstream.answer(named, answer.clone());
            }
            let mut found = 0;
            for speaker in Speaker::both(rig).await {
                for case in cases() {
                    // The auditor looks for an intent that tells what the server was asked for.
                    if !case.maskable && mode == "monitor" {
                        continue;
                    }
                    let body = speaker.body(case.method, case.params.clone());
                    one(rig, &speaker, mode, &body, case.path, case.maskable).await;
                    found += usize::from(mode != "off");
                }
                let Speaker::Legacy(_) = speaker else { continue };
                for (body, path) in messages() {
                    one(rig, &speaker, mode, &body, path, true).await;
                    found += usize::from(mode != "off");
                }
            }
            let recorded = async || (findings(rig).await.len() >= found).then_some(());
            let patience = std::time::Duration::from_secs(10);
            gateway_tests::wait::eventually("the findings are recorded", patience, recorded).await;
            assert_eq!(findings(rig).await.len(), found, "{mode}");
        })
        .await;
    }
}

/// Sends a message; the right bytes must arrive, or none.
async fn one(rig: &Rig, speaker: &Speaker, mode: &str, body: &Value, path: &str, maskable: bool) {
    let before = rig.upstream.received().len();
    let reply = speaker.send(body).await;
    let arrived = rig.upstream.received().split_off(before);
    let what = format!("{mode} {body}: {} {}", reply.status, text(&reply));
    if mode == "block" || (mode == "mask" && !maskable) {
        assert!(arrived.is_empty(), "{what}");
        assert_eq!(reply.reason(), "scanner_blocked", "{what}");
        assert!(
            text(&reply).contains(path) && text(&reply).contains("aws_access_key_id"),
            "{what}"
        );
        assert!(!text(&reply).contains(SECRET), "{what}");
        let asks = body.get("id").is_some() && body.get("method").is_some();
        assert_eq!(reply.status, if asks { 200 } else { 403 }, "{what}");
        let record = record_of(rig, &reply).await;
        assert_eq!((&*record.action, &*record.outcome), ("security_violation", "denied"), "{what}");
        return;
    }
    assert!(matches!(reply.status, 200 | 202), "{what}");
    assert_eq!(arrived.len(), 1, "{what}");
    let sent = body.to_string();
    let expected = if mode == "mask" { sent.replace(SECRET, MASKED) } else { sent };
    assert_eq!(String::from_utf8_lossy(&arrived[0].body), expected, "{what}");
    let length = arrived[0].header("content-length");
    assert_eq!(length, expected.len().to_string(), "{what}");
}

/// A header cannot be masked, and one that repeats an argument must say what the argument says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_are_read_too() {
    check(world("tool_intent", "mask"), async |rig| {
        hide(rig, "mask");
        let schema = json!({"type": "object", "properties": {"key": {"type": "string", "x-mcp-header": "Key"}}});
        rig.upstream.tool("echo", json!({"inputSchema": schema}));
        rig.upstream.answer("echo", gateway_tests::upstream::Answer::text("done"));
        let bob = rig.client("bob");
        let base64 = format!("=?base64?{}?=", STANDARD.encode(SECRET));
        for (name, value) in [("mcp-param-key", SECRET), ("mcp-param-other", SECRET), ("mcp-param-other", &base64)] {
            let key = if name == "mcp-param-key" { json!({"key": value}) } else { json!({}) };
            let body = bob.modern_body("tools/call", json!({"name": "echo", "arguments": key}));
            let reply = bob.send(bob.modern_request(&body).header(name, value)).await;
            assert_eq!(reply.reason(), "scanner_blocked", "{name}: {}", text(&reply));
            assert!(text(&reply).contains(name), "{}", text(&reply));
        }
        // Nothing was compared with the body in the legacy era.
        let session = bob.legacy().await;
        let body = gateway_tests::client::legacy_body("tools/call", json!({"name": "echo"}));
        let reply = bob.send(session.request(&body).header("mcp-name", SECRET)).await;
        assert_eq!(reply.reason(), "scanner_blocked", "{}", text(&reply));
        assert!(rig.upstream.calls("echo").is_empty());
        let body = bob.modern_body("tools/call", json!({"name": "echo", "arguments": {"key": "eu"}}));
        let reply = bob.send(bob.modern_request(&body).header("mcp-param-key", "eu")).await;
        assert_eq!(reply.result()["isError"], false, "{}", text(&reply));
    })
    .await;
}

/// No rule takes it for a secret.
const CANARY: &str = "the-merger-is-on-friday";

/// What is refused before it is read must not be kept either; nor may what stands behind a GET pass.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_refused_tells_nothing() {
    check(world("tool_intent", "monitor"), async |rig| {
        hide(rig, "monitor");
        rig.secrets.push(CANARY.into());
        let bob = rig.client("bob");
        let denied = bob.call("echo", json!({"text": format!("forbidden {SECRET}")})).await;
        assert_eq!(denied.reason(), "policy_denied");
        let unknown =
            bob.modern("resources/read", json!({"uri": format!("fake://closed/{SECRET}")})).await;
        assert_eq!(unknown.reason(), "target_not_found");
        assert_eq!(bob.modern(SECRET, json!({})).await.status, 404);
        // A key that is there twice, be it a secret or what no rule knows.
        for key in [SECRET, CANARY] {
            let twice = format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"echo","arguments":{{"{key}":1,"{key}":2}}}}}}"#
            );
            let reply = bob.send(bob.post(twice)).await;
            assert_eq!(reply.reason(), "invalid_json", "{:?}", reply.body);
            let told = String::from_utf8_lossy(&reply.body).into_owned();
            assert!(told.contains("duplicate key at byte ") && !told.contains(key), "{told}");
        }
        let twice = r#"{"jsonrpc":"2.0","id":1,"method":"ping","id":2}"#;
        let told = bob.send(bob.post(twice)).await;
        assert!(String::from_utf8_lossy(&told.body).contains(r#"duplicate key \"id\" at byte"#));
        let session = bob.legacy().await;
        let get = bob.request(http::Method::GET).header("accept", "text/event-stream");
        let get = get.header("mcp-session-id", session.id.as_deref().unwrap_or_default());
        bob.send(get.body(SECRET)).await;
        let received = rig.upstream.received();
        let got =
            received.iter().find(|r| r.http_method == http::Method::GET).expect("it was sent");
        assert!(got.body.is_empty(), "nobody has read it");
    })
    .await;
}
