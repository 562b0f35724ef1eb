//! A rolling restart of three replicas behind haproxy (B7): calls that are shorter than the grace time, long ones and
//! streams among them, are answered and sent once; subscriptions end as streams should and are opened anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gateway_tests::client::{Client, Session};
use gateway_tests::gateway::{Gateway, Options};
use gateway_tests::haproxy::Haproxy;
use gateway_tests::rig::{Rig, Setup};
use gateway_tests::upstream::Answer;
use gateway_tests::wait::eventually;
use serde_json::json;
use tokio::task::JoinHandle;

use super::load::{Caller, End, Load, Seen};
use super::{Dice, RECOVERY, Told, all_closed, chains_are_whole, ledger};

/// Rounds: in each every replica is restarted once.
const ROUNDS: usize = 1;

struct Replicas {
    rig: Rig,
    others: [Gateway; 2],
    haproxy: Haproxy,
}

impl Replicas {
    async fn start() -> Replicas {
        let mut haproxy = Haproxy::prepare();
        let public = haproxy.base();
        let config = format!(
            "server.public_url = \"{public}\"\nserver.notice = \"700ms\"\nserver.drain = \"15s\"\n"
        );
        let rig = Rig::start(Setup { config, ..Setup::default() }).await;
        let options = Options { state: None, ..rig.gateway.options.clone() };
        let others = [Gateway::start(options.clone()).await, Gateway::start(options).await];
        let all = [&rig.gateway, &others[0], &others[1]];
        haproxy.start(&all.map(|gateway| (&*gateway.base, &*gateway.admin))).await;
        let replicas = Replicas { rig, others, haproxy };
        replicas.answers();
        replicas
    }

    /// Calls of two seconds, and streams of one.
    fn answers(&self) {
        let upstream = &self.rig.upstream;
        let late = |ms| Answer::Late(Duration::from_millis(ms), Box::new(Answer::text("done")));
        upstream.tool("slow_call", json!({})).answer("slow_call", late(150));
        upstream.tool("slow_long", json!({})).answer("slow_long", late(2000));
        let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#;
        let result = r#"{"jsonrpc":"2.0","id":$ID,"result":{"resultType":"complete","content":[],"isError":false}}"#;
        let event = |message: &str| (Duration::from_millis(200), format!("data: {message}\n\n"));
        let mut pieces = vec![event(progress); 4];
        pieces.push(event(result));
        upstream.tool("slow_stream", json!({})).answer("slow_stream", Answer::Events(pieces));
        let hello = r#"data: {"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{}}"#;
        let hello = vec![(Duration::ZERO, format!("{hello}\n\n"))];
        upstream.answer("subscriptions/listen", Answer::Open(hello));
    }

    /// What they are told is looked at by the test, not by the Auditor.
    fn client(&self, name: &str) -> Client {
        let url = format!("{}/api/v1/proxy/fake/mcp", self.haproxy.base());
        Client::new(&url, Some(self.rig.key(name)), Default::default())
    }

    async fn callers(&self) -> Vec<Caller> {
        let mut callers = Vec::new();
        for tool in
            ["echo", "echo", "slow_call", "slow_long", "slow_long", "slow_stream", "slow_stream"]
        {
            callers.push(Caller::Modern(self.client("bob"), tool));
        }
        callers.push(Caller::Modern(self.client("carol"), "echo"));
        // haproxy answers 503 until it has looked at the replicas.
        let session = eventually("haproxy sends on", RECOVERY, async || {
            let ready = self.client("bob").call("echo", json!({})).await;
            (ready.status == 200).then_some(())
        });
        session.await;
        let session: Session = self.client("bob").legacy().await;
        callers.push(Caller::Legacy(session));
        callers
    }

    /// One after the other; gives how many there were.
    async fn roll(&mut self, load: &Load) {
        for gateway in [&mut self.rig.gateway].into_iter().chain(&mut self.others) {
            load.answered(20).await;
            let status = tokio::task::block_in_place(|| gateway.terminate());
            assert!(status.success(), "{status:?}");
            gateway.restart().await;
        }
        load.answered(20).await;
    }
}

/// Somebody who listens, and comes back when the stream ends well; gives how often it was opened.
fn listener(client: Client, stop: Arc<AtomicBool>) -> JoinHandle<usize> {
    tokio::spawn(async move {
        let mut opened = 0;
        while !stop.load(Ordering::Relaxed) {
            let body = client.modern_body("subscriptions/listen", json!({"notifications": {}}));
            let mut response = client.modern_request(&body).send().await.unwrap();
            assert_eq!(response.status(), 200, "a subscription was refused");
            opened += 1;
            let mut text = String::new();
            while !stop.load(Ordering::Relaxed) {
                let next = tokio::time::timeout(Duration::from_millis(200), response.chunk()).await;
                let Ok(next) = next else { continue };
                match next.expect("a stream was cut") {
                    Some(chunk) => text.push_str(&String::from_utf8_lossy(&chunk)),
                    None => {
                        assert!(
                            text.contains("notifications/cancelled"),
                            "ended without a word: {text}"
                        );
                        break;
                    }
                }
            }
        }
        opened
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_fails_no_call_and_doubles_none() {
    let mut dice = Dice::new("rolling restart");
    let mut replicas = Replicas::start().await;
    let callers = replicas.callers().await;
    let stop = Arc::new(AtomicBool::new(false));
    let listeners = [0; 3].map(|_| listener(replicas.client("bob"), stop.clone()));
    let load = Load::start(&callers);
    while dice.another(ROUNDS) {
        replicas.roll(&load).await;
    }
    let seen = load.stop().await;
    stop.store(true, Ordering::Relaxed);
    let mut opened = 0;
    for listener in listeners {
        opened += listener.await.unwrap();
    }
    let Replicas { rig, others, haproxy } = replicas;
    for mut other in others {
        assert!(tokio::task::block_in_place(|| other.terminate()).success());
    }
    drop(haproxy);
    all_closed(&rig.database).await;
    let receipts = ledger(&rig.upstream);
    let told = Told::by(&rig.database).await;
    for Seen { id, end } in &seen {
        assert!(matches!(end, End::Answered), "{id}: {end:?}");
        assert!(receipts.contains(id), "{id} was answered but never arrived");
        assert_eq!(told.outcome(id), "ok", "{id}");
    }
    let restarts = 3 * dice.rounds();
    println!("{} calls over {restarts} restarts, none failed; {opened} streams", seen.len());
    assert!(opened > 3, "no stream had to be opened anew");
    chains_are_whole(&rig);
    rig.finish().await;
}
