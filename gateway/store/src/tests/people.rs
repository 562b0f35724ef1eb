//! People and groups as administrators change them.

use std::collections::BTreeMap;

use gateway_core::Timestamp;
use gateway_core::caller::{Attributes, Role};
use gateway_core::ids::UserId;
use time::macros::datetime;
use uuid::Uuid;

use crate::Store;
use crate::group::GroupEdit;
use crate::people::{Edited, KeptBy, NewUser, PeopleFilter, Seen, UserEdit};
use crate::scim::{NewGroup, NewPerson};
use crate::testing::store;

const NOW: Timestamp = datetime!(2026-08-01 12:00 UTC);

fn id(number: u128) -> UserId {
    UserId(Uuid::from_u128(number))
}

fn given(pairs: &[(&str, &str)]) -> Attributes {
    let pairs = pairs.iter().map(|(name, value)| ((*name).into(), vec![(*value).into()]));
    BTreeMap::from_iter(pairs)
}

async fn add(store: &Store, number: u128, name: &str, roles: &[Role]) {
    let new = NewUser {
        id: id(number),
        email: format!("{name}@x.test"),
        name: format!("The {name}"),
        roles: roles.to_vec(),
        groups: vec![],
        given: Attributes::new(),
        now: NOW,
    };
    assert_eq!(store.create_user(&new, None).await.unwrap(), Edited::Done);
    assert_eq!(store.create_user(&new, None).await.unwrap(), Edited::Conflict, "once");
}

fn seen(roles: &[Role]) -> Seen {
    Seen { roles: roles.to_vec(), active: true, by: None }
}

fn off() -> UserEdit {
    UserEdit { active: Some(false), ..UserEdit::default() }
}

#[tokio::test]
async fn people_are_found_by_all_filters_and_in_pages() {
    let store = store().await;
    for (number, name, role) in
        [(1, "ann", Role::Developer), (2, "ben", Role::Helpdesk), (3, "cid", Role::Developer)]
    {
        add(&store, number, name, &[role]).await;
    }
    let done = store.create_group((Uuid::from_u128(9), "red"), &[id(2), id(3)], &None, NOW).await;
    assert_eq!(done.unwrap(), Edited::Done);
    let edit = UserEdit { given: Some(given(&[("dept", "a")])), ..off() };
    let edited = store.edit_user(id(3), &edit, &seen(&[Role::Developer]), NOW).await.unwrap();
    assert_eq!(edited, Edited::Done);
    let some = |query: Option<&str>, role, group: Option<&str>, active| PeopleFilter {
        query: query.map(str::to_owned),
        role,
        group: group.map(str::to_owned),
        active,
    };
    let cases = [
        (some(None, None, None, None), vec![1, 2, 3]),
        (some(Some("BEN@"), None, None, None), vec![2]),
        (some(Some("the c"), None, None, None), vec![3]),
        (some(Some("%"), None, None, None), vec![]),
        (some(None, Some(Role::Developer), None, None), vec![1, 3]),
        (some(None, Some(Role::SuperAdmin), None, None), vec![]),
        (some(None, None, Some("red"), None), vec![2, 3]),
        (some(None, None, Some("Red"), None), vec![]),
        (some(None, None, None, Some(true)), vec![1, 2]),
        (some(None, Some(Role::Developer), Some("red"), Some(false)), vec![3]),
    ];
    for (filter, expected) in cases {
        let found = store.people(&filter, None, 10).await.unwrap();
        let found: Vec<UserId> = found.into_iter().map(|person| person.user.id).collect();
        assert_eq!(found, expected.into_iter().map(id).collect::<Vec<_>>(), "{filter:?}");
    }
    let all = PeopleFilter::default();
    let first = store.people(&all, None, 2).await.unwrap();
    let rest = store.people(&all, Some(&first[1].user.email), 2).await.unwrap();
    assert_eq!((first.len(), rest.len(), rest[0].user.id), (2, 1, id(3)));
    assert_eq!(rest[0].user.attributes, given(&[("dept", "a")]));
    assert_eq!(rest[0].user.groups, ["red"]);
    assert_eq!(rest[0].kept_by, KeptBy::Gateway);
    assert_eq!(store.last_seen(id(1)).await.unwrap(), None);
    // The catalogue has them alike.
    let catalogue = store.load_catalogue().await.unwrap();
    assert_eq!(catalogue.users[2], rest[0].user);
}

