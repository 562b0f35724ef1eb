//! Tokens of our own authorization server: each vector spoils one thing of a good one, and none gets in
//! (security.md D1). They are signed with ring here, whatever they say.

use gateway_core::caller::{AuthMethod, Caller, PrincipalKind, User};
use gateway_core::ids::{DelegationId, ServerId, SessionId, UserId};
use gateway_core::reason::Reason;
use gateway_core::server::{Endpoint, Server};
use gateway_core::{Clock, Timestamp};
use gateway_store::agent::{StoredAgent, StoredDelegation};
use gateway_store::catalogue::Catalogue;
use gateway_store::signing_key::StoredSigningKey;
use serde_json::{Value, json};
use uuid::Uuid;

use super::issuer::{FOREIGN, KEYS, Keys, encode, raw_token};
use super::{World, snapshot};
use crate::identity::{Presented, Unidentified};
use crate::snapshot::Snapshot;
use crate::testing::{START, user};

const GATEWAY: &str = "https://gw.example.com";
const BOB: &str = "00000000-0000-0000-0000-000000000001";
const GONE: &str = "00000000-0000-0000-0000-000000000003";
const AGENT: &str = "00000000-0000-0000-0000-000000000011";
const OFF: &str = "00000000-0000-0000-0000-000000000012";
const SESSION: &str = "00000000-0000-0000-0000-000000000021";
const ENDED: &str = "00000000-0000-0000-0000-000000000022";
const A: u128 = 0x31;
const B: u128 = 0x32;

fn at(server: u128) -> String {
    format!("{GATEWAY}/api/v1/proxy/{}/mcp", Uuid::from_u128(server))
}

fn key(kid: &str, keys: &Keys) -> StoredSigningKey {
    let at = |seconds: i64| Timestamp::from_unix_timestamp(START + seconds).unwrap();
    StoredSigningKey {
        kid: kid.into(),
        algorithm: "EdDSA".into(),
        public_key: keys.ed_public(),
        sealed: String::new(),
        created_at: at(-10),
        signs_from: at(-10),
        signs_until: at(1000),
        gone_at: at(2000),
    }
}

fn server(id: u128, slug: &str) -> Server {
    Server {
        title: slug.into(),
        endpoint: Endpoint::Http("http://127.0.0.1:9/mcp".into()),
        ..Server::named(ServerId(Uuid::from_u128(id)), slug.parse().unwrap())
    }
}

fn agent(id: &str, active: bool) -> StoredAgent {
    StoredAgent {
        principal: User {
            id: id.parse().unwrap(),
            kind: PrincipalKind::Agent,
            email: format!("client-{id}"),
            name: format!("agent {id}"),
            roles: vec![],
            groups: vec![],
            attributes: Default::default(),
            active,
        },
        secret_hash: Some([0; 32]),
        jwks: None,
        session: SessionId(Uuid::nil()),
        owner: BOB.parse().unwrap(),
        created_at: Timestamp::UNIX_EPOCH,
        updated_at: Timestamp::UNIX_EPOCH,
    }
}

/// Bob, whose agent may act for him on server a; a person who has gone; an agent that is switched off.
fn catalogue() -> Catalogue {
    let mut gone = user(3, "gone@example.com");
    gone.active = false;
    let leave = |agent: &str, number: u128| StoredDelegation {
        id: DelegationId(Uuid::from_u128(number)),
        agent: agent.parse().unwrap(),
        user: UserId(BOB.parse().unwrap()),
        servers: Some(vec![ServerId(Uuid::from_u128(A))]),
        created_at: Timestamp::UNIX_EPOCH,
        expires_at: Timestamp::from_unix_timestamp(START + 100).ok(),
        revoked_at: None,
    };
    let retired = StoredSigningKey {
        gone_at: Timestamp::from_unix_timestamp(START - 1).unwrap(),
        ..key("retired", &KEYS)
    };
    Catalogue {
        version: 1,
        users: vec![user(1, "bob@example.com"), user(2, "eve@example.com"), gone],
        servers: vec![server(A, "a"), server(B, "b")],
        agents: vec![agent(AGENT, true), agent(OFF, false)],
        delegations: vec![leave(AGENT, 1), leave(OFF, 2)],
        signing_keys: vec![
            key("ours", &KEYS),
            retired,
            StoredSigningKey { algorithm: "ES256".into(), ..key("es", &KEYS) },
        ],
        revoked: vec![SessionId(ENDED.parse().unwrap())],
        ..Catalogue::default()
    }
}

