//! Reading the trail: pages by key, newest first, and single entries with what they carried.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use gateway_core::Timestamp;
use gateway_core::ids::{CallId, ConfirmationId, EventId, ServerId, UserId};
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::payload::{Codec, Packed, Payload};
use super::row::instant_of;
use crate::{Store, StoreError};

/// Most entries of a page.
pub const PAGE_LIMIT: usize = 200;
/// Most entries of an export.
pub const EXPORT_LIMIT: usize = 10_000;
/// How far the clocks of replicas may be apart.
const CLOCKS_APART: Duration = Duration::from_secs(300);

/// Which entries. All that is set must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Any of these action types; empty: all.
    pub action_types: Vec<String>,
    /// `tool`, `resource`, `prompt`, `server`, ...
    pub resource_type: Option<String>,
    /// Tool or prompt name, resource URI, entity id.
    pub resource_id: Option<String>,
    /// Who. Whoever may see their own entries only gets this forced to themselves.
    pub actor_id: Option<UserId>,
    /// The exchange.
    pub correlation_id: Option<CallId>,
    /// The MCP client's name.
    pub client_name: Option<String>,
    /// The server.
    pub server_id: Option<ServerId>,
    /// With a server: only what was not refused because there is no such server for whoever called.
    pub reached: bool,
    /// The agent account, acting for itself or on somebody's behalf.
    pub agent_id: Option<UserId>,
    /// `ok`, `error`, `denied`, `cancelled`, `unknown`.
    pub outcome: Option<String>,
    /// From then on.
    pub start: Option<Timestamp>,
    /// Before then.
    pub end: Option<Timestamp>,
}

/// Whose entries somebody may see; without both: everybody's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Only {
    /// Theirs.
    pub actor: Option<UserId>,
    /// What this agent did.
    pub agent: Option<UserId>,
}

/// Where a page ended. Its text is not secret and not authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventCursor {
    pub(super) ts: Timestamp,
    pub(super) id: Uuid,
}

/// A page of entries, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventPage {
    /// The entries.
    pub events: Vec<EventEntry>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<EventCursor>,
}

/// An entry without its bodies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EventEntry {
    /// The entry.
    pub id: EventId,
    /// When the exchange began (for entries that conclude a call), or when it happened.
    #[serde(with = "time::serde::rfc3339")]
    pub timestamp: Timestamp,
    /// When it was over.
    #[serde(with = "time::serde::rfc3339")]
    pub finished_at: Timestamp,
    /// The exchange; what the client saw as correlation id.
    pub correlation_id: CallId,
    /// What kind of event.
    pub action_type: String,
    /// How it ended.
    pub outcome: String,
    /// Why it was refused or failed.
    pub reason: Option<String>,
    /// What was tried, on what.
    pub detail: Option<String>,
    /// How many like it this entry stands for.
    pub count: i64,
    /// The person, or the agent that acts for itself.
    pub actor_id: Option<UserId>,
    /// The person's e-mail at the time.
    pub actor_email: Option<String>,
    /// `person` or `agent`.
    pub actor_kind: Option<String>,
    /// The agent account that acted, for itself or on the actor's behalf.
    pub agent_id: Option<UserId>,
    /// Its name at the time.
    pub agent_name: Option<String>,
    /// `api_key` or `jwt`.
    pub auth_method: Option<String>,
    /// The key's id or the token's issuer.
    pub credential: Option<String>,
    /// The MCP client's name.
    pub client_name: Option<String>,
    /// The MCP client's version.
    pub client_version: Option<String>,
    /// The caller's address.
    pub client_ip: Option<String>,
    /// A short hash of the session handle.
    pub session: Option<String>,
    /// The JSON-RPC id, as JSON text.
    pub request_id: Option<String>,
    /// The server.
    pub server_id: Option<ServerId>,
    /// The server's slug at the time.
    pub server_slug: Option<String>,
    /// The MCP method or operation.
    pub method: Option<String>,
    /// `legacy` or `modern`.
    pub era: Option<String>,
    /// `tool`, `resource`, `prompt`, `server`, ...
    pub resource_type: Option<String>,
    /// Tool or prompt name, resource URI, entity id.
    pub resource_name: Option<String>,
    /// The deciding policies.
    pub policy_ids: Vec<String>,
    /// What the scanners saw: rule, offset, count.
    pub findings: serde_json::Value,
    /// The confirmation that let it pass.
    pub confirmation_id: Option<ConfirmationId>,
    /// The W3C trace id.
    pub trace_id: Option<String>,
    /// From first byte in to last byte out, microseconds.
    pub latency_us: Option<i64>,
    /// Time spent with the upstream, microseconds.
    pub upstream_us: Option<i64>,
    /// Bytes of the request body.
    pub request_bytes: Option<i64>,
    /// Bytes of the answer's body.
    pub response_bytes: Option<i64>,
}

