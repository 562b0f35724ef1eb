//! Access tokens of our own authorization server: checked with the snapshot's keys, without a fetch.
//!
//! As strict as [`super::jwt`] is with others', and stricter: the type must be `at+jwt`, the key one of ours,
//! every claim that we write there. Then the snapshot decides: is the session alive, the person active, the
//! agent enabled and allowed to act for them where the request goes.

use std::sync::Arc;

use gateway_core::Timestamp;
use gateway_core::caller::{AuthMethod, Caller, PrincipalKind};
use gateway_core::ids::{SessionId, UserId};
use gateway_core::json::{Json, Kind};
use gateway_core::reason::Reason;
use jsonwebtoken::Algorithm;
use moka::sync::Cache;
use ring::signature::{ED25519, UnparsedPublicKey};

use super::{REMEMBERED_TOKENS, Unidentified, jwt, token_hash};
use crate::oauth::audience::{Addresses, Audience, Place};
use crate::oauth::scope;
use crate::settings::{GovernanceSettings, Issuer};
use crate::snapshot::Snapshot;

/// What RFC 9068 demands besides, and what we add.
const CLAIMS: [&str; 5] = ["iat", "jti", "client_id", "scope", "sid"];

/// What a token of ours says. That it may be used here and now is another question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Own {
    kid: String,
    expires_at: Timestamp,
    audience: Audience,
    subject: UserId,
    actor: Option<UserId>,
    scope: String,
    pub(crate) session: SessionId,
    pub(crate) client_id: String,
}

impl Own {
    /// The principal.
    pub(crate) fn subject(&self) -> UserId {
        self.subject
    }

    /// Who acts on its behalf.
    pub(crate) fn actor(&self) -> Option<UserId> {
        self.actor
    }
}

/// Why it could not be read.
#[derive(Debug)]
pub(crate) enum Unreadable {
    /// No key of that id is known here: another replica may just have made it.
    UnknownKey,
    /// It is no good.
    Bad(Unidentified),
}

impl From<Unreadable> for Unidentified {
    fn from(unreadable: Unreadable) -> Unidentified {
        match unreadable {
            Unreadable::UnknownKey => Unidentified::invalid("the token's key is not one of ours"),
            Unreadable::Bad(unidentified) => unidentified,
        }
    }
}

/// Checks tokens of ours.
pub(crate) struct OwnTokens {
    addresses: Addresses,
    issuer: Issuer,
    enabled: bool,
    verified: Cache<[u8; 32], Arc<Own>>,
}

impl OwnTokens {
    pub(crate) fn new(settings: &GovernanceSettings) -> OwnTokens {
        let addresses = Addresses::new(&settings.public_url);
        let mut issuer = Issuer::new(addresses.issuer(), addresses.issuer());
        issuer.required_claims = CLAIMS.map(str::to_owned).to_vec();
        let (enabled, verified) = (settings.oauth.enabled, Cache::new(REMEMBERED_TOKENS));
        OwnTokens { addresses, issuer, enabled, verified }
    }

    /// Whether a token says that it is ours.
    pub(super) fn is_own(&self, token: &str) -> bool {
        self.enabled
            && (self.verified.contains_key(&token_hash(token))
                || jwt::read(token).is_ok_and(|read| read.issuer == self.issuer.issuer))
    }

    /// The claims of a token that is ours and has not expired.
    pub(crate) fn read(
        &self,
        snapshot: &Snapshot,
        token: &str,
        now: Timestamp,
    ) -> Result<Arc<Own>, Unreadable> {
        let hash = token_hash(token);
        let known = |own: &Arc<Own>| public_key(snapshot, &own.kid, now).is_some();
        if let Some(own) = self.verified.get(&hash).filter(known) {
            if now < own.expires_at {
                return Ok(own);
            }
            let gone = Unidentified::new(Reason::CredentialExpired, "the token has expired");
            return Err(Unreadable::Bad(self.about(gone)));
        }
        let own = Arc::new(self.verify(snapshot, token, now)?);
        self.verified.insert(hash, Arc::clone(&own));
        Ok(own)
    }

