//! Tokens: each vector spoils one thing of a good token, and none gets in (security.md D1).

use gateway_core::caller::AuthMethod;
use gateway_core::reason::Reason;
use serde_json::{Value, json};

use super::issuer::{FOREIGN, KEYS, claims, encode, header, raw_token, token};
use super::{AUDIENCE, ISSUER, World};
use crate::identity::Presented;
use crate::testing::START;

fn with(mut value: Value, name: &str, to: Value) -> Value {
    value[name] = to;
    value
}

fn without(mut value: Value, name: &str) -> Value {
    value.as_object_mut().unwrap().remove(name);
    value
}

#[tokio::test]
async fn good_tokens_are_taken() {
    let world = World::new();
    for alg in ["EdDSA", "ES256", "RS256"] {
        let caller = world.bearer(&token(&header(alg), &claims())).await.unwrap();
        assert_eq!(caller.user.email, "bob@example.com", "{alg}");
        assert_eq!(caller.auth, AuthMethod::Jwt);
        assert_eq!(&*caller.credential, ISSUER);
    }
    let h = || header("EdDSA");
    let id = json!("00000000-0000-0000-0000-000000000001");
    for (header, claims) in [
        (without(h(), "typ"), claims()),
        (with(h(), "typ", json!("JWT")), claims()),
        (with(h(), "typ", json!("application/at+jwt")), claims()),
        (without(h(), "kid"), claims()),
        (h(), with(claims(), "aud", json!([AUDIENCE]))),
        (h(), with(claims(), "sub", json!("BOB@Example.com"))),
        (h(), with(claims(), "sub", id)),
        (h(), with(claims(), "exp", json!(START as f64 + 1.5))),
        (h(), with(claims(), "nbf", json!(START + 30))),
        (h(), without(claims(), "iat")),
        (h(), with(claims(), "typ", json!("Bearer"))),
        (h(), with(claims(), "token_use", json!("access"))),
        (
            h(),
            json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "idp|123", "exp": START + 1,
                "email": "Bob@example.com", "email_verified": true}),
        ),
    ] {
        let caller = world.bearer(&token(&header, &claims)).await;
        assert_eq!(caller.map(|c| c.user.email.clone()), Ok("bob@example.com".into()), "{claims}");
    }
}

