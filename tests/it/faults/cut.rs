//! A call is never sent twice (B8): the connection to the upstream is cut at every byte of the request and of the
//! answer, on new connections and on kept ones, by an end and by a reset. Whoever tries again finds an open way, so
//! that a second receipt would be there to be seen.

use futures_util::future::join_all;
use gateway_tests::client::Client;
use gateway_tests::rig::{Rig, Setup};
use gateway_tests::scissors::{Cut, Passed, Scissors};
use gateway_tests::upstream::{Answer, Upstream};

use super::load::{Caller, End, Seen};
use super::{Told, all_closed, is_long, ledger};

/// So many cuts are tried at the same time, each on a way of its own.
const LANES: usize = 6;
/// On kept connections every so many bytes, unless there is time for all.
const STRIDE: usize = 7;

const POLICY: &str = r#"
[[policies]]
name = "engineers call through the lanes"
effect = "allow"
principals = ["group:engineering"]
server = "*"
tools = ["echo", "list_items"]
"#;

/// A server behind scissors.
struct Lane {
    scissors: Scissors,
    bob: Client,
}

struct World {
    rig: Rig,
    lanes: Vec<Lane>,
}

impl World {
    async fn start() -> World {
        let upstream = Upstream::start().await;
        let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#;
        let result = r#"{"jsonrpc":"2.0","id":$ID,"result":{"resultType":"complete","content":[{"type":"text","text":"done"}],"isError":false}}"#;
        upstream.answer("list_items", Answer::events(&[progress, result]));
        let mut state = String::new();
        let mut ways = Vec::new();
        for n in 0..LANES {
            let scissors = Scissors::start(upstream.address).await;
            let url = format!("http://{}/mcp", scissors.address);
            state.push_str(&format!(
                "[[servers]]\nslug = \"lane{n}\"\ntitle = \"Lane {n}\"\nurl = \"{url}\"\n"
            ));
            ways.push(scissors);
        }
        let policies = format!("{}{POLICY}", Setup::default().policies);
        // Every call is to reach its server, however many before it were cut.
        let config = "limits.breaker_failures = 0\n".into();
        let mut rig = Rig::start(Setup { config, state, policies, ..Setup::default() }).await;
        rig.upstreams.push(upstream);
        let mut lanes = Vec::new();
        for (n, scissors) in ways.into_iter().enumerate() {
            // What they are told is looked at here, call by call.
            let url = rig.gateway.proxy_url(&format!("lane{n}"));
            let bob = Client::new(&url, Some(rig.key("bob")), Default::default());
            lanes.push(Lane { scissors, bob });
        }
        World { rig, lanes }
    }

    fn upstream(&self) -> &Upstream {
        &self.rig.upstreams[0]
    }
}

impl Lane {
    async fn call(&self, tool: &'static str) -> Seen {
        Caller::Modern(self.bob.clone(), tool).call().await
    }

    /// The lengths of a call and of its answer.
    async fn lengths(&self, tool: &'static str) -> Passed {
        // Its tools are read with the first.
        assert!(matches!(self.call(tool).await.end, End::Answered));
        self.scissors.set(None, false);
        assert!(matches!(self.call(tool).await.end, End::Answered));
        self.scissors.passed()
    }

    /// One call that is cut there; `kept`: on a connection that has served another call before.
    async fn cut(&self, tool: &'static str, cut: Cut, resets: bool, kept: bool) -> (Cut, Seen) {
        if kept {
            assert!(matches!(self.call(tool).await.end, End::Answered));
        }
        self.scissors.set(Some(cut), resets);
        let seen = self.call(tool).await;
        assert!(!self.scissors.waits(), "{cut:?} was not made: {:?}", self.scissors.passed());
        (cut, seen)
    }
}

/// Every cut of a call of these lengths.
fn cuts(lengths: Passed) -> Vec<Cut> {
    let requests = (0..lengths.request).map(Cut::Request);
    requests.chain((0..lengths.answer).map(Cut::Answer)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_cut_at_any_byte_carries_no_call_twice() {
    let world = World::start().await;
    let mut seen = Vec::new();
    for tool in ["echo", "list_items"] {
        let lengths = world.lanes[0].lengths(tool).await;
        let cuts = cuts(lengths);
        println!("{tool}: {lengths:?}, {} cuts", cuts.len());
        let lanes = world.lanes.iter().enumerate().map(async |(n, lane)| {
            lane.lengths(tool).await;
            let mut all = Vec::new();
            for (at, cut) in cuts.iter().enumerate().filter(|(at, _)| at % LANES == n) {
                // Of events the request is the same: what comes back differs.
                if tool == "echo" || matches!(cut, Cut::Answer(_)) {
                    all.push(lane.cut(tool, *cut, at % 2 == 1, false).await);
                }
                if is_long() || at % STRIDE == 0 {
                    all.push(lane.cut(tool, *cut, at % 2 == 0, true).await);
                }
            }
            all
        });
        seen.extend(join_all(lanes).await.into_iter().flatten());
    }
    judge(&world, &seen).await;
    world.rig.finish().await;
}

async fn judge(world: &World, seen: &[(Cut, Seen)]) {
    all_closed(&world.rig.database).await;
    // Fails if one is there twice.
    let receipts = ledger(world.upstream());
    let told = Told::by(&world.rig.database).await;
    let (mut arrived, mut answered) = (0, 0);
    for (cut, Seen { id, end }) in seen {
        let is_there = receipts.contains(id);
        let outcome = told.outcome(id);
        arrived += usize::from(is_there);
        match end {
            End::Answered => {
                answered += 1;
                assert!(is_there, "{cut:?} {id} was answered but never arrived");
                assert_eq!(outcome, "ok", "{cut:?} {id}");
            }
            End::Refused(reply) => {
                let reason = reply.reason();
                assert!(reason.starts_with("upstream_"), "{cut:?}: {reason} {:?}", reply.body);
                assert!(["unknown", "error"].contains(&outcome), "{cut:?} {id}: {outcome}");
            }
            // An answer whose events had begun.
            End::Broken(_) => {
                assert!(is_there && outcome != "ok", "{cut:?} {id}: {outcome}");
            }
        }
        if matches!(cut, Cut::Answer(_)) {
            assert!(is_there, "{cut:?} {id}: the answer began, and the call is not in the ledger");
        }
    }
    println!("{} cuts, {arrived} calls had arrived, {answered} were answered", seen.len());
    assert_eq!(told.count("denied"), 0, "what may have arrived is never told as denied");
}
