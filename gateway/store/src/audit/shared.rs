//! What the trail and its tasks share: the queue, the way to the disk, what runs, what is down.

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
use super::trail::TrailError;
use crate::StoreError;

/// What the trail's tasks share.
pub(super) struct Shared {
    pub(super) settings: TrailSettings,
    pub(super) key: ChainKey,
    pub(super) pool: PgPool,
    pub(super) spool: Spool,
    pub(super) intents: Lane,
    pub(super) events: Lane,
    /// Entries on their way to the disk.
    pub(super) to_disk: mpsc::Sender<Queued>,
    pub(super) on_the_way: AtomicU64,
    /// Room for what waits in memory, in KiB.
    room: Arc<Semaphore>,
    pub(super) lost: AtomicU64,
    pub(super) running: Mutex<HashMap<Uuid, Timestamp>>,
    pub(super) gate: Mutex<FloodGate>,
    /// Rings when upkeep is wanted at once.
    pub(super) bell: Notify,
    pub(super) stopping: CancellationToken,
    pub(super) tasks: TaskTracker,
}

/// The way to one of the two writers. Calls wait for their intents, nobody for events: each kind goes over a
/// connection of its own, so that no call waits until the events of others, with all their sums, are written.
pub(super) struct Lane {
    pub(super) queue: mpsc::Sender<Item>,
    /// Rings when somebody waits for what is in the queue.
    pub(super) hurry: Notify,
    /// Since when Postgres is away.
    down: Mutex<Option<Instant>>,
}

/// Which lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Intents,
    Events,
}

impl Lane {
    fn new(room: usize) -> (Lane, mpsc::Receiver<Item>) {
        let (queue, end) = mpsc::channel(room.max(1));
        (Lane { queue, hurry: Notify::new(), down: Mutex::new(None) }, end)
    }

    pub(super) fn down(&self) -> MutexGuard<'_, Option<Instant>> {
        self.down.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns once everything in the queue is written or on its way to the disk; false when the writer has ended.
    async fn flush(&self) -> bool {
        let (done, wait) = oneshot::channel();
        self.send(Item::Flush(done)).await && wait.await.is_ok()
    }

    /// Hands over what somebody waits for; false when the writer has ended.
    pub(super) async fn send(&self, item: Item) -> bool {
        let sent = self.queue.send(item).await.is_ok();
        self.hurry.notify_one();
        sent
    }

    /// Rows that wait.
    pub(super) fn waiting(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }
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
    _room: Option<OwnedSemaphorePermit>,
}

/// Who waits for an entry.
pub(super) type Waiter = oneshot::Sender<Result<(), TrailError>>;

impl Queued {
    /// An entry of our own making.
    pub(super) fn new(entry: Entry, waiter: Option<Waiter>) -> Queued {
        Queued { entry, waiter, _room: None }
    }

    /// An entry that takes room in memory.
    pub(super) fn roomy(entry: Entry, waiter: Waiter, room: OwnedSemaphorePermit) -> Queued {
        Queued { entry, waiter: Some(waiter), _room: Some(room) }
    }

    /// Something else in its place, for the same waiter.
    pub(super) fn replaced(self, entry: Entry) -> Queued {
        Queued { entry, ..self }
    }
}

pub(super) struct Started {
    pub(super) shared: Arc<Shared>,
    pub(super) intents: mpsc::Receiver<Item>,
    pub(super) events: mpsc::Receiver<Item>,
    pub(super) to_disk: mpsc::Receiver<Queued>,
}

