//! What must hold when processes die, freeze or go away: no call without a durable record, none twice, every
//! intent closed by exactly one event, and everything that still runs recovers by itself. The rig's Auditor
//! ends each test; what is here beside it looks at single calls.
//!
//! Rounds are random. Their seed is printed; `GATEWAY_TEST_SEED` repeats one. With `GATEWAY_TEST_SECONDS` tests that
//! have rounds go on for so long: `just chaos SECONDS SEED`.

mod cut;
mod disk_full;
mod drained;
mod failover;
mod flood;
mod gateway_killed;
mod herd;
mod load;
mod panics;
mod postgres_flaky;
mod postgres_gone;
mod postgres_killed;
mod replicas;
mod revoked;
mod rolling;
mod secrets;
mod stale;
mod tampered;
mod upstream_gone;

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use gateway_tests::auditor::{EventRow, events, intents};
use gateway_tests::postgres::Database;
use gateway_tests::random::SplitMix64;
use gateway_tests::rig::Rig;
use gateway_tests::upstream::Upstream;
use gateway_tests::wait::eventually;
use uuid::Uuid;

/// How long a gateway may take to work again once everything it needs is back; far beyond what it takes.
const RECOVERY: Duration = Duration::from_secs(30);

/// Random numbers from a seed that can be given again.
pub(crate) struct Dice {
    state: SplitMix64,
    rounds: (Instant, usize),
}

/// True for the long versions of tests.
fn is_long() -> bool {
    std::env::var_os("GATEWAY_TEST_SECONDS").is_some()
}

impl Dice {
    pub(crate) fn new(test: &str) -> Dice {
        let given = std::env::var("GATEWAY_TEST_SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(|| Uuid::new_v4().as_u64_pair().0);
        println!("{test}: GATEWAY_TEST_SEED={seed}");
        Dice { state: SplitMix64(seed), rounds: (Instant::now(), 0) }
    }

    /// Less than `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.state.draw() % bound
    }

    /// True as long as another round is wanted: `least` of them, and more as long as there is time.
    pub(crate) fn another(&mut self, least: usize) -> bool {
        let (began, rounds) = &mut self.rounds;
        let seconds = std::env::var("GATEWAY_TEST_SECONDS").ok().and_then(|text| text.parse().ok());
        let wanted = *rounds < least || began.elapsed().as_secs() < seconds.unwrap_or(0);
        *rounds += usize::from(wanted);
        wanted
    }

    /// How many rounds there were.
    pub(crate) fn rounds(&self) -> usize {
        self.rounds.1
    }

    /// A short while: where in the life of the running calls the blow falls. It waits for nothing.
    async fn pause(&mut self, below_ms: u64) {
        tokio::time::sleep(Duration::from_millis(self.below(below_ms))).await;
    }
}

/// What the trail says of every call with an intent, by the JSON-RPC id that the client gave it (JSON text).
struct Told(HashMap<String, Vec<EventRow>>);

impl Told {
    async fn by(database: &Database) -> Told {
        let mut by_call: HashMap<Uuid, Vec<EventRow>> = HashMap::new();
        for event in events(database).await {
            by_call.entry(event.call).or_default().push(event);
        }
        let mut told = HashMap::new();
        for intent in intents(database).await {
            let id = intent.subject["request_id"].as_str().unwrap_or_default().to_owned();
            if id.starts_with("\"rig-") {
                let rows = by_call.remove(&intent.id).unwrap_or_default();
                assert!(told.insert(id.clone(), rows).is_none(), "{id} has two intents");
            }
        }
        Told(told)
    }

    /// How the call ended, by its one event.
    fn outcome(&self, id: &str) -> &str {
        let rows = self.0.get(id).unwrap_or_else(|| panic!("{id} has no intent"));
        assert_eq!(rows.len(), 1, "{id} has {} events: {rows:?}", rows.len());
        &rows[0].outcome
    }

    /// How many calls ended so.
    fn count(&self, outcome: &str) -> usize {
        self.0.keys().filter(|id| self.outcome(id) == outcome).count()
    }
}

/// What reached the upstream, by JSON-RPC id; fails if one is there twice.
fn ledger(upstream: &Upstream) -> HashSet<String> {
    let receipts = upstream.receipts();
    let ids: HashSet<String> = receipts.iter().map(|receipt| receipt.id.clone()).collect();
    assert_eq!(ids.len(), receipts.len(), "a call reached the upstream twice");
    ids
}

/// Waits until every intent has its event, at most for as long as the product promises.
async fn all_closed(database: &Database) {
    let from = Instant::now();
    eventually("every intent is closed", Duration::from_secs(60), async || {
        (open_intents(database).await == 0).then_some(())
    })
    .await;
    println!("every intent was closed after {:.1?}", from.elapsed());
}

async fn open_intents(database: &Database) -> i64 {
    let open = "select count(*) from audit_intent i where not exists
        (select from audit_event e where e.call_id = i.id and e.ts = i.ts and e.concludes)";
    database.count(open).await
}

/// Every chain of every process that ever wrote is whole, also those that were cut short.
fn chains_are_whole(rig: &Rig) {
    let output = rig.gateway.cli(&["audit", "verify"], &[]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}{}", String::from_utf8_lossy(&output.stderr));
}
