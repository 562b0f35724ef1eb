//! Everything that fetches on somebody's word, given every spelling of places that nobody may reach: whoever can write
//! a server's or an issuer's metadata, or a client's, must not reach them through the gateway (E1).

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use gateway_core::caller::{AuthMethod, Caller};
use gateway_core::server::{
    OauthClient, Secret, SecretSource, Server, TokenExchange, UpstreamAuth,
};
use gateway_governance::oauth::{Form, TokenRequest};
use gateway_governance::{Face, Fetch, GovernanceSettings, Issuer, Presented, Provider};
use http::{Request, Response, StatusCode};
use ring::signature::{Ed25519KeyPair, KeyPair};
use secrecy::SecretString;
use serde_json::{Value, json};
use url::form_urlencoded::Serializer;

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
    ClientKeys,
    /// The keys of an issuer of tokens.
    IssuerKeys,
    ProviderDiscovery,
    ProviderKeys,
    ProviderToken,
    ProviderUserinfo,
}

const FETCHERS: [Fetcher; 12] = [
    Fetcher::ResourceMetadata,
    Fetcher::IssuerMetadata,
    Fetcher::Registration,
    Fetcher::Token,
    Fetcher::ExchangedToken,
    Fetcher::ClientMetadata,
    Fetcher::ClientKeys,
    Fetcher::IssuerKeys,
    Fetcher::ProviderDiscovery,
    Fetcher::ProviderKeys,
    Fetcher::ProviderToken,
    Fetcher::ProviderUserinfo,
];

/// Three hosts that say what a test wants; the way to every other host is the real one.
struct Hosts {
    leg: Leg,
    poison: Mutex<(Fetcher, String)>,
    /// What went to the real way.
    escaped: Mutex<Vec<String>>,
    /// What the provider signs with, and the nonce that it was last given.
    key: Ed25519KeyPair,
    nonce: Mutex<String>,
}

impl Hosts {
    /// `usual`, unless this is where the poison is.
    fn at(&self, here: Fetcher, usual: &str) -> String {
        let (fetcher, poison) = self.poison.lock().unwrap().clone();
        if fetcher == here { poison } else { usual.to_owned() }
    }

    fn page(&self, path: &str) -> (u16, Option<String>, Value) {
        match path {
            "/mcp" => {
                let poison = self.at(Fetcher::ResourceMetadata, "");
                let challenge = format!("Bearer resource_metadata=\"{poison}\"");
                (401, Some(challenge).filter(|_| !poison.is_empty()), Value::Null)
            }
            "/.well-known/oauth-protected-resource/mcp" => {
                let issuer = self.at(Fetcher::IssuerMetadata, "http://as.test");
                let servers = json!([issuer]);
                let metadata =
                    json!({"resource": "http://up.test/mcp", "authorization_servers": servers});
                (200, None, metadata)
            }
            "/.well-known/oauth-authorization-server" => {
                let metadata = json!({
                    "issuer": "http://as.test",
                    "authorization_endpoint": "http://as.test/authorize",
                    "token_endpoint": self.at(Fetcher::Token, "http://as.test/token"),
                    "registration_endpoint":
                        self.at(Fetcher::Registration, "http://as.test/register"),
                    "code_challenge_methods_supported": ["S256"],
                });
                (200, None, metadata)
            }
            _ => match path.rsplit_once('/') {
                Some((_, "openid-configuration")) => (200, None, self.openid(path)),
                Some((_, "keys")) => (200, None, self.keys()),
                Some((_, "userinfo")) => (200, None, json!({"sub": "s"})),
                Some((base, "token")) => (200, None, self.tokens(base)),
                Some(("/client", name)) => (200, None, self.client(name)),
                Some(_) | None => (404, None, Value::Null),
            },
        }
    }

