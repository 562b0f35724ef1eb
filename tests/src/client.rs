//! A raw MCP client: sends what a test says, byte for byte where it matters, and reads JSON and
//! server-sent events alike. Remembers the correlation id of every refusal, so that the audit can be
//! checked against what clients saw.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Value, json};
use uuid::Uuid;

/// What all clients of a test have seen.
pub type Sightings = Arc<Mutex<Vec<Sighting>>>;

/// A refusal that a client has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// `data.correlation_id`
    pub correlation_id: String,
    /// `data.reason`
    pub reason: String,
}

/// One person's client for one address.
#[derive(Debug, Clone)]
pub struct Client {
    /// Its connections.
    pub http: reqwest::Client,
    /// Where it sends to.
    pub url: String,
    /// The API key or token that it presents, as a bearer token.
    pub key: Option<String>,
    /// Its capabilities.
    pub capabilities: Value,
    /// What the clients of its test have seen.
    pub sightings: Sightings,
}

/// An answer, read whole.
#[derive(Debug, Clone)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// The body's exact bytes.
    pub body: Bytes,
}

impl Reply {
    /// All messages of the body, be it JSON or server-sent events.
    pub fn messages(&self) -> Vec<Value> {
        if !self.header("content-type").starts_with("text/event-stream") {
            return serde_json::from_slice(&self.body).into_iter().collect();
        }
        let text = String::from_utf8_lossy(&self.body);
        let data = text.lines().filter_map(|line| line.strip_prefix("data:"));
        data.filter_map(|data| serde_json::from_str(data.trim()).ok()).collect()
    }

    /// The last message: the response. Null where there is none.
    pub fn json(&self) -> Value {
        self.messages().pop().unwrap_or(Value::Null)
    }

    /// The result, or null.
    pub fn result(&self) -> Value {
        self.json()["result"].clone()
    }

    /// The error, or null.
    pub fn error(&self) -> Value {
        self.json()["error"].clone()
    }

    /// A header as text, or "".
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Where a refusal tells its reason: an error's data, an `isError` result's structured content or
    /// metadata, or a REST error's body.
    pub fn refusal(&self) -> Option<Sighting> {
        let json = self.json();
        let result = &json["result"];
        let places = [
            &json["error"]["data"],
            &result["structuredContent"],
            &result["_meta"],
            &result["_meta"]["com.runlayer/refusal"],
            &json,
        ];
        places.into_iter().find_map(|place| {
            let text = |key: &str| place.get(key).and_then(Value::as_str).map(str::to_owned);
            Some(Sighting { correlation_id: text("correlation_id")?, reason: text("reason")? })
        })
    }

    /// The refusal's reason, or "".
    pub fn reason(&self) -> String {
        self.refusal().map(|seen| seen.reason).unwrap_or_default()
    }

    /// The names of a listing's items.
    pub fn names(&self, member: &str) -> Vec<String> {
        let result = self.result();
        let items = result[member].as_array().into_iter().flatten();
        let name = |item: &Value| {
            let keys = ["name", "uri", "uriTemplate"];
            let key = if member == "resources" {
                1
            } else {
                usize::from(member == "resourceTemplates") * 2
            };
            item[keys[key]].as_str().map(str::to_owned)
        };
        items.filter_map(name).collect()
    }
}

impl Client {
    /// A client of `url` that presents `key`.
    pub fn new(url: &str, key: Option<&str>, sightings: Sightings) -> Client {
        crate::install_crypto();
        let http = reqwest::Client::builder().timeout(Duration::from_secs(60)).no_proxy().build();
        Client {
            http: http.expect("a client can be made"),
            url: url.into(),
            key: key.map(str::to_owned),
            capabilities: json!({}),
            sightings,
        }
    }

    /// The same person at another address.
    pub fn at(&self, url: &str) -> Client {
        Client { url: url.into(), ..self.clone() }
    }

