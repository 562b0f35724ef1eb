//! The trail of what happens with issuers: an intent before anything is asked, an event for what came of it. No secret
//! and no answer of an issuer is in either.

use std::sync::Arc;

use gateway_core::caller::Caller;
use gateway_core::ids::{CallId, EventId};
use gateway_core::reason::Reason;
use gateway_core::record::{ActionType, Event, Intent, Outcome, Subject};
use gateway_core::server::Server;

use super::Connections;
use super::trouble::Trouble;
use crate::perform::Origin;
use crate::ports::uuid7;

/// An intent that stands in the trail.
pub(super) struct Intended {
    call: CallId,
    subject: Arc<Subject>,
}

impl Connections {
    /// What is done for a caller on a server.
    pub(super) fn subject(&self, caller: &Caller, server: &Server, what: &str) -> Subject {
        let mut subject = self.own_subject(server, what);
        subject.identified(caller);
        subject
    }

    /// The same in a browser.
    pub(super) fn browser_subject(
        &self,
        caller: &Caller,
        origin: &Origin,
        server: &Server,
        what: &str,
    ) -> Subject {
        Subject {
            client_ip: Some(origin.client_ip.to_string()),
            client_name: origin.client_name.clone(),
            ..self.subject(caller, server, what)
        }
    }

    /// What the gateway does on its own account.
    pub(super) fn own_subject(&self, server: &Server, what: &str) -> Subject {
        Subject {
            server_id: Some(server.id),
            server_slug: Some(server.slug.to_string()),
            method: Some(what.to_owned()),
            resource_type: Some("connection"),
            resource_name: Some(server.id.to_string()),
            ..Subject::default()
        }
    }

    /// No record, no request.
    pub(super) async fn intend(&self, subject: Subject) -> Result<Intended, Trouble> {
        let now = self.clock.now();
        let call = CallId(uuid7(now, &*self.random));
        let subject = Arc::new(subject);
        let intent = Intent {
            id: call,
            at: now,
            subject: Arc::clone(&subject),
            arguments: None,
            request_bytes: 0,
        };
        match self.trail.record(intent).await {
            Ok(_durable) => Ok(Intended { call, subject }),
            Err(error) => Err(Trouble::new(Reason::AuditUnavailable, error.to_string())),
        }
    }

    pub(super) fn conclude(
        &self,
        intended: Intended,
        action: ActionType,
        trouble: Option<&Trouble>,
    ) {
        let Intended { call, subject } = intended;
        let now = self.clock.now();
        self.trail.conclude(Event {
            concludes_intent: true,
            reason: trouble.map(|trouble| trouble.reason),
            detail: trouble.map(|trouble| trouble.detail.clone()),
            ..Event::new(
                EventId(uuid7(now, &*self.random)),
                now,
                call,
                subject,
                action,
                if trouble.is_some() { Outcome::Error } else { Outcome::Ok },
            )
        });
    }
}
