//! The organisation's own scanner: one POST a message, over one pool of guarded connections, so many at a time and no
//! longer than a deadline. Whatever is not an answer that makes sense is told as a text that holds no secret. What the
//! JSON holds is `gateway_core::scan::external`'s and `gateway_governance::ScannerQuestion`'s.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use gateway_core::scan::external::{Answer, Judged, judged};
use gateway_governance::{Scanner, ScannerQuestion};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use rustls::ClientConfig;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use url::Url;

use super::address::Guard;
use super::connect::{Connector, Resolve, SystemResolver};
use super::failure::explain;
use super::leg::{HttpClient, Sent, address, client, public_authorities};

/// Longest answer, bytes.
const LONGEST_ANSWER: usize = 256 << 10;
/// How long an unused connection is kept.
const POOL_IDLE: Duration = Duration::from_secs(30);

/// Where the scanner is and how it is asked.
#[derive(Debug, Clone)]
pub struct ScannerSettings {
    /// Gets the questions.
    pub url: Url,
    /// Sent as a bearer token.
    pub token: Option<SecretString>,
    /// From the start to the end of the answer.
    pub deadline: Duration,
    /// Questions at a time; more are not asked.
    pub concurrency: usize,
}

/// The way to the scanner.
pub struct ScannerLeg {
    settings: ScannerSettings,
    authorization: Option<HeaderValue>,
    client: HttpClient,
    places: Semaphore,
    failing: AtomicBool,
}

impl ScannerLeg {
    /// One that resolves names as the operating system does and trusts the public certificate authorities.
    pub fn new(guard: Arc<Guard>, settings: ScannerSettings) -> ScannerLeg {
        ScannerLeg::with(guard, settings, Arc::new(SystemResolver), public_authorities())
    }

    /// One with another resolver and other TLS settings.
    pub fn with(
        guard: Arc<Guard>,
        settings: ScannerSettings,
        resolver: Arc<dyn Resolve>,
        tls: ClientConfig,
    ) -> ScannerLeg {
        let connector = Connector::new(guard, resolver, tls, settings.deadline);
        let bearer = settings.token.as_ref().and_then(|token| {
            let mut value =
                HeaderValue::from_str(&format!("Bearer {}", token.expose_secret())).ok()?;
            value.set_sensitive(true);
            Some(value)
        });
        ScannerLeg {
            client: client(connector, POOL_IDLE),
            places: Semaphore::new(settings.concurrency),
            authorization: bearer,
            failing: AtomicBool::new(false),
            settings,
        }
    }

    fn request(&self, asked: &ScannerQuestion<'_>) -> Result<Request<Bytes>, String> {
        let body = serde_json::to_vec(asked).map_err(|error| error.to_string())?;
        let mut request = Request::new(Bytes::from(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = address(self.settings.url.as_str()).map_err(|e| e.detail)?;
        let headers = request.headers_mut();
        let json = HeaderValue::from_static("application/json");
        headers.insert(CONTENT_TYPE, json.clone());
        headers.insert(ACCEPT, json);
        headers.extend(self.authorization.clone().map(|value| (AUTHORIZATION, value)));
        Ok(request)
    }

    async fn answer(&self, request: Request<Bytes>) -> Result<Answer, String> {
        let answer = self.client.request(Sent::wrap(request).0).await;
        let (head, body) = answer.map_err(|error| explain(&error).detail)?.into_parts();
        if head.status != StatusCode::OK {
            return Err(format!("status {}, expected 200", head.status.as_u16()));
        }
        let body = Limited::new(body, LONGEST_ANSWER).collect().await;
        let body = body.map_err(|e| format!("the body (limit {LONGEST_ANSWER} bytes): {e}"))?;
        Answer::read(&body.to_bytes())
    }
}

#[async_trait]
impl Scanner for ScannerLeg {
    async fn ask(&self, asked: &ScannerQuestion<'_>) -> Result<Judged, String> {
        let answered = self.asked(asked).await;
        self.report(answered.as_ref().err());
        answered
    }
}

impl ScannerLeg {
    async fn asked(&self, asked: &ScannerQuestion<'_>) -> Result<Judged, String> {
        let Ok(_place) = self.places.try_acquire() else {
            return Err(format!("{} questions wait for it", self.settings.concurrency));
        };
        let request = self.request(asked)?;
        match timeout(self.settings.deadline, self.answer(request)).await {
            Ok(answered) => judged(asked.message, asked.texts, &answered?),
            Err(_) => Err(format!("no answer within {} ms", self.settings.deadline.as_millis())),
        }
    }

    /// Says once that it does not answer, and once that it does again.
    fn report(&self, error: Option<&String>) {
        let was = self.failing.swap(error.is_some(), Ordering::Relaxed);
        match error {
            Some(error) if !was => tracing::error!(%error, "the external scanner does not answer"),
            None if was => tracing::info!("the external scanner answers again"),
            Some(_) | None => {}
        }
    }
}
