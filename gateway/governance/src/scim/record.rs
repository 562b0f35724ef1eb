//! What provisioning leaves in the trail: an intent before each change, and what came of it.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use gateway_core::ids::EventId;
use gateway_core::record::{ActionType, Event, Intent, Outcome, Subject};
use serde_json::{Value, json};

use super::Provisioning;
use super::error::ScimError;
use crate::perform::Origin;

/// What a change is about.
pub(super) struct About {
    pub(super) action: ActionType,
    pub(super) kind: &'static str,
    /// The id, or of a new one its name.
    pub(super) name: String,
    pub(super) before: Value,
}

impl Provisioning<'_> {
    /// Records, changes, records; afterwards it counts on this replica. `told` is the new state for the
    /// trail.
    pub(super) async fn change<T>(
        &self,
        origin: &Origin,
        about: About,
        work: impl Future<Output = Result<T, ScimError>>,
        told: impl FnOnce(&T) -> Value,
    ) -> Result<T, ScimError> {
        let started = Instant::now();
        let governance = self.governance;
        let subject = Arc::new(subject(origin, &about));
        let intent = Intent {
            id: origin.call,
            at: governance.clock().now(),
            subject: Arc::clone(&subject),
            arguments: None,
            request_bytes: 0,
        };
        if let Err(error) = governance.trail().record(intent).await {
            tracing::warn!(%error, "provisioning is refused: no record");
            return Err(ScimError::unrecorded());
        }
        let done = work.await;
        let now = governance.clock().now();
        let (outcome, reason, detail, result) = match &done {
            Ok(done) => {
                let change = json!({"before": about.before, "after": told(done)}).to_string();
                (Outcome::Ok, None, None, Some(Bytes::from(change)))
            }
            Err(error) => (Outcome::Error, Some(error.reason), Some(error.detail.clone()), None),
        };
        let took = started.elapsed().as_micros();
        governance.trail().conclude(Event {
            concludes_intent: true,
            reason,
            detail,
            latency_us: Some(u64::try_from(took).unwrap_or(u64::MAX)),
            result,
            ..Event::new(
                EventId(governance.next_id(now)),
                now,
                origin.call,
                subject,
                about.action,
                outcome,
            )
        });
        if done.is_ok()
            && let Err(error) = governance.refresh().await
        {
            tracing::warn!(%error, "a change is committed, but not seen here yet");
        }
        done
    }
}

/// The provisioning system is nobody of the catalogue.
fn subject(origin: &Origin, about: &About) -> Subject {
    Subject {
        auth_method: Some("scim"),
        credential: Some("scim".into()),
        client_name: origin.client_name.clone(),
        client_ip: Some(origin.client_ip.to_string()),
        method: Some("scim".into()),
        resource_type: Some(about.kind),
        resource_name: Some(about.name.clone()),
        ..Subject::default()
    }
}
