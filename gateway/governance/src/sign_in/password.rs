//! Passwords: argon2id with OWASP's least cost. Few are worked on at once, for each takes 19 MiB and a core.

use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

use crate::ports::Random;

/// Shorter ones are refused.
pub(crate) const SHORTEST: usize = 12;
/// Longer ones are no passwords.
pub(crate) const LONGEST: usize = 256;
/// How many are worked on at once.
const AT_ONCE: usize = 2;
/// How long one waits for its turn.
const PATIENCE: Duration = Duration::from_secs(10);
/// No password's hash, of the cost of those that we make: what the attempt of an unknown person is compared
/// with, so that it takes as long.
const NOBODYS: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Makes and compares.
pub(super) struct Passwords(Semaphore);

/// Too many are waiting.
#[derive(Debug)]
pub(super) struct Busy;

/// The PHC string of a password, which takes a while. `None` when it cannot be hashed.
pub(crate) fn phc(password: &SecretString, random: &dyn Random) -> Option<String> {
    let mut salt = [0; 16];
    random.fill(&mut salt);
    let hashed =
        Argon2::default().hash_password_with_salt(password.expose_secret().as_bytes(), &salt);
    hashed.ok().map(|phc| phc.to_string())
}

impl Passwords {
    pub(super) fn new() -> Passwords {
        Passwords(Semaphore::new(AT_ONCE))
    }

    /// Whether `password` is the one behind `phc`. Without one it takes as long, and is wrong.
    pub(super) async fn matches(
        &self,
        phc: Option<String>,
        password: SecretString,
    ) -> Result<bool, Busy> {
        let turn = tokio::time::timeout(PATIENCE, self.0.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Err(Busy) };
        let compare = move || {
            let known = phc.is_some();
            let phc = phc.unwrap_or_else(|| NOBODYS.to_owned());
            let password = password.expose_secret().as_bytes();
            Argon2::default().verify_password(password, phc.as_str()).is_ok() && known
        };
        Ok(tokio::task::spawn_blocking(compare).await.unwrap_or(false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::SystemRandom;

    #[tokio::test]
    async fn only_the_password_itself_matches() {
        let passwords = Passwords::new();
        let phc = phc(&"correct horse battery".into(), &SystemRandom::new()).unwrap();
        let cost = |phc: &str| phc.split('$').take(4).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(cost(&phc), cost(NOBODYS), "an unknown person takes as long");
        for (password, matches) in [
            ("correct horse battery", true),
            ("correct horse batter", false),
            ("Correct horse battery", false),
            ("correct horse battery\0", false),
            ("", false),
        ] {
            let found = passwords.matches(Some(phc.clone()), password.into()).await.unwrap();
            assert_eq!(found, matches, "{password:?}");
        }
        assert!(!passwords.matches(None, "correct horse battery".into()).await.unwrap());
        assert!(!passwords.matches(Some("rubbish".into()), "rubbish".into()).await.unwrap());
    }
}
