//! Tokens for agents: by secret, by assertion, on a person's behalf, and by an identity provider's word. What a
//! thief tries besides.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use futures_util::{StreamExt, stream};
use gateway_core::caller::Caller;
use gateway_store::identity_link::Identified;
use serde_json::{Value, json};

use super::agents::{POLICIES, enters};
use super::house::{House, Replica, STATE, eventually};
use super::oauth::{Flow, form, register, text};
use super::signer::{FOREIGN, OURS};
use crate::oauth::{ErrorCode, Form, OauthError, TokenRequest};
use crate::testing::{FakeNet, settings};
use crate::{Face, Issuer};

const GATEWAY: &str = "https://gw.example.com";
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const ACCESS: &str = "urn:ietf:params:oauth:token-type:access_token";
const EMAIL: &str = "urn:runlayer:token-type:user-email";
const ID: &str = "urn:runlayer:token-type:user-id";
const JWT: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

type Pairs<'a> = [(&'a str, &'a str)];

struct World {
    flow: Flow,
}

/// An agent's credentials.
struct Agent {
    name: &'static str,
    id: String,
    secret: String,
}

impl World {
    async fn open() -> World {
        let flow = Flow::open().await;
        flow.house.apply(&format!("{STATE}{POLICIES}")).await;
        for replica in [&flow.house.a, &flow.house.b] {
            replica.governance.refresh().await.unwrap();
        }
        World { flow }
    }

    fn house(&self) -> &House {
        &self.flow.house
    }

    /// A new account that Bob owns.
    async fn agent(&self, name: &'static str) -> Agent {
        let arguments = json!({"name": name, "owner": "bob@example.com", "confirm": true});
        self.account(name, arguments).await
    }

    async fn account(&self, name: &'static str, arguments: Value) -> Agent {
        let made = self.house().perform("root", Face::Rest, "create_agent_account", arguments);
        let made = made.await.unwrap();
        let secret = made["client_secret"].as_str().unwrap_or_default().to_owned();
        self.house().b.governance.refresh().await.unwrap();
        Agent { name, id: text(&made, "client_id").to_owned(), secret }
    }

    async fn set(&self, operation: &str, arguments: Value) -> Value {
        self.house().perform("root", Face::Rest, operation, arguments).await.unwrap()
    }

    async fn ask(
        &self,
        replica: &Replica,
        pairs: &Pairs<'_>,
        authorization: Option<&str>,
    ) -> Result<Value, OauthError> {
        let origin = self.house().origin(Face::Rest);
        let form = Form::parse(form(pairs).as_bytes())?;
        let request = TokenRequest { form: &form, authorization, origin: &origin };
        let given = replica.governance.oauth().token(request).await?;
        Ok(serde_json::from_str(&given.json()).unwrap())
    }

    /// A token for the agent itself.
    async fn own(&self, agent: &Agent) -> Result<Value, OauthError> {
        let pairs = [
            ("grant_type", "client_credentials"),
            ("client_id", &agent.id),
            ("client_secret", &agent.secret),
        ];
        self.ask(&self.house().a, &pairs, None).await
    }

    /// A token on somebody's behalf; further parameters behind.
    async fn behalf(
        &self,
        agent: &Agent,
        (kind, subject): (&str, &str),
        more: &Pairs<'_>,
    ) -> Result<Value, OauthError> {
        let mut pairs = vec![
            ("grant_type", EXCHANGE),
            ("client_id", agent.id.as_str()),
            ("client_secret", agent.secret.as_str()),
            ("subject_token_type", kind),
            ("subject_token", subject),
        ];
        pairs.retain(|(name, _)| !more.iter().any(|(other, _)| other == name));
        pairs.extend(more.iter().filter(|(_, value)| !value.is_empty()));
        self.ask(&self.house().a, &pairs, None).await
    }

    async fn at(&self, replica: &Replica, token: &Value, server: &str) -> Result<Caller, String> {
        let found = replica.governance.snapshot().server(server).map(|server| server.id);
        let resource = match found {
            Some(id) => format!("{GATEWAY}/api/v1/proxy/{id}/mcp"),
            None => GATEWAY.to_owned(),
        };
        let token = text(token, "access_token");
        self.flow.at(replica, token, &resource).await.map_err(|error| error.detail)
    }
}

fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

