//! A TCP proxy that breaks: it stands between the gateway and Postgres (or an upstream) and refuses,
//! cuts or stalls connections when a test says so.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What the proxy does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Passes bytes both ways.
    Pass,
    /// Cuts what is open and closes what is new.
    Refuse,
    /// The same by a reset (RST), as when a process dies with unread bytes or a router gives up.
    Reset,
    /// Keeps connections open and accepts new ones, but no byte passes.
    Stall,
    /// Bytes pass, a few at a time.
    Trickle,
}

/// What passes at once while it trickles, in bytes, and the pause after it.
const DROP: usize = 100;
const PAUSE: Duration = Duration::from_millis(10);

/// A running proxy; ends when dropped.
#[derive(Debug)]
pub struct Breaker {
    /// Where to connect to.
    pub address: SocketAddr,
    target: watch::Sender<SocketAddr>,
    mode: watch::Sender<Mode>,
    task: tokio::task::JoinHandle<()>,
}

impl Breaker {
    /// A proxy to `target` that passes everything for now.
    pub async fn start(target: SocketAddr) -> Breaker {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let (mode, watched) = watch::channel(Mode::Pass);
        let (target, aim) = watch::channel(target);
        let task = tokio::spawn(accept(listener, aim, watched));
        Breaker { address, target, mode, task }
    }

    /// New connections go to `target` from now on.
    pub fn aim(&self, target: SocketAddr) {
        self.target.send_replace(target);
    }

    /// Changes what it does, for connections that are open and for new ones.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

impl Drop for Breaker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(
    listener: TcpListener,
    target: watch::Receiver<SocketAddr>,
    mode: watch::Receiver<Mode>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                connections.spawn(join(client, target.clone(), mode.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn join(client: TcpStream, target: watch::Receiver<SocketAddr>, mode: watch::Receiver<Mode>) {
    let mut cut = mode.clone();
    let cut = cut.wait_for(|mode| matches!(mode, Mode::Refuse | Mode::Reset));
    // Kept whole here, so that it can still be reset.
    let mut client = client;
    let work = async {
        passing(mode.clone()).await;
        let target = *target.borrow();
        let Ok(mut server) = TcpStream::connect(target).await else { return };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (client_read, client_write) = client.split();
        let (server_read, server_write) = server.split();
        // When one direction ends, the connection ends: both protocols that pass here close whole.
        tokio::select! {
            () = pump(client_read, server_write, mode.clone()) => {}
            () = pump(server_read, client_write, mode.clone()) => {}
        }
    };
    let how = tokio::select! {
        () = work => None,
        mode = cut => mode.ok().map(|mode| *mode),
    };
    if how == Some(Mode::Reset) {
        let _ = client.set_zero_linger();
    }
}

async fn pump(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, mode: watch::Receiver<Mode>) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count) = from.read(&mut buffer).await {
        if count == 0 {
            return;
        }
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            let now = if passing(mode.clone()).await == Mode::Trickle {
                tokio::time::sleep(PAUSE).await;
                DROP.min(rest.len())
            } else {
                rest.len()
            };
            if to.write_all(&rest[..now]).await.is_err() {
                return;
            }
            rest = &rest[now..];
        }
    }
}

/// Returns once bytes may pass, and how; never if the proxy has gone.
async fn passing(mut mode: watch::Receiver<Mode>) -> Mode {
    let passes = |mode: &Mode| matches!(mode, Mode::Pass | Mode::Trickle);
    let passing = mode.wait_for(passes).await.map(|mode| *mode);
    match passing {
        Ok(mode) => mode,
        Err(_) => std::future::pending().await,
    }
}