fn world() -> World {
    let mut world = World::new();
    world.snapshot = Snapshot::build(catalogue(), None, Timestamp::UNIX_EPOCH).unwrap();
    world
}

impl World {
    async fn at(&self, token: &str, resource: &str) -> Result<Caller, Unidentified> {
        let value = format!("Bearer {token}");
        let presented = Presented { authorization: Some(&value), resource, ..Presented::default() };
        self.identity.identify(&self.snapshot, presented).await
    }
}

fn header() -> Value {
    json!({"alg": "EdDSA", "kid": "ours", "typ": "at+jwt"})
}

fn claims() -> Value {
    json!({"iss": GATEWAY, "aud": GATEWAY, "sub": BOB, "iat": START - 10, "exp": START + 300,
        "jti": "00000000-0000-0000-0000-0000000000ff", "client_id": "c", "scope": "mcp:proxy",
        "sid": SESSION})
}

fn with(mut value: Value, name: &str, to: Value) -> Value {
    value[name] = to;
    value
}

fn without(mut value: Value, name: &str) -> Value {
    value.as_object_mut().unwrap().remove(name);
    value
}

fn signed(header: &Value, claims: &Value) -> String {
    raw_token(&KEYS, &header.to_string(), &claims.to_string())
}

#[tokio::test]
async fn good_tokens_are_taken() {
    let world = world();
    let scope = |scope: &str| with(claims(), "scope", json!(scope));
    let acting = with(with(claims(), "act", json!({"sub": AGENT})), "aud", json!(at(A)));
    for (claims, resource) in [
        (claims(), GATEWAY.to_owned()),
        (claims(), format!("{GATEWAY}/")),
        (claims(), at(A)),
        (claims(), format!("{GATEWAY}/api/v1/proxy/b/mcp")),
        // A server that is not there is refused later, as one.
        (claims(), format!("{GATEWAY}/api/v1/proxy/none/mcp")),
        (with(claims(), "aud", json!(at(A))), at(A)),
        (with(claims(), "aud", json!(at(A))), format!("{GATEWAY}/api/v1/proxy/a/mcp")),
        (scope(&format!("mcp:proxy:{}", Uuid::from_u128(A))), at(A)),
        (scope("offline_access mcp:proxy"), at(B)),
        (acting, at(A)),
        (with(claims(), "sub", json!(AGENT)), at(B)),
        (without(claims(), "nbf"), at(B)),
    ] {
        let caller = world.at(&signed(&header(), &claims), &resource).await;
        let caller = caller.unwrap_or_else(|e| panic!("{claims} at {resource}: {}", e.detail));
        assert_eq!(caller.auth, AuthMethod::OauthToken);
        assert_eq!(&*caller.credential, SESSION);
        assert_eq!(caller.user.id.to_string(), claims["sub"].as_str().unwrap());
        let actor = caller.actor.as_ref().map(|actor| actor.id.to_string());
        assert_eq!(actor.is_some(), claims.get("act").is_some());
    }
    assert_eq!(world.net.requests(), 0, "our own keys are never fetched");
}

