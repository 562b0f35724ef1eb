//! The gateway is killed under load, again and again, at moments that chance picks.

use gateway_tests::rig::{Rig, Setup};

use super::load::{End, Load, Seen, callers};
use super::{Dice, Told, all_closed, chains_are_whole, ledger};

const ROUNDS: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_under_load_it_leaves_a_record_of_every_call() {
    let mut dice = Dice::new("the gateway is killed");
    let mut rig = Rig::start(Setup::default()).await;
    let callers = callers(&rig).await;
    let mut seen = Vec::new();
    while dice.another(ROUNDS) {
        let load = Load::start(&callers);
        load.answered(1 + dice.below(40)).await;
        dice.pause(40).await;
        rig.gateway.kill();
        seen.extend(load.ended().await);
        // The legacy callers go on with the sessions that the killed process gave them.
        rig.gateway.restart().await;
    }
    // The last of the processes closes what its forerunners left open.
    all_closed(&rig.database).await;
    println!("{} rounds", dice.rounds());
    judge(&rig, &seen).await;
    chains_are_whole(&rig);
    rig.finish().await;
}

async fn judge(rig: &Rig, seen: &[Seen]) {
    let receipts = ledger(&rig.upstream);
    let told = Told::by(&rig.database).await;
    let mut cut = 0;
    for Seen { id, end } in seen {
        let arrived = receipts.contains(id);
        match end {
            End::Answered => {
                assert!(arrived, "{id} was answered but never arrived");
                // Killed before the outcome was written, the gateway has forgotten it.
                assert!(
                    ["ok", "unknown"].contains(&told.outcome(id)),
                    "{id}: {}",
                    told.outcome(id)
                );
            }
            End::Broken(_) if arrived => {
                assert!(
                    ["ok", "unknown"].contains(&told.outcome(id)),
                    "{id}: {}",
                    told.outcome(id)
                );
                cut += 1;
            }
            End::Broken(_) => {}
            End::Refused(reply) => panic!("{id} was refused: {} {:?}", reply.status, reply.body),
        }
    }
    for id in &receipts {
        told.outcome(id);
    }
    let unknown = told.count("unknown");
    println!(
        "{} calls, {} arrived, {cut} were cut after that, {unknown} unknown",
        seen.len(),
        receipts.len()
    );
    assert!(cut >= ROUNDS, "the blows hit only {cut} calls in flight");
    assert!(unknown > 0, "the sweeper had nothing to do");
}