    /// An issuer's or a provider's discovery document.
    fn openid(&self, path: &str) -> Value {
        let issuer = path.trim_end_matches("/.well-known/openid-configuration");
        let issuer = format!("http://as.test{issuer}");
        let keys = format!("{issuer}/keys");
        let keys = match issuer.contains("/issuer/") {
            true => self.at(Fetcher::IssuerKeys, &keys),
            false => self.at(Fetcher::ProviderKeys, &keys),
        };
        json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{issuer}/authorize"),
            "token_endpoint": self.at(Fetcher::ProviderToken, &format!("{issuer}/token")),
            "userinfo_endpoint": self.at(Fetcher::ProviderUserinfo, &format!("{issuer}/userinfo")),
            "jwks_uri": keys,
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["EdDSA"],
        })
    }

    fn keys(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.key.public_key());
        json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k", "use": "sig", "alg": "EdDSA", "x": x}]})
    }

    fn tokens(&self, base: &str) -> Value {
        let nonce = self.nonce.lock().unwrap().clone();
        let id_token = self.sign(&json!({"iss": format!("http://as.test{base}"), "sub": "s",
            "aud": "gateway", "nonce": nonce, "email": "bob@example.com", "email_verified": true}));
        json!({"access_token": "a", "token_type": "Bearer", "id_token": id_token})
    }

    fn client(&self, name: &str) -> Value {
        json!({"client_id": format!("https://app.test/client/{name}"),
            "redirect_uris": ["http://127.0.0.1/callback"],
            "token_endpoint_auth_method": "private_key_jwt",
            "jwks_uri": self.at(Fetcher::ClientKeys, "https://app.test/keys")})
    }

    /// A JWT of these claims that is good for a minute.
    fn sign(&self, claims: &Value) -> String {
        let now = time::OffsetDateTime::now_utc().unix_timestamp();
        let mut claims = claims.clone();
        (claims["iat"], claims["exp"], claims["jti"]) = (json!(now), json!(now + 60), json!("j"));
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&json!({"alg": "EdDSA", "kid": "k"})), part(&claims));
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}

#[async_trait]
impl Fetch for Hosts {
    async fn send(&self, request: Request<Bytes>, limit: usize) -> Result<Response<Bytes>, String> {
        if !matches!(request.uri().host(), Some("up.test" | "as.test" | "app.test")) {
            self.escaped.lock().unwrap().push(request.uri().to_string());
            return Fetch::send(&self.leg, request, limit).await;
        }
        let (status, challenge, body) = self.page(request.uri().path());
        let mut answer = Response::new(Bytes::from(body.to_string()));
        *answer.status_mut() = StatusCode::from_u16(status).unwrap();
        let json = http::HeaderValue::from_static("application/json");
        answer.headers_mut().insert("content-type", json);
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
        private_key: None,
        scopes: vec![scope.to_owned()],
    }
}

/// Each address gets an issuer and, for every fetcher of theirs, a provider: what was read of one does not
/// spare the next one's reading. The last of them are good.
fn trusting(settings: &mut GovernanceSettings, forms: &[String]) {
    let provider = |fetcher: Fetcher, number: usize, issuer: String| Provider {
        name: format!("{fetcher:?}{number}"),
        issuer,
        client_id: "gateway".into(),
        client_secret: None,
        scopes: vec![],
        allowed_domains: vec![],
        groups_claim: "groups".into(),
        email_claim: "email".into(),
        attributes: vec![],
        create_users: false,
    };
    let good = format!("http://as.test/ProviderDiscovery/{}", forms.len());
    for (number, form) in forms.iter().chain([&good]).enumerate() {
        let issuer = Issuer::new(format!("http://as.test/issuer/{number}"), "https://x");
        settings.issuers.push(issuer);
        let providers = &mut settings.sign_in.providers;
        providers.push(provider(Fetcher::ProviderDiscovery, number, form.clone()));
        for fetcher in [Fetcher::ProviderKeys, Fetcher::ProviderToken, Fetcher::ProviderUserinfo] {
            let issuer = format!("http://as.test/{fetcher:?}/{number}");
            providers.push(provider(fetcher, number, issuer));
        }
    }
}

