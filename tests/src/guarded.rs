//! An upstream that demands tokens, and the authorization server that gives them out: real sockets, the least OAuth
//! that a connector needs. What stands behind it is the fake upstream; what it asked for is remembered.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::serve::serve;

/// Begins every token, code and secret that it gives out: a canary.
pub const CANARY: &str = "canary-guarded-2b9d";

/// A running one; ends when dropped.
#[derive(Debug)]
pub struct Guarded {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<State>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    origin: String,
    behind: String,
    http: reqwest::Client,
    inner: Mutex<Inner>,
}

/// What it knows, and how it behaves.
#[derive(Debug, Default)]
pub struct Inner {
    /// Access tokens that it takes.
    pub access: Vec<String>,
    /// Refresh tokens that it takes.
    pub refresh: Vec<String>,
    /// Seconds that an access token lives.
    pub expires_in: i64,
    /// `grant_type` of every request for tokens.
    pub grants: Vec<String>,
    /// Requests to the server with a token that it does not take.
    pub refused: usize,
    /// How long its token endpoint takes.
    pub slow: Duration,
    /// Answered to every call that it takes: a challenge with 403.
    pub demands_scope: Option<String>,
    codes: HashMap<String, String>,
}

type Body = BoxBody<Bytes, Infallible>;

impl Guarded {
    /// In front of the upstream at `behind`.
    pub async fn start(behind: String) -> Guarded {
        crate::install_crypto();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let http = reqwest::Client::builder().no_proxy().build().expect("a client can be made");
        let inner = Mutex::new(Inner { expires_in: 3600, ..Inner::default() });
        let origin = format!("http://{address}");
        let state = Arc::new(State { origin, behind, http, inner });
        let served = state.clone();
        let service = service_fn(move |request| {
            let state = served.clone();
            async move { Ok::<_, Infallible>(answer(&state, request).await) }
        });
        let task = tokio::spawn(serve(listener, service));
        Guarded { address, state, task }
    }

    /// Where the server is.
    pub fn url(&self) -> String {
        format!("{}/mcp", self.state.origin)
    }

