//! Key sets, discovery documents and tokens: one guarded request, its answer read whole.

use async_trait::async_trait;
use bytes::Bytes;
use gateway_governance::Fetch;
use http::{Request, Response};
use http_body_util::{BodyExt, Limited};
use tokio::time::timeout;

use super::failure::explain;
use super::leg::{self, Leg, Sent};

#[async_trait]
impl Fetch for Leg {
    async fn send(&self, request: Request<Bytes>, limit: usize) -> Result<Response<Bytes>, String> {
        let within = self.settings.listing_within;
        match timeout(within, self.fetch(request, limit)).await {
            Ok(fetched) => fetched,
            Err(_) => Err(format!("not complete within {} s", within.as_secs_f32())),
        }
    }
}

impl Leg {
    /// A client of its own each time: fetches are rare and share nothing with calls.
    async fn fetch(
        &self,
        mut request: Request<Bytes>,
        limit: usize,
    ) -> Result<Response<Bytes>, String> {
        let uri = request.uri().to_string();
        *request.uri_mut() = leg::address(&uri).map_err(|e| e.detail)?;
        let client = self.client();
        let answer = client.request(Sent::wrap(request).0).await;
        let (head, body) = answer.map_err(|error| explain(&error).detail)?.into_parts();
        let body = Limited::new(body, limit).collect().await;
        let body = body.map_err(|e| format!("the body (limit {limit} bytes): {e}"))?.to_bytes();
        Ok(Response::from_parts(head, body))
    }
}
