//! Signed assertions (RFC 7523) that are no access tokens: with which a client proves itself, or an identity
//! provider vouches for a person. As strict as access tokens; each is good once, which the store sees to.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use gateway_core::Timestamp;
use http::{Request, Response};
use moka::sync::Cache;
use tokio::sync::Semaphore;
use url::Url;

use super::jwks::{self, IssuerKeys};
use super::jwt;
use crate::ports::Fetch;
use crate::settings::{GovernanceSettings, Issuer};

/// Types that a client's own assertion may have, or none.
const OF_CLIENTS: [&str; 2] = ["jwt", "client-authentication+jwt"];
/// The type of an identity assertion (ID-JAG).
const ID_JAG: &str = "oauth-id-jag+jwt";

/// Published key sets that are remembered.
const REMEMBERED: u64 = 1_000;
/// Published key sets that are read at once.
const AT_ONCE: usize = 16;
/// The longest published key set, in bytes.
const LONGEST_SET: usize = 32 * 1024;

/// What an assertion with a good signature says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Assertion {
    pub(crate) issuer: String,
    pub(crate) subject: String,
    /// The one audience that it names.
    pub(crate) audience: String,
    pub(crate) expires_at: Timestamp,
    /// Its id: it may be used once.
    pub(crate) id: String,
    claims: Vec<u8>,
}

impl Assertion {
    /// A further claim that is text.
    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, String> {
        jwt::text(jwt::object(&self.claims, "claims")?, name)
    }

    /// False when the claim says false.
    pub(crate) fn allows(&self, name: &str) -> bool {
        let claims = jwt::object(&self.claims, "claims");
        claims.is_ok_and(|claims| claims.get(name).is_none_or(|v| v.as_bool() == Some(true)))
    }
}

/// Who issued an assertion, by its own word: nothing is proven.
pub(crate) fn claimed_issuer(token: &str) -> Option<String> {
    jwt::read_typed(token, &OF_CLIENTS).ok().map(|read| read.issuer)
}

/// A client's own assertion, signed with one of the keys in `jwks`.
pub(crate) fn of_client(token: &str, jwks: &str, now: Timestamp) -> Result<Assertion, String> {
    let read = jwt::read_typed(token, &OF_CLIENTS)?;
    if !jwks::signed_by(jwks, &read) {
        return Err("the assertion's signature does not verify".into());
    }
    checked(&read, now)
}

/// Whether a client may prove itself with these keys: at least one that is usable, and nothing that is secret.
pub(crate) fn check_client_keys(jwks: &str) -> Result<(), String> {
    jwks::check(jwks.as_bytes())
}

/// The keys of clients that publish them at an address of their own, read when an assertion needs them.
pub(crate) struct PublishedKeys {
    settings: GovernanceSettings,
    known: Cache<String, Arc<IssuerKeys>>,
    few: Few,
}

impl PublishedKeys {
    pub(crate) fn new(settings: &GovernanceSettings, fetch: Arc<dyn Fetch>) -> PublishedKeys {
        PublishedKeys {
            settings: settings.clone(),
            known: Cache::new(REMEMBERED),
            few: Few { fetch, reading: Semaphore::new(AT_ONCE) },
        }
    }

    /// The assertion of `client`, signed with one of the keys at `url`.
    pub(crate) async fn verify(
        &self,
        (client, url): (&str, &Url),
        token: &str,
        now: Timestamp,
    ) -> Result<Assertion, String> {
        let read = jwt::read_typed(token, &OF_CLIENTS)?;
        let keys = self.known.get_with(format!("{client} {url}"), || {
            let issuer = Issuer { jwks_url: Some(url.clone()), ..Issuer::new(client, "") };
            Arc::new(IssuerKeys::new(issuer, &self.settings))
        });
        keys.keep_current(&self.few, now).await;
        let found = keys.find(read.kid.as_deref(), read.algorithm, &self.few, now).await?;
        if !found.verify(&read) {
            return Err("the assertion's signature does not verify".into());
        }
        checked(&read, now)
    }
}

/// The way out for what anybody may ask for: little of it at once, and nothing long.
struct Few {
    fetch: Arc<dyn Fetch>,
    reading: Semaphore,
}

#[async_trait]
impl Fetch for Few {
    async fn send(&self, request: Request<Bytes>, limit: usize) -> Result<Response<Bytes>, String> {
        let Ok(_reading) = self.reading.try_acquire() else {
            return Err("too many key sets are being read at once".into());
        };
        self.fetch.send(request, limit.min(LONGEST_SET)).await
    }
}

/// The issuers whose identity assertions are taken.
pub(crate) struct AssertionIssuers(Vec<IssuerKeys>);

impl AssertionIssuers {
    pub(crate) fn new(settings: &GovernanceSettings) -> AssertionIssuers {
        let keys = |issuer| IssuerKeys::new(issuer, settings);
        AssertionIssuers(settings.assertion_issuers.iter().cloned().map(keys).collect())
    }

    /// An identity assertion of one of them.
    pub(crate) async fn verify(
        &self,
        token: &str,
        fetch: &dyn Fetch,
        now: Timestamp,
    ) -> Result<(Assertion, &Issuer), String> {
        let read = jwt::read_typed(token, &[ID_JAG])?;
        if read.typ.is_none() {
            return Err(format!("\"typ\": expected {ID_JAG}"));
        }
        let keys = self.0.iter().find(|keys| keys.issuer().issuer == read.issuer);
        let keys = keys.ok_or("the assertion's issuer is not one that is trusted")?;
        let found = keys.find(read.kid.as_deref(), read.algorithm, fetch, now).await?;
        if !found.verify(&read) {
            return Err("the assertion's signature does not verify".into());
        }
        Ok((checked(&read, now)?, keys.issuer()))
    }

    /// Reads keys again that were read long ago.
    pub(crate) async fn keep_current(&self, fetch: &dyn Fetch, now: Timestamp) {
        for keys in &self.0 {
            keys.keep_current(fetch, now).await;
        }
    }
}

/// The claims that every assertion must have, in time.
fn checked(read: &jwt::Unverified<'_>, now: Timestamp) -> Result<Assertion, String> {
    let claims = jwt::object(read.claims(), "claims")?;
    let instant = |name: &str| jwt::instant(claims, name);
    let expires_at = instant("exp")?.ok_or("\"exp\" is missing")?;
    if expires_at <= now {
        return Err("the assertion has expired".into());
    }
    for name in ["nbf", "iat"] {
        if instant(name)?.is_some_and(|start| start > now + jwt::LEEWAY) {
            return Err(format!("\"{name}\" is in the future"));
        }
    }
    Ok(Assertion {
        issuer: read.issuer.clone(),
        subject: jwt::required_text(claims, "sub")?,
        audience: jwt::only_audience(claims)?,
        expires_at,
        id: jwt::required_text(claims, "jti")?,
        claims: read.claims().to_vec(),
    })
}
