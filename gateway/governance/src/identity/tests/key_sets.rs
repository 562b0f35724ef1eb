//! Key sets: found, rotated, flooded with unknown key ids (security.md D2, B9).

use gateway_core::Clock;
use serde_json::{Value, json};

use super::issuer::{FOREIGN, KEYS, claims, header, raw_token, token};
use super::{ISSUER, JWKS, World};

fn good() -> String {
    token(&header("EdDSA"), &claims())
}

/// The issuer's token of a key that it publishes as `kid`.
fn of_new_key(kid: &str) -> (String, Value) {
    let mut jwk = FOREIGN.jwk("EdDSA");
    jwk["kid"] = json!(kid);
    let header = json!({"alg": "EdDSA", "kid": kid}).to_string();
    (raw_token(&FOREIGN, &header, &claims().to_string()), jwk)
}

fn jwks_with(more: &[Value]) -> String {
    let mut jwks = KEYS.jwks();
    jwks["keys"].as_array_mut().unwrap().extend(more.iter().cloned());
    jwks.to_string()
}

#[tokio::test]
async fn keys_are_read_once() {
    let world = World::new();
    for _ in 0..5 {
        assert!(world.bearer(&good()).await.is_ok());
    }
    assert_eq!((world.net.times(JWKS), world.net.requests()), (1, 2));
}

#[tokio::test]
async fn many_at_once_share_one_read() {
    let world = World::new();
    let tokens: Vec<_> = (0..200)
        .map(|i| {
            let mut claims = claims();
            claims["jti"] = json!(i);
            token(&header("EdDSA"), &claims)
        })
        .collect();
    let world = &world;
    let all = together(tokens.iter().map(|token| world.bearer(token))).await;
    assert!(all.into_iter().all(|ok| ok));
    assert_eq!(world.net.times(JWKS), 1);
}

/// Polls all of them together.
async fn together<F, T, E>(all: impl Iterator<Item = F>) -> Vec<bool>
where
    F: Future<Output = Result<T, E>>,
{
    let mut all: Vec<_> = all.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        for (future, done) in &mut all {
            if done.is_none()
                && let std::task::Poll::Ready(result) = future.as_mut().poll(context)
            {
                *done = Some(result.is_ok());
            }
        }
        if all.iter().all(|(_, done)| done.is_some()) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    all.into_iter().map(|(_, done)| done == Some(true)).collect()
}

#[tokio::test]
async fn a_new_key_is_found_at_once() {
    let world = World::new();
    assert!(world.bearer(&good()).await.is_ok());
    let (rotated, jwk) = of_new_key("new");
    world.net.put(JWKS, jwks_with(&[jwk]));
    assert!(world.bearer(&rotated).await.is_ok(), "the first refetch needs no pause");
    assert!(world.bearer(&good()).await.is_ok());
    assert_eq!(world.net.times(JWKS), 2);
}

#[tokio::test]
async fn a_flood_of_unknown_keys_is_no_flood_for_the_issuer() {
    let world = World::new();
    assert!(world.bearer(&good()).await.is_ok());
    for i in 0..300 {
        assert!(world.bearer(&of_new_key(&format!("k{i}")).0).await.is_err());
        assert!(world.bearer(&good()).await.is_ok(), "good tokens go on");
    }
    assert_eq!(world.net.times(JWKS), 2, "one read, one refetch");
    world.clock.advance(30);
    for i in 0..100 {
        assert!(world.bearer(&of_new_key(&format!("k{i}")).0).await.is_err());
    }
    assert_eq!(world.net.times(JWKS), 3);
}

#[tokio::test]
async fn an_issuer_that_is_away_takes_nothing_with_it() {
    let world = World::new();
    assert!(world.bearer(&good()).await.is_ok());
    world.net.remove(JWKS);
    world.clock.advance(100);
    assert!(world.bearer(&of_new_key("k").0).await.is_err());
    assert!(world.bearer(&good()).await.is_ok());
    world.identity.issuers[0].keep_current(&*world.net, world.clock.now()).await;
    let mut fresh = claims();
    fresh["jti"] = json!("not remembered");
    assert!(world.bearer(&token(&header("EdDSA"), &fresh)).await.is_ok());
}

#[tokio::test]
async fn a_first_read_that_failed_is_tried_again() {
    let world = World::new();
    world.net.remove(JWKS);
    assert!(world.bearer(&good()).await.is_err());
    super::issuer::publish(&world.net);
    assert!(world.bearer(&good()).await.is_err(), "not at once");
    world.clock.advance(5);
    assert!(world.bearer(&good()).await.is_ok());
}

