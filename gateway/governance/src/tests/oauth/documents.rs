//! Client ID metadata documents: what is fetched, what is believed, and how often anybody is asked.

use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use gateway_core::{Clock, Timestamp};
use serde_json::{Value, json};

use crate::oauth::client::document::Documents;
use crate::oauth::{Client, ErrorCode, OauthError};
use crate::ports::Fetch;
use crate::testing::SetClock;

const ID: &str = "https://app.example.com/client.json";
const KEYS: &str = "https://keys.example.net/app.json";

/// One page, counted.
struct Page {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
    asked: Mutex<Vec<String>>,
}

impl Page {
    fn new(body: impl Into<String>) -> Page {
        let headers = vec![("content-type", "application/json; charset=utf-8".to_owned())];
        Page { status: 200, headers, body: body.into(), asked: Mutex::default() }
    }

    fn times(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

#[async_trait]
impl Fetch for Page {
    async fn send(
        &self,
        request: http::Request<Bytes>,
        limit: usize,
    ) -> Result<http::Response<Bytes>, String> {
        self.asked.lock().unwrap().push(request.uri().to_string());
        tokio::task::yield_now().await;
        if self.body.len() > limit {
            return Err("too large".into());
        }
        let mut answer = http::Response::builder().status(self.status);
        for (name, value) in &self.headers {
            answer = answer.header(*name, value);
        }
        Ok(answer.body(Bytes::from(self.body.clone())).unwrap())
    }
}

fn document() -> Value {
    json!({"client_id": ID, "client_name": "App", "token_endpoint_auth_method": "none",
        "redirect_uris": ["https://app.example.com/cb", "http://127.0.0.1/cb"]})
}

fn with(name: &str, to: Value) -> String {
    let mut document = document();
    document[name] = to;
    document.to_string()
}

/// One that signs assertions, with these members.
fn signing(members: &[(&str, Value)]) -> String {
    let mut document = document();
    document["token_endpoint_auth_method"] = json!("private_key_jwt");
    for (name, value) in members {
        document[*name] = value.clone();
    }
    document.to_string()
}

fn key_set() -> Value {
    let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": x}]})
}

fn private_key_set() -> Value {
    let mut set = key_set();
    set["keys"][0]["d"] = json!("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A");
    set
}

async fn read(page: &Page, id: &str) -> Result<Client, OauthError> {
    Documents::new().client(id, page, Timestamp::UNIX_EPOCH).await
}

#[tokio::test]
async fn a_good_document_makes_a_client() {
    let others = [
        with("jwks_uri", json!("https://app.example.com/jwks")),
        signing(&[("jwks", key_set())]),
        // The keys may lie anywhere, as draft-ietf-oauth-client-id-metadata-document has it.
        signing(&[("jwks_uri", json!(KEYS))]),
    ];
    for body in others.into_iter().chain([document().to_string()]) {
        let client = read(&Page::new(body), ID).await.unwrap();
        assert_eq!(client.name, "App");
        assert_eq!(client.host.as_deref(), Some("app.example.com"));
        assert_eq!(client.redirect_uris.len(), 2);
    }
    // What is bad beside something good is left out.
    let uris =
        json!(["javascript:alert(1)", "http://evil.example/cb", "https://app.example.com/cb"]);
    let client = read(&Page::new(with("redirect_uris", uris)), ID).await.unwrap();
    assert_eq!(client.redirect_uris, ["https://app.example.com/cb"]);
    let client = read(&Page::new(with("client_name", json!("\u{202e}"))), ID).await.unwrap();
    assert_eq!(client.name, "app.example.com");
}

#[tokio::test]
async fn documents_that_are_not_believed() {
    let doubled = format!(r#"{{"client_id":"{ID}",{}"#, &document().to_string()[1..]);
    for (name, body) in [
        ("empty", String::new()),
        ("no JSON", "<html>".into()),
        ("array", "[]".into()),
        ("text", "\"x\"".into()),
        ("doubled key", doubled),
        ("more behind", format!("{}{}", document(), document())),
        ("no client_id", with("client_id", Value::Null)),
        ("another client_id", with("client_id", json!("https://app.example.com/other.json"))),
        ("client_id of another host", with("client_id", json!("https://evil.example/client.json"))),
        ("client_id in another case", with("client_id", json!(ID.to_uppercase()))),
        ("client_id array", with("client_id", json!([ID]))),
        ("a secret", with("client_secret", json!("x"))),
        ("secret authentication", with("token_endpoint_auth_method", json!("client_secret_post"))),
        ("authentication by no word", with("token_endpoint_auth_method", Value::Null)),
        ("an unknown way to authenticate", with("token_endpoint_auth_method", json!("mtls"))),
        ("signed, without keys", signing(&[])),
        ("signed, two sets of keys", signing(&[("jwks", key_set()), ("jwks_uri", json!(KEYS))])),
        ("signed, no key in the set", signing(&[("jwks", json!({"keys": []}))])),
        ("signed, keys as text", signing(&[("jwks", json!("x"))])),
        ("signed, a private key", signing(&[("jwks", private_key_set())])),
        (
            "signed, a shared secret",
            signing(&[("jwks", json!({"keys": [{"kty": "oct", "k": "eA"}]}))]),
        ),
        ("signed, keys nowhere", signing(&[("jwks_uri", Value::Null)])),
        ("signed, keys at no URL", signing(&[("jwks_uri", json!("keys.json"))])),
        ("signed, keys in the clear", signing(&[("jwks_uri", json!("http://app.example.com/k"))])),
        ("signed, keys in a file", signing(&[("jwks_uri", json!("file:///etc/passwd"))])),
        (
            "signed, keys with a user",
            signing(&[("jwks_uri", json!("https://u:p@app.example.com/k"))]),
        ),
        ("signed, keys behind #", signing(&[("jwks_uri", json!("https://app.example.com/k#x"))])),
        ("no redirect URIs", with("redirect_uris", json!([]))),
        ("redirect URIs missing", with("redirect_uris", Value::Null)),
        ("redirect URIs text", with("redirect_uris", json!("https://app.example.com/cb"))),
        ("redirect URIs numbers", with("redirect_uris", json!([1]))),
        ("redirect URIs bad", with("redirect_uris", json!(["javascript:alert(1)"]))),
        ("too long", with("x", json!("a".repeat(11_000)))),
    ] {
        assert!(read(&Page::new(body), ID).await.is_err(), "{name}");
    }
    for status in [201, 204, 301, 302, 307, 404, 500] {
        let page = Page { status, ..Page::new(document().to_string()) };
        assert!(read(&page, ID).await.is_err(), "{status}");
    }
    for kind in ["text/html", "text/plain", "", "application/jsonx", "image/json"] {
        let headers = vec![("content-type", kind.to_owned())];
        let page = Page { headers, ..Page::new(document().to_string()) };
        assert!(read(&page, ID).await.is_err(), "{kind}");
    }
}

#[tokio::test]
async fn ids_that_nobody_is_asked_about() {
    for id in [
        "https://app.example.com",
        "https://app.example.com/",
        "https://app.example.com/client.json#x",
        "https://user@app.example.com/client.json",
        "https://user:x@app.example.com/client.json",
        "https://APP.example.com/client.json",
        "https://app.example.com:443/client.json",
        "https://app.example.com/a/../client.json",
        "https://app.example.com/a/%2e%2e/client.json",
        "https://app.example.com\\client.json",
        "https:///client.json",
        "https://app.example.com /client.json",
        "http://app.example.com/client.json",
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/client.json",
        "http://localhost.evil.example/client.json",
        "http://127.0.0.1@evil.example/client.json",
        "http://2130706433/client.json",
        "http://[::ffff:10.0.0.1]/client.json",
    ] {
        let page = Page::new(document().to_string());
        assert!(read(&page, id).await.is_err(), "{id}");
        assert_eq!(page.times(), 0, "{id}");
    }
}

#[tokio::test]
async fn a_document_is_read_once_and_remembered_as_long_as_it_may_be() {
    for (control, age) in [
        ("max-age=120", 120),
        ("max-age=1", 60),
        ("max-age=99999999", 86_400),
        ("public, MAX-AGE=300", 300),
        ("no-store", 60),
        ("no-cache, max-age=500", 60),
        ("", 900),
    ] {
        let mut page = Page::new(document().to_string());
        page.headers.push(("cache-control", control.to_owned()));
        let (documents, clock) = (Documents::new(), SetClock::new());
        let ask = async || documents.client(ID, &page, clock.now()).await.unwrap();
        tokio::join!(ask(), ask(), ask(), ask());
        assert_eq!(page.times(), 1, "those who ask at once share one read");
        clock.advance(age - 1);
        ask().await;
        assert_eq!(page.times(), 1, "{control}");
        clock.advance(1);
        ask().await;
        assert_eq!(page.times(), 2, "{control}");
    }
}

#[tokio::test]
async fn a_failure_is_remembered_for_a_while() {
    let page = Page { status: 404, ..Page::new("") };
    let (documents, clock) = (Documents::new(), SetClock::new());
    for _ in 0..50 {
        assert!(documents.client(ID, &page, clock.now()).await.is_err());
    }
    assert_eq!(page.times(), 1);
    clock.advance(30);
    assert!(documents.client(ID, &page, clock.now()).await.is_err());
    assert_eq!(page.times(), 2);
}

#[tokio::test]
async fn a_page_that_is_silent_does_not_end_a_client_and_one_that_says_no_does() {
    let good = Page::new(document().to_string());
    let silent = Page { status: 503, ..Page::new("") };
    let gone = Page { status: 404, ..Page::new("") };
    let (documents, clock) = (Documents::new(), SetClock::new());
    let ask = async |page: &Page| documents.client(ID, page, clock.now()).await;
    let code = |asked: Result<Client, OauthError>| asked.unwrap_err().code;
    assert_eq!(code(ask(&silent).await), ErrorCode::TemporarilyUnavailable, "nothing is known yet");
    clock.advance(30);
    ask(&good).await.unwrap();
    for _ in 0..3 {
        clock.advance(900);
        ask(&silent).await.unwrap();
    }
    assert_eq!(silent.times(), 4);
    clock.advance(86_400);
    assert_eq!(code(ask(&silent).await), ErrorCode::TemporarilyUnavailable, "not for ever");
    clock.advance(30);
    ask(&good).await.unwrap();
    clock.advance(900);
    assert_eq!(code(ask(&gone).await), ErrorCode::InvalidClient);
}
