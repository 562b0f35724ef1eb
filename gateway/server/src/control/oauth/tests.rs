//! What clients see of the authorization server over HTTP: the documents, a whole flow, and every way of asking
//! that is not the right one.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_core::ids::CallId;
use gateway_governance::Presented;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::super::testing::{Organisation, Person};
use super::*;
use crate::exchange::Early;

const ISSUER: &str = "https://mcp.example.com";
const FORM: &str = "application/x-www-form-urlencoded";
const VERIFIER: &str = "a-verifier-of-43-characters-is-long-enough-";

struct Face {
    organisation: Organisation,
    oauth: Oauth,
}

/// What came back.
#[derive(Debug)]
struct Seen {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

impl Face {
    async fn start() -> Face {
        let organisation = Organisation::start().await;
        let oauth = Oauth::new(organisation.governance.clone());
        Face { organisation, oauth }
    }

    async fn send(&self, method: &str, target: &str, kind: &str, body: &str) -> Seen {
        let mut headers = HeaderMap::new();
        if !kind.is_empty() {
            headers.insert(CONTENT_TYPE, kind.parse().unwrap());
        }
        self.send_with(method, target, headers, body).await
    }

    async fn send_with(&self, method: &str, target: &str, headers: HeaderMap, body: &str) -> Seen {
        let (path, query) = target.split_once('?').map_or((target, None), |(p, q)| (p, Some(q)));
        let exchange = Exchange {
            method: method.parse().unwrap(),
            path: path.into(),
            query: query.map(Into::into),
            headers,
            peer: IpAddr::from([127, 0, 0, 1]),
            body: body.to_owned().into(),
            early: Early::closed(),
            turn: Default::default(),
        };
        let (parts, body) = self.oauth.handle(exchange).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Seen { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    async fn register(&self) -> String {
        let metadata = json!({"redirect_uris": ["http://127.0.0.1/cb"], "client_name": "Probe",
            "token_endpoint_auth_method": "none"});
        let path = "/api/v1/oauth/register";
        let seen = self.send("POST", path, "application/json", &metadata.to_string()).await;
        assert_eq!(seen.status, 201, "{}", seen.body);
        assert_eq!(seen.headers["cache-control"], "no-store");
        seen.body["client_id"].as_str().unwrap().to_owned()
    }

    /// A code of Bob's, as the pages get it.
    async fn code(&self, client: &str) -> String {
        let challenge = ring::digest::digest(&ring::digest::SHA256, VERIFIER.as_bytes());
        let challenge = URL_SAFE_NO_PAD.encode(challenge);
        let query = form(&[
            ("response_type", "code"),
            ("client_id", client),
            ("redirect_uri", "http://127.0.0.1:4000/cb"),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ]);
        let server = self.organisation.governance.oauth();
        let asked = server.ask(&query, &[1; 32]).await.unwrap();
        let bob = self.organisation.caller(Person::User).user;
        let mut origin = self.organisation.origin(gateway_governance::Face::Rest);
        origin.call = CallId(uuid::Uuid::now_v7());
        let url = server.grant(&asked, &bob, &origin).await.unwrap();
        let url = url::Url::parse(&url).unwrap();
        url.query_pairs().find(|(name, _)| name == "code").unwrap().1.into_owned()
    }
}

fn form(pairs: &[(&str, &str)]) -> String {
    let mut out = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in pairs {
        out.append_pair(name, value);
    }
    out.finish()
}

#[tokio::test]
async fn the_metadata_says_what_is_there_and_everything_named_is_there() {
    let face = Face::start().await;
    for path in [
        "/.well-known/oauth-authorization-server",
        "/.well-known/oauth-authorization-server/api/v1/proxy/tickets/mcp",
        "/.well-known/openid-configuration",
        "/.well-known/openid-configuration/api/v1/proxy/absent/mcp",
    ] {
        let seen = face.send("GET", path, "", "").await;
        assert_eq!(seen.status, 200, "{path}");
        let document = &seen.body;
        assert_eq!(document["issuer"], ISSUER);
        assert_eq!(document["code_challenge_methods_supported"], json!(["S256"]));
        assert_eq!(document["response_types_supported"], json!(["code"]));
        assert_eq!(document["authorization_response_iss_parameter_supported"], true);
        assert_eq!(document["client_id_metadata_document_supported"], true);
        assert_eq!(document["authorization_endpoint"], format!("{ISSUER}/api/v1/oauth/authorize"));
        for (name, method) in [
            ("token_endpoint", "POST"),
            ("registration_endpoint", "POST"),
            ("revocation_endpoint", "POST"),
            ("device_authorization_endpoint", "POST"),
            ("jwks_uri", "GET"),
        ] {
            let path = document[name].as_str().unwrap().strip_prefix(ISSUER).unwrap();
            let there = face.send(method, path, FORM, "").await;
            assert!(![404, 405].contains(&there.status), "{name}: {}", there.status);
        }
        // Every grant that is named is one: asked for without anything else, something else is missing.
        for grant in document["grant_types_supported"].as_array().unwrap() {
            let body = form(&[("grant_type", grant.as_str().unwrap())]);
            let seen = face.send("POST", "/api/v1/oauth/token", FORM, &body).await;
            assert_ne!(seen.body["error"], "unsupported_grant_type", "{grant}");
            assert!(seen.body["error"].is_string(), "{grant}");
        }
    }
}

#[tokio::test]
async fn a_client_registers_and_gets_tokens_that_verify_with_the_published_key() {
    let face = Face::start().await;
    let client = face.register().await;
    let code = face.code(&client).await;
    let body = form(&[
        ("grant_type", "authorization_code"),
        ("client_id", &client),
        ("code", &code),
        ("redirect_uri", "http://127.0.0.1:4000/cb"),
        ("code_verifier", VERIFIER),
    ]);
    let seen = face.send("POST", "/api/v1/oauth/token", FORM, &body).await;
    assert_eq!(seen.status, 200, "{}", seen.body);
    assert_eq!(seen.headers["cache-control"], "no-store");
    assert_eq!(seen.headers["access-control-allow-origin"], "*");
    let token = seen.body["access_token"].as_str().unwrap();
    let jwks = face.send("GET", "/api/v1/oauth/jwks", "", "").await;
    let key = &jwks.body["keys"][0];
    assert_eq!((key["kty"].as_str(), key["alg"].as_str()), (Some("OKP"), Some("EdDSA")));
    let public = URL_SAFE_NO_PAD.decode(key["x"].as_str().unwrap()).unwrap();
    let (message, signature) = token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, public)
        .verify(message.as_bytes(), &signature)
        .unwrap();
    let authorization = format!("Bearer {token}");
    let presented =
        Presented { authorization: Some(&authorization), resource: ISSUER, ..Presented::default() };
    let caller = face.organisation.governance.identify(presented).await.unwrap();
    assert_eq!(caller.user.email, "bob@example.com");
    let back = form(&[("client_id", &client), ("token", token)]);
    let seen = face.send("POST", "/api/v1/oauth/revoke", FORM, &back).await;
    assert_eq!(seen.status, 200);
    assert!(face.organisation.governance.identify(presented).await.is_err());
}

#[tokio::test]
async fn requests_in_another_form_are_refused_as_the_rfcs_name_it() {
    let face = Face::start().await;
    let good = form(&[("grant_type", "refresh_token"), ("client_id", "x"), ("refresh_token", "y")]);
    let token = "/api/v1/oauth/token";
    for (target, kind, body, status, error) in [
        (token, FORM, good.as_str(), 401, "invalid_client"),
        (token, "application/json", "{}", 400, "invalid_request"),
        (token, "", &*good, 400, "invalid_request"),
        (token, "text/plain", &*good, 400, "invalid_request"),
        ("/api/v1/oauth/token?client_id=x", FORM, &*good, 400, "invalid_request"),
        (token, FORM, "grant_type=a&grant_type=b", 400, "invalid_request"),
        (token, FORM, "grant_type=%", 400, "invalid_request"),
        (token, FORM, "", 400, "invalid_request"),
        (token, FORM, "grant_type=password", 400, "unsupported_grant_type"),
        ("/api/v1/oauth/revoke", FORM, "token=x", 401, "invalid_client"),
        ("/api/v1/oauth/device", FORM, "client_id=x", 401, "invalid_client"),
        ("/api/v1/oauth/device", FORM, "", 401, "invalid_client"),
        ("/api/v1/oauth/register", FORM, "{}", 400, "invalid_client_metadata"),
        ("/api/v1/oauth/register", "application/json", "x", 400, "invalid_client_metadata"),
        ("/api/v1/oauth/register", "application/json", "{}", 400, "invalid_redirect_uri"),
    ] {
        let seen = face.send("POST", target, kind, body).await;
        assert_eq!(seen.status, status, "{target} {kind} {body}: {}", seen.body);
        assert_eq!(seen.body["error"], error, "{target} {kind} {body}");
        assert!(seen.body["error_description"].is_string());
        assert_eq!(seen.headers["cache-control"], "no-store", "{target}");
        assert_eq!(seen.headers.contains_key("www-authenticate"), status == 401);
    }
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, FORM.parse().unwrap());
    for value in ["Basic a", "Basic b"] {
        headers.append(AUTHORIZATION, value.parse().unwrap());
    }
    let seen = face.send_with("POST", token, headers, &good).await;
    assert_eq!(seen.body["error"], "invalid_request", "two credentials");
}

#[tokio::test]
async fn addresses_have_their_methods_and_pages_of_any_origin_may_ask() {
    let face = Face::start().await;
    for route in routes::ROUTES {
        let path = route.path.replace('*', "api/v1/proxy/tickets/mcp");
        let preflight = face.send("OPTIONS", &path, "", "").await;
        assert_eq!(preflight.status, 204, "{path}");
        assert_eq!(preflight.headers["access-control-allow-origin"], "*");
        assert!(!preflight.headers.contains_key("access-control-allow-credentials"));
        let allowed = preflight.headers["access-control-allow-headers"].to_str().unwrap();
        assert!(allowed.contains("authorization") && allowed.contains("mcp-protocol-version"));
        for method in ["PUT", "DELETE", "PATCH", if route.method == "GET" { "POST" } else { "GET" }]
        {
            let seen = face.send(method, &path, "", "").await;
            assert_eq!(seen.status, 405, "{method} {path}");
            assert!(seen.headers["allow"].to_str().unwrap().contains(route.method));
        }
    }
    for path in ["/api/v1/oauth/", "/api/v1/oauth/nothing", "/api/v1/oauth/token/x"] {
        let seen = face.send("POST", path, "", "").await;
        assert_eq!(seen.status, 404, "{path}");
        assert!(!seen.headers.contains_key("access-control-allow-origin"), "{path}");
    }
}
