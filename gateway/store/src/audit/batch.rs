//! One transaction of a writer, which is one statement: rows and payloads into their tables, counts into the
//! rollups, and the link that chains it to the one before. It knows nothing of queues and retries.

use std::collections::HashSet;

use gateway_core::Timestamp;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::chain::{ChainKey, Link, Place, VOID};
use super::payload::Packed;
use super::row::{Entry, EventRow, IntentRow};

/// Why a batch was not written. Whatever it is, nothing of the batch is there (save for [`WriteError::Lost`],
/// where nobody knows).
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    /// An earlier transaction of ours, given up for lost, was committed after all: read the chain anew.
    #[error("the chain has moved on")]
    Stale,
    /// A row is there already: ask [`known`] which.
    #[error("a row is there already")]
    There,
    /// A row's day has no partition yet.
    #[error("no partition for a row")]
    NoDay,
    /// Two transactions met; the same again will do.
    #[error("{0}")]
    Again(#[source] sqlx::Error),
    /// Postgres refuses a row for what it holds.
    #[error("{0}")]
    Content(#[source] sqlx::Error),
    /// Postgres is gone, hangs, or cannot write at all.
    #[error("{0}")]
    Lost(#[source] sqlx::Error),
}

impl From<sqlx::Error> for WriteError {
    fn from(error: sqlx::Error) -> WriteError {
        let refusal = error.as_database_error();
        let code = refusal.and_then(|refusal| refusal.code()).unwrap_or_default().into_owned();
        let no_day = refusal.is_some_and(|refusal| refusal.message().starts_with("no partition"));
        match code.get(..2) {
            Some("23") if no_day => WriteError::NoDay,
            Some("23") if code == "23505" => WriteError::There,
            // 22 data exception, 23 constraint, 54 a limit of an index or row.
            Some("22" | "23" | "54") => WriteError::Content(error),
            Some("40") => WriteError::Again(error),
            _ => WriteError::Lost(error),
        }
    }
}

/// Whose chain the batch extends, and when.
pub(super) struct Head<'a> {
    pub(super) key: &'a ChainKey,
    pub(super) replica: Uuid,
    pub(super) link: Link,
    pub(super) now: Timestamp,
}

/// Writes all of `entries` but those at the places `known`, or nothing. They are of one kind: intents or events.
pub(super) async fn write(
    connection: &mut PgConnection,
    head: &Head<'_>,
    entries: &[&Entry],
    known: &HashSet<i32>,
) -> Result<Link, WriteError> {
    let fresh: Vec<Placed<'_>> =
        places(entries).filter(|(place, _)| !known.contains(place)).collect();
    if fresh.is_empty() {
        return Ok(head.link);
    }
    let (linked, payloads) = (Linked::of(head, entries.len(), &fresh), Payloads::of(&fresh));
    let (intents, events) = (Intents::of(&fresh), Events::of(&fresh));
    let moved = match (intents.place.len(), events.place.len()) {
        (_, 0) => intents.write(connection, head, &linked, &payloads).await?,
        (0, _) => events.write(connection, head, &linked, &payloads).await?,
        (_, _) => return Err(WriteError::Lost(sqlx::Error::Protocol("a mixed batch".into()))),
    };
    if moved == 1 { Ok(linked.link) } else { Err(WriteError::Stale) }
}

/// The places of those of `entries` that are there already or come twice among them: they are neither written nor
/// counted again.
pub(super) async fn known(
    connection: &mut PgConnection,
    entries: &[&Entry],
) -> Result<HashSet<i32>, WriteError> {
    let (mut known, mut ids, mut calls) = (HashSet::new(), HashSet::new(), HashSet::new());
    let mut first = Vec::with_capacity(entries.len());
    for (place, entry) in places(entries) {
        let is_new_id = ids.insert(entry.id());
        if entry.concluded().is_none_or(|call| calls.insert(call)) && is_new_id {
            first.push((place, entry));
        } else {
            known.insert(place);
        }
    }
    let (intents, events) = (Intents::of(&first), Events::of(&first));
    known.extend(intents.there(connection).await?);
    known.extend(events.there(connection).await?);
    Ok(known)
}

/// An entry and its place in the batch.
type Placed<'a> = (i32, &'a Entry);

