//! The hosts that [`crate::Fetch`] reaches in tests: one server that demands tokens and its authorization server, whose
//! answers a test bends. Everything that is asked is remembered.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use url::Url;

use crate::ports::Fetch;

pub(super) const SERVER: &str = "https://up.test/mcp";
pub(super) const ISSUER: &str = "https://as.test";
/// Begins every secret that the issuer gives out: none of it may be seen anywhere.
pub(super) const CANARY: &str = "canary-7f3a";

/// How the hosts behave.
pub(super) struct Bent {
    pub(super) challenge: Option<String>,
    pub(super) resource: String,
    pub(super) issuers: Vec<String>,
    /// The issuer's metadata, with what a test changed.
    pub(super) metadata: Value,
    /// Answered to every request for tokens.
    pub(super) token_error: Option<(u16, Value)>,
    pub(super) expires_in: Option<i64>,
    pub(super) refreshes: bool,
    /// No metadata of any kind: endpoints by convention at the server's own origin.
    pub(super) bare: bool,
    /// What the server answers without a token, by JSON-RPC method; 401 for the rest.
    pub(super) open: HashMap<String, u16>,
    /// Codes that were given out, with their challenge.
    codes: HashMap<String, String>,
    refresh: Option<String>,
    count: u32,
    /// Method and address of everything that was asked, and its form.
    pub(super) asked: Vec<(String, HashMap<String, String>)>,
}

impl Default for Bent {
    fn default() -> Bent {
        Bent {
            challenge: None,
            resource: SERVER.into(),
            issuers: vec![ISSUER.into()],
            metadata: json!({
                "issuer": ISSUER,
                "authorization_endpoint": "https://as.test/authorize?tenant=1",
                "token_endpoint": "https://as.test/token",
                "registration_endpoint": "https://as.test/register",
                "revocation_endpoint": "https://as.test/revoke",
                "response_types_supported": ["code"],
                "code_challenge_methods_supported": ["S256"],
                "authorization_response_iss_parameter_supported": true,
            }),
            token_error: None,
            expires_in: Some(3600),
            refreshes: true,
            bare: false,
            open: HashMap::new(),
            codes: HashMap::new(),
            refresh: None,
            count: 0,
            asked: Vec::new(),
        }
    }
}

/// The hosts.
#[derive(Default)]
pub(super) struct World(Mutex<Bent>);

impl World {
    pub(super) fn bend(&self) -> MutexGuard<'_, Bent> {
        self.0.lock().unwrap()
    }

    /// What the issuer's consent page does once the person agrees: the redirect's query.
    pub(super) fn agree(&self, consent: &Url) -> HashMap<String, String> {
        let query: HashMap<String, String> = consent.query_pairs().into_owned().collect();
        assert_eq!(query["code_challenge_method"], "S256");
        assert_eq!(query["response_type"], "code");
        assert_eq!(query["redirect_uri"], "https://gw.example.com/connect/callback");
        let mut bent = self.bend();
        match bent.bare {
            true => {
                assert!(consent.as_str().starts_with("https://up.test/authorize?"), "{consent}")
            }
            false => assert_eq!(query["tenant"], "1", "the endpoint's own query stays"),
        }
        bent.count += 1;
        let code = format!("{CANARY}-code-{}", bent.count);
        bent.codes.insert(code.clone(), query["code_challenge"].clone());
        let pairs = [("code", code), ("state", query["state"].clone()), ("iss", ISSUER.into())];
        let named = if bent.bare { 2 } else { 3 };
        pairs.into_iter().take(named).map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// How often something at that address was asked for.
    pub(super) fn times(&self, what: &str) -> usize {
        self.bend().asked.iter().filter(|(asked, _)| asked.starts_with(what)).count()
    }
}

