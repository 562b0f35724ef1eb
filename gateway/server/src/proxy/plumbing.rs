//! Connections and bytes: pingora's listeners, TLS, HTTP/1.1 and HTTP/2 around one [`Handler`].
//!
//! Knows nothing of MCP, callers or policies. Each exchange runs whole in one async function,
//! [`serve`]: head ([`head`]) and body ([`body`]) are read, it waits for its turn (`crate::turns`), the handler
//! answers, the answer goes out ([`answer`]). [`door`] meets a new connection before any byte of it is trusted. The
//! listening service runs in the caller's tokio runtime, so a process may start and drain any number of them; pingora's
//! own `Server` is not used: on SIGTERM it sleeps its whole grace period and then cuts every stream.

mod answer;
mod body;
mod door;
mod head;
mod serve;
mod sse;
#[cfg(test)]
mod tests;

use std::hash::RandomState;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::IntoRawFd;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use gateway_core::ids::CallId;
use gateway_core::reason::Reason;
use http::{HeaderMap, Method};
use pingora_core::listeners::tls::TlsSettings;
use pingora_core::listeners::{L4BufferSettings, ListenerConfig};
use pingora_core::server::{Fds, ListenFds};
use pingora_core::services::Service as _;
use pingora_core::services::listening::Service;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::exchange::{Exchange, Reply};
use crate::telemetry::Load;
use crate::turns::{TurnSettings, Turns};

/// How long cut exchanges have to be dropped; only one that blocks its thread takes longer.
const CUT_WITHIN: Duration = Duration::from_secs(1);

/// What answers exchanges.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Answers one exchange. The future is dropped when the client goes away; so is the reply's body, which
    /// is otherwise polled to its end (HEAD requests excepted).
    async fn handle(&self, exchange: Exchange) -> Reply;

    /// Answers what never became an exchange, or whose handling panicked. Must not block.
    fn refuse(&self, unread: Unread) -> Reply;
}

/// A request that could not be read, or whose handling failed.
#[derive(Debug)]
pub struct Unread {
    /// Why.
    pub reason: Reason,
    /// What exactly, for logs and the record.
    pub detail: String,
    /// The method; `None` when the head could not be read.
    pub method: Option<Method>,
    /// The path as it was sent; empty when the head could not be read.
    pub path: String,
    /// The headers; empty when the head could not be read.
    pub headers: HeaderMap,
    /// The address of the connection's other end.
    pub peer: IpAddr,
    /// [`Handler::handle`] had begun and was dropped: what it records on drop is recorded; only an answer
    /// is wanted.
    pub began: bool,
    /// The id under which that is recorded, where the handler gave one: as an extension of its reply.
    pub call: Option<CallId>,
}

/// Where to listen.
#[derive(Debug, Clone)]
pub struct Listen {
    /// The address; port 0 takes a free one, see [`Plumbing::address`].
    pub address: SocketAddr,
    /// Present: TLS with ALPN `h2` and `http/1.1`. Absent: HTTP/1.1 and h2c.
    pub tls: Option<TlsFiles>,
}

/// A server certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM, the chain with the server's certificate first.
    pub cert: PathBuf,
    /// PEM, the private key.
    pub key: PathBuf,
}

/// What one client may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of request line and headers; more is 431.
    pub head_bytes: usize,
    /// Number of headers; more is 431.
    pub head_count: usize,
    /// Bytes of a request body; more is 413.
    pub body_bytes: usize,
    /// From the connection (or its next request) to the head's last byte.
    pub head_within: Duration,
    /// From the head's last byte to the body's.
    pub body_within: Duration,
    /// How long a connection may wait for its next request.
    pub idle_within: Duration,
    /// How long the client may take nothing of what is written.
    pub write_within: Duration,
    /// Silence on an event stream after which a comment is sent.
    pub comment_every: Duration,
    /// Connections at once; more are closed at once.
    pub connections: usize,
    /// Exchanges that are handled at once (reading a request and streaming a reply not counted); more is 503.
    pub exchanges: usize,
    /// Bytes of all request bodies that are being read or handled; more is 503.
    pub all_bodies: usize,
    /// Whose turn it is to be handled; who waits too long gets 503.
    pub turns: TurnSettings,
    /// How long after the start of draining requests on open connections are still served.
    pub lame_duck: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            head_bytes: 32 << 10,
            head_count: 100,
            body_bytes: 4 << 20,
            head_within: Duration::from_secs(15),
            body_within: Duration::from_secs(30),
            idle_within: Duration::from_secs(75),
            write_within: Duration::from_secs(30),
            comment_every: Duration::from_secs(15),
            connections: 20_000,
            exchanges: 4_096,
            all_bodies: 256 << 20,
            turns: TurnSettings::default(),
            lame_duck: Duration::from_millis(250),
        }
    }
}

/// Why listening did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The certificate or its key is not usable.
    #[error("TLS with certificate {cert} and key {key}: {detail}")]
    Tls {
        /// The certificate file.
        cert: PathBuf,
        /// The key file.
        key: PathBuf,
        /// What is wrong with them.
        detail: String,
    },
}

/// A running listener. Dropping it cuts every connection; [`Plumbing::drain`] lets them finish.
pub struct Plumbing {
    address: SocketAddr,
    shared: Arc<Shared>,
    shutdown: watch::Sender<bool>,
    service: JoinHandle<()>,
}

/// What every connection of one listener shares.
struct Shared {
    handler: Arc<dyn Handler>,
    limits: Limits,
    connections: Arc<Semaphore>,
    exchanges: Semaphore,
    /// Room for request bodies, in units of 1 KiB.
    bodies: Semaphore,
    turns: Arc<Turns>,
    clients: RandomState,
    running: TaskTracker,
    cut: CancellationToken,
    draining_since: OnceLock<Instant>,
}

