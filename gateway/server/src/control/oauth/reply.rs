//! How the authorization server answers over HTTP: JSON that no cache keeps, errors as the RFCs name them, and the
//! headers that let pages of other origins read it.

use gateway_governance::oauth::{ErrorCode, OauthError};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, CACHE_CONTROL, PRAGMA, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use http::{HeaderName, HeaderValue, StatusCode};

use crate::exchange::{Reply, empty, json};

/// How long a browser remembers a preflight's answer, in seconds.
const REMEMBERED: &str = "600";

/// An error of an endpoint.
pub(super) fn refused(error: &OauthError) -> Reply {
    let status = StatusCode::from_u16(error.code.status());
    let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut reply = json(status, error.json().to_string());
    let headers = reply.headers_mut();
    if error.code == ErrorCode::InvalidClient {
        let challenge = HeaderValue::from_static("Basic realm=\"token endpoint\"");
        headers.insert(WWW_AUTHENTICATE, challenge);
    }
    if matches!(error.code, ErrorCode::TemporarilyUnavailable | ErrorCode::TooMuch) {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
    }
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    reply
}

/// What was asked for; it may hold secrets.
pub(super) fn given(status: StatusCode, body: String) -> Reply {
    let mut reply = json(status, body);
    reply.headers_mut().insert(PRAGMA, HeaderValue::from_static("no-cache"));
    reply
}

/// A public document, which caches may keep for a while.
pub(super) fn document(body: String) -> Reply {
    let mut reply = json(StatusCode::OK, body);
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    reply
}

/// The answer to a browser that asks whether a page may ask.
pub(crate) fn preflight() -> Reply {
    let mut reply = empty(StatusCode::NO_CONTENT);
    let headers = reply.headers_mut();
    let fixed: [(HeaderName, &'static str); 3] = [
        (ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
        (ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type, mcp-protocol-version"),
        (ACCESS_CONTROL_MAX_AGE, REMEMBERED),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    open_to_pages(reply)
}

/// Lets pages of any origin read it; without credentials, which are not taken here.
pub(crate) fn open_to_pages(mut reply: Reply) -> Reply {
    let headers = reply.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("www-authenticate"));
    reply
}