impl Bent {
    fn answer(&mut self, request: &Request<Bytes>) -> (u16, Value) {
        let url = request.uri().to_string();
        let form: HashMap<String, String> =
            url::form_urlencoded::parse(request.body()).into_owned().collect();
        self.asked.push((format!("{} {url}", request.method()), form.clone()));
        let said: Value = serde_json::from_slice(request.body()).unwrap_or_default();
        match (request.method(), url.as_str()) {
            (&Method::POST, SERVER) => {
                let method = said["method"].as_str().unwrap_or_default();
                (self.open.get(method).copied().unwrap_or(401), Value::Null)
            }
            (&Method::GET, _) if self.bare => (404, json!({})),
            (&Method::POST, "https://up.test/register") if self.bare => (
                201,
                json!({"client_id": "registered client", "client_secret": format!("{CANARY}-client")}),
            ),
            (&Method::POST, "https://up.test/token") if self.bare => self.token(request, &form),
            (&Method::GET, "https://up.test/.well-known/oauth-protected-resource/mcp") => (
                200,
                json!({"resource": self.resource, "authorization_servers": self.issuers, "scopes_supported": ["read"]}),
            ),
            (&Method::GET, "https://as.test/.well-known/oauth-authorization-server") => {
                (200, self.metadata.clone())
            }
            (&Method::POST, "https://as.test/register") => {
                let id = "registered client";
                (201, json!({"client_id": id, "client_secret": format!("{CANARY}-client")}))
            }
            (&Method::POST, "https://as.test/token") => self.token(request, &form),
            (&Method::POST, "https://as.test/revoke") => (200, json!({})),
            _ => (404, json!({})),
        }
    }

    fn token(&mut self, request: &Request<Bytes>, form: &HashMap<String, String>) -> (u16, Value) {
        if let Some(error) = &self.token_error {
            return error.clone();
        }
        let refused = |code: &str| (400, json!({"error": code, "error_description": CANARY}));
        let proof = format!("registered+client:{CANARY}-client");
        let proof = format!("Basic {}", STANDARD.encode(proof));
        let sent = request.headers().get("authorization").map(|v| v.to_str().unwrap().to_owned());
        let exchange = form["grant_type"].ends_with("token-exchange");
        if sent.as_deref() != Some(&proof)
            && !exchange
            && form["grant_type"] != "client_credentials"
        {
            return (401, json!({"error": "invalid_client"}));
        }
        match form["grant_type"].as_str() {
            "authorization_code" => {
                let verifier = form["code_verifier"].as_bytes();
                let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier));
                if self.codes.remove(&form["code"]) != Some(challenge) {
                    return refused("invalid_grant");
                }
            }
            "refresh_token" if self.refresh.as_ref() != Some(&form["refresh_token"]) => {
                return refused("invalid_grant");
            }
            _ => {}
        }
        self.count += 1;
        let count = self.count;
        let mut answer =
            json!({"access_token": format!("{CANARY}-access-{count}"), "token_type": "Bearer"});
        if let Some(seconds) = self.expires_in {
            answer["expires_in"] = json!(seconds);
        }
        if self.refreshes {
            let refresh = format!("{CANARY}-refresh-{count}");
            self.refresh = Some(refresh.clone());
            answer["refresh_token"] = json!(refresh);
        }
        (200, answer)
    }
}

#[async_trait]
impl Fetch for World {
    async fn send(
        &self,
        request: Request<Bytes>,
        _limit: usize,
    ) -> Result<Response<Bytes>, String> {
        if !matches!(request.uri().host(), Some("up.test" | "as.test")) {
            return Err("nothing is there".into());
        }
        // Others get a chance to ask at the same time.
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        let (status, body) = self.bend().answer(&request);
        let mut answer = Response::new(Bytes::from(body.to_string()));
        *answer.status_mut() = StatusCode::from_u16(status).unwrap();
        let challenge = self.bend().challenge.clone();
        if let Some(challenge) = challenge.filter(|_| status == 401) {
            answer.headers_mut().insert("www-authenticate", challenge.parse().unwrap());
        }
        Ok(answer)
    }
}