/// An entry with everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventDetail {
    /// The entry.
    pub event: EventEntry,
    /// The call's arguments, if they are kept (still).
    pub arguments: Option<Payload>,
    /// The answer, or a change's before and after, if kept (still).
    pub result: Option<Payload>,
    /// When the intent was made that this entry concludes.
    pub intended_at: Option<Timestamp>,
    /// Other entries of the same exchange, oldest first.
    pub neighbours: Vec<EventEntry>,
}

impl fmt::Display for EventCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.ts.unix_timestamp_nanos() / 1000, self.id.simple())
    }
}

impl FromStr for EventCursor {
    type Err = StoreError;
    fn from_str(text: &str) -> Result<EventCursor, StoreError> {
        let bad = || StoreError::Invalid("not a cursor of ours".into());
        let (micros, id) = text.split_once('.').ok_or_else(bad)?;
        let micros: i64 = micros.parse().map_err(|_| bad())?;
        let ts = OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000);
        Ok(EventCursor { ts: ts.map_err(|_| bad())?, id: id.parse().map_err(|_| bad())? })
    }
}

impl Store {
    /// A page of at most `limit` (and [`PAGE_LIMIT`]) entries after `after`, newest first.
    pub async fn list_events(
        &self,
        filter: &EventFilter,
        after: Option<EventCursor>,
        limit: usize,
    ) -> Result<EventPage, StoreError> {
        self.within("listing audit events", page(self, filter, after, limit.min(PAGE_LIMIT))).await
    }

    /// Like [`Store::list_events`], up to [`EXPORT_LIMIT`] entries at once.
    pub async fn export_events(
        &self,
        filter: &EventFilter,
        after: Option<EventCursor>,
        limit: usize,
    ) -> Result<EventPage, StoreError> {
        self.within("exporting audit events", page(self, filter, after, limit.min(EXPORT_LIMIT)))
            .await
    }

    /// One entry with bodies and neighbours. An entry that is not `only`'s is as absent.
    pub async fn get_event(
        &self,
        id: EventId,
        only: Only,
    ) -> Result<Option<EventDetail>, StoreError> {
        self.within("reading an audit event", detail(self, id, only)).await
    }
}

async fn page(
    store: &Store,
    filter: &EventFilter,
    after: Option<EventCursor>,
    limit: usize,
) -> Result<EventPage, StoreError> {
    let limit = limit.max(1);
    let mut transaction = store.pool().begin().await?;
    // A plan for exactly these filters: one for all of them would read everything.
    sqlx::query!("select set_config('plan_cache_mode', 'force_custom_plan', true)")
        .fetch_one(&mut *transaction)
        .await?;
    let rows = sqlx::query_file_as!(
        EventFields,
        "src/audit/list_events.sql",
        &filter.action_types,
        filter.resource_type,
        filter.resource_id,
        filter.actor_id.map(|id| id.0),
        filter.correlation_id.map(|id| id.0),
        filter.client_name,
        filter.server_id.map(|id| id.0),
        filter.outcome,
        filter.start,
        filter.end,
        after.map(|cursor| cursor.ts),
        after.map(|cursor| cursor.id),
        i64::try_from(limit + 1).unwrap_or(i64::MAX),
        filter.agent_id.map(|id| id.0),
        filter.reached,
    )
    .fetch_all(&mut *transaction)
    .await?;
    transaction.rollback().await?;
    let more = rows.len() > limit;
    let rows = &rows[..rows.len().min(limit)];
    let last = rows.last().filter(|_| more);
    Ok(EventPage {
        next: last.map(|row| EventCursor { ts: row.ts, id: row.id }),
        events: rows.iter().map(EventFields::entry).collect(),
    })
}