impl Shared {
    pub(super) fn start(pool: PgPool, settings: TrailSettings) -> Result<Started, StoreError> {
        let key = ChainKey::new(&settings.chain_key);
        let dir = &settings.spool_dir;
        let spool = Spool::open(dir, settings.replica, key.clone(), settings.spool_limit)
            .map_err(|e| StoreError::Setup(format!("the spool {}: {e}", dir.display())))?;
        let (intents, intents_end) = Lane::new(settings.queue);
        let (events, events_end) = Lane::new(settings.queue);
        let (to_disk, disk_end) = mpsc::channel(settings.queue.max(1) * 4);
        let room = (settings.queue_bytes / 1024).clamp(1, Semaphore::MAX_PERMITS);
        let shared = Shared {
            gate: Mutex::new(FloodGate::new(key.clone())),
            settings,
            key,
            pool,
            spool,
            intents,
            events,
            to_disk,
            on_the_way: AtomicU64::new(0),
            room: Arc::new(Semaphore::new(room)),
            lost: AtomicU64::new(0),
            running: Mutex::default(),
            bell: Notify::new(),
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let shared = Arc::new(shared);
        Ok(Started { shared, intents: intents_end, events: events_end, to_disk: disk_end })
    }

    pub(super) fn lane(&self, kind: Kind) -> &Lane {
        match kind {
            Kind::Intents => &self.intents,
            Kind::Events => &self.events,
        }
    }

    /// The lane that an entry goes over.
    pub(super) fn lane_of(&self, entry: &Entry) -> &Lane {
        match entry {
            Entry::Intent { .. } => &self.intents,
            Entry::Event { .. } => &self.events,
        }
    }

    /// Whether either lane cannot reach Postgres.
    pub(super) fn is_down(&self) -> bool {
        self.intents.down().is_some() || self.events.down().is_some()
    }

    pub(super) fn running(&self) -> MutexGuard<'_, HashMap<Uuid, Timestamp>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn gate(&self) -> MutexGuard<'_, FloodGate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Away for longer than anybody would wait: no use in queueing.
    pub(super) fn gave_up(&self) -> bool {
        let stopped = self.stopping.is_cancelled();
        let down = *self.intents.down();
        let late = down.is_some_and(|since| since.elapsed() >= self.settings.deadline);
        stopped || (late && !self.settings.spool_intents)
    }

    pub(super) fn intent(&self, intent: Intent) -> Result<Entry, TrailError> {
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
    pub(super) fn room(&self, entry: &Entry) -> Option<OwnedSemaphorePermit> {
        let kibibytes = u32::try_from(entry.weight().div_ceil(1024)).ok()?;
        self.room.clone().try_acquire_many_owned(kibibytes).ok()
    }

    /// To the writer, else to the disk. Without room it goes without its bodies.
    pub(super) fn enqueue(&self, mut entry: Entry) {
        let room = self.room(&entry);
        if room.is_none() {
            entry.leave_out_bodies();
        }
        let lane = self.lane_of(&entry);
        let item = Item::Entry(Queued { entry, waiter: None, _room: room });
        match lane.queue.try_send(item) {
            Ok(()) => {}
            Err(
                mpsc::error::TrySendError::Full(item) | mpsc::error::TrySendError::Closed(item),
            ) => {
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
            let saved = self.stopping.is_cancelled()
                && self.spool.append([&queued.entry]).is_ok_and(|left_out| left_out.is_empty());
            if saved {
                self.spool.seal();
            } else {
                self.lose([queued.entry.concluded()]);
            }
        }
    }

    /// These are lost, each with the call that it would have ended. Those calls run no longer, so that the sweeper
    /// closes them as unknown.
    pub(super) fn lose(&self, entries: impl IntoIterator<Item = Option<Uuid>>) {
        let mut count = 0;
        let mut running = self.running();
        for concluded in entries {
            count += 1;
            concluded.map(|call| running.remove(&call));
        }
        drop(running);
        if count == 0 {
            return;
        }
        let before = self.lost.fetch_add(count, Ordering::Relaxed);
        if before == 0 || before / 10_000 != (before + count) / 10_000 {
            tracing::error!(
                lost = before + count,
                "audit events are lost: queue and spool are full"
            );
        }
    }

    pub(super) async fn flush(&self) {
        let held = self.gate().drain();
        for event in held {
            self.conclude(event);
        }
        loop {
            // In this order: an intent that nobody waits for any more leaves an event behind.
            let written = self.intents.flush().await && self.events.flush().await;
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
pub(super) struct Running<'a> {
    shared: &'a Shared,
    call: CallId,
    kept: bool,
}

impl<'a> Running<'a> {
    pub(super) fn begin(shared: &'a Shared, call: CallId) -> Running<'a> {
        shared.running().insert(call.0, shared.settings.clock.now());
        Running { shared, call, kept: false }
    }

    /// Its intent is durable: from here on its event ends it.
    pub(super) fn keep(mut self) -> CallId {
        self.kept = true;
        self.call
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.shared.running().remove(&self.call.0);
        }
    }
}
