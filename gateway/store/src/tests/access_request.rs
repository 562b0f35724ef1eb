//! Requests for access: opened once, decided once, ended once; notices told once.

use gateway_core::Timestamp;
use gateway_core::caller::User;
use gateway_core::ids::{AccessRequestId, NoticeId, PolicyId};
use gateway_core::server::RUNLAYER_ID;
use time::Duration;
use time::macros::datetime;
use uuid::Uuid;

use crate::Store;
use crate::access_request::{
    AccessRequest, AccessRequestStatus, Decided, Decision, Grant, Listed, Opened,
};
use crate::desired_state::{DesiredState, DesiredUser};
use crate::notice::{Channel, NewNotice};
use crate::testing::{settings, store};

const START: Timestamp = datetime!(2026-08-01 12:00 UTC);
const HOUR: Duration = Duration::HOUR;
const HOOK: Channel = Channel::Webhook;

async fn people(store: &Store) -> [User; 2] {
    let person = |name: &str| DesiredUser {
        email: format!("{name}@x.test"),
        name: name.into(),
        roles: Vec::new(),
        groups: Vec::new(),
        active: true,
        attributes: None,
    };
    let users = vec![person("alice"), person("bob")];
    store.apply(&DesiredState { users, ..DesiredState::default() }, false).await.unwrap();
    store.users().await.unwrap().try_into().unwrap()
}

fn asked(number: u128, who: &User, tools: &[&str]) -> AccessRequest {
    AccessRequest {
        id: AccessRequestId(Uuid::from_u128(number)),
        principal_id: who.id,
        principal: format!("user:{}", who.email),
        person: who.id,
        server: "runlayer".into(),
        server_id: Some(RUNLAYER_ID),
        tools: tools.iter().map(|tool| (*tool).to_owned()).collect(),
        reason: "on call".into(),
        seconds: Some(3600),
        status: AccessRequestStatus::Pending,
        created_at: START,
        decided_at: None,
        decider: None,
        note: None,
        expires_at: None,
    }
}

fn notice(number: u128) -> NewNotice {
    NewNotice {
        id: NoticeId(Uuid::from_u128(number)),
        channel: Channel::Webhook,
        recipient: String::new(),
        kind: "access_request.created",
        body: "{}".into(),
        created_at: START,
    }
}

fn decision(number: u128, who: &User, approve: bool) -> Decision {
    let grant = Grant {
        server: RUNLAYER_ID,
        name: format!("access request {number}"),
        spec_json: r#"{"name":"g"}"#.into(),
        expires_at: START + HOUR,
    };
    Decision {
        id: AccessRequestId(Uuid::from_u128(number)),
        decider: Some(who.id),
        email: who.email.clone(),
        note: Some("fine".into()),
        now: START,
        grant: approve.then_some(grant),
    }
}

#[tokio::test]
async fn the_same_is_open_once_and_not_too_many_are() {
    let store = store().await;
    let [alice, bob] = people(&store).await;
    let open = |request: AccessRequest, notices: Vec<NewNotice>| {
        let store = store.clone();
        async move { store.open_access_request(&request, 2, &notices).await.unwrap() }
    };
    let first = asked(1, &bob, &["pay"]);
    assert_eq!(open(first.clone(), vec![notice(1)]).await, Opened::New);
    let again = AccessRequest { reason: "again".into(), ..asked(2, &bob, &["pay"]) };
    let known = Opened::Known(Box::new(first.clone()));
    assert_eq!(open(again.clone(), vec![notice(2)]).await, known);
    assert_eq!(store.open_request_like(&again).await.unwrap(), Some(first.clone()));
    assert_eq!(open(asked(3, &bob, &[]), vec![]).await, Opened::New);
    assert_eq!(open(asked(4, &bob, &["list"]), vec![notice(4)]).await, Opened::TooMany);
    assert_eq!(open(again.clone(), vec![]).await, known, "also when there are many");
    assert_eq!(open(asked(5, &alice, &["list"]), vec![]).await, Opened::New);
    // Only what stands is told.
    assert_eq!(
        store.claim_notice(HOOK, START, START + HOUR).await.unwrap().unwrap().id,
        notice(1).id
    );
    assert_eq!(store.claim_notice(HOOK, START, START + HOUR).await.unwrap(), None);
    // Several at the same moment: one stands.
    let racing = (10..20).map(|number| open(asked(number, &alice, &["race"]), vec![]));
    let mut made = 0;
    for opened in futures(racing).await {
        made += usize::from(opened == Opened::New);
    }
    assert_eq!(made, 1);
    assert!(store.cancel_access_request(first.id, START, &[]).await.unwrap());
    assert!(!store.cancel_access_request(first.id, START, &[notice(9)]).await.unwrap());
    assert_eq!(store.claim_notice(HOOK, START, START + HOUR).await.unwrap(), None);
    assert_eq!(open(again, vec![]).await, Opened::New, "what was withdrawn is not open");
}

async fn futures<F>(all: impl Iterator<Item = F>) -> Vec<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    let running: Vec<_> = all.map(tokio::spawn).collect();
    let mut done = Vec::new();
    for one in running {
        done.push(one.await.unwrap());
    }
    done
}

