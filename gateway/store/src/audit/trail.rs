//! [`Trail`]: what the rest of the gateway sees of the audit trail's writer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use gateway_core::Timestamp;
use gateway_core::ids::CallId;
use gateway_core::record::{Event, Intent};
use sqlx::PgPool;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::chain::ChainKey;
use super::flood::FloodGate;
use super::payload::Packed;
use super::row::{Entry, EventRow, IntentRow};
use super::settings::TrailSettings;
use super::spool::Spool;
use super::upkeep::Upkeep;
use super::writer::{Writer, spooler};
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
    /// Rows that wait for the writer.
    pub queued: usize,
    /// Bytes that wait on disk.
    pub spooled_bytes: u64,
    /// Calls between their intent and their event.
    pub running: usize,
    /// Events lost for good because queue and disk were full.
    pub lost: u64,
}

/// The audit trail's writer. Cheap to clone.
#[derive(Clone)]
pub struct Trail(Arc<Shared>);

/// What the trail's tasks share.
pub(super) struct Shared {
    pub(super) settings: TrailSettings,
    pub(super) key: ChainKey,
    pub(super) pool: PgPool,
    pub(super) spool: Spool,
    pub(super) queue: mpsc::Sender<Item>,
    /// Entries on their way to the disk.
    pub(super) to_disk: mpsc::Sender<Queued>,
    pub(super) on_the_way: AtomicU64,
    /// Room for what waits in memory, in KiB.
    room: Arc<Semaphore>,
    pub(super) lost: AtomicU64,
    pub(super) running: Mutex<HashMap<Uuid, Timestamp>>,
    pub(super) gate: Mutex<FloodGate>,
    /// Since when Postgres is away.
    pub(super) down: Mutex<Option<Instant>>,
    /// Rings when upkeep is wanted at once.
    pub(super) bell: Notify,
    pub(super) stopping: CancellationToken,
    pub(super) tasks: TaskTracker,
}

/// What waits in the queue.
pub(super) enum Item {
    Entry(Queued),
    Flush(oneshot::Sender<()>),
}

/// One entry, and who waits for it.
pub(super) struct Queued {
    pub(super) entry: Entry,
    pub(super) waiter: Option<Waiter>,
    /// Its room in memory, if it came from outside.
    room: Option<OwnedSemaphorePermit>,
}

/// Who waits for an entry.
pub(super) type Waiter = oneshot::Sender<Result<(), TrailError>>;

impl Queued {
    /// An entry of our own making.
    pub(super) fn new(entry: Entry, waiter: Option<Waiter>) -> Queued {
        Queued { entry, waiter, room: None }
    }

    /// Something else in its place, for the same waiter.
    pub(super) fn replaced(self, entry: Entry) -> Queued {
        Queued { entry, ..self }
    }
}

impl Trail {
    /// Starts the writer. Fails when Postgres cannot be reached now.
    pub async fn start(store: &Store, settings: TrailSettings) -> Result<Trail, StoreError> {
        let (shared, queue, to_disk) = Shared::new(store.pool().clone(), settings)?;
        let mut writer = Writer::new(shared.clone(), queue);
        writer.connect().await.map_err(StoreError::Setup)?;
        let upkeep = Upkeep::new(shared.clone());
        shared.tasks.spawn(writer.run());
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
        let item = Item::Entry(Queued { entry, waiter: Some(waiter), room: Some(room) });
        self.0.queue.try_send(item).map_err(|_| full())?;
        let told = match tokio::time::timeout(self.0.settings.deadline, &mut answer).await {
            Ok(told) => told.ok(),
            Err(_) => {
                // From here on the writer finds nobody waiting; what it said before counts.
                answer.close();
                answer.try_recv().ok()
            }
        };
        match told {
            Some(Ok(())) => Ok(running.durable()),
            Some(Err(error)) => Err(error),
            None => Err(TrailError::Unavailable("no answer from the database in time".into())),
        }
    }