/// What the chain says of a batch.
struct Linked {
    link: Link,
    seal: [u8; 32],
    /// One for each place, [`VOID`] for what is not written.
    tags: Vec<u8>,
    from: Timestamp,
    to: Timestamp,
}

impl Linked {
    fn of(head: &Head<'_>, places: usize, fresh: &[Placed<'_>]) -> Linked {
        let mut scratch = Vec::with_capacity(2048);
        let mut tags = vec![VOID; places];
        let (mut from, mut to) = (head.now, head.now);
        for (place, entry) in fresh {
            (from, to) = (from.min(entry.ts()), to.max(entry.ts()));
            let at = Place { replica: head.replica, batch: head.link.batch + 1, place: *place };
            let tag = match entry {
                Entry::Intent { row, .. } => head.key.row("audit_intent", at, row, &mut scratch),
                Entry::Event { row, .. } => head.key.row("audit_event", at, row, &mut scratch),
            };
            if let Some(slot) = usize::try_from(*place).ok().and_then(|place| tags.get_mut(place)) {
                *slot = tag;
            }
        }
        let tags = tags.concat();
        let link = head.key.next(head.replica, head.link, head.now, &tags);
        Linked { link, seal: head.key.seal(head.replica, link), tags, from, to }
    }
}

fn places<'a>(entries: &'a [&'a Entry]) -> impl Iterator<Item = Placed<'a>> {
    (0..).zip(entries.iter().copied())
}

#[derive(Default)]
struct Intents<'a> {
    ts: Vec<Timestamp>,
    id: Vec<Uuid>,
    place: Vec<i32>,
    request_bytes: Vec<i64>,
    subject: Vec<&'a str>,
    arguments_digest: Vec<Option<&'a [u8]>>,
}

