//! What analytics read: sums over a range, from the rollups of migration 0005 and never from raw rows.
//!
//! Ranges are UTC instants in whole quarters of an hour; time zones and names are the caller's business.
//! A call is a tool call that was made, `failures` those of them that did not succeed, `denied` tool calls
//! that were refused.

mod span;

use std::collections::HashMap;
use std::ops::AddAssign;

use gateway_core::Timestamp;
use gateway_core::ids::{ServerId, UserId};
use sqlx::{Postgres, Transaction};
use uuid::Uuid;

pub use span::{QUARTER, Span};

use crate::{Store, StoreError};

/// How many latency classes there are: one more than bounds.
pub const LATENCY_CLASSES: usize = 16;
/// Upper bounds of the latency classes but the last, microseconds; as `audit_latency_bounds()` has them.
pub const LATENCY_BOUNDS: [i64; LATENCY_CLASSES - 1] = [
    1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 2_000_000,
    5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

/// What is counted of calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Tool calls that were made.
    pub calls: i64,
    /// Those of them that did not succeed.
    pub failures: i64,
    /// Tool calls that were refused.
    pub denied: i64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, more: Counts) {
        self.calls += more.calls;
        self.failures += more.failures;
        self.denied += more.denied;
    }
}

/// One tool in a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolFigures {
    /// Its server.
    pub server: ServerId,
    /// Its name.
    pub tool: String,
    /// How often.
    pub counts: Counts,
    /// Time of all measured calls together, microseconds.
    pub latency_us: i64,
    /// Measured calls by latency class.
    pub latency: [i64; LATENCY_CLASSES],
    /// When the last call began that succeeded.
    pub last_success_at: Option<Timestamp>,
    /// When the last call began that failed.
    pub last_failure_at: Option<Timestamp>,
    /// That one's reason; where it has none how it ended.
    pub last_failure: Option<String>,
}

/// One group of calls by people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group<K> {
    /// What they have in common.
    pub by: K,
    /// How often.
    pub counts: Counts,
    /// How many different people and agent accounts called or were refused.
    pub people: i64,
}

/// One kind of verdict in a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdicts {
    /// `access_denied`, `confirmation_requested`, ...
    pub action: String,
    /// Why; empty where there is no reason.
    pub reason: String,
    /// Where, if on a server.
    pub server: Option<ServerId>,
    /// `tool`, `resource`, ...; empty where it was about nothing of a server.
    pub resource_type: String,
    /// A tool's or prompt's name; empty for what clients may invent.
    pub resource_name: String,
    /// How often.
    pub events: i64,
}

/// Who was active in a stretch of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Active {
    /// People, on whose behalf agents may have acted.
    pub people: i64,
    /// Agent accounts that acted for themselves.
    pub agents: i64,
}

impl Store {
    /// Every tool that was called in `span`, of one server or all. Unsorted.
    pub async fn tool_figures(
        &self,
        span: Span,
        server: Option<ServerId>,
    ) -> Result<Vec<ToolFigures>, StoreError> {
        self.within("counting calls by tool", tools(self, span, server)).await
    }

    /// Calls in `span` by who made them, on one server or all.
    pub async fn calls_by_person(
        &self,
        span: Span,
        server: Option<ServerId>,
    ) -> Result<Vec<Group<UserId>>, StoreError> {
        self.within("counting calls by person", by_person(self, span, server)).await
    }

    /// Calls in `span` by server.
    pub async fn calls_by_server(&self, span: Span) -> Result<Vec<(ServerId, Counts)>, StoreError> {
        self.within("counting calls by server", by_server(self, span)).await
    }

    /// Calls in `span` by the MCP client's name (empty: it gave none), on one server or all.
    pub async fn calls_by_client(
        &self,
        span: Span,
        server: Option<ServerId>,
    ) -> Result<Vec<Group<String>>, StoreError> {
        self.within("counting calls by client", by_client(self, span, server)).await
    }

    /// Calls between each two neighbours of `bounds`, which ascend in whole quarters.
    pub async fn calls_by_time(
        &self,
        bounds: &[Timestamp],
        server: Option<ServerId>,
    ) -> Result<Vec<Counts>, StoreError> {
        self.within("counting calls by time", by_time(self, bounds, server)).await
    }

    /// Refusals, and what people were asked and answered, in `span`.
    pub async fn verdicts(&self, span: Span) -> Result<Vec<Verdicts>, StoreError> {
        self.within("counting verdicts", verdicts(self, span)).await
    }

