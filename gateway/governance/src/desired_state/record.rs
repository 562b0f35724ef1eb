//! The audit trail of an apply: an intent before anything changes, an event for each thing that did.

use std::sync::Arc;

use gateway_core::Clock;
use gateway_core::ids::{CallId, EventId};
use gateway_core::reason::Reason;
use gateway_core::record::{ActionType, Event, Intent, Outcome, Subject};
use gateway_store::StoreError;
use gateway_store::audit::Trail;
use gateway_store::desired_state::{Change, ChangeKind, Noun};

use super::ApplyError;
use crate::ports::{Random, uuid7};

/// Writes what an apply does into the trail.
pub struct Recorder<'a> {
    /// Where.
    pub trail: &'a Trail,
    /// When.
    pub clock: &'a dyn Clock,
    /// For ids.
    pub random: &'a dyn Random,
}

/// The intent stands.
pub(super) struct Begun(CallId);

impl Recorder<'_> {
    pub(super) async fn begin(&self, plan: &[Change]) -> Result<Begun, ApplyError> {
        let now = self.clock.now();
        let call = CallId(uuid7(now, self.random));
        let steps: Vec<&Change> =
            plan.iter().filter(|change| change.kind != ChangeKind::Unchanged).collect();
        let intent = Intent {
            id: call,
            at: now,
            subject: Arc::new(subject()),
            arguments: serde_json::to_vec(&steps).ok().map(Into::into),
            request_bytes: 0,
        };
        let recorded = self.trail.record(intent).await.map(drop);
        recorded.map_err(|error| ApplyError::Unrecorded(error.to_string()))?;
        Ok(Begun(call))
    }

    /// The first event concludes the intent, the others stand beside it.
    pub(super) fn conclude(&self, begun: Begun, applied: &Result<Vec<Change>, StoreError>) {
        let Begun(call) = begun;
        match applied {
            Ok(changes) => {
                let actions = changes.iter().filter_map(|change| Some((action(change)?, change)));
                let mut concludes = true;
                for (action, change) in actions {
                    let event = self.event(call, action, change);
                    self.trail.conclude(Event { concludes_intent: concludes, ..event });
                    concludes = false;
                }
                if concludes {
                    // Somebody else did the same in between: nothing was left to change.
                    self.trail.conclude(self.bare(call, Outcome::Ok, None));
                }
            }
            Err(error) => self.trail.conclude(self.bare(call, Outcome::Error, Some(error))),
        }
    }

    fn event(&self, call: CallId, action: ActionType, change: &Change) -> Event {
        let subject = Subject {
            resource_type: Some(change.noun.as_str()),
            resource_name: Some(change.name.clone()),
            ..subject()
        };
        let result = serde_json::to_vec(&change.fields).ok();
        Event {
            subject: Arc::new(subject),
            action,
            result: result.filter(|_| !change.fields.is_empty()).map(Into::into),
            ..self.bare(call, Outcome::Ok, None)
        }
    }

    fn bare(&self, call: CallId, outcome: Outcome, error: Option<&StoreError>) -> Event {
        let now = self.clock.now();
        Event {
            concludes_intent: true,
            reason: error.map(|_| Reason::Internal),
            detail: error.map(ToString::to_string),
            ..Event::new(
                EventId(uuid7(now, self.random)),
                now,
                call,
                subject(),
                ActionType::OperationRead,
                outcome,
            )
        }
    }
}

fn subject() -> Subject {
    let operator = crate::command_line();
    Subject {
        auth_method: Some(operator.auth.as_str()),
        credential: Some(operator.credential.to_string()),
        method: Some("apply".into()),
        ..Subject::default()
    }
}

fn action(change: &Change) -> Option<ActionType> {
    use ChangeKind::{Created, Deleted, Unchanged, Updated};
    Some(match (change.noun, change.kind) {
        (_, Unchanged) => return None,
        (Noun::Group, Created) => ActionType::GroupCreated,
        (Noun::Group, Updated) => ActionType::GroupUpdated,
        (Noun::Group, Deleted) => ActionType::GroupDeleted,
        (Noun::User, Created) => ActionType::UserCreated,
        (Noun::User, Updated) => ActionType::UserUpdated,
        (Noun::User, Deleted) => ActionType::UserDeleted,
        (Noun::Server, Created) => ActionType::ServerCreated,
        (Noun::Server, Updated) => ActionType::ServerUpdated,
        (Noun::Server, Deleted) => ActionType::ServerDeleted,
        (Noun::Policy, Created) => ActionType::PolicyCreated,
        (Noun::Policy, Updated) => ActionType::PolicyUpdated,
        (Noun::Policy, Deleted) => ActionType::PolicyDeleted,
        (Noun::Limit, Created) => ActionType::LimitCreated,
        (Noun::Limit, Updated) => ActionType::LimitUpdated,
        (Noun::Limit, Deleted) => ActionType::LimitDeleted,
        (Noun::Scanners, Created | Updated | Deleted) => ActionType::SecurityScannerSettingsUpdated,
    })
}
