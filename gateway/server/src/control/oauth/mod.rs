//! The authorization server's face: well-known documents, and the endpoints that clients post to. It decodes, calls
//! `Governance::oauth`, and encodes; what people see in a browser is the pages' part.

mod documents;
pub(crate) mod reply;
pub mod routes;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use gateway_core::reason::Reason;
use gateway_governance::oauth::{Form, OauthError, TokenRequest};
use gateway_governance::{Face, Governance};
use http::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::caller::{Turned, Visit};
use super::refusal::sentence;
use crate::exchange::{Exchange, Reply, json};
use routes::{Does, Found, Route};

/// The authorization server's face.
pub struct Oauth {
    governance: Arc<Governance>,
}

impl Oauth {
    /// Over `governance`.
    pub fn new(governance: Arc<Governance>) -> Oauth {
        Oauth { governance }
    }

    /// Answers a request for an address of the authorization server.
    pub async fn handle(&self, exchange: Exchange) -> Reply {
        let open = routes::is_open_to_pages(&exchange.path);
        let reply = self.answer(exchange).await;
        if open { reply::open_to_pages(reply) } else { reply }
    }

    async fn answer(&self, exchange: Exchange) -> Reply {
        if !self.governance.oauth().is_enabled() {
            let detail = "the authorization server is switched off";
            return self.turn_away(&exchange, Reason::NotFound, detail);
        }
        match routes::find(&exchange.method, &exchange.path) {
            Found::Route(route) => self.perform(&exchange, route).await,
            Found::OtherMethod(_) if exchange.method == Method::OPTIONS => reply::preflight(),
            Found::OtherMethod(method) => {
                let detail = format!("this address has {method}");
                let mut reply = self.turn_away(&exchange, Reason::HttpMethodNotAllowed, &detail);
                if let Ok(value) = HeaderValue::try_from(format!("{method}, OPTIONS")) {
                    reply.headers_mut().insert(ALLOW, value);
                }
                reply
            }
            Found::Nothing => self.turn_away(&exchange, Reason::NotFound, ""),
        }
    }

    async fn perform(&self, exchange: &Exchange, route: &Route) -> Reply {
        let server = self.governance.oauth();
        let done = match route.does {
            Does::Metadata => return reply::document(documents::metadata(server).to_string()),
            Does::OpenIdMetadata => return reply::document(documents::openid(server).to_string()),
            Does::Jwks => return reply::document(server.jwks().to_string()),
            Does::Register => self.register(exchange).await,
            Does::Token | Does::Revoke | Does::Device => match self.form(exchange) {
                Ok(form) => self.post(exchange, route.does, &form).await,
                Err(error) => {
                    // What cannot be read has not reached the server that records what it refuses.
                    let visit = Visit::new(&self.governance, exchange, route.path);
                    let detail = error.description.clone();
                    let reason = error.code.reason();
                    visit.turn_away(&self.governance, &Turned { reason, detail });
                    Err(error)
                }
            },
        };
        done.unwrap_or_else(|error| reply::refused(&error))
    }

    async fn register(&self, exchange: &Exchange) -> Result<Reply, OauthError> {
        let visit = Visit::new(&self.governance, exchange, "/api/v1/oauth/register");
        let origin = visit.origin(exchange, Face::Rest);
        let body: &[u8] = match content_type(&exchange.headers) == "application/json" {
            true => &exchange.body,
            // No JSON: refused, and recorded, where the metadata is read.
            false => b"",
        };
        let registered = self.governance.oauth().register(body, &origin).await?;
        Ok(reply::given(StatusCode::CREATED, registered.json()))
    }

    async fn post(
        &self,
        exchange: &Exchange,
        does: Does,
        form: &Form,
    ) -> Result<Reply, OauthError> {
        let server = self.governance.oauth();
        let visit = Visit::new(&self.governance, exchange, &exchange.path);
        let origin = visit.origin(exchange, Face::Rest);
        let authorization = exchange.headers.get(AUTHORIZATION);
        // An unreadable value is a bad credential, not an absent one.
        let authorization = authorization.map(|value| value.to_str().unwrap_or("\u{fffd}"));
        let request = TokenRequest { form, authorization, origin: &origin };
        match does {
            Does::Revoke => {
                server.revoke(request).await?;
                Ok(reply::given(StatusCode::OK, "{}".to_owned()))
            }
            Does::Device => {
                let started = server.start_device(request).await?;
                Ok(reply::given(StatusCode::OK, started.json()))
            }
            Does::Token | Does::Metadata | Does::OpenIdMetadata | Does::Jwks | Does::Register => {
                let given = server.token(request).await?;
                Ok(reply::given(StatusCode::OK, given.json()))
            }
        }
    }

    fn form(&self, exchange: &Exchange) -> Result<Form, OauthError> {
        let wrong = |description: &str| {
            OauthError::new(gateway_governance::oauth::ErrorCode::InvalidRequest, description)
        };
        if exchange.query.as_deref().is_some_and(|query| !query.is_empty()) {
            return Err(wrong("expected the parameters in the body"));
        }
        if exchange.headers.get_all(AUTHORIZATION).iter().count() > 1 {
            return Err(wrong("Authorization: sent twice"));
        }
        if content_type(&exchange.headers) != "application/x-www-form-urlencoded" {
            return Err(wrong("expected the content type application/x-www-form-urlencoded"));
        }
        Form::parse(&exchange.body)
    }

    fn turn_away(&self, exchange: &Exchange, reason: Reason, detail: &str) -> Reply {
        let visit = Visit::new(&self.governance, exchange, "(no address)");
        let status = StatusCode::from_u16(reason.status()).unwrap_or(StatusCode::NOT_FOUND);
        let told = sentence(reason, detail);
        let body = serde_json::json!({
            "detail": told, "reason": reason.as_str(), "correlation_id": visit.call,
        });
        visit.turn_away(&self.governance, &Turned { reason, detail: detail.to_owned() });
        json(status, body.to_string())
    }
}

/// The media type without its parameters, lower case; empty when absent or sent twice.
fn content_type(headers: &HeaderMap) -> String {
    let mut all = headers.get_all(CONTENT_TYPE).iter();
    let (first, second) = (all.next(), all.next());
    let only = first.filter(|_| second.is_none()).and_then(|value| value.to_str().ok());
    let kind = only.unwrap_or_default().split(';').next().unwrap_or_default();
    kind.trim().to_ascii_lowercase()
}
