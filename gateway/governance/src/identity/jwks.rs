//! The public keys of one issuer: found by discovery, read rarely, never dropped because a read failed.
//!
//! A flood of tokens with unknown key ids must not become a flood of requests to the issuer: after the
//! first read, unknown ids cause at most one read in 30 seconds (by default), and those who wait share it.

use std::sync::Arc;
use std::time::Duration as StdDuration;

use arc_swap::ArcSwapOption;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use gateway_core::Timestamp;
use gateway_core::json::{Json, Kind};
use jsonwebtoken::{Algorithm, DecodingKey};
use time::Duration;
use tokio::sync::Mutex;
use url::Url;

use super::jwt::Unverified;
use crate::ports::Fetch;
use crate::settings::{GovernanceSettings, Issuer};

/// Least time between two attempts while no keys could be read at all.
const RETRY_PAUSE: Duration = Duration::seconds(5);
/// Longest time for one read, discovery included.
const FETCH_DEADLINE: StdDuration = StdDuration::from_secs(10);
/// Largest discovery document or key set, in bytes.
const LARGEST_DOCUMENT: usize = 512 * 1024;
/// Most keys that are kept of a set.
const MOST_KEYS: usize = 100;

/// Members of a JWK that only private and symmetric keys have.
const SECRET_MEMBERS: [&str; 3] = ["d", "k", "p"];

/// One issuer and its keys as last read.
pub(super) struct IssuerKeys {
    issuer: Issuer,
    max_age: Duration,
    refetch_pause: Duration,
    current: ArcSwapOption<KeySet>,
    // Held across a read on purpose: that makes those who need it wait for one and the same.
    gate: Mutex<Gate>,
}

#[derive(Default)]
struct Gate {
    last_refetch: Option<Timestamp>,
    last_failure: Option<Timestamp>,
    last_kept: Option<Timestamp>,
}

/// Keys as read at one time.
pub(super) struct KeySet {
    generation: u64,
    read_at: Timestamp,
    keys: Vec<Key>,
    body: Bytes,
}

struct Key {
    kid: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

/// The keys that may have signed a token.
pub(super) struct Candidates {
    pub(super) generation: u64,
    set: Arc<KeySet>,
    indices: Vec<usize>,
}

impl Candidates {
    /// True when one of them did.
    pub(super) fn verify(&self, token: &Unverified<'_>) -> bool {
        self.indices.iter().any(|&index| {
            let key = &self.set.keys[index];
            jsonwebtoken::crypto::verify(
                token.signature,
                token.signed.as_bytes(),
                &key.key,
                token.algorithm,
            )
            .unwrap_or(false)
        })
    }
}

impl IssuerKeys {
    pub(super) fn new(issuer: Issuer, settings: &GovernanceSettings) -> IssuerKeys {
        let span = |setting| Duration::try_from(setting).unwrap_or(Duration::HOUR);
        IssuerKeys {
            issuer,
            max_age: span(settings.jwks_max_age),
            refetch_pause: span(settings.jwks_min_refetch),
            current: ArcSwapOption::empty(),
            gate: Mutex::default(),
        }
    }

    pub(super) fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// Counts up when the keys change; 0 before the first read.
    pub(super) fn generation(&self) -> u64 {
        self.current.load().as_ref().map_or(0, |set| set.generation)
    }

    /// The keys for `kid` and `algorithm`, read from the issuer if they are not known.
    pub(super) async fn find(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
        fetch: &dyn Fetch,
        now: Timestamp,
    ) -> Result<Candidates, String> {
        let seen = self.current.load_full();
        if let Some(found) = seen.as_ref().and_then(|set| candidates(set, kid, algorithm)) {
            return Ok(found);
        }
        self.read(fetch, now, seen.map_or(0, |set| set.generation)).await?;
        match self.current.load_full() {
            Some(set) => candidates(&set, kid, algorithm)
                .ok_or_else(|| "the token's key is not one of its issuer's".into()),
            None => Err("the issuer's keys could not be read".into()),
        }
    }