fn claims(token: &Value) -> Value {
    let payload = text(token, "access_token").split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_gets_tokens_by_its_secret_and_nobody_else_does() {
    let world = World::open().await;
    let (indexer, other) = (world.agent("indexer").await, world.agent("other").await);
    let token = world.own(&indexer).await.unwrap();
    assert_eq!((&token["token_type"], &token["expires_in"]), (&json!("Bearer"), &json!(3600)));
    assert!(token.get("refresh_token").is_none());
    let said = claims(&token);
    assert_eq!((said["act"].is_null(), &said["client_id"]), (true, &json!(indexer.id)));
    for replica in [&world.house().a, &world.house().b] {
        let caller = world.at(replica, &token, "tickets").await.unwrap();
        assert_eq!(caller.user.name, "indexer");
        assert_eq!(said["sub"], json!(caller.user.id.to_string()));
        assert!(caller.actor.is_none() && caller.agent().is_some());
    }
    let good = basic(&indexer.id, &indexer.secret);
    let grant = [("grant_type", "client_credentials")];
    world.ask(&world.house().b, &grant, Some(&good)).await.unwrap();
    let url = format!("{GATEWAY}/api/v1/proxy/tickets/mcp");
    let narrow = world.ask(&world.house().a, &[grant[0], ("resource", &url)], Some(&good)).await;
    let narrow = narrow.unwrap();
    world.at(&world.house().a, &narrow, "tickets").await.unwrap();
    for elsewhere in ["vault", "runlayer", "nothing"] {
        assert!(world.at(&world.house().a, &narrow, elsewhere).await.is_err(), "{elsewhere}");
    }

    // What is refused says the same, whoever asks with whatever.
    let cut = &indexer.secret[..indexer.secret.len() - 1];
    let person = ("bob@example.com", "x");
    let wrong = [
        (indexer.id.as_str(), other.secret.as_str()),
        (indexer.id.as_str(), cut),
        (indexer.id.as_str(), ""),
        (indexer.id.as_str(), "rls_"),
        ("indexer", indexer.secret.as_str()),
        ("agent_00000000000000000000000000000000", indexer.secret.as_str()),
        (world.flow.client.as_str(), indexer.secret.as_str()),
        (world.flow.client.as_str(), ""),
        ("https://client.example/metadata.json", indexer.secret.as_str()),
        person,
        ("", ""),
    ];
    let mut told = Vec::new();
    for (id, secret) in wrong {
        let pairs = [grant[0], ("client_id", id), ("client_secret", secret)];
        let refused = world.ask(&world.house().a, &pairs, None).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::InvalidClient, "{id}");
        told.push(refused.told());
        if !id.is_empty() && !secret.is_empty() {
            let refused = world.ask(&world.house().a, &grant, Some(&basic(id, secret))).await;
            told.push(refused.unwrap_err().told());
        }
    }
    told.dedup();
    assert_eq!(told.len(), 1, "{told:?}");
    let both = [grant[0], ("client_id", &indexer.id), ("client_secret", &indexer.secret)];
    let refused = world.ask(&world.house().a, &both, Some(&good)).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::InvalidRequest, "two ways at once");
    for (name, value, code) in [
        ("scope", "admin", ErrorCode::InvalidScope),
        ("resource", "https://evil.example/mcp", ErrorCode::InvalidTarget),
        ("resource", "https://gw.example.com/api/v1/proxy/absent/mcp", ErrorCode::InvalidTarget),
    ] {
        let pairs = [grant[0], (name, value)];
        let refused = world.ask(&world.house().a, &pairs, Some(&good)).await.unwrap_err();
        assert_eq!(refused.code, code, "{name} {value}");
    }
    // A server that the agent may not use looks like none.
    let mine = basic(&other.id, &other.secret);
    let refused = world.ask(&world.house().a, &[grant[0], ("resource", &url)], Some(&mine)).await;
    assert_eq!(refused.unwrap_err().code, ErrorCode::InvalidTarget);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_agent_and_a_former_secret_are_worth_nothing_anywhere() {
    let world = World::open().await;
    let indexer = world.agent("indexer").await;
    let house = world.house();
    house.delegate("bob", json!({"agent": "indexer"})).await.unwrap();
    let own = world.own(&indexer).await.unwrap();
    let behalf = world.behalf(&indexer, (EMAIL, "bob@example.com"), &[]).await.unwrap();
    let dead_everywhere = async |what: &str| {
        for token in [&own, &behalf] {
            assert!(world.at(&house.a, token, "tickets").await.is_err(), "{what}");
            let b = async || world.at(&house.b, token, "tickets").await.is_err();
            eventually("b knows, too", b).await;
        }
    };
    for token in [&own, &behalf] {
        world.at(&house.b, token, "tickets").await.unwrap();
    }
    world.set("rotate_agent_account_secret", json!({"agent": "indexer", "confirm": true})).await;
    dead_everywhere("rotated").await;
    assert_eq!(world.own(&indexer).await.unwrap_err().code, ErrorCode::InvalidClient);
    let enabled = |enabled: bool| json!({"agent": "indexer", "enabled": enabled, "confirm": true});
    let fresh = json!({"agent": "indexer", "confirm": true});
    let secret = world.set("rotate_agent_account_secret", fresh).await;
    let indexer = Agent { secret: text(&secret, "client_secret").to_owned(), ..indexer };
    let own = world.own(&indexer).await.unwrap();
    world.set("set_agent_account_status", enabled(false)).await;
    assert_eq!(world.own(&indexer).await.unwrap_err().code, ErrorCode::InvalidClient);
    let refused = world.behalf(&indexer, (EMAIL, "bob@example.com"), &[]).await;
    assert_eq!(refused.unwrap_err().code, ErrorCode::InvalidClient);
    assert!(world.at(&house.a, &own, "tickets").await.is_err());
    // With its own token as actor token, neither.
    let token = text(&own, "access_token");
    let more = [("client_secret", ""), ("actor_token", token), ("actor_token_type", ACCESS)];
    let refused = world.behalf(&indexer, (EMAIL, "bob@example.com"), &more).await;
    assert_eq!(refused.unwrap_err().code, ErrorCode::InvalidGrant);
    world.set("set_agent_account_status", enabled(true)).await;
    assert!(world.at(&house.a, &own, "tickets").await.is_err(), "what was out stays dead");
    world.own(&indexer).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assertion_proves_an_agent_once() {
    let world = World::open().await;
    let house = world.house();
    let arguments =
        json!({"name": "signer", "owner": "bob@example.com", "jwks": OURS.jwks(), "confirm": true});
    let signer = world.account("signer", arguments).await;
    assert_eq!(signer.secret, "", "it has none");
    let secretive = world.agent("indexer").await;
    let now = house.a.governance.clock().now().unix_timestamp();
    let good = json!({"iss": signer.id, "sub": signer.id, "aud": GATEWAY, "iat": now,
        "exp": now + 120, "jti": "1"});
    let header = json!({"alg": "EdDSA", "kid": "k", "typ": "JWT"});
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims["jti"] = json!(format!("{name}{value}"));
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value;
        }
        claims
    };
    let ask = async |replica: &Replica, assertion: &str, more: &Pairs<'_>| {
        let mut pairs = vec![
            ("grant_type", "client_credentials"),
            ("client_assertion_type", JWT),
            ("client_assertion", assertion),
        ];
        pairs.retain(|(name, _)| !more.iter().any(|(other, _)| other == name));
        pairs.extend(more);
        world.ask(replica, &pairs, None).await
    };
    let assertion = OURS.sign(&header, &good);
    let token = ask(&house.a, &assertion, &[]).await.unwrap();
    let caller = world.at(&house.b, &token, "runlayer").await.unwrap();
    assert_eq!(caller.user.name, signer.name);
    for replica in [&house.a, &house.b] {
        let refused = ask(replica, &assertion, &[]).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::InvalidClient, "used before");
    }
    let endpoint = with("aud", json!(format!("{GATEWAY}/api/v1/oauth/token")));
    ask(&house.b, &OURS.sign(&header, &endpoint), &[("client_id", &signer.id)]).await.unwrap();

    let mut cases = vec![
        ("another key", FOREIGN.sign(&header, &with("x", json!(1)))),
        (
            "no type but an access token's",
            OURS.sign(&json!({"alg": "EdDSA", "kid": "k", "typ": "at+jwt"}), &with("x", json!(2))),
        ),
        ("alg none", OURS.sign(&json!({"alg": "none", "kid": "k"}), &with("x", json!(3)))),
        ("alg HS256", OURS.sign(&json!({"alg": "HS256", "kid": "k"}), &with("x", json!(4)))),
        ("another kid", OURS.sign(&json!({"alg": "EdDSA", "kid": "l"}), &with("x", json!(5)))),
        (
            "its own key",
            OURS.sign(
                &json!({"alg": "EdDSA", "jwk": OURS.jwks()["keys"][0]}),
                &with("x", json!(6)),
            ),
        ),
        ("no JWT", "x.y".into()),
        ("nothing signed", OURS.sign(&header, &good).rsplit_once('.').unwrap().0.to_owned() + "."),
        ("our own access token", text(&token, "access_token").to_owned()),
    ];
    let both = json!([GATEWAY, "https://other.example"]);
    for (what, claims) in [
        ("another's sub", with("sub", json!(secretive.id))),
        ("no sub", with("sub", Value::Null)),
        ("unknown iss", with("iss", json!("agent_x"))),
        ("an agent with a secret", with("iss", json!(secretive.id))),
        ("another audience", with("aud", json!("https://other.example"))),
        ("two audiences", with("aud", both)),
        ("no audience", with("aud", Value::Null)),
        ("expired", with("exp", json!(now - 1))),
        ("a long life", with("exp", json!(now + 3600))),
        ("no end", with("exp", Value::Null)),
        ("an end as text", with("exp", json!((now + 100).to_string()))),
        ("a future start", with("nbf", json!(now + 600))),
        ("issued in the future", with("iat", json!(now + 600))),
        ("no id", with("jti", Value::Null)),
        ("an empty id", with("jti", json!(""))),
    ] {
        cases.push((what, OURS.sign(&header, &claims)));
    }
    for (what, assertion) in &cases {
        let refused = ask(&house.a, assertion, &[]).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::InvalidClient, "{what}");
        assert!(refused.told().starts_with("the client is unknown"), "{what}: {}", refused.told());
    }
    let fresh = |n: u32| OURS.sign(&header, &with("y", json!(n)));
    for more in [
        ("client_id", secretive.id.as_str()),
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"),
    ] {
        let refused = ask(&house.a, &fresh(1), &[more]).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::InvalidClient, "{more:?}");
    }
    let refused = ask(&house.a, &fresh(2), &[("client_secret", "x")]).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::InvalidRequest);

    // A hundred at once, on two replicas: one gets through.
    let raced = fresh(3);
    let race = (0..100).map(|n| ask(if n % 2 == 0 { &house.a } else { &house.b }, &raced, &[]));
    let done = raced_by(race).await;
    assert_eq!(done.iter().filter(|result| result.is_ok()).count(), 1);
    let codes = done.iter().filter_map(|result| result.as_ref().err()).map(|error| error.code);
    assert!(codes.into_iter().all(|code| code == ErrorCode::InvalidClient));
}

