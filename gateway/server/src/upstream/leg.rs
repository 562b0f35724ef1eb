//! One request to one server, over a connection of that server's and credential's own pool.
//!
//! Never retried once a byte may have left: the client below repeats a request only when a pooled
//! connection closed before it was taken up, and [`LegError::sent`] tells the rest.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use gateway_core::credential::Credential;
use gateway_core::ids::ServerId;
use gateway_core::reason::Reason;
use gateway_core::server::{Endpoint, Server};
use http::{HeaderValue, Request, Response, Uri, header};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use hyper_rustls::ConfigBuilderExt;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use moka::sync::Cache;
use rustls::ClientConfig;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;
use url::Url;

use super::address::Guard;
use super::breaker::BreakerSettings;
use super::connect::{Connector, Resolve, SystemResolver};
use super::entry::{Entrance, Entry, EntrySettings, TurnedAway};
use super::failure::{LegError, describe, explain};
use crate::exchange::{Body, BodyError};
use crate::telemetry::BreakerState;

/// The answer's body. Dropping it before its end aborts the request upstream.
pub type LegBody = Body;

/// A server inside this process.
#[async_trait]
pub trait Local: Send + Sync + 'static {
    /// Answers one request; the caller is in its extensions as `gateway_core::caller::Caller`. An answer whose
    /// extensions hold a [`Reason`](gateway_core::reason::Reason) says that the call was refused, and why.
    async fn handle(&self, request: Request<Bytes>) -> Response<Body>;
}

/// Deadlines and sizes.
#[derive(Debug, Clone)]
pub struct LegSettings {
    /// From the start to a connection with TLS.
    pub connect: Duration,
    /// From the start to the answer's head.
    pub first_byte: Duration,
    /// How long an unused connection is kept.
    pub pool_idle: Duration,
    /// Callers' requests that may wait for servers' answers at once.
    pub all: usize,
    /// Requests that may wait for one server's answer at once.
    pub per_server: usize,
    /// When a server is not asked for a while.
    pub breaker: BreakerSettings,
    /// Bytes of all answers of one listing or probe.
    pub listing_body: usize,
    /// From the start of a listing, probe or fetch to its end.
    pub listing_within: Duration,
}

impl Default for LegSettings {
    fn default() -> LegSettings {
        LegSettings {
            connect: Duration::from_secs(5),
            first_byte: Duration::from_secs(60),
            pool_idle: Duration::from_secs(30),
            all: 4_096,
            per_server: 1_024,
            breaker: BreakerSettings { failures: 5, pause: Duration::from_secs(5) },
            listing_body: 16 << 20,
            listing_within: Duration::from_secs(30),
        }
    }
}

/// The way to the servers. One per process.
pub struct Leg {
    pub(super) connector: Connector,
    pub(super) settings: LegSettings,
    pools: Cache<PoolKey, Arc<Pool>>,
    entrance: Entrance,
    local: OnceLock<Arc<dyn Local>>,
}

/// Requests share connections only where they share all of this.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct PoolKey {
    server: ServerId,
    url: String,
    credential: [u8; 32],
}

struct Pool {
    uri: Uri,
    client: HttpClient,
}

/// hyper's client over guarded connections.
pub(super) type HttpClient = Client<Connector, Sent>;

impl Leg {
    /// A leg that resolves names as the operating system does and trusts the public certificate authorities.
    pub fn new(guard: Arc<Guard>, settings: LegSettings) -> Leg {
        Leg::with(guard, settings, Arc::new(SystemResolver), public_authorities())
    }

    /// A leg with another resolver and other TLS settings.
    pub fn with(
        guard: Arc<Guard>,
        settings: LegSettings,
        resolver: Arc<dyn Resolve>,
        tls: ClientConfig,
    ) -> Leg {
        Leg {
            connector: Connector::new(guard, resolver, tls, settings.connect),
            pools: Cache::builder()
                .max_capacity(10_000)
                .time_to_idle(Duration::from_secs(600))
                .build(),
            entrance: Entrance::new(EntrySettings {
                all: settings.all,
                per_server: settings.per_server,
                breaker: settings.breaker,
            }),
            settings,
            local: OnceLock::new(),
        }
    }

    /// Names the in-process server; the first call counts. Apart from `new` because that server needs, in the
    /// end, this leg.
    pub fn set_local(&self, local: Arc<dyn Local>) {
        let _ = self.local.set(local);
    }

    /// Lets a call in that a caller makes: `caller` is the number of who it is. Nothing has left yet, and what is let
    /// in keeps its place until the entry is dropped.
    pub fn enter(&self, server: &Server, caller: u128) -> Result<Entry, TurnedAway> {
        self.entrance.caller(server, caller)
    }

    /// Sends `request` to `server` and gives its answer once the head is there. Method, headers, extensions
    /// and body are the caller's, the address is the server's, and `credential` is what governance found for
    /// both. Redirects are answers. `entry`: what let it in; the gateway's own requests have none.
    pub async fn send(
        &self,
        entry: Option<&Entry>,
        server: &Server,
        credential: &Credential,
        request: Request<Bytes>,
    ) -> Result<Response<LegBody>, LegError> {
        let Endpoint::Http(url) = &server.endpoint else { return self.in_process(request).await };
        let own;
        let entry = match entry {
            Some(entry) => entry,
            None => {
                own = self.entrance.gateway(server)?;
                &own
            }
        };
        let answer = self.remote(server, (url, credential), request).await;
        entry.tell(answer.as_ref().err());
        answer
    }

