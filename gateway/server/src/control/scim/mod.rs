//! SCIM 2.0 over HTTP (RFC 7644) for the organisation's provisioning system, which has a token of its own. Without
//! one in the configuration there is nothing at these addresses. Reads and encodes; what is done is
//! governance's.

mod documents;
pub mod routes;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use gateway_core::reason::Reason;
use gateway_governance::scim::{Ask, Kind, Provisioning, Query, ScimError};
use gateway_governance::{Face, Governance, Origin};
use http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::Value;
use uuid::Uuid;

use super::caller::{Turned, Visit};
use super::rest::Rest;
use crate::exchange::{Exchange, Reply, empty, json};
use routes::{Does, Found, Route};

/// The provisioning face.
pub struct Scim {
    governance: Arc<Governance>,
    public_url: String,
}

impl Scim {
    /// Over `governance`, as the provisioning system sees it at `public_url`.
    pub fn new(governance: Arc<Governance>, public_url: &str) -> Scim {
        Scim { governance, public_url: public_url.trim_end_matches('/').to_owned() }
    }

    /// Answers a request for an address below `/scim/v2`; `rest` refuses where there is nothing.
    pub async fn handle(&self, exchange: Exchange, rest: &Rest) -> Reply {
        let nothing = |detail: &str| rest.refuse(&exchange, Reason::NotFound, detail.to_owned());
        let Some(provisioning) = self.governance.scim() else {
            return nothing("provisioning is not configured: scim.token");
        };
        let (path, found) = (&exchange.path, routes::find(&exchange.method, &exchange.path));
        let address = match &found {
            Found::Route(route, _) => route.path,
            Found::OtherMethods | Found::Nothing => "/scim/v2/(no address)",
        };
        let visit = Visit::new(&self.governance, &exchange, address);
        if !admitted(&provisioning, &exchange.headers) {
            let detail = "Authorization: expected Bearer and the token in scim.token";
            let reason = Reason::CredentialInvalid;
            visit.turn_away(&self.governance, &Turned { reason, detail: detail.into() });
            return unauthorized();
        }
        match found {
            Found::Route(route, id) => {
                let origin = visit.origin(&exchange, Face::Rest);
                let done = self.perform(&provisioning, &exchange, route, (id, &origin)).await;
                done.unwrap_or_else(|error| refused(&error))
            }
            Found::OtherMethods => {
                let detail = format!("{} is not there for {path}", exchange.method);
                rest.refuse(&exchange, Reason::HttpMethodNotAllowed, detail)
            }
            Found::Nothing => nothing("see /scim/v2/ResourceTypes"),
        }
    }

    async fn perform(
        &self,
        provisioning: &Provisioning<'_>,
        exchange: &Exchange,
        route: &Route,
        (id, origin): (Option<&str>, &Origin),
    ) -> Result<Reply, ScimError> {
        let (kind, ask) = match route.does {
            Does::Document(document) => {
                let document = documents::of(document, &self.public_url, id);
                let document = document.ok_or_else(ScimError::absent)?;
                return Ok(resource(StatusCode::OK, &document));
            }
            Does::Resource(kind, verb) => (kind, verb.ask(read_id(id)?)),
        };
        let parameters = exchange.query.as_deref().unwrap_or_default();
        let parameters: Vec<(String, String)> =
            url::form_urlencoded::parse(parameters.as_bytes()).into_owned().collect();
        let query = Query::read(parameters.iter().map(|(n, v)| (n.as_str(), v.as_str())))?;
        let body = match ask {
            Ask::Create | Ask::Replace(_) | Ask::Patch(_) => Some(body(exchange)?),
            Ask::List | Ask::Get(_) | Ask::Delete(_) => None,
        };
        let done = provisioning.perform(origin, kind, ask, &query, body.as_ref()).await?;
        Ok(answered(kind, ask, done.as_ref()))
    }
}

fn answered(_kind: Kind, ask: Ask, done: Option<&Value>) -> Reply {
    let Some(value) = done else { return empty(StatusCode::NO_CONTENT) };
    if ask != Ask::Create {
        return resource(StatusCode::OK, value);
    }
    let mut reply = resource(StatusCode::CREATED, value);
    let location = value.pointer("/meta/location").and_then(Value::as_str);
    if let Some(Ok(location)) = location.map(HeaderValue::from_str) {
        reply.headers_mut().insert(LOCATION, location);
    }
    reply
}

/// Exactly one bearer token, and the right one.
fn admitted(provisioning: &Provisioning<'_>, headers: &HeaderMap) -> bool {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (all.next(), all.next()) else { return false };
    let credential = value.to_str().ok().and_then(|text| text.split_once(' '));
    credential.is_some_and(|(scheme, token)| {
        scheme.eq_ignore_ascii_case("bearer") && provisioning.admits(token.trim())
    })
}

fn read_id(id: Option<&str>) -> Result<Uuid, ScimError> {
    match id {
        None => Ok(Uuid::nil()),
        Some(id) => Uuid::parse_str(id).map_err(|_| ScimError::absent()),
    }
}

fn body(exchange: &Exchange) -> Result<Value, ScimError> {
    let kind = exchange.header(CONTENT_TYPE.as_str()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if !["application/scim+json", "application/json"].contains(&kind.as_str()) {
        return Err(ScimError::syntax("expected the content type application/scim+json"));
    }
    // Strictly: what could be read in two ways is refused.
    gateway_core::json::Json::parse(&exchange.body)
        .map_err(|error| ScimError::syntax(error.to_string()))?;
    serde_json::from_slice(&exchange.body).map_err(|error| ScimError::syntax(error.to_string()))
}

fn resource(status: StatusCode, value: &Value) -> Reply {
    let mut reply = json(status, value.to_string());
    let kind = HeaderValue::from_static("application/scim+json");
    reply.headers_mut().insert(CONTENT_TYPE, kind);
    reply
}

fn refused(error: &ScimError) -> Reply {
    let status = StatusCode::from_u16(error.status);
    let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut reply = resource(status, &error.json());
    if status == StatusCode::SERVICE_UNAVAILABLE {
        reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("2"));
    }
    reply
}

fn unauthorized() -> Reply {
    let error = serde_json::json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"],
        "status": "401",
        "detail": "expected the provisioning system's bearer token",
    });
    let mut reply = resource(StatusCode::UNAUTHORIZED, &error);
    let challenge = HeaderValue::from_static("Bearer realm=\"scim\"");
    reply.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    reply
}
