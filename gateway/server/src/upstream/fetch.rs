//! Key sets and discovery documents: a guarded GET.

use async_trait::async_trait;
use bytes::Bytes;
use gateway_governance::Fetch;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use tokio::time::timeout;
use url::Url;

use super::failure::explain;
use super::leg::{self, Leg, Sent};

#[async_trait]
impl Fetch for Leg {
    async fn get(&self, url: &Url, limit: usize) -> Result<Bytes, String> {
        let within = self.settings.listing_within;
        match timeout(within, self.fetch(url, limit)).await {
            Ok(fetched) => fetched,
            Err(_) => Err(format!("not complete within {} s", within.as_secs_f32())),
        }
    }
}

impl Leg {
    /// A client of its own each time: fetches are rare and share nothing with calls.
    async fn fetch(&self, url: &Url, limit: usize) -> Result<Bytes, String> {
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = leg::address(url.as_str()).map_err(|e| e.detail)?;
        let client = self.client();
        let answer = client.request(Sent::wrap(request).0).await;
        let answer = answer.map_err(|error| explain(&error).detail)?;
        if answer.status() != StatusCode::OK {
            return Err(format!("status {}, expected 200", answer.status().as_u16()));
        }
        let body = Limited::new(answer.into_body(), limit).collect().await;
        Ok(body.map_err(|e| format!("the body (limit {limit} bytes): {e}"))?.to_bytes())
    }
}
