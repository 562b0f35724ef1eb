//! As much MCP as the fake upstream speaks by itself, both eras.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{Answer, Inner, Received, State};

pub(super) fn default_catalogue() -> Inner {
    let tool = |name: &str, annotations: Value| {
        json!({
            "name": name,
            "description": format!("The tool {name}"),
            "inputSchema": {"type": "object"},
            "annotations": annotations,
        })
    };
    let resource = |uri: &str| json!({"uri": uri, "name": uri, "mimeType": "text/plain"});
    Inner {
        tools: vec![
            tool("echo", json!({"readOnlyHint": true})),
            tool("list_items", json!({"readOnlyHint": true})),
            tool("delete_item", json!({"destructiveHint": true})),
            tool("hidden", json!({})),
        ],
        resources: vec![resource("fake://open/readme"), resource("fake://closed/plan")],
        templates: vec![json!({"uriTemplate": "fake://open/{name}", "name": "open"})],
        prompts: vec![json!({"name": "greet", "description": "Greets"})],
        ..Inner::default()
    }
}

pub(super) fn speak(state: &State, received: &Received) -> Answer {
    let (method, name) = (received.method(), received.name());
    let inner = state.inner();
    let told = if method == "tools/call" { inner.answers.get(name) } else { None };
    if let Some(answer) = told.or_else(|| inner.answers.get(method)) {
        return answer.clone();
    }
    drop(inner);
    match received.http_method.as_str() {
        "POST" if received.is_modern() => modern(state, received),
        "POST" => legacy(state, received),
        "DELETE" if state.shape.legacy => {
            state.inner().sessions.remove(received.header("mcp-session-id"));
            empty(204)
        }
        _ => empty(405),
    }
}

fn empty(status: u16) -> Answer {
    Answer::Raw(status, Vec::new(), bytes::Bytes::new())
}

fn modern(state: &State, received: &Received) -> Answer {
    if !state.shape.modern {
        // What servers of the legacy era say to a request without a session.
        return Answer::error(400, -32000, "Bad Request: Server not initialized");
    }
    match received.method() {
        "server/discover" => Answer::Result(
            json!({
                "resultType": "complete",
                "supportedVersions": ["2026-07-28"],
                "capabilities": capabilities(),
                "ttlMs": 0,
                "cacheScope": "public",
                "_meta": {"io.modelcontextprotocol/serverInfo": info()},
            })
            .to_string(),
        ),
        _ if received.json.get("id").is_none() => empty(202),
        _ => common(state, received, Answer::error(404, -32601, "Method not found")),
    }
}

fn legacy(state: &State, received: &Received) -> Answer {
    if !state.shape.legacy {
        return Answer::error(400, -32022, "Unsupported protocol version");
    }
    if received.method() == "initialize" {
        return initialize(state, received);
    }
    let session = received.header("mcp-session-id");
    if state.shape.sessions && !state.inner().sessions.contains(session) {
        let status = if session.is_empty() { 400 } else { 404 };
        return Answer::error(status, -32001, "Session not found");
    }
    if received.json.get("id").is_none() || received.method().is_empty() {
        return empty(202);
    }
    match received.method() {
        "ping" | "logging/setLevel" | "resources/subscribe" | "resources/unsubscribe" => {
            Answer::Result("{}".into())
        }
        _ => common(state, received, Answer::error(200, -32601, "Method not found")),
    }
}

fn initialize(state: &State, received: &Received) -> Answer {
    let asked = received.json["params"]["protocolVersion"].as_str().unwrap_or("2025-11-25");
    let known = ["2025-11-25", "2025-06-18", "2025-03-26"];
    let version = if known.contains(&asked) { asked } else { known[0] };
    let result = json!({
        "protocolVersion": version,
        "capabilities": capabilities(),
        "serverInfo": info(),
    });
    let answer = Answer::Result(result.to_string());
    if !state.shape.sessions {
        return answer;
    }
    let session = Uuid::new_v4().to_string();
    state.inner().sessions.insert(session.clone());
    answer.with_header("mcp-session-id", &session)
}

fn common(state: &State, received: &Received, otherwise: Answer) -> Answer {
    let inner = state.inner();
    let (member, items) = match received.method() {
        "tools/list" => ("tools", &inner.tools),
        "resources/list" => ("resources", &inner.resources),
        "resources/templates/list" => ("resourceTemplates", &inner.templates),
        "prompts/list" => ("prompts", &inner.prompts),
        "tools/call" => return call(&inner, received),
        "resources/read" => {
            let uri = &received.json["params"]["uri"];
            let content = json!([{"uri": uri, "mimeType": "text/plain", "text": "content"}]);
            let result = json!({"resultType": "complete", "contents": content,
                "ttlMs": 0, "cacheScope": "public"});
            return Answer::Result(result.to_string());
        }
        "prompts/get" => {
            let content = json!({"type": "text", "text": "Hello"});
            let messages = json!([{"role": "user", "content": content}]);
            let result = json!({"resultType": "complete", "messages": messages});
            return Answer::Result(result.to_string());
        }
        _ => return otherwise,
    };
    list(state, received, member, items)
}

fn list(state: &State, received: &Received, member: &str, items: &[Value]) -> Answer {
    let cursor = received.json["params"]["cursor"].as_str();
    let from = cursor.and_then(|text| text.parse::<usize>().ok()).unwrap_or(0).min(items.len());
    let to = (from + state.shape.page).min(items.len());
    let mut result = json!({member: items[from..to]});
    if to < items.len() {
        result["nextCursor"] = json!(to.to_string());
    }
    if received.is_modern() {
        result["resultType"] = json!("complete");
        result["ttlMs"] = json!(0);
        result["cacheScope"] = json!("public");
    }
    if state.shape.sse_listings {
        return Answer::events(&[&format!(r#"{{"jsonrpc":"2.0","id":$ID,"result":{result}}}"#)]);
    }
    Answer::Result(result.to_string())
}

/// Every tool says what it was called with.
fn call(inner: &Inner, received: &Received) -> Answer {
    let name = received.name();
    if !inner.tools.iter().any(|tool| tool["name"] == name) {
        return Answer::error(200, -32602, &format!("Unknown tool: {name}"));
    }
    let text = format!("{name} {}", received.json["params"]["arguments"]);
    let mut result = json!({"content": [{"type": "text", "text": text}], "isError": false});
    if received.is_modern() {
        result["resultType"] = json!("complete");
    }
    Answer::Result(result.to_string())
}

fn capabilities() -> Value {
    json!({"tools": {"listChanged": true}, "resources": {}, "prompts": {}})
}

fn info() -> Value {
    json!({"name": "fake-upstream", "version": "1.0.0"})
}
