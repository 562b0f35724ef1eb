//! Postgres is there and does not answer, or is not there, in every way that a network knows: calls are
//! refused and go nowhere, what was sent before ends as ever, and nobody has to be restarted.

use std::time::Duration;

use gateway_tests::auditor::events;
use gateway_tests::breaker::{Breaker, Mode};
use gateway_tests::client::Client;
use gateway_tests::gateway::{Gateway, Options};
use gateway_tests::postgres::Postgres;
use gateway_tests::rig::{Rig, Setup};
use gateway_tests::upstream::Answer;
use gateway_tests::wait::eventually;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::load::{Caller, End, Seen};
use super::{RECOVERY, Told, chains_are_whole, ledger, open_intents};

/// How Postgres can be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outage {
    /// All its processes are stopped; the system keeps the connections, and makes new ones.
    Frozen,
    /// The network.
    Network(Mode),
}

pub(super) struct World {
    pub(super) rig: Rig,
    postgres: Postgres,
    breaker: Breaker,
}

impl World {
    async fn start() -> World {
        World::launched(Vec::new()).await
    }

    /// With words before the gateway's command line.
    pub(super) async fn launched(launcher: Vec<String>) -> World {
        let postgres = Postgres::start();
        let database = postgres.database().await;
        let target = format!("127.0.0.1:{}", postgres.port()).parse().unwrap();
        let breaker = Breaker::start(target).await;
        let options = Options::new(&database.url_through(breaker.address.port()));
        let options = Options { launcher, ..options };
        let rig = Rig::start_with(Setup::default(), database, options).await;
        let text = Box::new(Answer::text("done"));
        let slow = Answer::Late(Duration::from_millis(2500), text);
        rig.upstream.tool("slow_call", json!({})).answer("slow_call", slow);
        // Its tools are known from here on.
        assert_eq!(rig.client("bob").call("echo", json!({})).await.status, 200);
        World { rig, postgres, breaker }
    }

    pub(super) fn begin(&self, outage: Outage) {
        match outage {
            Outage::Frozen => self.postgres.freeze(),
            Outage::Network(mode) => self.breaker.set(mode),
        }
    }

    pub(super) fn end(&self) {
        self.postgres.thaw();
        self.breaker.set(Mode::Pass);
    }

    pub(super) fn client(&self, name: &str) -> Client {
        self.rig.client(name)
    }

    /// A call that has reached the upstream and has not been answered yet.
    pub(super) async fn sent(&self) -> JoinHandle<Seen> {
        let before = self.rig.upstream.receipts().len();
        let caller = Caller::Modern(self.client("bob"), "slow_call");
        let call = tokio::spawn(async move { caller.call().await });
        eventually("the slow call has arrived", RECOVERY, async || {
            (self.rig.upstream.receipts().len() > before).then_some(())
        })
        .await;
        call
    }

    /// Bytes of audit records that wait on disk.
    pub(super) async fn spooled(&self) -> u64 {
        let metrics = self.rig.gateway.metrics().await;
        let mut lines = metrics.lines();
        let value = lines.find_map(|line| line.strip_prefix("gateway_audit_spooled_bytes "));
        value.expect("the metric is there").parse().expect("it is a number")
    }

    /// Nobody's call goes anywhere, and everybody hears so. Gives the correlation ids.
    pub(super) async fn refuses(&self, callers: &[Caller]) -> Vec<Uuid> {
        let before = ledger(&self.rig.upstream);
        let calls = callers.iter().map(Caller::call);
        let mut refused = Vec::new();
        for Seen { id, end } in futures_util::future::join_all(calls).await {
            let End::Refused(reply) = end else { panic!("{id} was not refused: {end:?}") };
            let why = (reply.status, reply.reason());
            assert_eq!(why, (503, "audit_unavailable".to_owned()), "{:?}", reply.body);
            assert!(reply.headers.contains_key("retry-after"), "{:?}", reply.headers);
            let echoed = |message: &Value| message["id"].to_string();
            let expected = reply.messages().iter().all(|message| echoed(message) == id);
            assert!(expected, "the refusal is for another call: {:?}", reply.body);
            refused.push(reply.refusal().unwrap().correlation_id.parse().unwrap());
        }
        assert_eq!(ledger(&self.rig.upstream), before, "a call arrived without a record");
        refused
    }

