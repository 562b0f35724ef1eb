//! Requests to servers and issuers: one way out ([`Fetch`]: guarded addresses, no redirects), one size, one deadline.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::ACCEPT;
use http::{HeaderValue, Request, Response, StatusCode};
use serde::de::DeserializeOwned;
use url::Url;

use super::trouble::Trouble;
use crate::ports::Fetch;

/// The longest answer that is read.
const LIMIT: usize = 64 << 10;
/// The longest wait for one answer: somebody's call or browser waits too.
const WITHIN: Duration = Duration::from_secs(10);

/// The way out.
#[derive(Clone)]
pub(super) struct Fetcher(Arc<dyn Fetch>);

/// A document was not read.
pub(super) enum NotFetched {
    /// There is none at this address.
    Absent,
    /// It could not be had, or not be read.
    Trouble(Trouble),
}

impl Fetcher {
    pub(super) fn new(fetch: Arc<dyn Fetch>) -> Fetcher {
        Fetcher(fetch)
    }

    /// Sends `request` to `url`.
    pub(super) async fn send(
        &self,
        url: &Url,
        mut request: Request<Bytes>,
    ) -> Result<Response<Bytes>, Trouble> {
        let failed = |what: &str| Trouble::unreachable(format!("{}: {what}", place(url)));
        *request.uri_mut() = url.as_str().parse().map_err(|_| failed("not a usable address"))?;
        match tokio::time::timeout(WITHIN, self.0.send(request, LIMIT)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(what)) => Err(failed(&what)),
            Err(_) => Err(failed("no answer in time")),
        }
    }

    /// Reads a JSON document.
    pub(super) async fn document<T: DeserializeOwned>(&self, url: &Url) -> Result<T, NotFetched> {
        let mut request = Request::new(Bytes::new());
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
        let answer = self.send(url, request).await.map_err(NotFetched::Trouble)?;
        let wrong = |what: String| {
            NotFetched::Trouble(Trouble::metadata(format!("{}: {what}", place(url))))
        };
        match answer.status() {
            StatusCode::OK => serde_json::from_slice(answer.body())
                .map_err(|error| wrong(format!("not the expected JSON: {error}"))),
            // Whatever the status, the next place may have it; a server in trouble does not.
            status if status.is_client_error() => Err(NotFetched::Absent),
            status => Err(wrong(format!("status {}", status.as_u16()))),
        }
    }
}

/// The address without what may be secret in it.
pub(super) fn place(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}
