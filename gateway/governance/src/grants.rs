//! Ends what was granted for a time. Decisions are right without this (the policies look at the time
//! themselves); here the request, its policy, the trail and the person learn of it, once over all replicas.
//!
//! ```text
//! the record, durable -> one transaction: the request ends, its notices are kept, its policy goes
//! ```
//! The record's id is made from the request's, so whoever comes next after a death writes the same one again,
//! which counts once. Whoever edited a grant's policy decides: a later `until` prolongs the grant, an earlier one
//! ends it, and a policy without one stays, which the record says.

use std::sync::Arc;
use std::time::Duration;

use gateway_core::ids::{CallId, EventId, PolicyId};
use gateway_core::record::{ActionType, Event, Outcome, Subject};
use gateway_core::{Clock, Timestamp};
use gateway_store::access_request::{AccessRequest, AccessRequestStatus};
use gateway_store::audit::Trail;
use gateway_store::{Store, StoreError};
use policies::Source;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::notices::Notices;
use crate::refresh::Current;
use crate::snapshot::Snapshot;

/// Longest wait for the records; without them nothing ends.
const RECORDED_WITHIN: Duration = Duration::from_secs(2);

/// The sweeper of grants.
pub(crate) struct Grants {
    pub(crate) store: Store,
    pub(crate) trail: Trail,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) current: Arc<Current>,
    pub(crate) notices: Arc<Notices>,
}

/// How an approved request stands, by its policy.
enum Standing {
    GoesOn,
    /// Somebody moved the policy's end: until then.
    Prolonged(Timestamp),
    /// It is over since then; what is to be said of it.
    Over(Timestamp, String),
}

impl Grants {
    /// Ends what is over until `shutdown`.
    pub(crate) async fn follow(&self, poll: Duration, shutdown: CancellationToken) {
        let mut poll = interval(poll);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = poll.tick() => {}
            }
            if let Err(error) = self.sweep().await {
                tracing::debug!(%error, "grants cannot be ended now");
            }
        }
    }

    /// Ends what is over now.
    pub(crate) async fn sweep(&self) -> Result<(), StoreError> {
        let (now, snapshot) = (self.clock.now(), self.current.snapshot());
        let over = over(&snapshot, now);
        let policies: Vec<PolicyId> = over.iter().map(|(id, _)| *id).collect();
        let due = self.store.due_grants(now, &policies).await?;
        if due.is_empty() {
            return Ok(());
        }
        let mut ended = Vec::new();
        for mut request in due {
            if request.status == AccessRequestStatus::Expired {
                // Only its policy is left, which goes below.
                continue;
            }
            request.status = AccessRequestStatus::Expired;
            match standing(&snapshot, &request, now) {
                Standing::GoesOn => {}
                Standing::Prolonged(until) => self.store.prolong_grant(request.id, until).await?,
                Standing::Over(at, detail) => {
                    self.record(&request, at, detail);
                    ended.push((request.id, self.notices.of_request(&snapshot, &request)));
                }
            }
        }
        if !ended.is_empty() && !self.trail.flush(RECORDED_WITHIN).await {
            tracing::debug!("grants that are over wait for their records");
            return Ok(());
        }
        self.store.end_grants(&ended, &over).await?;
        self.notices.wake();
        Ok(())
    }

    /// Records that the request is over since then: the same record, however often and by whomever it is made.
    pub(crate) fn record(&self, request: &AccessRequest, at: Timestamp, detail: String) {
        let subject = Subject {
            server_id: request.server_id,
            server_slug: Some(request.server.clone()),
            resource_type: Some("access_request"),
            resource_name: Some(request.id.to_string()),
            policy_ids: vec![request.id.to_string()],
            ..Subject::default()
        };
        let id = made_from(request.id.0, at);
        self.trail.conclude(Event {
            detail: Some(detail),
            ..Event::new(
                EventId(id),
                self.clock.now(),
                CallId(id),
                subject,
                ActionType::AccessRequestExpired,
                Outcome::Ok,
            )
        });
    }
}

/// Policies that are over and that no file names.
fn over(snapshot: &Snapshot, now: Timestamp) -> Vec<(PolicyId, i32)> {
    let is_over = |id| snapshot.policy(id).is_some_and(|policy| policy.spec.is_over(now));
    let made_here = snapshot.stored_policies().iter().filter(|policy| policy.source == "api");
    made_here.filter(|policy| is_over(policy.id)).map(|p| (p.id, p.version)).collect()
}

fn standing(snapshot: &Snapshot, request: &AccessRequest, now: Timestamp) -> Standing {
    let granted = request.expires_at.unwrap_or(now);
    let over = |at| Standing::Over(at, format!("access of {} is over", request.principal));
    let Some(policy) = snapshot.policy(PolicyId(request.id.0)) else {
        return if granted <= now { over(granted) } else { Standing::GoesOn };
    };
    match policy.spec.ends_at() {
        Some(until) if until <= now => over(until.min(granted)),
        Some(until) if granted <= now => Standing::Prolonged(until),
        None if granted <= now => Standing::Over(granted, stays(snapshot, request, policy)),
        Some(_) | None => Standing::GoesOn,
    }
}

/// Somebody took the policy's end away: it is a policy like others from now on.
fn stays(snapshot: &Snapshot, request: &AccessRequest, policy: &Source) -> String {
    let stored = snapshot.stored_policy(&policy.id.to_string());
    let by = stored.and_then(|stored| snapshot.user(stored.changed_by?));
    let by = by.map_or("the operator", |user| user.email.as_str());
    let (who, name) = (&request.principal, &policy.spec.name);
    format!(
        "the time of {who} is over, but policy \"{name}\", changed by {by}, has no end and stays"
    )
}

/// The same for the same request and instant, whoever makes it: a UUIDv7 of that instant.
fn made_from(request: Uuid, at: Timestamp) -> Uuid {
    let millis = u64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
    let mut rest = [0; 10];
    rest.copy_from_slice(&request.as_bytes()[6..]);
    uuid::Builder::from_unix_timestamp_millis(millis, &rest).into_uuid()
}
