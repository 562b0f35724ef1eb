//! The vault: rows that are put in another's place do not open, and keys change without anybody noticing.

use std::sync::Arc;

use gateway_core::ids::{ServerId, UserId};
use gateway_store::vault::Sealed;
use secrecy::ExposeSecret;
use uuid::Uuid;

use super::house::House;
use crate::vault::{Bound, Vault, VaultError, WrappingKeys};
use crate::{SystemClock, SystemRandom};

const ISSUER: &str = "https://as.test";

fn keys(current: u8, previous: Option<u8>) -> WrappingKeys {
    WrappingKeys { current: [current; 32], previous: previous.map(|key| [key; 32]) }
}

async fn open(house: &House, keys: &WrappingKeys) -> Result<Vault, VaultError> {
    let sources = (Arc::new(SystemClock) as _, Arc::new(SystemRandom::new()) as _);
    Vault::open(house.a.store.clone(), keys, sources).await
}

async fn opens(vault: &Vault, bound: Bound<'_>, sealed: &Sealed) -> bool {
    let opened = vault.open_sealed(bound, sealed).await;
    opened.is_ok_and(|plain| plain.expose_secret() == b"secret")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sealed_opens_for_its_person_server_and_issuer_only() {
    let house = House::open().await;
    let vault = open(&house, &keys(1, None)).await.unwrap();
    let (user, server) = (UserId(Uuid::from_u128(1)), ServerId(Uuid::from_u128(2)));
    let mine = Bound::Connection(user, server, ISSUER);
    let sealed = vault.seal(mine, b"secret").await.unwrap();
    assert!(opens(&vault, mine, &sealed).await);
    let (other_user, other_server) = (UserId(Uuid::from_u128(3)), ServerId(Uuid::from_u128(4)));
    for (what, bound) in [
        ("another person", Bound::Connection(other_user, server, ISSUER)),
        ("another server", Bound::Connection(user, other_server, ISSUER)),
        ("another issuer", Bound::Connection(user, server, "https://as.test/")),
        ("no issuer", Bound::Connection(user, server, "")),
        ("ids swapped", Bound::Connection(UserId(server.0), ServerId(user.0), ISSUER)),
        ("an attempt", Bound::Attempt(user, server, ISSUER)),
        ("a client", Bound::Client(server, ISSUER)),
    ] {
        assert!(!opens(&vault, bound, &sealed).await, "{what}");
    }
    for at in 0..sealed.text.len() {
        let mut text = sealed.text.clone().into_bytes();
        text[at] = if text[at] == b'A' { b'B' } else { b'A' };
        let forged = Sealed { text: String::from_utf8(text).unwrap(), ..sealed.clone() };
        assert!(!opens(&vault, mine, &forged).await, "byte {at}");
    }
    let unknown = Sealed { key: gateway_core::ids::VaultKeyId(Uuid::from_u128(9)), ..sealed };
    assert!(!opens(&vault, mine, &unknown).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wrapping_key_changes_under_running_replicas() {
    let house = House::open().await;
    let old = open(&house, &keys(1, None)).await.unwrap();
    let (user, server) = (UserId(Uuid::from_u128(1)), ServerId(Uuid::from_u128(2)));
    let mine = Bound::Connection(user, server, ISSUER);
    let sealed = old.seal(mine, b"secret").await.unwrap();
    let refused = open(&house, &keys(2, None)).await;
    assert!(matches!(refused, Err(VaultError::Locked(_))), "a wrong key is noticed at once");
    let between = open(&house, &keys(2, Some(1))).await.unwrap();
    assert!(opens(&between, mine, &sealed).await);
    // What the new one seals with the old data key, the old replica opens.
    let fresh = between.seal(mine, b"secret").await.unwrap();
    assert!(opens(&old, mine, &fresh).await);
    between.rotate().await.unwrap();
    let after = between.seal(mine, b"secret").await.unwrap();
    assert_ne!(after.key, sealed.key);
    let new = open(&house, &keys(2, None)).await.unwrap();
    assert!(opens(&new, mine, &after).await);
    assert!(matches!(open(&house, &keys(1, None)).await, Err(VaultError::Locked(_))));
}
