//! A scanner as an organisation may plug one in: finds words in what it is sent, remembers every question, and on
//! demand hangs or answers nonsense. The smallest one that is right; README.md says what it speaks.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::serve::serve;

/// The bearer token that the scanner wants: a canary that must turn up nowhere else.
pub const SCANNER_TOKEN: &str = "canary-scanner-7d1e55b0c3";

/// How it behaves.
#[derive(Debug, Clone, Default)]
pub enum Behaviour {
    /// As it should.
    #[default]
    Answers,
    /// It never answers.
    Hangs,
    /// It never answers about what holds this.
    HangsAbout(String),
    /// It answers 200 and this.
    Says(String),
}

/// A running scanner; ends when dropped.
#[derive(Debug)]
pub struct ReferenceScanner {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Debug, Default)]
struct State {
    behaviour: Behaviour,
    /// Class and word; `None` for the verdict `block`.
    words: Vec<(Option<String>, String)>,
    asked: Vec<Value>,
}

impl ReferenceScanner {
    /// Starts one that finds nothing yet.
    pub async fn start() -> ReferenceScanner {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = state.clone();
        let service = service_fn(move |request| answer(shared.clone(), request));
        ReferenceScanner { address, state, task: tokio::spawn(serve(listener, service)) }
    }

    /// The lines of the gateway's configuration that make it ask here.
    pub fn config(&self) -> String {
        let url = format!("http://{}/scan", self.address);
        format!(
            "scanner.url = \"{url}\"\nscanner.token = \"{SCANNER_TOKEN}\"\nscanner.deadline_ms = 1000\n"
        )
    }

    /// From now on it finds that word, of that class.
    pub fn finds(&self, class: &str, word: &str) {
        self.state().words.push((Some(class.to_owned()), word.to_owned()));
    }

    /// From now on its verdict on what holds that word is `block`.
    pub fn blocks(&self, word: &str) {
        self.state().words.push((None, word.to_owned()));
    }

    /// From now on it behaves like that.
    pub fn behave(&self, behaviour: Behaviour) {
        self.state().behaviour = behaviour;
    }

    /// Every question, in order.
    pub fn asked(&self) -> Vec<Value> {
        self.state().asked.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ReferenceScanner {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    state: Arc<Mutex<State>>,
    request: Request<Incoming>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let bearer = head.headers.get("authorization").and_then(|value| value.to_str().ok());
    let known = bearer == Some(&format!("Bearer {SCANNER_TOKEN}"));
    let asked: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let (behaviour, found) = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.asked.push(asked.clone());
        (state.behaviour.clone(), look(&state.words, &asked))
    };
    let text = match behaviour {
        Behaviour::HangsAbout(text) if asked["texts"].to_string().contains(&text) => {
            std::future::pending().await
        }
        Behaviour::Answers | Behaviour::HangsAbout(_) => found.to_string(),
        Behaviour::Hangs => std::future::pending().await,
        Behaviour::Says(text) => text,
    };
    let mut response = Response::new(Full::new(Bytes::from(text)).boxed());
    if !known {
        *response.status_mut() = http::StatusCode::UNAUTHORIZED;
    }
    Ok(response)
}

/// Every word's first place in each text, in characters.
fn look(words: &[(Option<String>, String)], asked: &Value) -> Value {
    let (mut findings, mut verdict) = (Vec::new(), "pass");
    for text in asked["texts"].as_array().into_iter().flatten() {
        let said = text["text"].as_str().unwrap_or_default();
        for (class, word) in words {
            let Some(at) = said.find(word.as_str()) else { continue };
            match class {
                None => verdict = "block",
                Some(class) => findings.push(json!({
                    "class": class,
                    "rule": "reference.word",
                    "path": text["path"],
                    "offset": said[..at].chars().count(),
                    "length": word.chars().count(),
                })),
            }
        }
    }
    json!({"findings": findings, "verdict": verdict})
}
