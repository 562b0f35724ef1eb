//! A fake identity provider: discovery document, JWKS, and tokens signed by hand, so that a test can
//! make every kind of bad one. Keys can be rotated; fetches are counted.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::serve::serve;

/// A signature algorithm that it can sign with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// Ed25519.
    EdDsa,
    /// ECDSA on P-256.
    Es256,
}

/// A running identity provider; ends when dropped.
#[derive(Debug)]
pub struct IdentityProvider {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<State>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    issuer: String,
    keys: Mutex<Keys>,
    fetches: AtomicUsize,
    slow: Mutex<Duration>,
}

#[derive(Debug)]
struct Keys {
    id: String,
    ed: Ed25519KeyPair,
    ec: EcdsaKeyPair,
}

impl Keys {
    fn fresh() -> Keys {
        let random = SystemRandom::new();
        let ed = Ed25519KeyPair::generate_pkcs8(&random).expect("randomness works");
        let ec = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random);
        let ec = ec.expect("randomness works");
        Keys {
            id: Uuid::new_v4().simple().to_string(),
            ed: Ed25519KeyPair::from_pkcs8(ed.as_ref()).expect("the key is fresh"),
            ec: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, ec.as_ref(), &random)
                .expect("the key is fresh"),
        }
    }

    fn jwks(&self) -> Value {
        let ec = self.ec.public_key().as_ref();
        json!({"keys": [
            {
                "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA",
                "kid": format!("ed-{}", self.id),
                "x": URL_SAFE_NO_PAD.encode(self.ed.public_key().as_ref()),
            },
            {
                "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256",
                "kid": format!("ec-{}", self.id),
                "x": URL_SAFE_NO_PAD.encode(&ec[1..33]),
                "y": URL_SAFE_NO_PAD.encode(&ec[33..65]),
            },
        ]})
    }
}

impl IdentityProvider {
    /// Starts one with fresh keys.
    pub async fn start() -> IdentityProvider {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let state = Arc::new(State {
            issuer: format!("http://{address}"),
            keys: Mutex::new(Keys::fresh()),
            fetches: AtomicUsize::new(0),
            slow: Mutex::default(),
        });
        let served = state.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let state = served.clone();
            async move {
                let slow = *state.slow.lock().expect("no test panics in here");
                tokio::time::sleep(slow).await;
                Ok::<_, Infallible>(answer(&state, request.uri().path()))
            }
        });
        let task = tokio::spawn(serve(listener, service));
        IdentityProvider { address, state, task }
    }

    /// Its `iss`.
    pub fn issuer(&self) -> &str {
        &self.state.issuer
    }

    /// How often its keys were fetched.
    pub fn fetches(&self) -> usize {
        self.state.fetches.load(Ordering::Relaxed)
    }

    /// How long each of its answers takes from now on.
    pub fn slow(&self, by: Duration) {
        *self.state.slow.lock().expect("no test panics in here") = by;
    }

    /// New keys; the old ones are gone from the JWKS.
    pub fn rotate(&self) {
        *self.state.keys.lock().expect("no test panics in here") = Keys::fresh();
    }

    /// Claims of a good token for `email`, valid for ten minutes.
    pub fn claims(&self, email: &str, audience: &str) -> Value {
        let now = time::OffsetDateTime::now_utc().unix_timestamp();
        json!({
            "iss": self.issuer(), "aud": audience, "sub": email, "email": email,
            "iat": now, "nbf": now - 5, "exp": now + 600, "jti": Uuid::new_v4().to_string(),
        })
    }

    /// The header of a good token.
    pub fn header(&self, algorithm: Algorithm) -> Value {
        let keys = self.state.keys.lock().expect("no test panics in here");
        match algorithm {
            Algorithm::EdDsa => {
                json!({"alg": "EdDSA", "typ": "JWT", "kid": format!("ed-{}", keys.id)})
            }
            Algorithm::Es256 => {
                json!({"alg": "ES256", "typ": "JWT", "kid": format!("ec-{}", keys.id)})
            }
        }
    }

    /// Signs any header and claims with the present key.
    pub fn sign(&self, algorithm: Algorithm, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let keys = self.state.keys.lock().expect("no test panics in here");
        let signature = match algorithm {
            Algorithm::EdDsa => keys.ed.sign(signed.as_bytes()).as_ref().to_vec(),
            Algorithm::Es256 => {
                let signature = keys.ec.sign(&SystemRandom::new(), signed.as_bytes());
                signature.expect("randomness works").as_ref().to_vec()
            }
        };
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// A good token.
    pub fn token(&self, algorithm: Algorithm, email: &str, audience: &str) -> String {
        self.sign(algorithm, &self.header(algorithm), &self.claims(email, audience))
    }
}

impl Drop for IdentityProvider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn answer(state: &State, path: &str) -> Response<BoxBody<Bytes, Infallible>> {
    let body = match path {
        "/jwks" => {
            state.fetches.fetch_add(1, Ordering::Relaxed);
            Some(state.keys.lock().expect("no test panics in here").jwks())
        }
        "/.well-known/openid-configuration" | "/.well-known/oauth-authorization-server" => {
            let issuer = &state.issuer;
            Some(json!({
                "issuer": issuer,
                "jwks_uri": format!("{issuer}/jwks"),
                "authorization_endpoint": format!("{issuer}/authorize"),
                "token_endpoint": format!("{issuer}/token"),
                "response_types_supported": ["code"],
            }))
        }
        _ => None,
    };
    let status = if body.is_some() { 200 } else { 404 };
    let response = Response::builder().status(status).header("content-type", "application/json");
    let body = Full::new(Bytes::from(body.unwrap_or(Value::Null).to_string())).boxed();
    response.body(body).expect("the head is legal")
}
