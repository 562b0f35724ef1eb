//! Client ID metadata documents: a client whose id is a URL says there who it is. Fetched under guard, within
//! limits, once at a time for each; remembered as long as the answer allows, and a failure for a short while.
//! See draft-ietf-oauth-client-id-metadata-document.

use std::sync::Arc;

use bytes::Bytes;
use gateway_core::Timestamp;
use gateway_core::json::{Json, Kind};
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use moka::sync::Cache;
use time::Duration;
use tokio::sync::{Mutex, Semaphore};
use url::{Host, Url};

use super::signed::Keys;
use super::{Client, Proof, tidy_name};
use crate::identity::assertion;
use crate::oauth::error::{ErrorCode, OauthError};
use crate::oauth::redirect;
use crate::ports::Fetch;

/// The longest document, in bytes.
const LONGEST: usize = 10 * 1024;
/// The longest time for reading one.
const WITHIN: std::time::Duration = std::time::Duration::from_secs(5);
/// Documents that are remembered.
const REMEMBERED: u64 = 1_000;
/// Documents that are read at once.
const AT_ONCE: usize = 16;
/// How long a document counts whose answer does not say.
const USUAL: Duration = Duration::minutes(15);
/// How long it counts at least: a client's own pages follow each other faster.
const SHORTEST: Duration = Duration::minutes(1);
/// How long it counts at most.
const LONGEST_AGE: Duration = Duration::days(1);
/// How long after it was read a document stands in for a page that does not answer.
const STANDS_IN: Duration = Duration::days(1);
/// How long a failure is remembered.
const FAILED: Duration = Duration::seconds(30);
/// Most redirect URIs of one document.
const MOST_URIS: usize = 50;

/// Whether a client id is to be looked up at its URL.
pub(crate) fn is_url(id: &str) -> bool {
    id.starts_with("https://") || id.starts_with("http://")
}

/// The documents, as far as they are remembered.
pub(crate) struct Documents {
    known: Cache<String, Arc<Mutex<Option<Known>>>>,
    reading: Semaphore,
}

#[derive(Clone)]
struct Known {
    client: Result<Client, OauthError>,
    until: Timestamp,
    /// How long it may stand in while its page does not answer.
    stands_in_until: Timestamp,
}

/// A document that was not read.
#[derive(Debug, thiserror::Error)]
enum Unread {
    /// Its page says nothing, or that it cannot now.
    #[error("{0}")]
    Silent(String),
    /// What the page says is no description of a client.
    #[error("{0}")]
    Unusable(String),
}

impl Known {
    fn read(client: Client, now: Timestamp, age: Duration) -> Known {
        Known { client: Ok(client), until: now + age, stands_in_until: now + STANDS_IN }
    }

    /// A client whose page is away for a while is still the one that it was; one whose page says something
    /// else is not.
    fn unread(unread: Unread, before: Option<Known>, now: Timestamp) -> Known {
        let before = before.filter(|known| known.client.is_ok() && known.stands_in_until > now);
        let (code, why) = match (unread, before) {
            (Unread::Silent(_), Some(before)) => return Known { until: now + FAILED, ..before },
            (Unread::Silent(why), None) => (ErrorCode::TemporarilyUnavailable, why),
            (Unread::Unusable(why), _) => (ErrorCode::InvalidClient, why),
        };
        let description = "the client's metadata document could not be used";
        let error = OauthError::new(code, description).because(why);
        Known { client: Err(error), until: now + FAILED, stands_in_until: now }
    }
}

impl Documents {
    pub(crate) fn new() -> Documents {
        Documents { known: Cache::new(REMEMBERED), reading: Semaphore::new(AT_ONCE) }
    }

    /// The client that the document at `id` describes.
    pub(crate) async fn client(
        &self,
        id: &str,
        fetch: &dyn Fetch,
        now: Timestamp,
    ) -> Result<Client, OauthError> {
        let url = address(id).map_err(|why| OauthError::client(format!("client_id: {why}")))?;
        let place = self.known.get_with(id.to_owned(), Arc::default);
        // Held across the read on purpose: whoever else wants this document waits for the same one.
        let mut place = place.lock().await;
        if let Some(known) = place.as_ref().filter(|known| known.until > now) {
            return known.client.clone();
        }
        let Ok(_reading) = self.reading.try_acquire() else {
            return Err(OauthError::new(ErrorCode::TooMuch, "try again later"));
        };
        let known = match read(&url, id, fetch).await {
            Ok((client, age)) => Known::read(client, now, age),
            Err(unread) => {
                tracing::info!(client_id = id, %unread, "a client's metadata document was not read");
                Known::unread(unread, place.take(), now)
            }
        };
        *place = Some(known.clone());
        known.client
    }
}

/// The URL of a client id: https, or http on this machine (the egress guard has the last word), with a path,
/// in its normal form.
fn address(id: &str) -> Result<Url, &'static str> {
    let url = reachable(id)?;
    if url.path() == "/" {
        return Err("expected a path");
    }
    Ok(url)
}

