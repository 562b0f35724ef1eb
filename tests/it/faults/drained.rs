//! SIGTERM: what runs is finished and recorded, what is new is turned away, and open streams end as streams
//! should.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gateway_tests::client::Client;
use gateway_tests::rig::{Rig, Setup};
use gateway_tests::upstream::Answer;
use gateway_tests::wait::eventually;
use serde_json::json;
use tokio::task::JoinHandle;

use super::load::{Caller, End, Seen};
use super::{RECOVERY, Told, open_intents};

/// Longer than the running call, so that nothing has to be cut.
const PATIENT: &str = "server.drain = \"30s\"";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_call_is_finished_and_new_ones_are_refused() {
    let setup = Setup { config: PATIENT.into(), ..Setup::default() };
    let mut rig = Rig::start(setup).await;
    let slow = Answer::Late(Duration::from_secs(4), Box::new(Answer::text("done")));
    rig.upstream.tool("slow_call", json!({})).answer("slow_call", slow);
    let running = Arc::new(AtomicBool::new(true));
    let call = slow_call(&rig, running.clone()).await;
    let stream = open_stream(&rig).await;
    let newcomers = newcomers(&rig, running);
    let status = tokio::task::block_in_place(|| rig.gateway.terminate());
    assert!(status.success(), "{status:?}");
    let Seen { id, end } = call.await.unwrap();
    assert!(matches!(end, End::Answered), "{end:?}");
    assert!(newcomers.await.unwrap(), "new calls were served as long as an old one ran");
    // Cut, it would lack its last chunk.
    let rest = stream.await.unwrap();
    assert!(rest.contains("notifications/cancelled"), "the stream ended without a word: {rest}");
    // All of it was written before the process ended.
    assert_eq!(open_intents(&rig.database).await, 0);
    assert_eq!(Told::by(&rig.database).await.outcome(&id), "ok");
    rig.finish().await;
}

/// A call that has arrived and runs; `running` becomes false with its answer.
async fn slow_call(rig: &Rig, running: Arc<AtomicBool>) -> JoinHandle<Seen> {
    let caller = Caller::Modern(rig.client("bob"), "slow_call");
    let call = tokio::spawn(async move {
        let seen = caller.call().await;
        running.store(false, Ordering::SeqCst);
        seen
    });
    eventually("the slow call has arrived", RECOVERY, async || {
        (rig.upstream.receipts().len() == 1).then_some(())
    })
    .await;
    call
}

/// A subscription that the upstream never ends; gives what came until it ended well.
async fn open_stream(rig: &Rig) -> JoinHandle<String> {
    let hello = r#"data: {"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{}}"#;
    let hello = vec![(Duration::ZERO, format!("{hello}\n\n"))];
    rig.upstream.answer("subscriptions/listen", Answer::Open(hello));
    let client = rig.client("bob");
    let body = client.modern_body("subscriptions/listen", json!({"notifications": {}}));
    let mut response = client.modern_request(&body).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let first = response.chunk().await.unwrap().expect("the stream has begun");
    tokio::spawn(async move {
        let mut text = String::from_utf8_lossy(&first).into_owned();
        while let Some(chunk) = response.chunk().await.expect("the stream was cut") {
            text.push_str(&String::from_utf8_lossy(&chunk));
        }
        text
    })
}

/// Calls on new connections until one is not served; true if the slow call was still running then.
fn newcomers(rig: &Rig, running: Arc<AtomicBool>) -> JoinHandle<bool> {
    let (url, key) = (rig.gateway.proxy_url("fake"), rig.key("bob").to_owned());
    tokio::spawn(async move {
        loop {
            let client = Client::new(&url, Some(&key), Default::default());
            match Caller::Modern(client, "echo").call().await.end {
                End::Answered => {}
                End::Refused(reply) => {
                    assert_eq!((reply.status, reply.reason().as_str()), (503, "shutting_down"));
                    return running.load(Ordering::SeqCst);
                }
                End::Broken(_) => return running.load(Ordering::SeqCst),
            }
        }
    })
}
