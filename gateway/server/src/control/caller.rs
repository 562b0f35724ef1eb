//! Who calls the control plane. A request carries one credential; a bad one is never passed over for a weaker way
//! in, and a refusal says where to sign in (RFC 9728) and leaves a record.

use gateway_core::Timestamp;
use gateway_core::caller::Caller;
use gateway_core::ids::{CallId, EventId};
use gateway_core::reason::Reason;
use gateway_core::record::{ActionType, Event, Outcome, Subject};
use gateway_governance::{Face, Governance, Origin, Presented};
use http::HeaderMap;
use http::header::USER_AGENT;

use crate::edge::credentials;
use crate::exchange::Exchange;
use crate::telemetry;

/// A request on its way to an operation: what a refusal before it would be recorded with.
pub(super) struct Visit {
    pub(super) call: CallId,
    at: Timestamp,
    subject: Subject,
    request_bytes: u64,
}

/// A request that goes no further.
#[derive(Debug)]
pub(super) struct Turned {
    pub(super) reason: Reason,
    pub(super) detail: String,
}

impl Visit {
    /// Begins with the first byte. `address` is the route's template: what was really asked for may hold
    /// a secret that somebody put into the wrong place.
    pub(super) fn new(governance: &Governance, exchange: &Exchange, address: &str) -> Visit {
        let at = governance.clock().now();
        let subject = Subject {
            client_name: exchange.header(USER_AGENT.as_str()).map(|name| cut(name, 200)),
            client_ip: Some(exchange.peer.to_string()),
            method: Some(format!("{} {address}", exchange.method)),
            ..Subject::default()
        };
        let request_bytes = exchange.body.len() as u64;
        Visit { call: CallId(governance.next_id(at)), at, subject, request_bytes }
    }

    /// Verifies the one credential that the request carries, for the resource at `resource`.
    pub(super) async fn identify(
        &mut self,
        governance: &Governance,
        headers: &HeaderMap,
        resource: &str,
    ) -> Result<Caller, Turned> {
        let (api_key_header, authorization) = credentials(headers)
            .map_err(|detail| Turned { reason: Reason::CredentialAmbiguous, detail })?;
        let presented = Presented { api_key_header, authorization, resource };
        match governance.identify(presented).await {
            Ok(caller) => {
                self.subject.identified(&caller);
                Ok(caller)
            }
            Err(unidentified) => {
                self.subject.credential = unidentified.hint;
                Err(Turned { reason: unidentified.reason, detail: unidentified.detail })
            }
        }
    }

    /// Where the request comes from, for the operation that it asks for.
    pub(super) fn origin(&self, exchange: &Exchange, face: Face) -> Origin {
        Origin {
            call: self.call,
            client_ip: exchange.peer,
            client_name: self.subject.client_name.clone(),
            face,
        }
    }

    /// Records that the request went no further.
    pub(super) fn turn_away(self, governance: &Governance, turned: &Turned) {
        let now = governance.clock().now();
        let action = match turned.reason.is_about_the_credential() {
            true => ActionType::AuthFailed,
            false => ActionType::RequestRefused,
        };
        let latency = (now - self.at).whole_microseconds().max(0);
        let source = self.subject.client_ip.clone().unwrap_or_default();
        let identified = self.subject.actor_id.is_some();
        let event = Event {
            reason: Some(turned.reason),
            detail: Some(turned.detail.clone()).filter(|detail| !detail.is_empty()),
            latency_us: u64::try_from(latency).ok(),
            request_bytes: Some(self.request_bytes),
            ..Event::new(
                EventId(governance.next_id(now)),
                now,
                self.call,
                self.subject,
                action,
                Outcome::Denied,
            )
        };
        telemetry::observe(&event);
        match identified {
            true => governance.trail().conclude(event),
            // Anybody can make as many of these as they like.
            false => governance.trail().conclude_flood(&source, event),
        }
    }
}

fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}