#[tokio::test]
async fn a_withdrawn_key_stops_working() {
    let world = World::new();
    let (rotated, jwk) = of_new_key("old");
    world.net.put(JWKS, jwks_with(&[jwk]));
    assert!(world.bearer(&rotated).await.is_ok());
    world.net.put(JWKS, KEYS.jwks().to_string());
    let mut lasting = claims();
    lasting["exp"] = json!(crate::testing::START + 10_000);
    let header = json!({"alg": "EdDSA", "kid": "old"}).to_string();
    let lasting = raw_token(&FOREIGN, &header, &lasting.to_string());
    assert!(world.bearer(&lasting).await.is_ok());
    world.clock.advance(599);
    let issuer = &world.identity.issuers[0];
    issuer.keep_current(&*world.net, world.clock.now()).await;
    assert!(world.bearer(&lasting).await.is_ok(), "the keys are not old yet");
    world.clock.advance(1);
    issuer.keep_current(&*world.net, world.clock.now()).await;
    assert!(world.bearer(&lasting).await.is_err(), "although the token was remembered");
}

#[tokio::test]
async fn discovery_must_name_the_issuer() {
    let url = format!("{ISSUER}/.well-known/openid-configuration");
    let fallback = format!("{ISSUER}/.well-known/oauth-authorization-server");
    let right = json!({"issuer": ISSUER, "jwks_uri": JWKS}).to_string();
    let cases = [
        (json!({"issuer": "https://evil.example.com", "jwks_uri": JWKS}).to_string(), false),
        (json!({"issuer": format!("{ISSUER}/"), "jwks_uri": JWKS}).to_string(), false),
        (json!({"jwks_uri": JWKS}).to_string(), false),
        (json!({"issuer": ISSUER}).to_string(), false),
        (json!({"issuer": ISSUER, "jwks_uri": "http://idp.example.com/keys"}).to_string(), false),
        (json!({"issuer": ISSUER, "jwks_uri": "keys"}).to_string(), false),
        ("<html>".into(), false),
        (right.clone(), true),
    ];
    for (document, good_token) in cases {
        let world = World::new();
        world.net.put(&url, document.clone());
        assert_eq!(world.bearer(&good()).await.is_ok(), good_token, "{document}");
    }
    let world = World::new();
    world.net.remove(&url);
    world.net.put(&fallback, right);
    assert!(world.bearer(&good()).await.is_ok(), "RFC 8414 where there is no OpenID document");
}

#[tokio::test]
async fn unusable_keys_are_skipped() {
    let ed = KEYS.jwk("EdDSA");
    let change = |name: &str, to: Value| {
        let mut jwk = ed.clone();
        jwk[name] = to;
        jwk
    };
    let symmetric = json!({"kty": "oct", "kid": "ed", "k": KEYS.ed_x()});
    for unusable in [
        change("use", json!("enc")),
        change("key_ops", json!(["sign"])),
        change("alg", json!("ES256")),
        change("crv", json!("X25519")),
        change("crv", json!("Ed448")),
        change("kty", json!("EC")),
        change("x", json!("AAAA")),
        change("x", json!(1)),
        change("kid", json!("other")),
        symmetric,
    ] {
        let world = World::new();
        world.net.put(JWKS, json!({"keys": [unusable, KEYS.jwk("ES256")]}).to_string());
        assert!(world.bearer(&good()).await.is_err(), "{unusable}");
        assert!(world.bearer(&token(&header("ES256"), &claims())).await.is_ok());
    }
    for document in ["{}", "[]", "{\"keys\":{}}", "{\"keys\":[]}", "{\"keys\":[],\"keys\":[]}", ""]
    {
        let world = World::new();
        world.net.put(JWKS, document);
        assert!(world.bearer(&good()).await.is_err(), "{document}");
    }
}

#[tokio::test]
async fn weak_rsa_keys_are_not_taken() {
    let world = World::new();
    let mut weak = KEYS.jwk("RS256");
    weak["n"] = json!(super::issuer::encode(&[0xFF; 128]));
    world.net.put(JWKS, json!({"keys": [weak]}).to_string());
    assert!(world.bearer(&token(&header("RS256"), &claims())).await.is_err());
}

#[tokio::test]
async fn the_key_set_is_bounded() {
    let world = World::new();
    let padding = "x".repeat(600_000);
    world.net.put(JWKS, json!({"keys": [KEYS.jwk("EdDSA")], "padding": padding}).to_string());
    assert!(world.bearer(&good()).await.is_err());
}