impl Shared {
    fn is_draining(&self) -> bool {
        self.draining_since.get().is_some()
    }

    fn load(&self, load: &mut Load) {
        let Limits { connections, exchanges, all_bodies, .. } = self.limits;
        let (turns, all_turns, waiting) = self.turns.used();
        let rooms = all_bodies.div_ceil(1 << 10);
        let bodies = rooms.saturating_sub(self.bodies.available_permits()) << 10;
        load.pools.extend([
            (
                "connections",
                connections.saturating_sub(self.connections.available_permits()),
                connections,
            ),
            ("exchanges", exchanges.saturating_sub(self.exchanges.available_permits()), exchanges),
            ("turns", turns, all_turns),
            ("body_bytes", bodies, all_bodies),
        ]);
        load.queues.push(("turns", waiting));
    }

    /// True once requests on open connections are no longer served either.
    fn is_closing(&self) -> bool {
        self.draining_since.get().is_some_and(|since| since.elapsed() >= self.limits.lame_duck)
    }
}

impl Plumbing {
    /// Binds and serves in the current tokio runtime.
    pub fn start(
        listen: &Listen,
        limits: Limits,
        handler: Arc<dyn Handler>,
    ) -> Result<Plumbing, StartError> {
        let tls = listen.tls.as_ref().map(tls_settings).transpose()?;
        let bind_error = |source| StartError::Bind { address: listen.address, source };
        // Bound here and handed to pingora as an inherited socket: pingora itself would retry a taken
        // address for 30 seconds, panic, and never say which port 0 became.
        let listener = TcpListener::bind(listen.address).map_err(bind_error)?;
        listener.set_nonblocking(true).map_err(bind_error)?;
        let address = listener.local_addr().map_err(bind_error)?;
        let shared = Arc::new(Shared {
            handler,
            connections: Arc::new(Semaphore::new(limits.connections)),
            exchanges: Semaphore::new(limits.exchanges),
            bodies: Semaphore::new(limits.all_bodies.div_ceil(1 << 10).min(Semaphore::MAX_PERMITS)),
            turns: Turns::new(limits.turns),
            clients: RandomState::new(),
            limits,
            running: TaskTracker::new(),
            cut: CancellationToken::new(),
            draining_since: OnceLock::new(),
        });
        let mut service = Service::new("gateway".to_owned(), door::Door::new(shared.clone()));
        service.add_listener(endpoint(address, tls));
        let mut inherited = Fds::new();
        inherited.add(address.to_string(), listener.into_raw_fd());
        let inherited: ListenFds = Arc::new(inherited.into());
        let (shutdown, watch) = watch::channel(false);
        let service =
            tokio::spawn(async move { service.start_service(Some(inherited), watch, 1).await });
        Ok(Plumbing { address, shared, shutdown, service })
    }

    /// The bound address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Tells what is in use, as long as anybody asks.
    pub fn load(&self) -> impl Fn(&mut Load) + Send + Sync + use<> {
        let shared = self.shared.clone();
        move |load| shared.load(load)
    }

    /// Stops listening, lets running exchanges finish for at most `grace`, then cuts what is left. True when
    /// nothing had to be cut.
    pub async fn drain(mut self, grace: Duration) -> bool {
        self.shared.draining_since.get_or_init(Instant::now);
        let _ = self.shutdown.send(true);
        let deadline = Instant::now() + grace;
        let _ = tokio::time::timeout_at(deadline, &mut self.service).await;
        self.shared.running.close();
        let finished = tokio::time::timeout_at(deadline, self.shared.running.wait()).await.is_ok();
        self.shared.cut.cancel();
        let _ = tokio::time::timeout(CUT_WITHIN, self.shared.running.wait()).await;
        finished
    }
}

impl Drop for Plumbing {
    fn drop(&mut self) {
        self.shared.cut.cancel();
        self.service.abort();
    }
}

/// pingora's default buffers are 64 KiB and 1,460 bytes; idle connections pay for the first, and the second
/// sends head and first frame of most replies apart.
fn endpoint(address: SocketAddr, tls: Option<TlsSettings>) -> ListenerConfig {
    let config =
        ListenerConfig::tcp(address.to_string()).l4_buffer(L4BufferSettings::new(8 << 10, 8 << 10));
    match tls {
        Some(settings) => config.tls(settings),
        None => config,
    }
}

/// pingora panics on unusable files, so they are tried here first.
fn tls_settings(files: &TlsFiles) -> Result<TlsSettings, StartError> {
    let error = |detail: String| StartError::Tls {
        cert: files.cert.clone(),
        key: files.key.clone(),
        detail,
    };
    try_certificate(files).map_err(&error)?;
    let (Some(cert), Some(key)) = (files.cert.to_str(), files.key.to_str()) else {
        return Err(error("the paths are not UTF-8".to_owned()));
    };
    let mut settings = TlsSettings::intermediate(cert, key).map_err(|e| error(e.to_string()))?;
    settings.enable_h2();
    Ok(settings)
}

fn try_certificate(files: &TlsFiles) -> Result<(), String> {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let chain = CertificateDer::pem_file_iter(&files.cert)
        .and_then(|certs| certs.collect::<Result<Vec<_>, _>>())
        .map_err(|e| format!("certificate: {e}"))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|e| format!("key: {e}"))?;
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ServerConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .and_then(|config| config.with_no_client_auth().with_single_cert(chain, key))
        .map(drop)
        .map_err(|e| e.to_string())
}
