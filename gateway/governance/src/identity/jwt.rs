//! Reading and checking one JWT, strictly. Nothing here touches the network or a clock.
//!
//! The text is split and decoded by us and read with the strict JSON reader, so that no duplicate key
//! can mean two things; only the signature check is the library's. Algorithms are pinned to three
//! asymmetric ones, header keys (`jwk`, `jku`, `x5u`) and `crit` are refused.
//! Rules: RFC 7519, RFC 8725 (best practice), RFC 9068 (access tokens).

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_core::Timestamp;
use gateway_core::caller::User;
use gateway_core::ids::UserId;
use gateway_core::json::{Json, Kind};
use gateway_core::reason::Reason;
use jsonwebtoken::Algorithm;
use time::Duration;

use super::Unidentified;
use crate::settings::Issuer;
use crate::snapshot::Snapshot;

/// How far an issuer's clock may run ahead of ours. Nothing is granted after `exp`.
pub(super) const LEEWAY: Duration = Duration::seconds(60);

/// Header members that would let a token bring its own key, or that change what is signed.
const FORBIDDEN_HEADERS: [&str; 8] = ["crit", "jwk", "jku", "x5u", "x5c", "b64", "zip", "enc"];
/// Claims that only ID tokens and logout tokens carry: such a token is no key to an API.
const FOREIGN_CLAIMS: [&str; 5] = ["nonce", "at_hash", "c_hash", "s_hash", "events"];

/// A token that is well formed. Nothing about it is proven.
pub(super) struct Unverified<'a> {
    pub(super) algorithm: Algorithm,
    /// Lower case.
    pub(super) typ: Option<String>,
    pub(super) kid: Option<String>,
    pub(super) issuer: String,
    /// What the signature covers.
    pub(super) signed: &'a str,
    /// Base64url, as sent.
    pub(super) signature: &'a str,
    claims: Vec<u8>,
}

impl Unverified<'_> {
    /// The claims, JSON.
    pub(super) fn claims(&self) -> &[u8] {
        &self.claims
    }
}

/// What the claims of a good token say.
#[derive(Debug)]
pub(super) struct Claims {
    pub(super) expires_at: Timestamp,
    pub(super) not_before: Option<Timestamp>,
    /// The one audience that it names.
    pub(super) audience: String,
    pub(super) person: Person,
}

/// Whom a token is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Person {
    /// An address that the issuer has verified.
    Email(String),
    /// The subject: a user's id or address.
    Subject(String),
}

impl Person {
    /// The user of that name; active or not.
    pub(super) fn find<'s>(&self, snapshot: &'s Snapshot) -> Option<&'s Arc<User>> {
        match self {
            Person::Email(email) => snapshot.user_by_email(email),
            Person::Subject(subject) => match subject.parse::<UserId>() {
                Ok(id) => snapshot.user(id),
                Err(_) => snapshot.user_by_email(subject),
            },
        }
    }
}

/// The types of access tokens. A token without one is taken for the first.
const ACCESS_TOKENS: [&str; 3] = ["jwt", "at+jwt", "application/at+jwt"];

/// Splits and decodes an access token. The error names what is wrong, never a part of the token.
pub(super) fn read(token: &str) -> Result<Unverified<'_>, String> {
    read_typed(token, &ACCESS_TOKENS)
}

/// The same for a JWT of one of these types, in lower case, or of none.
pub(super) fn read_typed<'a>(token: &'a str, types: &[&str]) -> Result<Unverified<'a>, String> {
    let mut parts = token.split('.');
    let (Some(header), Some(payload), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err("not a JWT: expected three parts".into());
    };
    let header_bytes = decode(header, "header")?;
    let claims = decode(payload, "claims")?;
    if decode(signature, "signature")?.is_empty() {
        return Err("the token is not signed".into());
    }
    let Header { algorithm, typ, kid } = read_header(&header_bytes, types)?;
    let issuer = required_text(object(&claims, "claims")?, "iss")?;
    let signed = &token[..header.len() + 1 + payload.len()];
    Ok(Unverified { algorithm, typ, kid, issuer, signed, signature, claims })
}

/// Checks the claims of a token whose signature has been verified.
pub(super) fn check(
    token: &Unverified<'_>,
    issuer: &Issuer,
    now: Timestamp,
) -> Result<Claims, Unidentified> {
    let invalid = |detail: String| Unidentified::invalid(detail);
    let claims = object(&token.claims, "claims").map_err(invalid)?;
    for foreign in FOREIGN_CLAIMS {
        if claims.get(foreign).is_some() {
            return Err(invalid(format!("\"{foreign}\": this is not an access token")));
        }
    }
    check_use(claims).map_err(invalid)?;
    let audience = only_audience(claims).map_err(invalid)?;
    let subject = required_text(claims, "sub").map_err(invalid)?;
    if let Some(missing) = issuer.required_claims.iter().find(|name| claims.get(name).is_none()) {
        return Err(invalid(format!("\"{missing}\" is missing")));
    }
    let expires_at = instant(claims, "exp")
        .and_then(|exp| exp.ok_or_else(|| "\"exp\" is missing".into()))
        .map_err(invalid)?;
    let not_before = instant(claims, "nbf").map_err(invalid)?;
    let issued_at = instant(claims, "iat").map_err(invalid)?;
    if expires_at <= now {
        return Err(Unidentified::new(Reason::CredentialExpired, "the token has expired"));
    }
    if not_before.is_some_and(|start| start > now + LEEWAY) {
        return Err(invalid("the token is not valid yet".into()));
    }
    if issued_at.is_some_and(|issued| issued > now + LEEWAY) {
        return Err(invalid("the token was issued in the future".into()));
    }
    let person = person(claims, issuer, subject).map_err(invalid)?;
    Ok(Claims { expires_at, not_before, audience, person })
}