async fn detail(store: &Store, id: EventId, only: Only) -> Result<Option<EventDetail>, StoreError> {
    // An event that concludes a call carries the call's start, so it is hardly later than its own id says.
    let made = instant_of(id.0).map(|made| made + CLOCKS_APART);
    let (actor, agent) = (only.actor.map(|id| id.0), only.agent.map(|id| id.0));
    let found =
        sqlx::query_file_as!(EventFields, "src/audit/get_event.sql", id.0, made, actor, agent)
            .fetch_optional(store.pool())
            .await?;
    let Some(found) = found else { return Ok(None) };
    let rows = sqlx::query_file_as!(
        EventFields,
        "src/audit/call_events.sql",
        found.call_id,
        id.0,
        actor,
        agent
    )
    .fetch_all(store.pool())
    .await?;
    let call_ts = instant_of(found.call_id).unwrap_or(found.ts);
    let intended_at = sqlx::query_scalar!(
        "select ts from audit_intent where ts = $1 and id = $2",
        call_ts,
        found.call_id
    )
    .fetch_optional(store.pool())
    .await?;
    let intended_at = intended_at.filter(|_| found.concludes);
    let mut detail = EventDetail {
        event: found.entry(),
        arguments: None,
        result: None,
        intended_at,
        neighbours: rows.iter().map(EventFields::entry).collect(),
    };
    read_bodies(store, &found, call_ts, &mut detail).await?;
    Ok(Some(detail))
}

async fn read_bodies(
    store: &Store,
    found: &EventFields,
    call_ts: Timestamp,
    detail: &mut EventDetail,
) -> Result<(), StoreError> {
    let bodies = sqlx::query!(
        "select kind, codec, size, kept, body from audit_payload
         where (ts = $1 and id = $2) or (ts = $3 and id = $4 and $5)",
        found.ts,
        found.id,
        call_ts,
        found.call_id,
        found.concludes,
    )
    .fetch_all(store.pool())
    .await?;
    for body in bodies {
        let codec = Codec::parse(&body.codec)
            .ok_or_else(|| StoreError::Corrupt(format!("payload codec {}", body.codec)))?;
        let packed = Packed { codec, size: body.size, kept: body.kept, body: body.body };
        let payload = packed.unpack().map_err(StoreError::Corrupt)?;
        match body.kind.as_str() {
            "result" => detail.result = Some(payload),
            _ => detail.arguments = Some(payload),
        }
    }
    Ok(())
}

/// The columns that entries are made of.
struct EventFields {
    ts: Timestamp,
    id: Uuid,
    at: Timestamp,
    call_id: Uuid,
    concludes: bool,
    action: String,
    outcome: String,
    reason: Option<String>,
    detail: Option<String>,
    count: i64,
    actor_id: Option<Uuid>,
    actor_email: Option<String>,
    actor_kind: Option<String>,
    agent_id: Option<Uuid>,
    agent_name: Option<String>,
    auth_method: Option<String>,
    credential: Option<String>,
    client_name: Option<String>,
    client_version: Option<String>,
    client_ip: Option<String>,
    session: Option<String>,
    request_id: Option<String>,
    server_id: Option<Uuid>,
    server_slug: Option<String>,
    method: Option<String>,
    era: Option<String>,
    resource_type: Option<String>,
    resource_name: Option<String>,
    policy_ids: String,
    findings: String,
    confirmation_id: Option<Uuid>,
    trace_id: Option<String>,
    latency_us: Option<i64>,
    upstream_us: Option<i64>,
    request_bytes: Option<i64>,
    response_bytes: Option<i64>,
}

impl EventFields {
    fn entry(&self) -> EventEntry {
        EventEntry {
            id: EventId(self.id),
            timestamp: self.ts,
            finished_at: self.at,
            correlation_id: CallId(self.call_id),
            action_type: self.action.clone(),
            outcome: self.outcome.clone(),
            reason: self.reason.clone(),
            detail: self.detail.clone(),
            count: self.count,
            actor_id: self.actor_id.map(UserId),
            actor_email: self.actor_email.clone(),
            actor_kind: self.actor_kind.clone(),
            agent_id: self.agent_id.map(UserId),
            agent_name: self.agent_name.clone(),
            auth_method: self.auth_method.clone(),
            credential: self.credential.clone(),
            client_name: self.client_name.clone(),
            client_version: self.client_version.clone(),
            client_ip: self.client_ip.clone(),
            session: self.session.clone(),
            request_id: self.request_id.clone(),
            server_id: self.server_id.map(ServerId),
            server_slug: self.server_slug.clone(),
            method: self.method.clone(),
            era: self.era.clone(),
            resource_type: self.resource_type.clone(),
            resource_name: self.resource_name.clone(),
            policy_ids: serde_json::from_str(&self.policy_ids).unwrap_or_default(),
            findings: serde_json::from_str(&self.findings).unwrap_or_default(),
            confirmation_id: self.confirmation_id.map(ConfirmationId),
            trace_id: self.trace_id.clone(),
            latency_us: self.latency_us,
            upstream_us: self.upstream_us,
            request_bytes: self.request_bytes,
            response_bytes: self.response_bytes,
        }
    }
}
