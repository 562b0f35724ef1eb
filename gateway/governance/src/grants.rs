//! Ends what was granted for a time. Decisions are right without this (the policies look at the time
//! themselves); here the request, its policy, the trail and the person learn of it, once over all replicas.

use std::sync::Arc;
use std::time::Duration;

use gateway_core::Clock;
use gateway_core::ids::{CallId, EventId};
use gateway_core::record::{ActionType, Event, Outcome, Subject};
use gateway_store::access_request::AccessRequest;
use gateway_store::audit::Trail;
use gateway_store::{Store, StoreError};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::notices::Notices;
use crate::ports::{Random, uuid7};
use crate::refresh::Current;

/// The sweeper of grants.
pub(crate) struct Grants {
    pub(crate) store: Store,
    pub(crate) trail: Trail,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) current: Arc<Current>,
    pub(crate) notices: Arc<Notices>,
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

    async fn sweep(&self) -> Result<(), StoreError> {
        let ended = self.store.expire_grants(self.clock.now()).await?;
        for request in &ended {
            self.record(request);
            let notices = self.notices.of_request(&self.current.snapshot(), request);
            self.notices.keep(&notices).await;
        }
        Ok(())
    }

    fn record(&self, request: &AccessRequest) {
        let now = self.clock.now();
        let subject = Subject {
            server_id: request.server_id,
            server_slug: Some(request.server.clone()),
            resource_type: Some("access_request"),
            resource_name: Some(request.id.to_string()),
            policy_ids: vec![request.id.to_string()],
            ..Subject::default()
        };
        self.trail.conclude(Event {
            detail: Some(format!("access of {} is over", request.principal)),
            ..Event::new(
                EventId(uuid7(now, &*self.random)),
                now,
                CallId(uuid7(now, &*self.random)),
                subject,
                ActionType::AccessRequestExpired,
                Outcome::Ok,
            )
        });
    }
}
