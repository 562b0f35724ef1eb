//! The flow rule over two replicas: who is asked, after which reads, for how long; and sessions that are ended.

use std::sync::Arc;

use gateway_core::caller::{AuthMethod, Caller, PrincipalKind, User};
use gateway_core::decision::{Approver, Demand, FLOW_RULE};
use gateway_core::ids::UserId;
use gateway_store::flow::FlowReaders;
use serde_json::json;
use uuid::Uuid;

use super::house::{House, Replica, STATE, eventually};
use crate::settings::FlowSettings;
use crate::{Face, Flow};

const LABELLED: &str = r#"
[[servers]]
slug = "web"
url = "http://127.0.0.1:9/web"
labels = ["untrusted"]
[[servers]]
slug = "crm"
url = "http://127.0.0.1:9/crm"
labels = ["private"]
[[servers]]
slug = "post"
url = "http://127.0.0.1:9/post"
labels = ["outward"]
[[servers]]
slug = "mail"
url = "http://127.0.0.1:9/mail"
labels = ["outward", "private", "untrusted"]
[[policies]]
name = "everywhere"
effect = "allow"
principals = ["everyone"]
server = "*"
"#;

async fn house() -> House {
    let house = House::open().await;
    relabel(&house, LABELLED).await;
    house
}

async fn relabel(house: &House, labelled: &str) {
    house.apply(&format!("{STATE}{labelled}")).await;
    house.later(0).await;
}

async fn reads(replica: &Replica, caller: &Caller, server: &str) {
    let server = replica.governance.snapshot().server(server).unwrap().clone();
    replica.governance.flow().mark(caller, &server).await.unwrap();
}

async fn asked(replica: &Replica, caller: &Caller, server: &str) -> Option<Demand> {
    let snapshot = replica.governance.snapshot();
    let server = snapshot.server(server).unwrap();
    replica.governance.flow().demand(&snapshot, caller, server).await.unwrap()
}

async fn asked_on(house: &House, caller: &Caller, server: &str) -> [bool; 2] {
    [
        asked(&house.a, caller, server).await.is_some(),
        asked(&house.b, caller, server).await.is_some(),
    ]
}

