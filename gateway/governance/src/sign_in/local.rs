//! The built-in sign-in: passwords and one-time links, for machines without an identity provider. Whoever tries
//! learns only that it did not work; the record says why.

use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_core::caller::User;
use gateway_core::ids::UserId;
use gateway_core::reason::Reason;
use gateway_store::StoreError;
use secrecy::{ExposeSecret, SecretString};
use time::Duration;

use super::browser::Opened;
use super::{LOCAL, NotSignedIn, SignIn, password};
use crate::perform::Origin;

/// How long a one-time link works.
pub const LINK_LIFETIME: Duration = Duration::minutes(15);
/// Failed attempts for one account, in five to ten minutes.
const PER_ACCOUNT: u32 = 10;
/// And from one address, behind which many people may be.
const PER_ADDRESS: u32 = 50;
/// The longest e-mail address that is looked at.
const LONGEST_EMAIL: usize = 254;

impl SignIn {
    /// Signs in by password.
    pub async fn by_password(
        &self,
        email: &str,
        password: SecretString,
        origin: &Origin,
    ) -> Result<Opened, NotSignedIn> {
        if !self.local {
            return Err(NotSignedIn::NoSuchWay);
        }
        let email = email.trim().to_lowercase();
        let account = (self.hash("account", &email), PER_ACCOUNT);
        let attempt = [self.address(origin.client_ip), account];
        if !self.throttle.attempt(&attempt, self.clock.now()) {
            self.failed(origin, LOCAL, None, (Reason::Overloaded, "too many attempts"));
            return Err(NotSignedIn::TooMany);
        }
        let person = self.person(&email);
        let right = self.check(person.as_ref(), password).await?;
        let Some(person) = person.filter(|person| right && person.active) else {
            let wrong = (Reason::CredentialInvalid, "unknown, deactivated, or the wrong password");
            self.failed(origin, LOCAL, self.person(&email).as_deref(), wrong);
            return Err(NotSignedIn::Wrong);
        };
        self.throttle.forgive(&attempt);
        self.enter(person.id, LOCAL, origin, "password").await
    }

    /// The same work whoever it is.
    async fn check(
        &self,
        person: Option<&Arc<User>>,
        password: SecretString,
    ) -> Result<bool, NotSignedIn> {
        let id = person.map_or(UserId(uuid::Uuid::nil()), |person| person.id);
        let phc = self.store.local_password(id).await?;
        if password.expose_secret().len() > password::LONGEST {
            return Ok(false);
        }
        let matches = self.passwords.matches(phc, password).await;
        matches.map_err(|_| NotSignedIn::TooMany)
    }

    fn person(&self, email: &str) -> Option<Arc<User>> {
        let looked_at = email.len() <= LONGEST_EMAIL;
        self.current.snapshot().user_by_email(email).filter(|_| looked_at).cloned()
    }

    /// A new one-time link for that person. `None`: there is no such person.
    pub(crate) async fn new_link(&self, user: UserId) -> Result<Option<String>, StoreError> {
        let mut secret = [0; 32];
        self.random.fill(&mut secret);
        let token = URL_SAFE_NO_PAD.encode(secret);
        let now = self.clock.now();
        let times = (now, now + LINK_LIFETIME);
        let made = self.store.create_sign_in_link(&self.hash("link", &token), user, times).await?;
        Ok(made.then(|| format!("{}/sign-in/link?token={token}", self.public_url)))
    }

    /// Whose link that is. Looking does not use it up: programs that preview links do that.
    pub async fn link(&self, token: &str, origin: &Origin) -> Result<Arc<User>, NotSignedIn> {
        if !self.local {
            return Err(NotSignedIn::NoSuchWay);
        }
        let attempt = [self.address(origin.client_ip)];
        if !self.throttle.attempt(&attempt, self.clock.now()) {
            return Err(NotSignedIn::TooMany);
        }
        let hash = self.hash("link", token);
        let user = self.store.sign_in_link(&hash, self.clock.now()).await?;
        let snapshot = self.current.snapshot();
        let user = user.and_then(|user| snapshot.user(user).filter(|user| user.active).cloned());
        if user.is_some() {
            self.throttle.forgive(&attempt);
        }
        user.ok_or(NotSignedIn::LinkOver)
    }

    /// Signs in by a one-time link, once.
    pub async fn by_link(&self, token: &str, origin: &Origin) -> Result<Opened, NotSignedIn> {
        let person = match self.link(token, origin).await {
            Ok(person) => person,
            Err(refused) => {
                let over = (Reason::CredentialInvalid, "the link is over, or none of ours");
                self.failed(origin, LOCAL, None, over);
                return Err(refused);
            }
        };
        let used = self.store.use_sign_in_link(&self.hash("link", token), self.clock.now()).await?;
        if used != Some(person.id) {
            let used = (Reason::CredentialInvalid, "the link was used at the same time");
            self.failed(origin, LOCAL, Some(&person), used);
            return Err(NotSignedIn::LinkOver);
        }
        self.enter(person.id, LOCAL, origin, "one-time link").await
    }

    /// Counts an attempt of `who` at something short that nobody may try out; false: they had their number.
    pub fn guess(&self, at: &str, who: &str) -> bool {
        self.throttle.attempt(&[(self.hash(at, who), PER_ACCOUNT)], self.clock.now())
    }

    /// The attempt was a good one.
    pub fn guessed(&self, at: &str, who: &str) {
        self.throttle.forgive(&[(self.hash(at, who), PER_ACCOUNT)]);
    }

    /// Of IPv6 the network counts: whoever has one address has them all.
    fn address(&self, ip: IpAddr) -> ([u8; 32], u32) {
        let network = match ip.to_canonical() {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => ip.segments()[..4].iter().map(|part| format!("{part:x}:")).collect(),
        };
        (self.hash("address", &network), PER_ADDRESS)
    }
}
