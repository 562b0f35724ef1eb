//! A new connection, before its first request: how many there may be, HTTP/1 or HTTP/2, and until when it
//! must have said something. pingora peeks for the HTTP/2 preface without a deadline and waits for 24 bytes
//! even where a whole HTTP/1 request is shorter; so the door looks first, at three bytes.

use std::sync::Arc;

use async_trait::async_trait;
use pingora_core::apps::{HttpServerOptions, ServerApp};
use pingora_core::protocols::Stream;
use pingora_core::server::ShutdownWatch;
use tokio::time::timeout;

use super::Shared;
use super::serve::Serve;
use crate::telemetry::{self, Shed};

/// The first bytes of an HTTP/2 connection without TLS.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Meets new connections.
pub(super) struct Door {
    shared: Arc<Shared>,
    by_alpn: Arc<Serve>,
    h2c: Arc<Serve>,
}

impl Door {
    pub(super) fn new(shared: Arc<Shared>) -> Door {
        let options = |h2c| {
            let mut options = HttpServerOptions::default();
            options.h2c = h2c;
            options.h2_idle_timeout = Some(shared.limits.idle_within);
            options
        };
        let by_alpn = Arc::new(Serve { shared: shared.clone(), options: options(false) });
        let h2c = Arc::new(Serve { shared: shared.clone(), options: options(true) });
        Door { shared, by_alpn, h2c }
    }

    async fn meet(&self, mut stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let mut draining = shutdown.clone();
        let is_h2c = stream.get_ssl_digest().is_none()
            && tokio::select! {
                speaks = timeout(self.shared.limits.head_within, speaks_h2c(&mut stream)) => speaks.ok()??,
                _ = draining.wait_for(|draining| *draining) => return None,
            };
        let app = if is_h2c { &self.h2c } else { &self.by_alpn };
        app.process_new(stream, shutdown).await
    }
}

#[async_trait]
impl ServerApp for Door {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let Ok(_place) = self.shared.connections.clone().try_acquire_owned() else {
            telemetry::shed(Shed::Connections);
            return None;
        };
        let _running = self.shared.running.token();
        tokio::select! {
            biased;
            () = self.shared.cut.cancelled() => None,
            stream = self.meet(stream, shutdown) => stream,
        }
    }
}

/// Looks at the first bytes and puts them back. `None`: the client has left.
async fn speaks_h2c(stream: &mut Stream) -> Option<bool> {
    let mut start = [0; 3];
    stream.try_peek(&mut start).await.ok()?;
    if !PREFACE.starts_with(&start) {
        return Some(false);
    }
    let mut preface = [0; PREFACE.len()];
    stream.try_peek(&mut preface).await.ok()?;
    Some(preface == *PREFACE)
}
