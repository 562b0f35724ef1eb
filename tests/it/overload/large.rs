//! B2 and B4: inputs that are small to send and large to read: deep, wide, packed, endless. Each is passed or refused as
//! it should be, and the gateway's memory grows by what a reader needs, not by what a writer can make of it.

use std::fmt::Write as _;

use bytes::Bytes;
use gateway_tests::rig::{Rig, Setup, check};
use gateway_tests::upstream::Answer;
use serde_json::json;

use super::{client, memory};

const SMALL: &str = "server.max_body = \"1MiB\"\nlimits.upstream_listing = \"2MiB\"\n";
/// How much a gateway may need for an input: so many times its length, and this besides.
const TIMES: u64 = 20;
const BESIDES: u64 = 16 << 20;
/// How long the inputs are, about.
const LENGTH: usize = 900 << 10;

/// A body and the statuses that are right for it.
struct Input {
    name: &'static str,
    body: Bytes,
    coding: Option<&'static str>,
    right: &'static [u16],
}

fn input(name: &'static str, arguments: &str, right: &'static [u16]) -> Input {
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "rig", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"echo","_meta":{meta},"arguments":{arguments}}}}}"#
    );
    Input { name, body: body.into(), coding: None, right }
}

fn corpus() -> Vec<Input> {
    let many = |piece: &str| piece.repeat(LENGTH / piece.len());
    let within = |open: &str, piece: &str, close: &str| {
        format!("{open}{}{close}", many(piece).trim_end_matches(','))
    };
    let deep = LENGTH / 2;
    let mut keys = String::new();
    let mut number = 0;
    while keys.len() < LENGTH {
        let _ = write!(keys, "\"k{number}\":{number},");
        number += 1;
    }
    let keys = format!("{{{}}}", keys.trim_end_matches(','));
    let raw = |name, body: Vec<u8>, coding, right| Input { name, body: body.into(), coding, right };
    let zeros = zstd::encode_all(&vec![b' '; 64 << 20][..], 1).expect("zstd packs");
    vec![
        input("a plain call", r#"{"text":"a"}"#, &[200]),
        input(
            "deep arrays",
            &format!("{{\"a\":{}{}}}", "[".repeat(deep), "]".repeat(deep)),
            &[400],
        ),
        input("deep and never closed", &format!("{{\"a\":{}", "[".repeat(2 * deep)), &[400]),
        input(
            "deep objects",
            &format!("{}1{}", "{\"a\":".repeat(deep / 3), "}".repeat(deep / 3)),
            &[400],
        ),
        input("a wide object", &keys, &[200]),
        input("the same key again and again", &within("{", "\"a\":1,", "}"), &[400]),
        input("a wide array", &within("{\"a\":[", "0,", "]}"), &[200]),
        input("many empty objects", &within("{\"a\":[", "{},", "]}"), &[200]),
        input("one long text", &within("{\"text\":\"", "x", "\"}"), &[200]),
        input("escapes", &within("{\"text\":\"", "\\u0041", "\"}"), &[200]),
        input("half surrogates", &within("{\"text\":\"", "\\ud83d", "\"}"), &[400]),
        input("one long number", &within("{\"n\":", "9", "}"), &[200, 400]),
        input("blanks", &within("{\"n\":", " ", "1}"), &[200]),
        raw("a batch", within("[", "{},", "]").into_bytes(), None, &[400]),
        raw("not JSON", vec![b'x'; LENGTH], None, &[400]),
        raw("not text", vec![0xff; LENGTH], None, &[400]),
        raw("more than is taken", vec![b' '; (1 << 20) + 1], None, &[413]),
        raw("packed blanks", zeros.clone(), Some("zstd"), &[400, 415]),
        raw("packed, it says", zeros, Some("gzip"), &[400, 415]),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_input_takes_more_than_a_reader_needs() {
    let setup = Setup { config: SMALL.into(), ..Setup::default() };
    check(setup, async |rig| {
        // Once before it counts: buffers and threads that stay.
        for input in corpus() {
            send(rig, &input).await;
        }
        let before = rig.upstream.receipts().len();
        let mut passed = 0;
        for input in corpus() {
            let (status, grown) = measured(rig, async |rig| send(rig, &input).await).await;
            println!(
                "{}: {status}, {} KiB for {} KiB",
                input.name,
                grown >> 10,
                input.body.len() >> 10
            );
            assert!(input.right.contains(&status), "{}: {status}", input.name);
            bounded(input.name, grown, input.body.len());
            passed += usize::from(status == 200);
        }
        assert_eq!(
            rig.upstream.receipts().len(),
            before + passed,
            "what is refused leaves nothing"
        );
    })
    .await;
}

async fn send(rig: &Rig, input: &Input) -> u16 {
    let bob = client(rig, "bob", "fake");
    let plain = bob.modern_body("tools/call", json!({"name": "echo", "arguments": {}}));
    let mut request = bob.modern_request(&plain).body(input.body.clone());
    if let Some(coding) = input.coding {
        request = request.header("content-encoding", coding);
    }
    bob.send(request).await.status
}

/// What it gives, and by how much the gateway's memory was larger at its peak than before.
async fn measured<T>(rig: &Rig, run: impl AsyncFnOnce(&Rig) -> T) -> (T, u64) {
    let process = rig.gateway.process_id().expect("it runs");
    std::fs::write(format!("/proc/{process}/clear_refs"), "5").expect("the process is ours");
    let (before, _) = memory(process);
    let given = run(rig).await;
    let (_, peak) = memory(process);
    (given, peak.saturating_sub(before))
}

fn bounded(name: &str, grown: u64, length: usize) {
    let most = TIMES * length as u64 + BESIDES;
    assert!(grown <= most, "{name}: {grown} bytes more for an input of {length}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_takes_more_than_a_reader_needs() {
    let setup = Setup { config: SMALL.into(), ..Setup::default() };
    check(setup, async |rig| {
        rig.upstream.tool("raw_answer", json!({}));
        let bob = client(rig, "bob", "fake");
        let whole = |result: &str| Bytes::from(format!(r#"{{"jsonrpc":"2.0","id":$ID,"result":{result}}}"#));
        let deep = format!("{}{}", "[".repeat(LENGTH / 2), "]".repeat(LENGTH / 2));
        let text = |text: &str| format!(r#"{{"resultType":"complete","content":[{{"type":"text","text":"{text}"}}],"isError":false}}"#);
        let packed = Bytes::from(zstd::encode_all(&vec![b' '; 64 << 20][..], 1).expect("zstd packs"));
        let wide = format!("{{\"resultType\":\"complete\",\"content\":[],\"structuredContent\":[{}0]}}", "0,".repeat(LENGTH / 2));
        let answers: [(&str, Option<&str>, Bytes, &[&str]); 7] = [
            ("a plain answer", None, whole(&text("a")), &[""]),
            ("packed blanks", Some("zstd"), packed.clone(), &["upstream_invalid"]),
            ("packed, it says", Some("gzip"), packed, &["upstream_invalid"]),
            ("packed twice", Some("gzip, br"), whole(&text("a")), &["upstream_invalid"]),
            ("a deep answer", None, whole(&deep), &["upstream_invalid"]),
            ("a wide answer", None, whole(&wide), &[""]),
            ("a long answer", None, whole(&text(&"x".repeat(3 << 20))), &["scan_limit_exceeded", "upstream_invalid", ""]),
        ];
        for round in 0..2 {
            for (name, coding, body, right) in &answers {
                let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
                headers.extend(coding.map(|coding| ("content-encoding".to_owned(), coding.to_owned())));
                rig.upstream.answer("raw_answer", Answer::Raw(200, headers, body.clone()));
                let ask = async |_: &Rig| bob.call("raw_answer", json!({})).await;
                let (reply, grown) = measured(rig, ask).await;
                let reason = reply.reason();
                println!("{name}: {} {reason}, {} KiB for {} KiB", reply.status, grown >> 10, body.len() >> 10);
                assert!(right.contains(&reason.as_str()), "{name}: {reason:?}");
                // The first round is for buffers and threads that stay.
                if round > 0 {
                    bounded(name, grown, body.len());
                }
            }
        }
    })
    .await;
}
