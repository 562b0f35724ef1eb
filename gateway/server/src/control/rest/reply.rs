//! How answers look over REST. A refusal is `{"detail", "reason", "correlation_id"}` with the reason's status, and
//! where another credential would help the way to get one. Exports come as files.

use gateway_core::ids::CallId;
use gateway_core::reason::Reason;
use gateway_governance::Answer;
use http::header::{
    ALLOW, CONTENT_DISPOSITION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::super::metadata::Metadata;
use super::super::refusal::sentence;
use crate::exchange::{self, Reply};

/// What a CSV file has no place for, as headers: where the rest is, and what the figures are about.
const BESIDE_CSV: [(&str, HeaderName); 4] = [
    ("next_cursor", HeaderName::from_static("x-next-cursor")),
    ("start", HeaderName::from_static("x-range-start")),
    ("end", HeaderName::from_static("x-range-end")),
    ("timezone", HeaderName::from_static("x-timezone")),
];

/// The answer to a request that was performed.
pub(super) fn done(mut answer: Answer) -> Reply {
    let Some(file) = answer.file else {
        return exchange::json(StatusCode::OK, answer.value.to_string());
    };
    let table = answer.value.get_mut("csv").map(Value::take);
    let mut reply = match table {
        Some(Value::String(table)) => {
            let mut reply = exchange::json(StatusCode::OK, table);
            let headers = reply.headers_mut();
            headers.insert(
                CONTENT_TYPE,
                HeaderValue::from_static("text/csv; charset=utf-8; header=present"),
            );
            for (member, name) in BESIDE_CSV {
                let text = answer.value.get(member).and_then(Value::as_str);
                if let Some(Ok(value)) = text.map(HeaderValue::from_str) {
                    headers.insert(name, value);
                }
            }
            reply
        }
        Some(_) | None => exchange::json(StatusCode::OK, answer.value.to_string()),
    };
    let headers = reply.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(value) = HeaderValue::try_from(format!("attachment; filename=\"{file}\"")) {
        headers.insert(CONTENT_DISPOSITION, value);
    }
    reply
}

/// The answer to a refused request.
pub(super) fn refused(reason: Reason, detail: &str, call: CallId, metadata: &Metadata) -> Reply {
    let detail = sentence(reason, detail);
    let body = json!({"detail": detail, "reason": reason.as_str(), "correlation_id": call});
    let mut reply = exchange::json(status(reason), body.to_string());
    let headers = reply.headers_mut();
    if let Some(seconds) = reason.retry_after() {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if reason.is_about_the_credential() {
        let challenge = metadata.challenge("", reason);
        if let Ok(value) = HeaderValue::try_from(challenge) {
            headers.insert(WWW_AUTHENTICATE, value);
        }
    }
    reply
}

/// The status of a refusal. Reasons that MCP answers inside a 200 have one of their own here.
fn status(reason: Reason) -> StatusCode {
    match StatusCode::from_u16(reason.status()) {
        Ok(StatusCode::OK) => StatusCode::FORBIDDEN,
        Ok(status) => status,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Says which methods an address has.
pub(super) fn allow(reply: &mut Reply, methods: &[&str]) {
    if let Ok(value) = HeaderValue::try_from(methods.join(", ")) {
        reply.headers_mut().insert(ALLOW, value);
    }
}
