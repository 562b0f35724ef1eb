//! Clients: who asks for tokens. Agent accounts are clients of their own kind ([`agent`]). One whose id is a URL
//! describes itself at that URL ([`document`]); another registered before ([`registered`]). Both become a
//! [`Client`], and nothing else here knows the difference. [`signed`] takes what they sign.

pub(crate) mod agent;
pub(crate) mod document;
pub(crate) mod registered;
pub(crate) mod signed;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gateway_core::keys::keyed_hash;

use super::error::OauthError;
use super::form::{self, Form};
use super::{AuthorizationServer, redirect};
use signed::Keys;

/// Longest client id.
const LONGEST_ID: usize = 2048;

/// A client that is known. That it is the one that asks is another question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Its id.
    pub id: String,
    /// Its name, as it says.
    pub name: String,
    /// The host that its id is a URL of: what is proven about it.
    pub host: Option<String>,
    /// Where answers may go.
    pub redirect_uris: Vec<String>,
    /// Whether it gets refresh tokens.
    pub refreshes: bool,
    /// How it proves itself at the token endpoint.
    pub(crate) proof: Proof,
}

/// How a client proves itself at the token endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Proof {
    /// It is public: not at all.
    None,
    /// By a secret, of which this is the keyed hash.
    Secret([u8; 32]),
    /// By assertions signed with one of these keys.
    Keys(Keys),
}

impl Client {
    /// Where this request's answer goes.
    pub(crate) fn redirect<'a>(&'a self, asked: Option<&'a str>) -> Result<&'a str, OauthError> {
        match (asked, self.redirect_uris.as_slice()) {
            (Some(uri), known) if redirect::matches(known, uri) => Ok(uri),
            (Some(_), _) => {
                Err(OauthError::request("redirect_uri: not one that the client registered"))
            }
            (None, [only]) => Ok(only),
            (None, _) => Err(OauthError::request("redirect_uri: missing")),
        }
    }
}

/// How a client that asks for a token presents itself.
pub(crate) struct Presented<'a> {
    pub(crate) id: String,
    pub(crate) secret: Option<String>,
    /// `client_assertion_type` and `client_assertion` (RFC 7523).
    pub(crate) assertion: Option<(&'a str, &'a str)>,
}

/// Reads what the client presents; more than one way at once is an error (RFC 6749, section 2.3).
pub(crate) fn presented<'a>(
    form: &'a Form,
    authorization: Option<&str>,
) -> Result<Presented<'a>, OauthError> {
    let assertion = match (form.get("client_assertion_type"), form.get("client_assertion")) {
        (Some(kind), Some(assertion)) => Some((kind, assertion)),
        (None, None) => None,
        _ => {
            let expected = "client_assertion and client_assertion_type: expected both";
            return Err(OauthError::request(expected));
        }
    };
    let named = form.get("client_id");
    let posted = form.get("client_secret");
    let (id, secret) = match authorization {
        Some(_) if posted.is_some() || assertion.is_some() => {
            return Err(OauthError::request("the client presents itself in two ways"));
        }
        Some(value) => {
            let (id, secret) = basic(value)?;
            if named.is_some_and(|named| named != id) {
                return Err(OauthError::request(
                    "client_id: not the one of the Authorization header",
                ));
            }
            (Some(id), Some(secret))
        }
        None if posted.is_some() && assertion.is_some() => {
            return Err(OauthError::request("the client presents itself in two ways"));
        }
        None => (named.map(str::to_owned), posted.map(str::to_owned)),
    };
    let missing = || OauthError::client("no client_id was sent");
    let id = match (id, assertion) {
        (Some(id), _) => id,
        // The assertion names the client.
        (None, Some(_)) => String::new(),
        (None, None) => return Err(missing()),
    };
    if id.len() > LONGEST_ID {
        return Err(OauthError::client("the client_id is too long"));
    }
    Ok(Presented { id, secret, assertion })
}

fn basic(value: &str) -> Result<(String, String), OauthError> {
    let wrong = || OauthError::client("Authorization: expected Basic and one credential");
    let (scheme, encoded) = value.split_once(' ').ok_or_else(wrong)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(wrong());
    }
    let text = STANDARD.decode(encoded.trim()).map_err(|_| wrong())?;
    let colon = text.iter().position(|byte| *byte == b':').ok_or_else(wrong)?;
    // Both are form-encoded inside (RFC 6749, section 2.3.1).
    let (id, secret) = text.split_at(colon);
    let id = form::decode(id).map_err(|_| wrong())?;
    let secret = form::decode(&secret[1..]).map_err(|_| wrong())?;
    if id.is_empty() || secret.is_empty() { Err(wrong()) } else { Ok((id, secret)) }
}

/// A name fit for people's eyes: no control, formatting or direction characters, not long.
pub(crate) fn tidy_name(name: &str) -> String {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
    };
    let visible: String = name.chars().filter(|c| !hidden(*c)).take(80).collect();
    visible.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl AuthorizationServer {
    /// The client of that id.
    pub(crate) async fn client(&self, id: &str) -> Result<Client, OauthError> {
        if id.is_empty() || id.len() > LONGEST_ID {
            return Err(OauthError::client("no usable client_id was sent"));
        }
        if document::is_url(id) {
            return self.documents.client(id, &*self.fetch, self.clock.now()).await;
        }
        let stored = self.store.oauth_client(id, self.clock.now()).await;
        let stored = stored.map_err(OauthError::store)?;
        let stored = stored.ok_or_else(|| OauthError::client("no such client is registered"))?;
        registered::read(stored)
    }

    /// The client that asks for a token, once it has proven itself in the one way that is its own.
    pub(crate) async fn proven_client(
        &self,
        form: &Form,
        authorization: Option<&str>,
    ) -> Result<Proven, OauthError> {
        let Presented { id, secret, assertion } = presented(form, authorization)?;
        let (id, token) = match assertion {
            Some(assertion) => {
                let (id, token) = signed::named(&id, assertion)?;
                (id, Some(token))
            }
            None => (id, None),
        };
        if secret.is_some() && document::is_url(&id) {
            // Nobody has to be asked about that.
            return Err(OauthError::client("a client with a URL as its id has no secret"));
        }
        let client = self.client(&id).await?;
        match (&client.proof, secret, token) {
            (Proof::None, None, None) => {}
            (Proof::Secret(hash), Some(secret), None) if *hash == self.hash("secret", &secret) => {}
            (Proof::Keys(keys), None, Some(token)) => self.take_assertion(&id, keys, token).await?,
            (Proof::None | Proof::Secret(_), _, _) => {
                let detail = "the client's secret is missing, wrong or not wanted";
                return Err(OauthError::client(detail));
            }
            (Proof::Keys(_), _, _) => {
                return Err(OauthError::client("the client must sign an assertion"));
            }
        }
        if !document::is_url(&client.id) {
            self.keep(&client.id).await;
        }
        Ok(Proven { id: client.id, refreshes: client.refreshes })
    }

    /// A client that is used is not forgotten.
    async fn keep(&self, id: &str) {
        let now = self.clock.now();
        let until = now + self.settings.oauth.unused_client;
        if let Err(error) = self.store.keep_client(id, now, until).await {
            tracing::warn!(%error, "a client's last use could not be noted");
        }
    }

    /// What is stored of a secret value: its keyed hash, a different one for every kind.
    pub(crate) fn hash(&self, kind: &str, value: &str) -> [u8; 32] {
        keyed_hash(&self.hashing, format!("{kind}/{value}").as_bytes())
    }
}

/// A client that asks for a token and is who it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proven {
    pub(crate) id: String,
    pub(crate) refreshes: bool,
}