    /// Reads keys again that are in use and have not been read for long.
    pub(super) async fn keep_current(&self, fetch: &dyn Fetch, now: Timestamp) {
        let Some(set) = self.current.load_full() else {
            return;
        };
        let mut gate = self.gate.lock().await;
        let tried_lately = gate.last_kept.is_some_and(|tried| now < tried + self.refetch_pause);
        if set.read_at + self.max_age <= now && !tried_lately {
            gate.last_kept = Some(now);
            self.replace(fetch, now).await.unwrap_or_else(|trouble| {
                tracing::warn!(
                    issuer = self.issuer.issuer,
                    trouble,
                    "reading an issuer's keys failed"
                );
            });
        }
    }

    /// Reads the keys unless somebody else just did or it is too early.
    async fn read(&self, fetch: &dyn Fetch, now: Timestamp, seen: u64) -> Result<(), String> {
        let mut gate = self.gate.lock().await;
        if self.generation() != seen {
            return Ok(());
        }
        let first = seen == 0;
        let (last, pause) = if first {
            (gate.last_failure, RETRY_PAUSE)
        } else {
            (gate.last_refetch, self.refetch_pause)
        };
        if last.is_some_and(|last| now < last + pause) {
            return Err("the token's key is unknown, and its issuer was asked a moment ago".into());
        }
        if !first {
            gate.last_refetch = Some(now);
        }
        let done = self.replace(fetch, now).await;
        if let Err(trouble) = &done {
            gate.last_failure = Some(now);
            tracing::warn!(issuer = self.issuer.issuer, trouble, "reading an issuer's keys failed");
        }
        done.map_err(|_| "the issuer's keys could not be read".into())
    }

    async fn replace(&self, fetch: &dyn Fetch, now: Timestamp) -> Result<(), String> {
        let body = match tokio::time::timeout(FETCH_DEADLINE, self.fetch_keys(fetch)).await {
            Ok(fetched) => fetched?,
            Err(_) => return Err("no answer in time".into()),
        };
        let keys = read_keys(&body)?;
        let before = self.current.load_full();
        let generation = match &before {
            // The same keys: what was verified with them stays verified.
            Some(before) if before.body == body => before.generation,
            Some(before) => before.generation + 1,
            None => 1,
        };
        self.current.store(Some(Arc::new(KeySet { generation, read_at: now, keys, body })));
        Ok(())
    }

    async fn fetch_keys(&self, fetch: &dyn Fetch) -> Result<Bytes, String> {
        let url = match &self.issuer.jwks_url {
            Some(url) => url.clone(),
            None => self.discover(fetch).await?,
        };
        fetch.get(&url, LARGEST_DOCUMENT).await.map_err(|e| format!("{url}: {e}"))
    }

    /// OpenID Connect Discovery first, RFC 8414 second. The document must name the very same issuer.
    async fn discover(&self, fetch: &dyn Fetch) -> Result<Url, String> {
        let issuer = Url::parse(&self.issuer.issuer).map_err(|e| format!("issuer: {e}"))?;
        let path = issuer.path().trim_end_matches('/');
        let mut trouble = String::new();
        for well_known in [
            format!("{path}/.well-known/openid-configuration"),
            format!("/.well-known/oauth-authorization-server{path}"),
        ] {
            let mut url = issuer.clone();
            url.set_path(&well_known);
            let found = match fetch.get(&url, LARGEST_DOCUMENT).await {
                Ok(body) => self.jwks_uri(&issuer, &body),
                Err(e) => Err(e),
            };
            match found {
                Ok(jwks_uri) => return Ok(jwks_uri),
                Err(e) => trouble = format!("{url}: {e}"),
            }
        }
        Err(trouble)
    }

