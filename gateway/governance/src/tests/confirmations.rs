//! Agreement: only by whom the rule names, for exactly this call, once, on whichever replica.

use std::time::Duration;

use gateway_core::decision::Target;
use gateway_core::reason::Reason;
use gateway_store::audit::EventFilter;
use serde_json::json;

use super::house::{House, demand};
use crate::Face;
use crate::confirmations::{Settled, Via};

#[tokio::test(flavor = "multi_thread")]
async fn an_agreement_is_used_once_whoever_takes_it() {
    let house = House::open().await;
    let (a, b) = (house.a.governance.confirmations(), house.b.governance.confirmations());
    let new = house.waiting("bob", &["caller"]);
    let binding = new.binding.clone();
    let caller = demand(&["caller"]);
    let pending = a.request(new.clone()).await.unwrap();
    assert_eq!(b.request(new).await.unwrap().id, pending.id, "equal calls share one request");
    assert_eq!(a.take_agreed(&binding, &caller).await.unwrap(), None, "nobody agreed yet");

    // A waiter on the other replica hears of it.
    let until = pending.expires_at;
    let bob = house.caller("bob");
    let waiting = b.wait(pending.id, until);
    let settling = async {
        tokio::task::yield_now().await;
        a.settle(&bob, pending.id, true, Via::Elicitation).await.unwrap()
    };
    let both = async { tokio::join!(waiting, settling) };
    let (waited, settled) = tokio::time::timeout(Duration::from_secs(10), both).await.unwrap();
    assert_eq!((waited, settled), (Settled::Agreed, Settled::Agreed));

    // Nothing but this very call may use it.
    let ids = house.a.governance.snapshot();
    let (server, other) = (ids.server("tickets").unwrap().id, ids.server("vault").unwrap().id);
    let (user, eve) = (&bob, &house.caller("carol"));
    let (pay, list) = (Target::Tool("pay"), Target::Tool("list"));
    for (what, differing) in [
        ("user", a.binding(eve, server, pay, [7; 32], "{}")),
        ("server", a.binding(user, other, pay, [7; 32], "{}")),
        ("tool", a.binding(user, server, list, [7; 32], "{}")),
        ("kind", a.binding(user, server, Target::Prompt("pay"), [7; 32], "{}")),
        ("definition", a.binding(user, server, pay, [8; 32], "{}")),
        ("arguments", a.binding(user, server, pay, [7; 32], "{ }")),
        ("boundary", a.binding(user, server, Target::Tool("pay\u{7}"), [7; 32], "{}")),
    ] {
        assert_eq!(a.take_agreed(&differing, &caller).await.unwrap(), None, "{what}");
    }
    for stricter in [&["group:security"][..], &["caller", "group:security"]] {
        assert_eq!(a.take_agreed(&binding, &demand(stricter)).await.unwrap(), None, "{stricter:?}");
    }

    // Of twenty takers on two replicas one wins.
    let mut taking = tokio::task::JoinSet::new();
    for i in 0..20 {
        let replica = if i % 2 == 0 { &house.a } else { &house.b };
        let (governance, binding) = (replica.governance.clone(), binding.clone());
        taking.spawn(async move {
            governance.confirmations().take_agreed(&binding, &demand(&["caller"])).await.unwrap()
        });
    }
    let taken = taking.join_all().await;
    assert_eq!(taken.iter().flatten().collect::<Vec<_>>(), [&pending.id]);
    let again = a.settle(&bob, pending.id, true, Via::Elicitation).await.unwrap_err();
    assert_eq!(again.reason, Reason::ConfirmationExpired, "what was used is over");

    let filter = EventFilter {
        action_types: vec!["confirmation_approved".into()],
        ..EventFilter::default()
    };
    let rows = house.all_rows(&filter).await;
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].confirmation_id, Some(pending.id));
    assert_eq!(rows[0].actor_email.as_deref(), Some("bob@example.com"));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_those_decide_whom_the_rule_names() {
    use Reason::{EntityNotFound, RoleMissing};
    let house = House::open().await;
    // approvers, whose call, who decides, through which face, and what comes of it
    type Case<'a> = (&'a [&'a str], &'a str, &'a str, Face, Result<&'a str, Reason>);
    let cases: &[Case<'_>] = &[
        (&["caller"], "bob", "bob", Face::Rest, Ok("agreed")),
        (&["caller"], "bob", "bob", Face::Tools, Err(RoleMissing)),
        (&["caller"], "bob", "dora", Face::Rest, Err(EntityNotFound)),
        (&["caller"], "bob", "carol", Face::Rest, Err(EntityNotFound)),
        (&["caller"], "bob", "sec", Face::Rest, Err(EntityNotFound)),
        (&["caller"], "bob", "root", Face::Rest, Err(EntityNotFound)),
        (&["group:security"], "bob", "sec", Face::Rest, Ok("agreed")),
        (&["group:security"], "bob", "dora", Face::Tools, Ok("agreed")),
        (&["group:security"], "bob", "bob", Face::Rest, Err(RoleMissing)),
        (&["group:security"], "bob", "bob", Face::Tools, Err(RoleMissing)),
        (&["group:security"], "bob", "root", Face::Rest, Err(EntityNotFound)),
        (&["group:security"], "dora", "dora", Face::Rest, Err(RoleMissing)),
        (&["group:security"], "dora", "sec", Face::Rest, Ok("agreed")),
        (&["user:sec@example.com"], "bob", "sec", Face::Rest, Ok("agreed")),
        (&["user:sec@example.com"], "bob", "dora", Face::Rest, Err(EntityNotFound)),
        (&["user:bob@example.com"], "bob", "bob", Face::Rest, Err(RoleMissing)),
        (&["caller", "group:security"], "bob", "bob", Face::Rest, Ok("pending")),
        (&["caller", "group:security"], "dora", "dora", Face::Rest, Ok("pending")),
    ];
    for (number, (approvers, owner, decider, face, expected)) in cases.iter().enumerate() {
        let mut new = house.waiting(owner, approvers);
        new.binding = house.binding(owner, &number.to_string());
        let confirmations = house.a.governance.confirmations();
        let id = confirmations.request(new).await.unwrap().id;
        let arguments = json!({"id": id, "approve": true, "confirm": true});
        let decided = house.perform(decider, *face, "decide_confirmation", arguments).await;
        let got = decided.as_ref().map(|value| value["status"].as_str().unwrap_or_default());
        let got = got.map_err(|refused| refused.reason);
        assert_eq!(got, *expected, "case {number}: {approvers:?} {owner} {decider} {face:?}");
        // A third person's view of it.
        let seen = house.perform("carol", Face::Rest, "get_confirmation", json!({"id": id})).await;
        assert_eq!(seen.map_err(|refused| refused.reason), Err(EntityNotFound));
        // Whoever sees all of them in lists may read each of them; deciding is another thing.
        let seen = house.perform("sec", Face::Rest, "get_confirmation", json!({"id": id})).await;
        assert_eq!(seen.unwrap()["id"], id.to_string());
    }
    // Elicitation answers for the person behind the call alone.
    let new = house.waiting("bob", &["group:security"]);
    let id = house.a.governance.confirmations().request(new).await.unwrap().id;
    for (name, reason) in [("sec", EntityNotFound), ("bob", RoleMissing), ("root", EntityNotFound)]
    {
        let caller = house.caller(name);
        let confirmations = house.a.governance.confirmations();
        let refused = confirmations.settle(&caller, id, true, Via::Elicitation).await.unwrap_err();
        assert_eq!(refused.reason, reason, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn confirm_is_strict_and_a_no_or_too_late_is_final() {
    let house = House::open().await;
    let confirmations = house.a.governance.confirmations();
    let new = house.waiting("bob", &["group:security"]);
    let (binding, security) = (new.binding.clone(), demand(&["group:security"]));
    let pending = confirmations.request(new.clone()).await.unwrap();
    let id = pending.id;

    let list =
        |name: &'static str| house.perform(name, Face::Rest, "list_confirmations", json!({}));
    for (name, rows, theirs) in
        [("sec", 1, true), ("dora", 1, true), ("bob", 1, false), ("carol", 0, false)]
    {
        let listed = list(name).await.unwrap();
        assert_eq!(listed["data"].as_array().unwrap().len(), rows, "{name}");
        if rows == 1 {
            assert_eq!(listed["data"][0]["yours_to_decide"], theirs, "{name}");
        }
    }

    let bad = [
        json!({"id": id, "approve": "true", "confirm": true}),
        json!({"id": id, "approve": 1, "confirm": true}),
        json!({"id": id, "approve": true, "confirm": "true"}),
        json!({"id": id, "approve": true, "confirm": 1}),
        json!({"id": id, "confirm": true}),
        json!({"id": id, "approve": true, "confirm": true, "force": true}),
    ];
    for arguments in bad {
        let refused =
            house.perform("sec", Face::Tools, "decide_confirmation", arguments.clone()).await;
        assert_eq!(refused.unwrap_err().reason, Reason::InvalidParams, "{arguments}");
    }
    for confirm in [json!(false), json!(null)] {
        let arguments = json!({"id": id, "approve": true, "confirm": confirm});
        let refused = house.perform("sec", Face::Tools, "decide_confirmation", arguments).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.reason, Reason::ConfirmMissing);
        assert!(refused.preview.is_some());
    }
    assert_eq!(confirmations.take_agreed(&binding, &security).await.unwrap(), None);

    let no = json!({"id": id, "approve": false});
    let declined = house.perform("sec", Face::Rest, "decide_confirmation", no).await.unwrap();
    assert_eq!(declined["status"], "declined");
    assert_eq!(confirmations.wait(id, pending.expires_at).await, Settled::Declined);
    let yes = json!({"id": id, "approve": true});
    let late = house.perform("sec", Face::Rest, "decide_confirmation", yes).await.unwrap_err();
    assert_eq!(late.reason, Reason::ConfirmationExpired);
    assert_eq!(confirmations.take_agreed(&binding, &security).await.unwrap(), None);

    // A new request of the same call is another one; an agreement to it ends with its time.
    let second = confirmations.request(new).await.unwrap();
    assert_ne!(second.id, id);
    let yes = json!({"id": second.id, "approve": true});
    house.perform("sec", Face::Rest, "decide_confirmation", yes.clone()).await.unwrap();
    house.clock.advance(301);
    // The catalogue must count as fresh again before anything is asked.
    house.a.governance.refresh().await.unwrap();
    assert_eq!(confirmations.take_agreed(&binding, &security).await.unwrap(), None);
    assert_eq!(confirmations.wait(second.id, second.expires_at).await, Settled::Expired);
    let late = house.perform("sec", Face::Rest, "decide_confirmation", yes).await.unwrap_err();
    assert_eq!(late.reason, Reason::ConfirmationExpired);
}
