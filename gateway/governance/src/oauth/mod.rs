//! The authorization server of the gateway, without HTTP: OAuth 2.1 with PKCE, for MCP clients that find it by
//! the gateway's protected resource metadata. It knows nothing of headers, cookies or pages; time and randomness
//! are arguments.
//!
//! ```text
//! page  GET /api/v1/oauth/authorize -> ask -> (sign in, consent) -> ask_again -> grant | refuse -> browser
//! client POST /api/v1/oauth/token   -> token -> grants/* -> issue -> signed JWT (+ refresh token)
//! call   Authorization: Bearer JWT  -> identity/own.rs: signature, audience, session, people
//! ```
//!
//! For the pages: [`AuthorizationServer::ask`] takes the raw query (or the form of a POST); on
//! [`Unasked::Page`] show the error, on [`Unasked::Redirect`] send the browser there. Between pages carry
//! [`Asked::sealed`] in a hidden field and open it with [`AuthorizationServer::ask_again`], with the same 32 bytes
//! of the browser's cookie. `Asked::server_slug` may name a server that does not exist, or that the person may
//! not see: nothing is told of that before they have signed in; [`AuthorizationServer::grant`] then answers
//! with `invalid_target`. `grant` and `refuse` give the URL to redirect to and record the decision themselves.
//! Devices: [`AuthorizationServer::device_asked`], [`AuthorizationServer::decide_device`].
//!
//! For further grants: one file in `grants/` with `NAME` and `exchange(server, TokenRequest) -> Given`, a line in
//! `token.rs` and in `grants::ALL`. `client::presented` reads how a client authenticates;
//! [`AuthorizationServer::issue`] signs. The token endpoint records success and failure itself, from `Given`.
//! A session that an agent's token names need not be in the store; [`AuthorizationServer::end_session`] ends
//! any. `wanted(form)` reads `resource`, `scope::requested` the scope, and `audience` names audiences.

pub(crate) mod audience;
pub(crate) mod client;
pub(crate) mod error;
pub(crate) mod form;
pub mod grants;
pub(crate) mod keys;
pub(crate) mod redirect;
pub(crate) mod scope;

mod ask;
mod device;
mod limits;
mod record;
mod revoke;
mod token;

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_core::Clock;
use gateway_core::ids::SessionId;
use gateway_core::keys::Purpose;
use gateway_core::seal::Sealer;
use gateway_store::Store;
use gateway_store::audit::Trail;
use secrecy::SecretString;
use serde_json::Value;
use time::Duration;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::identity::OwnTokens;
use crate::identity::assertion::{AssertionIssuers, PublishedKeys};
use crate::ports::{Fetch, Random, uuid7};
use crate::refresh::Current;
use crate::settings::GovernanceSettings;

pub use ask::{Asked, Unasked};
pub use client::Client;
pub use client::registered::Registered;
pub use device::{DeviceAsked, DeviceStarted};
pub use error::{ErrorCode, OauthError};
pub use form::Form;
pub use token::{Given, Granted, IssuedToken, TokenRequest};

/// No access token of ours lives longer.
pub(crate) const LONGEST_TOKEN: Duration = Duration::hours(1);
/// How often keys are looked at and old rows removed.
const KEEP_EVERY: std::time::Duration = std::time::Duration::from_secs(60);

/// The authorization server. Shared; lives as long as the gateway.
pub struct AuthorizationServer {
    settings: GovernanceSettings,
    store: Store,
    trail: Trail,
    current: Arc<Current>,
    fetch: Arc<dyn Fetch>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    addresses: audience::Addresses,
    own: Arc<OwnTokens>,
    signer: keys::Signer,
    pages: Sealer,
    hashing: [u8; 32],
    documents: client::document::Documents,
    assertion_issuers: AssertionIssuers,
    published_keys: PublishedKeys,
    registrations: limits::Limiter,
    devices: limits::Limiter,
}

impl AuthorizationServer {
    pub(crate) fn new(
        settings: GovernanceSettings,
        (store, trail): (Store, Trail),
        (current, own): (Arc<Current>, Arc<OwnTokens>),
        fetch: Arc<dyn Fetch>,
        (clock, random): (Arc<dyn Clock>, Arc<dyn Random>),
    ) -> AuthorizationServer {
        let root = settings.root_key.clone();
        let sources = (Arc::clone(&clock), Arc::clone(&random));
        AuthorizationServer {
            signer: keys::Signer::new(&root, store.clone(), Arc::clone(&current), sources),
            addresses: audience::Addresses::new(&settings.public_url),
            pages: Sealer::new(&root.derive(Purpose::Page)),
            hashing: root.derive(Purpose::Oauth),
            documents: client::document::Documents::new(),
            assertion_issuers: AssertionIssuers::new(&settings),
            published_keys: PublishedKeys::new(&settings, Arc::clone(&fetch)),
            registrations: limits::Limiter::per_hour(settings.oauth.registrations_per_hour),
            devices: limits::Limiter::per_hour(settings.oauth.registrations_per_hour),
            settings,
            store,
            trail,
            current,
            fetch,
            clock,
            random,
            own,
        }
    }

    /// False when the operator switched it off: then none of its addresses is there.
    pub fn is_enabled(&self) -> bool {
        self.settings.oauth.enabled
    }

    /// Whether clients may register themselves.
    pub fn takes_registrations(&self) -> bool {
        self.settings.oauth.registration
    }

    /// Its name: the gateway's public URL, without a final slash.
    pub fn issuer(&self) -> &str {
        self.addresses.issuer()
    }

    /// The public keys (RFC 7517).
    pub fn jwks(&self) -> Value {
        keys::jwks(&self.current.snapshot().signing_keys, self.clock.now())
    }

    /// Signs a JWT of that type with the gateway's key, for others than our own resource: they find the keys at
    /// `/api/v1/oauth/jwks`. `iss`, `iat`, `exp` and `aud` are the caller's to set.
    pub async fn sign(&self, typ: &str, claims: &Value) -> Result<String, OauthError> {
        self.signer.sign(typ, claims).await
    }

    /// Ends a session: its refresh tokens at once, its access tokens on every replica within the revocation
    /// lag. False when it had ended before; the caller records it.
    pub async fn end_session(&self, session: SessionId) -> Result<bool, OauthError> {
        self.end_quietly(session).await
    }

    /// Keeps keys ready and removes what has expired, until `shutdown`.
    pub(crate) async fn follow(&self, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(KEEP_EVERY) => {}
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.keep_house() => {}
            }
        }
    }

    /// One round of housekeeping.
    pub(crate) async fn keep_house(&self) {
        if !self.current.snapshot().signing_keys.is_empty()
            && let Err(error) = self.signer.prepare().await
        {
            tracing::warn!(%error, "the next signing key could not be prepared");
        }
        self.assertion_issuers.keep_current(&*self.fetch, self.clock.now()).await;
        match self.store.sweep_oauth(self.clock.now()).await {
            Ok(Some(gone)) if gone > 0 => tracing::debug!(gone, "expired rows were removed"),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "expired rows could not be removed"),
        }
    }

    /// A new secret: 32 random bytes, base64url.
    fn secret(&self) -> SecretString {
        let mut bytes = [0; 32];
        self.random.fill(&mut bytes);
        self.encoded(&bytes)
    }

    fn encoded(&self, bytes: &[u8]) -> SecretString {
        URL_SAFE_NO_PAD.encode(bytes).into()
    }

    fn next_id(&self) -> Uuid {
        uuid7(self.clock.now(), &*self.random)
    }
}