    /// Records an intent that nobody waits for (catalogue chatter).
    pub fn record_detached(&self, intent: Intent) {
        let call = intent.id;
        match self.0.intent(intent) {
            Ok(entry) => {
                let _durable_later = Running::begin(&self.0, call).durable();
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
            writable: self.0.down().is_none(),
            queued: self.0.queue.max_capacity() - self.0.queue.capacity(),
            spooled_bytes: self.0.spool.bytes(),
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

type Started = (Arc<Shared>, mpsc::Receiver<Item>, mpsc::Receiver<Queued>);

impl Shared {
    fn new(pool: PgPool, settings: TrailSettings) -> Result<Started, StoreError> {
        let key = ChainKey::new(&settings.chain_key);
        let dir = &settings.spool_dir;
        let spool = Spool::open(dir, settings.replica, key.clone(), settings.spool_limit)
            .map_err(|e| StoreError::Setup(format!("the spool {}: {e}", dir.display())))?;
        let (queue, queue_end) = mpsc::channel(settings.queue.max(1));
        let (to_disk, disk_end) = mpsc::channel(settings.queue.max(1) * 4);
        let room = (settings.queue_bytes / 1024).clamp(1, Semaphore::MAX_PERMITS);
        let shared = Shared {
            gate: Mutex::new(FloodGate::new(key.clone())),
            settings,
            key,
            pool,
            spool,
            queue,
            to_disk,
            on_the_way: AtomicU64::new(0),
            room: Arc::new(Semaphore::new(room)),
            lost: AtomicU64::new(0),
            running: Mutex::default(),
            down: Mutex::new(None),
            bell: Notify::new(),
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        Ok((Arc::new(shared), queue_end, disk_end))
    }

    pub(super) fn running(&self) -> MutexGuard<'_, HashMap<Uuid, Timestamp>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn gate(&self) -> MutexGuard<'_, FloodGate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn down(&self) -> MutexGuard<'_, Option<Instant>> {
        self.down.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Away for longer than anybody would wait: no use in queueing.
    fn gave_up(&self) -> bool {
        let stopped = self.stopping.is_cancelled();
        let down = *self.down();
        let late = down.is_some_and(|since| since.elapsed() >= self.settings.deadline);
        stopped || (late && !self.settings.spool_intents)
    }

    fn intent(&self, intent: Intent) -> Result<Entry, TrailError> {
        let mut row = IntentRow::of(&intent)
            .ok_or_else(|| TrailError::Rejected("the call's id is not a UUIDv7".into()))?;
        let arguments = self.pack(intent.arguments);
        row.arguments_digest = arguments.as_ref().map(|packed| packed.digest(&self.key));
        Ok(Entry::Intent { row, arguments })
    }

    fn pack(&self, bytes: Option<Bytes>) -> Option<Packed> {
        let bytes = bytes.filter(|_| self.settings.keep_payloads)?;
        Some(Packed::pack(&bytes, self.settings.payload_limit))
    }

    pub(super) fn conclude(&self, event: Event) {
        let mut row = Box::new(EventRow::of(&event));
        let (arguments, result) = (self.pack(event.arguments), self.pack(event.result));
        row.arguments_digest = arguments.as_ref().map(|packed| packed.digest(&self.key));
        row.result_digest = result.as_ref().map(|packed| packed.digest(&self.key));
        self.enqueue(Entry::Event { row, arguments, result });
    }

    /// Room in memory for the entry, if there is any.
    fn room(&self, entry: &Entry) -> Option<OwnedSemaphorePermit> {
        let kibibytes = u32::try_from(entry.weight().div_ceil(1024)).ok()?;
        self.room.clone().try_acquire_many_owned(kibibytes).ok()
    }

    /// To the writer, else to the disk. Without room it goes without its bodies.
    pub(super) fn enqueue(&self, mut entry: Entry) {
        let room = self.room(&entry);
        if room.is_none() {
            entry.leave_out_bodies();
        }
        let item = Item::Entry(Queued { entry, waiter: None, room });
        match self.queue.try_send(item) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(item) | mpsc::error::TrySendError::Closed(item)) => {
                if let Item::Entry(queued) = item {
                    self.spool_later(queued);
                }
            }
        }
    }

    /// To the disk; what does not fit there either is lost, and counted.
    pub(super) fn spool_later(&self, queued: Queued) {
        self.on_the_way.fetch_add(1, Ordering::SeqCst);
        if let Err(refused) = self.to_disk.try_send(queued) {
            self.on_the_way.fetch_sub(1, Ordering::SeqCst);
            let (mpsc::error::TrySendError::Full(queued)
            | mpsc::error::TrySendError::Closed(queued)) = refused;
            // The tasks have ended: this thread has to do it.
            let saved = self.stopping.is_cancelled() && self.spool.append([&queued.entry]).is_ok();
            if saved {
                self.spool.seal();
            } else {
                self.lose(1);
            }
        }
    }

    pub(super) fn lose(&self, count: u64) {
        if count == 0 {
            return;
        }
        let before = self.lost.fetch_add(count, Ordering::Relaxed);
        if before == 0 || before / 10_000 != (before + count) / 10_000 {
            tracing::error!(lost = before + count, "audit events are lost: queue and spool are full");
        }
    }

    async fn flush(&self) {
        let held = self.gate().drain();
        for event in held {
            self.conclude(event);
        }
        loop {
            let (done, wait) = oneshot::channel();
            let written = self.queue.send(Item::Flush(done)).await.is_ok() && wait.await.is_ok();
            let on_disk = self.on_the_way.load(Ordering::SeqCst) > 0 || self.spool.bytes() > 0;
            if written && !on_disk {
                return;
            }
            self.bell.notify_one();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// A call whose intent is on its way: the sweeper leaves it alone, until it is given up.
struct Running<'a> {
    shared: &'a Shared,
    call: CallId,
    kept: bool,
}

impl<'a> Running<'a> {
    fn begin(shared: &'a Shared, call: CallId) -> Running<'a> {
        shared.running().insert(call.0, shared.settings.clock.now());
        Running { shared, call, kept: false }
    }

    /// From here on its event ends it.
    fn durable(mut self) -> Durable {
        self.kept = true;
        Durable { call: self.call }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.shared.running().remove(&self.call.0);
        }
    }
}
