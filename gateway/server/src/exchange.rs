//! One HTTP exchange as the faces see it: what was asked, and how it is answered. Plain values between
//! the plumbing, which knows connections, and the proxy, the control plane and the upstream leg, which
//! must not know them (nor each other).

use std::net::IpAddr;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use tokio::sync::mpsc;

use crate::turns::Turn;

/// A request whose body has been read whole.
#[derive(Debug)]
pub struct Exchange {
    /// The method.
    pub method: Method,
    /// The path as it was sent, percent-encoded.
    pub path: String,
    /// What follows the `?`, as it was sent.
    pub query: Option<String>,
    /// The headers.
    pub headers: HeaderMap,
    /// The address of the connection's other end.
    pub peer: IpAddr,
    /// The body.
    pub body: Bytes,
    /// Opens the answer before it is finished.
    pub early: Early,
    /// Its turn at the gateway's own work.
    pub turn: Turn,
}

impl Exchange {
    /// The one value of a header, where it is readable text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// A streamed or finished answer body.
pub type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, BodyError>;

/// An answer.
pub type Reply = http::Response<Body>;

/// An answer body broke off.
#[derive(Debug, thiserror::Error)]
#[error("the body broke off: {detail}")]
pub struct BodyError {
    /// What happened, for logs.
    pub detail: String,
}

impl BodyError {
    /// With this explanation.
    pub fn new(detail: impl Into<String>) -> BodyError {
        BodyError { detail: detail.into() }
    }
}

impl From<std::convert::Infallible> for BodyError {
    fn from(never: std::convert::Infallible) -> BodyError {
        match never {}
    }
}

/// Frames that go out before the final reply. The first one makes the answer `200 text/event-stream`
/// with its headers added; those of later frames are ignored.
pub type EarlyFrame = (HeaderMap, Bytes);

/// The handler's end: lets it open the answer as server-sent events before it is finished.
#[derive(Debug, Clone)]
pub struct Early {
    frames: mpsc::Sender<EarlyFrame>,
}

/// The client is no longer there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client has gone away")]
pub struct Gone;

impl Early {
    /// The handler's end and the plumbing's end, at most `depth` frames apart.
    pub fn channel(depth: usize) -> (Early, mpsc::Receiver<EarlyFrame>) {
        let (frames, receiver) = mpsc::channel(depth);
        (Early { frames }, receiver)
    }

    /// One whose frames go nowhere: for requests that are answered at once.
    pub fn closed() -> Early {
        Early::channel(1).0
    }

    /// Sends a frame; returns once the plumbing has room for it.
    pub async fn send(&self, headers: HeaderMap, frame: Bytes) -> Result<(), Gone> {
        self.frames.send((headers, frame)).await.map_err(|_| Gone)
    }

    /// False once the client has gone away.
    pub fn is_open(&self) -> bool {
        !self.frames.is_closed()
    }
}

/// A body of these bytes.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(BodyError::from).boxed_unsync()
}

/// A body of no bytes.
pub fn nothing() -> Body {
    Empty::new().map_err(BodyError::from).boxed_unsync()
}

/// An answer without a body.
pub fn empty(status: StatusCode) -> Reply {
    let mut reply = http::Response::new(nothing());
    *reply.status_mut() = status;
    reply
}

/// An answer of JSON text that no cache may keep.
pub fn json(status: StatusCode, text: impl Into<Bytes>) -> Reply {
    let mut reply = http::Response::new(full(text));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn early_frames_reach_the_plumbing_and_its_end_is_noticed() {
        let (early, mut receiver) = Early::channel(1);
        early.send(HeaderMap::new(), Bytes::from_static(b"data: 1\n\n")).await.unwrap();
        assert_eq!(receiver.recv().await.unwrap().1, "data: 1\n\n");
        drop(receiver);
        assert!(!early.is_open());
        assert_eq!(early.send(HeaderMap::new(), Bytes::new()).await, Err(Gone));
        assert!(!Early::closed().is_open());
    }

    #[tokio::test]
    async fn replies_carry_what_they_were_given() {
        let reply = json(StatusCode::ACCEPTED, "{}");
        assert_eq!(reply.status(), 202);
        assert_eq!(reply.into_body().collect().await.unwrap().to_bytes(), "{}");
        assert!(
            empty(StatusCode::NOT_FOUND).into_body().collect().await.unwrap().to_bytes().is_empty()
        );
    }
}
