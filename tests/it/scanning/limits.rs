//! What is longer than what is read: refused, or passed and recorded, to the byte.

use std::time::Duration;

use gateway_tests::rig::{Rig, check};
use gateway_tests::upstream::Answer;
use serde_json::json;

use super::{MASKED, SECRET, Speaker, findings, record_of, settings, text};

const LIMIT: usize = 2048;

fn limited(over: &str) -> gateway_tests::rig::Setup {
    settings(&format!(
        "[scanners]\nlimit = {LIMIT}\nover_limit = \"{over}\"\n[scanners.modes.tool_intent]\nsecrets = \"mask\"\n[scanners.modes.tool_call]\nsecrets = \"mask\"\n"
    ))
}

/// `text` with `$P` filled up so that it has that length.
fn padded(text: &str, length: usize) -> String {
    let rest = text.len() - "$P".len();
    text.replace("$P", "x ".repeat(length).split_at(length - rest).0)
}

async fn unscanned(rig: &Rig) -> usize {
    let found = findings(rig).await;
    let is_one = |findings: &serde_json::Value| {
        findings.as_array().into_iter().flatten().any(|one| one["rule"] == "unscanned")
    };
    found.iter().filter(|(_, findings)| is_one(findings)).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limit_counts_to_the_byte() {
    for over in ["refuse", "pass"] {
        check(limited(over), async |rig| {
            let mut passed = 0;
            for speaker in Speaker::both(rig).await {
                rig.upstream.answer("echo", Answer::text("done"));
                for length in [LIMIT - 1, LIMIT, LIMIT + 1] {
                    let body = speaker.body("tools/call", json!({"name": "echo", "arguments": {"k": SECRET, "p": "$P"}}));
                    let sent = padded(&body.to_string(), length);
                    assert_eq!(sent.len(), length);
                    let before = rig.upstream.calls("echo").len();
                    let reply = speaker.send(&serde_json::from_str(&sent).unwrap()).await;
                    let arrived = rig.upstream.calls("echo").split_off(before);
                    if length > LIMIT && over == "refuse" {
                        assert_eq!(reply.reason(), "scan_limit_exceeded", "{}", text(&reply));
                        assert!(arrived.is_empty() && text(&reply).contains("2048"));
                        continue;
                    }
                    passed += usize::from(length > LIMIT);
                    let expected = if length > LIMIT { sent } else { sent.replace(SECRET, MASKED) };
                    assert_eq!(String::from_utf8_lossy(&arrived[0].body), expected);
                }
                for sse in [false, true] {
                    for length in [LIMIT - 1, LIMIT, LIMIT + 1, 20 * LIMIT] {
                        let body = speaker.body("tools/call", json!({"name": "echo", "arguments": {}}));
                        let answer = json!({"jsonrpc": "2.0", "id": body["id"],
                            "result": {"resultType": "complete", "content": [{"type": "text", "text": SECRET}], "p": "$P"}});
                        let data = padded(&answer.to_string(), length);
                        let whole = if sse { format!("data: {data}\n\n") } else { data.clone() };
                        rig.upstream.answer("echo", if sse {
                            let (one, two) = whole.split_at(whole.len() / 2);
                            Answer::Events(vec![(Duration::ZERO, one.into()), (Duration::from_millis(5), two.into())])
                        } else {
                            Answer::Json(200, whole.clone())
                        });
                        let reply = speaker.send(&body).await;
                        if length > LIMIT && over == "refuse" {
                            assert_eq!(reply.reason(), "scan_limit_exceeded", "{sse} {length}");
                            assert!(!text(&reply).contains(SECRET));
                            let record = record_of(rig, &reply).await;
                            assert_eq!((&*record.outcome, record.concludes), ("denied", true));
                            continue;
                        }
                        passed += usize::from(length > LIMIT);
                        let expected = if length > LIMIT { whole } else { whole.replace(SECRET, MASKED) };
                        assert_eq!(text(&reply), expected, "{sse} {length}");
                    }
                }
            }
            let recorded = async || (unscanned(rig).await >= passed).then_some(());
            gateway_tests::wait::eventually("what passed unread is recorded", Duration::from_secs(10), recorded).await;
            assert_eq!(unscanned(rig).await, passed);
            // Of what nobody has read nothing is kept.
            rig.secrets.push(SECRET.into());
        })
        .await;
    }
}

/// Where nothing is looked for, nothing is too long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_read_has_no_limit() {
    let classes =
        ["secrets", "personal_data", "hidden_characters", "injection", "dangerous_actions"];
    let off: String = classes.iter().map(|class| format!("{class} = \"off\"\n")).collect();
    let all = format!(
        "[scanners]\nlimit = {LIMIT}\n[scanners.modes.tool_intent]\n{off}[scanners.modes.tool_call]\n{off}"
    );
    check(settings(&all), async |rig| {
        let bob = rig.client("bob");
        let long = "x ".repeat(5 * LIMIT);
        rig.upstream.answer("echo", Answer::text(&long));
        let reply = bob.call("echo", json!({"text": long})).await;
        assert!(text(&reply).contains(&long), "{}", reply.status);
        assert_eq!(findings(rig).await.len(), 0);
    })
    .await;
}
