//! Limits and their budgets: what replicas may rely on.

use gateway_core::ids::LimitId;
use time::macros::date;
use uuid::Uuid;

use crate::desired_state::{ChangeKind, DesiredLimit, DesiredState};
use crate::limit::{BudgetKey, Settlement, StoredLimit};
use crate::testing::store;

fn limit(name: &str) -> StoredLimit {
    StoredLimit { id: LimitId(Uuid::new_v4()), name: name.into(), spec_json: "{}".into() }
}

fn key(limit: LimitId, subject: u128) -> BudgetKey {
    BudgetKey { limit, day: date!(2026 - 08 - 01), subject: Uuid::from_u128(subject) }
}

#[tokio::test]
async fn a_limit_is_made_replaced_and_removed() {
    let store = store().await;
    let version = store.catalogue_version().await.unwrap();
    let one = limit("one");
    assert_eq!(store.set_limit(&one).await.unwrap(), one.id);
    let again = StoredLimit { spec_json: "{\"x\":1}".into(), ..limit("one") };
    assert_eq!(store.set_limit(&again).await.unwrap(), one.id, "the name keeps its id");
    assert_eq!(store.catalogue_version().await.unwrap(), version + 2);
    let known = store.load_catalogue().await.unwrap().limits;
    assert_eq!(known, [StoredLimit { id: one.id, ..again }]);
    store.lease_budget(key(one.id, 1), 100, 5).await.unwrap();
    assert!(store.delete_limit(one.id).await.unwrap());
    assert!(!store.delete_limit(one.id).await.unwrap());
    assert_eq!(store.lease_budget(key(one.id, 1), 100, 5).await.unwrap(), 0, "it is gone");
    assert!(store.load_catalogue().await.unwrap().limits.is_empty());
}

#[tokio::test]
async fn never_is_more_leased_than_the_budget_has() {
    let store = store().await;
    let one = limit("one");
    store.set_limit(&one).await.unwrap();
    let mut leases = Vec::new();
    for _ in 0..40 {
        let store = store.clone();
        let key = key(one.id, 0);
        leases.push(tokio::spawn(async move { store.lease_budget(key, 100, 7).await.unwrap() }));
    }
    let mut granted = 0;
    for lease in leases {
        granted += lease.await.unwrap();
    }
    assert_eq!(granted, 100);
    assert_eq!(store.lease_budget(key(one.id, 0), 100, 7).await.unwrap(), 0);
    assert_eq!(store.lease_budget(key(one.id, 0), 50, 7).await.unwrap(), 0, "it was lowered");
    assert_eq!(store.lease_budget(key(one.id, 0), 101, 7).await.unwrap(), 1, "it was raised");
    // Others, and other days, have budgets of their own.
    assert_eq!(store.lease_budget(key(one.id, 1), 100, 7).await.unwrap(), 7);
    let tomorrow = BudgetKey { day: date!(2026 - 08 - 02), ..key(one.id, 0) };
    assert_eq!(store.lease_budget(tomorrow, 2, 7).await.unwrap(), 1, "the last ones one by one");
    // What comes back is there again, and what was used is told.
    let back = |used, returned| Settlement { key: key(one.id, 0), used, returned };
    let gone = Settlement { key: key(LimitId(Uuid::new_v4()), 0), used: 1, returned: 1 };
    store.settle_budgets(&[back(60, 3), gone]).await.unwrap();
    assert_eq!(store.lease_budget(key(one.id, 0), 101, 7).await.unwrap(), 1);
    let used = store.budget_use(&[(one.id, date!(2026 - 08 - 01))]).await.unwrap();
    assert_eq!(
        used.iter().map(|one| (one.key, one.used)).collect::<Vec<_>>(),
        [(key(one.id, 0), 60)]
    );
    assert_eq!(store.forget_budget_use(date!(2026 - 08 - 02)).await.unwrap(), 2);
    assert!(store.budget_use(&[(one.id, date!(2026 - 08 - 01))]).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_applied_limit_is_made_once_changed_and_pruned() {
    let store = store().await;
    let desired = |spec: &str| DesiredLimit { name: "one".into(), spec_json: spec.into() };
    let state = |limits| DesiredState { limits, ..DesiredState::default() };
    let kinds = async |state: &DesiredState, prune| {
        let changes = store.apply(state, prune).await.unwrap();
        changes.into_iter().map(|change| change.kind).collect::<Vec<_>>()
    };
    assert_eq!(kinds(&state(vec![desired("{}")]), false).await, [ChangeKind::Created]);
    assert_eq!(kinds(&state(vec![desired("{}")]), true).await, [ChangeKind::Unchanged]);
    assert_eq!(kinds(&state(vec![desired("[]")]), true).await, [ChangeKind::Updated]);
    store.set_limit(&limit("by hand")).await.unwrap();
    assert_eq!(kinds(&state(vec![]), false).await, []);
    assert_eq!(kinds(&state(vec![]), true).await, [ChangeKind::Deleted]);
    let left = store.load_catalogue().await.unwrap().limits;
    assert_eq!(left.len(), 1, "what was made by hand stays");
    assert!(store.apply(&state(vec![desired("{}"), desired("{}")]), false).await.is_err());
}
