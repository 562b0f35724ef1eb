//! The admin listener: `/health/live`, `/health/ready`, `/metrics`. It has an address, a task and a small
//! HTTP server of its own, so that it still answers while the clients' listener is full or draining.
//! It takes no credentials and gives nothing away but the state of this replica.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use gateway_core::server::{Endpoint, HealthStatus, ServerStatus};
use gateway_governance::Governance;
use gateway_store::Store;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::telemetry::{self, Gauges, Load, Servers};

/// How long Postgres may take to answer a readiness probe.
const PING_WITHIN: Duration = Duration::from_secs(2);
/// Probes and scrapes at once; more wait for a place.
const CONNECTIONS: usize = 64;

/// What the answers are about.
pub struct Health {
    store: Store,
    governance: Arc<Governance>,
    draining: AtomicBool,
    /// What is scarce, for the figures.
    load: Box<dyn Fn() -> Load + Send + Sync>,
}

/// The body of `/health/ready`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct Readiness {
    /// All of the below.
    ready: bool,
    /// Postgres answers.
    database: bool,
    /// The catalogue is as fresh as it must be for decisions.
    catalogue: bool,
    /// The audit trail can be written.
    audit: bool,
    /// The replica is going down: it finishes what runs and takes nothing new.
    draining: bool,
}

impl Health {
    /// Of these parts.
    pub fn new(
        store: Store,
        governance: Arc<Governance>,
        load: impl Fn() -> Load + Send + Sync + 'static,
    ) -> Health {
        Health { store, governance, draining: AtomicBool::new(false), load: Box::new(load) }
    }

    /// From now on the replica is not ready.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    async fn readiness(&self) -> Readiness {
        let ping = tokio::time::timeout(PING_WITHIN, self.store.ping()).await;
        let database = matches!(ping, Ok(Ok(())));
        let catalogue = self.governance.is_fresh();
        let audit = self.governance.trail().health().writable;
        let draining = self.draining.load(Ordering::Relaxed);
        let ready = database && catalogue && audit && !draining;
        Readiness { ready, database, catalogue, audit, draining }
    }

    /// How the active servers are, as whichever replica looks after them has seen.
    async fn servers(&self) -> Option<Servers> {
        let known: HashMap<_, _> = self.store.server_health().await.ok()?.into_iter().collect();
        let snapshot = self.governance.snapshot();
        let mut servers = Servers::default();
        for server in snapshot.servers.iter().filter(|server| {
            server.status == ServerStatus::Active && server.endpoint != Endpoint::InProcess
        }) {
            match known.get(&server.id).map(|health| health.status) {
                Some(HealthStatus::Ok) => servers.ok += 1,
                Some(HealthStatus::Failing) => servers.failing += 1,
                None => servers.unknown += 1,
            }
        }
        Some(servers)
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            let mut reply = plain(StatusCode::METHOD_NOT_ALLOWED, "GET only\n");
            reply.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return reply;
        }
        match request.uri().path() {
            "/health/live" => json(StatusCode::OK, r#"{"live":true}"#.to_owned()),
            "/health/ready" => {
                let readiness = self.readiness().await;
                let status =
                    if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                json(status, serde_json::to_string(&readiness).unwrap_or_default())
            }
            "/metrics" => {
                let ready = self.readiness().await.ready;
                let audit = self.governance.trail().health();
                metrics(telemetry::render(Gauges {
                    audit_queue: audit.queued as u64,
                    audit_spooled: audit.spooled_bytes,
                    audit_running: audit.running as u64,
                    audit_lost: audit.lost,
                    audit_writable: audit.writable,
                    spool_writable: audit.spool_writable,
                    ready,
                    servers: self.servers().await,
                    load: (self.load)(),
                }))
            }
            _ => plain(StatusCode::NOT_FOUND, "/health/live /health/ready /metrics\n"),
        }
    }
}

fn json(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    typed(status, "application/json", text.into())
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    typed(status, "text/plain; charset=utf-8", text.into())
}

fn metrics(text: String) -> Response<Full<Bytes>> {
    typed(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text.into())
}

fn typed(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut reply = Response::new(Full::new(body));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

/// The running listener.
pub struct Admin {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Admin {
    /// Binds and serves.
    pub async fn start(listen: SocketAddr, health: Arc<Health>) -> std::io::Result<Admin> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let task = tokio::spawn(accept(listener, health, stop.clone()));
        Ok(Admin { address, stop, task })
    }

    /// The bound address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the listener and every connection.
    pub async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the admin listener ended badly");
        }
    }
}

async fn accept(listener: TcpListener, health: Arc<Health>, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = tokio::select! {
            () = stop.cancelled() => return,
            place = places.clone().acquire_owned() => place,
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (health, stop) = (health.clone(), stop.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = serve(stream, health) => {}
                    }
                    drop(place);
                });
            }
            Err(error) => {
                // Out of file descriptors, mostly: it comes back at once unless given time.
                tracing::warn!(%error, "the admin listener could not accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, health: Arc<Health>) {
    let service = service_fn(move |request| {
        let health = health.clone();
        async move { Ok::<_, Infallible>(health.answer(request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(10))
        .max_buf_size(16 << 10)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "an admin connection broke off");
    }
}
