//! The primary dies and its synchronous standby takes over: what was acknowledged is there, and the gateway finds the
//! new primary by itself, at the address that it knows.

use std::time::Instant;

use gateway_tests::breaker::Breaker;
use gateway_tests::gateway::Options;
use gateway_tests::postgres::Postgres;
use gateway_tests::rig::{Rig, Setup};

use super::Dice;
use super::load::{Load, callers};
use super::postgres_killed::nothing_is_lost;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_takes_no_record_with_it() {
    let mut dice = Dice::new("failover");
    let primary = Postgres::start();
    let database = primary.database().await;
    let standby = primary.standby().await;
    let address = |postgres: &Postgres| format!("127.0.0.1:{}", postgres.port()).parse().unwrap();
    let breaker = Breaker::start(address(&primary)).await;
    let options = Options::new(&database.url_through(breaker.address.port()));
    let name = database.name.clone();
    let mut rig = Rig::start_with(Setup::default(), database, options).await;
    let load = Load::start(&callers(&rig).await);
    load.answered(60 + dice.below(60)).await;
    dice.pause(40).await;
    primary.kill();
    let from = Instant::now();
    if dice.below(2) == 0 {
        load.refused(1 + dice.below(20)).await;
    }
    standby.promote();
    breaker.aim(address(&standby));
    load.answered(1).await;
    println!("calls were answered {:.2?} after the primary died", from.elapsed());
    load.answered(40).await;
    let seen = load.stop().await;
    rig.database = standby.open(&name).await;
    nothing_is_lost(rig, &seen).await;
}