    fn jwks_uri(&self, issuer: &Url, body: &[u8]) -> Result<Url, String> {
        let document = Json::parse(body).map_err(|e| e.to_string())?;
        let named = document.get("issuer").and_then(|issuer| issuer.as_str());
        if named.as_deref() != Some(&*self.issuer.issuer) {
            return Err("the document names another issuer".into());
        }
        let uri = document.get("jwks_uri").and_then(|uri| uri.as_str());
        let uri = uri.ok_or("\"jwks_uri\" is missing")?;
        let url = Url::parse(&uri).map_err(|e| format!("\"jwks_uri\": {e}"))?;
        if issuer.scheme() == "https" && url.scheme() != "https" {
            return Err("\"jwks_uri\": expected https".into());
        }
        Ok(url)
    }
}

/// Whether one of the keys of a JWK set signed the token: as [`Candidates::verify`], for a set at hand.
pub(super) fn signed_by(jwks: &str, token: &Unverified<'_>) -> bool {
    let Ok(keys) = read_keys(jwks.as_bytes()) else { return false };
    let body = Bytes::new();
    let set = Arc::new(KeySet { generation: 0, read_at: Timestamp::UNIX_EPOCH, keys, body });
    candidates(&set, token.kid.as_deref(), token.algorithm).is_some_and(|found| found.verify(token))
}

/// Whether a JWK set has a usable key and holds nothing secret.
pub(super) fn check(body: &[u8]) -> Result<(), String> {
    let secret = |key: Json<'_>| SECRET_MEMBERS.iter().any(|name| key.get(name).is_some());
    let document = Json::parse(body).map_err(|e| e.to_string())?;
    if document.get("keys").is_some_and(|keys| keys.elements().any(secret)) {
        return Err("a key of the set is not public".into());
    }
    read_keys(body).map(drop)
}

/// With a key id: the keys of that id. Without: the only key for the algorithm, if there is just one.
fn candidates(set: &Arc<KeySet>, kid: Option<&str>, algorithm: Algorithm) -> Option<Candidates> {
    let fits = |key: &Key| {
        key.algorithm == algorithm && kid.is_none_or(|kid| key.kid.as_deref() == Some(kid))
    };
    let indices: Vec<usize> =
        set.keys.iter().enumerate().filter(|(_, key)| fits(key)).map(|(index, _)| index).collect();
    if indices.is_empty() || (kid.is_none() && indices.len() > 1) {
        return None;
    }
    Some(Candidates { generation: set.generation, set: Arc::clone(set), indices })
}

/// The usable signing keys of a JWK set; others are skipped, as RFC 7517 wants it.
fn read_keys(body: &[u8]) -> Result<Vec<Key>, String> {
    let document = Json::parse(body).map_err(|e| e.to_string())?;
    let keys = document.get("keys").filter(|keys| keys.kind() == Kind::Array);
    let keys = keys.ok_or("\"keys\": expected an array")?;
    let usable: Vec<Key> = keys.elements().take(MOST_KEYS).filter_map(read_key).collect();
    if usable.is_empty() { Err("no usable key in the set".into()) } else { Ok(usable) }
}

fn read_key(jwk: Json<'_>) -> Option<Key> {
    let member = |name: &str| jwk.get(name).and_then(|value| value.as_str());
    if member("use").is_some_and(|purpose| purpose != "sig") {
        return None;
    }
    let verifies =
        |ops: Json<'_>| ops.elements().any(|op| op.as_str().as_deref() == Some("verify"));
    if jwk.get("key_ops").is_some_and(|ops| !verifies(ops)) {
        return None;
    }
    let bytes = |name: &str| URL_SAFE_NO_PAD.decode(member(name)?.as_bytes()).ok();
    let (algorithm, name, key) = match member("kty").as_deref()? {
        "OKP" if member("crv").as_deref() == Some("Ed25519") && bytes("x")?.len() == 32 => {
            (Algorithm::EdDSA, "EdDSA", DecodingKey::from_ed_components(&member("x")?))
        }
        "EC" if member("crv").as_deref() == Some("P-256")
            && bytes("x")?.len() == 32
            && bytes("y")?.len() == 32 =>
        {
            let key = DecodingKey::from_ec_components(&member("x")?, &member("y")?);
            (Algorithm::ES256, "ES256", key)
        }
        "RSA" if is_strong(&bytes("n")?) => {
            let key = DecodingKey::from_rsa_components(&member("n")?, &member("e")?);
            (Algorithm::RS256, "RS256", key)
        }
        _ => return None,
    };
    // RFC 9864 names the curve ("Ed25519") where older issuers say "EdDSA".
    let named = |alg: &str| alg == name || (name == "EdDSA" && alg == "Ed25519");
    if member("alg").is_some_and(|alg| !named(&alg)) {
        return None;
    }
    Some(Key { kid: member("kid").map(|kid| kid.into_owned()), algorithm, key: key.ok()? })
}

/// An RSA modulus of 2048 to 8192 bits.
fn is_strong(modulus: &[u8]) -> bool {
    let significant = modulus.iter().skip_while(|byte| **byte == 0).count();
    (256..=1024).contains(&significant)
}
