//! A handler whose answers the path chooses, and a client that speaks raw HTTP/1.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use gateway_core::reason::Reason;
use http::{HeaderMap, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::time::timeout;

use crate::exchange::{self, Body, BodyError, Exchange, Reply};
use crate::proxy::plumbing::{Handler, Limits, Listen, Plumbing, Unread};

/// Bounds every wait, so that a failure is a failure and no hang.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(super) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("{what}: nothing within {PATIENCE:?}"))
}

/// Short deadlines, small limits.
pub(super) fn limits() -> Limits {
    Limits {
        head_within: Duration::from_secs(2),
        body_within: Duration::from_secs(2),
        lame_duck: Duration::from_millis(50),
        ..Limits::default()
    }
}

/// What happened inside.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    Handled(String),
    Refused(Reason, bool),
    HandlerDropped,
    BodyDropped,
    Frames(usize),
}

/// A running listener and what happens in it.
pub(super) struct Rig {
    pub(super) plumbing: Plumbing,
    pub(super) events: UnboundedReceiver<Event>,
    /// Frames for the bodies of `/stream`, in the order of the requests.
    pub(super) frames: UnboundedSender<Result<Bytes, BodyError>>,
}

impl Rig {
    pub(super) fn start(limits: Limits) -> Rig {
        Rig::listen(limits, None)
    }

    pub(super) fn listen(limits: Limits, tls: Option<super::super::TlsFiles>) -> Rig {
        let (events, seen) = mpsc::unbounded_channel();
        let (frames, receiver) = mpsc::unbounded_channel();
        let fixture = Fixture { events, frames: Mutex::new(VecDeque::from([receiver])) };
        let listen = Listen { address: ([127, 0, 0, 1], 0).into(), tls };
        let plumbing = Plumbing::start(&listen, limits, Arc::new(fixture)).unwrap();
        Rig { plumbing, events: seen, frames }
    }

    pub(super) async fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.plumbing.address()).await.unwrap();
        Client { stream, read: Vec::new() }
    }

    pub(super) async fn event(&mut self) -> Event {
        within("an event", self.events.recv()).await.unwrap()
    }

    pub(super) fn no_event(&mut self) {
        assert!(self.events.try_recv().is_err(), "something reached the handler");
    }

    pub(super) fn frame(&self, text: &str) {
        self.frames.send(Ok(Bytes::copy_from_slice(text.as_bytes()))).unwrap();
    }
}

struct Fixture {
    events: UnboundedSender<Event>,
    frames: Mutex<VecDeque<UnboundedReceiver<Result<Bytes, BodyError>>>>,
}

/// Says when it is dropped, unless it was defused.
struct Guard(Option<Event>, UnboundedSender<Event>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(event) = self.0.take() {
            let _ = self.1.send(event);
        }
    }
}

#[async_trait]
impl Handler for Fixture {
    async fn handle(&self, exchange: Exchange) -> Reply {
        let _ = self.events.send(Event::Handled(format!("{} {}", exchange.method, exchange.path)));
        match exchange.path.as_str() {
            "/echo" => exchange::json(StatusCode::OK, exchange.body),
            "/describe" => exchange::json(StatusCode::OK, describe(&exchange)),
            "/hops" => with_hops(),
            "/empty" => exchange::empty(StatusCode::ACCEPTED),
            "/nothing" => exchange::empty(StatusCode::NO_CONTENT),
            "/hang" => self.hang().await,
            "/panic" => panic!("on purpose"),
            "/panic-body" => endless(|_| panic!("on purpose")),
            "/break" => endless(|_| Err(BodyError::new("upstream gone"))),
            "/early" | "/early-stream" | "/early-hang" | "/early-panic" => {
                self.early(exchange).await
            }
            "/big" => self.big(),
            "/stream" | "/chunks" => self.stream(exchange.path == "/stream"),
            _ => exchange::empty(StatusCode::NOT_FOUND),
        }
    }

    fn refuse(&self, unread: Unread) -> Reply {
        let _ = self.events.send(Event::Refused(unread.reason, unread.began));
        let status = StatusCode::from_u16(unread.reason.status()).unwrap();
        exchange::json(status, format!("{{\"reason\":\"{}\"}}", unread.reason))
    }
}

impl Fixture {
    async fn hang(&self) -> Reply {
        let _guard = Guard(Some(Event::HandlerDropped), self.events.clone());
        std::future::pending().await
    }

    async fn early(&self, exchange: Exchange) -> Reply {
        let mut headers = HeaderMap::new();
        headers.insert("mcp-session-id", "s1".parse().unwrap());
        let early = exchange.early;
        early.send(headers, Bytes::from_static(b"data: ask\n\n")).await.unwrap();
        let more = Bytes::from_static(b"data: more\n\n");
        early.send(HeaderMap::new(), more).await.unwrap();
        match exchange.path.as_str() {
            "/early" => exchange::json(StatusCode::FORBIDDEN, "{\"a\":\n1}"),
            "/early-panic" => panic!("on purpose"),
            "/early-hang" => self.hang().await,
            _ => {
                let mut reply = http::Response::new(exchange::full("data: last\n\n"));
                reply.headers_mut().insert("content-type", "text/event-stream".parse().unwrap());
                reply
            }
        }
    }

