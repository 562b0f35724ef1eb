//! Credentials towards upstream servers: what the gateway presents there for a caller.
//!
//! [`Connections::credential`] is the one question that the line asks. The answer comes from the operator (a header), from a
//! person's connected account ([`renew`]), from the gateway's own account or an exchange ([`own`]), or is signed on
//! the spot ([`identity`]). A person connects an account in two steps ([`attempt`]): out to the issuer's consent page,
//! and back. Who issues for a server is found in [`discover`], as whom the gateway comes in [`client`], and where it
//! signs for itself, in [`assertion`].
//!
//! It knows nothing of MCP and of pages. Every request goes through [`crate::ports::Fetch`]; every token is sealed in
//! the vault, bound to person, server and issuer, and is sent to the server's address as it was when the person
//! connected, and nowhere else.

mod account;
mod assertion;
mod attempt;
mod challenge;
mod client;
mod discover;
mod fetch;
mod identity;
mod kept;
mod own;
mod record;
mod renew;
mod tokens;
mod trouble;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use gateway_core::Clock;
use gateway_core::caller::{Caller, PrincipalKind};
use gateway_core::credential::Credential;
use gateway_core::ids::{ServerId, UserId};
use gateway_core::keys::RootKey;
use gateway_core::reason::Reason;
use gateway_core::server::{Endpoint, Server, UpstreamAuth};
use gateway_store::Store;
use gateway_store::audit::Trail;
use gateway_store::connection::StoredConnection;
use http::HeaderName;
use serde_json::Value;
use tokio::sync::Semaphore;

pub use attempt::{Asked, Connected, Returned, Unfinished};
pub use challenge::Challenge;
pub use client::{CALLBACK_PATH, CLIENT_METADATA_PATH, client_metadata};
pub use renew::Refusing;
pub(crate) use renew::{broken, lacks_scope};
pub use trouble::Trouble;

use crate::ports::{Fetch, Random};
use crate::refresh::Current;
use crate::vault::{Bound, Vault};
use fetch::Fetcher;
use kept::KeptTokens;

/// Renewals that one replica has under way: each holds a connection to the database.
const RENEWALS: usize = 4;
/// Of those, for one server: an issuer that hangs holds up its own server only.
const RENEWALS_PER_SERVER: usize = 2;

/// There is no credential for this caller on this server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unconnected {
    /// Why.
    pub reason: Reason,
    /// For operators.
    pub detail: String,
    /// Where the person connects their account, if that is what is missing.
    pub link: Option<String>,
}

impl From<Trouble> for Unconnected {
    fn from(trouble: Trouble) -> Unconnected {
        Unconnected { reason: trouble.reason, detail: trouble.detail, link: None }
    }
}

/// Signs what others are to believe of callers.
#[async_trait]
pub(crate) trait Sign: Send + Sync + 'static {
    /// A JWT of these claims; `typ` tells what it is. The error says what is missing.
    async fn sign(&self, typ: &str, claims: &Value) -> Result<String, String>;
}

/// What connections are made of.
pub(crate) struct Ground {
    pub(crate) store: Store,
    pub(crate) trail: Trail,
    pub(crate) vault: Vault,
    pub(crate) fetch: Arc<dyn Fetch>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) current: Arc<Current>,
    pub(crate) signer: Arc<dyn Sign>,
    pub(crate) root: RootKey,
    pub(crate) public_url: String,
}

/// Credentials towards upstream servers. One per process.
pub struct Connections {
    store: Store,
    trail: Trail,
    pub(crate) vault: Vault,
    fetcher: Fetcher,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    current: Arc<Current>,
    signer: Arc<dyn Sign>,
    root: RootKey,
    /// Without a slash at the end.
    public_url: String,
    own: own::OwnTokens,
    identities: identity::Identities,
    renewals: Semaphore,
    per_server: Mutex<HashMap<ServerId, Arc<Semaphore>>>,
}

impl Connections {
    pub(crate) fn new(ground: Ground) -> Connections {
        let Ground { store, trail, vault, fetch, clock, random, current, signer, root, public_url } =
            ground;
        Connections {
            store,
            trail,
            vault,
            fetcher: Fetcher::new(fetch),
            clock,
            random,
            current,
            signer,
            root,
            public_url,
            own: own::OwnTokens::default(),
            identities: identity::Identities::default(),
            renewals: Semaphore::new(RENEWALS),
            per_server: Mutex::default(),
        }
    }

