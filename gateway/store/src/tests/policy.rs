//! Policies written one at a time: each write is a version, whoever writes; nobody writes over a version that
//! they have not seen; and the gateway itself cannot rewrite what was.

use gateway_core::ids::{PolicyId, UserId};
use uuid::Uuid;

use crate::Store;
use crate::desired_state::{DesiredGroup, DesiredPolicy, DesiredState};
use crate::policy::{PolicyText, PolicyWrite};
use crate::testing::store;

fn id(n: u128) -> PolicyId {
    PolicyId(Uuid::from_u128(n))
}

fn text(n: u128, name: &str, spec: &str) -> PolicyText {
    PolicyText { id: id(n), name: name.into(), spec_json: spec.into() }
}

fn somebody() -> Option<UserId> {
    Some(UserId(Uuid::from_u128(77)))
}

fn file(policies: &[(&str, &str)]) -> DesiredState {
    let policy = |(name, spec): &(&str, &str)| DesiredPolicy {
        name: (*name).into(),
        spec_json: (*spec).into(),
    };
    DesiredState { policies: policies.iter().map(policy).collect(), ..DesiredState::default() }
}

/// `2 updated a {} api 77`, newest first.
async fn told(store: &Store, of: Option<PolicyId>) -> Vec<String> {
    let versions = store.policy_versions(of, None, 100).await.unwrap();
    let told = versions.iter().map(|v| {
        let by = v.actor.map_or("-".to_owned(), |id| id.0.as_u128().to_string());
        format!("{} {} {} {} {} {by}", v.version, v.what, v.name, v.spec_json, v.source)
    });
    told.collect()
}

#[tokio::test]
async fn every_write_is_a_version() {
    let store = store().await;
    use PolicyWrite::{Changed, NameTaken, Written};
    let create = async |policy: PolicyText| store.create_policy(&policy, somebody()).await.unwrap();
    let update = async |policy: PolicyText, expected| {
        store.update_policy(&policy, expected, somebody()).await.unwrap()
    };
    assert_eq!(create(text(1, "a", "1")).await, Written(1));
    assert_eq!(create(text(2, "a", "2")).await, NameTaken);
    assert_eq!(create(text(1, "b", "2")).await, Changed, "the id is there");
    assert_eq!(create(text(2, "b", "2")).await, Written(1));
    assert_eq!(update(text(1, "a", "3"), 1).await, Written(2));
    assert_eq!(update(text(1, "a", "4"), 1).await, Changed, "somebody was faster");
    assert_eq!(update(text(1, "b", "4"), 2).await, NameTaken);
    assert_eq!(update(text(9, "c", "4"), 1).await, Changed, "it is not there");
    assert_eq!(update(text(1, "a2", "3"), 2).await, Written(3));
    assert_eq!(update(text(1, "a2", "3"), 3).await, Written(3), "nothing new is no version");
    assert_eq!(store.delete_policy(id(1), 2, somebody()).await.unwrap(), Changed);
    assert_eq!(store.delete_policy(id(1), 3, None).await.unwrap(), Written(4));
    assert_eq!(store.delete_policy(id(1), 4, None).await.unwrap(), Changed);
    // It comes back under its id and counts on.
    assert_eq!(create(text(1, "a", "1")).await, Written(5));
    let expected = [
        "5 created a 1 api 77",
        "4 deleted a2 3 api -",
        "3 updated a2 3 api 77",
        "2 updated a 3 api 77",
        "1 created a 1 api 77",
    ];
    assert_eq!(told(&store, Some(id(1))).await, expected);
    let stored = store.policies().await.unwrap();
    let seen: Vec<_> = stored.iter().map(|p| (&*p.name, p.version, p.changed_by)).collect();
    assert_eq!(seen, [("b", 1, somebody()), ("a", 5, somebody())], "new ones come last");

    // One by one, by former names, in pages.
    let third = store.policy_version(id(1), 3).await.unwrap().unwrap();
    assert_eq!((&*third.name, &*third.spec_json), ("a2", "3"));
    assert_eq!(store.policy_version(id(1), 6).await.unwrap(), None);
    assert_eq!(store.policy_once_called("a2").await.unwrap(), Some(id(1)));
    assert_eq!(store.policy_once_called("c").await.unwrap(), None);
    let (mut before, mut seen) = (None, vec![]);
    for _ in 0..10 {
        let page = store.policy_versions(None, before, 2).await.unwrap();
        before = page.last().map(|version| version.change);
        seen.extend(page.into_iter().map(|version| (version.policy, version.version)));
        if before.is_none() {
            break;
        }
    }
    assert_eq!(seen, [(1, 5), (1, 4), (1, 3), (1, 2), (2, 1), (1, 1)].map(|(n, v)| (id(n), v)));
}

