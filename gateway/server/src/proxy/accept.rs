//! First stage: the address, the HTTP method, `Host` and `Origin`, the media type. Nothing about the caller
//! or the message is known yet.

use bytes::Bytes;
use gateway_core::ids::CallId;
use gateway_core::reason::Reason;
use http::{HeaderMap, Method};

use super::plumbing::Unread;
use super::receipt::{Receipt, next_call};
use super::refusal::Refusal;
use super::{Proxy, fail};
use crate::exchange::{Early, Exchange};

/// A request to a server's MCP address.
pub(super) struct Received {
    pub(super) receipt: Receipt,
    /// Id or slug, as in the path.
    pub(super) server: String,
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) peer: std::net::IpAddr,
    pub(super) early: Early,
}

/// Takes an exchange whose body has been read.
pub(super) fn receive(
    exchange: Exchange,
    call: CallId,
    proxy: &Proxy,
) -> Result<Received, Refusal> {
    let mut receipt = Receipt::of(&proxy.governance, call, exchange.body.len());
    fail::point("accept");
    receipt.turn = exchange.turn;
    receipt.subject.client_ip = Some(exchange.peer.to_string());
    receipt.subject.trace_id = crate::telemetry::trace_id(&exchange.headers);
    let Some(server) = server_in(&exchange.path) else {
        return Err(Refusal::new(receipt, Reason::NotFound, exchange.path));
    };
    receipt.subject.server_slug = Some(server.chars().take(64).collect());
    if let Err((reason, detail)) = proxy.edge.check(&exchange.headers) {
        return Err(Refusal::new(receipt, reason, detail));
    }
    if ![Method::POST, Method::GET, Method::DELETE].contains(&exchange.method) {
        let detail = format!("{}: expected POST, GET or DELETE", exchange.method);
        return Err(Refusal::new(receipt, Reason::HttpMethodNotAllowed, detail));
    }
    if exchange.method == Method::POST && !is_json(&exchange.headers) {
        let detail = "Content-Type: expected application/json".into();
        return Err(Refusal::new(receipt, Reason::UnsupportedMediaType, detail));
    }
    Ok(Received {
        receipt,
        server,
        method: exchange.method,
        headers: exchange.headers,
        body: exchange.body,
        peer: exchange.peer,
        early: exchange.early,
    })
}

/// A request that could not be read to its end, or whose handling broke off.
pub(super) fn unreadable(unread: Unread, proxy: &Proxy) -> Refusal {
    let call = unread.call.unwrap_or_else(|| next_call(&proxy.governance));
    let mut receipt = Receipt::of(&proxy.governance, call, 0);
    receipt.subject.client_ip = Some(unread.peer.to_string());
    let server = server_in(&unread.path);
    receipt.subject.server_slug = server.map(|s| s.chars().take(64).collect());
    if unread.began {
        // The exchange's own receipt was dropped, which has written its record.
        receipt.forgive();
    }
    Refusal::new(receipt, unread.reason, unread.detail)
}

/// An exchange that broke off inside the line: its own receipt was dropped, which has written the record; what is left
/// to do is to answer, with the same id.
pub(super) fn broken(call: CallId, proxy: &Proxy) -> Refusal {
    let mut receipt = Receipt::of(&proxy.governance, call, 0);
    receipt.forgive();
    Refusal::new(receipt, Reason::Internal, String::new())
}

/// The server's id or slug in `/api/v1/proxy/{server}/mcp`.
fn server_in(path: &str) -> Option<String> {
    let server = path.strip_prefix("/api/v1/proxy/")?.strip_suffix("/mcp")?;
    (!server.is_empty() && !server.contains('/')).then(|| server.to_owned())
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(http::header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
    let essence = value.and_then(|v| v.split(';').next()).unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mcp_addresses_name_a_server() {
        assert_eq!(server_in("/api/v1/proxy/tickets/mcp").as_deref(), Some("tickets"));
        for other in ["/api/v1/proxy//mcp", "/api/v1/proxy/a/b/mcp", "/api/v1/proxy/a", "/mcp", "/"]
        {
            assert_eq!(server_in(other), None, "{other}");
        }
    }
}