    /// 1 GiB in frames of 64 KiB; says on drop how many were asked for.
    fn big(&self) -> Reply {
        let mut guard = Guard(Some(Event::Frames(0)), self.events.clone());
        endless(move |number| {
            let whole = &mut guard;
            whole.0 = Some(Event::Frames(number + 1));
            Ok(Bytes::from(vec![b'x'; 64 << 10]))
        })
    }

    fn stream(&self, is_event_stream: bool) -> Reply {
        let frames = self.frames.lock().unwrap().pop_front().unwrap();
        let guard = Guard(Some(Event::BodyDropped), self.events.clone());
        let body = Frames(frames, guard);
        let mut reply = http::Response::new(body.boxed_unsync());
        let media = if is_event_stream { "text/event-stream; charset=utf-8" } else { "text/plain" };
        reply.headers_mut().insert("content-type", media.parse().unwrap());
        reply
    }
}

struct Frames(UnboundedReceiver<Result<Bytes, BodyError>>, Guard);

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let next = self.0.poll_recv(cx);
        if let Poll::Ready(None) = next {
            // Polled to its end: not an abort.
            self.1.0 = None;
        }
        next.map(|frame| frame.map(|result| result.map(Frame::data)))
    }
}

fn endless(mut frame: impl FnMut(usize) -> Result<Bytes, BodyError> + Send + 'static) -> Reply {
    let frames = (0..16 << 10).map(move |number| frame(number).map(Frame::data));
    let body: Body = StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync();
    http::Response::new(body)
}

fn describe(exchange: &Exchange) -> String {
    let mut lines = vec![
        format!("{} {} {:?}", exchange.method, exchange.path, exchange.query),
        format!("peer {}", exchange.peer),
    ];
    lines.extend(exchange.headers.iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())));
    lines[2..].sort();
    lines.join("\n")
}

fn with_hops() -> Reply {
    let mut reply = exchange::json(StatusCode::OK, "{}");
    for (name, value) in [
        ("connection", "x-secret"),
        ("keep-alive", "timeout=1"),
        ("transfer-encoding", "gzip"),
        ("trailer", "x"),
        ("upgrade", "h2c"),
        ("proxy-authenticate", "Basic"),
        ("content-length", "999"),
        ("x-kept", "yes"),
    ] {
        reply.headers_mut().append(name, value.parse().unwrap());
    }
    reply
}

/// One connection that writes and reads exactly what it is told.
pub(super) struct Client {
    pub(super) stream: TcpStream,
    pub(super) read: Vec<u8>,
}

/// An answer taken apart.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find_map(|(found, value)| found.eq_ignore_ascii_case(name).then_some(value))
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Client {
    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        within("sending", self.stream.write_all(bytes.as_ref())).await.unwrap();
    }

    pub(super) async fn post(&mut self, path: &str, body: &[u8]) {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.send([head.as_bytes(), body].concat()).await;
    }

    pub(super) async fn get(&mut self, path: &str) {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: gateway.test\r\n\r\n")).await;
    }

    async fn more(&mut self) -> bool {
        let read = within("reading", self.stream.read_buf(&mut self.read)).await;
        read.is_ok_and(|n| n > 0)
    }

    /// Reads until `text` has come, and takes everything up to its end.
    pub(super) async fn until(&mut self, text: &str) -> String {
        loop {
            let at = self.read.windows(text.len()).position(|window| window == text.as_bytes());
            if let Some(at) = at {
                let rest = self.read.split_off(at + text.len());
                return String::from_utf8(std::mem::replace(&mut self.read, rest)).unwrap();
            }
            let so_far = self.read.len();
            assert!(
                self.more().await,
                "closed before {text:?}, after {so_far} bytes: {:?}",
                String::from_utf8_lossy(&self.read)
            );
        }
    }

    /// Everything until the connection ends, however it ends.
    pub(super) async fn rest(&mut self) -> Vec<u8> {
        while self.more().await {}
        std::mem::take(&mut self.read)
    }

    pub(super) async fn is_closed(&mut self) -> bool {
        self.rest().await.is_empty()
    }

    pub(super) async fn head(&mut self) -> Answer {
        let head = self.until("\r\n\r\n").await;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head, body: Vec::new() }
    }

    /// A whole answer, framed by length or chunks.
    pub(super) async fn answer(&mut self) -> Answer {
        let mut answer = self.head().await;
        if let Some(length) = answer.header("content-length") {
            let length: usize = length.parse().unwrap();
            while self.read.len() < length {
                assert!(self.more().await, "the body broke off");
            }
            let rest = self.read.split_off(length);
            answer.body = std::mem::replace(&mut self.read, rest);
        } else if answer.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk().await {
                answer.body.extend_from_slice(&chunk);
            }
        }
        answer
    }

    /// The next chunk of a chunked body; `None` for the last one.
    pub(super) async fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = self.until("\r\n").await;
        let size = usize::from_str_radix(size.trim_end(), 16).unwrap();
        while self.read.len() < size + 2 {
            assert!(self.more().await, "a chunk broke off");
        }
        let rest = self.read.split_off(size + 2);
        let mut chunk = std::mem::replace(&mut self.read, rest);
        chunk.truncate(size);
        (size > 0).then_some(chunk)
    }

    /// Chunks until together they are `text`.
    pub(super) async fn chunks_make(&mut self, text: &str) {
        let mut got = String::new();
        while got.len() < text.len() {
            let chunk = self.chunk().await.expect("the body has not ended");
            got.push_str(std::str::from_utf8(&chunk).unwrap());
        }
        assert_eq!(got, text);
    }
}
