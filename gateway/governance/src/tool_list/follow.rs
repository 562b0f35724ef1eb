//! Stores what listings showed, makes the records, and has the snapshot know it. Until then
//! [`ToolListGuard`] remembers it for this replica; what cannot be stored waits.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use gateway_core::Clock;
use gateway_core::ids::ServerId;
use gateway_store::audit::Trail;
use gateway_store::definition::{DefinitionKind, Newcomers, Sighting, Told as New};
use gateway_store::{Store, StoreError};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Redefined, Seen, ToolListGuard, record};
use crate::ports::Random;
use crate::refresh::Current;

/// Most sightings that are stored at once.
const BATCH: usize = 256;
/// Time between two batches: a server that says something else every time is not written for every time.
const PAUSE: Duration = Duration::from_millis(250);
/// Time until the next try.
const RETRY: Duration = Duration::from_secs(1);

/// The task behind [`ToolListGuard`].
pub(crate) struct Follower {
    pub(crate) guard: Arc<ToolListGuard>,
    pub(crate) store: Store,
    pub(crate) trail: Trail,
    pub(crate) current: Arc<Current>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
}

impl Follower {
    /// Stores what is seen until `shutdown`.
    pub(crate) async fn follow(
        &self,
        mut sightings: mpsc::Receiver<Seen>,
        shutdown: CancellationToken,
    ) {
        let work = async {
            loop {
                let mut batch = Vec::new();
                if sightings.recv_many(&mut batch, BATCH).await == 0 {
                    return;
                }
                let mut by_server: HashMap<ServerId, Vec<Seen>> = HashMap::new();
                for seen in batch {
                    by_server.entry(seen.server.id).or_default().push(seen);
                }
                for (server, seen) in by_server {
                    self.keep_all(server, &seen).await;
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = work => {}
        }
    }

    /// Waits for the database; what it refuses does not keep the others from being stored.
    async fn keep_all(&self, server: ServerId, seen: &[Seen]) {
        let mut left = seen.chunks(seen.len().max(1));
        let mut one_by_one = seen.chunks(1);
        let mut refused = false;
        while let Some(chunk) = if refused { one_by_one.next() } else { left.next() } {
            loop {
                match self.keep(server, chunk).await {
                    Ok(()) => break,
                    Err(error) if error.is_unavailable() => {
                        tracing::warn!(%error, "what listings showed is not stored yet");
                        tokio::time::sleep(RETRY).await;
                    }
                    Err(error) => {
                        tracing::error!(%error, "what a listing showed cannot be stored");
                        match chunk {
                            [one] => self.guard.unstorable(server, &one.sighting.item),
                            _ => refused = true,
                        }
                        break;
                    }
                }
            }
        }
    }

    async fn keep(&self, server: ServerId, seen: &[Seen]) -> Result<(), StoreError> {
        let Some(newcomers) = seen.last().map(|last| last.newcomers) else { return Ok(()) };
        let sightings: Vec<Sighting> = seen.iter().map(|seen| seen.sighting.clone()).collect();
        let now = self.clock.now();
        let told = self.store.saw(server, &sightings, newcomers, now).await?;
        for (seen, new) in seen.iter().zip(&told) {
            self.record(seen, new);
        }
        if let Err(error) = self.current.refresh().await {
            tracing::warn!(%error, "what listings showed is stored, but not seen here yet");
        }
        for seen in seen {
            self.guard.stored(server, &seen.sighting.item);
        }
        Ok(())
    }

    fn record(&self, seen: &Seen, new: &New) {
        let Seen { server, sighting: Sighting { kind, item, .. }, verdict, .. } = seen;
        let (ground, now) = ((&self.trail, &*self.random), self.clock.now());
        if let (DefinitionKind::Tool, true, Some((before, hash))) = (kind, new.is_new, &new.before)
        {
            let (name, after, hashes) = (&item.name, &item.definition, [*hash, item.hash]);
            tracing::info!(server = %server.slug, "a listing showed a tool that is defined anew");
            record::redefined(ground, server, &Redefined { name, before, after, hashes }, now);
        }
        let waits = seen.newcomers == Newcomers::Wait;
        if *kind == DefinitionKind::Tool && new.is_new && new.before.is_none() && waits {
            record::appeared(ground, server, item, now);
        }
        if new.is_flagged {
            record::flagged(ground, server, (*kind, &item.name), verdict, now);
        }
    }
}
