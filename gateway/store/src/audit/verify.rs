//! Walks the hash chains: every batch follows the one before, every row is what was written, none is
//! missing, none was added, and no chain was cut at its end.

use std::collections::HashMap;
use std::fmt;

use gateway_core::Timestamp;
use sqlx::{Executor, Postgres, Transaction};
use uuid::Uuid;

use super::chain::{ChainKey, Link, Place, TAG, VOID};
use super::payload::{Codec, Packed};
use super::stored::{self, Span};
use crate::{Store, StoreError};

/// Batches that are checked together.
const WINDOW: i64 = 200;
/// Rows that are checked together, roughly.
const WINDOW_ROWS: usize = 10_000;

/// What a walk over the chains found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Everything is as it was written.
    Verified(Verified),
    /// Somebody changed something; the first place.
    Broken(Broken),
}

/// How much was checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verified {
    /// Chains, one for each start of a gateway.
    pub chains: u64,
    /// Batches in them.
    pub batches: u64,
    /// Intents and events.
    pub rows: u64,
    /// Arguments and results. Those no longer kept are not counted.
    pub payloads: u64,
}

/// The first broken place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// `audit_intent`, `audit_event`, `audit_payload`, `audit_batch` or `audit_chain`.
    pub table: &'static str,
    /// The row: its id, or for a batch `replica/number`.
    pub id: String,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.table, self.id, self.why)
    }
}

/// Checks everything that is in the database now, in one snapshot. Safe while gateways write.
pub async fn verify(store: &Store, chain_key: &[u8; 32]) -> Result<Verdict, StoreError> {
    let mut transaction = store.pool().begin().await?;
    transaction.execute("set transaction isolation level repeatable read, read only").await?;
    let key = ChainKey::new(chain_key);
    let mut walk = Walk { key, transaction, verified: Verified::default(), scratch: Vec::new() };
    match walk.all().await {
        Ok(()) => Ok(Verdict::Verified(walk.verified)),
        Err(Stop::Broken(broken)) => Ok(Verdict::Broken(broken)),
        Err(Stop::Failed(error)) => Err(error),
    }
}

enum Stop {
    Broken(Broken),
    Failed(StoreError),
}

impl From<sqlx::Error> for Stop {
    fn from(error: sqlx::Error) -> Stop {
        Stop::Failed(error.into())
    }
}

fn broken(table: &'static str, id: impl fmt::Display, why: impl Into<String>) -> Stop {
    Stop::Broken(Broken { table, id: id.to_string(), why: why.into() })
}

struct Walk {
    key: ChainKey,
    transaction: Transaction<'static, Postgres>,
    verified: Verified,
    scratch: Vec<u8>,
}

struct Batch {
    ts: Timestamp,
    batch: i64,
    from_ts: Timestamp,
    to_ts: Timestamp,
    tags: Vec<u8>,
    mac: Vec<u8>,
}

/// A row's own claim where it belongs, and its tag.
struct Found {
    table: &'static str,
    id: Uuid,
    place: Place,
    tag: [u8; TAG],
}

