//! What replicas share: the catalogue's version, notices, keys.

use std::time::Duration;

use gateway_core::ids::{KeyId, UserId};
use gateway_core::server::{RUNLAYER_ID, ServerStatus};
use sqlx::Executor;
use time::macros::datetime;
use uuid::Uuid;

use crate::api_key::StoredKey;
use crate::desired_state::{DesiredState, DesiredUser};
use crate::notify::{Notice, Notices};
use crate::private_postgres::PrivatePostgres;
use crate::testing::{settings, store};
use crate::{Store, StoreError, StoreSettings};

async fn next(notices: &mut Notices) -> Notice {
    tokio::time::timeout(Duration::from_secs(20), notices.next()).await.expect("a notice")
}

fn person(email: &str) -> DesiredUser {
    DesiredUser {
        email: email.into(),
        name: String::new(),
        roles: Vec::new(),
        groups: Vec::new(),
        active: true,
        attributes: None,
    }
}

fn key(number: u8, user: UserId) -> StoredKey {
    StoredKey {
        id: KeyId(Uuid::from_u128(number.into())),
        user,
        hash: [number; 32],
        name: format!("key {number}"),
        last_four: "abcd".into(),
        created_at: datetime!(2026-08-01 12:00:00.123456 UTC),
        expires_at: Some(datetime!(2026-09-01 12:00 UTC)),
        revoked_at: None,
    }
}

#[tokio::test]
async fn a_transaction_counts_once_and_a_change_of_nothing_not_at_all() {
    let store = store().await;
    let before = store.catalogue_version().await.unwrap();
    let users = ["a@x.test", "b@x.test", "c@x.test"].map(person).to_vec();
    let state = DesiredState { users, ..DesiredState::default() };
    store.apply(&state, false).await.unwrap();
    assert_eq!(store.catalogue_version().await.unwrap(), before + 1);
    store.apply(&state, true).await.unwrap();
    store.set_server_status(RUNLAYER_ID, ServerStatus::Active).await.unwrap();
    assert_eq!(store.catalogue_version().await.unwrap(), before + 1);
    let catalogue = store.load_catalogue().await.unwrap();
    assert_eq!((catalogue.version, catalogue.users.len()), (before + 1, 3));
}

#[tokio::test]
async fn a_change_on_one_replica_is_heard_on_another_also_after_a_cut() {
    let writer = store().await;
    let url = database_url(&writer).await;
    let reader = Store::open(&settings(&url)).await.unwrap();
    let mut notices = reader.listen();
    assert_eq!(next(&mut notices).await, Notice::Restored);
    let disabled = writer.set_server_status(RUNLAYER_ID, ServerStatus::Disabled).await.unwrap();
    assert_eq!(disabled, Some(ServerStatus::Active));
    let version = writer.catalogue_version().await.unwrap();
    assert_eq!(next(&mut notices).await, Notice::Catalogue(version));

    crate::testing::superuser(&format!(
        "select pg_terminate_backend(pid) from pg_stat_activity
          where query like 'LISTEN%' and datname = '{}'",
        database_name(&url)
    ))
    .await;
    assert_eq!(next(&mut notices).await, Notice::Cut);
    assert_eq!(next(&mut notices).await, Notice::Restored);
    writer.set_server_status(RUNLAYER_ID, ServerStatus::Active).await.unwrap();
    assert_eq!(next(&mut notices).await, Notice::Catalogue(version + 1));

    let closing = reader.clone();
    let (_, last) = tokio::join!(closing.close(), next(&mut notices));
    assert_eq!(last, Notice::Closed);
}

#[tokio::test]
async fn keys_come_back_as_stored_and_end_once() {
    let store = store().await;
    let users = ["a@x.test", "b@x.test"].map(person).to_vec();
    store.apply(&DesiredState { users, ..DesiredState::default() }, false).await.unwrap();
    let owner = store.user_by_email("A@X.test").await.unwrap().unwrap().id;
    let other = store.user_by_email("b@x.test").await.unwrap().unwrap().id;
    store.create_key(&key(1, owner)).await.unwrap();
    store.create_key(&key(2, other)).await.unwrap();
    assert_eq!(store.load_catalogue().await.unwrap().keys, [key(1, owner), key(2, other)]);
    assert_eq!(store.keys(Some(other)).await.unwrap(), [key(2, other)]);

    let (first, later) = (datetime!(2026-08-02 0:00 UTC), datetime!(2026-08-03 0:00 UTC));
    let id = key(1, owner).id;
    assert_eq!(store.revoke_key(id, Some(other), first).await.unwrap(), None);
    assert_eq!(store.keys(Some(owner)).await.unwrap()[0].revoked_at, None);
    for now in [first, later] {
        let revoked = store.revoke_key(id, Some(owner), now).await.unwrap().unwrap();
        assert_eq!(revoked.revoked_at, Some(first));
    }
    let absent = KeyId(Uuid::from_u128(9));
    assert_eq!(store.revoke_key(absent, None, first).await.unwrap(), None);
}