/// Every one of these is a token signed by the issuer's own key, save one thing.
fn spoiled() -> Vec<(&'static str, Value, Value)> {
    let h = || header("EdDSA");
    let c = claims;
    let jwk = KEYS.jwk("EdDSA");
    vec![
        ("alg none", with(h(), "alg", json!("none")), c()),
        ("alg None", with(h(), "alg", json!("None")), c()),
        ("alg empty", with(h(), "alg", json!("")), c()),
        ("alg missing", without(h(), "alg"), c()),
        ("alg null", with(h(), "alg", Value::Null), c()),
        ("alg number", with(h(), "alg", json!(1)), c()),
        ("alg array", with(h(), "alg", json!(["EdDSA"])), c()),
        ("alg lower case", with(h(), "alg", json!("eddsa")), c()),
        ("alg HS256", with(h(), "alg", json!("HS256")), c()),
        ("alg HS512", with(h(), "alg", json!("HS512")), c()),
        ("alg RS512", with(h(), "alg", json!("RS512")), c()),
        ("alg PS256", with(h(), "alg", json!("PS256")), c()),
        ("alg ES384", with(h(), "alg", json!("ES384")), c()),
        ("alg of another key", with(header("ES256"), "kid", json!("ed")), c()),
        ("kid unknown", with(h(), "kid", json!("nobody")), c()),
        ("kid empty", with(h(), "kid", json!("")), c()),
        ("kid number", with(h(), "kid", json!(7)), c()),
        ("kid path", with(h(), "kid", json!("../../dev/null")), c()),
        ("kid sql", with(h(), "kid", json!("x' union select 'k")), c()),
        ("jwk", with(h(), "jwk", jwk), c()),
        ("jku", with(h(), "jku", json!("https://evil.example.com/keys")), c()),
        ("x5u", with(h(), "x5u", json!("https://evil.example.com/cert")), c()),
        ("x5c", with(h(), "x5c", json!(["AA=="])), c()),
        ("crit", with(h(), "crit", json!(["exp"])), c()),
        ("crit empty", with(h(), "crit", json!([])), c()),
        ("b64 false", with(h(), "b64", json!(false)), c()),
        ("zip", with(h(), "zip", json!("DEF")), c()),
        ("typ dpop", with(h(), "typ", json!("dpop+jwt")), c()),
        ("typ logout", with(h(), "typ", json!("logout+jwt")), c()),
        ("typ id token", with(h(), "typ", json!("id_token+jwt")), c()),
        ("typ number", with(h(), "typ", json!(1)), c()),
        ("iss missing", h(), without(c(), "iss")),
        ("iss other", h(), with(c(), "iss", json!("https://evil.example.com"))),
        ("iss trailing slash", h(), with(c(), "iss", json!(format!("{ISSUER}/")))),
        ("iss upper case", h(), with(c(), "iss", json!(ISSUER.to_uppercase()))),
        ("iss prefix", h(), with(c(), "iss", json!(format!("{ISSUER}.evil.example.com")))),
        ("iss array", h(), with(c(), "iss", json!([ISSUER]))),
        ("aud missing", h(), without(c(), "aud")),
        ("aud other", h(), with(c(), "aud", json!("https://other.example.com"))),
        ("aud of a client", h(), with(c(), "aud", json!("client-1"))),
        ("aud trailing slash", h(), with(c(), "aud", json!(format!("{AUDIENCE}/")))),
        ("aud one of two", h(), with(c(), "aud", json!([AUDIENCE, "https://other.example.com"]))),
        ("aud last of two", h(), with(c(), "aud", json!(["https://other.example.com", AUDIENCE]))),
        ("aud empty array", h(), with(c(), "aud", json!([]))),
        ("aud nested", h(), with(c(), "aud", json!([[AUDIENCE]]))),
        ("aud object", h(), with(c(), "aud", json!({"0": AUDIENCE}))),
        ("aud empty", h(), with(c(), "aud", json!(""))),
        ("aud null", h(), with(c(), "aud", Value::Null)),
        ("aud joined", h(), with(c(), "aud", json!(format!("{AUDIENCE} other")))),
        ("sub missing", h(), without(c(), "sub")),
        ("sub empty", h(), with(c(), "sub", json!(""))),
        ("sub number", h(), with(c(), "sub", json!(1))),
        ("sub unknown", h(), with(c(), "sub", json!("mallory@example.com"))),
        ("sub deactivated", h(), with(c(), "sub", json!("gone@example.com"))),
        ("exp missing", h(), without(c(), "exp")),
        ("exp text", h(), with(c(), "exp", json!(format!("{}", START + 300)))),
        ("exp null", h(), with(c(), "exp", Value::Null)),
        ("exp negative", h(), with(c(), "exp", json!(-1))),
        ("exp huge", h(), with(c(), "exp", json!(1e300))),
        ("exp array", h(), with(c(), "exp", json!([START + 300]))),
        ("nbf far", h(), with(c(), "nbf", json!(START + 120))),
        ("nbf text", h(), with(c(), "nbf", json!("0"))),
        ("iat far", h(), with(c(), "iat", json!(START + 120))),
        ("iat text", h(), with(c(), "iat", json!("now"))),
        ("id token: nonce", h(), with(c(), "nonce", json!("n"))),
        ("id token: at_hash", h(), with(c(), "at_hash", json!("h"))),
        ("id token: token_use", h(), with(c(), "token_use", json!("id"))),
        ("id token: typ", h(), with(c(), "typ", json!("ID"))),
        ("refresh token", h(), with(c(), "typ", json!("Refresh"))),
        ("logout token", h(), with(c(), "events", json!({}))),
        ("email unverified", h(), unverified(json!(false))),
        ("email verified as text", h(), unverified(json!("true"))),
        ("email verified as number", h(), unverified(json!(1))),
        ("email number", h(), with(c(), "email", json!(1))),
        (
            "email of nobody wins over sub",
            h(),
            with(unverified(json!(true)), "email", json!("mallory@example.com")),
        ),
    ]
}