    fn verify(&self, snapshot: &Snapshot, token: &str, now: Timestamp) -> Result<Own, Unreadable> {
        let bad = |unidentified: Unidentified| Unreadable::Bad(self.about(unidentified));
        let invalid = |why: &str| bad(Unidentified::invalid(why));
        let unverified = jwt::read(token).map_err(|why| invalid(&why))?;
        if unverified.issuer != self.issuer.issuer {
            return Err(invalid("the token's issuer is not this gateway"));
        }
        if unverified.typ.as_deref() != Some("at+jwt") {
            return Err(invalid("\"typ\": expected at+jwt"));
        }
        if unverified.algorithm != Algorithm::EdDSA {
            return Err(invalid("\"alg\": expected EdDSA"));
        }
        let kid = unverified.kid.clone().ok_or_else(|| invalid("\"kid\" is missing"))?;
        let key = public_key(snapshot, &kid, now).ok_or(Unreadable::UnknownKey)?;
        let signature = jwt::decode(unverified.signature, "signature");
        let signature = signature.map_err(|why| invalid(&why))?;
        UnparsedPublicKey::new(&ED25519, key)
            .verify(unverified.signed.as_bytes(), &signature)
            .map_err(|_| invalid("the token's signature does not verify"))?;
        let claims = jwt::check(&unverified, &self.issuer, now).map_err(bad)?;
        let body = jwt::object(unverified.claims(), "claims").map_err(|why| invalid(&why))?;
        let audience = self.addresses.audience(&claims.audience);
        let subject = match &claims.person {
            jwt::Person::Subject(subject) => subject.parse().ok(),
            jwt::Person::Email(_) => None,
        };
        let text = |name: &str| jwt::required_text(body, name).map_err(|why| invalid(&why));
        Ok(Own {
            kid,
            expires_at: claims.expires_at,
            audience: audience.ok_or_else(|| invalid("\"aud\": the token is not for us"))?,
            subject: subject.ok_or_else(|| invalid("\"sub\": expected a principal's id"))?,
            actor: actor(body).map_err(invalid)?,
            scope: text("scope")?,
            session: text("sid")?.parse().map_err(|_| invalid("\"sid\": expected an id"))?,
            client_id: text("client_id")?,
        })
    }

    /// The caller with that token at `resource`.
    pub(super) fn caller(
        &self,
        snapshot: &Snapshot,
        own: &Own,
        resource: &str,
        now: Timestamp,
    ) -> Result<Caller, Unidentified> {
        let refused = |why: &str| Err(Unidentified::invalid(why).about(own.session.to_string()));
        // An address that cannot be one of a server's is that of none.
        let place = self.addresses.place(resource).unwrap_or(Place::Server(String::new()));
        let at = place.server(snapshot);
        if !own.audience.covers(&place, snapshot) {
            return refused("\"aud\": the token is not for this resource");
        }
        if snapshot.is_revoked(own.session) {
            return refused("the token's session was ended");
        }
        let active = |id| snapshot.principal(id).filter(|principal| principal.active);
        let Some(user) = active(own.subject) else {
            return refused("the token is good, but its subject is not active");
        };
        let session = own.session.to_string();
        let mut caller = Caller::new(Arc::clone(user), AuthMethod::OauthToken, session);
        if let Some(actor) = own.actor {
            let agent = snapshot.agent(actor).filter(|agent| agent.active);
            let Some(agent) = agent.filter(|_| user.kind == PrincipalKind::Person) else {
                return refused("the token is good, but its actor is no enabled agent");
            };
            // Where the leave does not reach, there is no such server: that is decided where servers are.
            if !snapshot.delegates(actor, own.subject, now) {
                return refused("the person has not let the agent act for them");
            }
            caller.actor = Some(Arc::clone(agent));
        }
        // Last, and the same whether there is such a server: only a good token learns that it lacks a scope.
        if !scope::covers(&own.scope, at) {
            let why = "\"scope\": the token does not reach this resource";
            return Err(
                Unidentified::new(Reason::InsufficientScope, why).about(own.session.to_string())
            );
        }
        Ok(caller)
    }

    fn about(&self, unidentified: Unidentified) -> Unidentified {
        unidentified.about(self.issuer.issuer.as_str())
    }
}

fn public_key<'s>(snapshot: &'s Snapshot, kid: &str, now: Timestamp) -> Option<&'s [u8]> {
    let named = |key: &&gateway_store::signing_key::StoredSigningKey| {
        key.kid == kid && key.algorithm == "EdDSA" && key.gone_at > now
    };
    snapshot.signing_keys.iter().find(named).map(|key| key.public_key.as_slice())
}

/// RFC 8693, section 4.1: who acts for the subject. One level: agents do not act through agents.
fn actor(claims: Json<'_>) -> Result<Option<UserId>, &'static str> {
    let Some(act) = claims.get("act") else { return Ok(None) };
    let wrong = "\"act\": expected an object with the agent's id as \"sub\"";
    if act.kind() != Kind::Object || act.get("act").is_some() {
        return Err(wrong);
    }
    let subject = act.get("sub").and_then(|sub| sub.as_str()).ok_or(wrong)?;
    subject.parse().map(Some).map_err(|_| wrong)
}
