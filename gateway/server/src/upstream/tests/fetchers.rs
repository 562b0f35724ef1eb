//! Everything that fetches on somebody's word, given every spelling of places that nobody may reach: whoever can write
//! a server's or an issuer's metadata, or the address of a client's, must not reach them through the gateway (E1).

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use gateway_core::caller::{AuthMethod, Caller};
use gateway_core::server::{
    OauthClient, Secret, SecretSource, Server, TokenExchange, UpstreamAuth,
};
use gateway_governance::Fetch;
use http::{Request, Response, StatusCode};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::addresses::SPELLINGS;
use super::fixture::{Script, Upstream, guard, ok, server, settings};
use crate::control::testing::{Organisation, Person};
use crate::upstream::Leg;

/// Where a poisoned address is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fetcher {
    ResourceMetadata,
    IssuerMetadata,
    Registration,
    Token,
    ExchangedToken,
    ClientMetadata,
}

/// Two hosts that say what a test wants; the way to every other host is the real one.
struct Hosts {
    leg: Leg,
    poison: Mutex<(Fetcher, String)>,
    /// What went to the real way.
    escaped: Mutex<Vec<String>>,
}

impl Hosts {
    fn page(&self, path: &str) -> (u16, Option<String>, Value) {
        let (fetcher, poison) = self.poison.lock().unwrap().clone();
        let at = |here: Fetcher, usual: &str| match fetcher == here {
            true => poison.clone(),
            false => usual.to_owned(),
        };
        match path {
            "/mcp" => {
                let challenge = format!("Bearer resource_metadata=\"{poison}\"");
                let told = (fetcher == Fetcher::ResourceMetadata).then_some(challenge);
                (401, told, Value::Null)
            }
            "/.well-known/oauth-protected-resource/mcp" => {
                let issuer = at(Fetcher::IssuerMetadata, "http://as.test");
                (
                    200,
                    None,
                    json!({"resource": "http://up.test/mcp", "authorization_servers": [issuer]}),
                )
            }
            "/.well-known/oauth-authorization-server" => {
                let metadata = json!({
                    "issuer": "http://as.test",
                    "authorization_endpoint": "http://as.test/authorize",
                    "token_endpoint": at(Fetcher::Token, "http://as.test/token"),
                    "registration_endpoint": at(Fetcher::Registration, "http://as.test/register"),
                    "code_challenge_methods_supported": ["S256"],
                });
                (200, None, metadata)
            }
            _ => (404, None, Value::Null),
        }
    }
}

#[async_trait]
impl Fetch for Hosts {
    async fn send(&self, request: Request<Bytes>, limit: usize) -> Result<Response<Bytes>, String> {
        if !matches!(request.uri().host(), Some("up.test" | "as.test")) {
            self.escaped.lock().unwrap().push(request.uri().to_string());
            return Fetch::send(&self.leg, request, limit).await;
        }
        let (status, challenge, body) = self.page(request.uri().path());
        let mut answer = Response::new(Bytes::from(body.to_string()));
        *answer.status_mut() = StatusCode::from_u16(status).unwrap();
        // What is no header is no way to be poisoned.
        if let Some(value) = challenge.and_then(|text| http::HeaderValue::try_from(text).ok()) {
            answer.headers_mut().insert("www-authenticate", value);
        }
        Ok(answer)
    }
}

/// A server of the organisation's that signs in that way.
fn signing_in(organisation: &Organisation, auth: UpstreamAuth) -> Server {
    let id = organisation.governance.snapshot().server("tickets").unwrap().id;
    Server { id, auth, ..server("http://up.test/mcp") }
}

fn known(scope: &str) -> OauthClient {
    let secret = Secret {
        from: SecretSource::Env("ABSENT".into()),
        value: Some(SecretString::from("secret")),
    };
    OauthClient {
        issuer: None,
        client_id: Some("gw".into()),
        client_secret: Some(secret),
        scopes: vec![scope.to_owned()],
    }
}

/// Asks the fetcher for what is at the poisoned address; true when it came.
async fn came(organisation: &Organisation, fetcher: Fetcher, address: &str, number: usize) -> bool {
    let governance = &organisation.governance;
    let user = organisation.caller(Person::User).user;
    let caller = Caller::new(user, AuthMethod::Browser, "browser");
    let connections = governance.connections();
    // Each its own place among the tokens that are held.
    let scope = format!("s{number}");
    match fetcher {
        Fetcher::ResourceMetadata | Fetcher::IssuerMetadata | Fetcher::Registration => {
            let auth = UpstreamAuth::OauthUser(OauthClient::default());
            connections.begin(&caller, &signing_in(organisation, auth)).await.is_ok()
        }
        Fetcher::Token => {
            let auth = UpstreamAuth::OauthShared(known(&scope));
            connections.credential(None, &signing_in(organisation, auth)).await.is_ok()
        }
        Fetcher::ExchangedToken => {
            let token_url = Some(address.to_owned());
            let exchange = TokenExchange { client: known(&scope), token_url, audience: None };
            let server = signing_in(organisation, UpstreamAuth::TokenExchange(exchange));
            connections.credential(Some(&caller), &server).await.is_ok()
        }
        Fetcher::ClientMetadata => {
            let query = url::form_urlencoded::Serializer::new(String::new())
                .append_pair("response_type", "code")
                .append_pair("client_id", address)
                .append_pair("redirect_uri", "http://127.0.0.1/callback")
                .append_pair("code_challenge", &"a".repeat(43))
                .append_pair("code_challenge_method", "S256")
                .finish();
            governance.oauth().ask(&query, &[7; 32]).await.is_ok()
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_fetcher_reaches_what_is_not_allowed() {
    let canary = Upstream::start(Script::Answer(ok("{}"))).await;
    let port = canary.address.port().to_string();
    let hosts = Arc::new(Hosts {
        leg: Leg::new(guard(&[]), settings()),
        poison: Mutex::new((Fetcher::Token, String::new())),
        escaped: Mutex::default(),
    });
    let organisation = Organisation::reaching(hosts.clone()).await;
    let plain = SPELLINGS.iter().map(|form| form.replace("PORT", &port));
    let forms: Vec<String> = plain
        .flat_map(|form| {
            let rest = form.trim_start_matches("http://").to_owned();
            let path = format!("{form}a/../b?c=//d#");
            [
                format!("https://{rest}"),
                format!("HTTP://{rest}"),
                path.trim_end_matches('#').into(),
                form,
            ]
        })
        .collect();
    assert!(forms.len() >= 150, "{}", forms.len());
    let fetchers = [
        Fetcher::ResourceMetadata,
        Fetcher::IssuerMetadata,
        Fetcher::Registration,
        Fetcher::Token,
        Fetcher::ExchangedToken,
        Fetcher::ClientMetadata,
    ];
    for fetcher in fetchers {
        hosts.escaped.lock().unwrap().clear();
        for (number, form) in forms.iter().enumerate() {
            *hosts.poison.lock().unwrap() = (fetcher, form.clone());
            assert!(!came(&organisation, fetcher, form, number).await, "{fetcher:?} {form}");
        }
        // Most forms do get as far as the guard; a client's address is refused before that unless it is https.
        let asked = hosts.escaped.lock().unwrap().len();
        let expected = if fetcher == Fetcher::ClientMetadata { 1 } else { forms.len() / 4 };
        assert!(asked >= expected, "{fetcher:?} asked {asked} times only");
    }
    assert_eq!(canary.connections(), 0);
}
