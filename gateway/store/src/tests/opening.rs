//! Opening and migrating: alone, together, with little power, with the wrong settings.

use secrecy::SecretString;

use crate::testing::{empty_database, server, settings, superuser};
use crate::{Store, StoreError, StoreSettings};

fn secret(url: &str) -> SecretString {
    SecretString::from(url.to_owned())
}

/// The same database, signed in as somebody else.
fn signed_in_as(url: &str, role: &str) -> String {
    url.replace("postgres://gateway@", &format!("postgres://{role}@"))
}

async fn own_database(owner: &str, power: &str) -> String {
    superuser(&format!("create role {owner} login {power}")).await;
    let url = empty_database().await;
    let name = url.split("localhost/").nth(1).unwrap().split('?').next().unwrap().to_owned();
    superuser(&format!("alter database {name} owner to {owner}")).await;
    superuser(&format!("grant connect on database {name} to public")).await;
    signed_in_as(&url, owner)
}

#[tokio::test]
async fn replicas_that_start_together_migrate_once() {
    let url = empty_database().await;
    let settings = settings(&url);
    let (a, b, c, d) = tokio::join!(
        Store::open(&settings),
        Store::open(&settings),
        Store::open(&settings),
        Store::open(&settings)
    );
    for opened in [a, b, c, d] {
        opened.unwrap().ping().await.unwrap();
    }
    Store::migrate(&settings).await.unwrap();
}

#[tokio::test]
async fn an_owner_without_superpowers_can_do_it_all() {
    let url = own_database("plain_owner", "createrole nosuperuser").await;
    let store = Store::open(&settings(&url)).await.unwrap();
    store.ping().await.unwrap();
    assert_eq!(store.load_catalogue().await.unwrap().servers.len(), 1);
}

#[tokio::test]
async fn an_owner_that_may_not_have_the_role_is_told_what_to_do() {
    // The role exists already: databases of one cluster share it.
    crate::testing::store().await;
    let url = own_database("weak_owner", "nocreaterole nosuperuser").await;
    let refused = Store::open(&settings(&url)).await.unwrap_err().to_string();
    assert!(refused.contains("GRANT gateway_app TO weak_owner"), "{refused}");
    superuser("grant gateway_app to weak_owner").await;
    Store::open(&settings(&url)).await.unwrap();
}

#[tokio::test]
async fn migrations_and_work_may_sign_in_differently() {
    let owner = empty_database().await;
    superuser("create role worker login").await;
    let worker = signed_in_as(&owner, "worker");
    let both = StoreSettings { migrate_url: Some(secret(&owner)), ..settings(&worker) };
    Store::open(&both).await.unwrap().ping().await.unwrap();
    let only_work = StoreSettings { migrate: false, ..settings(&worker) };
    Store::open(&only_work).await.unwrap().ping().await.unwrap();
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let unmigrated = empty_database().await;
    superuser("create role stranger login").await;
    let migrated = empty_database().await;
    Store::migrate(&settings(&migrated)).await.unwrap();
    let no_migration = |url: &str| StoreSettings { migrate: false, ..settings(url) };
    let nowhere = server().await.url(Some("nowhere"));
    for (settings, expected) in [
        (no_migration(&unmigrated), "gateway migrate"),
        (no_migration(&signed_in_as(&migrated, "stranger")), "GRANT gateway_app TO \"stranger\""),
        (no_migration(&nowhere), "nowhere"),
        (settings("mysql://root:hunter2@localhost/x"), "database.url: expected postgres://"),
        (settings("postgres://u:hunter2@host:port/x"), "database.url: not a usable"),
        (
            StoreSettings { migrate_url: Some(secret("hunter2")), ..settings(&migrated) },
            "database.migrate_url: expected postgres://",
        ),
    ] {
        let refused = Store::open(&settings).await.unwrap_err().to_string();
        assert!(refused.contains(expected), "{refused}");
        assert!(!refused.contains("hunter2"), "{refused}");
    }
}

#[tokio::test]
async fn nobody_listens_there() {
    let settings = settings("postgres://gateway@127.0.0.1:1/gateway");
    let refused = Store::open(&settings).await.unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable(_)), "{refused}");
}

#[tokio::test]
async fn without_a_url_the_private_postgres_serves_and_stops_with_the_last_store() {
    let parent = std::env::temp_dir().join(format!("gateway-store-{}", std::process::id()));
    let private = StoreSettings { url: None, data_dir: parent.clone(), ..settings("") };
    Store::migrate(&private).await.unwrap();
    let first = Store::open(&private).await.unwrap();
    let second = Store::open(&private).await.unwrap();
    first.close().await;
    second.ping().await.unwrap();
    let pid_file = parent.join("postgres/data/postmaster.pid");
    assert!(pid_file.exists());
    second.close().await;
    assert!(!pid_file.exists());
    std::fs::remove_dir_all(&parent).unwrap();
}