/// Runs them all, as many at a time as the replicas have connections: a token request does not wait long for one.
async fn raced_by<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    stream::iter(all).buffer_unordered(16).collect().await
}

/// Runs them all at once.
pub(super) async fn futures_of<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut all: Vec<_> = all.map(|one| (Box::pin(one), None)).collect();
    std::future::poll_fn(move |context| {
        for (future, done) in &mut all {
            if done.is_none()
                && let std::task::Poll::Ready(result) = future.as_mut().poll(context)
            {
                *done = Some(result);
            }
        }
        if all.iter().all(|(_, done)| done.is_some()) {
            let results = all.iter_mut().filter_map(|(_, done)| done.take()).collect();
            return std::task::Poll::Ready(results);
        }
        std::task::Poll::Pending
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn on_behalf_needs_the_persons_leave_and_the_agents_own_word() {
    let world = World::open().await;
    let house = world.house();
    let (indexer, other) = (world.agent("indexer").await, world.agent("other").await);
    let bob = house.caller("bob").user.id.to_string();
    let bobs = world.flow.tokens(&[]).await;
    let bobs_token = text(&bobs, "access_token");
    let subjects = [(EMAIL, "Bob@example.com"), (ID, bob.as_str()), (ACCESS, bobs_token)];

    // Without a delegation: refused, exactly as for nobody.
    let nobody = world.behalf(&indexer, (EMAIL, "nobody@example.com"), &[]).await.unwrap_err();
    assert_eq!(nobody.code, ErrorCode::InvalidGrant);
    for subject in subjects {
        let refused = world.behalf(&indexer, subject, &[]).await.unwrap_err();
        assert_eq!((refused.code, refused.told()), (nobody.code, nobody.told()), "{}", subject.0);
    }
    house.delegate("bob", json!({"agent": "indexer", "servers": ["tickets"]})).await.unwrap();
    eventually("b knows the leave", async || {
        house.b.governance.snapshot().delegations().next().is_some()
    })
    .await;
    for subject in subjects {
        let token = world.behalf(&indexer, subject, &[]).await.unwrap();
        assert_eq!(token["issued_token_type"], ACCESS);
        assert!(token.get("refresh_token").is_none());
        let (said, actor) = (claims(&token), world.own(&indexer).await.unwrap());
        assert_eq!((&said["sub"], &said["act"]["sub"]), (&json!(bob), &claims(&actor)["sub"]));
        for replica in [&house.a, &house.b] {
            let caller = world.at(replica, &token, "tickets").await.unwrap();
            assert_eq!(
                (caller.user.email.as_str(), caller.actor.is_some()),
                ("bob@example.com", true)
            );
            assert!(enters(&replica.governance, &caller, "tickets"));
            // Elsewhere the token is good, and there is no server.
            let caller = world.at(replica, &token, "vault").await.unwrap();
            assert!(!enters(&replica.governance, &caller, "vault"));
        }
    }
    // Proven by the agent's own token, alone or with its credentials.
    let own = world.own(&indexer).await.unwrap();
    let own = text(&own, "access_token");
    let actor = [("actor_token", own), ("actor_token_type", ACCESS)];
    world.behalf(&indexer, subjects[0], &actor).await.unwrap();
    let alone = [("client_id", ""), ("client_secret", ""), actor[0], actor[1]];
    world.behalf(&indexer, subjects[0], &alone).await.unwrap();

    // What thieves try.
    let others = world.own(&other).await.unwrap();
    let others = text(&others, "access_token");
    let behalf = world.behalf(&indexer, subjects[0], &[]).await.unwrap();
    let behalf = text(&behalf, "access_token");
    let (own_id, now) = (indexer.id.clone(), house.a.governance.clock().now().unix_timestamp());
    let forged = |issuer: &str| {
        let claims = json!({"iss": issuer, "sub": bob, "aud": GATEWAY, "iat": now, "exp": now + 300,
            "jti": "x", "client_id": "x", "scope": "mcp:proxy", "sid": bob});
        FOREIGN.sign(&json!({"alg": "EdDSA", "typ": "at+jwt", "kid": "k"}), &claims)
    };
    let (ours_forged, theirs) = (forged(GATEWAY), forged("https://idp.example.com"));
    let agent_id = claims(&world.own(&indexer).await.unwrap())["sub"].as_str().unwrap().to_owned();
    type Case<'a> = (&'a str, (&'a str, &'a str), Vec<(&'a str, &'a str)>);
    let cases: Vec<Case<'_>> = vec![
        ("another agent's token as actor", subjects[0], vec![("actor_token", others), actor[1]]),
        (
            "another agent's token alone",
            subjects[0],
            vec![("client_id", ""), ("client_secret", ""), ("actor_token", others), actor[1]],
        ),
        (
            "another's token, this client id",
            subjects[0],
            vec![("client_secret", ""), ("actor_token", others), actor[1]],
        ),
        ("a person's token as actor", subjects[0], vec![("actor_token", bobs_token), actor[1]]),
        (
            "a token on behalf as actor",
            subjects[0],
            vec![("client_id", ""), ("client_secret", ""), ("actor_token", behalf), actor[1]],
        ),
        ("no token as actor", subjects[0], vec![("actor_token", "x"), actor[1]]),
        ("a token on behalf as subject", (ACCESS, behalf), vec![]),
        ("the agent's token as subject", (ACCESS, own), vec![]),
        ("a forged subject", (ACCESS, &ours_forged), vec![]),
        ("another issuer's subject", (ACCESS, &theirs), vec![]),
        ("the agent as subject, by id", (ID, &agent_id), vec![]),
        ("the agent as subject, by client id", (EMAIL, &own_id), vec![]),
        ("no id", (ID, "bob@example.com"), vec![]),
        ("an id as an address", (EMAIL, &bob), vec![]),
        ("somebody who did not agree", (EMAIL, "carol@example.com"), vec![]),
        ("an administrator", (EMAIL, "root@example.com"), vec![]),
    ];
    for (what, subject, more) in &cases {
        let refused = world.behalf(&indexer, *subject, more).await.unwrap_err();
        assert_eq!((refused.code, refused.told()), (nobody.code, nobody.told()), "{what}");
    }
    let refused = world.behalf(&other, subjects[0], &[]).await.unwrap_err();
    assert_eq!(refused.told(), nobody.told(), "Bob let another agent");
    let proofs = [("client_secret", "x"), ("client_id", other.id.as_str())];
    for proof in proofs {
        let refused = world.behalf(&indexer, subjects[0], &[proof]).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::InvalidClient, "{}", proof.0);
    }
    let vault = format!("{GATEWAY}/api/v1/proxy/vault/mcp");
    for (more, code) in [
        (
            ("subject_token_type", "urn:ietf:params:oauth:token-type:id_token"),
            ErrorCode::InvalidRequest,
        ),
        (("subject_token", ""), ErrorCode::InvalidRequest),
        (("subject_token_type", ""), ErrorCode::InvalidRequest),
        (("actor_token", own), ErrorCode::InvalidRequest),
        (("actor_token_type", ACCESS), ErrorCode::InvalidRequest),
        (
            ("requested_token_type", "urn:ietf:params:oauth:token-type:refresh_token"),
            ErrorCode::InvalidRequest,
        ),
        (("scope", "everything"), ErrorCode::InvalidScope),
        (("resource", "https://other.example"), ErrorCode::InvalidTarget),
        (("resource", vault.as_str()), ErrorCode::InvalidTarget),
    ] {
        let refused = world.behalf(&indexer, subjects[0], &[more]).await.unwrap_err();
        assert_eq!(refused.code, code, "{}", more.0);
    }
    // The person's own session ends: its token vouches for nobody any more.
    let session = claims(&bobs)["sid"].as_str().unwrap().parse().unwrap();
    house.a.governance.oauth().end_session(session).await.unwrap();
    let refused = world.behalf(&indexer, (ACCESS, bobs_token), &[]).await.unwrap_err();
    assert_eq!(refused.told(), nobody.told());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_on_behalf_lives_no_longer_than_the_leave() {
    let world = World::open().await;
    let house = world.house();
    let indexer = world.agent("indexer").await;
    let soon = (house.a.governance.clock().now() + time::Duration::seconds(40))
        .format(&time::format_description::well_known::Rfc3339)
        .unwrap();
    house.delegate("bob", json!({"agent": "indexer", "expires_at": soon})).await.unwrap();
    let bob = (EMAIL, "bob@example.com");
    let token = world.behalf(&indexer, bob, &[]).await.unwrap();
    assert!(
        token["expires_in"].as_i64().is_some_and(|seconds| (1..=40).contains(&seconds)),
        "{token}"
    );
    world.at(&house.a, &token, "tickets").await.unwrap();
    house.clock.advance(41);
    assert!(world.at(&house.a, &token, "tickets").await.is_err());
    assert_eq!(world.behalf(&indexer, bob, &[]).await.unwrap_err().code, ErrorCode::InvalidGrant);
    // Revoked: dead at once here, and soon on the other replica.
    let made = house.delegate("bob", json!({"agent": "indexer"})).await.unwrap();
    let token = world.behalf(&indexer, bob, &[]).await.unwrap();
    assert_eq!(token["expires_in"], 3600);
    eventually("b knows the leave", async || world.at(&house.b, &token, "tickets").await.is_ok())
        .await;
    let revoke = json!({"id": made["id"], "confirm": true});
    house.perform("bob", Face::Rest, "revoke_delegation", revoke).await.unwrap();
    assert!(world.at(&house.a, &token, "tickets").await.is_err());
    eventually("b knows", async || world.at(&house.b, &token, "tickets").await.is_err()).await;
    assert_eq!(world.behalf(&indexer, bob, &[]).await.unwrap_err().code, ErrorCode::InvalidGrant);
}

