//! A TCP proxy that cuts a connection at one byte: of what the client sends or of what it is answered. It stands
//! between the gateway and an upstream, counts what passes, and knows nothing of HTTP.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Where a connection is cut, counted from [`Scissors::set`] on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// After so many bytes of what the client sends.
    Request(usize),
    /// After so many bytes of what it is answered.
    Answer(usize),
}

/// What has passed since [`Scissors::set`], in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passed {
    /// To the server.
    pub request: usize,
    /// To the client.
    pub answer: usize,
}

/// A running proxy; ends when dropped.
#[derive(Debug)]
pub struct Scissors {
    /// Where to connect to.
    pub address: SocketAddr,
    plan: Arc<Mutex<Plan>>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Plan {
    cut: Option<Cut>,
    /// The other end gets a reset instead of an end.
    resets: bool,
    passed: Passed,
}

impl Plan {
    /// How many of `count` more bytes may pass; fewer: the connection is cut after them.
    fn pass(&mut self, upward: bool, count: usize) -> usize {
        let passed = if upward { &mut self.passed.request } else { &mut self.passed.answer };
        let bound = match (self.cut, upward) {
            (Some(Cut::Request(bound)), true) | (Some(Cut::Answer(bound)), false) => bound,
            (Some(_) | None, _) => usize::MAX,
        };
        let now = count.min(bound.saturating_sub(*passed));
        *passed += now;
        if now < count {
            // Whoever tries again finds an open way: a second receipt must not be hidden.
            self.cut = None;
        }
        now
    }
}

impl Scissors {
    /// A proxy to `target` that cuts nothing for now.
    pub async fn start(target: SocketAddr) -> Scissors {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let plan = Arc::new(Mutex::default());
        let task = tokio::spawn(accept(listener, target, plan.clone()));
        Scissors { address, plan, task }
    }

    /// Counts anew, and cuts once.
    pub fn set(&self, cut: Option<Cut>, resets: bool) {
        *self.plan() = Plan { cut, resets, passed: Passed::default() };
    }

    /// What has passed since then.
    pub fn passed(&self) -> Passed {
        self.plan().passed
    }

    /// True while the cut has not been made.
    pub fn waits(&self) -> bool {
        self.plan().cut.is_some()
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().expect("no test panics in here")
    }
}

impl Drop for Scissors {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, plan: Arc<Mutex<Plan>>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                connections.spawn(join(client, target, plan.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn join(mut client: TcpStream, target: SocketAddr, plan: Arc<Mutex<Plan>>) {
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    {
        let (client_read, client_write) = client.split();
        let (server_read, server_write) = server.split();
        tokio::select! {
            () = pump(client_read, server_write, true, &plan) => {}
            () = pump(server_read, client_write, false, &plan) => {}
        }
    }
    if plan.lock().expect("no test panics in here").resets {
        let _ = client.set_zero_linger();
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    upward: bool,
    plan: &Mutex<Plan>,
) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count) = from.read(&mut buffer).await {
        let now = plan.lock().expect("no test panics in here").pass(upward, count);
        if to.write_all(&buffer[..now]).await.is_err() || now < count || count == 0 {
            return;
        }
    }
}
