//! Browsers: an unguessable name for each in a cookie, and who is signed in there. The name changes at
//! sign-in, so that nobody can plant one beforehand; Postgres knows it as a keyed hash.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_core::caller::User;
use gateway_core::ids::{SessionId, UserId};
use gateway_store::StoreError;
use gateway_store::browser_session::StoredBrowserSession;
use time::Duration;

use super::SignIn;

/// How long a browser stays signed in.
pub const SESSION_LIFETIME: Duration = Duration::hours(12);
/// Length of a browser's name: 32 bytes as base64url.
const NAME_LENGTH: usize = 43;
/// What is kept of a browser's description of itself.
const LONGEST_AGENT: usize = 200;

/// A browser that was just signed in.
#[derive(Debug, Clone)]
pub struct Opened {
    /// Its new name, for the cookie.
    pub name: String,
    /// The session.
    pub session: SessionId,
    /// Who is signed in.
    pub user: UserId,
}

impl SignIn {
    /// A name for a browser.
    pub fn new_browser(&self) -> String {
        let mut name = [0; 32];
        self.random.fill(&mut name);
        URL_SAFE_NO_PAD.encode(name)
    }

    /// Whether that may be a name of ours at all.
    pub fn is_browser(name: &str) -> bool {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        name.len() == NAME_LENGTH && name.bytes().all(legal)
    }

    /// Who is signed in, and in which session; `None` also when the person is deactivated.
    pub async fn signed_in(
        &self,
        name: &str,
    ) -> Result<Option<(Arc<User>, StoredBrowserSession)>, StoreError> {
        if !Self::is_browser(name) {
            return Ok(None);
        }
        let hash = self.hash("session", name);
        let Some(found) = self.store.browser_session(&hash, self.clock.now()).await? else {
            return Ok(None);
        };
        let snapshot = match self.current.snapshot() {
            known if known.user(found.user).is_some() => known,
            // Somebody who came by this very sign-in.
            _ => self.current.refresh().await.unwrap_or_else(|_| self.current.snapshot()),
        };
        let user = snapshot.user(found.user).filter(|user| user.active);
        Ok(user.map(|user| (Arc::clone(user), found)))
    }

    /// Signs `user` in under a new name. `None`: they are not active.
    pub(super) async fn open_session(
        &self,
        user: UserId,
        issuer: &str,
        user_agent: &str,
    ) -> Result<Option<Opened>, StoreError> {
        let name = self.new_browser();
        let now = self.clock.now();
        let session = StoredBrowserSession {
            id: SessionId(crate::ports::uuid7(now, &*self.random)),
            hash: self.hash("session", &name),
            user,
            issuer: issuer.to_owned(),
            user_agent: user_agent.chars().filter(|c| *c != '\0').take(LONGEST_AGENT).collect(),
            created_at: now,
            expires_at: now + SESSION_LIFETIME,
        };
        let opened = self.store.open_browser_session(&session).await?;
        Ok(opened.then_some(Opened { name, session: session.id, user }))
    }
}