/// Signed by our own key, save one thing.
fn spoiled() -> Vec<(&'static str, Value, Value)> {
    let (h, c) = (header, claims);
    let unsigned = |alg: &str| with(h(), "alg", json!(alg));
    let acts = |act: Value| with(with(c(), "act", act), "aud", json!(at(A)));
    vec![
        ("alg none", unsigned("none"), c()),
        ("alg None", unsigned("None"), c()),
        ("alg empty", unsigned(""), c()),
        ("alg HS256", unsigned("HS256"), c()),
        ("alg HS512", unsigned("HS512"), c()),
        ("alg RS256", unsigned("RS256"), c()),
        ("alg ES256", unsigned("ES256"), c()),
        ("alg PS256", unsigned("PS256"), c()),
        ("alg in another case", unsigned("eddsa"), c()),
        ("alg as array", with(h(), "alg", json!(["EdDSA"])), c()),
        ("alg missing", without(h(), "alg"), c()),
        ("jwk", with(h(), "jwk", FOREIGN.jwk("EdDSA")), c()),
        ("jku", with(h(), "jku", json!("https://evil.example/jwks")), c()),
        ("jku to ourselves", with(h(), "jku", json!(format!("{GATEWAY}/api/v1/oauth/jwks"))), c()),
        ("x5u", with(h(), "x5u", json!("https://evil.example/cert")), c()),
        ("x5c", with(h(), "x5c", json!(["AA"])), c()),
        ("crit", with(h(), "crit", json!(["exp"])), c()),
        ("crit empty", with(h(), "crit", json!([])), c()),
        ("b64", with(h(), "b64", json!(false)), c()),
        ("zip", with(h(), "zip", json!("DEF")), c()),
        ("kid missing", without(h(), "kid"), c()),
        ("kid empty", with(h(), "kid", json!("")), c()),
        ("kid unknown", with(h(), "kid", json!("other")), c()),
        ("kid of a path", with(h(), "kid", json!("../../ours")), c()),
        ("kid of SQL", with(h(), "kid", json!("' or '1'='1")), c()),
        ("kid number", with(h(), "kid", json!(1)), c()),
        ("kid array", with(h(), "kid", json!(["ours"])), c()),
        ("kid retired", with(h(), "kid", json!("retired")), c()),
        ("kid of another algorithm", with(h(), "kid", json!("es")), c()),
        ("typ missing", without(h(), "typ"), c()),
        ("typ JWT: an identity token for an upstream", with(h(), "typ", json!("JWT")), c()),
        ("typ with a prefix", with(h(), "typ", json!("application/at+jwt")), c()),
        ("typ id token", with(h(), "typ", json!("id_token+jwt")), c()),
        ("typ id-jag", with(h(), "typ", json!("oauth-id-jag+jwt")), c()),
        ("typ logout", with(h(), "typ", json!("logout+jwt")), c()),
        ("typ number", with(h(), "typ", json!(1)), c()),
        ("iss missing", h(), without(c(), "iss")),
        ("iss other", h(), with(c(), "iss", json!("https://evil.example"))),
        ("iss of a configured issuer", h(), with(c(), "iss", json!(super::ISSUER))),
        ("iss trailing slash", h(), with(c(), "iss", json!(format!("{GATEWAY}/")))),
        ("iss http", h(), with(c(), "iss", json!("http://gw.example.com"))),
        ("iss upper case", h(), with(c(), "iss", json!(GATEWAY.to_uppercase()))),
        ("iss array", h(), with(c(), "iss", json!([GATEWAY]))),
        ("aud missing", h(), without(c(), "aud")),
        ("aud other", h(), with(c(), "aud", json!("https://other.example.com"))),
        ("aud prefix", h(), with(c(), "aud", json!("https://gw.example.com.evil.example"))),
        ("aud trailing slash", h(), with(c(), "aud", json!(format!("{GATEWAY}/")))),
        ("aud two", h(), with(c(), "aud", json!([GATEWAY, at(A)]))),
        ("aud empty array", h(), with(c(), "aud", json!([]))),
        ("aud nested", h(), with(c(), "aud", json!([[GATEWAY]]))),
        ("aud null", h(), with(c(), "aud", Value::Null)),
        ("aud object", h(), with(c(), "aud", json!({"0": GATEWAY}))),
        ("aud another server", h(), with(c(), "aud", json!(at(B)))),
        ("aud of no server", h(), with(c(), "aud", json!(at(0x99)))),
        ("aud by slug", h(), with(c(), "aud", json!(format!("{GATEWAY}/api/v1/proxy/a/mcp")))),
        ("aud id without dashes", h(), with(c(), "aud", json!(at(A).replace("0-0", "00")))),
        ("aud with a query", h(), with(c(), "aud", json!(format!("{}?x", at(A))))),
        ("aud with a fragment", h(), with(c(), "aud", json!(format!("{}#x", at(A))))),
        ("aud of REST", h(), with(c(), "aud", json!(format!("{GATEWAY}/api/v1")))),
        ("sub missing", h(), without(c(), "sub")),
        ("sub empty", h(), with(c(), "sub", json!(""))),
        ("sub e-mail", h(), with(c(), "sub", json!("bob@example.com"))),
        ("sub unknown", h(), with(c(), "sub", json!("00000000-0000-0000-0000-000000000099"))),
        ("sub deactivated", h(), with(c(), "sub", json!(GONE))),
        ("sub switched-off agent", h(), with(c(), "sub", json!(OFF))),
        ("sub number", h(), with(c(), "sub", json!(1))),
        (
            "e-mail wins over sub",
            h(),
            with(with(c(), "email", json!("eve@example.com")), "email_verified", json!(true)),
        ),
        ("exp missing", h(), without(c(), "exp")),
        ("exp text", h(), with(c(), "exp", json!((START + 300).to_string()))),
        ("exp null", h(), with(c(), "exp", Value::Null)),
        ("exp huge", h(), with(c(), "exp", json!(1e300))),
        ("exp array", h(), with(c(), "exp", json!([START + 300]))),
        ("nbf far", h(), with(c(), "nbf", json!(START + 120))),
        ("iat missing", h(), without(c(), "iat")),
        ("iat far", h(), with(c(), "iat", json!(START + 120))),
        ("iat text", h(), with(c(), "iat", json!("now"))),
        ("jti missing", h(), without(c(), "jti")),
        ("client_id missing", h(), without(c(), "client_id")),
        ("client_id number", h(), with(c(), "client_id", json!(1))),
        ("scope missing", h(), without(c(), "scope")),
        ("scope empty", h(), with(c(), "scope", json!(""))),
        ("scope array", h(), with(c(), "scope", json!(["mcp:proxy"]))),
        ("sid missing", h(), without(c(), "sid")),
        ("sid no id", h(), with(c(), "sid", json!("x"))),
        ("sid ended", h(), with(c(), "sid", json!(ENDED))),
        ("id token: nonce", h(), with(c(), "nonce", json!("n"))),
        ("id token: at_hash", h(), with(c(), "at_hash", json!("h"))),
        ("id token: token_use", h(), with(c(), "token_use", json!("id"))),
        ("logout token", h(), with(c(), "events", json!({}))),
        ("refresh token", h(), with(c(), "typ", json!("Refresh"))),
        ("act text", h(), acts(json!(AGENT))),
        ("act without sub", h(), acts(json!({}))),
        ("act null", h(), acts(Value::Null)),
        ("act array", h(), acts(json!([{"sub": AGENT}]))),
        ("act nested", h(), acts(json!({"sub": AGENT, "act": {"sub": AGENT}}))),
        ("act a person", h(), acts(json!({"sub": BOB}))),
        ("act unknown", h(), acts(json!({"sub": "00000000-0000-0000-0000-000000000099"}))),
        ("act switched off", h(), acts(json!({"sub": OFF}))),
        ("act for an agent", h(), with(acts(json!({"sub": AGENT})), "sub", json!(AGENT))),
        (
            "act for somebody else",
            h(),
            with(acts(json!({"sub": AGENT})), "sub", json!("00000000-0000-0000-0000-000000000002")),
        ),
    ]
}

