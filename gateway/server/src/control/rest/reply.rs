//! How a refusal looks over REST: `{"detail", "reason", "correlation_id"}` with the reason's status, and where
//! another credential would help the way to get one.

use gateway_core::ids::CallId;
use gateway_core::reason::Reason;
use http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde_json::json;

use super::super::metadata::Metadata;
use super::super::refusal::sentence;
use crate::exchange::{self, Reply};

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
