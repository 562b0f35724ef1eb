//! What the authorization server leaves in the audit trail: every success, every failure, and what floods it
//! with one row for many.

use std::sync::Arc;

use gateway_core::caller::{AuthMethod, User};
use gateway_core::ids::{EventId, SessionId};
use gateway_core::record::{ActionType, Event, Intent, Outcome, Subject};

use super::AuthorizationServer;
use super::error::{ErrorCode, OauthError};
use crate::perform::Origin;
use crate::ports::uuid7;

/// One request's debt to the trail.
#[derive(Debug, Clone)]
pub(crate) struct Note {
    origin: Origin,
    subject: Subject,
}

impl Note {
    /// Of a request for that address.
    pub(crate) fn new(method: &str, origin: &Origin) -> Note {
        let subject = Subject {
            client_name: origin.client_name.clone(),
            client_ip: Some(origin.client_ip.to_string()),
            method: Some(method.to_owned()),
            ..Subject::default()
        };
        Note { origin: origin.clone(), subject }
    }

    /// About that client.
    pub(crate) fn client(mut self, id: &str, name: &str) -> Note {
        self.subject.resource_type = Some("oauth_client");
        self.subject.resource_name = Some(id.chars().take(200).collect());
        if !name.is_empty() {
            self.subject.client_name = Some(name.to_owned());
        }
        self
    }

    /// By that principal, through that agent.
    pub(crate) fn by(mut self, user: &User, actor: Option<&User>) -> Note {
        self.subject.actor_id = Some(user.id);
        self.subject.actor_email = Some(user.email.clone());
        self.subject.actor_kind = Some(user.kind.as_str());
        let is_agent = user.kind == gateway_core::caller::PrincipalKind::Agent;
        let agent = actor.or_else(|| is_agent.then_some(user));
        self.subject.agent_id = agent.map(|agent| agent.id);
        self.subject.agent_name = agent.map(|agent| agent.name.clone());
        self
    }

    /// With that session.
    pub(crate) fn session(mut self, session: SessionId, auth: AuthMethod) -> Note {
        self.subject.auth_method = Some(auth.as_str());
        self.subject.credential = Some(session.to_string());
        self
    }
}

impl AuthorizationServer {
    /// Records that it went well.
    pub(crate) fn succeeded(&self, note: Note, action: ActionType) {
        self.trail.conclude(self.event(note, action, Outcome::Ok, None));
    }

    /// The same for what a client may do as often as it likes: many alike of one session are one row.
    pub(crate) fn succeeded_often(&self, note: Note, action: ActionType) {
        let source = note.subject.credential.clone().unwrap_or_default();
        self.trail.conclude_flood(&source, self.event(note, action, Outcome::Ok, None));
    }

    /// Records that it did not, and gives the error on. What anybody can cause at will is aggregated.
    pub(crate) fn failed(&self, note: Note, error: OauthError) -> OauthError {
        let action = match error.code {
            // A device that waits patiently is no news.
            ErrorCode::AuthorizationPending | ErrorCode::SlowDown => return error,
            ErrorCode::InvalidClient
            | ErrorCode::InvalidGrant
            | ErrorCode::UnauthorizedClient
            | ErrorCode::AccessDenied
            | ErrorCode::ExpiredToken => ActionType::AuthFailed,
            ErrorCode::InvalidRequest
            | ErrorCode::UnsupportedGrantType
            | ErrorCode::UnsupportedResponseType
            | ErrorCode::InvalidScope
            | ErrorCode::InvalidTarget
            | ErrorCode::ServerError
            | ErrorCode::TemporarilyUnavailable
            | ErrorCode::TooMuch
            | ErrorCode::InvalidRedirectUri
            | ErrorCode::InvalidClientMetadata
            | ErrorCode::UnsupportedTokenType
            | ErrorCode::RequestNotSupported
            | ErrorCode::RequestUriNotSupported => ActionType::RequestRefused,
        };
        let source = note.origin.client_ip.to_string();
        let event = self.event(note, action, Outcome::Denied, Some(&error));
        self.trail.conclude_flood(&source, event);
        error
    }

    /// Makes sure that what a person decided is on record before it counts; conclude it with
    /// [`AuthorizationServer::concluded`].
    pub(crate) async fn intend(&self, note: &Note) -> Result<(), OauthError> {
        let intent = Intent {
            id: note.origin.call,
            at: self.clock.now(),
            subject: Arc::new(note.subject.clone()),
            arguments: None,
            request_bytes: 0,
        };
        let recorded = self.trail.record(intent).await.map(drop);
        recorded.map_err(|error| {
            let description = "the request could not be recorded; try again later";
            OauthError::new(ErrorCode::TemporarilyUnavailable, description)
                .because(error.to_string())
        })
    }

    /// What came of an intent.
    pub(crate) fn concluded(&self, note: Note, action: ActionType, error: Option<&OauthError>) {
        let outcome = if error.is_some() { Outcome::Error } else { Outcome::Ok };
        let mut event = self.event(note, action, outcome, error);
        event.concludes_intent = true;
        self.trail.conclude(event);
    }

    fn event(
        &self,
        note: Note,
        action: ActionType,
        outcome: Outcome,
        error: Option<&OauthError>,
    ) -> Event {
        let now = self.clock.now();
        let detail = |error: &OauthError| {
            let told = error.detail.as_deref().unwrap_or(&error.description);
            format!("{}: {told}", error.code.as_str())
        };
        Event {
            reason: error.map(|error| error.code.reason()),
            detail: error.map(detail),
            ..Event::new(
                EventId(uuid7(now, &*self.random)),
                now,
                note.origin.call,
                note.subject,
                action,
                outcome,
            )
        }
    }
}
