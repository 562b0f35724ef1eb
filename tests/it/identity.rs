//! Who calls: every bad credential is refused on every address, and not one byte goes upstream (F1).

use gateway_tests::idp::{Algorithm, IdentityProvider};
use gateway_tests::rig::{Rig, Setup, check};

use serde_json::{Value, json};

const AUDIENCE: &str = "https://mcp.example.com";

fn setup(provider: &IdentityProvider) -> Setup {
    let issuer = provider.issuer();
    let config =
        format!("[[identity.issuers]]\nissuer = \"{issuer}\"\naudience = \"{AUDIENCE}\"\n");
    Setup { config, ..Setup::default() }
}

#[tokio::test]
async fn tokens_of_a_configured_issuer_are_accepted() {
    let provider = IdentityProvider::start().await;
    check(setup(&provider), async |rig| {
        for algorithm in [Algorithm::EdDsa, Algorithm::Es256] {
            let token = provider.token(algorithm, "bob@example.com", AUDIENCE);
            let bob = rig.stranger("fake", Some(&token));
            let reply = bob.call("echo", json!({})).await;
            assert_eq!(reply.status, 200, "{algorithm:?}: {:?}", reply.body);
            rig.secrets.push(token);
        }
        assert_eq!(provider.fetches(), 1, "one key set serves them all");
    })
    .await;
}

/// Tokens that must not pass, each with what is wrong about it.
fn bad_tokens(provider: &IdentityProvider) -> Vec<(&'static str, String)> {
    let good = provider.claims("bob@example.com", AUDIENCE);
    let with = |key: &str, value: Value| {
        let mut claims = good.clone();
        claims[key] = value;
        let header = provider.header(Algorithm::Es256);
        provider.sign(Algorithm::Es256, &header, &claims)
    };
    let without = |key: &str| {
        let mut claims = good.clone();
        if let Some(map) = claims.as_object_mut() {
            map.remove(key);
        }
        provider.sign(Algorithm::Es256, &provider.header(Algorithm::Es256), &claims)
    };
    let headed = |key: &str, value: Value| {
        let mut header = provider.header(Algorithm::Es256);
        header[key] = value;
        provider.sign(Algorithm::Es256, &header, &good)
    };
    let token = provider.token(Algorithm::Es256, "bob@example.com", AUDIENCE);
    let parts: Vec<&str> = token.split('.').collect();
    vec![
        ("expired", with("exp", json!(1_000_000_000))),
        ("exp as text", with("exp", json!("9999999999"))),
        ("no exp", without("exp")),
        ("other issuer", with("iss", json!("https://evil.example"))),
        ("no issuer", without("iss")),
        ("other audience", with("aud", json!("https://other.example"))),
        ("no audience", without("aud")),
        ("not yet", with("nbf", json!(9_999_999_999u64))),
        ("unknown person", with("sub", json!("nobody@example.com"))),
        ("unverified address", {
            let mut claims = good.clone();
            claims["sub"] = json!("00000000-0000-0000-0000-000000000000");
            claims["email_verified"] = json!(false);
            provider.sign(Algorithm::Es256, &provider.header(Algorithm::Es256), &claims)
        }),
        ("alg none", headed("alg", json!("none"))),
        ("crit", headed("crit", json!(["b64"]))),
        ("unknown kid", headed("kid", json!("other"))),
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        ("cut signature", token[..token.len() - 4].to_owned()),
        ("two parts", format!("{}.{}", parts[0], parts[1])),
        ("other payload", format!("{}.{}.{}", parts[0], parts[0], parts[2])),
    ]
}

#[tokio::test]
async fn a_bad_credential_is_refused_everywhere() {
    let provider = IdentityProvider::start().await;
    check(setup(&provider), async |rig| {
        let mut bad = bad_tokens(&provider);
        let key = rig.key("bob").to_owned();
        bad.push(("another key", format!("rl_{}", "x".repeat(43))));
        bad.push(("a longer key", format!("{key}x")));
        bad.push(("a shorter key", key[..key.len() - 1].to_owned()));
        bad.push(("sql", "rl_' OR '1'='1".into()));
        let base = rig.gateway.base.clone();
        for (what, credential) in &bad {
            let proxy = rig.stranger("fake", Some(credential));
            let rest = proxy.at(&format!("{base}/api/v1/servers"));
            let absent = proxy.at(&rig.gateway.proxy_url("no-such-server"));
            let runlayer = proxy.at(&rig.gateway.proxy_url("runlayer"));
            for client in [&proxy, &absent, &runlayer] {
                assert_eq!(client.call("echo", json!({})).await.status, 401, "{what}");
                assert_eq!(
                    client.send(client.request(http::Method::GET)).await.status,
                    401,
                    "{what}"
                );
            }
            assert_eq!(rest.send(rest.request(http::Method::GET)).await.status, 401, "{what}");
        }
        assert!(rig.upstream.received_of("tools/call").is_empty());
        ambiguous(rig, &key).await;
        assert_eq!(rig.upstream.calls("echo").len(), 1, "the good one alone");
    })
    .await;
}

/// Two credentials, or one in a form that we do not take, are none: there is no weaker way in.
async fn ambiguous(rig: &Rig, key: &str) {
    let stranger = rig.stranger("fake", None);
    let body = stranger.modern_body("tools/call", json!({"name": "echo", "arguments": {}}));
    let both = stranger.modern_request(&body).bearer_auth(key).header("x-runlayer-api-key", key);
    let twice = stranger.modern_request(&body).bearer_auth(key).bearer_auth(key);
    let bad_and_good =
        stranger.modern_request(&body).bearer_auth("rl_bad").header("x-runlayer-api-key", key);
    let basic = stranger.modern_request(&body).basic_auth("bob", Some(key));
    let query = stranger.at(&format!("{}?access_token={key}", stranger.url));
    for request in [both, twice, bad_and_good, basic, query.modern_request(&body)] {
        assert_eq!(stranger.send(request).await.status, 401);
    }
    let header = stranger.modern_request(&body).header("x-runlayer-api-key", key);
    let body = String::from_utf8_lossy(&stranger.send(header).await.body).into_owned();
    // Nobody has bob's key but bob: this one is his, and it is good alone.
    assert!(!body.contains("credential"), "{body}");
}

#[tokio::test]
async fn protected_resource_metadata_is_there_for_everybody() {
    check(Setup::default(), async |rig| {
        let base = rig.gateway.base.clone();
        let root = "/.well-known/oauth-protected-resource";
        for (path, resource) in [
            (root.to_owned(), base.clone()),
            (format!("{root}/api/v1/proxy/fake/mcp"), rig.gateway.proxy_url("fake")),
        ] {
            let anybody = rig.stranger("fake", None).at(&format!("{base}{path}"));
            let reply = anybody.send(anybody.request(http::Method::GET)).await;
            assert_eq!(reply.status, 200, "{path}");
            assert_eq!(reply.json()["resource"], json!(resource), "{path}");
        }
    })
    .await;
}

#[tokio::test]
async fn host_and_origin_must_be_ours() {
    check(Setup::default(), async |rig| {
        let bob = rig.client("bob");
        let body = bob.modern_body("tools/list", json!({}));
        for (name, value) in
            [("host", "evil.example"), ("origin", "https://evil.example"), ("origin", "null")]
        {
            let reply = bob.send(bob.modern_request(&body).header(name, value)).await;
            assert_eq!(reply.status, 403, "{name}: {value}");
        }
        let own = bob.modern_request(&body).header("origin", rig.gateway.base.clone());
        assert_eq!(bob.send(own).await.status, 200);
    })
    .await;
}
