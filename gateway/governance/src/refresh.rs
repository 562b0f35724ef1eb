//! Keeping the snapshot current: told by notices of the store, checked by polling, refused when old.
//!
//! ```text
//! another replica commits -> NOTIFY -> refresh          (milliseconds)
//! a policy is over        -> timer -> compiled anew     (nothing in Postgres has changed)
//! the channel is cut      -> poll finds a new version   (settings.poll, 1 s)
//! Postgres is gone        -> the old snapshot serves until settings.max_age, then all is refused
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arc_swap::ArcSwap;
use gateway_core::ids::ConfirmationId;
use gateway_core::{Clock, Timestamp};
use gateway_store::notify::Notice;
use gateway_store::{Store, StoreError};
use tokio::sync::{Mutex, broadcast};
use tokio_util::sync::CancellationToken;

use crate::settings::GovernanceSettings;
use crate::snapshot::{Snapshot, SnapshotError};

/// Confirmation notices that a slow waiter may lag behind; it polls as well.
const NOTICES_HELD: usize = 1024;

/// The snapshot could not be made current.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// Postgres could not be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What it holds cannot be decided with.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// Building stopped half-way.
    #[error("building the catalogue snapshot was interrupted")]
    Interrupted,
}

/// Holds the snapshot that is served.
pub(crate) struct Current {
    store: Store,
    clock: Arc<dyn Clock>,
    max_age_us: i64,
    snapshot: ArcSwap<Snapshot>,
    // Microseconds since 1970 of the last time when Postgres confirmed the snapshot's version.
    confirmed_us: AtomicI64,
    // Held across a load on purpose: loads run one after the other, so that an older one never wins.
    loading: Mutex<()>,
    settled: broadcast::Sender<ConfirmationId>,
}

impl Current {
    /// Loads the first snapshot.
    pub(crate) async fn start(
        store: Store,
        clock: Arc<dyn Clock>,
        settings: &GovernanceSettings,
    ) -> Result<Current, RefreshError> {
        let asked_at = clock.now();
        let catalogue = store.load_catalogue().await?;
        let snapshot = build(catalogue, None, asked_at).await?;
        Ok(Current {
            store,
            clock,
            max_age_us: i64::try_from(settings.max_age.as_micros()).unwrap_or(i64::MAX),
            snapshot: ArcSwap::from_pointee(snapshot),
            confirmed_us: AtomicI64::new(micros(asked_at)),
            loading: Mutex::const_new(()),
            settled: broadcast::Sender::new(NOTICES_HELD),
        })
    }

    /// The snapshot as it is.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Whether the snapshot may still be decided with.
    pub(crate) fn is_fresh(&self) -> bool {
        let age = micros(self.clock.now()) - self.confirmed_us.load(Ordering::Acquire);
        age < self.max_age_us
    }

    /// Ids of confirmations that something happened to, on any replica.
    pub(crate) fn settled(&self) -> broadcast::Receiver<ConfirmationId> {
        self.settled.subscribe()
    }

    /// Makes the snapshot what Postgres holds now.
    pub(crate) async fn refresh(&self) -> Result<Arc<Snapshot>, RefreshError> {
        self.reload(false).await
    }

    /// The same, also when only an upstream secret outside Postgres changed.
    pub(crate) async fn refresh_secrets(&self) -> Result<Arc<Snapshot>, RefreshError> {
        let served = self.snapshot();
        let changed = tokio::task::spawn_blocking(move || served.secrets_changed()).await;
        self.reload(changed.unwrap_or(true)).await
    }

    async fn reload(&self, anyway: bool) -> Result<Arc<Snapshot>, RefreshError> {
        let _loading = self.loading.lock().await;
        let served = self.snapshot();
        // Before the question: a change that commits while it runs is not vouched for.
        let asked_at = self.clock.now();
        let version = self.store.catalogue_version().await?;
        if version != served.version || anyway || served.is_over(asked_at) {
            let catalogue = self.store.load_catalogue().await?;
            let fresh = build(catalogue, Some(served), asked_at).await?;
            tracing::debug!(version = fresh.version, "catalogue snapshot replaced");
            self.snapshot.store(Arc::new(fresh));
        }
        self.confirmed_us.fetch_max(micros(asked_at), Ordering::AcqRel);
        Ok(self.snapshot())
    }

    /// Waits until a policy of the snapshot is over; by the clock, at least `least`, if that has passed.
    async fn until_over(&self, least: std::time::Duration) {
        let Some(end) = self.snapshot.load().ends_at else { return std::future::pending().await };
        // Not before the clock says so, and not at once again while Postgres is away.
        let left = (end - self.clock.now()).max(time::Duration::ZERO);
        let left = left.try_into().unwrap_or(least);
        tokio::time::sleep(if left.is_zero() { least } else { left }).await;
    }

    /// Keeps it current until `shutdown`.
    pub(crate) async fn follow(&self, settings: &GovernanceSettings, shutdown: CancellationToken) {
        let mut notices = self.store.listen();
        let mut poll = tokio::time::interval(settings.poll);
        let mut secrets = tokio::time::interval(settings.refresh);
        for ticker in [&mut poll, &mut secrets] {
            ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        }
        let mut listening = true;
        let mut failing = false;
        loop {
            let over = self.until_over(settings.poll);
            let done = tokio::select! {
                () = shutdown.cancelled() => return,
                () = over => self.refresh().await,
                notice = notices.next(), if listening => match notice {
                    Notice::Catalogue(version) if version == self.snapshot.load().version => continue,
                    Notice::Catalogue(_) | Notice::Restored => self.refresh().await,
                    Notice::Confirmation(id) => {
                        // Nobody waiting is no error.
                        let _ = self.settled.send(id);
                        continue;
                    }
                    Notice::Cut => continue,
                    Notice::Closed => {
                        listening = false;
                        continue;
                    }
                },
                _ = poll.tick() => self.refresh().await,
                _ = secrets.tick() => self.refresh_secrets().await,
            };
            report(done.err(), &mut failing);
        }
    }
}

/// Says once that refreshing fails, and once that it works again.
fn report(error: Option<RefreshError>, failing: &mut bool) {
    match error {
        Some(error) if !*failing => {
            *failing = true;
            tracing::error!(%error, "the catalogue snapshot cannot be refreshed");
        }
        None if *failing => {
            *failing = false;
            tracing::info!("the catalogue snapshot is current again");
        }
        Some(_) | None => {}
    }
}

async fn build(
    catalogue: gateway_store::catalogue::Catalogue,
    previous: Option<Arc<Snapshot>>,
    now: Timestamp,
) -> Result<Snapshot, RefreshError> {
    let build = move || Snapshot::build(catalogue, previous.as_deref(), now);
    match tokio::task::spawn_blocking(build).await {
        Ok(built) => Ok(built?),
        Err(_) => Err(RefreshError::Interrupted),
    }
}

fn micros(at: Timestamp) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1000).unwrap_or(i64::MAX)
}
