//! Sends each exchange to its face: MCP addresses to the proxy, everything else to the control plane.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use gateway_core::reason::Reason;
use gateway_governance::connections::CLIENT_METADATA_PATH;
use http::StatusCode;
use http::header::RETRY_AFTER;
use tracing::Instrument;

use crate::control::oauth::{Oauth, reply, routes};
use crate::control::pages::Pages;
use crate::control::rest::Rest;
use crate::control::scim::{self, Scim};
use crate::edge::Edge;
use crate::exchange::{Exchange, Reply, json};
use crate::proxy::Proxy;
use crate::proxy::plumbing::{Handler, Unread};
use crate::telemetry;

/// Below this, addresses belong to the proxy.
const PROXY: &str = "/api/v1/proxy/";

/// What answers, once everything is built.
pub(super) struct Faces {
    pub(super) edge: Arc<Edge>,
    pub(super) proxy: Proxy,
    pub(super) rest: Rest,
    pub(super) oauth: Oauth,
    pub(super) scim: Scim,
    pub(super) pages: Pages,
}

/// The listener's handler.
pub(super) struct Dispatch {
    faces: OnceLock<Faces>,
}

impl Dispatch {
    /// Refuses everything until it is opened.
    pub(super) fn new() -> Dispatch {
        Dispatch { faces: OnceLock::new() }
    }

    /// From now on exchanges are answered; the first call counts.
    pub(super) fn open(&self, faces: Faces) {
        let _ = self.faces.set(faces);
    }

    /// Streams that clients keep open are ended.
    pub(super) fn drain(&self) {
        if let Some(faces) = self.faces.get() {
            faces.proxy.drain();
        }
    }
}

#[async_trait]
impl Handler for Dispatch {
    async fn handle(&self, exchange: Exchange) -> Reply {
        let Some(faces) = self.faces.get() else { return not_yet() };
        let _running = telemetry::in_flight();
        faces.handle(exchange).await
    }

    fn refuse(&self, unread: Unread) -> Reply {
        match self.faces.get() {
            Some(faces) => faces.proxy.refuse(unread),
            None => not_yet(),
        }
    }
}

impl Faces {
    async fn handle(&self, exchange: Exchange) -> Reply {
        if exchange.path.starts_with(PROXY) {
            return self.proxy.handle(exchange).await;
        }
        // Pages of any origin may read public documents and speak to the endpoints that take no cookie.
        let open = routes::is_open_to_pages(&exchange.path);
        let checked = match open {
            true => self.edge.check_host(&exchange.headers),
            false => self.edge.check(&exchange.headers),
        };
        if let Err((reason, detail)) = checked {
            return self.rest.refuse(&exchange, reason, detail);
        }
        if open && exchange.method == http::Method::OPTIONS {
            return reply::preflight();
        }
        let span = telemetry::exchange_span(&exchange.headers, &[]);
        if self.pages.owns(&exchange) {
            return self.pages.handle(exchange).instrument(span).await;
        }
        if exchange.path.starts_with(scim::routes::PREFIX) {
            return self.scim.handle(exchange, &self.rest).instrument(span).await;
        }
        // The gateway's own metadata as a client lies among the addresses of its authorization server.
        let as_client = exchange.path == CLIENT_METADATA_PATH;
        if routes::is_ours(&exchange.path) && !as_client {
            return self.oauth.handle(exchange).instrument(span).await;
        }
        let reply = self.rest.handle(exchange).instrument(span).await;
        if open { reply::open_to_pages(reply) } else { reply }
    }
}

/// The first moments of a start: nothing can be decided or recorded yet.
fn not_yet() -> Reply {
    let reason = Reason::CatalogueStale;
    let body = serde_json::json!({ "detail": reason.message(), "reason": reason.as_str() });
    let mut reply = json(StatusCode::SERVICE_UNAVAILABLE, body.to_string());
    reply.headers_mut().insert(RETRY_AFTER, http::HeaderValue::from_static("2"));
    reply
}
