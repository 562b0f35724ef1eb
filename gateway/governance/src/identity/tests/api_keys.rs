//! API keys: one form, one place, and nothing else opens.

use gateway_core::reason::Reason;
use gateway_core::{Clock, caller::AuthMethod};
use time::Duration;

use super::World;
use crate::identity::{Presented, new_api_key};
use crate::ports::SystemRandom;
use crate::testing::{key, root_key, snapshot, user};

fn world() -> (World, String) {
    let mut world = World::new();
    let (text, hash) = new_api_key(&root_key(), &SystemRandom::new());
    let bob = user(1, "bob@example.com");
    world.snapshot = snapshot(vec![bob.clone()], vec![key(7, &bob, hash)]);
    (world, text)
}

#[tokio::test]
async fn a_key_works_in_either_header() {
    let (world, key) = world();
    let by_header = Presented { api_key_header: Some(&key), ..Presented::default() };
    let caller = world.identity.identify(&world.snapshot, by_header).await.unwrap();
    assert_eq!(caller.user.email, "bob@example.com");
    assert_eq!(caller.auth, AuthMethod::ApiKey);
    assert!(!key.contains(&*caller.credential), "the credential's name is not the credential");
    for value in [format!("Bearer {key}"), format!("bearer {key}"), format!("BEARER  {key}")] {
        assert_eq!(world.authorization(&value).await.unwrap().user.email, "bob@example.com");
    }
}

#[tokio::test]
async fn bad_keys_are_refused_for_their_reason() {
    let (world, key) = world();
    let other = new_api_key(&root_key(), &SystemRandom::new()).0;
    let invalid = Reason::CredentialInvalid;
    let cases = [
        (other.clone(), invalid),
        (format!("{key}A"), invalid),
        (key[..key.len() - 1].to_owned(), invalid),
        (key.to_uppercase(), invalid),
        (key.replacen("rl_", "RL_", 1), invalid),
        (key.replacen("rl_", "", 1), invalid),
        (format!(" {key}"), invalid),
        (format!("{key} "), invalid),
        ("rl_".into(), invalid),
        (String::new(), invalid),
        ("rl_' or 1=1 --aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".into(), invalid),
        ("rl_äääääääääääääääääääääääääääääääääääääääääää".into(), invalid),
    ];
    for (bad, reason) in cases {
        let presented = Presented { api_key_header: Some(&bad), ..Presented::default() };
        let refused = world.identity.identify(&world.snapshot, presented).await.unwrap_err();
        assert_eq!(refused.reason, reason, "{bad:?}");
        let long = bad.len() > 8;
        assert!(!long || !refused.detail.contains(&bad), "the detail repeats the credential");
    }
}

#[tokio::test]
async fn a_changed_character_is_another_key() {
    let (world, key) = world();
    for i in 3..key.len() {
        let mut forged = key.clone().into_bytes();
        forged[i] = if forged[i] == b'A' { b'B' } else { b'A' };
        let forged = String::from_utf8(forged).unwrap();
        assert!(world.bearer(&forged).await.is_err(), "character {i}");
    }
}

#[tokio::test]
async fn headers_are_read_strictly() {
    let (world, key) = world();
    for value in [
        key.clone(),
        "Bearer".into(),
        "Bearer ".into(),
        format!("Basic {key}"),
        format!("Bearer {key} {key}"),
        format!("Bearer {key},{key}"),
        format!("Bearer\t{key}"),
        format!("Bearer \"{key}\""),
        "\u{fffd}".into(),
        format!("Bearer {}", "a".repeat(17_000)),
    ] {
        let refused = world.authorization(&value).await.unwrap_err();
        assert_eq!(refused.reason, Reason::CredentialInvalid, "{value:?}");
    }
    let both = Presented {
        api_key_header: Some(&key),
        authorization: Some("Bearer x"),
        ..Presented::default()
    };
    let refused = world.identity.identify(&world.snapshot, both).await.unwrap_err();
    assert_eq!(refused.reason, Reason::CredentialAmbiguous);
    let none = world.identity.identify(&world.snapshot, Presented::default()).await.unwrap_err();
    assert_eq!(none.reason, Reason::CredentialMissing);
}

#[tokio::test]
async fn ended_keys_and_people_are_out() {
    let (mut world, text) = world();
    let bob = user(1, "bob@example.com");
    let hash = gateway_core::keys::keyed_hash(
        &root_key().derive(gateway_core::keys::Purpose::ApiKey),
        text.as_bytes(),
    );
    let now = world.clock.now();
    let good = key(7, &bob, hash);
    let mut revoked = good.clone();
    revoked.revoked_at = Some(now - Duration::SECOND);
    let mut expiring = good.clone();
    expiring.expires_at = Some(now + Duration::SECOND);
    let mut inactive = bob.clone();
    inactive.active = false;
    let cases = [
        (vec![bob.clone()], good.clone(), None),
        (vec![bob.clone()], revoked, Some(Reason::CredentialInvalid)),
        (vec![inactive], good.clone(), Some(Reason::CredentialInvalid)),
        (vec![], good, Some(Reason::CredentialInvalid)),
        (vec![bob.clone()], expiring.clone(), None),
    ];
    for (users, key, expected) in cases {
        world.snapshot = snapshot(users, vec![key.clone()]);
        let got = world.bearer(&text).await.err();
        assert_eq!(got.as_ref().map(|refused| refused.reason), expected, "{key:?}");
        if let Some(refused) = got {
            assert_eq!(refused.hint, Some(key.id.to_string()));
        }
    }
    world.clock.advance(1);
    world.snapshot = snapshot(vec![bob], vec![expiring]);
    assert_eq!(world.bearer(&text).await.unwrap_err().reason, Reason::CredentialExpired);
}

#[tokio::test]
async fn another_root_key_opens_nothing() {
    let (world, text) = world();
    let other = World::with(|settings| {
        let bytes: Vec<u8> = (0..32u8).map(|i| i.wrapping_mul(91) ^ 0x3C).collect();
        settings.root_key = gateway_core::keys::RootKey::new(&bytes).unwrap();
    });
    let presented = Presented { api_key_header: Some(&text), ..Presented::default() };
    assert!(other.identity.identify(&world.snapshot, presented).await.is_err());
}
