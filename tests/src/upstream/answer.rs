//! Answers, byte for byte: JSON, server-sent events, late, never, or cut off.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Frame;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::Received;

/// What is answered. In texts `$ID` stands for the request's JSON-RPC id.
#[derive(Debug, Clone)]
pub enum Answer {
    /// 200 with `{"jsonrpc":"2.0","id":$ID,"result":TEXT}`.
    Result(String),
    /// That status with that body as `application/json`.
    Json(u16, String),
    /// That status, these headers, that body.
    Raw(u16, Vec<(String, String)>, Bytes),
    /// 200 `text/event-stream`; each piece leaves after its pause.
    Events(Vec<(Duration, String)>),
    /// As [`Answer::Events`], and then the stream stays open for ever.
    Open(Vec<(Duration, String)>),
    /// The answer after a pause.
    Late(Duration, Box<Answer>),
    /// Never.
    Hang,
    /// 200 with a length of `usize` bytes, of which only the text arrives before the connection closes.
    Cut(usize, String),
}

impl Answer {
    /// A tool result of one text.
    pub fn text(text: &str) -> Answer {
        let result = serde_json::json!({
            "resultType": "complete",
            "content": [{"type": "text", "text": text}],
            "isError": false,
        });
        Answer::Result(result.to_string())
    }

    /// A JSON-RPC error.
    pub fn error(status: u16, code: i32, message: &str) -> Answer {
        let error = serde_json::json!({"code": code, "message": message});
        Answer::Json(status, format!(r#"{{"jsonrpc":"2.0","id":$ID,"error":{error}}}"#))
    }

    /// One event per message, without pauses.
    pub fn events(messages: &[&str]) -> Answer {
        let event = |message: &&str| (Duration::ZERO, format!("data: {message}\n\n"));
        Answer::Events(messages.iter().map(event).collect())
    }

    /// With a header more; only for answers that have a status and a body.
    #[must_use]
    pub fn with_header(self, name: &str, value: &str) -> Answer {
        let json = ("content-type".to_owned(), "application/json".to_owned());
        match self {
            Answer::Result(ref text) => {
                let body = format!(r#"{{"jsonrpc":"2.0","id":$ID,"result":{text}}}"#);
                Answer::Json(200, body).with_header(name, value)
            }
            Answer::Json(status, body) => {
                Answer::Raw(status, vec![json, (name.into(), value.into())], body.into())
            }
            Answer::Raw(status, mut headers, body) => {
                headers.push((name.into(), value.into()));
                Answer::Raw(status, headers, body)
            }
            Answer::Events(_)
            | Answer::Open(_)
            | Answer::Late(..)
            | Answer::Hang
            | Answer::Cut(..) => self,
        }
    }

    pub(super) async fn send(self, received: &Received) -> Response<BoxBody<Bytes, Infallible>> {
        let id = received.id();
        match self {
            Answer::Result(text) => {
                let body = format!(r#"{{"jsonrpc":"2.0","id":$ID,"result":{text}}}"#);
                json(200, body.replace("$ID", &id))
            }
            Answer::Json(status, body) => json(status, body.replace("$ID", &id)),
            Answer::Raw(status, headers, body) => {
                let mut response = Response::builder().status(status);
                for (name, value) in headers {
                    response = response.header(name, value);
                }
                let body = replace(&body, b"$ID", id.as_bytes());
                response.body(Full::new(body).boxed()).expect("tests give legal headers")
            }
            Answer::Events(pieces) => events(pieces, &id, false),
            Answer::Open(pieces) => events(pieces, &id, true),
            Answer::Late(pause, answer) => {
                tokio::time::sleep(pause).await;
                Box::pin(answer.send(received)).await
            }
            Answer::Hang => std::future::pending().await,
            Answer::Cut(length, text) => cut(length, text),
        }
    }
}

fn json(status: u16, body: String) -> Response<BoxBody<Bytes, Infallible>> {
    let response = Response::builder().status(status).header("content-type", "application/json");
    response.body(Full::new(body.into()).boxed()).expect("the head is legal")
}

fn replace(body: &[u8], what: &[u8], with: &[u8]) -> Bytes {
    match body.windows(what.len()).position(|window| window == what) {
        Some(at) => [&body[..at], with, &body[at + what.len()..]].concat().into(),
        None => Bytes::copy_from_slice(body),
    }
}

fn events(
    pieces: Vec<(Duration, String)>,
    id: &str,
    stays_open: bool,
) -> Response<BoxBody<Bytes, Infallible>> {
    let (sender, receiver) = mpsc::channel(1);
    let id = id.to_owned();
    tokio::spawn(async move {
        for (pause, text) in pieces {
            tokio::time::sleep(pause).await;
            let frame = Frame::data(Bytes::from(text.replace("$ID", &id)));
            if sender.send(Ok(frame)).await.is_err() {
                return;
            }
        }
        if stays_open {
            sender.closed().await;
        }
    });
    let response = Response::builder().status(200).header("content-type", "text/event-stream");
    let body = StreamBody::new(ReceiverStream::new(receiver));
    response.body(BodyExt::boxed(body)).expect("the head is legal")
}

/// hyper closes the connection when a body ends before its declared length.
fn cut(length: usize, text: String) -> Response<BoxBody<Bytes, Infallible>> {
    let response = Response::builder()
        .status(200)
        .header("content-type", "application/json")
        .header("content-length", length);
    let body = if text.is_empty() {
        Empty::new().boxed()
    } else {
        let frames = [Ok(Frame::data(Bytes::from(text)))];
        BodyExt::boxed(StreamBody::new(tokio_stream::iter(frames)))
    };
    response.body(body).expect("the head is legal")
}