pub(super) fn decode(part: &str, what: &str) -> Result<Vec<u8>, String> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| format!("the token's {what} is not base64url"))
}

pub(super) fn object<'a>(bytes: &'a [u8], what: &str) -> Result<Json<'a>, String> {
    let json = Json::parse(bytes).map_err(|e| format!("the token's {what}: {e}"))?;
    if json.kind() == Kind::Object {
        Ok(json)
    } else {
        Err(format!("the token's {what}: expected an object"))
    }
}

struct Header {
    algorithm: Algorithm,
    typ: Option<String>,
    kid: Option<String>,
}

fn read_header(bytes: &[u8], types: &[&str]) -> Result<Header, String> {
    let header = object(bytes, "header")?;
    for forbidden in FORBIDDEN_HEADERS {
        if header.get(forbidden).is_some() {
            return Err(format!("the header \"{forbidden}\" is not accepted"));
        }
    }
    let algorithm = match header.get("alg").and_then(|alg| alg.as_str()).as_deref() {
        Some("EdDSA") => Algorithm::EdDSA,
        Some("ES256") => Algorithm::ES256,
        Some("RS256") => Algorithm::RS256,
        Some(_) | None => return Err("\"alg\": expected EdDSA, ES256 or RS256".into()),
    };
    let typ = text(header, "typ")?.map(|typ| typ.to_ascii_lowercase());
    if typ.as_deref().is_some_and(|typ| !types.contains(&typ)) {
        return Err(format!("\"typ\": expected one of {}", types.join(", ")));
    }
    Ok(Header { algorithm, typ, kid: text(header, "kid")? })
}

/// `token_use` (Cognito) and `typ` (Keycloak) in the claims name what a token is for.
fn check_use(claims: Json<'_>) -> Result<(), String> {
    if text(claims, "token_use")?.is_some_and(|token_use| token_use != "access") {
        return Err("\"token_use\": this is not an access token".into());
    }
    if text(claims, "typ")?.is_some_and(|typ| !["bearer", "at+jwt"].contains(&&*typ.to_lowercase()))
    {
        return Err("\"typ\": this is not an access token".into());
    }
    Ok(())
}

/// The one audience, as a string or the only element of an array: a token that is also good elsewhere could
/// be replayed to us from there.
pub(super) fn only_audience(claims: Json<'_>) -> Result<String, String> {
    let Some(aud) = claims.get("aud") else {
        return Err("\"aud\" is missing".into());
    };
    let named = match aud.kind() {
        Kind::String => aud.as_str(),
        Kind::Array => match aud.elements().collect::<Vec<_>>().as_slice() {
            [only] => only.as_str(),
            [] | [_, ..] => None,
        },
        Kind::Null | Kind::Bool | Kind::Number | Kind::Object => None,
    };
    let named = named.filter(|audience| !audience.is_empty());
    named.map(Cow::into_owned).ok_or_else(|| "\"aud\": expected exactly one audience".into())
}

/// An address counts only when the issuer says that it verified it, or when it stands in a claim that the
/// operator chose; without one the subject counts.
fn person(claims: Json<'_>, issuer: &Issuer, subject: String) -> Result<Person, String> {
    let email = text(claims, &issuer.email_claim)?;
    if issuer.email_claim != "email" {
        let missing = || format!("\"{}\" is missing", issuer.email_claim);
        return email.map(Person::Email).ok_or_else(missing);
    }
    let verified = match claims.get("email_verified") {
        None => None,
        Some(value) => Some(value.as_bool().ok_or("\"email_verified\": expected a boolean")?),
    };
    match (email, verified) {
        (Some(_), Some(false)) => Err("\"email_verified\" is false".into()),
        (Some(email), Some(true)) => Ok(Person::Email(email)),
        (Some(_), None) | (None, _) => Ok(Person::Subject(subject)),
    }
}

pub(super) fn required_text(object: Json<'_>, name: &str) -> Result<String, String> {
    match text(object, name)? {
        Some(text) if !text.is_empty() => Ok(text),
        Some(_) => Err(format!("\"{name}\" is empty")),
        None => Err(format!("\"{name}\" is missing")),
    }
}

pub(super) fn text(object: Json<'_>, name: &str) -> Result<Option<String>, String> {
    match object.get(name) {
        None => Ok(None),
        Some(value) => match value.as_str() {
            Some(text) => Ok(Some(text.into_owned())),
            None => Err(format!("\"{name}\": expected a string")),
        },
    }
}

/// A NumericDate: seconds since 1970 as a JSON number; a fraction is cut off.
pub(super) fn instant(claims: Json<'_>, name: &str) -> Result<Option<Timestamp>, String> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let wrong = || format!("\"{name}\": expected seconds since 1970 as a number");
    let number = value.as_number().ok_or_else(wrong)?;
    let seconds = match number.parse::<i64>() {
        Ok(seconds) => seconds,
        Err(_) => {
            let seconds = number.parse::<f64>().map_err(|_| wrong())?;
            // Beyond 2^53 seconds nothing is a date.
            if !(0.0..9e15).contains(&seconds) {
                return Err(wrong());
            }
            seconds as i64
        }
    };
    Timestamp::from_unix_timestamp(seconds).map(Some).map_err(|_| wrong())
}