#[tokio::test]
async fn a_change_is_made_only_while_what_it_rests_on_is_so() {
    let store = store().await;
    let (root, it) = ([Role::SuperAdmin], [Role::ItAdmin]);
    add(&store, 1, "root", &root).await;
    add(&store, 2, "it", &it).await;
    add(&store, 3, "bob", &[]).await;
    let by = |number, roles: &[Role]| Some((id(number), roles.to_vec()));
    let name = UserEdit { name: Some("B".into()), ..UserEdit::default() };
    let cases = [
        (id(3), Seen { by: by(2, &it), ..seen(&[]) }, Edited::Done),
        (id(3), Seen { by: by(2, &root), ..seen(&[]) }, Edited::Conflict),
        (id(3), Seen { by: by(7, &it), ..seen(&[]) }, Edited::Conflict),
        (id(3), seen(&it), Edited::Conflict),
        (id(3), Seen { active: false, ..seen(&[]) }, Edited::Conflict),
        (id(7), seen(&[]), Edited::Absent),
    ];
    for (who, seen, expected) in cases {
        assert_eq!(store.edit_user(who, &name, &seen, NOW).await.unwrap(), expected, "{seen:?}");
    }
    // Whoever is off by now changes nothing any more.
    assert_eq!(store.edit_user(id(2), &off(), &seen(&it), NOW).await.unwrap(), Edited::Done);
    let late = Seen { by: by(2, &it), ..seen(&[]) };
    assert_eq!(store.edit_user(id(3), &name, &late, NOW).await.unwrap(), Edited::Conflict);
    let done = store.create_group((Uuid::from_u128(9), "g"), &[], &by(2, &it), NOW).await.unwrap();
    assert_eq!(done, Edited::Conflict);
}

#[tokio::test]
async fn of_two_super_admins_who_end_each_other_one_stays() {
    let store = store().await;
    let root = [Role::SuperAdmin];
    add(&store, 1, "one", &root).await;
    let last = store.edit_user(id(1), &off(), &seen(&root), NOW).await.unwrap();
    assert_eq!(last, Edited::LastSuperAdmin);
    let lower = UserEdit { roles: Some(vec![Role::User]), ..UserEdit::default() };
    let last = store.edit_user(id(1), &lower, &seen(&root), NOW).await.unwrap();
    assert_eq!(last, Edited::LastSuperAdmin);
    add(&store, 2, "two", &root).await;
    for round in 0..10 {
        let end = |who: u128, by: u128| {
            let (store, edit) = (store.clone(), if round % 2 == 0 { off() } else { lower.clone() });
            let seen = Seen { by: Some((id(by), root.to_vec())), ..seen(&root) };
            tokio::spawn(async move { store.edit_user(id(who), &edit, &seen, NOW).await.unwrap() })
        };
        let (a, b) = (end(1, 2), end(2, 1));
        let mut ends = [a.await.unwrap(), b.await.unwrap()];
        ends.sort_by_key(|end| *end != Edited::Done);
        assert_eq!(ends, [Edited::Done, Edited::Conflict], "round {round}");
        let back =
            UserEdit { active: Some(true), roles: Some(root.to_vec()), ..UserEdit::default() };
        for number in [1, 2] {
            let person = store.person(id(number)).await.unwrap().unwrap().user;
            let seen = Seen { roles: person.roles, active: person.active, by: None };
            assert_eq!(store.edit_user(id(number), &back, &seen, NOW).await.unwrap(), Edited::Done);
        }
        // Each their own, at once: the last one is kept.
        let (a, b) = (end(1, 1), end(2, 2));
        let mut ends = [a.await.unwrap(), b.await.unwrap()];
        ends.sort_by_key(|end| *end != Edited::Done);
        assert_eq!(ends, [Edited::Done, Edited::LastSuperAdmin], "round {round}");
        for number in [1, 2] {
            let person = store.person(id(number)).await.unwrap().unwrap().user;
            let seen = Seen { roles: person.roles, active: person.active, by: None };
            assert_eq!(store.edit_user(id(number), &back, &seen, NOW).await.unwrap(), Edited::Done);
        }
    }
}

