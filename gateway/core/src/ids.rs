//! Identifiers, one type each, so that a server's id is never taken for a person's.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta] $name:ident),+ $(,)?) => {$(
        #[$doc]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map($name)
            }
        }
    )+};
}

id! {
    /// A person.
    UserId,
    /// An MCP server behind the gateway.
    ServerId,
    /// A policy.
    PolicyId,
    /// A limit on calls.
    LimitId,
    /// An API key (not its secret).
    KeyId,
    /// One exchange with the gateway; UUIDv7, and also the correlation id that a client sees.
    CallId,
    /// A row of the audit trail; UUIDv7.
    EventId,
    /// A request for a human's agreement to one call.
    ConfirmationId,
    /// What a person has agreed to for one OAuth client.
    SessionId,
    /// A person's leave for an agent account to act for them.
    DelegationId,
    /// A person's account at an upstream server.
    ConnectionId,
    /// A request for access; also the id of the policy that an approval makes.
    AccessRequestId,
    /// Something to be told to somebody outside, once.
    NoticeId,
    /// A data key of the vault.
    VaultKeyId,
}

/// A server's short name in URLs and policies: `^[a-z0-9][a-z0-9-]{0,62}$`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Slug(String);

impl Slug {
    /// The slug's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text is not a slug.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a slug: 1 to 63 of a-z, 0-9 and '-', not starting with '-'")]
pub struct NotASlug(String);

impl TryFrom<String> for Slug {
    type Error = NotASlug;
    fn try_from(text: String) -> Result<Self, NotASlug> {
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let fits = (1..=63).contains(&text.len())
            && text.bytes().all(|b| legal(b) || b == b'-')
            && text.bytes().next().is_some_and(legal);
        if fits { Ok(Slug(text)) } else { Err(NotASlug(text)) }
    }
}

impl FromStr for Slug {
    type Err = NotASlug;
    fn from_str(text: &str) -> Result<Self, NotASlug> {
        Slug::try_from(text.to_owned())
    }
}

impl From<Slug> for String {
    fn from(slug: Slug) -> String {
        slug.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs() {
        let long = "a".repeat(63);
        for good in ["a", "tickets", "0-9", long.as_str()] {
            assert!(good.parse::<Slug>().is_ok(), "{good}");
        }
        let too_long = "a".repeat(64);
        for bad in ["", "-a", "A", "a_b", "ä", "a/b", too_long.as_str()] {
            assert!(bad.parse::<Slug>().is_err(), "{bad}");
        }
    }
}
