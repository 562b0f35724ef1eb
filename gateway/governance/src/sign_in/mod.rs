//! People sign in: with a provider, a password or a one-time link, and their browser stays signed in.
//!
//! It knows nothing of HTTP framing or pages, and takes time and randomness from the [`SignIn`] it is given.
//! [`browser`] keeps who is signed in where.

mod browser;

use std::sync::Arc;

use gateway_core::Clock;
use gateway_core::keys::{Purpose, RootKey, keyed_hash};
use gateway_core::seal::Sealer;
use gateway_store::Store;

use crate::ports::Random;
use crate::refresh::Current;

pub use browser::{Opened, SESSION_LIFETIME};

/// Signing people in. Shared; lives as long as the gateway.
pub struct SignIn {
    pub(super) store: Store,
    pub(super) current: Arc<Current>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) random: Arc<dyn Random>,
    pages: Sealer,
    key: [u8; 32],
}

impl SignIn {
    pub(crate) fn new(
        (store, current): (Store, Arc<Current>),
        (clock, random): (Arc<dyn Clock>, Arc<dyn Random>),
        root: &RootKey,
    ) -> SignIn {
        SignIn {
            store,
            current,
            clock,
            random,
            pages: Sealer::new(&root.derive(Purpose::Page)),
            key: root.derive(Purpose::Browser),
        }
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