fn unverified(verified: Value) -> Value {
    with(with(claims(), "email", json!("bob@example.com")), "email_verified", verified)
}

#[tokio::test]
async fn spoiled_tokens_are_refused() {
    let vectors = spoiled();
    assert!(vectors.len() >= 60);
    for (name, header, claims) in vectors {
        let world = World::new();
        let refused = world.bearer(&token(&header, &claims)).await.unwrap_err();
        assert_eq!(refused.reason.status(), 401, "{name}");
        let expired = name == "exp negative";
        let reason = if expired { Reason::CredentialExpired } else { Reason::CredentialInvalid };
        assert_eq!(refused.reason, reason, "{name}: {}", refused.detail);
        // The same token does not become good by being shown again.
        assert!(world.bearer(&token(&header, &claims)).await.is_err(), "{name}, again");
    }
}

#[tokio::test]
async fn malformed_and_forged_tokens_are_refused() {
    let (h, c) = (header("EdDSA").to_string(), claims().to_string());
    let good = raw_token(&KEYS, &h, &c);
    let [head, body, signature]: [&str; 3] =
        good.split('.').collect::<Vec<_>>().try_into().unwrap();
    let hmac_head = encode(br#"{"alg":"HS256","typ":"JWT","kid":"rsa"}"#);
    let hmac_message = format!("{hmac_head}.{body}");
    let hmac = |key: &[u8]| {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key);
        encode(ring::hmac::sign(&key, hmac_message.as_bytes()).as_ref())
    };
    let doubled = format!(r#"{},"sub":"eve@example.com"}}"#, &c[..c.len() - 1]);
    let escaped = c.replace("\"exp\"", "\"e\\u0078p\"").replace('}', ",\"exp\":9999999999}");
    let forged_body = encode(c.replace("bob@", "eve@").as_bytes());
    let es_as_ed = raw_token(&KEYS, &header("ES256").to_string(), &c);
    let es_signature = es_as_ed.rsplit('.').next().unwrap();
    let vectors = vec![
        ("empty", "x".to_owned()),
        ("two parts", format!("{head}.{body}")),
        ("four parts", format!("{good}.{signature}")),
        ("five parts, as JWE", format!("{head}.{body}.{body}.{body}.{signature}")),
        ("no signature", format!("{head}.{body}.")),
        ("signature cut", format!("{head}.{body}.{}", &signature[..40])),
        ("signature of zeros", format!("{head}.{body}.{}", encode(&[0; 64]))),
        ("signature padded", format!("{good}==")),
        ("foreign key", raw_token(&FOREIGN, &h, &c)),
        ("foreign ES256 key", raw_token(&FOREIGN, &header("ES256").to_string(), &c)),
        ("body exchanged", format!("{head}.{forged_body}.{signature}")),
        ("header exchanged", format!("{}.{body}.{signature}", encode(br#"{"alg":"EdDSA"}"#))),
        ("signature of another algorithm", format!("{head}.{body}.{es_signature}")),
        ("HS256 with the RSA modulus", format!("{hmac_message}.{}", hmac(KEYS.rsa_n().as_bytes()))),
        ("HS256 with the Ed25519 key", format!("{hmac_message}.{}", hmac(KEYS.ed_x().as_bytes()))),
        ("HS256 with nothing", format!("{hmac_message}.{}", hmac(b""))),
        ("none without signature", format!("{}.{body}.", encode(br#"{"alg":"none"}"#))),
        ("claims doubled", raw_token(&KEYS, &h, &doubled)),
        ("claims doubled by escape", raw_token(&KEYS, &h, &escaped)),
        ("header doubled", raw_token(&KEYS, r#"{"alg":"EdDSA","alg":"EdDSA","kid":"ed"}"#, &c)),
        ("claims array", raw_token(&KEYS, &h, "[]")),
        ("claims text", raw_token(&KEYS, &h, "\"bob\"")),
        ("claims broken", raw_token(&KEYS, &h, "{")),
        ("claims with more behind", raw_token(&KEYS, &h, &format!("{c}{c}"))),
        ("claims with a BOM", raw_token(&KEYS, &h, &format!("\u{feff}{c}"))),
        ("header no JSON", raw_token(&KEYS, "x", &c)),
        ("standard base64", good.replace('.', "+.")),
        ("dots only", "..".into()),
    ];
    for (name, token) in vectors {
        let refused = World::new().bearer(&token).await.unwrap_err();
        assert_eq!(refused.reason, Reason::CredentialInvalid, "{name}: {}", refused.detail);
        assert!(!refused.detail.contains(signature), "{name}");
    }
    // And none of that is because the world is broken.
    assert!(World::new().bearer(&good).await.is_ok());
}

#[tokio::test]
async fn a_token_for_one_server_is_none_for_another() {
    let world = World::new();
    let at = |server: &str| format!("https://gw.example.com/api/v1/proxy/{server}/mcp");
    let token = token(&header("EdDSA"), &with(claims(), "aud", json!(at("a"))));
    let value = format!("Bearer {token}");
    for (resource, good) in [(at("a"), true), (at("b"), false), (at("a"), true), ("".into(), false)]
    {
        let presented =
            Presented { authorization: Some(&value), resource: &resource, ..Presented::default() };
        let got = world.identity.identify(&world.snapshot, presented).await;
        assert_eq!(got.is_ok(), good, "{resource}");
    }
}

#[tokio::test]
async fn any_changed_byte_breaks_a_token() {
    let world = World::new();
    let good = token(&header("EdDSA"), &claims());
    for i in 0..good.len() {
        let mut forged = good.clone().into_bytes();
        forged[i] = if forged[i] == b'A' { b'B' } else { b'A' };
        let forged = String::from_utf8(forged).unwrap();
        assert!(world.bearer(&forged).await.is_err(), "byte {i}");
    }
}

#[tokio::test]
async fn tokens_expire_while_remembered() {
    let world = World::new();
    let token = token(&header("EdDSA"), &claims());
    assert!(world.bearer(&token).await.is_ok());
    world.clock.advance(299);
    assert!(world.bearer(&token).await.is_ok());
    world.clock.advance(1);
    let refused = world.bearer(&token).await.unwrap_err();
    assert_eq!(refused.reason, Reason::CredentialExpired);
    assert_eq!(refused.hint.as_deref(), Some(ISSUER));
}

#[tokio::test]
async fn deactivation_bites_although_the_token_is_remembered() {
    let mut world = World::new();
    let token = token(&header("EdDSA"), &claims());
    assert!(world.bearer(&token).await.is_ok());
    let mut bob = crate::testing::user(1, "bob@example.com");
    bob.active = false;
    world.snapshot = crate::testing::snapshot(vec![bob], vec![]);
    assert_eq!(world.bearer(&token).await.unwrap_err().reason, Reason::CredentialInvalid);
}

#[tokio::test]
async fn an_operator_may_choose_the_claim_and_ask_for_more() {
    let world = World::with(|settings| {
        settings.issuers[0].email_claim = "upn".into();
        settings.issuers[0].required_claims = vec!["tenant".into()];
    });
    let h = header("EdDSA");
    let full = json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "eve@example.com", "exp": START + 9,
        "upn": "bob@example.com", "tenant": "t1"});
    let caller = world.bearer(&token(&h, &full)).await.unwrap();
    assert_eq!(caller.user.email, "bob@example.com");
    for missing in ["upn", "tenant"] {
        let refused = world.bearer(&token(&h, &without(full.clone(), missing))).await.unwrap_err();
        assert!(refused.detail.contains(missing), "{}", refused.detail);
    }
}
