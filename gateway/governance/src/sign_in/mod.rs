//! People sign in: with a provider, a password or a one-time link, and their browser stays signed in.
//!
//! It knows nothing of HTTP framing or pages; time and randomness are what it is given. [`browser`] keeps who is
//! signed in where; [`local`] is the built-in sign-in with [`password`]s, held back by [`throttle`];
//! [`provider`] speaks OpenID Connect, and [`claims`] reads what a provider says of a person; every attempt
//! is recorded by [`record`].

mod browser;
mod claims;
mod local;
mod openid;
pub(crate) mod password;
mod provider;
mod record;
mod throttle;

use std::sync::Arc;

use gateway_core::Clock;
use gateway_core::keys::{Purpose, keyed_hash};
use gateway_core::seal::Sealer;
use gateway_store::audit::Trail;
use gateway_store::{Store, StoreError};

use crate::ports::{Fetch, Random};
use crate::refresh::Current;
use crate::settings::{GovernanceSettings, Provider};
use openid::Known;
use password::Passwords;
use throttle::Throttle;

pub use browser::{Opened, SESSION_LIFETIME};
pub use local::LINK_LIFETIME;

/// The issuer of browser sessions that the built-in sign-in opened.
pub const LOCAL: &str = "local";

/// Signing people in. Shared; lives as long as the gateway.
pub struct SignIn {
    store: Store,
    current: Arc<Current>,
    trail: Trail,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    fetch: Arc<dyn Fetch>,
    pages: Sealer,
    key: [u8; 32],
    public_url: String,
    local: bool,
    providers: Vec<Known>,
    passwords: Passwords,
    throttle: Throttle,
}

/// Why nobody was signed in. What it says is for whoever tried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSignedIn {
    /// There is no such way in.
    #[error("This way to sign in is not available here.")]
    NoSuchWay,
    /// The address or the password is wrong, or there is no such person: nobody learns which.
    #[error("That address and password do not belong together.")]
    Wrong,
    /// The link is used, too old, or none of ours.
    #[error("This link was used already, or it is too old. Ask for another one.")]
    LinkOver,
    /// Too many attempts failed.
    #[error("Too many attempts. Wait ten minutes and try again.")]
    TooMany,
    /// The way to the provider and back took too long, or did not begin in this browser.
    #[error("This sign-in was not begun in this browser, or it took too long. Start again.")]
    Stale,
    /// The provider refused, with its own code for it.
    #[error("{name} did not sign you in ({code}).")]
    Refused {
        /// The provider.
        name: String,
        /// Its `error`.
        code: String,
    },
    /// The provider could not be asked, or its answer is not to be trusted; the details are in the log.
    #[error("{0} cannot sign people in at the moment. Try again, or tell your administrator.")]
    Provider(String),
    /// The provider knows the person, and the gateway does not.
    #[error("{0} knows you, but you have no account here. Ask your administrator for one.")]
    NoAccount(String),
    /// The database is away.
    #[error("Nobody can be signed in at the moment. Try again later.")]
    Unavailable,
}

impl From<StoreError> for NotSignedIn {
    fn from(error: StoreError) -> NotSignedIn {
        tracing::error!(%error, "a sign-in failed in the database");
        NotSignedIn::Unavailable
    }
}

impl SignIn {
    pub(crate) fn new(
        (store, current, trail): (Store, Arc<Current>, Trail),
        (clock, random, fetch): (Arc<dyn Clock>, Arc<dyn Random>, Arc<dyn Fetch>),
        settings: &GovernanceSettings,
    ) -> SignIn {
        let root = &settings.root_key;
        let known = |provider: &Provider| Known::new(provider.clone(), settings);
        SignIn {
            store,
            current,
            trail,
            clock,
            random,
            fetch,
            pages: Sealer::new(&root.derive(Purpose::Page)),
            key: root.derive(Purpose::Browser),
            public_url: settings.public_url.as_str().trim_end_matches('/').to_owned(),
            local: settings.sign_in.local,
            providers: settings.sign_in.providers.iter().map(known).collect(),
            passwords: Passwords::new(),
            throttle: Throttle::new(),
        }
    }

    /// Whether people sign in by passwords and links of ours.
    pub fn is_local(&self) -> bool {
        self.local
    }

    /// The names of the providers with which people sign in.
    pub fn providers(&self) -> impl Iterator<Item = &str> {
        self.providers.iter().map(|known| known.provider.name.as_str())
    }

    /// A keyed hash of `value`, another one for every use.
    pub fn hash(&self, of: &str, value: &str) -> [u8; 32] {
        keyed_hash(&self.key, format!("{of}\0{value}").as_bytes())
    }

    /// Seals what a page carries to the next one; it opens only for the same `context`.
    pub fn seal(&self, context: &[u8], plain: &[u8]) -> String {
        let mut nonce = [0; 12];
        self.random.fill(&mut nonce);
        self.pages.seal(nonce, context, plain)
    }

    /// What was sealed for `context`.
    pub fn open(&self, context: &[u8], sealed: &str) -> Option<Vec<u8>> {
        self.pages.open(context, sealed).ok()
    }
}
