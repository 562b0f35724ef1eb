//! Signed webhooks as Standard Webhooks has them: id, timestamp and body under one HMAC-SHA256, in headers
//! of their own. <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use gateway_core::Timestamp;
use gateway_core::ids::NoticeId;
use http::{HeaderName, HeaderValue, Method, Request, header};
use ring::hmac;
use secrecy::ExposeSecret;

use crate::settings::WebhookSettings;

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// Makes signed requests.
pub(super) struct Signer {
    url: String,
    key: hmac::Key,
}

impl Signer {
    pub(super) fn new(settings: WebhookSettings) -> Signer {
        // Exposed to be the key of the signatures, once.
        let secret = settings.secret.expose_secret();
        let encoded = secret.strip_prefix("whsec_").map(|text| STANDARD.decode(text));
        let bytes = match encoded {
            Some(Ok(bytes)) => bytes,
            Some(Err(_)) | None => secret.as_bytes().to_vec(),
        };
        let key = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
        Signer { url: settings.url.into(), key }
    }

    /// The request that tells `body`; every attempt has the same id and its own time.
    pub(super) fn request(
        &self,
        id: NoticeId,
        now: Timestamp,
        body: &str,
    ) -> Result<Request<Bytes>, String> {
        let id = format!("msg_{}", id.0.simple());
        let seconds = now.unix_timestamp();
        let signature = hmac::sign(&self.key, format!("{id}.{seconds}.{body}").as_bytes());
        let signature = format!("v1,{}", STANDARD.encode(signature));
        let value = |text: &str| HeaderValue::try_from(text).map_err(|e| e.to_string());
        let mut request = Request::new(Bytes::copy_from_slice(body.as_bytes()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.url.parse().map_err(|_| "not a usable address".to_owned())?;
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ID, value(&id)?);
        headers.insert(TIMESTAMP, value(&seconds.to_string())?);
        headers.insert(SIGNATURE, value(&signature)?);
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_request_is_signed_over_id_time_and_body() {
        // The key is 24 bytes, once plain and once as whsec_.
        let plain = "0123456789abcdef01234567";
        let encoded = format!("whsec_{}", STANDARD.encode(plain));
        let sign = |secret: &str, body: &str| {
            let url = "https://hooks.example.com/x?y=1".parse().unwrap();
            let signer = Signer::new(WebhookSettings { url, secret: secret.into() });
            let now = Timestamp::from_unix_timestamp(1_700_000_000).unwrap();
            signer.request(NoticeId(Uuid::from_u128(1)), now, body).unwrap()
        };
        let request = sign(plain, "{}");
        assert_eq!(request.uri(), "https://hooks.example.com/x?y=1");
        let header = |name: &str| request.headers()[name].to_str().unwrap();
        assert_eq!(header("webhook-id"), "msg_00000000000000000000000000000001");
        assert_eq!(header("webhook-timestamp"), "1700000000");
        let signed = "msg_00000000000000000000000000000001.1700000000.{}";
        let key = hmac::Key::new(hmac::HMAC_SHA256, plain.as_bytes());
        let given = header("webhook-signature").strip_prefix("v1,").unwrap();
        let given = STANDARD.decode(given).unwrap();
        hmac::verify(&key, signed.as_bytes(), &given).unwrap();
        let of =
            |secret: &str, body: &str| sign(secret, body).headers()["webhook-signature"].clone();
        assert_eq!(of(plain, "{}"), of(&encoded, "{}"));
        assert_ne!(of(plain, "{}"), of(plain, "{ }"));
    }
}
