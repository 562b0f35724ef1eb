//! Operations on the built-in sign-in, which only operators perform: passwords and one-time links. What is made is
//! shown once; stored is a hash.

use std::fmt;
use std::sync::Arc;

use gateway_core::caller::User;
use gateway_core::reason::Reason;
use gateway_core::record::ActionType;
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use super::run::Run;
use super::{Change, answer, rfc3339};
use crate::perform::{About, Answer, Planned, Refused};
use crate::sign_in::{LINK_LIFETIME, password};

/// Of `set_local_password`.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetLocalPassword {
    /// Whose password: an e-mail address.
    pub user: String,
    /// The password, 12 to 256 bytes.
    #[serde(deserialize_with = "secret")]
    #[schemars(with = "String")]
    pub password: SecretString,
    /// Must be the boolean true; otherwise nothing changes and the answer shows what would.
    #[serde(default)]
    pub confirm: Option<bool>,
}

impl fmt::Debug for SetLocalPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SetLocalPassword").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Of `create_sign_in_link`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateSignInLink {
    /// Who signs in with it: an e-mail address.
    pub user: String,
    /// Must be the boolean true; otherwise nothing changes and the answer shows what would.
    #[serde(default)]
    pub confirm: Option<bool>,
}

/// A password was set.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct PasswordSet {
    /// Whose.
    pub user: String,
    /// False while `sign_in.local` is off, and nobody can use it.
    pub usable: bool,
}

/// A one-time link.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct SignInLink {
    /// Who signs in with it.
    pub user: String,
    /// The link. It is shown now and never again.
    pub url: String,
    /// RFC 3339.
    pub expires_at: String,
    /// False while `sign_in.local` is off, and nobody can use it.
    pub usable: bool,
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretString, D::Error> {
    String::deserialize(deserializer).map(SecretString::from)
}

impl SetLocalPassword {
    pub(crate) fn plan(self, run: &Run<'_>) -> Result<Planned, Refused> {
        run.authorize(false)?;
        let user = person(run, &self.user)?;
        let length = self.password.expose_secret().len();
        if !(password::SHORTEST..=password::LONGEST).contains(&length) {
            let detail = format!(
                "password: expected {} to {} bytes, found {length}",
                password::SHORTEST,
                password::LONGEST
            );
            return Err(Refused::params(detail));
        }
        Ok(Planned {
            action: ActionType::LocalPasswordSet,
            about: about(&user),
            confirmed: self.confirm == Some(true),
            before: Value::Null,
            after: json!({"user": user.email}),
            change: Change::Password { user, password: self.password },
        })
    }
}

impl CreateSignInLink {
    pub(crate) fn plan(self, run: &Run<'_>) -> Result<Planned, Refused> {
        run.authorize(false)?;
        let user = person(run, &self.user)?;
        Ok(Planned {
            action: ActionType::SignInLinkCreated,
            about: about(&user),
            confirmed: self.confirm == Some(true),
            before: Value::Null,
            after: json!({"user": user.email}),
            change: Change::SignInLink { user },
        })
    }
}

/// Hashes and stores a password.
pub(super) async fn set_password(
    run: &Run<'_>,
    user: &User,
    password: SecretString,
) -> Result<Answer, Refused> {
    let phc = password::phc(&password, run.governance.random())
        .ok_or_else(|| Refused::new(Reason::Internal, "the password cannot be hashed"))?;
    let now = run.governance.clock().now();
    let set = run.governance.store.set_local_password(user.id, &phc, now).await;
    if !set.map_err(Refused::store)? {
        return Err(nobody());
    }
    answer(&PasswordSet { user: user.email.clone(), usable: run.governance.sign_in().is_local() })
}

/// Makes a one-time link.
pub(super) async fn create_link(run: &Run<'_>, user: &User) -> Result<Answer, Refused> {
    let sign_in = run.governance.sign_in();
    let expires_at = rfc3339(run.governance.clock().now() + LINK_LIFETIME);
    let url = sign_in.new_link(user.id).await.map_err(Refused::store)?.ok_or_else(nobody)?;
    let usable = sign_in.is_local();
    answer(&SignInLink { user: user.email.clone(), url, expires_at, usable })
}

fn person(run: &Run<'_>, name: &str) -> Result<Arc<User>, Refused> {
    run.person(name).filter(|user| user.active).ok_or_else(nobody)
}

fn nobody() -> Refused {
    Refused::new(Reason::EntityNotFound, "user: no active user with that e-mail address")
}

fn about(user: &User) -> About {
    About { kind: Some("user"), name: Some(user.email.clone()), server: None }
}