    /// How many were active between each two neighbours of `bounds`, which ascend in whole quarters, and in each of
    /// the `groups` that those stretches make: their numbers, from 0 on.
    pub async fn active(
        &self,
        bounds: &[Timestamp],
        groups: &[usize],
    ) -> Result<(Vec<Active>, Vec<Active>), StoreError> {
        self.within("counting active people", active(self, bounds, groups)).await
    }
}

/// A plan for exactly this range: one for all of them would read everything.
async fn planned(store: &Store) -> Result<Transaction<'static, Postgres>, StoreError> {
    let mut transaction = store.pool().begin().await?;
    sqlx::query!("select set_config('plan_cache_mode', 'force_custom_plan', true)")
        .fetch_one(&mut *transaction)
        .await?;
    Ok(transaction)
}

async fn tools(
    store: &Store,
    span: Span,
    server: Option<ServerId>,
) -> Result<Vec<ToolFigures>, StoreError> {
    let mut transaction = planned(store).await?;
    let rows = sqlx::query_file!(
        "src/analytics/tools.sql",
        span.first(),
        span.day_first(),
        span.day_past(),
        span.past(),
        server.map(|id| id.0),
    )
    .fetch_all(&mut *transaction)
    .await?;
    transaction.rollback().await?;
    let figures = rows.into_iter().map(|row| ToolFigures {
        server: ServerId(row.server_id),
        tool: row.tool,
        counts: Counts { calls: row.calls, failures: row.failures, denied: row.denied },
        latency_us: row.latency_us,
        latency: row.latency.try_into().unwrap_or_default(),
        last_success_at: row.last_success_at,
        last_failure_at: row.last_failure_at,
        last_failure: row.last_failure,
    });
    Ok(figures.collect())
}

async fn by_person(
    store: &Store,
    span: Span,
    server: Option<ServerId>,
) -> Result<Vec<Group<UserId>>, StoreError> {
    let mut found: HashMap<UserId, Group<UserId>> = HashMap::new();
    for part in people(store, span, server).await? {
        let group = Group { by: part.actor, counts: Counts::default(), people: 1 };
        found.entry(part.actor).or_insert(group).counts += part.counts;
    }
    Ok(found.into_values().collect())
}

async fn by_client(
    store: &Store,
    span: Span,
    server: Option<ServerId>,
) -> Result<Vec<Group<String>>, StoreError> {
    let mut found: HashMap<String, Group<String>> = HashMap::new();
    for Part { client, counts, .. } in people(store, span, server).await? {
        let empty = || Group { by: client.clone(), counts: Counts::default(), people: 0 };
        let group = found.entry(client.clone()).or_insert_with(empty);
        group.counts += counts;
        group.people += 1;
    }
    Ok(found.into_values().collect())
}

/// Somebody's calls with one client.
struct Part {
    actor: UserId,
    client: String,
    counts: Counts,
}

macro_rules! part {
    () => {
        |row| Part {
            actor: UserId(row.actor_id),
            client: row.client_name,
            counts: Counts { calls: row.calls, failures: row.failures, denied: row.denied },
        }
    };
}

async fn people(
    store: &Store,
    span: Span,
    server: Option<ServerId>,
) -> Result<Vec<Part>, StoreError> {
    let (first, day_first) = (span.first(), span.day_first());
    let (day_past, past) = (span.day_past(), span.past());
    let mut transaction = planned(store).await?;
    let found = match server {
        Some(server) => sqlx::query!(
            r#"select actor_id as "actor_id!", client_name as "client_name!", sum(calls)::bigint as "calls!",
                sum(failures)::bigint as "failures!", sum(denied)::bigint as "denied!"
            from audit_usage($1, $2, $3, $4, $5) group by actor_id, client_name"#,
            server.0,
            first,
            day_first,
            day_past,
            past,
        )
        .map(part!())
        .fetch_all(&mut *transaction)
        .await?,
        None => sqlx::query!(
            r#"select actor_id as "actor_id!", client_name as "client_name!", sum(calls)::bigint as "calls!",
                sum(failures)::bigint as "failures!", sum(denied)::bigint as "denied!"
            from audit_people($1, $2, $3, $4) group by actor_id, client_name"#,
            first,
            day_first,
            day_past,
            past,
        )
        .map(part!())
        .fetch_all(&mut *transaction)
        .await?,
    };
    transaction.rollback().await?;
    Ok(found)
}

