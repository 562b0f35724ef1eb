//! Confirmations: bound, single use, expiring, across replicas.

use gateway_core::Timestamp;
use gateway_core::caller::User;
use gateway_core::decision::Approver;
use gateway_core::ids::{CallId, ConfirmationId, PolicyId};
use gateway_core::server::RUNLAYER_ID;
use time::Duration;
use time::macros::datetime;
use uuid::Uuid;

use crate::Store;
use crate::confirmation::{ConfirmationStatus, Decision, Listed, NewConfirmation, Settled};
use crate::desired_state::{DesiredGroup, DesiredState, DesiredUser};
use crate::testing::{settings, store};

const START: Timestamp = datetime!(2026-08-01 12:00 UTC);
const MINUTE: Duration = Duration::MINUTE;

struct People {
    alice: User,
    bob: User,
    carol: User,
}

/// alice and carol are in finance, bob calls.
async fn people(store: &Store) -> People {
    let person = |name: &str, groups: &[&str]| DesiredUser {
        email: format!("{name}@x.test"),
        name: name.into(),
        roles: Vec::new(),
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        active: true,
        attributes: None,
    };
    let state = DesiredState {
        groups: vec![DesiredGroup { name: "finance".into() }],
        users: vec![
            person("alice", &["finance"]),
            person("bob", &[]),
            person("carol", &["finance"]),
        ],
        ..DesiredState::default()
    };
    store.apply(&state, false).await.unwrap();
    let mut users = store.users().await.unwrap().into_iter();
    let mut next = || users.next().unwrap();
    People { alice: next(), bob: next(), carol: next() }
}

fn asked(number: u8, who: &User, approvers: &[&str]) -> NewConfirmation {
    NewConfirmation {
        id: ConfirmationId(Uuid::from_u128(u128::from(number) + 1000)),
        binding: [number; 32],
        user: who.id,
        server: RUNLAYER_ID,
        tool: "pay".into(),
        message: "Pay 100?".into(),
        arguments: Some(r#"{"amount":100}"#.into()),
        policies: vec![PolicyId(Uuid::from_u128(5))],
        approvers: approvers.iter().map(|a| Approver::try_from((*a).to_owned()).unwrap()).collect(),
        call: CallId(Uuid::from_u128(6)),
        created_at: START,
        expires_at: START + MINUTE * 5,
    }
}

fn answer<'a>(
    id: ConfirmationId,
    who: &'a User,
    speaks_for: &'a [Approver],
    approve: bool,
) -> Decision<'a> {
    Decision { id, decider: who.id, email: &who.email, speaks_for, approve, now: START + MINUTE }
}

fn finance() -> Vec<Approver> {
    vec![Approver::Group("finance".into())]
}

#[tokio::test]
async fn of_many_takers_on_two_replicas_exactly_one_wins() {
    let store = store().await;
    let name: String =
        sqlx::query_scalar("select current_database()").fetch_one(store.pool()).await.unwrap();
    let url = crate::testing::server().await.url(Some(&name));
    let replica = Store::open(&settings(&url)).await.unwrap();
    let bob = people(&store).await.bob;
    for round in 0..10 {
        let asked = asked(round, &bob, &["caller"]);
        store.request_confirmation(&asked).await.unwrap();
        let decision = answer(asked.id, &bob, &[Approver::Caller], true);
        assert_eq!(replica.settle_confirmation(decision).await.unwrap(), Settled::Agreed);
        let mut takers = tokio::task::JoinSet::new();
        for taker in 0..16 {
            let store = if taker % 2 == 0 { store.clone() } else { replica.clone() };
            takers.spawn(async move {
                store.take_agreed(&asked.binding, START + MINUTE * 2).await.unwrap()
            });
        }
        let taken: Vec<_> = takers.join_all().await.into_iter().flatten().collect();
        assert_eq!(taken, [asked.id], "round {round}");
    }
}

#[tokio::test]
async fn the_same_question_is_asked_once() {
    let store = store().await;
    let bob = people(&store).await.bob;
    let mut askers = tokio::task::JoinSet::new();
    for number in 0..12 {
        let (store, bob) = (store.clone(), bob.clone());
        askers.spawn(async move {
            let question = NewConfirmation { binding: [9; 32], ..asked(number, &bob, &["caller"]) };
            store.request_confirmation(&question).await.unwrap().id
        });
    }
    let mut ids = askers.join_all().await;
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");

    // Once used, the same question is a new one.
    store.settle_confirmation(answer(ids[0], &bob, &[Approver::Caller], true)).await.unwrap();
    assert_eq!(store.take_agreed(&[9; 32], START + MINUTE).await.unwrap(), Some(ids[0]));
    let question = NewConfirmation { binding: [9; 32], ..asked(99, &bob, &["caller"]) };
    assert_eq!(store.request_confirmation(&question).await.unwrap().id, question.id);
}

