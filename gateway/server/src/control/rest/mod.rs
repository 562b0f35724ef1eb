//! The REST face: an address becomes an operation, its arguments come from path, query and body, and the answer
//! goes out as JSON. It decides nothing: who may do what is decided where the operation is performed.

pub mod openapi;
pub mod routes;

mod input;
mod reply;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use gateway_core::reason::Reason;
use gateway_governance::connections::client_metadata;
use gateway_governance::{Face, Governance};
use http::StatusCode;
use serde_json::Value;

use super::arguments;
use super::caller::{Turned, Visit};
use super::metadata::Metadata;
use crate::exchange::{Exchange, Reply, json};
use crate::telemetry;
use routes::{Document, Does, Found, Route};

/// The REST face and the public documents.
pub struct Rest {
    governance: Arc<Governance>,
    metadata: Metadata,
    openapi: Bytes,
}

impl Rest {
    /// Over `governance`, as clients see it at the metadata's public URL.
    pub fn new(governance: Arc<Governance>, metadata: Metadata) -> Rest {
        let openapi = openapi::document(&metadata.public_url).to_string().into();
        Rest { governance, metadata, openapi }
    }

    /// Answers a request for any address that is not a proxy's.
    pub async fn handle(&self, exchange: Exchange) -> Reply {
        match routes::find(&exchange.method, &exchange.path) {
            Found::Route(route, parameters) => match route.does {
                Does::Document(document) => self.document(document, &parameters),
                Does::Operation(name) => self.operation(&exchange, name, route, &parameters).await,
            },
            Found::OtherMethods(methods) => {
                let detail = format!("this address has {}", methods.join(", "));
                let mut reply = self.refuse(&exchange, Reason::HttpMethodNotAllowed, detail);
                reply::allow(&mut reply, &methods);
                reply
            }
            Found::Nothing => {
                let detail = "see /api/v1/openapi.json for the addresses".to_owned();
                self.refuse(&exchange, Reason::NotFound, detail)
            }
        }
    }

    /// Refuses and records a request that must not reach any address.
    pub fn refuse(&self, exchange: &Exchange, reason: Reason, detail: String) -> Reply {
        let visit = Visit::new(&self.governance, exchange, "(no address)");
        self.turn_away(visit, Turned { reason, detail })
    }

    fn turn_away(&self, visit: Visit, turned: Turned) -> Reply {
        let reply = reply::refused(turned.reason, &turned.detail, visit.call, &self.metadata);
        visit.turn_away(&self.governance, &turned);
        reply
    }

    fn document(&self, document: Document, parameters: &[(&'static str, &str)]) -> Reply {
        match document {
            Document::OpenApi => json(StatusCode::OK, self.openapi.clone()),
            Document::Client => {
                let document = client_metadata(&self.metadata.public_url);
                json(StatusCode::OK, document.to_string())
            }
            Document::ProtectedResource => {
                json(StatusCode::OK, self.metadata.document("").to_string())
            }
            Document::ProtectedServer => {
                let server = parameters.first().map_or("", |(_, value)| value);
                let path = format!("/api/v1/proxy/{server}/mcp");
                json(StatusCode::OK, self.metadata.document(&path).to_string())
            }
        }
    }

    async fn operation(
        &self,
        exchange: &Exchange,
        name: &'static str,
        route: &Route,
        parameters: &[(&'static str, &str)],
    ) -> Reply {
        let mut visit = Visit::new(&self.governance, exchange, route.path);
        let resource = &self.metadata.public_url;
        let identified = visit.identify(&self.governance, &exchange.headers, resource).await;
        let caller = match identified {
            Ok(caller) => caller,
            Err(turned) => return self.turn_away(visit, turned),
        };
        let operation = match read(exchange, name, route, parameters) {
            Ok(operation) => operation,
            Err(turned) => return self.turn_away(visit, turned),
        };
        let origin = visit.origin(exchange, Face::Rest);
        let performed = self.governance.perform(&caller, &origin, operation).await;
        telemetry::performed(name, origin.face, performed.as_ref().err().map(|e| e.reason));
        match performed {
            Ok(answer) => reply::done(answer),
            Err(refused) => {
                reply::refused(refused.reason, &refused.detail, visit.call, &self.metadata)
            }
        }
    }
}

/// The operation that the request asks for. The method says already that something is to change, so a body
/// need not repeat `confirm`; if it does, its word counts.
fn read(
    exchange: &Exchange,
    name: &'static str,
    route: &Route,
    parameters: &[(&'static str, &str)],
) -> Result<gateway_governance::Operation, Turned> {
    let Some(wanted) = arguments::of(name) else {
        let detail = format!("{name}: no arguments are known for it");
        return Err(Turned { reason: Reason::Internal, detail });
    };
    let mut given = input::read(exchange, parameters, wanted.schema())
        .map_err(|unreadable| Turned { reason: unreadable.reason, detail: unreadable.detail })?;
    if route.method != "GET" && wanted.schema().pointer("/properties/confirm").is_some() {
        let confirm = given.entry("confirm").or_insert(Value::Bool(true));
        if *confirm == Value::Bool(false) {
            let detail = "nothing was changed: confirm is false".to_owned();
            return Err(Turned { reason: Reason::ConfirmMissing, detail });
        }
    }
    wanted
        .read(given)
        .map_err(|misfit| Turned { reason: Reason::InvalidParams, detail: misfit.to_string() })
}