    /// How many calls wait for servers, and how many may.
    pub fn used(&self) -> (usize, usize) {
        self.entrance.used()
    }

    /// The breakers of the servers that were called lately, by slug.
    pub fn breakers(&self) -> Vec<(String, BreakerState)> {
        self.entrance.breakers()
    }

    async fn in_process(&self, mut request: Request<Bytes>) -> Result<Response<LegBody>, LegError> {
        let Some(local) = self.local.get() else {
            return Err(LegError::unsent(Reason::UpstreamUnreachable, "no in-process server"));
        };
        *request.uri_mut() = Uri::from_static("http://localhost/mcp");
        request.headers_mut().insert(header::HOST, HeaderValue::from_static("localhost"));
        Ok(local.handle(request).await)
    }

    async fn remote(
        &self,
        server: &Server,
        (url, credential): (&str, &Credential),
        mut request: Request<Bytes>,
    ) -> Result<Response<LegBody>, LegError> {
        let pool = self.pool(server.id, url, credential)?;
        *request.uri_mut() = pool.uri.clone();
        request.headers_mut().remove(header::HOST);
        for (name, value) in credential.headers() {
            request.headers_mut().insert(name, secret(value)?);
        }
        let (request, taken_up) = Sent::wrap(request);
        let answer = timeout(self.settings.first_byte, pool.client.request(request)).await;
        match answer {
            Ok(Ok(answer)) => Ok(answer
                .map(|body| body.map_err(|error| BodyError::new(describe(&error))).boxed_unsync())),
            Ok(Err(error)) => Err(explain(&error)),
            Err(_) => Err(LegError {
                reason: Reason::UpstreamTimeout,
                detail: format!("no answer within {} s", self.settings.first_byte.as_secs_f32()),
                sent: taken_up.load(Ordering::Acquire),
            }),
        }
    }

    fn pool(
        &self,
        server: ServerId,
        url: &str,
        credential: &Credential,
    ) -> Result<Arc<Pool>, LegError> {
        let key = PoolKey { server, url: url.to_owned(), credential: credential.owner() };
        if let Some(pool) = self.pools.get(&key) {
            return Ok(pool);
        }
        let uri = address(url)?;
        Ok(self.pools.get_with(key, || Arc::new(Pool { uri, client: self.client() })))
    }

    pub(super) fn client(&self) -> HttpClient {
        client(self.connector.clone(), self.settings.pool_idle)
    }
}

/// A pool of connections; one that nobody uses is kept so long.
pub(super) fn client(connector: Connector, idle: Duration) -> HttpClient {
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .pool_idle_timeout(idle)
        // Only requests that no connection has taken up are repeated.
        .retry_canceled_requests(true)
        .http1_max_buf_size(256 << 10)
        .http2_max_header_list_size(64 << 10)
        .http2_initial_stream_window_size(1 << 20)
        .http2_initial_connection_window_size(4 << 20)
        .build(connector)
}

/// Mozilla's certificate authorities, ring as the only provider.
pub(super) fn public_authorities() -> ClientConfig {
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    #[expect(clippy::expect_used, reason = "ring has the suites of TLS 1.2 and 1.3")]
    ClientConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .expect("ring speaks the default versions")
        .with_webpki_roots()
        .with_no_client_auth()
}

/// The request's address. `Url` reads it as browsers do; what hyper gets has no second reading.
pub(super) fn address(url: &str) -> Result<Uri, LegError> {
    let wrong = |what: &str| LegError::unsent(Reason::UpstreamUnreachable, format!("url: {what}"));
    let mut url = Url::parse(url).map_err(|e| wrong(&e.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("expected http or https"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("expected no user and password"));
    }
    url.set_fragment(None);
    url.as_str().parse().map_err(|_| wrong("not usable"))
}

fn secret(value: &SecretString) -> Result<HeaderValue, LegError> {
    let mut value = HeaderValue::from_str(value.expose_secret()).map_err(|_| {
        let detail = "its value cannot stand in a header";
        LegError::unsent(Reason::UpstreamCredentialMissing, detail)
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// A request body that tells whether a connection has begun with it.
pub(super) struct Sent {
    body: Full<Bytes>,
    taken_up: Arc<AtomicBool>,
}

impl Sent {
    pub(super) fn wrap(request: Request<Bytes>) -> (Request<Sent>, Arc<AtomicBool>) {
        // An empty body is never polled: nothing tells, so it counts as begun.
        let taken_up = Arc::new(AtomicBool::new(request.body().is_empty()));
        let sent = request.map(|bytes| Sent { body: Full::new(bytes), taken_up: taken_up.clone() });
        (sent, taken_up)
    }
}

impl http_body::Body for Sent {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.taken_up.store(true, Ordering::Release);
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
