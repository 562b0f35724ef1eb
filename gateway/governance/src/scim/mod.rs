//! SCIM 2.0 (RFC 7643, 7644): a provisioning system says who there is and in which groups. It holds a token of
//! its own from the configuration; roles are none of its business.
//!
//! Reads what identity providers really send: operations in any case, booleans as text, attributes that
//! nobody here keeps. It knows nothing of HTTP. Next: [`users`] and [`groups`], over [`patch`] and [`read`].

mod error;
mod groups;
mod patch;
mod read;
mod record;
#[cfg(test)]
mod tests;
mod users;

use gateway_core::keys::Purpose;
use ring::hmac;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use uuid::Uuid;

pub use error::ScimError;
pub use read::Query;

use crate::governance::Governance;
use crate::perform::Origin;

const LIST: &str = "urn:ietf:params:scim:api:messages:2.0:ListResponse";

/// What the provisioning system asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Everything that fits.
    List,
    /// One.
    Get(Uuid),
    /// A new one.
    Create,
    /// Another state of one.
    Replace(Uuid),
    /// Changes of one.
    Patch(Uuid),
    /// No more of one.
    Delete(Uuid),
}

/// The two kinds of things that are provisioned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// People.
    Users,
    /// Groups.
    Groups,
}

impl Kind {
    /// Its place below `/scim/v2/`.
    pub fn path(self) -> &'static str {
        match self {
            Kind::Users => "Users",
            Kind::Groups => "Groups",
        }
    }
}

/// Provisioning, where it is configured.
pub struct Provisioning<'a> {
    governance: &'a Governance,
    token: &'a str,
}

impl Governance {
    /// Provisioning; `None` where no token is configured.
    pub fn scim(&self) -> Option<Provisioning<'_>> {
        let token = self.settings.scim_token.as_ref()?.expose_secret();
        Some(Provisioning { governance: self, token })
    }
}

impl Provisioning<'_> {
    /// Whether the bearer is the provisioning system. Takes as long for every wrong token.
    pub fn admits(&self, bearer: &str) -> bool {
        let key = self.governance.root_key().hash(Purpose::Oauth, b"scim");
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let expected = hmac::sign(&key, self.token.as_bytes());
        hmac::verify(&key, bearer.as_bytes(), expected.as_ref()).is_ok()
    }

    /// Does it. The answer is a resource or a list of them; nothing after a deletion.
    pub async fn perform(
        &self,
        origin: &Origin,
        kind: Kind,
        ask: Ask,
        query: &Query,
        body: Option<&Value>,
    ) -> Result<Option<Value>, ScimError> {
        if !self.governance.is_fresh() {
            return Err(ScimError::unavailable());
        }
        match kind {
            Kind::Users => self.users(origin, ask, query, body).await,
            Kind::Groups => self.groups(origin, ask, query, body).await,
        }
    }

    fn location(&self, kind: Kind, id: impl std::fmt::Display) -> String {
        let base = self.governance.settings.public_url.as_str().trim_end_matches('/');
        format!("{base}/scim/v2/{}/{id}", kind.path())
    }
}

fn list(total: u64, query: &Query, rows: Vec<Value>) -> Value {
    json!({
        "schemas": [LIST],
        "totalResults": total,
        "startIndex": query.start_index,
        "itemsPerPage": rows.len(),
        "Resources": rows,
    })
}
