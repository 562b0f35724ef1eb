//! What servers send: results, errors, contents, as JSON and as events.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gateway_tests::rig::{Rig, check};
use gateway_tests::upstream::Answer;
use serde_json::json;

use super::{MASKED, MODES, SECRET, Speaker, findings, hide, record_of, text, world};

/// Bodies of answers to a tool's call; `$S` stands for the secret.
fn results() -> Vec<String> {
    let result = |inner: &str| {
        format!(r#"{{"jsonrpc":"2.0", "id":$ID,"result":{{"resultType":"complete",{inner}}}}}"#)
    };
    let content = |inner: &str| {
        result(&format!(
            r#""isError":false,"content":[{{"type":"text","text":"\u0061\/"}},{inner}]"#
        ))
    };
    vec![
        content(r#"{"type":"text","text":"the key: $S!","n":1.0}"#),
        content(r#"{"type":"text","text":"\u0024S is not one, $S is"}"#),
        content(r#"{"type":"text","text":"x","annotations":{"audience":["user"],"note":"$S"}}"#),
        content(r#"{"type":"resource","resource":{"uri":"a:b","mimeType":"text/plain","text":"$S"}}"#),
        content(r#"{"type":"resource","resource":{"uri":"a:b","mimeType":"x/y","blob":"$B"}}"#),
        content(r#"{"type":"resource_link","uri":"https://x.example/?k=$S","name":"n"}"#),
        content(r#"{"type":"resource_link","uri":"a:b","name":"n","description":"$S"}"#),
        content(r#"{"type":"image","mimeType":"image/png","data":"$B"}"#),
        content(r#"{"type":"unheard_of","$S":{"deep":[[["x"]]]}}"#),
        result(r#""isError":true,"content":[{"type":"text","text":"could not use $S"}]"#),
        result(r#""content":[],"structuredContent":{"a":{"b":["$S"]}}"#),
        result(r#""content":[],"_meta":{"com.example/k":"$S"}"#),
        result(r#""content":[],"what":"$S""#),
        r#"{"jsonrpc":"2.0","id":$ID,"error":{"code":-32000,"message":"no $S"}}"#.into(),
        r#"{"jsonrpc":"2.0","id":$ID,"error":{"code":-32000,"message":"no","data":{"k":["$S"]}}}"#.into(),
        r#"{"jsonrpc":"2.0","id":$ID,"result":{"content":[],"isError":false,"resultType":"complete"},"beside":"$S"}"#.into(),
    ]
}

fn filled(template: &str, secret: &str) -> String {
    let coded =
        if secret == SECRET { STANDARD.encode(format!("key: {SECRET}")) } else { secret.into() };
    template.replace("$S", secret).replace("$B", &coded)
}

/// Sends `body` and looks at what comes back of `template`.
async fn one(
    rig: &Rig,
    speaker: &Speaker,
    mode: &str,
    call: (&str, serde_json::Value),
    template: &str,
    sse: bool,
) {
    let (method, params) = call;
    let named = if method == "tools/call" { "echo" } else { method };
    let answer = filled(template, SECRET);
    let answer = if sse {
        Answer::Events(vec![(std::time::Duration::ZERO, format!("id: 3\r\ndata:{answer}\r\n\r\n"))])
    } else {
        Answer::Json(200, answer)
    };
    rig.upstream.answer(named, answer);
    let body = speaker.body(method, params);
    let reply = speaker.send(&body).await;
    let what = format!("{mode} {method} {sse} {template}: {}", text(&reply));
    if mode == "block" {
        assert_eq!(reply.reason(), "scanner_blocked", "{what}");
        let coded = STANDARD.encode(format!("key: {SECRET}"));
        assert!(!text(&reply).contains(SECRET) && !text(&reply).contains(&coded), "{what}");
        assert_eq!(reply.json()["id"], body["id"], "{what}");
        let tool = method == "tools/call";
        assert_eq!(reply.result()["isError"] == true, tool, "{what}");
        let record = record_of(rig, &reply).await;
        assert_eq!((&*record.action, record.concludes), ("security_violation", true), "{what}");
        return;
    }
    let expected = filled(template, if mode == "mask" { MASKED } else { SECRET });
    let expected = expected.replace("$ID", &body["id"].to_string());
    let expected = if sse { format!("id: 3\r\ndata:{expected}\r\n\r\n") } else { expected };
    assert_eq!(text(&reply), expected, "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_field_of_every_answer_is_read_in_every_mode() {
    for mode in MODES {
        check(world("tool_call", mode), async |rig| {
            hide(rig, mode);
            let mut found = 0;
            for speaker in Speaker::both(rig).await {
                for sse in [false, true] {
                    for template in results() {
                        let call = ("tools/call", json!({"name": "echo", "arguments": {}}));
                        one(rig, &speaker, mode, call, &template, sse).await;
                        found += usize::from(mode != "off");
                    }
                    let result = |inner: &str| format!(r#"{{"jsonrpc":"2.0","id":$ID,"result":{{"resultType":"complete",{inner}}}}}"#);
                    let others = [
                        ("prompts/get", json!({"name": "greet"}), r#""messages":[{"role":"user","content":{"type":"text","text":"$S"}}]"#),
                        ("prompts/get", json!({"name": "greet"}), r#""description":"$S","messages":[]"#),
                        ("resources/read", json!({"uri": "fake://open/readme"}), r#""contents":[{"uri":"fake://open/readme","text":"$S"}]"#),
                        ("resources/read", json!({"uri": "fake://open/readme"}), r#""contents":[{"uri":"fake://open/readme","blob":"$B"}]"#),
                        (
                            "completion/complete",
                            json!({"ref": {"type": "ref/prompt", "name": "greet"}, "argument": {"name": "a", "value": "b"}}),
                            r#""completion":{"values":["$S"]}"#,
                        ),
                    ];
                    for (method, params, inner) in others {
                        one(rig, &speaker, mode, (method, params), &result(inner), sse).await;
                        found += usize::from(mode != "off");
                    }
                }
            }
            // A server may ask its question in its answer.
            let asks = r#"{"jsonrpc":"2.0","id":$ID,"result":{"resultType":"input_required","inputRequests":{"q":{"method":"elicitation/create","params":{"message":"$S?","requestedSchema":{"type":"object"}}}}}}"#;
            let speaker = Speaker::Modern(rig.client("bob"));
            let call = ("tools/call", json!({"name": "echo", "arguments": {}}));
            one(rig, &speaker, mode, call.clone(), asks, false).await;
            found += usize::from(mode != "off");
            if mode != "off" {
                let recorded = async || (findings(rig).await.len() >= found).then_some(());
                let patience = std::time::Duration::from_secs(10);
                gateway_tests::wait::eventually("the findings are recorded", patience, recorded).await;
            }
            assert_eq!(findings(rig).await.len(), found);
            for (_, findings) in findings(rig).await {
                assert_eq!(findings[0]["mode"], mode, "{findings}");
                assert_eq!(findings[0]["guard"], "tool_call");
            }
            let metrics = rig.gateway.metrics().await;
            let counted = format!("gateway_findings_total{{class=\"secrets\",guard=\"tool_call\",mode=\"{mode}\"}}");
            assert_eq!(metrics.contains(&counted), mode != "off", "{metrics}");
        })
        .await;
    }
}

/// What is handed back as it came cannot be masked: the message does not pass.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handles_are_not_masked() {
    check(world("tool_call", "mask"), async |rig| {
        hide(rig, "mask");
        let bob = rig.client("bob");
        let asks = format!(r#"{{"jsonrpc":"2.0","id":$ID,"result":{{"resultType":"input_required","inputRequests":{{}},"requestState":"{SECRET}"}}}}"#);
        rig.upstream.answer("echo", Answer::Json(200, asks));
        let reply = bob.call("echo", json!({})).await;
        assert_eq!(reply.reason(), "scanner_blocked", "{}", text(&reply));
        assert!(text(&reply).contains("/result/requestState"), "{}", text(&reply));
    })
    .await;
}

/// Answers of the gateway's own server are read like any other's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateways_own_server_is_read_too() {
    check(world("tool_call", "mask"), async |rig| {
        hide(rig, "mask");
        let asked = rig.ask(
            "bob",
            "request_access",
            json!({"server_id": "x", "reason": format!("for {SECRET}")}),
        );
        let asked = asked.await;
        assert!(!asked.to_string().contains(SECRET), "{asked}");
    })
    .await;
}
