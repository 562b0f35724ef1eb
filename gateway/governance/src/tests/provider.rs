//! An OpenID Connect provider that the tests play: it signs with ring, another implementation than the one that
//! checks, and does whatever a test wants it to do wrong.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use gateway_core::Clock;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Request, Response};
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use url::{Url, form_urlencoded};

use crate::{Fetch, SystemClock};

/// A provider.
pub(super) struct Idp {
    issuer: String,
    state: Mutex<State>,
}

struct State {
    key: Ed25519KeyPair,
    kid: u32,
    /// Claims of the id token besides iss, aud, exp, iat and nonce; `null` leaves one out.
    claims: Value,
    userinfo: Value,
    names_itself: bool,
    header: Option<Value>,
    codes: HashMap<String, (String, String)>,
    asked: Vec<String>,
}

impl Idp {
    pub(super) fn new(issuer: &str) -> Arc<Idp> {
        let state = State {
            key: new_key(),
            kid: 1,
            claims: json!({"sub": "bob-at-idp", "email": "bob@example.com", "email_verified": true}),
            userinfo: json!({"sub": "bob-at-idp"}),
            names_itself: false,
            header: None,
            codes: HashMap::new(),
            asked: Vec::new(),
        };
        Arc::new(Idp { issuer: issuer.into(), state: Mutex::new(state) })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn says(&self, claims: Value) {
        self.state().claims = claims;
    }

    pub(super) fn tells(&self, userinfo: Value) {
        self.state().userinfo = userinfo;
    }

    pub(super) fn promises_its_name(&self) {
        self.state().names_itself = true;
    }

    pub(super) fn signs_with_header(&self, header: Value) {
        self.state().header = Some(header);
    }

    pub(super) fn rotate(&self) {
        let mut state = self.state();
        (state.key, state.kid) = (new_key(), state.kid + 1);
    }

    pub(super) fn times(&self, path: &str) -> usize {
        self.state().asked.iter().filter(|asked| *asked == path).count()
    }

    /// The person agrees at the provider's page: where the browser is sent back to.
    pub(super) fn agree(&self, authorization: &Url) -> String {
        let query: HashMap<_, _> = authorization.query_pairs().into_owned().collect();
        assert_eq!(query["response_type"], "code");
        assert_eq!(query["code_challenge_method"], "S256");
        assert_eq!(query["client_id"], "gateway");
        assert_eq!(query["redirect_uri"], "https://gw.example.com/sign-in/callback");
        assert!(query["scope"].split(' ').any(|scope| scope == "openid"));
        let mut state = self.state();
        let code = format!("code-{}", state.codes.len());
        let bound = (query["code_challenge"].clone(), query["nonce"].clone());
        state.codes.insert(code.clone(), bound);
        form_urlencoded::Serializer::new(String::new())
            .append_pair("code", &code)
            .append_pair("state", &query["state"])
            .append_pair("iss", &self.issuer)
            .finish()
    }

    fn answer(&self, request: &Request<Bytes>) -> (u16, Value) {
        let path = request.uri().path().to_owned();
        let mut state = self.state();
        state.asked.push(path.clone());
        match path.as_str() {
            "/.well-known/openid-configuration" => (200, self.discovery(&state)),
            "/jwks" => (200, json!({"keys": [state.jwk()]})),
            "/token" => self.tokens(&mut state, request),
            "/userinfo" => {
                assert_eq!(request.headers()[AUTHORIZATION], "Bearer access");
                (200, state.userinfo.clone())
            }
            _ => (404, json!({})),
        }
    }

    fn discovery(&self, state: &State) -> Value {
        json!({
            "issuer": self.issuer,
            "authorization_endpoint": format!("{}/authorize", self.issuer),
            "token_endpoint": format!("{}/token", self.issuer),
            "userinfo_endpoint": format!("{}/userinfo", self.issuer),
            "jwks_uri": format!("{}/jwks", self.issuer),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["EdDSA", "RS256", "HS256", "none"],
            "authorization_response_iss_parameter_supported": state.names_itself,
        })
    }

    fn tokens(&self, state: &mut State, request: &Request<Bytes>) -> (u16, Value) {
        let form: HashMap<_, _> = form_urlencoded::parse(request.body()).into_owned().collect();
        assert_eq!(form["redirect_uri"], "https://gw.example.com/sign-in/callback");
        let expected = format!("Basic {}", STANDARD.encode("gateway:s3cret"));
        assert_eq!(request.headers()[AUTHORIZATION], expected.as_str());
        let verifier = digest(&SHA256, form["code_verifier"].as_bytes());
        let Some((challenge, nonce)) = state.codes.remove(&form["code"]) else {
            return (400, json!({"error": "invalid_grant"}));
        };
        if URL_SAFE_NO_PAD.encode(verifier) != challenge {
            return (400, json!({"error": "invalid_grant"}));
        }
        let token = state.id_token(&self.issuer, &nonce);
        (200, json!({"access_token": "access", "token_type": "Bearer", "id_token": token}))
    }
}

impl State {
    fn jwk(&self) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA",
            "kid": self.kid.to_string(), "x": URL_SAFE_NO_PAD.encode(self.key.public_key())})
    }

    fn id_token(&self, issuer: &str, nonce: &str) -> String {
        let now = SystemClock.now().unix_timestamp();
        let mut claims = json!({"iss": issuer, "aud": "gateway", "nonce": nonce, "iat": now,
            "exp": now + 300});
        for (name, value) in self.claims.as_object().unwrap() {
            if value.is_null() {
                claims.as_object_mut().unwrap().remove(name);
            } else {
                claims[name] = value.clone();
            }
        }
        let usual = json!({"alg": "EdDSA", "kid": self.kid.to_string()});
        let header = self.header.clone().unwrap_or(usual);
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", encode(&header), encode(&claims));
        let signature = match header["alg"].as_str() {
            Some("none") => Vec::new(),
            Some("HS256") => {
                let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"s3cret");
                ring::hmac::sign(&key, message.as_bytes()).as_ref().to_vec()
            }
            _ => self.key.sign(message.as_bytes()).as_ref().to_vec(),
        };
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn new_key() -> Ed25519KeyPair {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap()
}

/// Every provider there is.
pub(super) struct Providers(pub(super) Vec<Arc<Idp>>);

#[async_trait]
impl Fetch for Providers {
    async fn send(&self, request: Request<Bytes>, _: usize) -> Result<Response<Bytes>, String> {
        let url = request.uri().to_string();
        let idp = self.0.iter().find(|idp| url.starts_with(&idp.issuer)).ok_or("no such host")?;
        let (status, body) = idp.answer(&request);
        let answer = Response::builder().status(status).header(CONTENT_TYPE, "application/json");
        answer.body(Bytes::from(body.to_string())).map_err(|error| error.to_string())
    }
}