#[tokio::test]
async fn one_decision_counts_and_its_policy_comes_and_goes_with_it() {
    let url = crate::testing::empty_database().await;
    let [store, other] = [0, 1].map(|_| settings(&url));
    let (store, other) = (Store::open(&store).await.unwrap(), Store::open(&other).await.unwrap());
    let [alice, bob] = people(&store).await;
    for number in 1..=3 {
        let new = asked(number, &bob, &[&format!("t{number}")]);
        assert_eq!(store.open_access_request(&new, 9, &[]).await.unwrap(), Opened::New);
    }
    let before = store.catalogue_version().await.unwrap();
    let yes = decision(1, &alice, true);
    let told = [notice(1), notice(2)];
    let (a, b) = tokio::join!(
        store.decide_access_request(&yes, &told[..1]),
        other.decide_access_request(&yes, &told[1..])
    );
    let (a, b) = (a.unwrap(), b.unwrap());
    let over = Decided::Over(AccessRequestStatus::Approved);
    let done = if a == over { b.clone() } else { a.clone() };
    assert!(a == over || b == over, "{a:?} {b:?}");
    let Decided::Done(request) = done else { panic!("{a:?} {b:?}") };
    assert_eq!(request.status, AccessRequestStatus::Approved);
    assert_eq!(
        (request.decider.as_deref(), request.note.as_deref()),
        (Some("alice@x.test"), Some("fine"))
    );
    assert_eq!(request.status_at(START + HOUR), AccessRequestStatus::Expired);
    let policies = store.policies().await.unwrap();
    assert_eq!(policies.len(), 1);
    assert_eq!((policies[0].id.0, policies[0].name.as_str()), (yes.id.0, "access request 1"));
    assert_eq!(store.catalogue_version().await.unwrap(), before + 1);
    let told = store.claim_notice(HOOK, START, START + HOUR).await.unwrap().unwrap();
    assert!([notice(1).id, notice(2).id].contains(&told.id));
    assert_eq!(store.claim_notice(HOOK, START, START + HOUR).await.unwrap(), None);

    let no = decision(2, &alice, false);
    let Decided::Done(rejected) = store.decide_access_request(&no, &[]).await.unwrap() else {
        panic!()
    };
    assert_eq!((rejected.status, rejected.expires_at), (AccessRequestStatus::Rejected, None));
    assert_eq!(store.policies().await.unwrap().len(), 1);
    let absent = decision(77, &alice, true);
    assert_eq!(store.decide_access_request(&absent, &[]).await.unwrap(), Decided::Absent);
    // A name that is taken: neither decision nor policy.
    let clash = Decision { id: decision(3, &alice, true).id, ..yes.clone() };
    store.decide_access_request(&clash, &[]).await.unwrap_err();
    let third = store.get_access_request(clash.id).await.unwrap().unwrap();
    assert_eq!(third.status, AccessRequestStatus::Pending);

    // Not before its time, once over all replicas, with its notice, and the policy goes.
    let end = START + HOUR;
    assert_eq!(store.due_grants(end - Duration::SECOND, &[]).await.unwrap(), []);
    let due = store.due_grants(end, &[]).await.unwrap();
    assert_eq!(due.iter().map(|r| (r.id, r.expires_at)).collect::<Vec<_>>(), [(yes.id, Some(end))]);
    let policy = (PolicyId(yes.id.0), 1);
    let early = store.due_grants(START, &[policy.0]).await.unwrap();
    assert_eq!(early, due, "also when its policy is over before it");
    // A notice that cannot be kept: nothing ends.
    let twice = vec![(yes.id, vec![notice(8), notice(8)])];
    store.end_grants(&twice, &[policy]).await.unwrap_err();
    assert_eq!(store.due_grants(end, &[]).await.unwrap(), due);
    assert_eq!(store.policies().await.unwrap().len(), 1);
    let told = [8, 9].map(|number| vec![(yes.id, vec![notice(number)])]);
    let stale = [(policy.0, 7)];
    let (a, b) =
        tokio::join!(store.end_grants(&told[0], &stale), other.end_grants(&told[1], &stale));
    assert_eq!([a.unwrap(), b.unwrap()].concat(), [yes.id]);
    let mut told = Vec::new();
    while let Some(notice) = store.claim_notice(HOOK, end, end + HOUR).await.unwrap() {
        told.push(notice.id);
    }
    let of_the_end = |id: &&NoticeId| [notice(8).id, notice(9).id].contains(*id);
    assert_eq!(told.iter().filter(of_the_end).count(), 1, "{told:?}");
    // The policy was written anew meanwhile: whoever looks next decides.
    assert_eq!(store.policies().await.unwrap().len(), 1);
    let left = store.due_grants(end, &[policy.0]).await.unwrap();
    assert_eq!(left[0].status, AccessRequestStatus::Expired);
    assert_eq!(other.end_grants(&[], &[policy]).await.unwrap(), []);
    assert_eq!(store.policies().await.unwrap(), []);
    // An end that was moved is the end; an open request's policy is nobody's to sweep.
    store.prolong_grant(third.id, end).await.unwrap();
    assert_eq!(store.get_access_request(third.id).await.unwrap().unwrap().expires_at, None);
    let Decided::Done(again) =
        store.decide_access_request(&decision(3, &alice, true), &[]).await.unwrap()
    else {
        panic!()
    };
    store.prolong_grant(again.id, end + HOUR).await.unwrap();
    store.prolong_grant(again.id, end).await.unwrap();
    assert_eq!(store.due_grants(end, &[]).await.unwrap(), []);
    assert_eq!(store.due_grants(end + HOUR, &[]).await.unwrap()[0].id, again.id);
    store.end_grants(&[], &[(PolicyId(again.id.0), 1)]).await.unwrap();
    assert_eq!(store.policies().await.unwrap().len(), 1, "its grant goes on");
}

