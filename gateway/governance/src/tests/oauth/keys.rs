//! Signing keys: made once however many replicas want one, changed with an overlap, useless without the root key.

use std::collections::BTreeSet;

use super::super::house::House;
use super::{Flow, GATEWAY, refused, text};
use crate::oauth::ErrorCode;

fn kids(house: &House) -> Vec<BTreeSet<String>> {
    let of = |replica: &super::Replica| {
        let keys = replica.governance.oauth().jwks();
        let keys = keys["keys"].as_array().unwrap().clone();
        assert!(keys.iter().all(|key| key.get("d").is_none()), "no private half is published");
        keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    };
    vec![of(&house.a), of(&house.b)]
}

#[tokio::test]
async fn replicas_that_need_the_first_key_at_once_make_one() {
    let house = House::open().await;
    assert!(kids(&house).iter().all(BTreeSet::is_empty));
    let claims = serde_json::json!({});
    let mut racing = Vec::new();
    for _ in 0..10 {
        racing.push(house.a.governance.oauth().sign("test", &claims));
        racing.push(house.b.governance.oauth().sign("test", &claims));
    }
    let mut tokens = BTreeSet::new();
    for signing in racing {
        tokens.insert(signing.await.unwrap());
    }
    assert_eq!(tokens.len(), 1, "the same key signs the same");
    house.a.governance.refresh().await.unwrap();
    house.b.governance.refresh().await.unwrap();
    let kids = kids(&house);
    assert_eq!(kids[0].len(), 1);
    assert_eq!(kids[0], kids[1]);
}

#[tokio::test]
async fn a_key_is_published_before_it_signs_and_until_its_last_token_has_expired() {
    let flow = Flow::open().await;
    let house = &flow.house;
    let refresh = async || {
        house.a.governance.refresh().await.unwrap();
        house.b.governance.refresh().await.unwrap();
    };
    let first = flow.tokens(&[]).await;
    refresh().await;
    let before = kids(house)[0].clone();
    assert_eq!(before.len(), 1);
    let kid = |token: &str| {
        use base64::Engine;
        let head = token.split('.').next().unwrap();
        let head = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(head).unwrap();
        let head: serde_json::Value = serde_json::from_slice(&head).unwrap();
        head["kid"].as_str().unwrap().to_owned()
    };
    // A day before its end the successor is there, and does not sign.
    house.later(29 * 86_400 + 60).await;
    house.a.governance.oauth().keep_house().await;
    house.b.governance.oauth().keep_house().await;
    refresh().await;
    let both = kids(house);
    assert_eq!(both[0].len(), 2);
    assert_eq!(both[0], both[1]);
    let second = flow.refresh(&house.a, text(&first, "refresh_token"), &[]).await.unwrap();
    assert!(before.contains(&kid(text(&second, "access_token"))));
    // Then it signs, and what the old one signed still counts.
    house.later(86_400 - 120).await;
    let last = flow.refresh(&house.a, text(&second, "refresh_token"), &[]).await.unwrap();
    assert!(before.contains(&kid(text(&last, "access_token"))));
    house.later(120).await;
    let third = flow.refresh(&house.b, text(&last, "refresh_token"), &[]).await.unwrap();
    assert!(!before.contains(&kid(text(&third, "access_token"))));
    for tokens in [&last, &third] {
        flow.at(&house.a, text(tokens, "access_token"), GATEWAY).await.unwrap();
    }
    // At last the old one goes.
    house.later(26 * 3600).await;
    house.a.governance.oauth().keep_house().await;
    refresh().await;
    assert!(kids(house).iter().all(|kids| kids.is_disjoint(&before)));
}

#[tokio::test]
async fn a_flood_of_unknown_keys_asks_postgres_rarely_and_a_new_key_is_found() {
    let flow = Flow::open().await;
    let tokens = flow.tokens(&[]).await;
    let token = text(&tokens, "access_token");
    let (head, rest) = token.split_once('.').unwrap();
    let version = flow.house.b.governance.snapshot().generation;
    for number in 0..200 {
        use base64::Engine;
        let forged = format!(r#"{{"alg":"EdDSA","typ":"at+jwt","kid":"{number}"}}"#);
        let forged = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(forged);
        assert_ne!(forged, head);
        let refused = flow.at(&flow.house.b, &format!("{forged}.{rest}"), GATEWAY).await;
        assert!(refused.is_err());
    }
    // The catalogue changes once for the key; a flood does not make snapshots.
    assert!(flow.house.b.governance.snapshot().generation <= version + 1);
    flow.at(&flow.house.b, token, GATEWAY).await.unwrap();
}

#[tokio::test]
async fn housekeeping_removes_what_has_expired_and_nothing_else() {
    let flow = Flow::open().await;
    let kept = flow.tokens(&[]).await;
    let ended = flow.code(&[]).await;
    flow.redeem(&flow.house.a, &ended, &[]).await.unwrap();
    assert_eq!(refused(flow.redeem(&flow.house.a, &ended, &[]).await), ErrorCode::InvalidGrant);
    flow.code(&[]).await;
    let sweep = async |seconds: i64| {
        flow.house.later(seconds).await;
        let now = flow.house.a.governance.clock().now();
        flow.house.a.store.sweep_oauth(now).await.unwrap().unwrap()
    };
    assert_eq!(sweep(0).await, 0);
    // The session of the code that nobody redeemed.
    assert_eq!(sweep(61).await, 1);
    assert!(flow.refresh(&flow.house.a, text(&kept, "refresh_token"), &[]).await.is_ok());
    // The note that a session was ended, once its tokens have expired.
    assert_eq!(sweep(2 * 3600).await, 1);
    assert!(sweep(31 * 86_400).await >= 2);
    assert_eq!(sweep(0).await, 0);
}
