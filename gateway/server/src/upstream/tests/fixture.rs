//! Servers of one line, leg and resolver as a test wants them, upstreams that count what they receive.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use gateway_core::credential::Credential;
use gateway_core::ids::ServerId;
use gateway_core::server::{Endpoint, Server};
use http::{Method, Request};
use secrecy::SecretString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use uuid::Uuid;

use crate::upstream::{Guard, Leg, LegSettings, Resolve};

pub(super) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let patience = Duration::from_secs(20);
    timeout(patience, future).await.unwrap_or_else(|_| panic!("{what}: nothing"))
}

pub(super) fn guard(allow: &[&str]) -> Arc<Guard> {
    Arc::new(Guard::new(allow.iter().map(|net| net.parse().unwrap()).collect()))
}

pub(super) fn settings() -> LegSettings {
    LegSettings {
        connect: Duration::from_secs(2),
        first_byte: Duration::from_secs(5),
        ..LegSettings::default()
    }
}

/// A leg that may connect to this machine.
pub(super) fn leg() -> Leg {
    leg_with(settings())
}

pub(super) fn leg_with(settings: LegSettings) -> Leg {
    Leg::new(guard(&["127.0.0.0/8"]), settings)
}

pub(super) fn server(url: impl Into<String>) -> Server {
    Server {
        endpoint: Endpoint::Http(url.into()),
        ..Server::named(ServerId(Uuid::from_u128(1)), "fake".parse().unwrap())
    }
}

pub(super) fn none() -> Credential {
    Credential::none()
}

/// `Authorization` with this value.
pub(super) fn presenting(value: &str) -> Credential {
    Credential::of(vec![(http::header::AUTHORIZATION, SecretString::from(value))])
}

pub(super) fn post(body: &str) -> Request<Bytes> {
    let mut request = Request::new(Bytes::copy_from_slice(body.as_bytes()));
    *request.method_mut() = Method::POST;
    request
}

/// Answers with what it was given, the last one for ever.
pub(super) struct Answers(Mutex<VecDeque<Vec<SocketAddr>>>);

impl Answers {
    pub(super) fn new(answers: Vec<Vec<SocketAddr>>) -> Arc<Answers> {
        Arc::new(Answers(Mutex::new(answers.into())))
    }
}

#[async_trait]
impl Resolve for Answers {
    async fn resolve(&self, _host: &str, _port: u16) -> io::Result<Vec<SocketAddr>> {
        let mut answers = self.0.lock().unwrap();
        let next = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        next.ok_or_else(|| io::Error::other("no such name"))
    }
}

/// An upstream that treats each connection as its script says.
pub(super) struct Upstream {
    pub(super) address: SocketAddr,
    pub(super) connections: Arc<AtomicUsize>,
    pub(super) received: Arc<Mutex<Vec<String>>>,
}

/// What an upstream does with a connection.
#[derive(Clone)]
pub(super) enum Script {
    /// Answers every request with this.
    Answer(String),
    /// Answers one request with this and closes.
    Once(String),
    /// Reads a request, says this, and waits.
    SayAndWait(String),
    /// Closes without reading.
    Slam,
}

pub(super) fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

impl Upstream {
    pub(super) async fn start(script: Script) -> Upstream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let received = Arc::new(Mutex::new(Vec::new()));
        let (counted, seen) = (connections.clone(), received.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, script.clone(), seen.clone()));
            }
        });
        Upstream { address, connections, received }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(super) fn received(&self) -> Vec<String> {
        self.received.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, script: Script, seen: Arc<Mutex<Vec<String>>>) {
    if matches!(script, Script::Slam) {
        return;
    }
    while let Some(request) = read_request(&mut stream).await {
        seen.lock().unwrap().push(request);
        let (text, goes_on) = match &script {
            Script::Answer(text) => (text, true),
            Script::Once(text) => (text, false),
            Script::SayAndWait(text) => (text, true),
            Script::Slam => return,
        };
        if stream.write_all(text.as_bytes()).await.is_err() || !goes_on {
            return;
        }
    }
    seen.lock().unwrap().push("closed".to_owned());
}

async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).to_lowercase();
        if let Some(end) = text.find("\r\n\r\n") {
            let length = text.split("content-length: ").nth(1).and_then(|t| t.split('\r').next());
            let length: usize = length.map_or(0, |length| length.parse().unwrap());
            if read.len() >= end + 4 + length {
                return Some(String::from_utf8(read).unwrap());
            }
        }
        if stream.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
    }
}