#[tokio::test]
async fn a_key_is_noted_as_used_once_a_minute_and_the_catalogue_stays_as_it_is() {
    let store = store().await;
    let users = ["a@x.test", "b@x.test"].map(person).to_vec();
    store.apply(&DesiredState { users, ..DesiredState::default() }, false).await.unwrap();
    let owner = store.user_by_email("a@x.test").await.unwrap().unwrap().id;
    let other = store.user_by_email("b@x.test").await.unwrap().unwrap().id;
    store.create_key(&key(1, owner)).await.unwrap();
    store.create_key(&key(2, other)).await.unwrap();
    let version = store.catalogue_version().await.unwrap();
    let (first, second) = (key(1, owner).id, key(2, other).id);
    let gone = KeyId(Uuid::from_u128(9));
    let noon = datetime!(2026-08-02 12:00 UTC);
    let after = |seconds: i64| noon + time::Duration::seconds(seconds);
    for (seconds, noted) in [(0, 0), (30, 0), (-90, 0), (59, 0), (60, 60), (3600, 3600)] {
        store.note_key_uses(&[(first, after(seconds)), (gone, noon)]).await.unwrap();
        let uses = store.key_uses(None).await.unwrap();
        assert_eq!(uses.into_iter().collect::<Vec<_>>(), [(first, after(noted))], "{seconds}");
    }
    store.note_key_uses(&[(second, noon)]).await.unwrap();
    assert_eq!(store.key_uses(Some(other)).await.unwrap(), [(second, noon)].into());
    store.note_key_uses(&[]).await.unwrap();
    assert_eq!(store.catalogue_version().await.unwrap(), version);
}

#[tokio::test]
async fn keys_of_nobody_and_doubled_hashes_are_refused() {
    let store = store().await;
    let nobody = UserId(Uuid::from_u128(7));
    let refused = store.create_key(&key(1, nobody)).await;
    assert!(matches!(refused, Err(StoreError::Invalid(_))), "{refused:?}");
    let users = vec![person("a@x.test")];
    store.apply(&DesiredState { users, ..DesiredState::default() }, false).await.unwrap();
    let owner = store.user_by_email("a@x.test").await.unwrap().unwrap().id;
    store.create_key(&key(1, owner)).await.unwrap();
    let twin = StoredKey { id: KeyId(Uuid::from_u128(2)), ..key(1, owner) };
    let refused = store.create_key(&twin).await;
    assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
}

#[tokio::test]
async fn a_postgres_that_was_killed_is_unavailable_until_it_is_back() {
    let dir = std::env::temp_dir().join(format!("gateway-killed-{}", std::process::id()));
    let server = PrivatePostgres::start(&dir).await.unwrap();
    let patience = Duration::from_millis(500);
    let settings = StoreSettings { acquire_timeout: patience, ..settings(&server.url(None)) };
    let store = Store::open(&settings).await.unwrap();
    let mut notices = store.listen();
    assert_eq!(next(&mut notices).await, Notice::Restored);
    let pid = server.pid().unwrap().to_string();
    std::process::Command::new("sh").args(["-c", "kill -9 $0", &pid]).status().unwrap();
    assert_eq!(next(&mut notices).await, Notice::Cut);
    let refused = store.ping().await.unwrap_err();
    assert!(refused.is_unavailable(), "{refused}");
    let refused = store.load_catalogue().await.unwrap_err();
    assert!(refused.is_unavailable(), "{refused}");

    let again = PrivatePostgres::start(&dir).await.unwrap();
    assert_eq!(next(&mut notices).await, Notice::Restored);
    store.load_catalogue().await.unwrap();
    // Also with a subscription that nobody reads any more.
    store.close().await;
    again.leave().await;
    server.leave().await;
    std::fs::remove_dir_all(&dir).unwrap();
}

async fn database_url(store: &Store) -> String {
    let name: String =
        sqlx::query_scalar("select current_database()").fetch_one(store.pool()).await.unwrap();
    crate::testing::server().await.url(Some(&name))
}

fn database_name(url: &str) -> &str {
    url.split("localhost/").nth(1).and_then(|rest| rest.split('?').next()).unwrap()
}

#[tokio::test]
async fn the_pool_acts_as_a_role_that_owns_nothing() {
    let store = store().await;
    let role: String =
        sqlx::query_scalar("select current_user::text").fetch_one(store.pool()).await.unwrap();
    assert_eq!(role, "gateway_app");
    for forbidden in [
        "create table mine (id int)",
        "drop table api_key",
        "alter table api_key add column x int",
        "truncate gateway_user",
        "delete from catalogue_version",
        "create role other",
        "update _sqlx_migrations set success = false",
    ] {
        let refused = store.pool().execute(forbidden).await.unwrap_err();
        let code = refused.as_database_error().and_then(|e| e.code().map(|c| c.into_owned()));
        assert_eq!(code.as_deref(), Some("42501"), "{forbidden}: {refused}");
    }
}
