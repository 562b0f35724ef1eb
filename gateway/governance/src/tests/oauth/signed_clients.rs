//! Clients whose metadata document declares keys: tokens for who signs with them, and for nobody else.

use std::sync::Arc;

use serde_json::{Value, json};

use super::super::house::{House, Replica};
use super::super::signer::{FOREIGN, OURS};
use super::{BROWSER, CHALLENGE, Flow, GATEWAY, REDIRECT, VERIFIER, changed, form, text, value};
use crate::Face;
use crate::oauth::{ErrorCode, Form, OauthError, TokenRequest};
use crate::testing::{FakeNet, settings};

const ID: &str = "https://app.example.com/client.json";
/// Another client, without keys.
const OTHER: &str = "https://other.example.com/client.json";
const KEYS: &str = "https://keys.example.net/app.json";
const JWT: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const DEVICE: &str = "urn:ietf:params:oauth:grant-type:device_code";

struct App {
    flow: Flow,
    net: Arc<FakeNet>,
    count: std::sync::atomic::AtomicU32,
}

impl App {
    /// A client that declares its keys with these members.
    async fn open(keys: Value) -> App {
        let net = Arc::new(FakeNet::default());
        let mut document = json!({"client_id": ID, "client_name": "App",
            "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "private_key_jwt"});
        for (name, value) in keys.as_object().unwrap() {
            document[name] = value.clone();
        }
        net.put(ID, document.to_string());
        let other = json!({"client_id": OTHER, "redirect_uris": [REDIRECT]});
        net.put(OTHER, other.to_string());
        net.put(KEYS, OURS.jwks().to_string());
        let house = House::open_with(&settings(), net.clone()).await;
        App { flow: Flow { house, client: ID.to_owned() }, net, count: 0.into() }
    }

    fn claims(&self, change: &[(&str, Value)]) -> Value {
        let now = self.flow.house.a.governance.clock().now().unix_timestamp();
        let n = self.count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut claims = json!({"iss": ID, "sub": ID, "aud": GATEWAY, "iat": now, "exp": now + 120,
            "jti": n.to_string()});
        for (name, value) in change {
            match value.is_null() {
                true => drop(claims.as_object_mut().unwrap().remove(*name)),
                false => claims[*name] = value.clone(),
            }
        }
        claims
    }

    fn assertion(&self, change: &[(&str, Value)]) -> String {
        OURS.sign(&header(), &self.claims(change))
    }

    /// Redeems a code with that assertion; further ways to change the request.
    async fn redeem(
        &self,
        replica: &Replica,
        (code, assertion): (&str, &str),
        change: &[(&str, &str)],
    ) -> Result<Value, OauthError> {
        let good = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", "http://127.0.0.1:49152/callback"),
            ("code_verifier", VERIFIER),
            ("client_assertion_type", JWT),
            ("client_assertion", assertion),
        ];
        self.flow.token(replica, &changed(&good, change)).await
    }

    async fn refresh(&self, token: &str, more: &[(&str, &str)]) -> Result<Value, OauthError> {
        let mut pairs = vec![("grant_type", "refresh_token"), ("refresh_token", token)];
        pairs.extend_from_slice(more);
        self.flow.token(&self.flow.house.b, &form(&pairs)).await
    }

    async fn device(&self, more: &[(&str, &str)]) -> Result<Value, OauthError> {
        let form = Form::parse(form(more).as_bytes())?;
        let origin = self.flow.house.origin(Face::Rest);
        let request = TokenRequest { form: &form, authorization: None, origin: &origin };
        let started = self.flow.house.a.governance.oauth().start_device(request).await?;
        Ok(serde_json::from_str(&started.json()).unwrap())
    }

    async fn revoke(&self, more: &[(&str, &str)]) -> Result<(), OauthError> {
        let form = Form::parse(form(more).as_bytes())?;
        let origin = self.flow.house.origin(Face::Rest);
        let request = TokenRequest { form: &form, authorization: None, origin: &origin };
        self.flow.house.a.governance.oauth().revoke(request).await
    }
}

fn header() -> Value {
    json!({"alg": "EdDSA", "kid": "k", "typ": "JWT"})
}

fn signed(assertion: &str) -> [(&str, &str); 2] {
    [("client_assertion_type", JWT), ("client_assertion", assertion)]
}

#[track_caller]
fn not_proven<T>(result: Result<T, OauthError>, what: &str) {
    let error = result.err().unwrap_or_else(|| panic!("{what}: taken"));
    assert_eq!(error.code, ErrorCode::InvalidClient, "{what}");
    assert_eq!(error.told(), "the client is unknown or did not prove itself", "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_keys_signs_for_every_token() {
    for keys in [json!({"jwks": OURS.jwks()}), json!({"jwks_uri": KEYS})] {
        let app = App::open(keys).await;
        let house = &app.flow.house;
        let asked = house.a.governance.oauth().ask(&app.flow.query(&[]), &BROWSER).await.unwrap();
        assert_eq!(asked.client_host.as_deref(), Some("app.example.com"));
        // As anybody would come who stole the code: nothing happens, and the code is still good.
        let code = app.flow.code(&[]).await;
        not_proven(app.flow.redeem(&house.a, &code, &[]).await, "public");
        let secret = [("client_secret", "x")];
        not_proven(app.flow.redeem(&house.a, &code, &secret).await, "a secret");
        let assertion = app.assertion(&[]);
        let tokens = app.redeem(&house.a, (&code, &assertion), &[]).await.unwrap();
        let caller = app.flow.at(&house.b, text(&tokens, "access_token"), GATEWAY).await.unwrap();
        assert_eq!(caller.user.email, "bob@example.com");
        // The same proof again, on either replica, whatever it comes with.
        let refresh = text(&tokens, "refresh_token");
        not_proven(app.refresh(refresh, &signed(&assertion)).await, "replayed");
        not_proven(app.refresh(refresh, &[("client_id", ID)]).await, "public");
        let endpoint = json!(format!("{GATEWAY}/api/v1/oauth/token"));
        let assertion = app.assertion(&[("aud", endpoint)]);
        let tokens = app.refresh(refresh, &signed(&assertion)).await.unwrap();
        // Its devices, too, from beginning to end.
        not_proven(app.device(&[("client_id", ID)]).await, "public");
        let device = app.device(&signed(&app.assertion(&[]))).await.unwrap();
        let bob = house.caller("bob").user;
        let (oauth, origin) = (house.b.governance.oauth(), house.origin(Face::Rest));
        oauth.decide_device(text(&device, "user_code"), &bob, true, &origin).await.unwrap();
        let poll = [("grant_type", DEVICE), ("device_code", text(&device, "device_code"))];
        let public = form(&[poll[0], poll[1], ("client_id", ID)]);
        not_proven(app.flow.token(&house.b, &public).await, "public");
        let assertion = app.assertion(&[]);
        let [kind, token] = signed(&assertion);
        app.flow.token(&house.b, &form(&[poll[0], poll[1], kind, token])).await.unwrap();
        // And for giving a token back.
        let token = ("token", text(&tokens, "refresh_token"));
        not_proven(app.revoke(&[token, ("client_id", ID)]).await, "public");
        assert!(app.flow.at(&house.a, text(&tokens, "access_token"), GATEWAY).await.is_ok());
        let assertion = app.assertion(&[]);
        let [kind, proof] = signed(&assertion);
        app.revoke(&[token, kind, proof]).await.unwrap();
        assert!(app.flow.at(&house.a, text(&tokens, "access_token"), GATEWAY).await.is_err());
        assert!(app.net.times(ID) <= 2 && app.net.times(KEYS) <= 2, "once for each replica");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_prove_a_client() {
    let app = App::open(json!({"jwks_uri": KEYS})).await;
    let house = &app.flow.house;
    let now = house.a.governance.clock().now().unix_timestamp();
    let with = |name: &str, value: Value| app.assertion(&[(name, value)]);
    let under = |header: Value| OURS.sign(&header, &app.claims(&[]));
    let cases = [
        ("another key", FOREIGN.sign(&header(), &app.claims(&[]))),
        ("alg none", under(json!({"alg": "none", "kid": "k"}))),
        ("alg HS256", under(json!({"alg": "HS256", "kid": "k"}))),
        ("another kid", under(json!({"alg": "EdDSA", "kid": "l"}))),
        ("its own key", under(json!({"alg": "EdDSA", "jwk": OURS.jwks()["keys"][0]}))),
        ("its own key's address", under(json!({"alg": "EdDSA", "jku": KEYS}))),
        ("an access token's type", under(json!({"alg": "EdDSA", "kid": "k", "typ": "at+jwt"}))),
        ("an identity assertion's", under(json!({"alg": "EdDSA", "typ": "oauth-id-jag+jwt"}))),
        ("no JWT", "x.y".to_owned()),
        ("another client's", with("iss", json!(OTHER))),
        ("about another client", with("sub", json!(OTHER))),
        ("about nobody", with("sub", Value::Null)),
        ("for another", with("aud", json!("https://other.example"))),
        ("for a server", with("aud", json!(format!("{GATEWAY}/api/v1/proxy/tickets/mcp")))),
        ("for two", with("aud", json!([GATEWAY, "https://other.example"]))),
        ("for nobody", with("aud", Value::Null)),
        ("expired", with("exp", json!(now - 1))),
        ("a long life", with("exp", json!(now + 3600))),
        ("no end", with("exp", Value::Null)),
        ("not yet", with("nbf", json!(now + 600))),
        ("no id", with("jti", Value::Null)),
    ];
    let code = app.flow.code(&[]).await;
    for (what, assertion) in &cases {
        not_proven(app.redeem(&house.a, (&code, assertion), &[]).await, what);
    }
    for (change, code_) in [
        (("client_id", OTHER), ErrorCode::InvalidClient),
        (("client_assertion_type", "urn:x"), ErrorCode::InvalidClient),
        (("client_assertion_type", ""), ErrorCode::InvalidRequest),
        (("client_secret", "x"), ErrorCode::InvalidRequest),
    ] {
        let assertion = app.assertion(&[]);
        let refused = app.redeem(&house.a, (&code, &assertion), &[change]).await.unwrap_err();
        assert_eq!(refused.code, code_, "{change:?}");
    }
    // A flood of unknown keys is no flood at the client's own host.
    assert!(app.net.times(KEYS) <= 2, "{}", app.net.times(KEYS));
    // None of that used the code up.
    let assertion = app.assertion(&[]);
    app.redeem(&house.a, (&code, &assertion), &[]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_changes_its_keys_and_its_mind() {
    let app = App::open(json!({"jwks_uri": KEYS})).await;
    let house = &app.flow.house;
    let code = app.flow.code(&[]).await;
    let assertion = app.assertion(&[]);
    let tokens = app.redeem(&house.b, (&code, &assertion), &[]).await.unwrap();
    app.net.put(KEYS, FOREIGN.jwks().to_string());
    house.later(601).await;
    let refresh = text(&tokens, "refresh_token");
    let refused = app.refresh(refresh, &signed(&app.assertion(&[]))).await;
    not_proven(refused, "the former key, once it is replaced");
    let assertion = FOREIGN.sign(&header(), &app.claims(&[]));
    let tokens = app.refresh(refresh, &signed(&assertion)).await.unwrap();
    // Its keys are away: it is refused, not let in.
    app.net.remove(KEYS);
    let stranger = FOREIGN.sign(&json!({"alg": "EdDSA", "kid": "new"}), &app.claims(&[]));
    not_proven(app.refresh(text(&tokens, "refresh_token"), &signed(&stranger)).await, "no keys");
    // What it declared for the sign-in counts for the whole of it only as long as it stands there.
    let public = json!({"client_id": ID, "client_name": "App", "redirect_uris": [REDIRECT]});
    app.net.put(ID, public.to_string());
    house.later(901).await;
    let assertion = FOREIGN.sign(&header(), &app.claims(&[]));
    let refresh = text(&tokens, "refresh_token");
    not_proven(app.refresh(refresh, &signed(&assertion)).await, "it signs no more");
    app.refresh(refresh, &[("client_id", ID)]).await.unwrap();
    // A client without keys, and one that registered, prove nothing by signing.
    let query = app.flow.query(&[("code_challenge", CHALLENGE.as_str())]);
    let asked = house.a.governance.oauth().ask(&query, &BROWSER).await.unwrap();
    let (bob, origin) = (house.caller("bob").user, house.origin(Face::Rest));
    let url = house.a.governance.oauth().grant(&asked, &bob, &origin).await.unwrap();
    let code = value(&super::parameters(&url), "code").unwrap();
    let assertion = FOREIGN.sign(&header(), &app.claims(&[]));
    not_proven(app.redeem(&house.a, (&code, &assertion), &[]).await, "public, signed");
}
