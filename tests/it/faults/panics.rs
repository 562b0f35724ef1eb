//! A panic costs one request (B6): each stage of the line is made to panic; the process lives, the client is told,
//! the exchange has its record, and what comes next is served.
//!
//! The fail points are in debug builds only (`gateway/server/src/proxy/fail.rs`); a gateway without
//! `GATEWAY_FAIL_POINTS=on` has none either.

use std::time::Duration;

use gateway_tests::auditor::{EventRow, events_of};
use gateway_tests::client::{Client, Reply};
use gateway_tests::gateway::Options;
use gateway_tests::postgres::Postgres;
use gateway_tests::rig::{Rig, Setup};
use gateway_tests::upstream::Answer;
use serde_json::json;
use uuid::Uuid;

use super::{all_closed, chains_are_whole};

const HEADER: &str = "x-gateway-fail";
/// Those before anything has left.
const BEFORE: [&str; 10] = [
    "accept", "identify", "parse", "resolve", "decide", "limit", "scan", "intent", "recorded",
    "forward",
];
/// Those after it, each with the tool whose answer passes there.
const AFTER: [(&str, &str); 5] = [
    ("forwarded", "echo"),
    ("filter", "echo"),
    ("outcome", "echo"),
    ("stream", "list_items"),
    ("outcome", "list_items"),
];

async fn start(fail_points: bool) -> Rig {
    let database = Postgres::shared().database().await;
    let on = ("GATEWAY_FAIL_POINTS".to_owned(), "on".to_owned());
    let environment = if fail_points { vec![on] } else { Vec::new() };
    let options = Options { environment, ..Options::new(&database.url) };
    let rig = Rig::start_with(Setup::default(), database, options).await;
    let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#;
    let result = r#"{"jsonrpc":"2.0","id":$ID,"result":{"resultType":"complete","content":[],"isError":false}}"#;
    let event = |message: &str| format!("data: {message}\n\n");
    let pieces =
        vec![(Duration::ZERO, event(progress)), (Duration::from_millis(700), event(result))];
    rig.upstream.answer("list_items", Answer::Events(pieces));
    // Its tools are known from here on.
    assert_eq!(rig.client("bob").call("echo", json!({})).await.status, 200);
    rig
}

async fn failing(bob: &Client, tool: &str, stage: &str) -> reqwest::Result<Reply> {
    let body = bob.modern_body("tools/call", json!({"name": tool, "arguments": {}}));
    bob.try_send(bob.modern_request(&body).header(HEADER, stage)).await
}

/// The one record of an exchange that broke off.
async fn recorded(rig: &Rig, call: Option<Uuid>) -> EventRow {
    let broke = |row: &EventRow| row.reason == "internal" && call.is_none_or(|id| row.call == id);
    let rows = events_of(&rig.database, 1, broke).await;
    assert!(call.is_none() || rows.len() == 1, "{rows:?}");
    rows.into_iter().next_back().unwrap()
}

async fn is_well(rig: &mut Rig, stage: &str, process: Option<u32>) {
    assert!(rig.gateway.running(), "{stage}: the process has ended");
    assert_eq!(rig.gateway.process_id(), process, "{stage}");
    let next = rig.client("bob").call("echo", json!({})).await;
    assert_eq!((next.status, &next.result()["isError"]), (200, &json!(false)), "after {stage}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_any_stage_costs_one_request() {
    let mut rig = start(true).await;
    let process = rig.gateway.process_id();
    let stages = BEFORE.map(|stage| (stage, "echo")).into_iter().chain(AFTER);
    for (stage, tool) in stages {
        let bob = rig.client("bob");
        let before = rig.upstream.receipts().len();
        let reply = failing(&bob, tool, stage).await;
        match reply {
            Ok(reply) if reply.header("content-type").starts_with("application/json") => {
                let why = (reply.status, reply.reason());
                assert_eq!(why, (500, "internal".into()), "{stage}: {:?}", reply.body);
                let call = reply.refusal().unwrap().correlation_id.parse().unwrap();
                let row = recorded(&rig, Some(call)).await;
                assert_eq!((&*row.outcome, &*row.detail), ("unknown", "panic"), "{stage}: {row:?}");
            }
            // The answer had begun: it breaks off, so that the client sees that something is missing.
            Ok(reply) => panic!("{stage}: {} {:?}", reply.status, reply.body),
            Err(_) => assert_eq!(stage, "outcome", "{stage}: no answer at all"),
        }
        let arrived = rig.upstream.receipts().len() - before;
        assert_eq!(arrived, usize::from(!BEFORE.contains(&stage)), "{stage}: receipts");
        is_well(&mut rig, stage, process).await;
    }
    let panics = rig.gateway.logs().matches("fail point").count();
    assert!(panics >= BEFORE.len() + AFTER.len(), "only {panics} panics are in the log");
    all_closed(&rig.database).await;
    chains_are_whole(&rig);
    rig.finish().await;
}

/// The first event is out when another exchange arms the fail point that the second one meets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_the_middle_of_a_stream_breaks_it_off_and_nothing_else() {
    let mut rig = start(true).await;
    let process = rig.gateway.process_id();
    let bob = rig.client("bob");
    let body = bob.modern_body("tools/call", json!({"name": "list_items", "arguments": {}}));
    let mut response = bob.modern_request(&body).send().await.unwrap();
    assert!(response.chunk().await.unwrap().is_some(), "the first event is out");
    let armed = failing(&bob, "echo", "stream").await.unwrap();
    assert_eq!(armed.result()["isError"], false, "an answer of one piece has no such stage");
    let mut rest = Vec::new();
    let broke = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => rest.extend_from_slice(&chunk),
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    let rest = String::from_utf8_lossy(&rest);
    assert!(broke, "the client was not told that something is missing: {rest}");
    assert!(!rest.contains("\"result\""), "{rest}");
    let row = recorded(&rig, None).await;
    assert_eq!((&*row.outcome, &*row.detail), ("unknown", "panic"), "{row:?}");
    is_well(&mut rig, "stream", process).await;
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_switch_there_are_no_fail_points() {
    let rig = start(false).await;
    for stage in BEFORE.into_iter().chain(AFTER.map(|(stage, _)| stage)) {
        let reply = failing(&rig.client("bob"), "echo", stage).await.unwrap();
        assert_eq!(reply.result()["isError"], false, "{stage}: {:?}", reply.body);
    }
    rig.finish().await;
}