#[tokio::test]
async fn lists_hold_what_the_viewer_may_see() {
    let store = store().await;
    let [alice, bob] = people(&store).await;
    let elsewhere =
        AccessRequest { server: "no-such".into(), server_id: None, ..asked(3, &bob, &[]) };
    for new in [asked(1, &bob, &["a"]), asked(2, &alice, &["a"]), elsewhere] {
        assert_eq!(store.open_access_request(&new, 9, &[]).await.unwrap(), Opened::New);
    }
    store.decide_access_request(&decision(1, &alice, true), &[]).await.unwrap();
    let all =
        Listed { viewer: None, status: None, server: None, now: START, before: None, limit: 9 };
    let list = async |listed: Listed<'_>| -> Vec<u128> {
        let found = store.list_access_requests(listed).await.unwrap();
        found.iter().map(|request| request.id.0.as_u128()).collect()
    };
    assert_eq!(list(all).await, [3, 2, 1]);
    assert_eq!(list(Listed { limit: 2, ..all }).await, [3, 2]);
    let third = AccessRequestId(Uuid::from_u128(3));
    assert_eq!(list(Listed { before: Some(third), ..all }).await, [2, 1]);
    assert_eq!(list(Listed { viewer: Some((bob.id, &[])), ..all }).await, [3, 1]);
    assert_eq!(list(Listed { viewer: Some((alice.id, &[RUNLAYER_ID])), ..all }).await, [2, 1]);
    let named = Some((Some(RUNLAYER_ID), "runlayer"));
    assert_eq!(list(Listed { server: named, ..all }).await, [2, 1]);
    assert_eq!(list(Listed { server: Some((None, "no-such")), ..all }).await, [3]);
    let approved = Listed { status: Some(AccessRequestStatus::Approved), ..all };
    assert_eq!(list(approved).await, [1]);
    let later = START + HOUR;
    assert_eq!(list(Listed { now: later, ..approved }).await, [0u128; 0]);
    let expired = Listed { status: Some(AccessRequestStatus::Expired), now: later, ..all };
    assert_eq!(list(expired).await, [1]);
}

#[tokio::test]
async fn a_notice_is_held_by_one_until_it_is_told_or_given_up() {
    let store = store().await;
    let mail = NewNotice { channel: Channel::Mail, recipient: "a@x.test".into(), ..notice(2) };
    store.add_notices(&[notice(1), mail]).await.unwrap();
    let minute = Duration::MINUTE;
    assert_eq!(store.claim_notice(HOOK, START - minute, START).await.unwrap(), None, "not before");
    let claims = (0..6).map(|_| {
        let store = store.clone();
        async move { store.claim_notice(HOOK, START, START + minute).await.unwrap() }
    });
    let held: Vec<_> = futures(claims).await.into_iter().flatten().collect();
    assert_eq!(held.iter().map(|n| (n.id, n.attempts)).collect::<Vec<_>>(), [(notice(1).id, 1)]);
    let letter = store.claim_notice(Channel::Mail, START, START + minute).await.unwrap().unwrap();
    assert_eq!((letter.id, letter.recipient.as_str()), (notice(2).id, "a@x.test"));
    store.notice_sent(letter.id, START).await.unwrap();
    assert_eq!(store.claim_notice(Channel::Mail, START + HOUR, START + HOUR).await.unwrap(), None);
    // Whoever held the first one is gone: another takes it up, fails, and tries again when told to.
    let later = START + minute;
    let again = store.claim_notice(HOOK, later, later + minute).await.unwrap().unwrap();
    assert_eq!((again.id, again.attempts), (held[0].id, 2));
    store.notice_failed(again.id, "status 500", later, Some(later + HOUR)).await.unwrap();
    assert_eq!(store.claim_notice(HOOK, later + minute, later + HOUR).await.unwrap(), None);
    let last = store.claim_notice(HOOK, later + HOUR, later + HOUR * 2).await.unwrap().unwrap();
    store.notice_failed(last.id, "status 500", later + HOUR, None).await.unwrap();
    assert_eq!(store.claim_notice(HOOK, later + HOUR * 9, later + HOUR * 10).await.unwrap(), None);
    assert_eq!(store.sweep_notices(later).await.unwrap(), 1, "what was told long ago");
    assert_eq!(store.sweep_notices(later + HOUR).await.unwrap(), 1, "and what was given up");
}
