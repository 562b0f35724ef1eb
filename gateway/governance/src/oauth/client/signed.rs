//! Assertions signed with a key of the client's own (`private_key_jwt`: RFC 7523, section 2.2), of agent accounts
//! and of clients that publish their keys. Each is good once, for this authorization server, for minutes.

use time::Duration;
use url::Url;

use crate::identity::assertion;
use crate::oauth::AuthorizationServer;
use crate::oauth::error::OauthError;

const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// How far away an assertion's end may be.
const LONGEST: Duration = Duration::minutes(5);

/// Where the keys are that a client signs with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Keys {
    /// A JWK set.
    Inline(String),
    /// At an address of the client's.
    At(Url),
}

/// Of which client an assertion is by its own word, and its text. It must be the one that is `named`, if any.
pub(super) fn named<'a>(
    named: &str,
    (kind, token): (&str, &'a str),
) -> Result<(String, &'a str), OauthError> {
    if kind != JWT_BEARER {
        return Err(OauthError::client("client_assertion_type: not jwt-bearer"));
    }
    let issuer = assertion::claimed_issuer(token)
        .ok_or_else(|| OauthError::client("the client assertion cannot be read"))?;
    if !named.is_empty() && named != issuer {
        return Err(OauthError::client("the client assertion is of another client"));
    }
    Ok((issuer, token))
}

impl AuthorizationServer {
    /// Uses the assertion up: an error unless it proves now, for the first time, that `client` asks.
    pub(super) async fn take_assertion(
        &self,
        client: &str,
        keys: &Keys,
        token: &str,
    ) -> Result<(), OauthError> {
        let now = self.clock.now();
        let said = match keys {
            Keys::Inline(jwks) => assertion::of_client(token, jwks, now),
            Keys::At(url) => self.published_keys.verify((client, url), token, now).await,
        };
        let said = said.map_err(OauthError::client)?;
        if said.issuer != client || said.subject != client {
            return Err(OauthError::client(
                "the assertion's iss and sub: expected the client's id",
            ));
        }
        let own = self.addresses.issuer();
        if said.audience != own && said.audience != format!("{own}/api/v1/oauth/token") {
            return Err(OauthError::client("the client assertion is for somebody else"));
        }
        if said.expires_at > now + LONGEST + Duration::minutes(1) {
            return Err(OauthError::client("the client assertion lives too long"));
        }
        let hash = self.hash("client_assertion", &format!("{client}/{}", said.id));
        match self.store.use_assertion(&hash, said.expires_at).await.map_err(OauthError::store)? {
            true => Ok(()),
            false => Err(OauthError::client("the client assertion was used before")),
        }
    }
}
