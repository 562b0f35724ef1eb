//! Streams of events: every event is read whole, however it is cut and written, to the last byte.

use std::time::Duration;

use gateway_tests::auditor::events_of;
use gateway_tests::client::legacy_body;
use gateway_tests::rig::check;
use gateway_tests::upstream::Answer;
use serde_json::{Value, json};

use super::{MASKED, MODES, SECRET, findings, hide, text, world};

const RESULT: &str = r#"{"jsonrpc":"2.0","id":$ID,"result":{"resultType":"complete","content":[{"type":"text","text":"$S"}],"isError":false}}"#;
const CLEAN: &str =
    r#"{"jsonrpc":"2.0","id":$ID,"result":{"resultType":"complete","content":[],"isError":false}}"#;

fn now(text: impl Into<String>) -> (Duration, String) {
    (Duration::ZERO, text.into())
}

fn event(data: &str) -> (Duration, String) {
    now(format!("data: {data}\n\n"))
}

fn call() -> Value {
    json!({"name": "echo", "arguments": {}})
}

/// One event, cut at every offset into what the gateway may read at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_read_whole_however_it_is_cut() {
    check(world("tool_call", "mask"), async |rig| {
        hide(rig, "mask");
        let bob = rig.client("bob");
        let sent = format!("id: 1\ndata: {}\n\n", RESULT.replace("$ID", "1").replace("$S", SECRET));
        let expected = sent.replace(SECRET, MASKED);
        for cut in 1..sent.len() {
            let pieces = vec![now(&sent[..cut]), (Duration::from_millis(1), sent[cut..].into())];
            rig.upstream.answer("echo", Answer::Events(pieces));
            let reply = bob.modern("tools/call", call()).await;
            assert_eq!(text(&reply), expected, "cut at {cut}");
        }
    })
    .await;
}

/// Line ends, several data lines, no blank line at the end, a byte order mark, a space or none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_read_however_it_is_written() {
    let shapes = [
        "data: $D\n\n",
        "data:$D\n\n",
        "data: $D\r\n\r\n",
        "data: $D\r\r",
        "data: $D\n",
        "data: $D",
        "\u{feff}data: $D\n\n",
        "event: message\nid: 9\nretry: 5\ndata: $D\n: bye\n\n",
        ": hi\n\ndata: $L\n\n",
        "data: $L\r\n\r\n",
        "data:$L",
    ];
    for mode in MODES {
        check(world("tool_call", mode), async |rig| {
            hide(rig, mode);
            let bob = rig.client("bob");
            for shape in shapes {
                let data = RESULT.replace("$ID", "1");
                // A line break between any two tokens is legal, and begins another data line.
                let end = if shape.contains("\r\n") { "\r\ndata: " } else { "\ndata: " };
                let lines = data
                    .replace(r#","result""#, &format!(",{end}{end}\"result\""))
                    .replace("}}", &format!("}}{end}}}"));
                let whole = shape.replace("$D", &data).replace("$L", &lines);
                rig.upstream.answer("echo", Answer::Events(vec![now(whole.replace("$S", SECRET))]));
                let reply = bob.modern("tools/call", call()).await;
                let what = format!("{mode} {shape:?}: {:?}", text(&reply));
                let arrived = text(&reply);
                match mode {
                    "block" => {
                        assert!(!arrived.contains(SECRET), "{what}");
                        assert_eq!(reply.reason(), "scanner_blocked", "{what}");
                    }
                    "mask" => assert_eq!(arrived, whole.replace("$S", MASKED), "{what}"),
                    _ => assert_eq!(arrived, whole.replace("$S", SECRET), "{what}"),
                }
            }
        })
        .await;
    }
}

