//! Opens connections: resolves the name, asks the guard about every address, connects to one that it
//! passed, all within one deadline that also covers TLS.

use std::error::Error;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use gateway_core::reason::Reason;
use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tower_service::Service;

use super::address::Guard;

/// Turns names into addresses.
#[async_trait]
pub trait Resolve: Send + Sync + 'static {
    /// The addresses of `host`, a name or an IP address, each with `port`.
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// The operating system's resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((host, port)).await?.collect())
    }
}

/// A connection was not made.
#[derive(Debug, thiserror::Error)]
#[error("{detail}")]
pub(super) struct NotConnected {
    pub(super) reason: Reason,
    pub(super) detail: String,
}

impl NotConnected {
    fn unreachable(detail: String) -> NotConnected {
        NotConnected { reason: Reason::UpstreamUnreachable, detail }
    }
}

type BoxError = Box<dyn Error + Send + Sync>;
type Connecting<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// What hyper's client connects with: TLS over [`Guarded`], within a deadline.
#[derive(Clone)]
pub(super) struct Connector {
    inner: HttpsConnector<Guarded>,
    guarded: Guarded,
    within: Duration,
}

/// Opens TCP connections to addresses that the guard passes.
#[derive(Clone)]
pub(super) struct Guarded {
    guard: Arc<Guard>,
    resolver: Arc<dyn Resolve>,
    within: Duration,
}

impl Connector {
    /// Whether a connection would be tried: the name resolves, and the guard passes an address.
    pub(super) async fn passes(&self, uri: &Uri) -> Result<(), NotConnected> {
        let (host, port) = place(uri);
        self.guarded.resolve(host, port, Instant::now() + self.within).await.map(drop)
    }

    pub(super) fn new(
        guard: Arc<Guard>,
        resolver: Arc<dyn Resolve>,
        tls: ClientConfig,
        within: Duration,
    ) -> Connector {
        let guarded = Guarded { guard, resolver, within };
        let inner = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(guarded.clone());
        Connector { inner, guarded, within }
    }
}

impl Service<Uri> for Connector {
    type Response = <HttpsConnector<Guarded> as Service<Uri>>::Response;
    type Error = BoxError;
    type Future = Connecting<Self::Response, BoxError>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.inner.call(uri);
        let within = self.within;
        Box::pin(async move {
            match timeout(within, connecting).await {
                Ok(connected) => connected,
                Err(_) => Err(too_slow(within).into()),
            }
        })
    }
}

impl Service<Uri> for Guarded {
    type Response = TokioIo<TcpStream>;
    type Error = NotConnected;
    type Future = Connecting<Self::Response, NotConnected>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), NotConnected>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { this.connect(&uri).await.map(TokioIo::new) })
    }
}

impl Guarded {
    pub(super) fn new(guard: Arc<Guard>, resolver: Arc<dyn Resolve>, within: Duration) -> Guarded {
        Guarded { guard, resolver, within }
    }

    pub(super) async fn connect(&self, uri: &Uri) -> Result<TcpStream, NotConnected> {
        let deadline = Instant::now() + self.within;
        let (host, port) = place(uri);
        let addresses = self.resolve(host, port, deadline).await?;
        let mut last = NotConnected::unreachable(format!("{host} has no address"));
        let mut left = addresses.len();
        for address in addresses {
            // A silent address must not use up the time of the next one.
            let share = deadline.saturating_duration_since(Instant::now());
            let share = if left > 1 { share / 2 } else { share };
            left -= 1;
            match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // Head and body of a small request leave in one write anyway.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(error)) => {
                    last = NotConnected::unreachable(format!("connecting to {address}: {error}"));
                }
                Err(_) => last = too_slow(self.within),
            }
        }
        Err(last)
    }

    /// The addresses that the guard passes; an error when it passes none.
    async fn resolve(
        &self,
        host: &str,
        port: u16,
        deadline: Instant,
    ) -> Result<Vec<SocketAddr>, NotConnected> {
        let resolved = timeout_at(deadline, self.resolver.resolve(host, port)).await;
        let resolved = resolved
            .map_err(|_| too_slow(self.within))?
            .map_err(|e| NotConnected::unreachable(format!("resolving {host}: {e}")))?;
        let mut passed = Vec::new();
        let mut refused = None;
        for address in resolved {
            match self.guard.check(address) {
                Ok(address) => passed.push(address),
                Err(error) => refused = Some(error),
            }
        }
        match refused {
            Some(refused) if passed.is_empty() => Err(NotConnected {
                reason: Reason::UpstreamAddressRefused,
                detail: refused.to_string(),
            }),
            _ => Ok(passed),
        }
    }
}

/// Where the address leads, brackets of IPv6 taken off.
fn place(uri: &Uri) -> (&str, u16) {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    (host, uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 }))
}

fn too_slow(within: Duration) -> NotConnected {
    NotConnected {
        reason: Reason::UpstreamTimeout,
        detail: format!("no connection within {} s", within.as_secs_f32()),
    }
}
