//! What is refused leaves a record, whatever class of attack it is; and a flood of it, which anybody can make, becomes
//! a few rows that count all of it (A4). `GATEWAY_TEST_FLOOD` is the flood's size: `just flood 1000000`.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use gateway_tests::auditor::events;
use gateway_tests::rig::{Rig, Setup, check};
use gateway_tests::wait::eventually;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const FLOOD: usize = 20_000;
const CONNECTIONS: usize = 8;
/// Requests that are sent before their answers are read.
const PIPELINED: usize = 100;
/// What the flood may take in rows, bytes.
const ROOM: i64 = 1 << 20;

/// A request as it stands on the wire.
struct Raw {
    line: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Raw {
    /// A good call, but for what is changed in it.
    fn of(rig: &Rig, credential: Option<&str>) -> Raw {
        let body = json!({"jsonrpc": "2.0", "id": "raw", "method": "tools/call", "params": {"name": "echo"}});
        let headers = [
            ("host", rig.gateway.base.trim_start_matches("http://")),
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
            ("connection", "close"),
        ];
        let mut headers: Vec<_> =
            headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        headers.extend(credential.map(|key| ("authorization".into(), format!("Bearer {key}"))));
        let body = body.to_string().into_bytes();
        Raw { line: "POST /api/v1/proxy/fake/mcp HTTP/1.1".into(), headers, body }
    }

    fn line(mut self, line: &str) -> Raw {
        self.line = line.into();
        self
    }

    fn header(mut self, name: &str, value: &str) -> Raw {
        self.headers.retain(|(known, _)| known != name);
        self.headers.push((name.into(), value.into()));
        self
    }

    fn body(mut self, body: impl Into<Vec<u8>>) -> Raw {
        self.body = body.into();
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut text = format!("{}\r\n", self.line);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if !self.headers.iter().any(|(name, _)| name == "content-length") {
            text.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        [text.as_bytes(), b"\r\n", &self.body].concat()
    }
}

async fn connect(rig: &Rig) -> TcpStream {
    TcpStream::connect(rig.gateway.base.trim_start_matches("http://")).await.unwrap()
}

/// Sends it, and no more where `ends`; gives the answer's status, or 0 where the connection just closes.
async fn send(rig: &Rig, bytes: &[u8], ends: bool) -> u16 {
    let mut stream = connect(rig).await;
    stream.write_all(bytes).await.unwrap();
    if ends {
        let _ = stream.shutdown().await;
    }
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "neither an answer nor an end");
    let text = String::from_utf8_lossy(&answer);
    text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

/// Each class of attack, as a client would send it, and the reason that it is refused for.
fn corpus(rig: &Rig) -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let bob = Some(rig.key("bob"));
    let good = || Raw::of(rig, bob);
    let modern = |params: &str| {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{{params}"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{}}}}}}}}"#
        );
        good()
            .body(body)
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "tools/call")
            .header("mcp-name", "echo")
    };
    let bad = |what: &str| Raw::of(rig, Some(what));
    let message = |text: &str| good().body(text);
    let cases = vec![
        ("no credential", Raw::of(rig, None), "credential_missing"),
        ("an unknown key", bad("rl_0123456789abcdefghijklmnopqrstuvwxyz012345678"), "credential_invalid"),
        ("two credentials", good().header("x-runlayer-api-key", "rl_other"), "credential_ambiguous"),
        ("no JSON", message("hello"), "invalid_json"),
        ("a doubled key", message(r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#), "invalid_json"),
        ("a batch", message(r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#), "batch_not_supported"),
        ("a key in another case", message(r#"{"jsonrpc":"2.0","id":1,"Method":"ping"}"#), "invalid_message"),
        ("no parameters", message(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#), "invalid_params"),
        ("an unknown method", message(r#"{"jsonrpc":"2.0","id":1,"method":"admin/all"}"#), "unknown_method"),
        ("an unknown version", good().header("mcp-protocol-version", "1999-01-01"), "unsupported_protocol_version"),
        ("headers that differ", modern(r#""name":"echo","#).header("mcp-name", "hidden"), "header_mismatch"),
        ("a foreign host", good().header("host", "evil.example"), "host_not_allowed"),
        ("a foreign origin", good().header("origin", "https://evil.example"), "origin_not_allowed"),
        ("a form", good().header("content-type", "application/x-www-form-urlencoded"), "unsupported_media_type"),
        ("a foreign verb", good().line("PUT /api/v1/proxy/fake/mcp HTTP/1.1"), "http_method_not_allowed"),
        ("no such address", good().line("POST /api/v1/proxy/a/b/c HTTP/1.1"), "not_found"),
        ("a server that is not there", good().line("POST /api/v1/proxy/no-such/mcp HTTP/1.1"), "server_not_found"),
        ("a tool that is not there", modern(r#""name":"echo","#).header("mcp-name", "nothing").body(
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"nothing","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#), "target_not_found"),
        ("what policy denies", modern(r#""name":"echo","arguments":{"text":"forbidden"},"#), "policy_denied"),
        ("a made-up session", good().header("mcp-session-id", "0123456789"), "session_unknown"),
        ("a huge body", good().header("content-length", "99999999"), "body_too_large"),
        ("a huge head", good().header("x-long", &"x".repeat(40_000)), "headers_too_large"),
        ("a body that breaks off", good().header("content-length", "4000"), "body_incomplete"),
        ("two lengths", good().header("content-length", "2, 2"), "malformed_request"),
        ("length and chunks", good().header("transfer-encoding", "chunked").header("content-length", "2"), "malformed_request"),
    ];
    let mut cases: Vec<_> =
        cases.into_iter().map(|(what, raw, reason)| (what, raw.bytes(), reason)).collect();
    let host = rig.gateway.base.trim_start_matches("http://");
    let bare = format!("POST / HTTP/1.1\nhost: {host}\ncontent-length: 0\n\n");
    cases.push(("bare line feeds", bare.into_bytes(), "malformed_request"));
    cases.push((
        "no HTTP",
        b"\x16\x03\x01\x02\x00\x01 hello\r\n\r\n".to_vec(),
        "malformed_request",
    ));
    cases
}

/// How many events there are of a reason, each counted for as many as it stands for.
async fn counted(rig: &Rig) -> HashMap<String, i64> {
    let mut counted = HashMap::new();
    for event in events(&rig.database).await.into_iter().filter(|event| !event.reason.is_empty()) {
        *counted.entry(event.reason).or_default() += event.count;
    }
    counted
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_class_of_attack_leaves_an_event_and_nothing_upstream() {
    check(Setup::default(), async |rig| {
        // Its tools are known from here on.
        assert_eq!(rig.client("bob").call("echo", json!({})).await.status, 200);
        let (mut expected, mut classes) = (HashMap::<String, i64>::new(), 0);
        for (what, bytes, reason) in corpus(rig) {
            let ends = reason == "body_incomplete";
            let status = send(rig, &bytes, ends).await;
            let told = ["policy_denied", "target_not_found", "unknown_method"].contains(&reason);
            assert!(status >= 400 || ends || told, "{what}: {status}");
            *expected.entry(reason.to_owned()).or_default() += 1;
            classes += 1;
        }
        // What is counted together comes within two of the flood gate's windows.
        let found = eventually("an event for each of them", Duration::from_secs(40), async || {
            let counted = counted(rig).await;
            (counted.values().sum::<i64>() >= classes).then_some(counted)
        })
        .await;
        assert_eq!(found, expected);
        println!("{classes} classes, {} reasons", expected.len());
        assert_eq!(rig.upstream.receipts().len(), 1, "an attack reached the upstream");
    })
    .await;
}

/// So many requests with bad credentials, none like another, over one connection.
async fn pour(rig: &Rig, lane: usize, count: usize) {
    let mut stream = connect(rig).await;
    let mut sent = 0;
    while sent < count {
        let now = PIPELINED.min(count - sent);
        let mut bytes = Vec::new();
        for n in sent..sent + now {
            let credential = match n % 3 {
                0 => format!("rl_{lane:04}{n:039}"),
                1 => format!("eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiI{lane}In0.{n:043}"),
                _ => format!("nonsense-{lane}-{n}"),
            };
            bytes.extend(
                Raw::of(rig, Some(&credential))
                    .body("{}")
                    .header("connection", "keep-alive")
                    .bytes(),
            );
        }
        stream.write_all(&bytes).await.unwrap();
        let (mut answers, mut rest) = (0, Vec::new());
        while answers < now {
            let mut piece = vec![0; 64 << 10];
            let read = stream.read(&mut piece).await.unwrap();
            assert!(read > 0, "closed after {answers} of {now} answers");
            rest.extend_from_slice(&piece[..read]);
            let mark = b"HTTP/1.1 401 ";
            while let Some(at) = rest.windows(mark.len()).position(|window| window == mark) {
                answers += 1;
                rest.drain(..at + mark.len());
            }
            // What is kept could be the beginning of the next one.
            rest.drain(..rest.len().saturating_sub(mark.len()));
        }
        sent += now;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_bad_tokens_becomes_a_few_rows_that_count_all_of_it() {
    let given = std::env::var("GATEWAY_TEST_FLOOD").ok().and_then(|text| text.parse().ok());
    let flood: usize = given.unwrap_or(FLOOD);
    check(Setup::default(), async |rig| {
        let intents = rig.database.count("select count(*) from audit_intent").await;
        let from = Instant::now();
        let each = flood / CONNECTIONS;
        join_all((0..CONNECTIONS).map(|lane| pour(rig, lane, each))).await;
        let took = from.elapsed();
        let all = (each * CONNECTIONS) as i64;
        eventually("all of it is counted", Duration::from_secs(60), async || {
            let sum = "select coalesce(sum(count), 0)::bigint from audit_event where reason like 'credential%'";
            (rig.database.count(sum).await == all).then_some(())
        })
        .await;
        let size = "select coalesce(sum(pg_column_size(e)), 0)::bigint from audit_event e";
        let (bytes, rows) = (
            rig.database.count(size).await,
            rig.database.count("select count(*) from audit_event").await,
        );
        println!("{all} bad tokens in {took:.1?}: {rows} rows of {bytes} bytes");
        assert!(bytes < ROOM, "{bytes} bytes for {all} bad tokens");
        assert_eq!(rig.database.count("select count(*) from audit_intent").await, intents);
        // Somebody with a good key was served all the time, and is now.
        assert_eq!(rig.client("bob").call("echo", json!({})).await.status, 200);
    })
    .await;
}