/// What else stands in a stream: notifications and questions of the server, comments and ids.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_on_a_stream_is_read() {
    let notices = [
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1,"message":"$S"}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":{"k":["$S"]}}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","logger":"$S","data":1}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a:b","_meta":{"k":"$S"}}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"_meta":{"k":"$S"}}}"#,
    ];
    let questions = [
        r#"{"jsonrpc":"2.0","id":7,"method":"elicitation/create","params":{"message":"$S?","requestedSchema":{"type":"object","properties":{}}}}"#,
        r#"{"jsonrpc":"2.0","id":7,"method":"elicitation/create","params":{"message":"?","requestedSchema":{"type":"object","properties":{"a":{"type":"string","description":"$S"}}}}}"#,
        r#"{"jsonrpc":"2.0","id":7,"method":"sampling/createMessage","params":{"messages":[{"role":"user","content":{"type":"text","text":"$S"}}],"maxTokens":1}}"#,
        r#"{"jsonrpc":"2.0","id":7,"method":"sampling/createMessage","params":{"messages":[],"systemPrompt":"$S","maxTokens":1}}"#,
        r#"{"jsonrpc":"2.0","id":7,"method":"roots/list","params":{"_meta":{"k":"$S"}}}"#,
    ];
    let besides = [
        "event: ping\ndata: $S\n\n",
        ": $S\n\n",
        "id: $S\ndata: \n\n",
        "event: $S\ndata:\n\n",
        ": $S\ndata:\n\n",
    ];
    for mode in MODES {
        check(world("tool_call", mode), async |rig| {
            hide(rig, mode);
            let session = rig.client("bob").legacy().await;
            let passing = if mode == "mask" { MASKED } else { SECRET };
            for notice in notices {
                let answer = vec![event(&notice.replace("$S", SECRET)), event(CLEAN)];
                rig.upstream.answer("echo", Answer::Events(answer));
                let reply = session.call("echo", json!({})).await;
                let count = if mode == "block" { 1 } else { 2 };
                assert_eq!(reply.messages().len(), count, "{mode} {notice}: {}", text(&reply));
                assert_eq!(reply.result()["isError"], false);
                if mode != "block" {
                    assert!(
                        text(&reply).contains(&notice.replace("$S", passing)),
                        "{}",
                        text(&reply)
                    );
                }
            }
            for question in questions {
                let answer = vec![event(&question.replace("$S", SECRET)), event(CLEAN)];
                rig.upstream.answer("echo", Answer::Events(answer));
                let reply = session.call("echo", json!({})).await;
                if mode == "block" {
                    assert_eq!(reply.messages().len(), 1, "{question}: {}", text(&reply));
                    assert_eq!(reply.reason(), "scanner_blocked", "{question}");
                } else {
                    assert!(
                        text(&reply).contains(&question.replace("$S", passing)),
                        "{}",
                        text(&reply)
                    );
                    assert_eq!(reply.messages().len(), 2);
                }
            }
            // These cannot be masked.
            for beside in besides {
                let answer = vec![now(beside.replace("$S", SECRET)), event(CLEAN)];
                rig.upstream.answer("echo", Answer::Events(answer));
                let reply = session.call("echo", json!({})).await;
                let stopped = mode == "block" || mode == "mask";
                assert_eq!(
                    text(&reply).contains(SECRET),
                    !stopped,
                    "{mode} {beside:?}: {}",
                    text(&reply)
                );
                assert_eq!(reply.result()["isError"], false, "{mode} {beside:?}");
            }
            let calls = notices.len() + questions.len() + besides.len();
            let ended = |row: &gateway_tests::auditor::EventRow| row.method == "tools/call";
            assert_eq!(events_of(&rig.database, calls, ended).await.len(), calls);
            let found = findings(rig).await.len();
            assert_eq!(found, if mode == "off" { 0 } else { calls }, "{mode}");
        })
        .await;
    }
}

/// Nothing follows a blocked answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_follows_what_was_blocked() {
    check(world("tool_call", "block"), async |rig| {
        hide(rig, "block");
        let answer = [
            event(&RESULT.replace("$S", SECRET)),
            event(CLEAN),
            event(r#"{"jsonrpc":"2.0","method":"after"}"#),
        ];
        rig.upstream.answer("echo", Answer::Events(answer.to_vec()));
        let reply = rig.client("bob").call("echo", json!({})).await;
        assert_eq!(
            (reply.messages().len(), &*reply.reason()),
            (1, "scanner_blocked"),
            "{}",
            text(&reply)
        );
        rig.upstream.answer("echo", Answer::Open(answer.to_vec()));
        let reply = rig.client("bob").call("echo", json!({})).await;
        assert_eq!(reply.messages().len(), 1, "the stream ends: {}", text(&reply));
    })
    .await;
}

/// A stream that a client keeps open is not one message's: it goes on without what was blocked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_stream_goes_on_without_it() {
    check(world("tool_call", "block"), async |rig| {
        hide(rig, "block");
        let session = rig.client("bob").legacy().await;
        let notice = |data: &str| event(&format!(r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"level":"info","data":"{data}"}}}}"#));
        let answer = [
            notice("first"),
            notice(SECRET),
            event(&RESULT.replace("$ID", "\"earlier\"").replace("$S", SECRET)),
            event(&format!(r#"{{"jsonrpc":"2.0","id":5,"method":"roots/list","params":{{"_meta":{{"k":"{SECRET}"}}}}}}"#)),
            notice("last"),
        ];
        rig.upstream.answer("", Answer::Events(answer.to_vec()));
        let get = session.client.request(http::Method::GET).header("accept", "text/event-stream");
        let get = get.header("mcp-session-id", session.id.as_deref().unwrap_or_default());
        let reply = session.client.send(get).await;
        let messages = reply.messages();
        assert_eq!(messages.len(), 3, "{}", text(&reply));
        assert_eq!(messages[1]["id"], "earlier");
        assert_eq!(messages[1]["error"]["data"]["reason"], "scanner_blocked");
        assert_eq!(messages[2]["params"]["data"], "last");
        let stopped = |row: &gateway_tests::auditor::EventRow| row.action == "security_violation";
        assert_eq!(events_of(&rig.database, 3, stopped).await.len(), 3);
        let body = legacy_body("ping", Value::Null);
        assert_eq!(session.client.send(session.request(&body)).await.status, 200);
    })
    .await;
}
