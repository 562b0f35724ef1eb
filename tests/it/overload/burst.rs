//! B1: an open-loop burst far beyond what the gateway may do at once.

use std::time::Duration;

use gateway_tests::gateway::Options;
use gateway_tests::postgres::Postgres;
use gateway_tests::rig::{Rig, Setup};
use gateway_tests::upstream::Answer;
use gateway_tests::wait::eventually;
use serde_json::json;

use super::{call, client, is_turned_away, recorded};

/// Two worked on, a handful waiting.
const SMALL: &str = r#"
limits.turns = 3
limits.waiting = 24
limits.wait = "100ms"
limits.wait_in_crowd = "10ms"
limits.in_flight = 60
limits.per_server = 60
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_comes_in_a_burst_is_answered_or_turned_away_and_recorded() {
    let postgres = Postgres::start();
    let database = postgres.database().await;
    let options = Options { config: SMALL.into(), ..Options::new(&database.url) };
    let rig = Rig::start_with(Setup::default(), database, options).await;
    let late = Answer::Late(Duration::from_millis(20), Box::new(Answer::text("done")));
    rig.upstream.tool("slow_call", json!({})).answer("slow_call", late);
    let bob = client(&rig, "bob", "fake");
    assert_eq!(call(&bob, "slow_call").await.unwrap().unwrap().status, 200);
    // However fast the machine is: for a moment nothing is done that waits for its record.
    postgres.freeze();
    let mut calls: Vec<_> = (0..300).map(|_| call(&bob, "slow_call")).collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    postgres.thaw();
    for n in 0..300 {
        calls.push(call(&bob, "slow_call"));
        if n % 10 == 9 {
            // Not a closed loop: the next ones come whether the last ones are answered or not.
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
    }
    for probe in ["live", "ready"] {
        let health = reqwest::get(format!("{}/health/{probe}", rig.gateway.admin)).await;
        assert_eq!(health.unwrap().status(), 200, "{probe}");
    }
    let (mut served, mut away) = (1, 0);
    for call in calls {
        let reply = call.await.unwrap().expect("nobody is left without an answer");
        match reply.status {
            200 => served += 1,
            _ => {
                assert!(is_turned_away(&reply, "overloaded"), "{} {:?}", reply.status, reply.body);
                away += 1;
            }
        }
    }
    println!("{served} served, {away} turned away");
    assert!(away >= 100, "{away} of 600: nothing was turned away early");
    assert!(served >= 10, "{served} of 600: nothing goes on");
    assert_eq!(rig.upstream.receipts().len(), served, "what was turned away had no effect");
    // All of it is in the trail, in few rows.
    eventually("every refusal is counted", Duration::from_secs(40), async || {
        (recorded(&rig, "overloaded").await.0 == away).then_some(())
    })
    .await;
    let (_, rows) = recorded(&rig, "overloaded").await;
    assert!(rows <= 40, "{rows} rows for {away} refusals");
    assert_eq!(call(&bob, "slow_call").await.unwrap().unwrap().status, 200, "and it is over");
    let metrics = rig.gateway.metrics().await;
    let turns = metrics.lines().find(|line| line.starts_with("gateway_shed_total{full=\"turns\"}"));
    assert!(turns.is_some_and(|line| !line.ends_with(" 0")), "{metrics}");
    for line in [
        "gateway_pool_limit{pool=\"exchanges\"} 60",
        "gateway_pool_used{pool=\"turns\"} 0",
        "gateway_queue_length{queue=\"turns\"} 0",
        "gateway_stage_seconds_count{stage=\"forward\"}",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    rig.finish().await;
}
