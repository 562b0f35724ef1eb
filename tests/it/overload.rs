//! Too much of everything: more calls than can be served, callers and servers that take all there is, clients that
//! send and read as slowly as they can, and inputs that are small to send and large to read. What is turned away hears
//! it early and is recorded; everybody else is served; memory stays bounded.

mod apart;
mod burst;
mod large;
mod slow;

use std::time::Duration;

use gateway_tests::auditor::events;
use gateway_tests::client::{Client, Reply};
use gateway_tests::rig::Rig;
use serde_json::json;
use tokio::task::JoinHandle;

/// Far beyond what any answer takes: who has none by then has been forgotten.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is told of the reasons that come in floods.
const FLOODS: [&str; 2] = ["overloaded", "upstream_unavailable"];

/// A client of its own connections, whose refusals a test counts itself.
fn client(rig: &Rig, name: &str, server: &str) -> Client {
    Client::new(&rig.gateway.proxy_url(server), Some(rig.key(name)), Default::default())
}

/// Calls a tool beside the test; gives the answer, or how it broke off.
fn call(client: &Client, tool: &'static str) -> JoinHandle<Result<Reply, String>> {
    let client = client.clone();
    tokio::spawn(async move {
        let body =
            client.modern_body("tools/call", json!({"name": tool, "arguments": {"text": "a"}}));
        let request = client.modern_request(&body).timeout(PATIENCE);
        client.try_send(request).await.map_err(|error| format!("{error:?}"))
    })
}

/// The answer is 503 of that reason and says when to come again.
fn is_turned_away(reply: &Reply, reason: &str) -> bool {
    let text = String::from_utf8_lossy(&reply.body);
    let away = reply.status == 503 && reply.reason() == reason;
    if away {
        let seconds: Option<u64> = reply.header("retry-after").parse().ok();
        assert!(seconds.is_some_and(|seconds| (1..=60).contains(&seconds)), "{text}");
    }
    away
}

/// How many refusals of that reason the trail counts, and in how many rows.
async fn recorded(rig: &Rig, reason: &str) -> (i64, i64) {
    let all = events(&rig.database).await;
    let of: Vec<i64> = all.iter().filter(|row| row.reason == reason).map(|row| row.count).collect();
    (of.iter().sum(), of.len() as i64)
}

/// Resident memory of a process now and at its peak, in bytes.
fn memory(process: u32) -> (u64, u64) {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().trim_end_matches(" kB").parse::<u64>().ok()
    };
    let bytes = |name| field(name).expect("Linux tells") << 10;
    (bytes("VmRSS:"), bytes("VmHWM:"))
}