#[tokio::test]
async fn apply_makes_versions_and_takes_over() {
    let store = store().await;
    store.create_policy(&text(1, "ours", "1"), somebody()).await.unwrap();
    store.apply(&file(&[("x", "1"), ("y", "1")]), false).await.unwrap();
    let x = store.policy_once_called("x").await.unwrap();
    // Order is no version, and neither is the same again.
    store.apply(&file(&[("y", "1"), ("x", "1")]), true).await.unwrap();
    assert_eq!(told(&store, x).await, ["1 created x 1 apply -"]);
    assert_eq!(store.policies().await.unwrap().len(), 3, "pruning leaves what apply did not make");
    store.apply(&file(&[("x", "2"), ("ours", "1")]), true).await.unwrap();
    assert_eq!(told(&store, x).await, ["2 updated x 2 apply -", "1 created x 1 apply -"]);
    assert_eq!(
        told(&store, Some(id(1))).await,
        ["2 updated ours 1 apply -", "1 created ours 1 api 77"],
        "a file that names it takes it over"
    );
    // A policy of a file that is written anew stays the file's.
    store.update_policy(&text(1, "ours", "2"), 2, somebody()).await.unwrap();
    assert_eq!(told(&store, Some(id(1))).await[0], "3 updated ours 2 apply 77");
    store.apply(&file(&[]), true).await.unwrap();
    assert_eq!(told(&store, Some(id(1))).await[0], "4 deleted ours 2 apply -");
    assert_eq!(store.policies().await.unwrap(), []);
}

#[tokio::test]
async fn what_was_cannot_be_rewritten() {
    let store = store().await;
    store.create_policy(&text(1, "a", "1"), somebody()).await.unwrap();
    for forgery in [
        "update policy_version set spec = '{}'",
        "delete from policy_version",
        "truncate policy_version",
        "alter table policy disable trigger policy_versioned",
        "drop trigger policy_versioned on policy",
    ] {
        let refused = sqlx::query(forgery).execute(store.pool()).await.unwrap_err();
        let text = refused.to_string();
        assert!(text.contains("permission denied") || text.contains("must be owner"), "{text}");
    }
    assert_eq!(told(&store, None).await, ["1 created a 1 api 77"]);
}

#[tokio::test]
async fn of_many_writers_each_version_has_one() {
    let store = store().await;
    store.create_policy(&text(1, "a", "0"), None).await.unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for n in 1..9 {
        let store = store.clone();
        writers.spawn(async move {
            let policy = text(1, "a", &n.to_string());
            store.update_policy(&policy, 1, somebody()).await.unwrap()
        });
    }
    let done = writers.join_all().await;
    let written = done.iter().filter(|done| **done == PolicyWrite::Written(2)).count();
    let refused = done.iter().filter(|done| **done == PolicyWrite::Changed).count();
    assert_eq!((written, refused), (1, 7));
    assert_eq!(told(&store, Some(id(1))).await.len(), 2);
}

#[tokio::test]
async fn groups_are_there_with_and_without_members() {
    let store = store().await;
    let groups = vec![DesiredGroup { name: "empty".into() }];
    store.apply(&DesiredState { groups, ..DesiredState::default() }, false).await.unwrap();
    let found = store.groups_named(&["empty".into(), "ghosts".into()]).await.unwrap();
    assert_eq!(found, ["empty"]);
}
