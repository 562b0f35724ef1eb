//! An upstream that refuses, resets, hangs or trickles: its callers are told, nothing is sent twice, every call has
//! its record, and once it is back it is used again.

use gateway_tests::breaker::{Breaker, Mode};
use gateway_tests::client::Client;
use gateway_tests::rig::{Rig, Setup};
use gateway_tests::upstream::Upstream;
use gateway_tests::wait::eventually;

use super::load::{Caller, End, Seen};
use super::{RECOVERY, Told, all_closed, ledger};

const POLICY: &str = r#"
[[policies]]
name = "engineers call far away"
effect = "allow"
principals = ["group:engineering"]
server = "far"
tools = ["echo"]
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_breaks_in_any_way_costs_its_callers_an_answer_and_no_record() {
    let upstream = Upstream::start().await;
    let breaker = Breaker::start(upstream.address).await;
    let url = format!("http://{}/mcp", breaker.address);
    let setup = Setup {
        state: format!("[[servers]]\nslug = \"far\"\ntitle = \"Far\"\nurl = \"{url}\"\n"),
        policies: format!("{}{POLICY}", Setup::default().policies),
        config: "limits.first_byte = \"1s\"\nlimits.connect = \"1s\"\n".into(),
        ..Setup::default()
    };
    let mut rig = Rig::start(setup).await;
    rig.upstreams.push(upstream);
    let client = || {
        let url = rig.gateway.proxy_url("far");
        Caller::Modern(Client::new(&url, Some(rig.key("bob")), Default::default()), "echo")
    };
    let works = async || {
        eventually("it is reached again", RECOVERY, async || {
            matches!(client().call().await.end, End::Answered).then_some(())
        })
        .await;
    };
    let mut broken = Vec::new();
    for mode in [Mode::Refuse, Mode::Reset, Mode::Stall, Mode::Trickle] {
        works().await;
        breaker.set(mode);
        for Seen { id, end } in
            futures_util::future::join_all([client(), client(), client()].iter().map(Caller::call))
                .await
        {
            match end {
                End::Answered => assert_eq!(mode, Mode::Trickle, "{id} was answered"),
                End::Refused(reply) => {
                    let reason = reply.reason();
                    assert!(reason.starts_with("upstream_"), "{mode:?}: {reason} {:?}", reply.body);
                }
                End::Broken(error) => panic!("{mode:?}: {id} got no answer: {error}"),
            }
            broken.push((mode, id));
        }
        breaker.set(Mode::Pass);
    }
    works().await;
    all_closed(&rig.database).await;
    // What hung was let through in the end: nobody waited for it any more.
    let receipts = ledger(&rig.upstreams[0]);
    let told = Told::by(&rig.database).await;
    for (mode, id) in broken {
        let outcome = told.outcome(&id);
        assert!(["ok", "error", "unknown"].contains(&outcome), "{mode:?} {id}: {outcome}");
        assert!(outcome != "ok" || receipts.contains(&id), "{mode:?} {id}");
    }
    rig.finish().await;
}
