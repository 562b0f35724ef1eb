//! What can be reported: each dataset with its columns, and how its rows come from the store's sums. Names come
//! from the catalogue as it is now; what is gone from it is called by its id.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use gateway_core::Timestamp;
use gateway_core::caller::PrincipalKind;
use gateway_core::ids::{ServerId, UserId};
use gateway_store::analytics::{Active, Counts, Group, ToolFigures};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::rfc3339;
use super::super::run::Run;
use super::super::table::{Columns, Row};
use super::latency::Latency;
use super::range::{Pieces, Range};
use crate::perform::Refused;

/// Rows of a ranking when nobody says how many.
const RANKED: u32 = 50;

macro_rules! datasets {
    ($(#[$doc:meta])* $name:ident, $all:ident: $($(#[$one:meta])* $variant:ident = $text:literal [$($column:literal: $meaning:literal,)+])+) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$one])* $variant,)+ }

        /// Each with its columns and what they mean.
        pub const $all: &[(&str, &[(&str, &str)])] = &[$(($text, &[$(($column, $meaning),)+]),)+];

        impl $name {
            fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)+ }
            }

            fn columns(self) -> Columns {
                match self { $($name::$variant => &[$(($column, $meaning),)+],)+ }
            }
        }
    };
}

datasets! {
    /// What can be reported of everything.
    Dataset, DATASETS:
    /// Tools by calls.
    TopTools = "top_tools" [
        "server": "slug",
        "server_id": "id",
        "tool": "name",
        "calls": "tool calls that were made",
        "failures": "calls that did not succeed",
        "failure_rate": "failures / calls",
        "denied": "tool calls that were refused",
        "mean_ms": "mean latency, milliseconds",
        "p95_ms": "95th percentile, estimated inside its latency class",
    ]
    /// People and agents by calls.
    TopUsers = "top_users" [
        "user": "e-mail address, or an agent's name",
        "user_id": "id",
        "kind": "person or agent (acting for itself)",
        "calls": "tool calls that were made",
        "failures": "calls that did not succeed",
        "failure_rate": "failures / calls",
        "denied": "tool calls that were refused",
    ]
    /// Servers by calls.
    TopServers = "top_servers" [
        "server": "slug",
        "server_id": "id",
        "calls": "tool calls that were made",
        "failures": "calls that did not succeed",
        "failure_rate": "failures / calls",
        "denied": "tool calls that were refused",
    ]
    /// Calls by hour.
    ToolCallsHourly = "tool_calls_hourly" [
        "hour": "when it begins in the time zone, RFC 3339; one that comes twice is two rows",
        "calls": "tool calls that were made",
        "failures": "calls that did not succeed",
        "failure_rate": "failures / calls",
        "denied": "tool calls that were refused",
    ]
    /// Calls by day.
    ToolCallsDaily = "tool_calls_daily" [
        "day": "date in the time zone",
        "hours": "how long it is within the range; 23 or 25 when clocks change",
        "calls": "tool calls that were made",
        "failures": "calls that did not succeed",
        "failure_rate": "failures / calls",
        "denied": "tool calls that were refused",
    ]
    /// MCP clients by calls.
    McpClients = "mcp_clients" [
        "client": "name, as the client gives it",
        "calls": "tool calls that were made",
        "failures": "calls that did not succeed",
        "failure_rate": "failures / calls",
        "denied": "tool calls that were refused",
        "people": "people and agents that called or were refused with it",
    ]
    /// Refusals of all kinds by reason and target.
    Denials = "denials" [
        "action_type": "as in the audit log",
        "reason": "code",
        "server": "slug",
        "server_id": "id",
        "resource_type": "tool, resource, prompt, ...",
        "resource_id": "tool or prompt; empty where a client could invent names",
        "denials": "how often",
    ]
    /// Latency by tool.
    Latency = "latency" [
        "server": "slug",
        "server_id": "id",
        "tool": "name",
        "calls": "tool calls that were made",
        "mean_ms": "mean latency, milliseconds",
        "p50_ms": "median, estimated inside its latency class",
        "p95_ms": "95th percentile, likewise",
        "p99_ms": "99th percentile, likewise",
    ]
    /// Calls that asked for a human's agreement.
    Confirmations = "confirmations" [
        "server": "slug",
        "server_id": "id",
        "requested": "calls that people were asked about",
        "approved": "answers yes",
        "declined": "answers no",
    ]
    /// Who uses tools at all.
    Adoption = "adoption" [
        "period": "day or week (from Monday)",
        "start": "its first date within the range, in the time zone",
        "people": "people with at least one tool call, through agents too",
        "agents": "agents with at least one tool call of their own",
    ]
}

