//! Who is calling: a presented credential becomes a [`Caller`], or the reason why not.
//!
//! One credential, one path: what looks like an API key is never tried as a token, and a bad one never
//! falls through to anything else. Users are always taken from the snapshot, so that a deactivated
//! person is out as soon as the snapshot knows, whatever their credential says.
//! Next: [`jwt`] reads and checks tokens, [`jwks`] holds the keys of the issuers, [`own`] knows the tokens of our
//! own authorization server.

pub(crate) mod assertion;
mod jwks;
mod jwt;
mod own;
#[cfg(test)]
mod tests;
mod uses;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use gateway_core::caller::{AuthMethod, Caller};
use gateway_core::keys::{Purpose, RootKey, keyed_hash};
use gateway_core::reason::Reason;
use gateway_core::{Clock, Timestamp};
use moka::sync::Cache;
use ring::digest::{SHA256, digest};
use tokio_util::sync::CancellationToken;

use crate::ports::{Fetch, Random};
use crate::refresh::Current;
use crate::settings::GovernanceSettings;
use crate::snapshot::Snapshot;
use jwks::IssuerKeys;
pub(crate) use own::OwnTokens;
pub(crate) use uses::KeyUses;

/// The longest token that is looked at, in bytes.
const LONGEST_TOKEN: usize = 16 * 1024;
/// How many verified tokens are remembered.
const REMEMBERED_TOKENS: u64 = 100_000;
/// How often the age of issuers' keys is looked at.
const KEEP_EVERY: Duration = Duration::from_secs(5);
/// Least time between two looks at the catalogue that tokens of ours with unknown keys cause, in seconds.
const LOOK_AGAIN: i64 = 5;
/// What every API key starts with.
const KEY_PREFIX: &str = "rl_";
/// Length of an API key: the prefix and 32 bytes as base64url.
const KEY_LENGTH: usize = 3 + 43;

/// The credentials of a request, as they came.
#[derive(Clone, Copy, Default)]
pub struct Presented<'a> {
    /// The value of `x-runlayer-api-key`.
    pub api_key_header: Option<&'a str>,
    /// The value of `Authorization`.
    pub authorization: Option<&'a str>,
    /// The URL that is being called: besides the issuer's configured audience, a token may be for exactly
    /// that.
    pub resource: &'a str,
}

/// Nobody was identified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unidentified {
    /// Why.
    pub reason: Reason,
    /// For operators and the audit trail; holds nothing of the credential itself.
    pub detail: String,
    /// What the credential claimed to be, where that is safe to record: a key's id or an issuer.
    pub hint: Option<String>,
}

impl Unidentified {
    pub(crate) fn new(reason: Reason, detail: impl Into<String>) -> Unidentified {
        Unidentified { reason, detail: detail.into(), hint: None }
    }

    fn invalid(detail: impl Into<String>) -> Unidentified {
        Unidentified::new(Reason::CredentialInvalid, detail)
    }

    fn about(mut self, hint: impl Into<String>) -> Unidentified {
        self.hint = Some(hint.into());
        self
    }
}

/// A token whose signature and claims were good when it was first seen.
struct Verified {
    issuer: usize,
    keys: u64,
    expires_at: Timestamp,
    not_before: Option<Timestamp>,
    audience: String,
    person: jwt::Person,
}

/// Checks credentials.
pub(crate) struct Identity {
    key_of_keys: [u8; 32],
    issuers: Vec<IssuerKeys>,
    verified: Cache<[u8; 32], Arc<Verified>>,
    own: Arc<OwnTokens>,
    // Where a key that another replica just made is found.
    current: Option<Arc<Current>>,
    looked: AtomicI64,
    uses: Arc<KeyUses>,
    fetch: Arc<dyn Fetch>,
    clock: Arc<dyn Clock>,
}

impl Identity {
    pub(crate) fn new(
        settings: &GovernanceSettings,
        fetch: Arc<dyn Fetch>,
        clock: Arc<dyn Clock>,
    ) -> Identity {
        let keys = |issuer| IssuerKeys::new(issuer, settings);
        Identity {
            key_of_keys: settings.root_key.derive(Purpose::ApiKey),
            issuers: settings.issuers.iter().cloned().map(keys).collect(),
            verified: Cache::new(REMEMBERED_TOKENS),
            own: Arc::new(OwnTokens::new(settings)),
            current: None,
            looked: AtomicI64::new(0),
            uses: Arc::default(),
            fetch,
            clock,
        }
    }

