//! The way to Postgres is bad under load, in ways and for times that chance picks: refused, reset, hanging, a trickle,
//! a Postgres that is frozen. Nothing is lost and nothing leaves without a record, whatever clients are told.

use std::time::{Duration, Instant};

use gateway_tests::breaker::{Breaker, Mode};
use gateway_tests::gateway::Options;
use gateway_tests::postgres::Postgres;
use gateway_tests::rig::{Rig, Setup};

use super::Dice;
use super::load::{Load, callers};
use super::postgres_killed::nothing_is_lost;

const ROUNDS: usize = 6;
const MODES: [Mode; 4] = [Mode::Refuse, Mode::Reset, Mode::Stall, Mode::Trickle];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_way_to_postgres_loses_nothing() {
    let mut dice = Dice::new("a bad way to Postgres");
    let postgres = Postgres::start();
    let database = postgres.database().await;
    let target = format!("127.0.0.1:{}", postgres.port()).parse().unwrap();
    let breaker = Breaker::start(target).await;
    let options = Options::new(&database.url_through(breaker.address.port()));
    let rig = Rig::start_with(Setup::default(), database, options).await;
    let load = Load::start(&callers(&rig).await);
    let mut longest = Duration::ZERO;
    while dice.another(ROUNDS) {
        load.answered(5 + dice.below(30)).await;
        let which = (dice.rounds() + dice.below(2) as usize) % (MODES.len() + 1);
        match MODES.get(which) {
            Some(mode) => breaker.set(*mode),
            None => postgres.freeze(),
        }
        dice.pause(2500).await;
        postgres.thaw();
        breaker.set(Mode::Pass);
        let back = Instant::now();
        load.answered(1).await;
        longest = longest.max(back.elapsed());
    }
    println!("{} rounds; longest way back {longest:.2?}", dice.rounds());
    nothing_is_lost(rig, &load.stop().await).await;
}
