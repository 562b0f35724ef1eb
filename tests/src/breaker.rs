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
}

/// A running proxy; ends when dropped.
#[derive(Debug)]
pub struct Breaker {
    /// Where to connect to.
    pub address: SocketAddr,
    mode: watch::Sender<Mode>,
    task: tokio::task::JoinHandle<()>,
}

impl Breaker {
    /// A proxy to `target` that passes everything for now.
    pub async fn start(target: SocketAddr) -> Breaker {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let (mode, watched) = watch::channel(Mode::Pass);
        let task = tokio::spawn(accept(listener, target, watched));
        Breaker { address, mode, task }
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

async fn accept(listener: TcpListener, target: SocketAddr, mode: watch::Receiver<Mode>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                connections.spawn(join(client, target, mode.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn join(client: TcpStream, target: SocketAddr, mode: watch::Receiver<Mode>) {
    let mut cut = mode.clone();
    let cut = cut.wait_for(|mode| matches!(mode, Mode::Refuse | Mode::Reset));
    // Kept whole here, so that it can still be reset.
    let mut client = client;
    let work = async {
        passing(mode.clone()).await;
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
        passing(mode.clone()).await;
        if count == 0 || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

/// Returns once bytes may pass; never if the proxy has gone.
async fn passing(mut mode: watch::Receiver<Mode>) {
    if mode.wait_for(|mode| *mode == Mode::Pass).await.is_err() {
        tokio::time::sleep(Duration::MAX).await;
    }
}