datasets! {
    /// What can be reported of one server.
    ServerDataset, SERVER_DATASETS:
    /// How its tools do.
    ToolHealth = "tool_health" [
        "tool": "name",
        "calls": "tool calls that were made",
        "failures": "calls that did not succeed",
        "failure_rate": "failures / calls",
        "denied": "tool calls that were refused",
        "mean_ms": "mean latency, milliseconds",
        "p50_ms": "median, estimated inside its latency class",
        "p95_ms": "95th percentile, likewise",
        "p99_ms": "99th percentile, likewise",
        "last_success": "when the last call that succeeded began",
        "last_error": "when the last call that failed began",
        "last_error_reason": "why it failed; error: the tool said so itself",
    ]
    /// Who uses it, with what, when.
    Usage = "usage" [
        "by": "person, client or day",
        "name": "address or agent's name, client's name, date in the time zone",
        "calls": "tool calls that were made",
        "failures": "calls that did not succeed",
        "failure_rate": "failures / calls",
        "denied": "tool calls that were refused",
    ]
}

/// A dataset of everything or of one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Everywhere(Dataset),
    Server(ServerId, ServerDataset),
}

impl Source {
    pub(super) fn name(self) -> &'static str {
        match self {
            Source::Everywhere(dataset) => dataset.name(),
            Source::Server(_, dataset) => dataset.name(),
        }
    }

    /// The name, and of which server.
    pub(super) fn identity(self) -> String {
        match self {
            Source::Everywhere(dataset) => dataset.name().to_owned(),
            Source::Server(server, dataset) => format!("{}/{server}", dataset.name()),
        }
    }

    pub(super) fn columns(self) -> Columns {
        match self {
            Source::Everywhere(dataset) => dataset.columns(),
            Source::Server(_, dataset) => dataset.columns(),
        }
    }

    /// How many rows when nobody says: of rankings the top, of series all.
    pub(super) fn usual_limit(self, most: u32) -> u32 {
        use Dataset::{Denials, Latency, McpClients, TopServers, TopTools, TopUsers};
        match self {
            Source::Everywhere(
                TopTools | TopUsers | TopServers | McpClients | Denials | Latency,
            ) => RANKED,
            Source::Everywhere(
                Dataset::ToolCallsHourly
                | Dataset::ToolCallsDaily
                | Dataset::Confirmations
                | Dataset::Adoption,
            )
            | Source::Server(..) => most,
        }
    }

    pub(super) async fn rows(self, run: &Run<'_>, range: &Range) -> Result<Vec<Row>, Refused> {
        match self {
            Source::Everywhere(Dataset::TopTools) => tools(run, range, top_tool).await,
            Source::Everywhere(Dataset::Latency) => tools(run, range, latency).await,
            Source::Everywhere(Dataset::TopUsers) => users(run, range).await,
            Source::Everywhere(Dataset::TopServers) => servers(run, range).await,
            Source::Everywhere(Dataset::McpClients) => clients(run, range).await,
            Source::Everywhere(Dataset::ToolCallsHourly) => hourly(run, range).await,
            Source::Everywhere(Dataset::ToolCallsDaily) => daily(run, range).await,
            Source::Everywhere(Dataset::Denials) => denials(run, range).await,
            Source::Everywhere(Dataset::Confirmations) => confirmations(run, range).await,
            Source::Everywhere(Dataset::Adoption) => adoption(run, range).await,
            Source::Server(server, ServerDataset::ToolHealth) => health(run, range, server).await,
            Source::Server(server, ServerDataset::Usage) => usage(run, range, server).await,
        }
    }
}

/// Calls, failures, failure rate and denied, as most datasets have them.
fn counted(counts: Counts) -> [Value; 4] {
    let Counts { calls, failures, denied } = counts;
    [json!(calls), json!(failures), rate(failures, calls), json!(denied)]
}

/// With four places; null where nothing was called.
fn rate(failures: i64, calls: i64) -> Value {
    match calls {
        0 => Value::Null,
        calls => json!((failures as f64 / calls as f64 * 10_000.0).round() / 10_000.0),
    }
}

/// Most calls first; what is equal, by name.
fn most_first<T, K: Ord>(rows: &mut [T], key: impl Fn(&T) -> (Counts, K)) {
    rows.sort_by_cached_key(|row| {
        let (Counts { calls, denied, .. }, name) = key(row);
        (Reverse((calls, denied)), name)
    });
}

fn slug(run: &Run<'_>, server: ServerId) -> String {
    let known = run.snapshot.server_by_id(server);
    known.map_or_else(|| server.to_string(), |server| server.slug.to_string())
}

/// What a person or an agent is called, and which of both it is.
fn principal(run: &Run<'_>, id: UserId) -> (String, Option<&'static str>) {
    match run.snapshot.principal(id) {
        Some(known) if known.kind == PrincipalKind::Agent => (known.name.clone(), Some("agent")),
        Some(known) => (known.email.clone(), Some("person")),
        None => (id.to_string(), None),
    }
}

