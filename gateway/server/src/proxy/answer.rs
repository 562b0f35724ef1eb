//! Bodies that the gateway writes itself: JSON-RPC errors and tool results for refusals, valid in the
//! schema of the era that they answer.

use gateway_core::decision::FLOW_RULE;
use gateway_core::json::write_string;
use gateway_core::mcp::{Era, MODERN_VERSION, NEWEST_LEGACY_VERSION};
use gateway_core::reason::Reason;
use gateway_core::scan::Mode;
use gateway_core::server::RUNLAYER_ID;
use http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use super::refusal::{Refusal, Way};
use crate::exchange::{self, Reply};

/// MCP 2025-11-25: the client has to send its user to a page first.
const URL_ELICITATION_REQUIRED: i32 = -32042;
/// What `data` says about asking for access.
const REQUEST_ACCESS: &str = "request_access";
/// Where a refused tool result carries what an error would have in `data`.
const REFUSAL_META: &str = "com.runlayer/refusal";

/// The answer to a refused exchange.
pub(super) fn refuse(refusal: &Refusal, public_url: &str) -> Reply {
    let mut reply = exchange::json(status(refusal), message(refusal));
    let headers = reply.headers_mut();
    let later = match &refusal.way {
        Way::Later { seconds, .. } => Some(*seconds),
        Way::None | Way::Link(_) | Way::Ask(_) | Way::Connect(_) | Way::ConnectByUrl(..) => None,
    };
    if let Some(seconds) = later.or(refusal.reason.retry_after()) {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    if refusal.reason == Reason::HttpMethodNotAllowed {
        headers.insert(ALLOW, HeaderValue::from_static("POST, GET, DELETE"));
    }
    if refusal.reason.is_about_the_credential() {
        let server = refusal.receipt.subject.server_slug.as_deref().unwrap_or_default();
        let path = format!("/api/v1/proxy/{server}/mcp");
        if let Some(challenge) = challenge(refusal.reason, public_url, &path) {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
    }
    reply
}

/// The JSON-RPC message.
pub(super) fn message(refusal: &Refusal) -> String {
    match (&refusal.form.id, &refusal.way) {
        (Some(id), Way::Ask(result)) => envelope(Some(id), "result", result),
        (Some(id), Way::None | Way::Link(_) | Way::Connect(_)) if is_for_the_model(refusal) => {
            envelope(Some(id), "result", &tool_result(refusal).to_string())
        }
        (id, _) => envelope(id.as_deref(), "error", &error(refusal).to_string()),
    }
}

/// A legacy client takes 404 for a dead session and begins anew: what is unknown to it is answered.
fn status(refusal: &Refusal) -> StatusCode {
    let answers = refusal.form.era == Era::Legacy && refusal.form.id.is_some();
    if answers && refusal.reason == Reason::UnknownMethod {
        return StatusCode::OK;
    }
    let stopped = matches!(
        refusal.reason,
        Reason::ScannerBlocked | Reason::ScanLimitExceeded | Reason::PolicyDenied
    );
    if stopped && refusal.form.id.is_none() {
        // Nobody waits for a message: only the status tells.
        return StatusCode::FORBIDDEN;
    }
    let status = StatusCode::from_u16(refusal.reason.status());
    status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// RFC 6750 with RFC 9728's `resource_metadata`, all scopes in one challenge: the scope for this server alone
/// would tell which servers there are.
fn challenge(reason: Reason, public_url: &str, path: &str) -> Option<HeaderValue> {
    let metadata = format!("{public_url}/.well-known/oauth-protected-resource{path}");
    let error = reason.challenge_error().map(|error| format!(", error=\"{error}\""));
    let error = error.unwrap_or_default();
    let text = format!("Bearer resource_metadata=\"{metadata}\"{error}, scope=\"mcp:proxy\"");
    HeaderValue::try_from(text).ok()
}

/// Refusals that a model should read and can act on are results of the tool, not protocol errors.
fn is_for_the_model(refusal: &Refusal) -> bool {
    refusal.form.tool
        && matches!(
            refusal.reason,
            Reason::PolicyDenied
                | Reason::ConfirmationRequired
                | Reason::ConfirmationDeclined
                | Reason::ConfirmationExpired
                | Reason::ScannerBlocked
                | Reason::ScanLimitExceeded
                | Reason::DefinitionNotApproved
                | Reason::ConnectionRequired
                | Reason::ConnectionStale
        )
}

fn envelope(id: Option<&str>, member: &str, content: &str) -> String {
    match id {
        Some(id) => format!(r#"{{"jsonrpc":"2.0","id":{id},"{member}":{content}}}"#),
        None => format!(r#"{{"jsonrpc":"2.0","{member}":{content}}}"#),
    }
}

fn error(refusal: &Refusal) -> Value {
    let mut data = facts(refusal);
    if refusal.reason == Reason::UnsupportedProtocolVersion {
        let supported = match refusal.form.era {
            // Said of a legacy-only upstream, this makes clients fall back.
            Era::Modern if refusal.detail.starts_with("legacy") => NEWEST_LEGACY_VERSION,
            Era::Modern => MODERN_VERSION,
            Era::Legacy => NEWEST_LEGACY_VERSION,
        };
        data.insert("supported".into(), json!([supported]));
        data.insert("requested".into(), json!(requested(&refusal.detail)));
    }
    match &refusal.way {
        Way::ConnectByUrl(_, asked) => {
            data.insert("elicitations".into(), json!([asked]));
            json!({ "code": URL_ELICITATION_REQUIRED, "message": sentence(refusal), "data": data })
        }
        Way::Connect(link) => {
            let message = format!("{}: open {link}", sentence(refusal));
            json!({ "code": refusal.reason.code(), "message": message, "data": data })
        }
        Way::None | Way::Later { .. } | Way::Link(_) | Way::Ask(_) => {
            let mut message = sentence(refusal);
            if data.contains_key(REQUEST_ACCESS) {
                message.push_str("; to ask for access, call request_access of the Runlayer MCP");
            }
            json!({ "code": refusal.reason.code(), "message": message, "data": data })
        }
    }
}

/// The version in quotes in the detail.
fn requested(detail: &str) -> &str {
    detail.split('"').nth(1).unwrap_or_default()
}

fn tool_result(refusal: &Refusal) -> Value {
    let mut text = format!("{}.", sentence(refusal));
    if let Way::Link(link) = &refusal.way {
        text.push_str(&format!(
            " Ask a person who may agree to decide at {link} and then make the same call again."
        ));
    } else if let Way::Connect(link) = &refusal.way {
        text.push_str(&format!(
            " Ask the person to open {link} and connect their account, and then make the same call again."
        ));
    } else if refusal.reason == Reason::PolicyDenied {
        text.push_str(" To ask for access, call request_access of the Runlayer MCP.");
    }
    text.push_str(&format!("\nreason: {}", refusal.reason));
    if !refusal.policies.is_empty() {
        text.push_str(&format!("\npolicy_ids: {}", refusal.policies.join(", ")));
    }
    text.push_str(&format!("\ncorrelation_id: {}", refusal.receipt.call));
    let mut result = json!({
        "content": [{ "type": "text", "text": text }],
        "isError": true,
        "_meta": { REFUSAL_META: facts(refusal) },
    });
    if refusal.form.era == Era::Modern {
        result["resultType"] = json!("complete");
    }
    result
}

/// What machines read.
fn facts(refusal: &Refusal) -> Map<String, Value> {
    let mut data = Map::new();
    data.insert("reason".into(), json!(refusal.reason.as_str()));
    data.insert("policy_ids".into(), json!(refusal.policies));
    data.insert("correlation_id".into(), json!(refusal.receipt.call.to_string()));
    if let Some(message) = &refusal.message {
        data.insert("message".into(), json!(message));
    }
    if let Way::Later { seconds, limit } = &refusal.way {
        data.insert("limit".into(), json!(limit));
        data.insert("retry_after".into(), json!(seconds));
    }
    if refusal.reason == Reason::ScannerBlocked {
        data.insert("findings".into(), findings(refusal));
    }
    if let Some(arguments) = request_access(refusal) {
        data.insert(REQUEST_ACCESS.into(), arguments);
    }
    if let Way::Link(link) = &refusal.way {
        data.insert("approval_url".into(), json!(link));
    }
    if let Way::Connect(link) | Way::ConnectByUrl(link, _) = &refusal.way {
        data.insert("connect_url".into(), json!(link));
    }
    data
}

/// What a scanner stopped: which rule, where; never what it is.
fn findings(refusal: &Refusal) -> Value {
    let findings = refusal.receipt.subject.findings.iter();
    let blocked = findings.filter(|finding| finding.mode == Mode::Block).map(
        |finding| json!({ "class": finding.class, "rule": finding.rule, "path": finding.path }),
    );
    blocked.collect()
}

/// The arguments with which somebody who is known asks for what no policy allows them; the same for what does
/// not exist.
fn request_access(refusal: &Refusal) -> Option<Value> {
    let subject = &refusal.receipt.subject;
    let denied = matches!(refusal.reason, Reason::PolicyDenied | Reason::TargetNotFound);
    let elsewhere = subject.server_id != Some(RUNLAYER_ID);
    // Nobody gives leave to what the flow rule stops.
    let asks = elsewhere && refusal.policies != [FLOW_RULE.to_string()];
    let slug = subject.server_slug.as_deref().filter(|_| denied && asks)?;
    subject.actor_id?;
    let mut arguments = json!({ "server_id": slug });
    if subject.resource_type == Some("tool") {
        arguments["tools"] = json!([subject.resource_name]);
    }
    Some(arguments)
}

fn sentence(refusal: &Refusal) -> String {
    let said = refusal.reason.message();
    match (&refusal.message, tells_detail(refusal.reason)) {
        (Some(message), _) => format!("{said}: {message}"),
        (None, true) if !refusal.detail.is_empty() => format!("{said}: {}", refusal.detail),
        (None, _) => said.to_owned(),
    }
}

/// Details about what the client itself sent are told; what the gateway knows of itself is not.
fn tells_detail(reason: Reason) -> bool {
    matches!(reason.status(), 400 | 405 | 408 | 413 | 415 | 431)
        || reason == Reason::UnknownMethod
        || reason == Reason::CredentialAmbiguous
}

/// `elicitation/create` as an `input_required` result. `state` comes back with the answer.
pub(super) fn ask_user(key: &str, message: &str, state: &str) -> String {
    let request = json!({ "method": "elicitation/create", "params": elicitation(message) });
    let mut requests = Map::new();
    requests.insert(key.to_owned(), request);
    json!({
        "resultType": "input_required",
        "inputRequests": requests,
        "requestState": state,
    })
    .to_string()
}

/// The parameters of `elicitation/create` that send a person to a page.
pub(super) fn elicit_url(id: &str, message: &str, url: &str) -> Value {
    json!({ "mode": "url", "elicitationId": id, "message": message, "url": url })
}

/// The same as an `input_required` result.
pub(super) fn ask_url(key: &str, asked: &Value, state: &str) -> String {
    let request = json!({ "method": "elicitation/create", "params": asked });
    let mut requests = Map::new();
    requests.insert(key.to_owned(), request);
    json!({ "resultType": "input_required", "inputRequests": requests, "requestState": state })
        .to_string()
}

/// `elicitation/create` as a request of the server, for a legacy client. `id` is a string.
pub(super) fn elicit(id: &str, message: &str) -> String {
    let mut quoted = String::new();
    write_string(id, &mut quoted);
    let params = elicitation(message);
    format!(r#"{{"jsonrpc":"2.0","id":{quoted},"method":"elicitation/create","params":{params}}}"#)
}

fn elicitation(message: &str) -> Value {
    json!({
        "message": message,
        "requestedSchema": {
            "type": "object",
            "properties": {
                "confirm": {
                    "type": "boolean",
                    "title": "I agree to this call",
                    "description": "The call is made once, with exactly these arguments.",
                    "default": false,
                },
            },
            "required": ["confirm"],
        },
    })
}