/// A URL that is read on a client's word.
fn reachable(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| "not a URL")?;
    if url.as_str() != text || text.contains(['#', '\\']) {
        return Err("expected a URL in its normal form, without a fragment");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("expected no user name in it");
    }
    let local = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    if url.scheme() == "https" || local { Ok(url) } else { Err("expected https") }
}

async fn read(url: &Url, id: &str, fetch: &dyn Fetch) -> Result<(Client, Duration), Unread> {
    let unusable = |why: &str| Unread::Unusable(why.to_owned());
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = url.as_str().parse().map_err(|_| unusable("not a usable address"))?;
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
    let answer = match tokio::time::timeout(WITHIN, fetch.send(request, LONGEST)).await {
        Ok(answer) => answer.map_err(Unread::Silent)?,
        Err(_) => return Err(Unread::Silent("no answer in time".into())),
    };
    let status = answer.status();
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return Err(Unread::Silent(format!("status {}", status.as_u16())));
    }
    if status != StatusCode::OK {
        return Err(Unread::Unusable(format!("status {}, expected 200", status.as_u16())));
    }
    if !is_json(answer.headers()) {
        return Err(unusable("expected the content type application/json"));
    }
    let age = age(answer.headers());
    Ok((client(url, id, answer.body()).map_err(Unread::Unusable)?, age))
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

fn age(headers: &HeaderMap) -> Duration {
    let control = headers.get(CACHE_CONTROL).and_then(|value| value.to_str().ok());
    let Some(control) = control.map(str::to_ascii_lowercase) else { return USUAL };
    let mut parts = control.split(',').map(str::trim);
    if parts.clone().any(|part| part == "no-store" || part == "no-cache") {
        return SHORTEST;
    }
    let seconds = parts.find_map(|part| part.strip_prefix("max-age=")?.parse::<u32>().ok());
    let age = seconds.map_or(USUAL, |seconds| Duration::seconds(seconds.into()));
    age.clamp(SHORTEST, LONGEST_AGE)
}

fn client(url: &Url, id: &str, body: &[u8]) -> Result<Client, String> {
    let document = Json::parse(body).map_err(|error| error.to_string())?;
    if document.kind() != Kind::Object {
        return Err("expected an object".into());
    }
    let text = |name: &str| document.get(name).and_then(|value| value.as_str());
    if text("client_id").as_deref() != Some(id) {
        return Err("\"client_id\": expected the document's own URL".into());
    }
    if document.get("client_secret").is_some() {
        return Err("\"client_secret\": a public document holds no secret".into());
    }
    let host = url.host_str().unwrap_or_default().to_owned();
    let name = tidy_name(&text("client_name").unwrap_or_default());
    Ok(Client {
        id: id.to_owned(),
        name: if name.is_empty() { host.clone() } else { name },
        host: Some(host),
        redirect_uris: redirect_uris(document)?,
        refreshes: true,
        proof: proof(document)?,
    })
}

/// What the document says of authentication. A client that declares keys is never taken without them.
fn proof(document: Json<'_>) -> Result<Proof, String> {
    let Some(method) = document.get("token_endpoint_auth_method") else { return Ok(Proof::None) };
    match method.as_str().as_deref() {
        Some("none") => Ok(Proof::None),
        Some("private_key_jwt") => keys(document).map(Proof::Keys),
        Some(_) | None => {
            Err("\"token_endpoint_auth_method\": expected \"none\" or \"private_key_jwt\"".into())
        }
    }
}

fn keys(document: Json<'_>) -> Result<Keys, String> {
    match (document.get("jwks"), document.get("jwks_uri")) {
        (Some(set), None) => {
            assertion::check_client_keys(set.raw()).map_err(|why| format!("\"jwks\": {why}"))?;
            Ok(Keys::Inline(set.raw().to_owned()))
        }
        (None, Some(uri)) => {
            let uri = uri.as_str().ok_or("\"jwks_uri\": expected a string")?;
            let url = reachable(&uri).map_err(|why| format!("\"jwks_uri\": {why}"))?;
            Ok(Keys::At(url))
        }
        (None, None) => Err("\"jwks\" or \"jwks_uri\": missing".into()),
        // RFC 7591, section 2.
        (Some(_), Some(_)) => Err("\"jwks\" and \"jwks_uri\": expected one of them".into()),
    }
}

fn redirect_uris(document: Json<'_>) -> Result<Vec<String>, String> {
    let uris = document.get("redirect_uris").filter(|uris| uris.kind() == Kind::Array);
    let uris = uris.ok_or("\"redirect_uris\": expected an array")?;
    let mut usable = Vec::new();
    for uri in uris.elements().take(MOST_URIS) {
        let uri = uri.as_str().ok_or("\"redirect_uris\": expected strings")?;
        match redirect::check(&uri) {
            Ok(()) => usable.push(uri.into_owned()),
            // Others of the same client may be of use to it here.
            Err(why) => tracing::debug!(why, "a redirect URI of a metadata document is not taken"),
        }
    }
    match usable.is_empty() {
        true => Err("\"redirect_uris\": none that is taken here".into()),
        false => Ok(usable),
    }
}
