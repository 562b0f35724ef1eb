//! A fake upstream: a plain HTTP server that speaks as much MCP of both eras as a test needs, answers
//! what it is told to byte for byte, remembers every request, and writes each call into a ledger that is
//! on disk before the answer leaves.

mod answer;
mod ledger;
mod speak;

pub use answer::Answer;
pub use ledger::Receipt;

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use hyper::body::Incoming;
use hyper::service::service_fn;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::serve::serve;
use ledger::Ledger;

/// One request as it arrived.
#[derive(Debug, Clone)]
pub struct Received {
    /// HTTP method.
    pub http_method: http::Method,
    /// All headers.
    pub headers: HeaderMap,
    /// The body's exact bytes.
    pub body: Bytes,
    /// The body as JSON; null where it is none.
    pub json: Value,
}

impl Received {
    /// The JSON-RPC method, or "".
    pub fn method(&self) -> &str {
        self.json["method"].as_str().unwrap_or_default()
    }

    /// `params.name`, or "".
    pub fn name(&self) -> &str {
        self.json["params"]["name"].as_str().unwrap_or_default()
    }

    /// The JSON-RPC id as JSON text.
    pub fn id(&self) -> String {
        self.json["id"].to_string()
    }

    /// True for a request of 2026-07-28.
    pub fn is_modern(&self) -> bool {
        self.json["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] == "2026-07-28"
    }

    /// A header as text, or "".
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// What the upstream can do.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Answers `initialize`.
    pub legacy: bool,
    /// Answers `server/discover`.
    pub modern: bool,
    /// Hands out `Mcp-Session-Id` in the legacy era and insists on it.
    pub sessions: bool,
    /// Items of a page in listings.
    pub page: usize,
    /// Answers listings as server-sent events.
    pub sse_listings: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Shape { legacy: true, modern: true, sessions: true, page: 1000, sse_listings: false }
    }
}

/// A running fake upstream; ends when dropped.
#[derive(Debug)]
pub struct Upstream {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<State>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    shape: Shape,
    inner: Mutex<Inner>,
    ledger: Ledger,
}

#[derive(Debug, Default)]
struct Inner {
    tools: Vec<Value>,
    resources: Vec<Value>,
    templates: Vec<Value>,
    prompts: Vec<Value>,
    answers: HashMap<String, Answer>,
    sessions: HashSet<String>,
    received: Vec<Received>,
}

impl State {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no test panics in here")
    }
}

impl Upstream {
    /// Starts one of both eras with the tools `echo`, `list_items`, `delete_item` (destructive) and
    /// `hidden`, two resources, a template and a prompt.
    pub async fn start() -> Upstream {
        Upstream::of(Shape::default()).await
    }

    /// Starts one of this shape, with the same tools.
    pub async fn of(shape: Shape) -> Upstream {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let inner = Mutex::new(speak::default_catalogue());
        let state = Arc::new(State { shape, inner, ledger: Ledger::create() });
        let served = state.clone();
        let service = service_fn(move |request| answer(served.clone(), request));
        let task = tokio::spawn(serve(listener, service));
        Upstream { address, state, task }
    }

    /// Its URL for the desired state.
    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// Adds a tool, or replaces the one of that name. `extra` is merged into the definition.
    pub fn tool(&self, name: &str, extra: Value) -> &Upstream {
        let mut definition = json!({
            "name": name,
            "description": format!("The tool {name}"),
            "inputSchema": {"type": "object"},
        });
        for (key, value) in extra.as_object().into_iter().flatten() {
            definition[key] = value.clone();
        }
        let mut inner = self.state.inner();
        inner.tools.retain(|tool| tool["name"] != name);
        inner.tools.push(definition);
        drop(inner);
        self
    }

    /// What it answers to calls of a tool (or to any other method, by the method's name) from now on.
    pub fn answer(&self, tool_or_method: &str, answer: Answer) -> &Upstream {
        self.state.inner().answers.insert(tool_or_method.into(), answer);
        self
    }

    /// Everything that has arrived so far.
    pub fn received(&self) -> Vec<Received> {
        self.state.inner().received.clone()
    }

    /// The requests with that JSON-RPC method.
    pub fn received_of(&self, method: &str) -> Vec<Received> {
        self.received().into_iter().filter(|received| received.method() == method).collect()
    }

    /// The calls of a tool.
    pub fn calls(&self, tool: &str) -> Vec<Received> {
        self.received_of("tools/call").into_iter().filter(|call| call.name() == tool).collect()
    }

    /// The calls that are on disk: what had effects.
    pub fn receipts(&self) -> Vec<Receipt> {
        self.state.ledger.read()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    state: Arc<State>,
    request: Request<Incoming>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let json = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let received = Received { http_method: head.method, headers: head.headers, body, json };
    state.inner().received.push(received.clone());
    if Receipt::is_due(&received) {
        let state = state.clone();
        let receipt = Receipt::of(&received);
        let written = tokio::task::spawn_blocking(move || state.ledger.write(&receipt)).await;
        written.expect("the ledger can be written");
    }
    let answer = speak::speak(&state, &received);
    Ok(answer.send(&received).await)
}
