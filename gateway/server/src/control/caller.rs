//! Who calls the control plane. A request carries one credential; a bad one is never passed over for a weaker way
//! in, and a refusal says where to sign in (RFC 9728) and leaves a record.

use std::sync::Arc;

use gateway_core::Timestamp;
use gateway_core::caller::Caller;
use gateway_core::ids::{CallId, EventId};
use gateway_core::reason::Reason;
use gateway_core::record::{ActionType, Event, Outcome, Subject};
use gateway_governance::{Face, Governance, Origin, Presented};
use http::header::{AUTHORIZATION, USER_AGENT};
use http::{HeaderMap, HeaderName};

use crate::exchange::Exchange;

const API_KEY: HeaderName = HeaderName::from_static("x-runlayer-api-key");

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
        let (api_key_header, authorization) = credentials(headers)?;
        let presented = Presented { api_key_header, authorization, resource };
        match governance.identify(presented).await {
            Ok(caller) => {
                self.subject.actor_id = Some(caller.user.id);
                self.subject.actor_email = Some(caller.user.email.clone());
                self.subject.auth_method = Some(caller.auth.as_str());
                self.subject.credential = Some(caller.credential.to_string());
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
        let action = match turned.reason.status() {
            401 => ActionType::AuthFailed,
            _ => ActionType::RequestRefused,
        };
        let latency = (now - self.at).whole_microseconds().max(0);
        governance.trail().conclude(Event {
            id: EventId(governance.next_id(now)),
            at: now,
            call: self.call,
            concludes_intent: false,
            subject: Arc::new(self.subject),
            action,
            outcome: Outcome::Denied,
            reason: Some(turned.reason),
            detail: Some(turned.detail.clone()).filter(|detail| !detail.is_empty()),
            latency_us: u64::try_from(latency).ok(),
            upstream_us: None,
            request_bytes: Some(self.request_bytes),
            response_bytes: None,
            arguments: None,
            result: None,
            count: 1,
        });
    }
}

type Credentials<'a> = (Option<&'a str>, Option<&'a str>);

/// The API key header and the `Authorization` header; at most one of the two, once.
fn credentials(headers: &HeaderMap) -> Result<Credentials<'_>, Turned> {
    let keys = headers.get_all(API_KEY).iter().count();
    let bearers = headers.get_all(AUTHORIZATION).iter().count();
    if keys + bearers > 1 {
        let detail = format!("{keys} {API_KEY} and {bearers} Authorization headers, expected one");
        return Err(Turned { reason: Reason::CredentialAmbiguous, detail });
    }
    // An unreadable value is a bad credential, not an absent one.
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("\u{fffd}"));
    Ok((text(API_KEY), text(AUTHORIZATION)))
}

fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_credential_at_most() {
        let read = |pairs: &[(&str, &[u8])]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                let name: HeaderName = name.parse().unwrap();
                headers.append(name, http::HeaderValue::from_bytes(value).unwrap());
            }
            credentials(&headers)
                .map(|(key, bearer)| (key.map(str::to_owned), bearer.map(str::to_owned)))
                .map_err(|turned| turned.reason)
        };
        let ambiguous = Err(Reason::CredentialAmbiguous);
        assert_eq!(read(&[]), Ok((None, None)));
        assert_eq!(read(&[("x-runlayer-api-key", b"k")]), Ok((Some("k".into()), None)));
        assert_eq!(read(&[("authorization", b"\xff")]), Ok((None, Some("\u{fffd}".into()))));
        assert_eq!(
            read(&[("x-runlayer-api-key", b"k"), ("authorization", b"Bearer b")]),
            ambiguous
        );
        assert_eq!(
            read(&[("authorization", b"Bearer a"), ("authorization", b"Bearer b")]),
            ambiguous
        );
    }
}
