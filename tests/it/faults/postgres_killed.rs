//! Postgres is killed under load, again and again; the gateway lives through it.

use std::time::{Duration, Instant};

use gateway_tests::gateway::Options;
use gateway_tests::postgres::Postgres;
use gateway_tests::rig::{Rig, Setup};

use super::load::{End, Load, Seen, callers};
use super::{Dice, Told, all_closed, chains_are_whole, ledger};

const ROUNDS: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_under_load_it_takes_no_record_with_it() {
    let mut dice = Dice::new("Postgres is killed");
    let postgres = Postgres::start();
    let database = postgres.database().await;
    let options = Options::new(&database.url);
    let rig = Rig::start_with(Setup::default(), database, options).await;
    let load = Load::start(&callers(&rig).await);
    let mut longest = Duration::ZERO;
    while dice.another(ROUNDS) {
        load.answered(10 + dice.below(40)).await;
        dice.pause(40).await;
        postgres.kill();
        // Every other time it is back before anybody has noticed.
        if dice.rounds().is_multiple_of(2) {
            load.refused(1 + dice.below(20)).await;
        }
        postgres.start_again();
        let back = Instant::now();
        load.answered(1).await;
        longest = longest.max(back.elapsed());
    }
    println!("{} rounds; longest way back {longest:.2?}", dice.rounds());
    nothing_is_lost(rig, &load.stop().await).await;
}

/// Looks at what became of every call, and ends the rig.
pub(super) async fn nothing_is_lost(rig: Rig, seen: &[Seen]) {
    all_closed(&rig.database).await;
    judge(&rig, seen).await;
    chains_are_whole(&rig);
    rig.finish().await;
}

async fn judge(rig: &Rig, seen: &[Seen]) {
    let receipts = ledger(&rig.upstream);
    let told = Told::by(&rig.database).await;
    let mut refused = 0;
    for Seen { id, end } in seen {
        match end {
            End::Answered => {
                assert!(receipts.contains(id), "{id} was answered but never arrived");
                // The gateway knew it all the time.
                assert_eq!(told.outcome(id), "ok", "{id}");
            }
            End::Refused(reply) => {
                let why = (reply.status, reply.reason());
                assert_eq!(why, (503, "audit_unavailable".to_owned()), "{:?}", reply.body);
                assert!(reply.headers.contains_key("retry-after"), "{:?}", reply.headers);
                assert!(!receipts.contains(id), "{id} was refused and arrived all the same");
                refused += 1;
            }
            End::Broken(error) => panic!("{id} got no answer: {error}"),
        }
    }
    println!("{} calls, {} arrived, {refused} were refused", seen.len(), receipts.len());
}