impl<'a> Intents<'a> {
    fn of(entries: &[Placed<'a>]) -> Intents<'a> {
        let mut columns = Intents::default();
        for (place, entry) in entries {
            if let Entry::Intent { row, .. } = entry {
                columns.push(*place, row);
            }
        }
        columns
    }

    fn push(&mut self, place: i32, row: &'a IntentRow) {
        self.ts.push(row.ts);
        self.id.push(row.id);
        self.place.push(place);
        self.request_bytes.push(row.request_bytes);
        self.subject.push(&row.subject);
        self.arguments_digest.push(row.arguments_digest.as_deref());
    }

    /// How many links were added: 0 when the chain stands elsewhere, and nothing is written.
    async fn write(
        &self,
        connection: &mut PgConnection,
        head: &Head<'_>,
        linked: &Linked,
        payloads: &Payloads<'_>,
    ) -> Result<u64, sqlx::Error> {
        let written = sqlx::query_file!(
            "src/audit/write_intents.sql",
            head.now,
            head.replica,
            linked.link.batch,
            linked.from,
            linked.to,
            linked.tags,
            &linked.link.mac[..],
            &linked.seal[..],
            &head.link.mac[..],
            &self.ts as &[Timestamp],
            &self.id as &[Uuid],
            &self.place as &[i32],
            &self.request_bytes as &[i64],
            &self.subject as &[&str],
            &self.arguments_digest as &[Option<&[u8]>],
            &payloads.ts as &[Timestamp],
            &payloads.id as &[Uuid],
            &payloads.kind as &[&str],
            &payloads.codec as &[&str],
            &payloads.size as &[i64],
            &payloads.kept as &[i64],
            &payloads.body as &[&[u8]],
        )
        .execute(connection)
        .await?;
        Ok(written.rows_affected())
    }

    /// The places of those that are in the table.
    async fn there(&self, connection: &mut PgConnection) -> Result<Vec<i32>, sqlx::Error> {
        sqlx::query_scalar!(
            r#"select asked.place as "place!"
             from unnest($1::integer[], $2::timestamptz[], $3::uuid[]) as asked (place, ts, id)
             join audit_intent i on i.ts = asked.ts and i.id = asked.id"#,
            &self.place as &[i32],
            &self.ts as &[Timestamp],
            &self.id as &[Uuid],
        )
        .fetch_all(connection)
        .await
    }
}

#[derive(Default)]
struct Payloads<'a> {
    ts: Vec<Timestamp>,
    id: Vec<Uuid>,
    kind: Vec<&'static str>,
    codec: Vec<&'static str>,
    size: Vec<i64>,
    kept: Vec<i64>,
    body: Vec<&'a [u8]>,
}

impl<'a> Payloads<'a> {
    fn of(entries: &[Placed<'a>]) -> Payloads<'a> {
        let mut columns = Payloads::default();
        for (_, entry) in entries.iter().copied() {
            match entry {
                Entry::Intent { arguments, .. } => columns.push(entry, "arguments", arguments),
                Entry::Event { arguments, result, .. } => {
                    columns.push(entry, "arguments", arguments);
                    columns.push(entry, "result", result);
                }
            }
        }
        columns
    }

    fn push(&mut self, entry: &Entry, kind: &'static str, packed: &'a Option<Packed>) {
        let Some(packed) = packed else { return };
        self.ts.push(entry.ts());
        self.id.push(entry.id());
        self.kind.push(kind);
        self.codec.push(packed.codec.as_str());
        self.size.push(packed.size);
        self.kept.push(packed.kept);
        self.body.push(&packed.body);
    }
}

macro_rules! event_columns {
    ($($name:ident: $type:ty = $value:expr),+ $(,)?) => {
        /// The columns of `audit_event`, one array each.
        #[derive(Default)]
        struct Events<'a> {
            place: Vec<i32>,
            $($name: Vec<$type>),+
        }

        impl<'a> Events<'a> {
            fn of(entries: &[Placed<'a>]) -> Events<'a> {
                let mut columns = Events::default();
                for (place, entry) in entries {
                    if let Entry::Event { row, .. } = entry {
                        columns.place.push(*place);
                        $(columns.$name.push(($value)(row));)+
                    }
                }
                columns
            }
        }
    };
}

type Row<'a> = &'a EventRow;
event_columns! {
    ts: Timestamp = |row: Row<'_>| row.ts,
    id: Uuid = |row: Row<'_>| row.id,
    at: Timestamp = |row: Row<'_>| row.at,
    call_id: Uuid = |row: Row<'_>| row.call_id,
    concludes: bool = |row: Row<'_>| row.concludes,
    action: &'a str = |row: Row<'a>| row.action.as_str(),
    outcome: &'a str = |row: Row<'a>| row.outcome.as_str(),
    reason: Option<&'a str> = |row: Row<'a>| row.reason.as_deref(),
    detail: Option<&'a str> = |row: Row<'a>| row.detail.as_deref(),
    count: i64 = |row: Row<'_>| row.count,
    actor_id: Option<Uuid> = |row: Row<'_>| row.subject.actor_id,
    actor_email: Option<&'a str> = |row: Row<'a>| row.subject.actor_email.as_deref(),
    actor_kind: Option<&'a str> = |row: Row<'a>| row.subject.actor_kind.as_deref(),
    agent_id: Option<Uuid> = |row: Row<'_>| row.subject.agent_id,
    agent_name: Option<&'a str> = |row: Row<'a>| row.subject.agent_name.as_deref(),
    auth_method: Option<&'a str> = |row: Row<'a>| row.subject.auth_method.as_deref(),
    credential: Option<&'a str> = |row: Row<'a>| row.subject.credential.as_deref(),
    client_name: Option<&'a str> = |row: Row<'a>| row.subject.client_name.as_deref(),
    client_version: Option<&'a str> = |row: Row<'a>| row.subject.client_version.as_deref(),
    client_ip: Option<&'a str> = |row: Row<'a>| row.subject.client_ip.as_deref(),
    session: Option<&'a str> = |row: Row<'a>| row.subject.session.as_deref(),
    request_id: Option<&'a str> = |row: Row<'a>| row.subject.request_id.as_deref(),
    server_id: Option<Uuid> = |row: Row<'_>| row.subject.server_id,
    server_slug: Option<&'a str> = |row: Row<'a>| row.subject.server_slug.as_deref(),
    method: Option<&'a str> = |row: Row<'a>| row.subject.method.as_deref(),
    era: Option<&'a str> = |row: Row<'a>| row.subject.era.as_deref(),
    resource_type: Option<&'a str> = |row: Row<'a>| row.subject.resource_type.as_deref(),
    resource_name: Option<&'a str> = |row: Row<'a>| row.subject.resource_name.as_deref(),
    policy_ids: &'a str = |row: Row<'a>| row.subject.policy_ids.as_str(),
    findings: &'a str = |row: Row<'a>| row.subject.findings.as_str(),
    confirmation_id: Option<Uuid> = |row: Row<'_>| row.subject.confirmation_id,
    trace_id: Option<&'a str> = |row: Row<'a>| row.subject.trace_id.as_deref(),
    latency_us: Option<i64> = |row: Row<'_>| row.latency_us,
    upstream_us: Option<i64> = |row: Row<'_>| row.upstream_us,
    request_bytes: Option<i64> = |row: Row<'_>| row.request_bytes,
    response_bytes: Option<i64> = |row: Row<'_>| row.response_bytes,
    arguments_digest: Option<&'a [u8]> = |row: Row<'a>| row.arguments_digest.as_deref(),
    result_digest: Option<&'a [u8]> = |row: Row<'a>| row.result_digest.as_deref(),
}

impl Events<'_> {
    /// How many links were added: 0 when the chain stands elsewhere, and nothing is written.
    async fn write(
        &self,
        connection: &mut PgConnection,
        head: &Head<'_>,
        linked: &Linked,
        payloads: &Payloads<'_>,
    ) -> Result<u64, sqlx::Error> {
        let written = sqlx::query_file!(
            "src/audit/write_events.sql",
            head.now,
            head.replica,
            linked.link.batch,
            linked.from,
            linked.to,
            linked.tags,
            &linked.link.mac[..],
            &linked.seal[..],
            &head.link.mac[..],
            &payloads.ts as &[Timestamp],
            &payloads.id as &[Uuid],
            &payloads.kind as &[&str],
            &payloads.codec as &[&str],
            &payloads.size as &[i64],
            &payloads.kept as &[i64],
            &payloads.body as &[&[u8]],
            &self.place as &[i32],
            &self.ts as &[Timestamp],
            &self.id as &[Uuid],
            &self.at as &[Timestamp],
            &self.call_id as &[Uuid],
            &self.concludes as &[bool],
            &self.action as &[&str],
            &self.outcome as &[&str],
            &self.reason as &[Option<&str>],
            &self.detail as &[Option<&str>],
            &self.count as &[i64],
            &self.actor_id as &[Option<Uuid>],
            &self.actor_email as &[Option<&str>],
            &self.auth_method as &[Option<&str>],
            &self.credential as &[Option<&str>],
            &self.client_name as &[Option<&str>],
            &self.client_version as &[Option<&str>],
            &self.client_ip as &[Option<&str>],
            &self.session as &[Option<&str>],
            &self.request_id as &[Option<&str>],
            &self.server_id as &[Option<Uuid>],
            &self.server_slug as &[Option<&str>],
            &self.method as &[Option<&str>],
            &self.era as &[Option<&str>],
            &self.resource_type as &[Option<&str>],
            &self.resource_name as &[Option<&str>],
            &self.policy_ids as &[&str],
            &self.findings as &[&str],
            &self.confirmation_id as &[Option<Uuid>],
            &self.trace_id as &[Option<&str>],
            &self.latency_us as &[Option<i64>],
            &self.upstream_us as &[Option<i64>],
            &self.request_bytes as &[Option<i64>],
            &self.response_bytes as &[Option<i64>],
            &self.arguments_digest as &[Option<&[u8]>],
            &self.result_digest as &[Option<&[u8]>],
            &self.actor_kind as &[Option<&str>],
            &self.agent_id as &[Option<Uuid>],
            &self.agent_name as &[Option<&str>],
        )
        .execute(connection)
        .await?;
        Ok(written.rows_affected())
    }

    /// The places of those that are in the table, or whose intent is concluded there.
    async fn there(&self, connection: &mut PgConnection) -> Result<Vec<i32>, sqlx::Error> {
        sqlx::query_scalar!(
            r#"select asked.place as "place!"
             from unnest($1::integer[], $2::timestamptz[], $3::uuid[], $4::uuid[], $5::boolean[])
                as asked (place, ts, id, call_id, concludes)
             where exists (select from audit_event e where e.id = asked.id and e.ts = asked.ts)
                or asked.concludes and exists (select from audit_event e
                    where e.call_id = asked.call_id and e.ts = asked.ts and e.concludes)"#,
            &self.place as &[i32],
            &self.ts as &[Timestamp],
            &self.id as &[Uuid],
            &self.call_id as &[Uuid],
            &self.concludes as &[bool],
        )
        .fetch_all(connection)
        .await
    }
}