    /// The same, with a way to a newer snapshot.
    pub(crate) fn following(mut self, current: Arc<Current>) -> Identity {
        self.current = Some(current);
        self
    }

    /// What knows tokens of our own.
    pub(crate) fn own(&self) -> &Arc<OwnTokens> {
        &self.own
    }

    /// When API keys were used.
    pub(crate) fn uses(&self) -> &Arc<KeyUses> {
        &self.uses
    }

    /// The caller behind `presented`.
    pub(crate) async fn identify(
        &self,
        snapshot: &Snapshot,
        presented: Presented<'_>,
    ) -> Result<Caller, Unidentified> {
        match single_credential(presented)? {
            Credential::ApiKey(key) => self.by_api_key(snapshot, key),
            Credential::Token(token) => self.by_token(snapshot, token, presented.resource).await,
        }
    }

    /// Reads issuers' keys again that were read long ago, so that a withdrawn key stops working; until
    /// `shutdown`.
    pub(crate) async fn follow(&self, shutdown: CancellationToken) {
        let mut ticker = tokio::time::interval(KEEP_EVERY);
        ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticker.tick() => {}
            }
            for issuer in &self.issuers {
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = issuer.keep_current(&*self.fetch, self.clock.now()) => {}
                }
            }
        }
    }

    fn by_api_key(&self, snapshot: &Snapshot, key: &str) -> Result<Caller, Unidentified> {
        let hash = keyed_hash(&self.key_of_keys, key.as_bytes());
        let Some(stored) = snapshot.key(&hash) else {
            return Err(Unidentified::invalid("the API key is unknown"));
        };
        let hint = stored.id.to_string();
        let now = self.clock.now();
        if stored.revoked_at.is_some() {
            return Err(Unidentified::invalid("the API key was revoked").about(hint));
        }
        if stored.expires_at.is_some_and(|expiry| expiry <= now) {
            let gone = Unidentified::new(Reason::CredentialExpired, "the API key has expired");
            return Err(gone.about(hint));
        }
        match snapshot.user(stored.user) {
            Some(user) if user.active => {
                self.uses.note(stored.id, now);
                Ok(Caller::new(Arc::clone(user), AuthMethod::ApiKey, hint))
            }
            Some(_) | None => {
                Err(Unidentified::invalid("the key's owner is deactivated").about(hint))
            }
        }
    }

    async fn by_own_token(
        &self,
        snapshot: &Snapshot,
        token: &str,
        resource: &str,
    ) -> Result<Caller, Unidentified> {
        let now = self.clock.now();
        let read = match self.own.read(snapshot, token, now) {
            Err(own::Unreadable::UnknownKey) if self.may_look_again(now) => {
                let Some(current) = &self.current else {
                    return Err(own::Unreadable::UnknownKey.into());
                };
                // The snapshot that has the key may also know of an ended session: it decides alone.
                let newer = current.refresh().await.unwrap_or_else(|_| current.snapshot());
                let own = self.own.read(&newer, token, now)?;
                return self.own.caller(&newer, &own, resource, now);
            }
            read => read?,
        };
        self.own.caller(snapshot, &read, resource, now)
    }

    /// A flood of unknown key ids does not become a flood of questions to Postgres.
    fn may_look_again(&self, now: Timestamp) -> bool {
        let now = now.unix_timestamp();
        let looked = self.looked.load(Ordering::Relaxed);
        now >= looked + LOOK_AGAIN
            && self
                .looked
                .compare_exchange(looked, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    async fn by_token(
        &self,
        snapshot: &Snapshot,
        token: &str,
        resource: &str,
    ) -> Result<Caller, Unidentified> {
        if self.own.is_own(token) {
            return self.by_own_token(snapshot, token, resource).await;
        }
        let hash = token_hash(token);
        let now = self.clock.now();
        let remembered = self.verified.get(&hash).filter(|known| self.still_good(known, now));
        let verified = match remembered {
            Some(verified) => verified,
            None => {
                let verified = Arc::new(self.verify(token, now).await?);
                self.verified.insert(hash, Arc::clone(&verified));
                verified
            }
        };
        let issuer = self.issuers[verified.issuer].issuer();
        // Also of a remembered token: it may be for another server of ours (RFC 8707).
        if verified.audience != issuer.audience && verified.audience != resource {
            return Err(Unidentified::invalid("\"aud\": the token is not for this resource")
                .about(issuer.issuer.as_str()));
        }
        let user = verified.person.find(snapshot).filter(|user| user.active);
        match user {
            Some(user) => {
                Ok(Caller::new(Arc::clone(user), AuthMethod::Jwt, issuer.issuer.as_str()))
            }
            None => {
                Err(Unidentified::invalid("the token is good, but its subject is no active user")
                    .about(issuer.issuer.as_str()))
            }
        }
    }

    /// A remembered token counts while it has not expired and the issuer's keys are the same.
    fn still_good(&self, verified: &Verified, now: Timestamp) -> bool {
        now < verified.expires_at
            && verified.not_before.is_none_or(|start| start <= now + jwt::LEEWAY)
            && self.issuers[verified.issuer].generation() == verified.keys
    }

    async fn verify(&self, token: &str, now: Timestamp) -> Result<Verified, Unidentified> {
        let unverified = jwt::read(token).map_err(Unidentified::invalid)?;
        let found = self.issuers.iter().position(|keys| keys.issuer().issuer == unverified.issuer);
        let Some(index) = found else {
            return Err(Unidentified::invalid("the token's issuer is not one of ours"));
        };
        let keys = &self.issuers[index];
        let about = |unidentified: Unidentified| unidentified.about(keys.issuer().issuer.as_str());
        let (algorithm, kid) = (unverified.algorithm, unverified.kid.as_deref());
        let candidates = keys
            .find(kid, algorithm, &*self.fetch, now)
            .await
            .map_err(|trouble| about(Unidentified::invalid(trouble)))?;
        if !candidates.verify(&unverified) {
            return Err(about(Unidentified::invalid("the token's signature does not verify")));
        }
        let claims = jwt::check(&unverified, keys.issuer(), now).map_err(about)?;
        Ok(Verified {
            issuer: index,
            keys: candidates.generation,
            expires_at: claims.expires_at,
            not_before: claims.not_before,
            audience: claims.audience,
            person: claims.person,
        })
    }
}

enum Credential<'a> {
    ApiKey(&'a str),
    Token(&'a str),
}

/// Exactly one credential, told apart by its form alone.
fn single_credential(presented: Presented<'_>) -> Result<Credential<'_>, Unidentified> {
    match (presented.api_key_header, presented.authorization) {
        (Some(_), Some(_)) => Err(Unidentified::new(
            Reason::CredentialAmbiguous,
            "both x-runlayer-api-key and Authorization were sent",
        )),
        (None, None) => {
            Err(Unidentified::new(Reason::CredentialMissing, "no credential was presented"))
        }
        (Some(key), None) => api_key(key),
        (None, Some(authorization)) => {
            let token = bearer(authorization)?;
            if token.starts_with(KEY_PREFIX) {
                api_key(token)
            } else {
                Ok(Credential::Token(token))
            }
        }
    }
}

fn bearer(authorization: &str) -> Result<&str, Unidentified> {
    let invalid = || Unidentified::invalid("Authorization: expected \"Bearer\" and one credential");
    let (scheme, rest) = authorization.split_once(' ').ok_or_else(invalid)?;
    let token = rest.trim_matches(' ');
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() || !token.bytes().all(legal) {
        return Err(invalid());
    }
    if token.len() > LONGEST_TOKEN {
        return Err(Unidentified::invalid("the credential is too long"));
    }
    Ok(token)
}

fn api_key(key: &str) -> Result<Credential<'_>, Unidentified> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if key.len() == KEY_LENGTH && key.starts_with(KEY_PREFIX) && key.bytes().all(legal) {
        Ok(Credential::ApiKey(key))
    } else {
        Err(Unidentified::invalid("not an API key: expected rl_ and 43 characters"))
    }
}

fn token_hash(token: &str) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    out
}

/// A new API key and what is stored of it: its keyed hash.
pub(crate) fn new_api_key(root: &RootKey, random: &dyn Random) -> (String, [u8; 32]) {
    use base64::Engine;
    let mut secret = [0; 32];
    random.fill(&mut secret);
    let encoded = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(secret);
    let key = format!("{KEY_PREFIX}{encoded}");
    let hash = keyed_hash(&root.derive(Purpose::ApiKey), key.as_bytes());
    (key, hash)
}