    /// What a request of `caller` to `server` carries; `None`: a request on the gateway's own account. Renews a
    /// token that is about to end, which is recorded first.
    pub async fn credential(
        &self,
        caller: Option<&Caller>,
        server: &Server,
    ) -> Result<Credential, Unconnected> {
        match (&server.auth, caller) {
            (UpstreamAuth::None, _) => Ok(Credential::none()),
            (UpstreamAuth::Header { name, value, .. }, _) => {
                let missing = || missing("its source is missing on this replica");
                let value = value.as_ref().ok_or_else(missing)?;
                let name = HeaderName::try_from(name.as_str());
                let name = name.map_err(|_| self::missing("not a header name"))?;
                Ok(Credential::of(vec![(name, value.clone())]))
            }
            (UpstreamAuth::OauthShared(client), _) => Ok(self.shared(server, client).await?),
            (_, None) => Err(missing("the server wants to know who calls")),
            (UpstreamAuth::OauthUser(client), Some(caller)) => {
                self.of_person(caller, server, client).await
            }
            (UpstreamAuth::IdentityForward, Some(caller)) => {
                Ok(self.identity(caller, server).await?)
            }
            (UpstreamAuth::TokenExchange(exchange), Some(caller)) => {
                Ok(self.exchanged(caller, server, exchange).await?)
            }
        }
    }

    /// Whether the caller lacks an account at the server; asks nobody else. For those who are about to ask for
    /// more than a credential.
    pub async fn lacking(&self, caller: &Caller, server: &Server) -> Option<Unconnected> {
        let UpstreamAuth::OauthUser(client) = &server.auth else { return None };
        self.usable(caller, server, client).await.err()
    }

    /// The caller's connection with its tokens, if it works as far as is known here.
    async fn usable(
        &self,
        caller: &Caller,
        server: &Server,
        client: &gateway_core::server::OauthClient,
    ) -> Result<(StoredConnection, KeptTokens), Unconnected> {
        if caller.user.kind == PrincipalKind::Agent {
            return Err(Unconnected {
                reason: Reason::ConnectionRequired,
                detail: "an agent account has no account there: let it act for a person".into(),
                link: None,
            });
        }
        let found =
            self.store.connection(server.id, caller.user.id).await.map_err(Trouble::from)?;
        let Some(found) = found else { return Err(self.connect_first(server, "never connected")) };
        if let Some(why) = renew::broken(&found) {
            return Err(self.connect_first(server, why));
        }
        if client.issuer.as_ref().is_some_and(|issuer| *issuer != found.issuer) {
            return Err(self.connect_first(server, "the server has another issuer now"));
        }
        let tokens = self.open(&found).await?;
        if Endpoint::Http(tokens.url.clone()) != server.endpoint {
            return Err(self.connect_first(server, "the server has another address now"));
        }
        if client.client_id.as_ref().is_some_and(|id| *id != tokens.client.id) {
            return Err(self.connect_first(server, "the gateway is another client there now"));
        }
        Ok((found, tokens))
    }

    fn connect_first(&self, server: &Server, why: &str) -> Unconnected {
        Unconnected {
            reason: Reason::ConnectionRequired,
            detail: why.to_owned(),
            link: Some(self.link(server)),
        }
    }

    /// Where a person connects their account.
    pub fn link(&self, server: &Server) -> String {
        format!("{}/connect/{}", self.public_url, server.slug)
    }

    async fn open(&self, found: &StoredConnection) -> Result<KeptTokens, Trouble> {
        let bound = Bound::Connection(found.user, found.server, &found.issuer);
        let plain = self.vault.open_sealed(bound, &found.sealed).await?;
        serde_json::from_slice(secrecy::ExposeSecret::expose_secret(&plain))
            .map_err(|_| Trouble::metadata("a stored connection is not readable".into()))
    }

    async fn seal(
        &self,
        (user, server, issuer): (UserId, ServerId, &str),
        tokens: &KeptTokens,
    ) -> Result<gateway_store::vault::Sealed, Trouble> {
        let plain = serde_json::to_vec(tokens)
            .map_err(|_| Trouble::metadata("a connection is not writable".into()))?;
        Ok(self.vault.seal(Bound::Connection(user, server, issuer), &plain).await?)
    }

    fn places(&self, server: ServerId) -> Arc<Semaphore> {
        let mut places = self.per_server.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Semaphore::new(RENEWALS_PER_SERVER));
        Arc::clone(places.entry(server).or_insert_with(new))
    }
}

fn missing(detail: &str) -> Unconnected {
    Unconnected { reason: Reason::UpstreamCredentialMissing, detail: detail.to_owned(), link: None }
}
