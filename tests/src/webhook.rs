//! A receiver of the gateway's signed notices: checks every signature (Standard Webhooks), answers what a
//! test says, and remembers what came.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use ring::hmac;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::serve::serve;

/// What the receiver and the gateway share.
pub const WEBHOOK_SECRET: &str = "whsec_Y2FuYXJ5LXdlYmhvb2stNWMxZjBlN2E5Yg==";

/// One attempt to tell it something.
#[derive(Debug, Clone, PartialEq)]
pub struct Received {
    /// `webhook-id`
    pub id: String,
    /// Whether the signature is over exactly this id, time and body, with the shared secret.
    pub signed: bool,
    /// What it was answered.
    pub status: u16,
    /// The body.
    pub event: Value,
}

/// A running receiver; ends when dropped.
#[derive(Debug)]
pub struct Receiver {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Debug, Default)]
struct State {
    answers: VecDeque<u16>,
    received: Vec<Received>,
}

impl Receiver {
    /// Starts one that answers these statuses first and 204 from then on.
    pub async fn start(answers: &[u16]) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let state = State { answers: answers.iter().copied().collect(), received: Vec::new() };
        let state = Arc::new(Mutex::new(state));
        let shared = state.clone();
        let service = service_fn(move |request| receive(shared.clone(), request));
        Receiver { address, state, task: tokio::spawn(serve(listener, service)) }
    }

    /// The lines of the gateway's configuration that make it send here.
    pub fn config(&self) -> String {
        let url = format!("http://{}/in", self.address);
        format!("notices.webhook_url = \"{url}\"\nnotices.webhook_secret = \"{WEBHOOK_SECRET}\"\n")
    }

    /// Everything that came, in order.
    pub fn received(&self) -> Vec<Received> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).received.clone()
    }

    /// The events of that type that it took.
    pub fn events(&self, kind: &str) -> Vec<Value> {
        let taken = self.received().into_iter().filter(|r| r.status < 300);
        taken.map(|received| received.event).filter(|event| event["type"] == kind).collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn receive(
    state: Arc<Mutex<State>>,
    request: Request<Incoming>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let status = state.answers.pop_front().unwrap_or(204);
    state.received.push(Received {
        id: text(&head.headers, "webhook-id"),
        signed: is_signed(&head.headers, &body),
        status,
        event: serde_json::from_slice(&body).unwrap_or(Value::Null),
    });
    let mut response = Response::new(Empty::new().boxed());
    *response.status_mut() = http::StatusCode::from_u16(status).expect("tests give real statuses");
    Ok(response)
}

fn text(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

fn is_signed(headers: &HeaderMap, body: &[u8]) -> bool {
    let secret = WEBHOOK_SECRET.strip_prefix("whsec_").unwrap_or_default();
    let key = STANDARD.decode(secret).expect("the secret is base64");
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let mut signed =
        format!("{}.{}.", text(headers, "webhook-id"), text(headers, "webhook-timestamp"))
            .into_bytes();
    signed.extend_from_slice(body);
    let given = text(headers, "webhook-signature");
    let given = given.strip_prefix("v1,").and_then(|given| STANDARD.decode(given).ok());
    given.is_some_and(|given| hmac::verify(&key, &signed, &given).is_ok())
}
