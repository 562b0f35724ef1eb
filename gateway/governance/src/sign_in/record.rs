//! Sign-ins in the trail: who came in and how, and who did not. Anybody can make as many failures as they like,
//! so floods of them become one row.

use std::sync::Arc;

use gateway_core::caller::{AuthMethod, Caller, User};
use gateway_core::ids::{EventId, UserId};
use gateway_core::reason::Reason;
use gateway_core::record::{ActionType, Event, Outcome, Subject};

use super::browser::Opened;
use super::{NotSignedIn, SignIn};
use crate::perform::Origin;

impl SignIn {
    /// Opens the session and records it. The snapshot may not know yet who that is.
    pub(super) async fn enter(
        &self,
        user: UserId,
        issuer: &str,
        origin: &Origin,
        how: &str,
    ) -> Result<Opened, NotSignedIn> {
        let agent = origin.client_name.as_deref().unwrap_or_default();
        let opened = self.open_session(user, issuer, agent).await?;
        let Some(opened) = opened else {
            self.failed(origin, issuer, None, (Reason::CredentialInvalid, "deactivated"));
            return Err(NotSignedIn::Wrong);
        };
        if self.current.snapshot().user(user).is_none()
            && let Err(error) = self.current.refresh().await
        {
            tracing::warn!(%error, "somebody new is signed in, but not seen here yet");
        }
        let mut subject = self.subject(origin);
        if let Some(user) = self.current.snapshot().user(user) {
            let session = opened.session.to_string();
            subject.identified(&Caller::new(Arc::clone(user), AuthMethod::Browser, session));
        }
        subject.resource_type = Some("browser_session");
        subject.resource_name = Some(opened.session.to_string());
        let event = self.event(origin, subject, ActionType::AuthSuccess, Outcome::Ok);
        self.trail.conclude(Event { detail: Some(format!("{how}, {issuer}")), ..event });
        Ok(opened)
    }

    /// Records that somebody was not signed in. `person`: as whom they tried, where that is somebody.
    pub(super) fn failed(
        &self,
        origin: &Origin,
        issuer: &str,
        person: Option<&User>,
        (reason, detail): (Reason, &str),
    ) {
        let mut subject = self.subject(origin);
        subject.credential = Some(issuer.to_owned());
        subject.resource_type = person.map(|_| "user");
        subject.resource_name = person.map(|person| person.email.clone());
        let event = self.event(origin, subject, ActionType::AuthFailed, Outcome::Denied);
        let event = Event { reason: Some(reason), detail: Some(detail.to_owned()), ..event };
        self.trail.conclude_flood(&origin.client_ip.to_string(), event);
    }

    /// Records that a sign-in made a person.
    pub(super) fn created(&self, origin: &Origin, issuer: &str, email: &str) {
        let mut subject = self.subject(origin);
        subject.credential = Some(issuer.to_owned());
        subject.resource_type = Some("user");
        subject.resource_name = Some(email.to_owned());
        let event = self.event(origin, subject, ActionType::UserCreated, Outcome::Ok);
        self.trail.conclude(Event { detail: Some(format!("by a sign-in with {issuer}")), ..event });
    }

    fn subject(&self, origin: &Origin) -> Subject {
        Subject {
            client_name: origin.client_name.clone(),
            client_ip: Some(origin.client_ip.to_string()),
            method: Some("sign_in".into()),
            auth_method: Some(AuthMethod::Browser.as_str()),
            ..Subject::default()
        }
    }

    fn event(
        &self,
        origin: &Origin,
        subject: Subject,
        action: ActionType,
        outcome: Outcome,
    ) -> Event {
        let now = self.clock.now();
        Event::new(
            EventId(crate::ports::uuid7(now, &*self.random)),
            now,
            origin.call,
            subject,
            action,
            outcome,
        )
    }
}