    /// Works again, by itself.
    pub(super) async fn recovers(&self) {
        let caller = Caller::Modern(self.client("bob"), "echo");
        eventually("calls are answered again", RECOVERY, async || {
            matches!(caller.call().await.end, End::Answered).then_some(())
        })
        .await;
        eventually("the spool is empty", RECOVERY, async || {
            (self.spooled().await == 0).then_some(())
        })
        .await;
    }
}

/// One of each way through the trail or the store: both eras, and a call that people must agree to.
async fn callers(world: &World) -> Vec<Caller> {
    let session = world.client("bob").legacy().await;
    let echo = |name| Caller::Modern(world.client(name), "echo");
    let asks = Caller::Modern(world.client("bob"), "delete_item");
    vec![echo("bob"), echo("carol"), Caller::Legacy(session), asks]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_postgres_calls_are_refused_and_outcomes_wait_on_disk() {
    let world = World::start().await;
    let callers = callers(&world).await;
    let outages = [
        Outage::Frozen,
        Outage::Network(Mode::Refuse),
        Outage::Network(Mode::Stall),
        Outage::Network(Mode::Reset),
    ];
    let (mut sent, mut refused) = (Vec::new(), Vec::new());
    for outage in outages {
        println!("{outage:?}");
        let call = world.sent().await;
        world.begin(outage);
        refused.extend(world.refuses(&callers).await);
        let listed = world.client("bob").modern("tools/list", json!({})).await;
        assert_eq!(listed.status, 200, "{:?}", listed.body);
        // The upstream works on, and its answer reaches the client.
        let Seen { id, end } = call.await.unwrap();
        assert!(matches!(end, End::Answered), "{end:?}");
        sent.push(id);
        eventually("the outcome waits on disk", RECOVERY, async || {
            (world.spooled().await > 0).then_some(())
        })
        .await;
        refused.extend(world.refuses(&callers[..1]).await);
        world.end();
        world.recovers().await;
    }
    let told = Told::by(&world.rig.database).await;
    for id in &sent {
        assert_eq!(told.outcome(id), "ok");
    }
    // The refusals waited there too.
    let events = events(&world.rig.database).await;
    for call in refused {
        let rows = events.iter().filter(|event| event.call == call);
        let rows: Vec<_> = rows.map(|event| (&*event.outcome, &*event.reason)).collect();
        assert_eq!(rows, [("denied", "audit_unavailable")], "{call}");
    }
    chains_are_whole(&world.rig);
    world.rig.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outcome_on_disk_survives_a_kill() {
    outlives(Outage::Network(Mode::Reset), Gateway::kill).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outcome_on_disk_survives_a_restart() {
    outlives(Outage::Frozen, |gateway| {
        let status = gateway.terminate();
        assert!(status.success(), "{status:?}");
    })
    .await;
}

/// The gateway ends while Postgres is away, and starts again when it is back.
async fn outlives(outage: Outage, stop: impl FnOnce(&mut Gateway)) {
    let mut world = World::start().await;
    let call = world.sent().await;
    world.begin(outage);
    world.refuses(&[Caller::Modern(world.client("carol"), "echo")]).await;
    let Seen { id, end } = call.await.unwrap();
    assert!(matches!(end, End::Answered), "{end:?}");
    // The refusal may be there before it: what has stopped growing holds both.
    let mut before = 0;
    eventually("the outcome waits on disk", RECOVERY, async || {
        let now = world.spooled().await;
        let settled = now > 0 && now == before;
        before = now;
        settled.then_some(())
    })
    .await;
    tokio::task::block_in_place(|| stop(&mut world.rig.gateway));
    world.end();
    world.rig.gateway.restart().await;
    world.recovers().await;
    eventually("every intent is closed", RECOVERY, async || {
        (open_intents(&world.rig.database).await == 0).then_some(())
    })
    .await;
    assert_eq!(Told::by(&world.rig.database).await.outcome(&id), "ok");
    chains_are_whole(&world.rig);
    world.rig.finish().await;
}
