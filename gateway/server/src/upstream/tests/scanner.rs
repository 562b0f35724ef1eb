//! The organisation's own scanner: what it is sent, and everything that counts as its not being there.

use std::sync::Arc;
use std::time::Duration;

use gateway_core::ids::CallId;
use gateway_core::scan::external::{Judged, texts};
use gateway_core::scan::{Class, Guard};
use gateway_governance::{Scanner, ScannerQuestion};
use serde_json::{Value, json};
use uuid::Uuid;

use super::fixture::{Script, Upstream, guard, ok, within};
use crate::upstream::scanner::{ScannerLeg, ScannerSettings};

const MESSAGE: &str = r#"{"params":{"name":"send","arguments":{"text":"h\u00e9llo"}}}"#;

fn leg(url: &str, allow: &[&str]) -> ScannerLeg {
    let settings = ScannerSettings {
        url: url.parse().unwrap(),
        token: Some("s3cret-token".into()),
        deadline: Duration::from_millis(700),
        concurrency: 2,
    };
    ScannerLeg::new(guard(allow), settings)
}

async fn ask(leg: &ScannerLeg) -> Result<Judged, String> {
    let texts = texts(MESSAGE);
    let question = ScannerQuestion {
        version: 1,
        correlation_id: CallId(Uuid::nil()),
        guard: Guard::ToolIntent,
        server: "mail",
        method: Some("tools/call"),
        tool: Some("send"),
        texts: &texts,
        message: MESSAGE,
    };
    within("the scanner's answer", leg.ask(&question)).await
}

#[tokio::test]
async fn it_is_sent_every_text_once_and_understood() {
    let answer = json!({
        "findings": [{"class": "injection", "rule": "model", "path": "/params/arguments/text",
                      "offset": 1, "length": 1, "score": 0.7}],
        "verdict": "block", "took": 3
    });
    let scanner = Upstream::start(Script::Answer(ok(&answer.to_string()))).await;
    let leg = leg(&scanner.url(), &["127.0.0.0/8"]);
    for _ in 0..3 {
        let judged = ask(&leg).await.unwrap();
        assert_eq!((judged.blocks, judged.found.len()), (true, 1));
        let one = &judged.found[0];
        assert_eq!((one.class, &*one.rule, one.plain.as_str()), (Class::Injection, "model", "é"));
        assert_eq!(&MESSAGE[one.span.clone()], r"\u00e9");
    }
    assert_eq!(scanner.connections(), 1, "one pool");
    let received = scanner.received().remove(0);
    let (head, body) = received.split_once("\r\n\r\n").unwrap();
    let head = head.to_lowercase();
    for line in ["post /mcp http/1.1", "content-type: application/json", "bearer s3cret-token"] {
        assert!(head.contains(line), "{line}: {head}");
    }
    assert_eq!(
        serde_json::from_str::<Value>(body).unwrap(),
        json!({
            "version": 1, "correlation_id": "00000000-0000-0000-0000-000000000000",
            "guard": "tool_intent", "server": "mail", "method": "tools/call", "tool": "send",
            "texts": [{"path": "/params/name", "text": "send"},
                      {"path": "/params/arguments/text", "text": "héllo"}]
        })
    );
}

#[tokio::test]
async fn whatever_makes_no_sense_is_no_answer() {
    let long = format!("{{\"findings\":[],\"x\":\"{}\"}}", "x".repeat(256 << 10));
    let class = r#"{"findings":[{"class":"love","rule":"r","path":""}]}"#;
    let elsewhere = r#"{"findings":[{"class":"injection","rule":"r","path":"/s3cret"}]}"#;
    let status = "HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\n{}";
    let moved = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
    let cases = [
        (Script::Answer(ok("")), "not an answer"),
        (Script::Answer(ok("s3cret nonsense")), "not an answer: line 1, column 1"),
        (Script::Answer(ok("[]")), "not an answer"),
        (Script::Answer(ok(class)), "not an answer"),
        (Script::Answer(ok(r#"{"verdict":"maybe"}"#)), "not an answer"),
        (Script::Answer(ok(elsewhere)), "findings[0].path: expected"),
        (Script::Answer(ok(&long)), "the body (limit 262144 bytes)"),
        (Script::Answer(status.into()), "status 503, expected 200"),
        (Script::Answer(moved.into()), "status 302, expected 200"),
        (Script::SayAndWait(String::new()), "no answer within 700 ms"),
        (
            Script::SayAndWait("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{".into()),
            "no answer within",
        ),
        (Script::Slam, ""),
    ];
    for (script, expected) in cases {
        let scanner = Upstream::start(script).await;
        let told = ask(&leg(&scanner.url(), &["127.0.0.0/8"])).await.expect_err(expected);
        assert!(told.contains(expected), "{expected}: {told}");
        assert!(!told.contains("s3cret"), "{told}");
    }
    let scanner = Upstream::start(Script::Answer(ok("{}"))).await;
    let told = ask(&leg(&scanner.url(), &[])).await.expect_err("not allowed by egress");
    assert_eq!(scanner.connections(), 0, "{told}");
}

#[tokio::test]
async fn only_so_many_are_asked_at_a_time() {
    let scanner = Upstream::start(Script::SayAndWait(String::new())).await;
    let leg = Arc::new(leg(&scanner.url(), &["127.0.0.0/8"]));
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let leg = leg.clone();
            tokio::spawn(async move { ask(&leg).await })
        })
        .collect();
    within("both are asked", async {
        while scanner.received().len() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(ask(&leg).await.unwrap_err(), "2 questions wait for it");
    for one in waiting {
        assert!(one.await.unwrap().unwrap_err().contains("no answer within"));
    }
}