fn agent(n: u128) -> Arc<User> {
    Arc::new(User {
        kind: PrincipalKind::Agent,
        id: UserId(Uuid::from_u128(n)),
        email: format!("agent_{n}"),
        name: format!("agent {n}"),
        roles: vec![],
        groups: vec![],
        attributes: Default::default(),
        active: true,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_read_both_is_asked_on_every_replica_until_the_window_ends() {
    let house = house().await;
    let [bob, carol] = ["bob", "carol"].map(|name| house.caller(name));
    for first in ["crm", "web"] {
        let then = if first == "crm" { "web" } else { "crm" };
        assert_eq!(asked_on(&house, &bob, "post").await, [false; 2], "before {first}");
        reads(&house.a, &bob, first).await;
        reads(&house.a, &bob, "post").await;
        assert_eq!(asked_on(&house, &bob, "post").await, [false; 2], "{first} alone");
        reads(&house.b, &bob, then).await;
        assert_eq!(asked_on(&house, &bob, "post").await, [true; 2], "{first}, {then}");
        assert_eq!(asked_on(&house, &bob, "tickets").await, [false; 2], "it carries nothing out");
        assert_eq!(asked_on(&house, &carol, "post").await, [false; 2], "somebody else");
        house.later(59 * 60).await;
        assert_eq!(asked_on(&house, &bob, "post").await, [true; 2], "59 minutes");
        house.later(3 * 60).await;
        assert_eq!(asked_on(&house, &bob, "post").await, [false; 2], "62 minutes");
    }
    let demand = {
        reads(&house.a, &bob, "crm").await;
        reads(&house.a, &bob, "web").await;
        asked(&house.b, &bob, "post").await.unwrap()
    };
    assert_eq!((demand.policies, demand.approvers), (vec![FLOW_RULE], vec![Approver::Caller]));
    for named in ["\"post\"", "\"crm\" at ", "\"web\" at ", "60 minutes"] {
        assert!(demand.message.contains(named), "{named}: {}", demand.message);
    }

    // A later read of the same server counts from then on, on the replica that remembers the first one, too.
    house.later(50 * 60).await;
    reads(&house.a, &bob, "crm").await;
    reads(&house.a, &bob, "web").await;
    house.later(50 * 60).await;
    assert_eq!(asked_on(&house, &bob, "post").await, [true; 2], "read again");
    house.later(12 * 60).await;

    // A server of every kind: what is read there must not leave by it.
    assert_eq!(asked_on(&house, &carol, "mail").await, [false; 2], "nothing is read yet");
    reads(&house.a, &carol, "mail").await;
    assert_eq!(asked_on(&house, &carol, "mail").await, [true; 2]);
    assert_eq!(asked_on(&house, &carol, "post").await, [true; 2]);
    // A label that is taken away counts no more; a server that is gone does, unnamed.
    let base = LABELLED.replace("[\"outward\", \"private\", ", "[\"outward\", ");
    relabel(&house, &base).await;
    assert_eq!(asked_on(&house, &carol, "post").await, [false; 2], "not private after all");
    reads(&house.a, &carol, "crm").await;
    assert_eq!(asked_on(&house, &carol, "post").await, [true; 2]);
    let (without, _) = base.split_once("[[servers]]\nslug = \"crm\"").unwrap();
    let (_, rest) = base.split_once("labels = [\"private\"]\n").unwrap();
    relabel(&house, &format!("{without}{rest}")).await;
    let message = asked(&house.b, &carol, "post").await.expect("what was read stays read").message;
    assert!(message.contains("not yours to know") && !message.contains("crm"), "{message}");
    // Whom no policy lets near a server does not learn its name.
    let hidden = base.replace(
        "principals = [\"everyone\"]\nserver = \"*\"",
        "principals = [\"user:carol@example.com\"]\nserver = \"post\"",
    );
    relabel(&house, &hidden).await;
    let message = asked(&house.b, &carol, "post").await.expect("still").message;
    assert!(!message.contains("mail") && !message.contains("crm"), "{message}");

    // Nobody knows: nothing that would have to be noted leaves, and nothing is carried out.
    house.a.store.close().await;
    let snapshot = house.a.governance.snapshot();
    let server = |slug: &str| snapshot.server(slug).unwrap();
    let flow = house.a.governance.flow();
    assert!(flow.mark(&bob, server("mail")).await.is_err());
    assert!(flow.mark(&bob, server("post")).await.is_ok(), "nothing to note");
    assert!(flow.demand(&snapshot, &bob, server("post")).await.is_err());
    assert!(flow.demand(&snapshot, &bob, server("web")).await.is_ok(), "nothing to ask");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_agents_read_counts_for_whom_they_read_it_and_for_themselves() {
    let house = house().await;
    let [bob, carol] = ["bob", "carol"].map(|name| house.caller(name));
    let itself = Caller::new(agent(7), AuthMethod::OauthToken, "t");
    let of = |person: &Caller| Caller { actor: Some(agent(7)), ..person.clone() };
    let [for_bob, for_carol] = [&bob, &carol].map(of);
    let other_for_bob = Caller { actor: Some(agent(8)), ..bob.clone() };
    let callers = [&bob, &for_bob, &other_for_bob, &itself, &carol, &for_carol];
    let expect = async |expected: [bool; 6], when: &str| {
        for (at, caller) in callers.iter().enumerate() {
            let seen = asked_on(&house, caller, "post").await;
            assert_eq!(seen, [expected[at]; 2], "{when}: caller {at}");
        }
    };
    reads(&house.a, &for_bob, "web").await;
    expect([false; 6], "the agent has read one for Bob").await;
    reads(&house.b, &bob, "crm").await;
    expect([true, true, true, false, false, false], "Bob has read the other").await;
    reads(&house.a, &itself, "crm").await;
    expect([true, true, true, true, false, false], "so has the agent for itself").await;
    reads(&house.a, &for_carol, "web").await;
    expect([true, true, true, true, false, true], "and one for Carol").await;
    let message = asked(&house.a, &itself, "post").await.unwrap().message;
    assert!(!message.contains("\"web\""), "nobody is known who answers for it: {message}");

    // The rule is off: nothing is noted, nobody is asked.
    let settings = FlowSettings { enabled: false, ..FlowSettings::default() };
    let governance = &house.a.governance;
    let clock = house.clock.clone();
    let off = Flow::new(house.a.store.clone(), clock, settings);
    let snapshot = governance.snapshot();
    let server = |slug: &str| snapshot.server(slug).unwrap();
    assert!(off.demand(&snapshot, &bob, server("post")).await.unwrap().is_none());
    let dora = house.caller("dora");
    off.mark(&dora, server("web")).await.unwrap();
    let readers = FlowReaders { principals: vec![dora.user.id], agent: None };
    let since = gateway_core::Timestamp::UNIX_EPOCH;
    assert_eq!(house.a.store.flow_marks(&readers, since).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn access_is_explained_with_the_rule_and_an_ended_session_is_known_everywhere() {
    let house = house().await;
    let explain = async |server: &str, tool: &str| {
        let arguments = json!({"server": server, "tool": tool});
        house.perform("bob", Face::Rest, "explain_access", arguments).await.unwrap()
    };
    let outward = explain("post", "list").await;
    assert_eq!(outward["verdict"], "allow", "{outward}");
    let rule = outward["flow_rule"].as_str().unwrap();
    assert!(rule.contains("60 minutes") && rule.contains("must agree"), "{rule}");
    assert!(explain("crm", "list").await.get("flow_rule").is_none());
    let denied = "[[policies]]\nname = \"no\"\neffect = \"deny\"\nprincipals = [\"everyone\"]\n\
                  server = \"post\"\ntools = [\"list\"]\n";
    relabel(&house, &format!("{LABELLED}{denied}")).await;
    let never = explain("post", "list").await;
    assert_eq!((&never["verdict"], never.get("flow_rule")), (&json!("deny"), None));

    let hash = [9; 32];
    let (a, b) = (&house.a.governance, &house.b.governance);
    assert!(!a.snapshot().is_ended(&hash) && !b.snapshot().is_ended(&hash));
    a.end_session(&hash, a.clock().now() + time::Duration::HOUR).await.unwrap();
    assert!(a.snapshot().is_ended(&hash), "known here at once");
    eventually("known there", async || b.snapshot().is_ended(&hash)).await;
    assert!(!b.snapshot().is_ended(&[8; 32]), "another one");
}
