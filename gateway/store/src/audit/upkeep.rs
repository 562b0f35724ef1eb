//! What the trail does by itself, in one task: says that this replica lives, makes days ahead, brings
//! the spool back, sweeps, and lets the flood gate's sums out.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::row::Entry;
use super::shared::{Item, Queued, Shared};
use super::sweep::Sweeper;
use super::trail::TrailError;
use crate::StoreError;

/// Most time for one step; the next round tries again.
const STEP: Duration = Duration::from_secs(10);
/// How often days are made ahead.
const DAYS_EVERY: Duration = Duration::from_secs(3600);
/// Spooled entries that are brought back together.
const CHUNK: usize = 400;

/// See the head of this file.
pub(super) struct Upkeep {
    shared: Arc<Shared>,
    sweeper: Sweeper,
    heart: Arc<Heart>,
    days_made: Option<Instant>,
}

/// Tells the others that this replica lives, whatever else takes long.
struct Heart {
    shared: Arc<Shared>,
    /// Since when no beat was missed, and the last one.
    steady: Mutex<Option<(Instant, Instant)>>,
}

impl Upkeep {
    pub(super) fn new(shared: Arc<Shared>) -> Upkeep {
        let sweeper = Sweeper::new(shared.clone());
        let heart = Arc::new(Heart { shared: shared.clone(), steady: Mutex::new(None) });
        Upkeep { shared, sweeper, heart, days_made: None }
    }

    /// Until the trail stops.
    pub(super) async fn run(mut self) {
        let (stopping, heart) = (self.shared.stopping.clone(), self.heart.clone());
        tokio::select! {
            () = heart.beat() => {}
            () = self.rounds() => {}
            () = stopping.cancelled() => {}
        }
    }

    async fn rounds(&mut self) {
        loop {
            self.round().await;
            tokio::select! {
                () = tokio::time::sleep(self.shared.settings.upkeep_every) => {}
                () = self.shared.bell.notified() => {}
            }
        }
    }

    async fn round(&mut self) {
        let due = self.shared.gate().due(self.shared.settings.clock.now());
        for event in due {
            self.shared.conclude(event);
        }
        if self.shared.is_down() {
            return;
        }
        if self.days_made.is_none_or(|made| made.elapsed() >= DAYS_EVERY)
            && step("days ahead", days_ahead(&self.shared)).await.is_some()
        {
            self.days_made = Some(Instant::now());
        }
        // What the disk knows comes first: an outcome there is better than `unknown`.
        if self.replay().await {
            let others = self.heart.is_steady();
            step("sweep", self.sweeper.sweep(others)).await;
        }
    }

    /// Brings back what is on disk; true when nothing is left there.
    async fn replay(&self) -> bool {
        let disk = self.shared.clone();
        let segments = blocking(move || {
            if disk.spool.bytes() > 0 {
                disk.spool.seal();
            }
            disk.spool.segments()
        })
        .await;
        for path in segments.unwrap_or_default() {
            if !self.replay_segment(path).await {
                return false;
            }
        }
        true
    }

    async fn replay_segment(&self, path: PathBuf) -> bool {
        let disk = self.shared.clone();
        let Some(read) = blocking(move || disk.spool.read(&path)).await else { return false };
        // None: another replica writes or replays it.
        let Some(segment) = read else { return true };
        if segment.damaged > 0 {
            tracing::error!(
                lines = segment.damaged,
                "the audit spool has damaged lines; they are kept"
            );
        }
        for chunk in segment.entries.chunks(CHUNK) {
            if !self.bring_back(chunk).await {
                return false;
            }
        }
        tracing::info!(
            entries = segment.entries.len(),
            "spooled audit entries are in the database"
        );
        let disk = self.shared.clone();
        blocking(move || disk.spool.done(segment)).await.is_some()
    }

    /// True once all of it is committed. What was committed before is not written again.
    async fn bring_back(&self, chunk: &[Entry]) -> bool {
        let mut answers = Vec::with_capacity(chunk.len());
        for entry in chunk {
            let (waiter, answer) = oneshot::channel();
            let item = Item::Entry(Queued::new(entry.clone(), Some(waiter)));
            if !self.shared.lane_of(entry).send(item).await {
                return false;
            }
            answers.push(answer);
        }
        let all = async {
            for answer in answers {
                match answer.await {
                    // Refused for good: it is in quarantine.
                    Ok(Ok(()) | Err(TrailError::Rejected(_))) => {}
                    Ok(Err(TrailError::Unavailable(_))) | Err(_) => return false,
                }
            }
            true
        };
        timeout(STEP, all).await.unwrap_or(false)
    }
}

impl Heart {
    async fn beat(&self) {
        loop {
            let alive = step("heartbeat", heartbeat(&self.shared)).await.is_some();
            self.note(alive);
            tokio::time::sleep(self.shared.settings.upkeep_every).await;
        }
    }

    fn note(&self, alive: bool) {
        let (now, dead_after) = (Instant::now(), self.shared.settings.dead_after);
        let mut steady = self.steady.lock().unwrap_or_else(PoisonError::into_inner);
        *steady = match *steady {
            _ if !alive => None,
            Some((since, last)) if now - last < dead_after => Some((since, now)),
            _ => Some((now, now)),
        };
    }

    /// Others had time to say that they live: after an outage of Postgres all of them look dead.
    fn is_steady(&self) -> bool {
        let steady = *self.steady.lock().unwrap_or_else(PoisonError::into_inner);
        let dead_after = self.shared.settings.dead_after;
        steady
            .is_some_and(|(since, last)| last - since >= dead_after && last.elapsed() < dead_after)
    }
}

async fn heartbeat(shared: &Shared) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into audit_replica (replica) values ($1)
         on conflict (replica) do update set seen_at = now()",
        shared.settings.replica,
    )
    .execute(&shared.pool)
    .await?;
    Ok(())
}

async fn days_ahead(shared: &Shared) -> Result<(), StoreError> {
    sqlx::query!("select audit_make_days((now() at time zone 'UTC')::date - 1, 4)")
        .fetch_one(&shared.pool)
        .await?;
    Ok(())
}

/// The result, or a line in the log.
async fn step<T>(tried: &str, work: impl Future<Output = Result<T, StoreError>>) -> Option<T> {
    match timeout(STEP, work).await {
        Ok(Ok(done)) => Some(done),
        Ok(Err(error)) => {
            tracing::warn!(%error, "audit upkeep failed: {tried}");
            None
        }
        Err(_) => {
            tracing::warn!("audit upkeep took too long: {tried}");
            None
        }
    }
}

/// Work on the disk, off the async threads; `None` and a line in the log when it fails.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Option<T> {
    let done = tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| Err(io::Error::other(e)));
    done.inspect_err(|error| tracing::error!(%error, "the audit spool cannot be read")).ok()
}