async fn tools(
    run: &Run<'_>,
    range: &Range,
    row: fn(&Run<'_>, &ToolFigures) -> Row,
) -> Result<Vec<Row>, Refused> {
    let found =
        run.governance.store.tool_figures(range.span, None).await.map_err(Refused::store)?;
    let mut made: Vec<_> = found.into_iter().filter(|tool| tool.counts.calls > 0).collect();
    most_first(&mut made, |tool| (tool.counts, (slug(run, tool.server), tool.tool.clone())));
    Ok(made.iter().map(|tool| row(run, tool)).collect())
}

fn top_tool(run: &Run<'_>, tool: &ToolFigures) -> Row {
    let measured = Latency::of(tool);
    let mut row = vec![json!(slug(run, tool.server)), json!(tool.server), json!(tool.tool)];
    row.extend(counted(tool.counts));
    row.extend([measured.mean_ms(), measured.percentile_ms(95)]);
    row
}

fn latency(run: &Run<'_>, tool: &ToolFigures) -> Row {
    let mut row = vec![json!(slug(run, tool.server)), json!(tool.server), json!(tool.tool)];
    row.push(json!(tool.counts.calls));
    row.extend(percentiles(tool));
    row
}

fn percentiles(tool: &ToolFigures) -> [Value; 4] {
    let measured = Latency::of(tool);
    let [p50, p95, p99] = [50, 95, 99].map(|percent| measured.percentile_ms(percent));
    [measured.mean_ms(), p50, p95, p99]
}

async fn users(run: &Run<'_>, range: &Range) -> Result<Vec<Row>, Refused> {
    let found = run.governance.store.calls_by_person(range.span, None).await;
    let found = found.map_err(Refused::store)?;
    let named = found.into_iter().map(|group| (principal(run, group.by), group));
    let mut named: Vec<_> = named.collect();
    most_first(&mut named, |((name, _), group)| (group.counts, name.clone()));
    let row = |((name, kind), group): ((String, Option<&'static str>), Group<UserId>)| {
        let mut row = vec![json!(name), json!(group.by), json!(kind)];
        row.extend(counted(group.counts));
        row
    };
    Ok(named.into_iter().map(row).collect())
}

async fn servers(run: &Run<'_>, range: &Range) -> Result<Vec<Row>, Refused> {
    let found = run.governance.store.calls_by_server(range.span).await;
    let mut found = found.map_err(Refused::store)?;
    most_first(&mut found, |(server, counts)| (*counts, slug(run, *server)));
    let row = |(server, counts): (ServerId, Counts)| {
        let mut row = vec![json!(slug(run, server)), json!(server)];
        row.extend(counted(counts));
        row
    };
    Ok(found.into_iter().map(row).collect())
}

async fn clients(run: &Run<'_>, range: &Range) -> Result<Vec<Row>, Refused> {
    let found = run.governance.store.calls_by_client(range.span, None).await;
    let mut found = found.map_err(Refused::store)?;
    most_first(&mut found, |group| (group.counts, group.by.clone()));
    let row = |group: Group<String>| {
        let mut row = vec![json!(group.by)];
        row.extend(counted(group.counts));
        row.push(json!(group.people));
        row
    };
    Ok(found.into_iter().map(row).collect())
}

async fn hourly(run: &Run<'_>, range: &Range) -> Result<Vec<Row>, Refused> {
    let Pieces(bounds) = range.hours();
    let counts = run.governance.store.calls_by_time(&bounds, None).await.map_err(Refused::store)?;
    let row = |(at, counts): (Timestamp, Counts)| {
        let mut row = vec![json!(range.shown(at))];
        row.extend(counted(counts));
        row
    };
    Ok(bounds.into_iter().zip(counts).map(row).collect())
}

async fn daily(run: &Run<'_>, range: &Range) -> Result<Vec<Row>, Refused> {
    let Pieces(bounds) = range.days();
    let counts = run.governance.store.calls_by_time(&bounds, None).await.map_err(Refused::store)?;
    let row = |(pair, counts): (&[Timestamp], Counts)| {
        let hours = (pair[1] - pair[0]).whole_minutes() as f64 / 60.0;
        let mut row = vec![json!(range.day(pair[0])), json!(hours)];
        row.extend(counted(counts));
        row
    };
    Ok(bounds.windows(2).zip(counts).map(row).collect())
}

async fn denials(run: &Run<'_>, range: &Range) -> Result<Vec<Row>, Refused> {
    let found = run.governance.store.verdicts(range.span).await.map_err(Refused::store)?;
    let refusals = found.into_iter().filter(|verdict| !verdict.action.starts_with("confirmation_"));
    let mut refusals: Vec<_> = refusals.collect();
    refusals.sort_by_cached_key(|verdict| {
        let server = verdict.server.map(|server| slug(run, server));
        let v = verdict.clone();
        (Reverse(v.events), v.action, v.reason, server, v.resource_type, v.resource_name)
    });
    let row = |verdict: gateway_store::analytics::Verdicts| {
        vec![
            json!(verdict.action),
            json!(verdict.reason),
            json!(verdict.server.map(|server| slug(run, server))),
            json!(verdict.server),
            json!(verdict.resource_type),
            json!(verdict.resource_name),
            json!(verdict.events),
        ]
    };
    Ok(refusals.into_iter().map(row).collect())
}

async fn confirmations(run: &Run<'_>, range: &Range) -> Result<Vec<Row>, Refused> {
    let found = run.governance.store.verdicts(range.span).await.map_err(Refused::store)?;
    let mut servers: BTreeMap<(String, Option<ServerId>), [i64; 3]> = BTreeMap::new();
    for verdict in found {
        let kinds = ["confirmation_requested", "confirmation_approved", "confirmation_declined"];
        let Some(kind) = kinds.iter().position(|kind| *kind == verdict.action) else { continue };
        let name = verdict.server.map(|server| slug(run, server)).unwrap_or_default();
        servers.entry((name, verdict.server)).or_default()[kind] += verdict.events;
    }
    let mut servers: Vec<_> = servers.into_iter().collect();
    servers.sort_by_key(|(_, [requested, ..])| Reverse(*requested));
    let row = |((name, server), [requested, approved, declined]): (
        (String, Option<ServerId>),
        [i64; 3],
    )| {
        vec![json!(name), json!(server), json!(requested), json!(approved), json!(declined)]
    };
    Ok(servers.into_iter().map(row).collect())
}

async fn adoption(run: &Run<'_>, range: &Range) -> Result<Vec<Row>, Refused> {
    let (Pieces(days), Pieces(weeks)) = (range.days(), range.weeks());
    // Which week each day is in.
    let weeks_begun = |day: &Timestamp| weeks.iter().filter(|week| *week <= day).count();
    let begun = days.iter().take(days.len() - 1).map(|day| weeks_begun(day) - 1);
    let groups: Vec<usize> = begun.collect();
    let found = run.governance.store.active(&days, &groups).await;
    let (by_day, by_week) = found.map_err(Refused::store)?;
    let row = |period: &'static str| {
        move |(at, active): (&Timestamp, Active)| {
            let (people, agents) = (active.people, active.agents);
            vec![json!(period), json!(range.day(*at)), json!(people), json!(agents)]
        }
    };
    let rows = days.iter().zip(by_day).map(row("day"));
    Ok(rows.chain(weeks.iter().zip(by_week).map(row("week"))).collect())
}

async fn health(run: &Run<'_>, range: &Range, server: ServerId) -> Result<Vec<Row>, Refused> {
    let found = run.governance.store.tool_figures(range.span, Some(server)).await;
    let mut found = found.map_err(Refused::store)?;
    most_first(&mut found, |tool| (tool.counts, tool.tool.clone()));
    let row = |tool: &ToolFigures| {
        let mut row = vec![json!(tool.tool)];
        row.extend(counted(tool.counts));
        row.extend(percentiles(tool));
        row.push(json!(tool.last_success_at.map(rfc3339)));
        row.push(json!(tool.last_failure_at.map(rfc3339)));
        row.push(json!(tool.last_failure));
        row
    };
    Ok(found.iter().map(row).collect())
}

async fn usage(run: &Run<'_>, range: &Range, server: ServerId) -> Result<Vec<Row>, Refused> {
    let (store, only) = (&run.governance.store, Some(server));
    let people = store.calls_by_person(range.span, only).await.map_err(Refused::store)?;
    let clients = store.calls_by_client(range.span, only).await.map_err(Refused::store)?;
    let Pieces(bounds) = range.days();
    let days = store.calls_by_time(&bounds, only).await.map_err(Refused::store)?;
    let mut people: Vec<_> =
        people.into_iter().map(|group| (principal(run, group.by).0, group.counts)).collect();
    let mut clients: Vec<_> = clients.into_iter().map(|group| (group.by, group.counts)).collect();
    most_first(&mut people, |(name, counts)| (*counts, name.clone()));
    most_first(&mut clients, |(name, counts)| (*counts, name.clone()));
    let days = bounds.iter().map(|at| range.day(*at)).zip(days).collect();
    let mut rows = Vec::new();
    for (by, groups) in [("person", people), ("client", clients), ("day", days)] {
        rows.extend(groups.into_iter().map(|(name, counts): (String, Counts)| {
            let mut row = vec![json!(by), json!(name)];
            row.extend(counted(counts));
            row
        }));
    }
    Ok(rows)
}