#[tokio::test]
async fn spoiled_tokens_are_refused() {
    let vectors = spoiled();
    assert!(vectors.len() >= 60);
    for (name, header, claims) in vectors {
        let world = world();
        let token = signed(&header, &claims);
        for again in ["", ", again"] {
            let refused = world.at(&token, &at(A)).await;
            let refused = refused.err().unwrap_or_else(|| panic!("{name}{again} got in"));
            assert_eq!(refused.reason, Reason::CredentialInvalid, "{name}{again}");
            assert!(!refused.detail.contains(&token[..20]), "{name}: {}", refused.detail);
        }
        let fetched = if name == "iss of a configured issuer" { 4 } else { 0 };
        assert!(world.net.requests() <= fetched, "{name}: a token of ours made us ask elsewhere");
    }
}

#[tokio::test]
async fn forged_tokens_are_refused() {
    let (h, c) = (header().to_string(), claims().to_string());
    let good = raw_token(&KEYS, &h, &c);
    let [head, body, signature]: [&str; 3] =
        good.split('.').collect::<Vec<_>>().try_into().unwrap();
    let hmac_message =
        format!("{}.{body}", encode(br#"{"alg":"HS256","typ":"at+jwt","kid":"ours"}"#));
    let hmac = |key: &[u8]| {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key);
        encode(ring::hmac::sign(&key, hmac_message.as_bytes()).as_ref())
    };
    let none = encode(br#"{"alg":"none","typ":"at+jwt","kid":"ours"}"#);
    let doubled = format!(r#"{},"sub":"{GONE}"}}"#, &c[..c.len() - 1]);
    for (name, token) in [
        ("foreign key", raw_token(&FOREIGN, &h, &c)),
        ("HS256 with the public key", format!("{hmac_message}.{}", hmac(&KEYS.ed_public()))),
        ("HS256 with its text", format!("{hmac_message}.{}", hmac(KEYS.ed_x().as_bytes()))),
        ("HS256 with nothing", format!("{hmac_message}.{}", hmac(b""))),
        ("none, unsigned", format!("{none}.{body}.")),
        ("none, with a signature", format!("{none}.{body}.{signature}")),
        ("no signature", format!("{head}.{body}.")),
        ("signature of zeros", format!("{head}.{body}.{}", encode(&[0; 64]))),
        ("signature cut", format!("{head}.{body}.{}", &signature[..60])),
        ("signature longer", format!("{good}AA")),
        (
            "body exchanged",
            format!("{head}.{}.{signature}", encode(c.replace(BOB, AGENT).as_bytes())),
        ),
        ("claims doubled", raw_token(&KEYS, &h, &doubled)),
        ("five parts", format!("{head}.{body}.{body}.{body}.{signature}")),
        ("two parts", format!("{head}.{body}")),
        ("claims an array", raw_token(&KEYS, &h, "[]")),
        ("claims broken", raw_token(&KEYS, &h, "{")),
    ] {
        let refused = world().at(&token, GATEWAY).await;
        let refused = refused.err().unwrap_or_else(|| panic!("{name} got in"));
        assert_eq!(refused.reason, Reason::CredentialInvalid, "{name}: {}", refused.detail);
    }
    assert!(world().at(&good, GATEWAY).await.is_ok());
}

#[tokio::test]
async fn a_token_of_one_server_is_none_anywhere_else() {
    let world = world();
    let token = signed(&header(), &with(claims(), "aud", json!(at(A))));
    for (resource, good) in [
        (at(A), true),
        (at(B), false),
        (GATEWAY.to_owned(), false),
        (format!("{GATEWAY}/api/v1/proxy/b/mcp"), false),
        (format!("{GATEWAY}/api/v1/proxy/a/mcp"), true),
        (format!("{GATEWAY}/api/v1/proxy/none/mcp"), false),
        (String::new(), false),
        ("https://other.example.com/api/v1/proxy/a/mcp".to_owned(), false),
        (at(A), true),
    ] {
        assert_eq!(world.at(&token, &resource).await.is_ok(), good, "{resource}");
    }
}

#[tokio::test]
async fn a_good_token_whose_scope_does_not_reach_is_told_so_and_no_other() {
    let world = world();
    let of_a = format!("mcp:proxy:{}", Uuid::from_u128(A));
    let (nowhere, slug) = (at(0x39), format!("{GATEWAY}/api/v1/proxy/b/mcp"));
    let narrow = |scope: &str| with(claims(), "scope", json!(scope));
    for (scope, resource) in [
        (of_a.as_str(), at(B)),
        (of_a.as_str(), slug),
        (of_a.as_str(), GATEWAY.to_owned()),
        // As at a server that is there.
        (of_a.as_str(), nowhere),
        ("offline_access", at(A)),
        ("mcp:proxyx", at(A)),
        ("mcp:proxy:a", at(A)),
        ("MCP:PROXY", at(A)),
    ] {
        let token = signed(&header(), &narrow(scope));
        for _ in 0..2 {
            let refused = world.at(&token, &resource).await.unwrap_err();
            assert_eq!(refused.reason, Reason::InsufficientScope, "{scope} at {resource}");
            assert!(!refused.detail.contains(&token[..20]), "{}", refused.detail);
        }
    }
    assert!(world.at(&signed(&header(), &narrow(&of_a)), &at(A)).await.is_ok());
    for (what, claims) in [
        ("audience", with(narrow(&of_a), "aud", json!(at(A)))),
        ("session", with(narrow(&of_a), "sid", json!(ENDED))),
        ("person", with(narrow(&of_a), "sub", json!(GONE))),
        ("agent", with(narrow(&of_a), "act", json!({"sub": OFF}))),
        ("expired", with(narrow(&of_a), "exp", json!(START - 100))),
    ] {
        let refused = world.at(&signed(&header(), &claims), &at(B)).await.unwrap_err();
        assert_eq!(refused.reason.status(), 401, "{what}");
    }
    let forged = raw_token(&FOREIGN, &header().to_string(), &narrow(&of_a).to_string());
    assert_eq!(world.at(&forged, &at(B)).await.unwrap_err().reason, Reason::CredentialInvalid);
}

#[tokio::test]
async fn what_the_snapshot_learns_bites_although_the_token_is_remembered() {
    let acting = with(with(claims(), "act", json!({"sub": AGENT})), "aud", json!(at(A)));
    let token = signed(&header(), &acting);
    type Change = fn(&mut Catalogue);
    let changes: [(&str, Change); 6] = [
        ("session", |c| c.revoked.push(SessionId(SESSION.parse().unwrap()))),
        ("person", |c| c.users[0].active = false),
        ("agent", |c| c.agents[0].principal.active = false),
        ("owner", |c| c.agents[0].owner = GONE.parse().unwrap()),
        ("delegation", |c| c.delegations.clear()),
        ("key", |c| c.signing_keys.clear()),
    ];
    for (what, change) in changes {
        let mut world = world();
        assert!(world.at(&token, &at(A)).await.is_ok(), "{what}");
        let mut changed = catalogue();
        change(&mut changed);
        world.snapshot = Snapshot::build(changed, None, Timestamp::UNIX_EPOCH).unwrap();
        let refused = world.at(&token, &at(A)).await.unwrap_err();
        assert_eq!(refused.reason, Reason::CredentialInvalid, "{what}");
    }
    // Where the leave does not reach, the token is good and there is no such server.
    let mut narrow = world();
    let mut changed = catalogue();
    changed.delegations[0].servers = Some(vec![]);
    narrow.snapshot = Snapshot::build(changed, None, Timestamp::UNIX_EPOCH).unwrap();
    let caller = narrow.at(&token, &at(A)).await.unwrap();
    let server = narrow.snapshot.servers.first().map(|server| server.id);
    assert!(!narrow.snapshot.has_leave(&caller, server, narrow.clock.now()));
    let world = world();
    assert!(world.at(&token, &at(A)).await.is_ok());
    world.clock.advance(100);
    assert!(world.at(&token, &at(A)).await.is_err(), "the delegation has expired");
}

#[tokio::test]
async fn tokens_expire_while_remembered() {
    let world = world();
    let token = signed(&header(), &claims());
    world.clock.advance(299);
    assert!(world.at(&token, GATEWAY).await.is_ok());
    world.clock.advance(1);
    for _ in 0..2 {
        let refused = world.at(&token, GATEWAY).await.unwrap_err();
        assert_eq!(refused.reason, Reason::CredentialExpired);
    }
}

#[tokio::test]
async fn any_changed_byte_breaks_a_token() {
    let world = world();
    let good = signed(&header(), &claims());
    for i in 0..good.len() {
        let mut forged = good.clone().into_bytes();
        forged[i] = if forged[i] == b'A' { b'B' } else { b'A' };
        let forged = String::from_utf8(forged).unwrap();
        assert!(world.at(&forged, GATEWAY).await.is_err(), "byte {i}");
    }
}

#[tokio::test]
async fn nothing_is_taken_where_the_authorization_server_is_switched_off() {
    let mut world = World::with(|settings| settings.oauth.enabled = false);
    world.snapshot = Snapshot::build(catalogue(), None, Timestamp::UNIX_EPOCH).unwrap();
    assert!(world.at(&signed(&header(), &claims()), GATEWAY).await.is_err());
    // And nobody is somebody because the catalogue is empty.
    world.snapshot = snapshot(vec![], vec![]);
    assert!(world.at(&signed(&header(), &claims()), GATEWAY).await.is_err());
}
