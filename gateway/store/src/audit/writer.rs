//! A writer: one task, one connection; there is one for intents and one for events. What queued while the last
//! batch was being committed makes the next one; events wait a little for each other. When Postgres is gone or hangs it tries again, lets events go to the disk meanwhile, and
//! never answers an intent before its COMMIT is acknowledged.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::batch::WriteError;
use super::row::Entry;
use super::session::{Session, lost};
use super::shared::{Item, Kind, Queued, Shared};
use super::sweep::closing;
use super::trail::TrailError;

/// Most rows of one transaction.
const BATCH_ROWS: usize = 500;
/// Most bytes of one transaction, roughly.
const BATCH_BYTES: usize = 1 << 20;
/// Pause between attempts to reach Postgres.
const RETRY: Duration = Duration::from_millis(200);
/// How often an idle writer checks that its connection lives.
const IDLE_CHECK: Duration = Duration::from_secs(1);
/// Attempts at a batch that met another transaction.
const ATTEMPTS: usize = 8;

/// See the head of this file.
pub(super) struct Writer {
    shared: Arc<Shared>,
    kind: Kind,
    queue: mpsc::Receiver<Item>,
    pending: VecDeque<Queued>,
    flushes: Vec<oneshot::Sender<()>>,
    session: Option<Session>,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, kind: Kind, queue: mpsc::Receiver<Item>) -> Writer {
        Writer { shared, kind, queue, pending: VecDeque::new(), flushes: Vec::new(), session: None }
    }

    /// Until the trail stops; leaves nothing behind in memory.
    pub(super) async fn run(mut self) {
        while !self.shared.stopping.is_cancelled() {
            self.gather().await;
            self.write_all().await;
        }
        self.queue.close();
        self.drain(usize::MAX);
        self.write_all().await;
        while let Some(queued) = self.pending.pop_front() {
            self.give_up(queued);
        }
    }

    /// Waits for something to write, and takes what else has queued.
    async fn gather(&mut self) {
        if self.pending.is_empty() && self.flushes.is_empty() {
            let pause = if self.session.is_some() { IDLE_CHECK } else { RETRY };
            let stopping = self.shared.stopping.clone();
            tokio::select! {
                item = self.queue.recv() => self.take(item),
                () = tokio::time::sleep(pause) => return self.check().await,
                () = stopping.cancelled() => return,
            }
        }
        self.drain(BATCH_ROWS);
        self.company().await;
    }

    /// Events that nobody waits for gather for a moment: a statement costs far more than one row of it.
    async fn company(&mut self) {
        let is_wanted = |queued: &Queued| queued.waiter.is_some();
        if self.kind == Kind::Intents
            || !self.flushes.is_empty()
            || self.pending.len() >= BATCH_ROWS
            || self.pending.iter().any(is_wanted)
        {
            return;
        }
        let shared = self.shared.clone();
        tokio::select! {
            () = tokio::time::sleep(shared.settings.company) => {}
            () = shared.events.hurry.notified() => {}
            () = shared.stopping.cancelled() => {}
        }
        self.drain(BATCH_ROWS);
    }

    fn take(&mut self, item: Option<Item>) {
        match item {
            Some(Item::Entry(queued)) => self.pending.push_back(queued),
            Some(Item::Flush(done)) => self.flushes.push(done),
            None => {}
        }
    }

    fn drain(&mut self, most: usize) {
        while self.pending.len() < most {
            match self.queue.try_recv() {
                Ok(item) => self.take(Some(item)),
                Err(_) => return,
            }
        }
    }

    /// Is the connection alive? Otherwise makes a new one.
    async fn check(&mut self) {
        if let Some(session) = &mut self.session {
            match session.ping().await {
                Ok(()) => return,
                Err(error) => self.lost(&error.to_string()),
            }
        }
        if let Err(error) = self.connect().await {
            self.lost(&error);
        }
    }

    /// Makes a new connection.
    pub(super) async fn connect(&mut self) -> Result<(), String> {
        self.session = None;
        let session =
            Session::open(&self.shared, self.kind).await.map_err(|error| error.to_string())?;
        self.session = Some(session);
        if self.shared.lane(self.kind).down().take().is_some() {
            tracing::info!("the audit trail can be written again");
            self.shared.bell.notify_one();
        }
        Ok(())
    }

    fn lost(&mut self, error: &str) {
        self.session = None;
        let mut down = self.shared.lane(self.kind).down();
        if down.is_none() {
            tracing::error!(error, "the audit trail cannot be written: calls are refused");
            *down = Some(Instant::now());
        }
    }

    /// Writes everything that is pending; while that is impossible, events go to the disk and intents wait
    /// until nobody waits for them.
    async fn write_all(&mut self) {
        loop {
            self.pending
                .retain(|queued| queued.waiter.as_ref().is_none_or(|waiter| !waiter.is_closed()));
            if self.pending.is_empty() {
                break;
            }
            let written = match self.session {
                Some(_) => self.write_some().await,
                None => self.connect().await,
            };
            if let Err(error) = written {
                self.lost(&error);
                self.evacuate();
                if self.shared.stopping.is_cancelled() {
                    break;
                }
                tokio::time::sleep(RETRY).await;
                self.drain(self.shared.settings.queue);
                self.evacuate();
            }
        }
        for done in self.flushes.drain(..) {
            // Nobody may be waiting any more.
            let _ = done.send(());
        }
    }

    /// Writes one batch from the front of what is pending. A row that Postgres refuses is found by
    /// halving and put aside; the others are written.
    async fn write_some(&mut self) -> Result<(), String> {
        let mut parts = vec![self.front()];
        while let Some(mut part) = parts.pop() {
            match self.attempt(&part).await {
                Ok(()) => self.written(part),
                Err(WriteError::Content(error)) if part.len() > 1 => {
                    tracing::warn!(%error, rows = part.len(), "a batch was refused; halving it");
                    let second = part.split_off(part.len() / 2);
                    parts.push(second);
                    parts.push(part);
                }
                Err(WriteError::Content(error)) => {
                    let Some(queued) = part.pop() else { continue };
                    if let Err(failed) = self.put_aside(&queued, &error).await {
                        parts.push(vec![queued]);
                        self.put_back(parts);
                        return Err(failed.to_string());
                    }
                    self.refused(queued, &error);
                }
                Err(error) => {
                    parts.push(part);
                    self.put_back(parts);
                    return Err(error.to_string());
                }
            }
        }
        Ok(())
    }

    fn front(&mut self) -> Vec<Queued> {
        let (mut rows, mut bytes) = (0, 0);
        for queued in &self.pending {
            bytes += queued.entry.weight();
            if rows > 0 && (rows >= BATCH_ROWS || bytes > BATCH_BYTES) {
                break;
            }
            rows += 1;
        }
        self.pending.drain(..rows).collect()
    }

    fn put_back(&mut self, parts: Vec<Vec<Queued>>) {
        // The last part is the one to be written next.
        for part in parts {
            for queued in part.into_iter().rev() {
                self.pending.push_front(queued);
            }
        }
    }

    /// One transaction, again where the same may succeed.
    async fn attempt(&mut self, part: &[Queued]) -> Result<(), WriteError> {
        let entries: Vec<&Entry> = part.iter().map(|queued| &queued.entry).collect();
        let session = self.session.as_mut().ok_or_else(|| lost("not connected"))?;
        let mut known = HashSet::new();
        for _ in 0..ATTEMPTS {
            match session.write(&entries, &known).await {
                Ok(()) => return Ok(()),
                Err(WriteError::There) => known = session.known(&entries).await?,
                Err(WriteError::NoDay) => session.make_days(&entries).await?,
                Err(WriteError::Stale) => session.read_link().await?,
                Err(WriteError::Again(error)) => tracing::debug!(%error, "writing a batch again"),
                Err(error) => return Err(error),
            }
        }
        Err(lost("a batch kept colliding"))
    }

    async fn put_aside(&mut self, queued: &Queued, error: &sqlx::Error) -> Result<(), WriteError> {
        let session = self.session.as_mut().ok_or_else(|| lost("not connected"))?;
        session.quarantine(&queued.entry, error).await
    }

    /// What nobody waits for goes to the disk; with `spool_intents` the rest too.
    fn evacuate(&mut self) {
        let everything = self.shared.settings.spool_intents;
        for queued in std::mem::take(&mut self.pending) {
            if everything || queued.waiter.is_none() {
                self.shared.spool_later(queued);
            } else {
                self.pending.push_back(queued);
            }
        }
    }

    fn give_up(&self, queued: Queued) {
        match queued.waiter {
            None => self.shared.spool_later(queued),
            Some(waiter) => {
                let _ = waiter.send(Err(TrailError::Unavailable("the trail has stopped".into())));
            }
        }
    }

    /// Committed: tell those who wait. Where nobody does any more, the call was not made.
    fn written(&self, part: Vec<Queued>) {
        let shared = &self.shared;
        let mut running = shared.running();
        for queued in part {
            let Queued { entry, waiter, .. } = queued;
            if let Entry::Event { row, .. } = &entry
                && row.concludes
            {
                running.remove(&row.call_id);
            }
            let Some(waiter) = waiter else { continue };
            if waiter.send(Ok(())).is_err()
                && let Entry::Intent { row, .. } = &entry
            {
                let now = shared.settings.clock.now();
                shared.enqueue(closing(
                    &shared.key,
                    row,
                    now,
                    Some("nobody waited for the record"),
                ));
            }
        }
    }

    /// An intent that cannot be recorded must not leave; an event is recorded without its texts.
    fn refused(&mut self, queued: Queued, error: &sqlx::Error) {
        let id = queued.entry.id();
        tracing::error!(%id, %error, "an audit row was refused and is in audit_quarantine");
        match &queued.entry {
            Entry::Event { row, .. } => {
                let bare = Box::new(row.bare());
                if bare != *row {
                    let entry = Entry::Event { row: bare, arguments: None, result: None };
                    self.pending.push_front(queued.replaced(entry));
                } else if let Some(waiter) = queued.waiter {
                    let _ = waiter.send(Ok(()));
                }
            }
            Entry::Intent { .. } => {
                if let Some(waiter) = queued.waiter {
                    let _ = waiter.send(Err(TrailError::Rejected(error.to_string())));
                }
            }
        }
    }
}
