//! [`Trail`]: what the rest of the gateway sees of the audit trail's writer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gateway_core::ids::CallId;
use gateway_core::record::{Event, Intent};
use tokio::sync::oneshot;

use super::settings::TrailSettings;
use super::shared::{Item, Kind, Queued, Running, Shared, Started};
use super::spooler::spooler;
use super::upkeep::Upkeep;
use super::writer::Writer;
use crate::{Store, StoreError};

/// Why an intent is not durable; the call must not leave.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TrailError {
    /// Not now: Postgres is away, hangs, or cannot keep up.
    #[error("the audit trail cannot be written: {0}")]
    Unavailable(String),
    /// Never: Postgres refuses what the record holds. It is kept in quarantine.
    #[error("the audit record was refused: {0}")]
    Rejected(String),
}

/// Proof that an intent is durable. Only [`Trail::record`] makes it.
#[derive(Debug)]
#[must_use = "a durable intent wants its call made, and an event for what came of it"]
pub struct Durable {
    call: CallId,
}

impl Durable {
    /// The call whose intent it is.
    pub fn call(&self) -> CallId {
        self.call
    }
}

/// How the trail is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrailHealth {
    /// The last attempt to reach Postgres succeeded.
    pub writable: bool,
    /// Rows that wait for the writers.
    pub queued: usize,
    /// Bytes that wait on disk.
    pub spooled_bytes: u64,
    /// The last attempt to write to the disk succeeded, or there was none.
    pub spool_writable: bool,
    /// Calls between their intent and their event.
    pub running: usize,
    /// Events lost for good because queue and disk were full.
    pub lost: u64,
}

/// The audit trail's writers. Cheap to clone.
#[derive(Clone)]
pub struct Trail(Arc<Shared>);

impl Trail {
    /// Starts the writers. Fails when Postgres cannot be reached now.
    pub async fn start(store: &Store, settings: TrailSettings) -> Result<Trail, StoreError> {
        let Started { shared, intents, events, to_disk } =
            Shared::start(store.pool().clone(), settings)?;
        let mut intents = Writer::new(shared.clone(), Kind::Intents, intents);
        let mut events = Writer::new(shared.clone(), Kind::Events, events);
        intents.connect().await.map_err(StoreError::Setup)?;
        events.connect().await.map_err(StoreError::Setup)?;
        let upkeep = Upkeep::new(shared.clone());
        shared.tasks.spawn(intents.run());
        shared.tasks.spawn(events.run());
        shared.tasks.spawn(spooler(shared.clone(), to_disk));
        shared.tasks.spawn(upkeep.run());
        Ok(Trail(shared))
    }

    /// Returns once the intent is committed. An intent whose caller gave up waiting may still land; it is
    /// then closed by an event that says so.
    pub async fn record(&self, intent: Intent) -> Result<Durable, TrailError> {
        let call = intent.id;
        let entry = self.0.intent(intent)?;
        if self.0.gave_up() {
            return Err(TrailError::Unavailable("the database is not available".into()));
        }
        let full = || TrailError::Unavailable("too many records are waiting".into());
        let room = self.0.room(&entry).ok_or_else(full)?;
        let (waiter, mut answer) = oneshot::channel();
        let running = Running::begin(&self.0, call);
        let item = Item::Entry(Queued::roomy(entry, waiter, room));
        self.0.intents.queue.try_send(item).map_err(|_| full())?;
        let told = match tokio::time::timeout(self.0.settings.deadline, &mut answer).await {
            Ok(told) => told.ok(),
            Err(_) => {
                // From here on the writer finds nobody waiting; what it said before counts.
                answer.close();
                answer.try_recv().ok()
            }
        };
        match told {
            Some(Ok(())) => Ok(Durable { call: running.keep() }),
            Some(Err(error)) => Err(error),
            None => Err(TrailError::Unavailable("no answer from the database in time".into())),
        }
    }

    /// Records an intent that nobody waits for (catalogue chatter).
    pub fn record_detached(&self, intent: Intent) {
        let call = intent.id;
        match self.0.intent(intent) {
            Ok(entry) => {
                Running::begin(&self.0, call).keep();
                self.0.enqueue(entry);
            }
            Err(error) => tracing::error!(%call, %error, "an intent could not be recorded"),
        }
    }

    /// Records what happened. Never waits and never fails: what Postgres cannot take now waits on disk.
    pub fn conclude(&self, event: Event) {
        self.0.conclude(event);
    }

    /// Like [`Trail::conclude`], for what a client can cause at will: of many alike from one `source` (an
    /// address, a credential's id) within ten seconds, all but the first few become one row with a count.
    pub fn conclude_flood(&self, source: &str, event: Event) {
        let admitted = self.0.gate().admit(source, event);
        for event in admitted {
            self.0.conclude(event);
        }
    }

    /// Waits until everything that was handed over so far is in the database; false when time is up.
    pub async fn flush(&self, within: Duration) -> bool {
        tokio::time::timeout(within, self.0.flush()).await.is_ok()
    }

    /// Writes what is left, to Postgres or to disk, and ends. Clones can record nothing afterwards.
    pub async fn stop(self) {
        self.flush(self.0.settings.deadline).await;
        self.0.stopping.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    /// How it is doing.
    pub fn health(&self) -> TrailHealth {
        TrailHealth {
            writable: !self.0.is_down(),
            queued: self.0.intents.waiting() + self.0.events.waiting(),
            spooled_bytes: self.0.spool.bytes(),
            spool_writable: self.0.spool.is_writable(),
            running: self.0.running().len(),
            lost: self.0.lost.load(Ordering::Relaxed),
        }
    }
}

impl std::fmt::Debug for Trail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trail").field("replica", &self.0.settings.replica).finish_non_exhaustive()
    }
}