const IDP: &str = "https://idp.example.com";

/// A house that trusts one identity provider's word, and a client.
async fn vouched() -> World {
    let net = FakeNet::default();
    let jwks = format!("{IDP}/keys");
    net.put(
        &format!("{IDP}/.well-known/openid-configuration"),
        json!({"issuer": IDP, "jwks_uri": jwks}).to_string(),
    );
    net.put(&jwks, OURS.jwks().to_string());
    let mut settings = settings();
    settings.assertion_issuers = vec![Issuer::new(IDP, GATEWAY)];
    let house = House::open_with(&settings, Arc::new(net)).await;
    let metadata = json!({"redirect_uris": [super::oauth::REDIRECT], "client_name": "Test client",
        "token_endpoint_auth_method": "none"});
    let client = register(&house.a, &house, &metadata).await.unwrap();
    let client = text(&client, "client_id").to_owned();
    World { flow: Flow { house, client } }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_provider_vouches_once_for_one_client() {
    let world = vouched().await;
    let house = world.house();
    let now = house.a.governance.clock().now().unix_timestamp();
    let client = world.flow.client.as_str();
    let good = json!({"iss": IDP, "sub": "u-1", "email": "bob@example.com", "aud": GATEWAY,
        "client_id": client, "jti": "1", "iat": now, "exp": now + 300, "scope": "mcp:proxy"});
    let header = json!({"alg": "EdDSA", "kid": "k", "typ": "oauth-id-jag+jwt"});
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims["jti"] = json!(format!("{name}{value}"));
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value;
        }
        claims
    };
    let ask = async |replica: &Replica, assertion: &str, more: &Pairs<'_>| {
        let mut pairs =
            vec![("grant_type", BEARER), ("client_id", client), ("assertion", assertion)];
        pairs.retain(|(name, _)| !more.iter().any(|(other, _)| other == name));
        pairs.extend(more.iter().filter(|(_, value)| !value.is_empty()));
        world.ask(replica, &pairs, None).await
    };
    let assertion = OURS.sign(&header, &good);
    let token = ask(&house.a, &assertion, &[]).await.unwrap();
    assert_eq!((&token["expires_in"], token.get("refresh_token")), (&json!(900), None));
    for replica in [&house.a, &house.b] {
        let caller = world.at(replica, &token, "tickets").await.unwrap();
        assert_eq!((caller.user.email.as_str(), caller.actor.is_none()), ("bob@example.com", true));
        let refused = ask(replica, &assertion, &[]).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::InvalidGrant, "used before");
    }
    let server = house.a.governance.snapshot().server("tickets").unwrap().id;
    let resource = format!("{GATEWAY}/api/v1/proxy/{server}/mcp");
    let narrow = OURS.sign(&header, &with("resource", json!(resource)));
    let token = ask(&house.b, &narrow, &[("resource", &resource)]).await.unwrap();
    assert_eq!(claims(&token)["aud"], json!(resource));
    assert!(world.at(&house.a, &token, "runlayer").await.is_err());

    let told = ask(&house.a, "x", &[]).await.unwrap_err().told();
    let typed = |typ: &str| json!({"alg": "EdDSA", "kid": "k", "typ": typ});
    let mut cases = vec![
        ("another key", FOREIGN.sign(&header, &with("x", json!(1)))),
        ("an access token's type", OURS.sign(&typed("at+jwt"), &with("x", json!(2)))),
        ("a plain JWT", OURS.sign(&typed("JWT"), &with("x", json!(3)))),
        ("no type", OURS.sign(&json!({"alg": "EdDSA", "kid": "k"}), &with("x", json!(4)))),
        (
            "alg none",
            OURS.sign(&json!({"alg": "none", "typ": "oauth-id-jag+jwt"}), &with("x", json!(5))),
        ),
        ("our own token", text(&token, "access_token").to_owned()),
        ("another server's", FOREIGN.sign(&header, &with("iss", json!("https://evil.example")))),
    ];
    for (what, claims) in [
        ("an issuer that nobody trusts", with("iss", json!("https://evil.example"))),
        ("ourselves as issuer", with("iss", json!(GATEWAY))),
        ("another audience", with("aud", json!("https://other.example"))),
        (
            "the token endpoint as audience",
            with("aud", json!(format!("{GATEWAY}/api/v1/oauth/token"))),
        ),
        ("two audiences", with("aud", json!([GATEWAY, IDP]))),
        ("another client", with("client_id", json!("somebody"))),
        ("no client", with("client_id", Value::Null)),
        ("nobody", with("email", json!("nobody@example.com"))),
        ("no address", with("email", Value::Null)),
        ("an address that is not verified", with("email_verified", json!(false))),
        ("an address that is not quite verified", with("email_verified", json!("true"))),
        ("expired", with("exp", json!(now - 1))),
        ("a long life", with("exp", json!(now + 7200))),
        ("no end", with("exp", Value::Null)),
        ("not yet", with("nbf", json!(now + 600))),
        ("no id", with("jti", Value::Null)),
        ("no subject", with("sub", Value::Null)),
    ] {
        cases.push((what, OURS.sign(&header, &claims)));
    }
    for (what, assertion) in &cases {
        let refused = ask(&house.a, assertion, &[]).await.unwrap_err();
        assert_eq!(
            (refused.code, refused.told()),
            (ErrorCode::InvalidGrant, told.clone()),
            "{what}"
        );
    }
    let fresh = |n: u32| OURS.sign(&header, &with("y", json!(n)));
    let vault = format!("{GATEWAY}/api/v1/proxy/vault/mcp");
    for (n, more, code) in [
        (1, ("client_id", "somebody"), ErrorCode::InvalidClient),
        (2, ("client_secret", "x"), ErrorCode::InvalidClient),
        (3, ("assertion", ""), ErrorCode::InvalidRequest),
        (4, ("scope", "everything"), ErrorCode::InvalidScope),
        (5, ("resource", "https://other.example"), ErrorCode::InvalidTarget),
        (6, ("resource", vault.as_str()), ErrorCode::InvalidTarget),
    ] {
        let refused = ask(&house.a, &fresh(n), &[more]).await.unwrap_err();
        assert_eq!(refused.code, code, "{}", more.0);
    }
    let elsewhere = OURS.sign(&header, &with("resource", json!(resource)).clone());
    let refused = ask(&house.a, &elsewhere, &[("resource", GATEWAY)]).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::InvalidTarget);

    // A hundred at once, on two replicas: one gets a token.
    let raced = fresh(7);
    let race = (0..100).map(|n| ask(if n % 2 == 0 { &house.a } else { &house.b }, &raced, &[]));
    let done = raced_by(race).await;
    assert_eq!(done.iter().filter(|result| result.is_ok()).count(), 1);
    let codes = done.iter().filter_map(|result| result.as_ref().err()).map(|error| error.code);
    assert!(codes.into_iter().all(|code| code == ErrorCode::InvalidGrant));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_linked_is_known_by_subject_whatever_the_address() {
    let world = vouched().await;
    let house = world.house();
    let now = house.a.governance.clock().now();
    for (issuer, subject, name) in [(IDP, "u-2", "carol"), ("https://other.example", "u-1", "dora")]
    {
        let email = format!("{name}@example.com");
        let who = Identified {
            issuer,
            subject,
            email: Some(&email),
            name: "",
            groups: None,
            attributes: "{}",
            create: false,
            now,
        };
        house.a.store.admit(&who).await.unwrap();
    }
    let client = world.flow.client.as_str();
    let header = json!({"alg": "EdDSA", "kid": "k", "typ": "oauth-id-jag+jwt"});
    let number = std::cell::Cell::new(0);
    let ask = async |subject: &str, email: Value| {
        number.set(number.get() + 1);
        let at = now.unix_timestamp();
        let mut claims = json!({"iss": IDP, "sub": subject, "email": email, "aud": GATEWAY, "jti": number.get().to_string(),
            "client_id": client, "iat": at, "exp": at + 300, "scope": "mcp:proxy"});
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let assertion = OURS.sign(&header, &claims);
        let pairs = [("grant_type", BEARER), ("client_id", client), ("assertion", &assertion)];
        let token = world.ask(&house.a, &pairs, None).await.map_err(|error| error.code)?;
        Ok(claims_of(&token))
    };
    let id = |name: &str| house.caller(name).user.id.to_string();
    let (bob, carol) = (id("bob"), id("carol"));
    let address = json!("bob@example.com");
    assert_eq!(ask("u-2", address.clone()).await, Ok(carol.clone()), "the subject counts first");
    assert_eq!(ask("u-2", Value::Null).await, Ok(carol));
    assert_eq!(ask("u-1", address.clone()).await, Ok(bob), "a link at another issuer is none here");
    assert_eq!(ask("u-9", Value::Null).await, Err(ErrorCode::InvalidGrant));
    let off = json!({"user": "carol@example.com", "active": false});
    house.perform("root", Face::Rest, "update_user", off).await.unwrap();
    assert_eq!(ask("u-2", address).await, Err(ErrorCode::InvalidGrant), "nor another person's");
}

fn claims_of(token: &Value) -> String {
    claims(token)["sub"].as_str().unwrap().to_owned()
}