/// Asks the fetcher for what is at the poisoned address; true when it came.
async fn came(
    (organisation, hosts): (&Organisation, &Hosts),
    fetcher: Fetcher,
    address: &str,
    number: usize,
) -> bool {
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
            let query = Serializer::new(String::new())
                .append_pair("response_type", "code")
                .append_pair("client_id", address)
                .append_pair("redirect_uri", "http://127.0.0.1/callback")
                .append_pair("code_challenge", &"a".repeat(43))
                .append_pair("code_challenge_method", "S256")
                .finish();
            governance.oauth().ask(&query, &[7; 32]).await.is_ok()
        }
        Fetcher::ClientKeys => proven(organisation, hosts, number).await,
        Fetcher::IssuerKeys => {
            let claims = json!({"iss": format!("http://as.test/issuer/{number}"),
                "aud": "https://x", "sub": "bob@example.com"});
            let authorization = format!("Bearer {}", hosts.sign(&claims));
            let authorization = Some(authorization.as_str());
            let presented = Presented { authorization, ..Presented::default() };
            governance.identify(presented).await.is_ok()
        }
        Fetcher::ProviderDiscovery
        | Fetcher::ProviderKeys
        | Fetcher::ProviderToken
        | Fetcher::ProviderUserinfo => {
            signed_in(organisation, hosts, &format!("{fetcher:?}{number}")).await
        }
    }
}

/// Whether a client proves itself with the keys at its address.
async fn proven(organisation: &Organisation, hosts: &Hosts, number: usize) -> bool {
    let id = format!("https://app.test/client/{number}");
    let assertion = hosts.sign(&json!({"iss": id, "sub": id, "aud": "https://mcp.example.com"}));
    let jwt = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    let body = Serializer::new(String::new())
        .append_pair("client_assertion_type", jwt)
        .append_pair("client_assertion", &assertion)
        .finish();
    let form = Form::parse(body.as_bytes()).unwrap();
    let origin = organisation.origin(Face::Rest);
    let request = TokenRequest { form: &form, authorization: None, origin: &origin };
    organisation.governance.oauth().start_device(request).await.is_ok()
}

/// Whether Bob can sign in with that provider.
async fn signed_in(organisation: &Organisation, hosts: &Hosts, provider: &str) -> bool {
    let sign_in = organisation.governance.sign_in();
    let Ok(url) = sign_in.begin(provider, "/", &[7; 32]).await else { return false };
    let parameter =
        |name: &str| url.query_pairs().find(|(other, _)| other == name).unwrap().1.into_owned();
    *hosts.nonce.lock().unwrap() = parameter("nonce");
    let back = Serializer::new(String::new())
        .append_pair("code", "c")
        .append_pair("state", &parameter("state"))
        .finish();
    sign_in.finish(&back, &[7; 32], &organisation.origin(Face::Rest)).await.is_ok()
}

/// Every spelling in several forms of URL.
fn forms(port: &str) -> Vec<String> {
    let plain = SPELLINGS.iter().map(|form| form.replace("PORT", port));
    plain
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
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_fetcher_reaches_what_is_not_allowed() {
    let canary = Upstream::start(Script::Answer(ok("{}"))).await;
    let forms = forms(&canary.address.port().to_string());
    assert!(forms.len() >= 150, "{}", forms.len());
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new()).unwrap();
    let hosts = Arc::new(Hosts {
        leg: Leg::new(guard(&[]), settings()),
        poison: Mutex::new((Fetcher::Token, String::new())),
        escaped: Mutex::default(),
        key: Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap(),
        nonce: Mutex::default(),
    });
    let organisation =
        Organisation::with(hosts.clone(), |settings| trusting(settings, &forms)).await;
    let both = (&organisation, &*hosts);
    for fetcher in FETCHERS {
        hosts.escaped.lock().unwrap().clear();
        for (number, form) in forms.iter().enumerate() {
            *hosts.poison.lock().unwrap() = (fetcher, form.clone());
            assert!(!came(both, fetcher, form, number).await, "{fetcher:?} {form}");
        }
        // Most forms do get as far as the guard; what a client names is refused before that unless it is https.
        let asked = hosts.escaped.lock().unwrap().len();
        let clients = matches!(fetcher, Fetcher::ClientMetadata | Fetcher::ClientKeys);
        let expected = if clients { 1 } else { forms.len() / 4 };
        assert!(asked >= expected, "{fetcher:?} asked {asked} times only");
    }
    assert_eq!(canary.connections(), 0);
    // Without poison each of these ways leads somewhere: what was refused above was the address.
    *hosts.poison.lock().unwrap() = (Fetcher::Token, String::new());
    for fetcher in &FETCHERS[6..] {
        assert!(came(both, *fetcher, "", forms.len()).await, "{fetcher:?}");
    }
}