#[tokio::test]
async fn groups_follow_their_keeper() {
    let store = store().await;
    for (number, name) in [(1, "ann"), (2, "ben")] {
        add(&store, number, name, &[]).await;
    }
    let person = NewPerson {
        id: id(3),
        external_id: None,
        email: "sam@x.test".into(),
        name: "Sam".into(),
        active: true,
        now: NOW,
    };
    store.provision_user(&person).await.unwrap();
    let scim = NewGroup {
        id: Uuid::from_u128(20),
        external_id: None,
        name: "scim".into(),
        members: vec![id(3)],
        now: NOW,
    };
    store.provision_group(&scim).await.unwrap();
    let ours = Uuid::from_u128(10);
    let make = async |id: Uuid, name: &str, members: &[UserId]| {
        store.create_group((id, name), members, &None, NOW).await.unwrap()
    };
    assert_eq!(make(ours, "ours", &[id(1)]).await, Edited::Done);
    assert_eq!(make(Uuid::from_u128(11), "ours", &[]).await, Edited::Conflict);
    assert_eq!(make(Uuid::from_u128(11), "new", &[id(1), id(8)]).await, Edited::Absent);
    assert!(store.group("new").await.unwrap().is_none(), "all or nothing");
    let edit =
        async |group: Uuid, edit: GroupEdit| store.edit_group(group, &edit, &None).await.unwrap();
    let rename = |name: &str| GroupEdit { name: Some(name.into()), ..GroupEdit::default() };
    let swap = GroupEdit { leave: vec![id(1)], join: vec![id(2), id(3)], ..rename("theirs") };
    assert_eq!(edit(ours, rename("scim")).await, Edited::Conflict);
    assert_eq!(edit(ours, GroupEdit { join: vec![id(8)], ..rename("x") }).await, Edited::Absent);
    assert_eq!(store.group("ours").await.unwrap().unwrap().members, 1, "nothing was changed");
    assert_eq!(edit(ours, swap).await, Edited::Done);
    let group = store.group(&ours.to_string().to_uppercase()).await.unwrap().unwrap();
    assert_eq!((group.name.as_str(), group.members, group.kept_by), ("theirs", 2, KeptBy::Gateway));
    let page = store.group_members(ours, None, 1).await.unwrap();
    assert_eq!(page[0].email, "ben@x.test");
    let rest = store.group_members(ours, Some("ben@x.test"), 5).await.unwrap();
    assert_eq!((rest.len(), rest[0].email.as_str()), (1, "sam@x.test"));
    // What SCIM keeps is SCIM's.
    let theirs = scim.id;
    assert_eq!(edit(theirs, rename("mine")).await, Edited::Foreign);
    let join = GroupEdit { join: vec![id(1)], ..GroupEdit::default() };
    assert_eq!(edit(theirs, join).await, Edited::Foreign);
    assert_eq!(store.delete_group(theirs, &None).await.unwrap(), Edited::Foreign);
    let new = NewUser {
        id: id(5),
        email: "eve@x.test".into(),
        name: String::new(),
        roles: vec![],
        groups: vec!["scim".into()],
        given: Attributes::new(),
        now: NOW,
    };
    assert_eq!(store.create_user(&new, None).await.unwrap(), Edited::Absent);
    assert!(store.person(id(5)).await.unwrap().is_none());
    assert_eq!(store.delete_group(ours, &None).await.unwrap(), Edited::Done);
    assert_eq!(store.delete_group(ours, &None).await.unwrap(), Edited::Absent);
    assert_eq!(store.groups(Some("CI"), None, 5).await.unwrap().len(), 1);
    assert_eq!(store.groups(None, Some("scim"), 5).await.unwrap().len(), 0);
}