    /// What it knows, to look at and to change.
    pub fn inner(&self) -> MutexGuard<'_, Inner> {
        self.state.inner.lock().expect("no test panics in here")
    }

    /// Takes none of its tokens any more.
    pub fn forget_access(&self) {
        self.inner().access.clear();
    }

    /// How often that grant was asked for.
    pub fn grants(&self, grant: &str) -> usize {
        self.inner().grants.iter().filter(|asked| *asked == grant).count()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn reply(status: u16, body: &Value) -> Response<Body> {
    let response = Response::builder().status(status).header("content-type", "application/json");
    let body = Full::new(Bytes::from(body.to_string())).boxed();
    response.body(body).expect("the head is legal")
}

async fn answer(state: &State, request: Request<Incoming>) -> Response<Body> {
    let origin = &state.origin;
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    match head.uri.path() {
        "/mcp" => server(state, &head, body).await,
        "/.well-known/oauth-protected-resource/mcp" => reply(
            200,
            &json!({"resource": format!("{origin}/mcp"), "authorization_servers": [origin]}),
        ),
        "/.well-known/oauth-authorization-server" => reply(
            200,
            &json!({
                "issuer": origin,
                "authorization_endpoint": format!("{origin}/authorize"),
                "token_endpoint": format!("{origin}/token"),
                "registration_endpoint": format!("{origin}/register"),
                "code_challenge_methods_supported": ["S256"],
                "authorization_response_iss_parameter_supported": true,
            }),
        ),
        "/register" => {
            reply(201, &json!({"client_id": "gw", "client_secret": format!("{CANARY}-client")}))
        }
        "/authorize" => authorize(state, head.uri.query().unwrap_or_default()),
        "/token" => {
            let slow = state.inner.lock().expect("no test panics in here").slow;
            tokio::time::sleep(slow).await;
            token(state, &body)
        }
        _ => reply(404, &Value::Null),
    }
}

/// Everybody agrees at once.
fn authorize(state: &State, query: &str) -> Response<Body> {
    let query: HashMap<String, String> =
        url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let code = format!("{CANARY}-code-{}", Uuid::new_v4().simple());
    let challenge = query.get("code_challenge").cloned().unwrap_or_default();
    let mut inner = state.inner.lock().expect("no test panics in here");
    inner.codes.insert(code.clone(), challenge);
    let back = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("code", &code)
        .append_pair("state", query.get("state").map_or("", String::as_str))
        .append_pair("iss", &state.origin)
        .finish();
    let redirect = query.get("redirect_uri").cloned().unwrap_or_default();
    let response = Response::builder().status(302).header("location", format!("{redirect}?{back}"));
    response.body(Full::new(Bytes::new()).boxed()).expect("the head is legal")
}

fn token(state: &State, body: &[u8]) -> Response<Body> {
    let form: HashMap<String, String> = url::form_urlencoded::parse(body).into_owned().collect();
    let field = |name: &str| form.get(name).cloned().unwrap_or_default();
    let mut inner = state.inner.lock().expect("no test panics in here");
    inner.grants.push(field("grant_type"));
    let good = match field("grant_type").as_str() {
        "authorization_code" => {
            let hash = digest(&SHA256, field("code_verifier").as_bytes());
            let challenge = URL_SAFE_NO_PAD.encode(hash);
            inner.codes.remove(&field("code")) == Some(challenge)
        }
        "refresh_token" => {
            // Each works once: a second use would be noticed.
            let sent = field("refresh_token");
            let known = inner.refresh.iter().position(|token| *token == sent);
            known.map(|at| inner.refresh.remove(at)).is_some()
        }
        _ => false,
    };
    if !good || field("resource") != format!("{}/mcp", state.origin) {
        return reply(400, &json!({"error": "invalid_grant"}));
    }
    let fresh = |kind: &str| format!("{CANARY}-{kind}-{}", Uuid::new_v4().simple());
    let (access, refresh) = (fresh("access"), fresh("refresh"));
    inner.access.push(access.clone());
    inner.refresh.push(refresh.clone());
    let expires_in = inner.expires_in;
    reply(
        200,
        &json!({"access_token": access, "refresh_token": refresh, "token_type": "bearer", "expires_in": expires_in}),
    )
}

async fn server(state: &State, head: &http::request::Parts, body: Bytes) -> Response<Body> {
    let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let token = text("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let challenge = {
        let mut inner = state.inner.lock().expect("no test panics in here");
        let known = token.is_some_and(|token| inner.access.iter().any(|known| known == token));
        if !known {
            inner.refused += usize::from(token.is_some());
            let place = format!("{}/.well-known/oauth-protected-resource/mcp", state.origin);
            Some((401, format!("Bearer resource_metadata=\"{place}\", scope=\"read\"")))
        } else {
            let scope = inner.demands_scope.clone();
            scope.map(|scope| {
                (403, format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\""))
            })
        }
    };
    if let Some((status, challenge)) = challenge {
        let mut refused = reply(status, &Value::Null);
        let value = challenge.parse().expect("a challenge is a header's value");
        refused.headers_mut().insert("www-authenticate", value);
        return refused;
    }
    let mut onward = state.http.request(head.method.clone(), &state.behind).body(body);
    for (name, value) in
        head.headers.iter().filter(|(name, _)| *name != "authorization" && *name != "host")
    {
        onward = onward.header(name, value);
    }
    let answer = onward.send().await.expect("the upstream behind it answers");
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        if !["transfer-encoding", "content-length", "connection"].contains(&name.as_str()) {
            response = response.header(name, value);
        }
    }
    let body = answer.bytes().await.unwrap_or_default();
    response.body(Full::new(body).boxed()).expect("the head is legal")
}
