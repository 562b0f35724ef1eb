//! The writer: one task, one connection. What queued while the last batch was being committed makes the
//! next one. When Postgres is gone or hangs it tries again, lets events go to the disk meanwhile, and
//! never answers an intent before its COMMIT is acknowledged.

use std::collections::{BTreeSet, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor};
use time::Date;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::batch::{self, Head, WriteError};
use super::chain::Link;
use super::row::Entry;
use super::sweep::closing;
use super::trail::{Item, Queued, Shared, TrailError};

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

/// A commit is acknowledged only when it is on disk, whatever the database's default. A statement or a
/// transaction that hangs is ended by the server too, so that nothing of ours lands much later.
const SESSION: &str = "
    set role gateway_app;
    select set_config('synchronous_commit', 'on', false)
        where current_setting('synchronous_commit') in ('off', 'local');
    set statement_timeout = '5s';
    set idle_in_transaction_session_timeout = '5s';
    set timezone = 'UTC';
";

/// See the head of this file.
pub(super) struct Writer {
    shared: Arc<Shared>,
    queue: mpsc::Receiver<Item>,
    pending: VecDeque<Queued>,
    flushes: Vec<oneshot::Sender<()>>,
    connection: Option<PgConnection>,
    link: Link,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, queue: mpsc::Receiver<Item>) -> Writer {
        let (pending, flushes) = (VecDeque::new(), Vec::new());
        Writer { shared, queue, pending, flushes, connection: None, link: Link::GENESIS }
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
            let pause = if self.connection.is_some() { IDLE_CHECK } else { RETRY };
            let stopping = self.shared.stopping.clone();
            tokio::select! {
                item = self.queue.recv() => self.take(item),
                () = tokio::time::sleep(pause) => return self.check().await,
                () = stopping.cancelled() => return,
            }
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
        let limit = self.limit();
        if let Some(connection) = &mut self.connection {
            match timeout(limit, connection.ping()).await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => self.lost(&error.to_string()),
                Err(_) => self.lost("no answer in time"),
            }
        }
        if let Err(error) = self.connect().await {
            self.lost(&error);
        }
    }

    /// Writes everything that is pending; while that is impossible, events go to the disk and intents wait
    /// until nobody waits for them.
    async fn write_all(&mut self) {
        loop {
            self.pending.retain(|queued| {
                queued.waiter.as_ref().is_none_or(|waiter| !waiter.is_closed())
            });
            if self.pending.is_empty() {
                break;
            }
            let written = match self.connection {
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

    /// Most time for one exchange with Postgres: shorter than a waiter's patience, so that a second
    /// attempt may still serve it.
    fn limit(&self) -> Duration {
        self.shared.settings.deadline * 3 / 4
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
                    if let Err(failed) = self.quarantine(&queued, &error).await {
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
        for _ in 0..ATTEMPTS {
            match self.transact(&entries).await {
                Ok(link) => {
                    self.link = link;
                    return Ok(());
                }
                Err(WriteError::NoDay) => self.make_days(&entries).await?,
                Err(WriteError::Stale) => self.read_link().await?,
                Err(WriteError::Again(error)) => tracing::debug!(%error, "writing a batch again"),
                Err(error) => return Err(error),
            }
        }
        Err(WriteError::Lost(sqlx::Error::Protocol("a batch kept colliding".into())))
    }

    async fn transact(&mut self, entries: &[&Entry]) -> Result<Link, WriteError> {
        let limit = self.limit();
        let head = Head {
            key: &self.shared.key,
            replica: self.shared.settings.replica,
            link: self.link,
            now: super::row::to_micros(self.shared.settings.clock.now()),
        };
        let connection = self.connection.as_mut().ok_or_else(away)?;
        within(limit, batch::write(connection, &head, entries)).await
    }

    /// Days beyond those that upkeep made ahead: an old spool, a clock that is off.
    async fn make_days(&mut self, entries: &[&Entry]) -> Result<(), WriteError> {
        let limit = self.limit();
        let mut days: BTreeSet<Date> = entries.iter().map(|entry| entry.ts().date()).collect();
        days.insert(self.shared.settings.clock.now().date());
        let connection = self.connection.as_mut().ok_or_else(away)?;
        for day in days {
            let made = sqlx::query!("select audit_make_days($1, 1)", day).fetch_one(&mut *connection);
            within(limit, async { Ok(made.await?) }).await?;
        }
        Ok(())
    }

    async fn read_link(&mut self) -> Result<(), WriteError> {
        let limit = self.limit();
        let replica = self.shared.settings.replica;
        let connection = self.connection.as_mut().ok_or_else(away)?;
        let row = sqlx::query!("select batch, mac from audit_chain where replica = $1", replica)
            .fetch_one(connection);
        let row = within(limit, async { Ok(row.await?) }).await?;
        let mac = row.mac.try_into().map_err(|_| away())?;
        self.link = Link { batch: row.batch, mac };
        Ok(())
    }

    /// Signs in, makes the days around the present, finds the end of the chain.
    pub(super) async fn connect(&mut self) -> Result<(), String> {
        let options = self.shared.pool.connect_options();
        let session = async {
            let mut connection = PgConnection::connect_with(&options).await?;
            connection.execute(sqlx::raw_sql(SESSION)).await?;
            Ok(connection)
        };
        let connection = within(self.limit(), session).await.map_err(|e| e.to_string())?;
        self.connection = Some(connection);
        let ready = self.prepare().await;
        if let Err(error) = ready {
            self.connection = None;
            return Err(error.to_string());
        }
        if self.shared.down().take().is_some() {
            tracing::info!("the audit trail can be written again");
            self.shared.bell.notify_one();
        }
        Ok(())
    }

    async fn prepare(&mut self) -> Result<(), WriteError> {
        let limit = self.limit();
        let replica = self.shared.settings.replica;
        let seal = self.shared.key.seal(replica, Link::GENESIS);
        let connection = self.connection.as_mut().ok_or_else(away)?;
        within(limit, async {
            sqlx::query!("select audit_make_days((now() at time zone 'UTC')::date - 1, 4)")
                .fetch_one(&mut *connection)
                .await?;
            sqlx::query!(
                "insert into audit_chain (replica, batch, mac, seal) values ($1, 0, $2, $3)
                 on conflict do nothing",
                replica,
                &Link::GENESIS.mac[..],
                &seal[..],
            )
            .execute(&mut *connection)
            .await?;
            Ok(())
        })
        .await?;
        self.read_link().await
    }

    fn lost(&mut self, error: &str) {
        self.connection = None;
        let mut down = self.shared.down();
        if down.is_none() {
            tracing::error!(error, "the audit trail cannot be written: calls are refused");
            *down = Some(Instant::now());
        }
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
    fn written(&mut self, part: Vec<Queued>) {
        let mut running = self.shared.running();
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
                let now = self.shared.settings.clock.now();
                let entry = closing(&self.shared.key, row, now, Some("nobody waited for the record"));
                self.pending.push_back(Queued::new(entry, None));
            }
        }
    }

    /// Puts the row aside where it can be looked at.
    async fn quarantine(&mut self, queued: &Queued, error: &sqlx::Error) -> Result<(), WriteError> {
        let limit = self.limit();
        let code = error.as_database_error().and_then(|refusal| refusal.code());
        let kind = match queued.entry {
            Entry::Intent { .. } => "intent",
            Entry::Event { .. } => "event",
        };
        let body = serde_json::to_vec(&queued.entry).unwrap_or_default();
        let connection = self.connection.as_mut().ok_or_else(away)?;
        let put = sqlx::query!(
            "insert into audit_quarantine (id, kind, at, sqlstate, body) values ($1, $2, $3, $4, $5)
             on conflict do nothing",
            queued.entry.id(),
            kind,
            self.shared.settings.clock.now(),
            code.as_deref().unwrap_or_default(),
            body,
        )
        .execute(connection);
        within(limit, async { Ok(put.await?) }).await.map(drop)
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

fn away() -> WriteError {
    WriteError::Lost(sqlx::Error::WorkerCrashed)
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, WriteError>>,
) -> Result<T, WriteError> {
    timeout(limit, work).await.unwrap_or_else(|_| Err(WriteError::Lost(sqlx::Error::PoolTimedOut)))
}

/// The task that takes entries to the disk: what queued during the last sync goes with the next.
pub(super) async fn spooler(shared: Arc<Shared>, mut entries: mpsc::Receiver<Queued>) {
    let mut group = Vec::new();
    let stopped = async {
        shared.stopping.cancelled().await;
        // The writer hands over what it has left before the tracker is empty but for us.
        while shared.tasks.len() > 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::pin!(stopped);
    loop {
        tokio::select! {
            biased;
            count = entries.recv_many(&mut group, BATCH_ROWS) => if count == 0 { break },
            () = &mut stopped => break,
        }
        group = to_disk(&shared, std::mem::take(&mut group)).await;
    }
    shared.spool.seal();
}

async fn to_disk(shared: &Arc<Shared>, mut group: Vec<Queued>) -> Vec<Queued> {
    let count = group.len() as u64;
    loop {
        let disk = shared.clone();
        let appended = tokio::task::spawn_blocking(move || {
            let done = disk.spool.append(group.iter().map(|queued| &queued.entry));
            (group, done)
        });
        let (back, done) = match appended.await {
            Ok(result) => result,
            Err(_) => {
                shared.lose(count);
                break;
            }
        };
        group = back;
        match done {
            Ok(left_out) => {
                shared.lose(left_out as u64);
                // With something left out nobody can be told that theirs is safe.
                for waiter in group.drain(..).filter_map(|queued| queued.waiter) {
                    let told = match left_out {
                        0 => Ok(()),
                        _ => Err(TrailError::Unavailable("the spool is full".into())),
                    };
                    let _ = waiter.send(told);
                }
                break;
            }
            Err(error) => {
                tracing::error!(%error, "the audit spool cannot be written");
                if shared.down().is_none() || shared.stopping.is_cancelled() {
                    for queued in group.drain(..) {
                        if shared.queue.try_send(Item::Entry(queued)).is_err() {
                            shared.lose(1);
                        }
                    }
                    break;
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    }
    shared.on_the_way.fetch_sub(count, Ordering::SeqCst);
    Vec::new()
}