/// A payload as a row digested it.
type Digests = HashMap<(Uuid, &'static str), Vec<u8>>;

impl Walk {
    async fn all(&mut self) -> Result<(), Stop> {
        let ends =
            sqlx::query!("select replica, batch, mac, seal from audit_chain order by replica")
                .fetch_all(&mut *self.transaction)
                .await?;
        for end in ends {
            let link = self.chain(end.replica).await?;
            let seal = self.key.seal(end.replica, link);
            if link.batch != end.batch || link.mac[..] != end.mac || seal[..] != end.seal {
                let why =
                    format!("the chain ends at batch {}, other than its seal says", link.batch);
                return Err(broken("audit_chain", end.replica, why));
            }
            self.verified.chains += 1;
        }
        self.strangers().await
    }

    async fn chain(&mut self, replica: Uuid) -> Result<Link, Stop> {
        let mut link = Link::GENESIS;
        loop {
            let mut window = sqlx::query_as!(
                Batch,
                "select ts, batch, from_ts, to_ts, tags, mac from audit_batch
                 where replica = $1 and batch > $2 order by batch, ts limit $3",
                replica,
                link.batch,
                WINDOW,
            )
            .fetch_all(&mut *self.transaction)
            .await?;
            if window.is_empty() {
                return Ok(link);
            }
            let mut rows = 0;
            let fits = window.iter().take_while(|batch| {
                rows += batch.tags.len() / TAG;
                rows <= WINDOW_ROWS
            });
            window.truncate(fits.count().max(1));
            for batch in &window {
                link = self.follow(replica, link, batch)?;
            }
            self.rows(replica, &window).await?;
            self.verified.batches += window.len() as u64;
        }
    }

    fn follow(&self, replica: Uuid, before: Link, batch: &Batch) -> Result<Link, Stop> {
        let name = format!("{replica}/{}", batch.batch);
        let next = self.key.next(replica, before, batch.ts, &batch.tags);
        if batch.batch != next.batch {
            let why = format!("batch {} of this chain is missing or doubled", next.batch);
            return Err(broken("audit_batch", name, why));
        }
        if next.mac[..] != batch.mac {
            return Err(broken("audit_batch", name, "it was changed, or the key is another"));
        }
        Ok(next)
    }

    /// The rows of some consecutive batches.
    async fn rows(&mut self, replica: Uuid, window: &[Batch]) -> Result<(), Stop> {
        let (Some(first), Some(last)) = (window.first(), window.last()) else { return Ok(()) };
        let from = window.iter().map(|batch| batch.from_ts).min().unwrap_or(first.from_ts);
        let to = window.iter().map(|batch| batch.to_ts).max().unwrap_or(first.to_ts);
        let span = Span { replica, from, to, first: first.batch, last: last.batch };
        let mut digests = Digests::new();
        let mut rows = self.intents(span, &mut digests).await?;
        rows.append(&mut self.events(span, &mut digests).await?);
        let mut seen = HashMap::with_capacity(rows.len());
        for row in rows {
            // `first` starts a gapless run of numbers.
            let batch =
                usize::try_from(row.place.batch - first.batch).ok().and_then(|n| window.get(n));
            let tag = batch.and_then(|batch| tag_at(&batch.tags, row.place.place));
            match tag {
                Some(tag) if tag == row.tag => {}
                Some(tag) if tag != VOID => {
                    return Err(broken(
                        row.table,
                        row.id,
                        "it was changed, or moved from its place",
                    ));
                }
                _ => return Err(broken(row.table, row.id, "it was not written by a gateway")),
            }
            let place = (row.place.batch, row.place.place);
            if seen.insert(place, row.id).is_some() {
                return Err(broken(row.table, row.id, "its place is taken by another row"));
            }
        }
        self.missing(replica, window, &seen)?;
        self.verified.rows += seen.len() as u64;
        self.payloads(span, digests).await
    }

    fn missing(
        &self,
        replica: Uuid,
        window: &[Batch],
        seen: &HashMap<(i64, i32), Uuid>,
    ) -> Result<(), Stop> {
        for batch in window {
            for (place, tag) in (0..).zip(batch.tags.chunks(TAG)) {
                if tag != VOID && !seen.contains_key(&(batch.batch, place)) {
                    let name = format!("{replica}/{}", batch.batch);
                    let why = format!("its row at place {place} is missing, or has another time");
                    return Err(broken("audit_batch", name, why));
                }
            }
        }
        Ok(())
    }

    async fn intents(&mut self, span: Span, digests: &mut Digests) -> Result<Vec<Found>, Stop> {
        let mut found = Vec::new();
        for (place, row) in stored::intents(&mut self.transaction, span).await? {
            let tag = self.key.row("audit_intent", place, &row, &mut self.scratch);
            found.push(Found { table: "audit_intent", id: row.id, place, tag });
            digests.extend(row.arguments_digest.map(|digest| ((row.id, "arguments"), digest)));
        }
        Ok(found)
    }

    async fn events(&mut self, span: Span, digests: &mut Digests) -> Result<Vec<Found>, Stop> {
        let mut found = Vec::new();
        for (place, row) in stored::events(&mut self.transaction, span).await? {
            let tag = self.key.row("audit_event", place, &row, &mut self.scratch);
            found.push(Found { table: "audit_event", id: row.id, place, tag });
            digests.extend(row.arguments_digest.map(|digest| ((row.id, "arguments"), digest)));
            digests.extend(row.result_digest.map(|digest| ((row.id, "result"), digest)));
        }
        Ok(found)
    }

    /// Payloads may be gone (they are kept for a shorter time), but not changed.
    async fn payloads(&mut self, span: Span, digests: Digests) -> Result<(), Stop> {
        let ids: Vec<Uuid> = digests.keys().map(|(id, _)| *id).collect();
        let rows = sqlx::query!(
            "select id, kind, codec, size, kept, body from audit_payload
             where ts between $1 and $2 and id = any($3)",
            span.from,
            span.to,
            &ids,
        )
        .fetch_all(&mut *self.transaction)
        .await?;
        for row in rows {
            let kind = if row.kind == "result" { "result" } else { "arguments" };
            let packed = Codec::parse(&row.codec).map(|codec| Packed {
                codec,
                size: row.size,
                kept: row.kept,
                body: row.body,
            });
            let digest = packed.map(|packed| packed.digest(&self.key));
            if digest.as_ref() != digests.get(&(row.id, kind)) {
                return Err(broken("audit_payload", row.id, format!("its {kind} were changed")));
            }
            self.verified.payloads += 1;
        }
        Ok(())
    }

    /// Rows that no batch knows: their replica, number or time is none that the walk came by.
    async fn strangers(&mut self) -> Result<(), Stop> {
        let stranger = sqlx::query!(
            r#"select "table" as "table!", id as "id!" from (
                select 'audit_intent' as "table", id, ts, replica, batch from audit_intent union all
                select 'audit_event', id, ts, replica, batch from audit_event) r
             where not exists (select from audit_batch b where b.replica = r.replica
                and b.batch = r.batch and r.ts between b.from_ts and b.to_ts) limit 1"#
        )
        .fetch_optional(&mut *self.transaction)
        .await?;
        if let Some(row) = stranger {
            let table = if row.table == "audit_event" { "audit_event" } else { "audit_intent" };
            return Err(broken(
                table,
                row.id,
                "it was not written by a gateway, or has another time",
            ));
        }
        let chain = sqlx::query!(
            "select replica, batch from audit_batch b
             where not exists (select from audit_chain c where c.replica = b.replica) limit 1"
        )
        .fetch_optional(&mut *self.transaction)
        .await?;
        if let Some(row) = chain {
            let name = format!("{}/{}", row.replica, row.batch);
            return Err(broken("audit_batch", name, "its chain has no end"));
        }
        Ok(())
    }
}

fn tag_at(tags: &[u8], place: i32) -> Option<&[u8]> {
    tags.chunks(TAG).nth(usize::try_from(place).ok()?)
}