#[tokio::test]
async fn it_comes_back_as_asked() {
    let store = store().await;
    let bob = people(&store).await.bob;
    let new = asked(1, &bob, &["caller", "group:finance", "user:alice@x.test"]);
    let stored = store.request_confirmation(&new).await.unwrap();
    assert_eq!(store.get_confirmation(new.id).await.unwrap().as_ref(), Some(&stored));
    assert_eq!(stored.status_at(START + MINUTE * 5), ConfirmationStatus::Expired);
    assert_eq!((stored.binding, stored.user, stored.server), (new.binding, new.user, new.server));
    assert_eq!((&stored.tool, &stored.message), (&new.tool, &new.message));
    assert_eq!((stored.arguments, stored.policies), (new.arguments, new.policies));
    assert_eq!((stored.approvers, stored.call), (new.approvers, new.call));
    assert_eq!(
        (stored.user_email.as_str(), stored.server_slug.as_str()),
        ("bob@x.test", "runlayer")
    );
    assert_eq!(stored.status, ConfirmationStatus::Pending);
}

#[tokio::test]
async fn nothing_is_taken_without_a_living_agreement_to_exactly_this() {
    let store = store().await;
    let bob = people(&store).await.bob;
    let take = |binding, now| {
        let store = store.clone();
        async move { store.take_agreed(&binding, now).await.unwrap() }
    };
    let new = asked(1, &bob, &["caller"]);
    assert_eq!(take(new.binding, START).await, None, "never asked");
    store.request_confirmation(&new).await.unwrap();
    assert_eq!(take(new.binding, START).await, None, "not agreed yet");
    store.settle_confirmation(answer(new.id, &bob, &[Approver::Caller], true)).await.unwrap();
    let mut other = new.binding;
    other[31] ^= 1;
    assert_eq!(take(other, START).await, None, "one bit differs");
    assert_eq!(take(new.binding, new.expires_at).await, None, "expired");
    assert_eq!(take(new.binding, START + MINUTE).await, Some(new.id));
    assert_eq!(take(new.binding, START + MINUTE).await, None, "used");
}

#[tokio::test]
async fn an_expired_question_cannot_be_answered_and_may_be_asked_anew() {
    let store = store().await;
    let bob = people(&store).await.bob;
    let new = asked(1, &bob, &["caller"]);
    store.request_confirmation(&new).await.unwrap();
    let late = Decision { now: new.expires_at, ..answer(new.id, &bob, &[Approver::Caller], true) };
    let over = Settled::Over(ConfirmationStatus::Expired);
    assert_eq!(store.settle_confirmation(late).await.unwrap(), over);
    let again = NewConfirmation {
        binding: new.binding,
        created_at: new.expires_at,
        expires_at: new.expires_at + MINUTE,
        ..asked(2, &bob, &["caller"])
    };
    assert_eq!(store.request_confirmation(&again).await.unwrap().id, again.id);
    let first = store.get_confirmation(new.id).await.unwrap().unwrap();
    assert_eq!(first.status, ConfirmationStatus::Expired);
}

#[tokio::test]
async fn everyone_must_agree_and_one_can_decline() {
    let store = store().await;
    let People { alice, bob, carol } = people(&store).await;
    let approvers = ["caller", "group:finance", "user:alice@x.test"];
    let alice_alone = [Approver::User("alice@x.test".into())];
    let new = asked(1, &bob, &approvers);
    store.request_confirmation(&new).await.unwrap();
    for (who, speaks_for, expected) in [
        (
            &bob,
            vec![Approver::Caller],
            Settled::Missing(vec![finance()[0].clone(), alice_alone[0].clone()]),
        ),
        (&carol, finance(), Settled::Missing(alice_alone.to_vec())),
        (&alice, alice_alone.to_vec(), Settled::Agreed),
        (&alice, alice_alone.to_vec(), Settled::Over(ConfirmationStatus::Agreed)),
    ] {
        let settled = store.settle_confirmation(answer(new.id, who, &speaks_for, true)).await;
        assert_eq!(settled.unwrap(), expected);
    }
    let answers = store.get_confirmation(new.id).await.unwrap().unwrap().answers;
    assert_eq!(answers.len(), 3);

    let new = asked(2, &bob, &approvers);
    store.request_confirmation(&new).await.unwrap();
    store.settle_confirmation(answer(new.id, &bob, &[Approver::Caller], true)).await.unwrap();
    let declined = store.settle_confirmation(answer(new.id, &carol, &finance(), false)).await;
    assert_eq!(declined.unwrap(), Settled::Declined);
    let late = store.settle_confirmation(answer(new.id, &alice, &alice_alone, true)).await;
    assert_eq!(late.unwrap(), Settled::Over(ConfirmationStatus::Declined));
    assert_eq!(store.take_agreed(&new.binding, START + MINUTE).await.unwrap(), None);
}