    /// A request to the client's address with its credential and nothing else.
    pub fn request(&self, method: http::Method) -> reqwest::RequestBuilder {
        let request = self.http.request(method, &self.url);
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    /// A POST with the headers that every MCP client sends.
    pub fn post(&self, body: impl Into<Bytes>) -> reqwest::RequestBuilder {
        self.request(http::Method::POST)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .body(body.into())
    }

    /// Sends, reads whole, and remembers a refusal.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> Reply {
        self.try_send(request).await.expect("the gateway answers")
    }

    /// As [`Client::send`], where the connection may break.
    pub async fn try_send(&self, request: reqwest::RequestBuilder) -> reqwest::Result<Reply> {
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let reply = Reply { status, headers, body: response.bytes().await? };
        if let Some(seen) = reply.refusal() {
            self.sightings.lock().expect("no test panics in here").push(seen);
        }
        Ok(reply)
    }

    /// The body of a modern request with a new unique id.
    pub fn modern_body(&self, method: &str, params: Value) -> Value {
        let mut params = if params.is_null() { json!({}) } else { params };
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "rig", "version": "1.0.0"},
            "io.modelcontextprotocol/clientCapabilities": self.capabilities,
        });
        json!({"jsonrpc": "2.0", "id": unique_id(), "method": method, "params": params})
    }

    /// A modern request, not yet sent: its headers agree with its body.
    pub fn modern_request(&self, body: &Value) -> reqwest::RequestBuilder {
        let params = &body["params"];
        let mut request = self
            .post(body.to_string())
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", body["method"].as_str().unwrap_or_default());
        let target = ["name", "uri", "taskId"].iter().find_map(|key| params[*key].as_str());
        if let Some(target) = target {
            request = request.header("mcp-name", target);
        }
        request
    }

    /// Sends a modern request.
    pub async fn modern(&self, method: &str, params: Value) -> Reply {
        let body = self.modern_body(method, params);
        self.send(self.modern_request(&body)).await
    }

    /// Calls a tool in the modern era.
    pub async fn call(&self, tool: &str, arguments: Value) -> Reply {
        self.modern("tools/call", json!({"name": tool, "arguments": arguments})).await
    }

    /// Initializes a legacy session.
    pub async fn legacy(&self) -> Session {
        let params = json!({
            "protocolVersion": "2025-11-25",
            "capabilities": self.capabilities,
            "clientInfo": {"name": "rig", "version": "1.0.0"},
        });
        let body = legacy_body("initialize", params);
        let reply = self.send(self.post(body.to_string())).await;
        assert!(reply.result().is_object(), "initialize: {} {:?}", reply.status, reply.body);
        let id = Some(reply.header("mcp-session-id")).filter(|id| !id.is_empty());
        let session = Session { client: self.clone(), id: id.map(str::to_owned) };
        let done = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        let reply = self.send(session.request(&done)).await;
        assert_eq!(reply.status, 202, "initialized: {:?}", reply.body);
        session
    }
}

/// A legacy session.
#[derive(Debug, Clone)]
pub struct Session {
    /// Whose it is.
    pub client: Client,
    /// `Mcp-Session-Id`, where the server gave one.
    pub id: Option<String>,
}

impl Session {
    /// A request in this session, not yet sent.
    pub fn request(&self, body: &Value) -> reqwest::RequestBuilder {
        let request =
            self.client.post(body.to_string()).header("mcp-protocol-version", "2025-11-25");
        match &self.id {
            Some(id) => request.header("mcp-session-id", id),
            None => request,
        }
    }

    /// Sends a request in this session.
    pub async fn ask(&self, method: &str, params: Value) -> Reply {
        self.client.send(self.request(&legacy_body(method, params))).await
    }

    /// Calls a tool.
    pub async fn call(&self, tool: &str, arguments: Value) -> Reply {
        self.ask("tools/call", json!({"name": tool, "arguments": arguments})).await
    }
}

/// A legacy request with a new unique id.
pub fn legacy_body(method: &str, params: Value) -> Value {
    let mut body = json!({"jsonrpc": "2.0", "id": unique_id(), "method": method});
    if !params.is_null() {
        body["params"] = params;
    }
    body
}

/// An id that no other request of any test has.
pub fn unique_id() -> String {
    format!("rig-{}", Uuid::new_v4().simple())
}
