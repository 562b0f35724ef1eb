//! What has no one reading is refused, never passed unread; and nothing slips past by size, spelling and place.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use gateway_tests::rig::check;
use gateway_tests::upstream::Answer;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::json;

use super::{MODES, SECRET, Speaker, hide, text, world};

const JSON: &str = "application/json";
const RESULT: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","content":[]}}"#;

fn raw(status: u16, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Answer {
    let headers = headers.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    Answer::Raw(status, headers.collect(), Bytes::copy_from_slice(body.as_ref()))
}

/// Nobody asks servers for packed answers, and nobody passes them on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packed_answers_are_refused_in_every_mode() {
    for mode in MODES {
        check(world("tool_call", mode), async |rig| {
            let bob = rig.client("bob");
            for coding in
                ["gzip", "deflate", "br", "zstd", "x-gzip", "identity, gzip", "unheard-of"]
            {
                for kind in [JSON, "text/event-stream", "text/plain"] {
                    let headers = [("content-type", kind), ("content-encoding", coding)];
                    rig.upstream.answer("echo", raw(200, &headers, RESULT));
                    let reply = bob.call("echo", json!({})).await;
                    assert_eq!(
                        (reply.status, &*reply.reason()),
                        (502, "upstream_invalid"),
                        "{coding}"
                    );
                }
            }
            let headers = [("content-type", JSON), ("content-encoding", "identity")];
            rig.upstream.answer("echo", raw(200, &headers, RESULT));
            assert_eq!(bob.call("echo", json!({})).await.status, 200);
            for call in rig.upstream.calls("echo") {
                assert_eq!(call.header("accept-encoding"), "identity");
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_two_readings_is_refused() {
    check(world("tool_call", "monitor"), async |rig| {
        let bob = rig.client("bob");
        let with =
            |text: &str| RESULT.replace("[]", &format!(r#"[{{"type":"text","text":"{text}"}}]"#));
        let bodies: Vec<Vec<u8>> = vec![
            with("\u{0}").into_bytes(),
            [&b"\xff"[..], RESULT.as_bytes()].concat(),
            with("@").into_bytes().iter().map(|b| if *b == b'@' { 0xC3 } else { *b }).collect(),
            with(r"\ud83d").into_bytes(),
            with(r"\ude00\ud83d").into_bytes(),
            format!("\u{feff}{RESULT}").into_bytes(),
            RESULT.replace("\"id\":1", "\"id\":1,\"result\":{}").into_bytes(),
            format!("{RESULT}{RESULT}").into_bytes(),
            with("x").replace("\"x\"", &("[".repeat(100) + &"]".repeat(100))).into_bytes(),
            b"{'a':1}".to_vec(),
            RESULT[..20].into(),
            RESULT.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        ];
        for body in &bodies {
            let what = String::from_utf8_lossy(body).into_owned();
            rig.upstream.answer("echo", raw(200, &[("content-type", JSON)], body));
            let reply = bob.call("echo", json!({})).await;
            assert_eq!((reply.status, &*reply.reason()), (502, "upstream_invalid"), "{what}");
            // In an event, which ends the stream: nothing of it comes through.
            let event = [b"data: ", &body[..], b"\n\n"].concat();
            rig.upstream.answer("echo", raw(200, &[("content-type", "text/event-stream")], event));
            let reply = bob.call("echo", json!({})).await;
            let seen = text(&reply);
            assert_eq!(reply.messages().len(), 1, "{what}: {seen}");
            assert_eq!(reply.error()["data"]["reason"], "upstream_invalid", "{what}: {seen}");
        }
        for kind in [
            "application/json; charset=utf-16",
            "application/json;charset=\"iso-8859-1\"",
            "text/event-stream; charset=shift_jis",
        ] {
            rig.upstream.answer("echo", raw(200, &[("content-type", kind)], RESULT));
            let reply = bob.call("echo", json!({})).await;
            assert_eq!((reply.status, &*reply.reason()), (502, "upstream_invalid"), "{kind}");
        }
        for kind in ["application/json; charset=UTF-8", "application/json;charset=\"utf-8\""] {
            rig.upstream.answer("echo", raw(200, &[("content-type", kind)], RESULT));
            assert_eq!(bob.call("echo", json!({})).await.status, 200, "{kind}");
        }
    })
    .await;
}

/// Other bodies are read as text; what would be masked in them is stopped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_bodies_are_read_as_text() {
    for mode in MODES {
        check(world("tool_call", mode), async |rig| {
            hide(rig, mode);
            let bob = rig.client("bob");
            for status in [200, 400, 404, 409] {
                for headers in [
                    &[("content-type", "text/plain")][..],
                    &[("content-type", "text/html")],
                    &[("content-type", "image/png")],
                    &[],
                ] {
                    for (said, clean) in
                        [(format!("<b>no</b> {SECRET}"), false), ("<b>no</b>".to_owned(), true)]
                    {
                        rig.upstream.answer("echo", raw(status, headers, &said));
                        let reply = bob.call("echo", json!({})).await;
                        let what = format!("{mode} {status} {headers:?} {said}: {}", text(&reply));
                        if clean || mode == "off" || mode == "monitor" {
                            assert_eq!(
                                (reply.status, text(&reply)),
                                (status, said.clone()),
                                "{what}"
                            );
                        } else {
                            assert_eq!(reply.reason(), "scanner_blocked", "{what}");
                            assert!(!text(&reply).contains(SECRET), "{what}");
                        }
                    }
                }
            }
        })
        .await;
    }
}

/// A way to write the secret, as it stands in a JSON string.
fn spelled(spelling: usize) -> String {
    let each = |write: &dyn Fn(char) -> String| SECRET.chars().map(write).collect::<String>();
    match spelling {
        0 => SECRET.into(),
        1 => each(&|c| format!("\\u{:04x}", c as u32)),
        2 => each(&|c| format!("\\u{:04X}", c as u32)),
        3 => each(&|c| format!("%{:02X}", c as u32)),
        4 => each(&|c| format!("&#{};", c as u32)),
        5 => each(&|c| format!("&#x{:x};", c as u32)),
        6 => STANDARD.encode(format!("the key is {SECRET}, yes")),
        _ => each(&|c| format!("{c}\\u0000")),
    }
}

/// A place in a result; `$S` is a string's inside.
const PLACES: [&str; 8] = [
    r#"{"content":[{"type":"text","text":"$S"}]}"#,
    r#"{"content":[{"type":"text","text":"$P $S $P"}]}"#,
    r#"{"content":[],"structuredContent":{"a":[{"b":"$S"}]}}"#,
    r#"{"content":[{"type":"resource","resource":{"uri":"a:b","text":"$P$P\n$S"}}]}"#,
    r#"{"content":[{"type":"resource","resource":{"uri":"a:b","blob":"$S"}}]}"#,
    r#"{"content":[{"$S":1}]}"#,
    r#"{"content":[],"_meta":{"x":{"y":"$S"}}}"#,
    r#"{"a":"$P","content":[],"z":"$S"}"#,
];

/// Size, spelling, place, cut, form and era drawn at random: what is blocked never arrives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_slips_past_by_size_spelling_and_place() {
    let scanners = "[scanners]\nlimit = 65536\n[scanners.modes.tool_intent]\nsecrets = \"block\"\n[scanners.modes.tool_call]\nsecrets = \"block\"\n";
    check(super::settings(scanners), async |rig| {
        hide(rig, "block");
        let speakers = Speaker::both(rig).await;
        let near = prop_oneof![0usize..400, 64_000usize..66_500, 100_000usize..200_000];
        let drawn =
            (0..8usize, 0..PLACES.len(), near, 0..4usize, any::<prop::sample::Index>(), 0..2usize);
        let mut runner = TestRunner::deterministic();
        for _ in 0..300 {
            let tree = drawn.new_tree(&mut runner).expect("it draws");
            let (spelling, place, padding, form, cut, era) = tree.current();
            let speaker = &speakers[era];
            let inside = PLACES[place]
                .replacen("$P", &"lorem ipsum ".repeat(padding / 12), 1)
                .replace("$P", "and");
            let inside = inside.replace("$S", &spelled(spelling));
            let what =
                format!("spelling {spelling}, place {place}, padding {padding}, form {form}");
            let before = rig.upstream.calls("echo").len();
            let body = speaker.body("tools/call", json!({"name": "echo", "arguments": {}}));
            if form == 3 {
                // On the way out.
                let sent = body
                    .to_string()
                    .replace(r#""arguments":{}"#, &format!(r#""arguments":{inside}"#));
                let request = match speaker {
                    Speaker::Modern(client) => client.modern_request(&body),
                    Speaker::Legacy(session) => session.request(&body),
                };
                let client = match speaker {
                    Speaker::Modern(client) => client,
                    Speaker::Legacy(session) => &session.client,
                };
                let reply = client.send(request.body(sent)).await;
                assert!(
                    ["scanner_blocked", "scan_limit_exceeded"].contains(&&*reply.reason()),
                    "{what}: {}",
                    reply.status
                );
                assert_eq!(rig.upstream.calls("echo").len(), before, "{what}");
                continue;
            }
            let answer = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{inside}}}"#, body["id"]);
            let event = format!("data: {answer}\n\n");
            let at = (0..=event.len()).nth(cut.index(event.len() + 1)).unwrap_or(0);
            let (one, two) = event.split_at(at);
            rig.upstream.answer(
                "echo",
                match form {
                    0 => Answer::Json(200, answer),
                    1 => Answer::Events(vec![(Duration::ZERO, event)]),
                    _ => Answer::Events(vec![
                        (Duration::ZERO, one.into()),
                        (Duration::from_millis(2), two.into()),
                    ]),
                },
            );
            let reply = speaker.send(&body).await;
            assert!(
                ["scanner_blocked", "scan_limit_exceeded"].contains(&&*reply.reason()),
                "{what}: {}",
                text(&reply)
            );
            assert_eq!(reply.messages().len(), 1, "{what}");
            assert_eq!(rig.upstream.calls("echo").len(), before + 1, "{what}");
        }
    })
    .await;
}
