//! Three real MCP servers, written on rmcp as anybody would write them: a stateful one of the legacy era
//! (`tickets`), one of both eras (`files`, spoken to in the modern one here) and one with a destructive
//! tool (`payments`). They listen on sockets of their own and know nothing of the gateway.

mod files;
mod payments;
mod tickets;

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rmcp::ServerHandler;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// The running servers; they end when this is dropped.
pub(super) struct Upstreams {
    /// Where each listens.
    pub(super) tickets: SocketAddr,
    pub(super) files: SocketAddr,
    pub(super) payments: SocketAddr,
    _tasks: JoinSet<()>,
}

/// Starts all three.
pub(super) async fn start() -> anyhow::Result<Upstreams> {
    let mut tasks = JoinSet::new();
    Ok(Upstreams {
        tickets: listen(&mut tasks, tickets::Tickets::new()).await?,
        files: listen(&mut tasks, files::Files::new()).await?,
        payments: listen(&mut tasks, payments::Payments::new()).await?,
        _tasks: tasks,
    })
}

async fn listen<H>(tasks: &mut JoinSet<()>, handler: H) -> anyhow::Result<SocketAddr>
where
    H: ServerHandler + Clone,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let listener = listener.context("a demo server cannot listen on 127.0.0.1")?;
    let address = listener.local_addr().context("a demo server has no address")?;
    let service: StreamableHttpService<H, LocalSessionManager> = StreamableHttpService::new(
        move || Ok(handler.clone()),
        Default::default(),
        StreamableHttpServerConfig::default(),
    );
    tasks.spawn(serve(listener, TowerToHyperService::new(service)));
    Ok(address)
}

async fn serve<S>(listener: TcpListener, service: S)
where
    S: Service<Request<Incoming>, Response = Response<BoxBody<Bytes, Infallible>>>,
    S: Clone + Send + 'static,
    S::Future: Send,
    S::Error: std::error::Error + Send + Sync,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let _ = stream.set_nodelay(true);
                let service = service.clone();
                connections.spawn(async move {
                    let io = TokioIo::new(stream);
                    let builder = http1::Builder::new().timer(TokioTimer::new()).clone();
                    // A connection that breaks is the client's affair.
                    let _ = builder.serve_connection(io, service).await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}