#[tokio::test]
async fn nobody_speaks_for_an_approver_that_they_are_not() {
    let store = store().await;
    let People { alice, bob, carol: _ } = people(&store).await;
    let all = [vec![Approver::Caller], finance()].concat();
    let by_caller = asked(1, &bob, &["caller"]);
    let by_finance = asked(2, &alice, &["group:finance"]);
    store.request_confirmation(&by_caller).await.unwrap();
    store.request_confirmation(&by_finance).await.unwrap();
    for (id, who, speaks_for) in [
        (by_caller.id, &alice, &all[..]),
        (by_caller.id, &alice, &[Approver::Caller]),
        (by_caller.id, &bob, &[]),
        // alice is in finance, but it is her own call.
        (by_finance.id, &alice, &all),
        (by_finance.id, &alice, &finance()),
    ] {
        for approve in [true, false] {
            let settled = store.settle_confirmation(answer(id, who, speaks_for, approve)).await;
            assert_eq!(settled.unwrap(), Settled::NotTheirs, "{} {speaks_for:?}", who.email);
        }
    }
    let absent = ConfirmationId(Uuid::from_u128(1));
    let settled = store.settle_confirmation(answer(absent, &bob, &all, true)).await.unwrap();
    assert_eq!(settled, Settled::Absent);
}

#[tokio::test]
async fn lists_show_what_concerns_the_viewer_newest_first() {
    let store = store().await;
    let People { alice, bob, carol } = people(&store).await;
    for question in [
        asked(1, &bob, &["caller"]),
        asked(2, &bob, &["group:finance"]),
        asked(3, &carol, &["user:alice@x.test"]),
        asked(4, &alice, &["caller"]),
    ] {
        store.request_confirmation(&question).await.unwrap();
    }
    let settled = answer(asked(4, &alice, &[]).id, &alice, &[Approver::Caller], false);
    store.settle_confirmation(settled).await.unwrap();
    let all = Listed { viewer: None, pending_only: false, now: START, before: None, limit: 50 };
    let third = Some(asked(3, &bob, &[]).id);
    for (listed, expected) in [
        (all, vec![4, 3, 2, 1]),
        (Listed { pending_only: true, ..all }, vec![3, 2, 1]),
        (Listed { pending_only: true, now: START + MINUTE * 5, ..all }, vec![]),
        (Listed { viewer: Some(&alice), ..all }, vec![4, 3, 2]),
        (Listed { viewer: Some(&bob), ..all }, vec![2, 1]),
        (Listed { viewer: Some(&carol), ..all }, vec![3, 2]),
        (Listed { before: third, ..all }, vec![2, 1]),
        (Listed { limit: 1, ..all }, vec![4]),
    ] {
        let found = store.list_confirmations(listed).await.unwrap();
        let found: Vec<u8> = found.iter().map(|one| one.binding[0]).collect();
        assert_eq!(found, expected, "{listed:?}");
    }
}

#[tokio::test]
async fn what_was_not_needed_is_given_back_once_and_only_while_it_lives() {
    let store = store().await;
    let people = people(&store).await;
    let new = asked(1, &people.bob, &["group:finance"]);
    let id = store.request_confirmation(&new).await.unwrap().id;
    assert!(!store.return_agreed(id, START).await.unwrap(), "nobody agreed yet");
    store.settle_confirmation(answer(id, &people.alice, &finance(), true)).await.unwrap();
    let taken = async |now| store.take_agreed(&new.binding, now).await.unwrap();
    assert_eq!(taken(START + MINUTE).await, Some(id));
    assert!(store.return_agreed(id, START + MINUTE).await.unwrap());
    assert!(!store.return_agreed(id, START + MINUTE).await.unwrap(), "it is back");
    assert_eq!(taken(START + MINUTE * 2).await, Some(id));
    assert_eq!(taken(START + MINUTE * 2).await, None, "one gets it");
    // The same is asked anew: the old agreement stays used.
    let anew = NewConfirmation { id: asked(2, &people.bob, &[]).id, ..new.clone() };
    let second = store.request_confirmation(&anew).await.unwrap().id;
    assert_ne!(second, id);
    assert!(!store.return_agreed(id, START + MINUTE * 2).await.unwrap());
    // Over is over.
    store.settle_confirmation(answer(second, &people.alice, &finance(), true)).await.unwrap();
    assert_eq!(taken(START + MINUTE * 4).await, Some(second));
    assert!(!store.return_agreed(second, START + MINUTE * 5).await.unwrap());
}