async fn by_server(store: &Store, span: Span) -> Result<Vec<(ServerId, Counts)>, StoreError> {
    let mut transaction = planned(store).await?;
    let rows = sqlx::query!(
        r#"select server_id as "by!", sum(calls)::bigint as "calls!", sum(failures)::bigint as "failures!",
            sum(denied)::bigint as "denied!"
        from audit_calls_quarter where bucket >= $1 and bucket < $2 group by server_id"#,
        span.first(),
        span.past(),
    )
    .fetch_all(&mut *transaction)
    .await?;
    transaction.rollback().await?;
    let servers = rows.into_iter().map(|row| {
        let counts = Counts { calls: row.calls, failures: row.failures, denied: row.denied };
        (ServerId(row.by), counts)
    });
    Ok(servers.collect())
}

async fn by_time(
    store: &Store,
    bounds: &[Timestamp],
    server: Option<ServerId>,
) -> Result<Vec<Counts>, StoreError> {
    let (Some(first), Some(past)) = (bounds.first(), bounds.last()) else { return Ok(vec![]) };
    let mut transaction = planned(store).await?;
    let rows = sqlx::query!(
        r#"select width_bucket(bucket, $1::timestamptz[]) as "place!", sum(calls)::bigint as "calls!",
            sum(failures)::bigint as "failures!", sum(denied)::bigint as "denied!"
        from audit_calls_quarter
        where bucket >= $2 and bucket < $3 and ($4::uuid is null or server_id = $4) group by 1"#,
        bounds,
        first,
        past,
        server.map(|id| id.0),
    )
    .fetch_all(&mut *transaction)
    .await?;
    transaction.rollback().await?;
    let mut counts = vec![Counts::default(); bounds.len() - 1];
    for row in rows {
        if let Some(count) = place(&mut counts, row.place) {
            *count = Counts { calls: row.calls, failures: row.failures, denied: row.denied };
        }
    }
    Ok(counts)
}

async fn verdicts(store: &Store, span: Span) -> Result<Vec<Verdicts>, StoreError> {
    let mut transaction = planned(store).await?;
    let rows = sqlx::query!(
        r#"select action as "action!", reason as "reason!", server_id as "server_id!",
            resource_type as "resource_type!", resource_name as "resource_name!", sum(events)::bigint as "events!"
        from audit_verdicts($1, $2, $3, $4)
        group by action, reason, server_id, resource_type, resource_name"#,
        span.first(),
        span.day_first(),
        span.day_past(),
        span.past(),
    )
    .fetch_all(&mut *transaction)
    .await?;
    transaction.rollback().await?;
    let verdicts = rows.into_iter().map(|row| Verdicts {
        action: row.action,
        reason: row.reason,
        server: Some(row.server_id).filter(|id| *id != Uuid::nil()).map(ServerId),
        resource_type: row.resource_type,
        resource_name: row.resource_name,
        events: row.events,
    });
    Ok(verdicts.collect())
}

async fn active(
    store: &Store,
    bounds: &[Timestamp],
    groups: &[usize],
) -> Result<(Vec<Active>, Vec<Active>), StoreError> {
    let (Some(first), Some(past)) = (bounds.first(), bounds.last()) else {
        return Ok((vec![], vec![]));
    };
    let numbers: Vec<i32> =
        groups.iter().map(|group| i32::try_from(group + 1).unwrap_or(i32::MAX)).collect();
    let mut transaction = planned(store).await?;
    let rows = sqlx::query_file!("src/analytics/active.sql", bounds, &numbers, first, past)
        .fetch_all(&mut *transaction)
        .await?;
    transaction.rollback().await?;
    let mut stretches = vec![Active::default(); bounds.len() - 1];
    let mut grouped = vec![Active::default(); groups.last().map_or(0, |last| last + 1)];
    for row in rows {
        let among = if row.grouped { &mut grouped } else { &mut stretches };
        let Some(count) = place(among, row.place) else { continue };
        let kind = if row.agent { &mut count.agents } else { &mut count.people };
        *kind = row.active;
    }
    Ok((stretches, grouped))
}

/// The stretch with that number, from 1.
fn place<T>(stretches: &mut [T], number: i32) -> Option<&mut T> {
    stretches.get_mut(usize::try_from(number).ok()?.checked_sub(1)?)
}
