//! B5: a server that hangs hurts only itself, and a caller who takes all there is leaves enough for others. Everything
//! is counted, nothing is timed.

use std::time::Duration;

use gateway_tests::rig::{Rig, Setup, check};
use gateway_tests::upstream::{Answer, Upstream};
use gateway_tests::wait::eventually;
use serde_json::json;

use super::{FLOODS, call, client, is_turned_away, recorded};

/// Another server that everybody in engineering may use.
fn beside(other: &Upstream) -> String {
    format!(
        "[[servers]]\nslug = \"beside\"\ntitle = \"Beside\"\nurl = \"{}\"\nauth = {{ mode = \"none\" }}\n\
         [[policies]]\nname = \"engineers use the other one\"\neffect = \"allow\"\n\
         principals = [\"group:engineering\"]\nserver = \"beside\"\ntools = [\"echo\"]\n",
        other.url()
    )
}

async fn arrived(rig: &Rig, calls: usize) {
    eventually(&format!("{calls} calls have arrived"), Duration::from_secs(30), async || {
        (rig.upstream.receipts().len() == calls).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_is_not_called_for_a_while_and_the_other_one_is() {
    let other = Upstream::start().await;
    let limits =
        "limits.first_byte = \"1s\"\nlimits.breaker_failures = 3\nlimits.breaker_pause = \"2s\"\n";
    let setup = Setup { config: limits.into(), state: beside(&other), ..Setup::default() };
    check(setup, async |rig| {
        rig.upstreams.push(other);
        rig.upstream.tool("slow_call", json!({})).answer("slow_call", Answer::Hang);
        let (bob, beside) = (client(rig, "bob", "fake"), client(rig, "bob", "beside"));
        for _ in 0..3 {
            let reply = call(&bob, "slow_call").await.unwrap().unwrap();
            assert_eq!((reply.status, reply.reason().as_str()), (504, "upstream_timeout"));
        }
        // Now it is open; after a pause one call at a time is let through, and hangs for a second, too.
        let mut away = 0;
        for _ in 0..40 {
            let reply = call(&bob, "slow_call").await.unwrap().unwrap();
            match is_turned_away(&reply, "upstream_unavailable") {
                true => away += 1,
                false => assert_eq!(reply.reason(), "upstream_timeout"),
            }
            assert_eq!(call(&beside, "echo").await.unwrap().unwrap().status, 200);
        }
        assert!(away >= 10, "{away} of 40");
        let metrics = rig.gateway.metrics().await;
        let state =
            |server: &str, state| format!("gateway_breaker_state{{server=\"{server}\"}} {state}");
        assert!(metrics.contains(&state("beside", 0)), "{metrics}");
        assert!(!metrics.contains(&state("fake", 0)), "{metrics}");
        assert!(metrics.contains("gateway_breaker_opened_total 1\n"), "{metrics}");
        let hung = rig.upstream.receipts().len();
        assert_eq!(hung, 43 - away, "what is turned away does not reach it");
        // It recovers, and one call closes the breaker for all.
        rig.upstream.answer("slow_call", Answer::text("done"));
        eventually("it is called again", Duration::from_secs(30), async || {
            let reply = call(&bob, "slow_call").await.unwrap().unwrap();
            (reply.status == 200).then_some(())
        })
        .await;
        for _ in 0..5 {
            assert_eq!(call(&bob, "slow_call").await.unwrap().unwrap().status, 200);
        }
        assert_eq!(rig.upstream.receipts().len(), hung + 6, "nothing was sent twice");
        assert!(recorded(rig, "upstream_unavailable").await.0 > 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_noisy_caller_leaves_places_for_others() {
    // Nine places at each server, so that one caller gets six of them; eighteen here, so that one gets twelve.
    let limits = "limits.per_server = 9\nlimits.in_flight = 18\nlimits.first_byte = \"50s\"\n";
    let other = Upstream::start().await;
    let setup = Setup { config: limits.into(), state: beside(&other), ..Setup::default() };
    check(setup, async |rig| {
        rig.upstreams.push(other);
        rig.upstream.tool("slow_call", json!({})).answer("slow_call", Answer::Hang);
        let (bob, carol) = (client(rig, "bob", "fake"), client(rig, "carol", "fake"));
        assert_eq!(call(&bob, "echo").await.unwrap().unwrap().status, 200);
        // Sixteen at once, for it takes a place here, too, to be told that there is none.
        let noisy: Vec<_> = (0..16).map(|_| call(&bob, "slow_call")).collect();
        arrived(rig, 7).await;
        eventually("the rest is turned away", Duration::from_secs(30), async || {
            (noisy.iter().filter(|call| call.is_finished()).count() == 10).then_some(())
        })
        .await;
        assert_eq!(rig.upstream.receipts().len(), 7, "six of sixteen, and the one before");
        // Again and again: who calls without end gets nothing more, and takes nothing away.
        for _ in 0..20 {
            let again = call(&bob, "slow_call").await.unwrap().unwrap();
            assert!(is_turned_away(&again, "overloaded"), "{} {:?}", again.status, again.body);
            assert_eq!(call(&carol, "echo").await.unwrap().unwrap().status, 200);
        }
        let beside = client(rig, "bob", "beside");
        assert_eq!(call(&beside, "echo").await.unwrap().unwrap().status, 200, "only that server");
        for call in noisy {
            match call.is_finished() {
                true => assert!(is_turned_away(&call.await.unwrap().unwrap(), FLOODS[0])),
                false => call.abort(),
            }
        }
        eventually("all refusals are counted", Duration::from_secs(30), async || {
            (recorded(rig, "overloaded").await.0 == 30).then_some(())
        })
        .await;
        assert!(recorded(rig, "overloaded").await.1 < 30);
        eventually("the places are free again", Duration::from_secs(30), async || {
            let metrics = rig.gateway.metrics().await;
            metrics.contains("gateway_pool_used{pool=\"upstream\"} 0").then_some(())
        })
        .await;
    })
    .await;
}
