//! Load: people who call tools one call after the other, in both eras, with upstreams that answer at once and
//! ones that take their time, so that at any moment calls are in every stage of the line.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use gateway_tests::client::{Client, Reply, Session, legacy_body};
use gateway_tests::rig::Rig;
use gateway_tests::upstream::Answer;
use gateway_tests::wait::eventually;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::RECOVERY;

/// A client's patience: whoever is refused must hear it within this.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Whoever was refused takes a breath, and does not insist at full speed.
const BREATH: Duration = Duration::from_millis(20);

/// One call as its client saw it.
#[derive(Debug)]
pub(super) struct Seen {
    /// The JSON-RPC id as JSON text.
    pub(super) id: String,
    pub(super) end: End,
}

/// How it ended for the client.
#[derive(Debug)]
pub(super) enum End {
    /// With the tool's result.
    Answered,
    /// With anything else.
    Refused(Reply),
    /// Without an answer.
    Broken(String),
}

/// Somebody who calls.
#[derive(Debug, Clone)]
pub(super) enum Caller {
    Modern(Client, &'static str),
    Legacy(Session),
}

impl Caller {
    /// Calls once.
    pub(super) async fn call(&self) -> Seen {
        let (request, id) = self.request();
        let client = match self {
            Caller::Modern(client, _) => client,
            Caller::Legacy(session) => &session.client,
        };
        let end = match client.try_send(request.timeout(PATIENCE)).await {
            Ok(reply) if reply.result()["isError"] == false => End::Answered,
            Ok(reply) => End::Refused(reply),
            Err(error) => End::Broken(format!("{error:?}")),
        };
        Seen { id, end }
    }

    fn request(&self) -> (reqwest::RequestBuilder, String) {
        let params = |tool: &str| json!({"name": tool, "arguments": {"text": "x".repeat(200)}});
        let id = |body: &Value| body["id"].to_string();
        match self {
            Caller::Modern(client, tool) => {
                let body = client.modern_body("tools/call", params(tool));
                (client.modern_request(&body), id(&body))
            }
            Caller::Legacy(session) => {
                let body = legacy_body("tools/call", params("echo"));
                (session.request(&body), id(&body))
            }
        }
    }
}

/// Twelve callers, of two people. What they are told is not for the Auditor: of a process that is killed,
/// records of refusals may be lost, for nothing had happened.
pub(super) async fn callers(rig: &Rig) -> Vec<Caller> {
    let text = Box::new(Answer::text("done"));
    let slow = Answer::Late(Duration::from_millis(150), text);
    rig.upstream.tool("slow_call", json!({})).answer("slow_call", slow);
    let client = |name| {
        let url = rig.gateway.proxy_url("fake");
        Client::new(&url, Some(rig.key(name)), Default::default())
    };
    let mut callers = Vec::new();
    for _ in 0..3 {
        callers.push(Caller::Modern(client("bob"), "echo"));
        callers.push(Caller::Modern(client("carol"), "echo"));
        callers.push(Caller::Modern(client("bob"), "slow_call"));
        callers.push(Caller::Legacy(client("bob").legacy().await));
    }
    callers
}

/// Callers at work.
pub(super) struct Load {
    tasks: JoinSet<Vec<Seen>>,
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    refused: Arc<AtomicUsize>,
}

impl Load {
    /// Everybody calls until [`Load::stop`], or until the connection breaks.
    pub(super) fn start(callers: &[Caller]) -> Load {
        let mut load = Load {
            tasks: JoinSet::new(),
            stop: Arc::default(),
            answered: Arc::default(),
            refused: Arc::default(),
        };
        for caller in callers {
            let caller = caller.clone();
            let (answered, refused) = (load.answered.clone(), load.refused.clone());
            let stop = load.stop.clone();
            load.tasks.spawn(async move {
                let mut all = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let seen = caller.call().await;
                    let broken = matches!(seen.end, End::Broken(_));
                    let counter = match seen.end {
                        End::Answered => Some(&answered),
                        End::Refused(_) => Some(&refused),
                        End::Broken(_) => None,
                    };
                    counter.map(|counter| counter.fetch_add(1, Ordering::Relaxed));
                    if matches!(seen.end, End::Refused(_)) {
                        tokio::time::sleep(BREATH).await;
                    }
                    all.push(seen);
                    if broken {
                        break;
                    }
                }
                all
            });
        }
        load
    }

    /// Waits until so many more calls were answered.
    pub(super) async fn answered(&self, more: u64) {
        at_least("answered", &self.answered, more).await;
    }

    /// Waits until so many more calls were refused.
    pub(super) async fn refused(&self, more: u64) {
        at_least("refused", &self.refused, more).await;
    }

    /// Lets everybody finish the call that runs, and gives all calls.
    pub(super) async fn stop(self) -> Vec<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        self.ended().await
    }

    /// Everybody has come to an end, by themselves or because the connections broke.
    pub(super) async fn ended(self) -> Vec<Seen> {
        self.tasks.join_all().await.into_iter().flatten().collect()
    }
}

async fn at_least(what: &str, counter: &AtomicUsize, more: u64) {
    let goal = counter.load(Ordering::Relaxed) as u64 + more;
    eventually(&format!("{more} more calls are {what}"), RECOVERY, async || {
        (counter.load(Ordering::Relaxed) as u64 >= goal).then_some(())
    })
    .await;
}
