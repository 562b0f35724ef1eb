//! Rollups say what counting the raw rows would say, whatever range is asked for.

use gateway_core::reason::Reason;
use sqlx::PgPool;

use super::*;
use crate::analytics::{Active, Counts, LATENCY_BOUNDS, LATENCY_CLASSES, Span};

const NIL: &str = "00000000-0000-0000-0000-000000000000";
/// What is counted, as SQL over raw rows.
const MADE: &str = "action in ('tool_call_success', 'tool_call_failure')";
const REFUSED: &str =
    "outcome = 'denied' and resource_type = 'tool' and action <> 'confirmation_requested'";
/// Names of raw rows as rollups keep them.
const NAME: &str = "case when resource_type in ('tool', 'prompt') and actor_id is not null
    and reason is distinct from 'target_not_found' then left(resource_name, 200) else '' end";

/// Something of every kind that is counted, on two days and the edges of a third.
fn event(n: u64, now: u64) -> Event {
    let mut subject = subject(&format!("tool_{}", n % 5));
    subject.actor_id = (!n.is_multiple_of(11)).then(|| user(u128::from(n % 7)));
    subject.actor_kind = Some(if n % 7 == 6 { "agent" } else { "person" });
    subject.client_name = (!n.is_multiple_of(4)).then(|| format!("client {}", n % 3));
    subject.server_id = [Some(ServerId(Uuid::from_u128(7))), Some(ServerId(Uuid::from_u128(8)))]
        [usize::from(n.is_multiple_of(3))];
    subject.resource_type = [Some("tool"), Some("tool"), Some("resource"), None][n as usize % 4];
    let at = now - n * 7919 % (3 * 86_400);
    let id =
        Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, at, (n % 1000) as u32 * 1000));
    let mut event = outcome(&intent(subject));
    (event.id, event.concludes_intent, event.result) = (EventId(id), false, None);
    event.latency_us = (!n.is_multiple_of(6)).then(|| 1 << (n % 40));
    event.count = 1 + (n % 3) as u32;
    (event.action, event.outcome, event.reason) = match n % 13 {
        0 | 1 => (ActionType::ToolCallFailure, Outcome::Error, None),
        2 => (ActionType::ToolCallFailure, Outcome::Error, Some(Reason::UpstreamTimeout)),
        3 => (ActionType::AccessDenied, Outcome::Denied, Some(Reason::PolicyDenied)),
        4 => (ActionType::AccessDenied, Outcome::Denied, Some(Reason::TargetNotFound)),
        5 => {
            (ActionType::ConfirmationRequested, Outcome::Denied, Some(Reason::ConfirmationRequired))
        }
        6 => (ActionType::ConfirmationApproved, Outcome::Ok, None),
        7 => (ActionType::ListingRead, Outcome::Ok, None),
        _ => (ActionType::ToolCallSuccess, Outcome::Ok, None),
    };
    event
}

async fn texts(pool: &PgPool, sql: String) -> Vec<String> {
    let mut rows: Vec<String> =
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(pool).await.unwrap();
    rows.sort();
    rows
}

fn sorted(rows: impl Iterator<Item = String>) -> Vec<String> {
    let mut rows: Vec<String> = rows.collect();
    rows.sort();
    rows
}

fn figures(Counts { calls, failures, denied }: Counts) -> String {
    format!("{calls} {failures} {denied}")
}

/// A range as SQL.
fn within(span: Span) -> String {
    let (first, past) = (span.first().unix_timestamp(), span.past().unix_timestamp());
    format!("ts >= to_timestamp({first}) and ts < to_timestamp({past})")
}

fn counts() -> String {
    format!(
        "coalesce(sum(count) filter (where {MADE}), 0) || ' ' ||
         coalesce(sum(count) filter (where action = 'tool_call_failure'), 0) || ' ' ||
         coalesce(sum(count) filter (where {REFUSED}), 0)"
    )
}

async fn tools_agree(store: &Store, span: Span, server: Option<ServerId>) {
    let got = store.tool_figures(span, server).await.unwrap().into_iter().map(|tool| {
        let last = |at: Option<Timestamp>| at.map_or(0, |at| at.unix_timestamp_nanos() / 1000);
        format!(
            "{} {} {} {} {:?} {} {} {}",
            tool.server,
            tool.tool,
            figures(tool.counts),
            tool.latency_us,
            tool.latency,
            last(tool.last_success_at),
            last(tool.last_failure_at),
            tool.last_failure.unwrap_or_default()
        )
    });
    let classes: Vec<String> = (0..LATENCY_CLASSES)
        .map(|class| {
            let above = class
                .checked_sub(1)
                .map_or("true".into(), |below| format!("latency_us >= {}", LATENCY_BOUNDS[below]));
            let below = LATENCY_BOUNDS
                .get(class)
                .map_or("latency_us is not null".into(), |bound| format!("latency_us < {bound}"));
            format!("coalesce(sum(count) filter (where {MADE} and {above} and {below}), 0)::text")
        })
        .collect();
    let (counts, within, classes) = (counts(), within(span), classes.join(", "));
    let at = |action: &str| {
        format!(
            "coalesce(max(extract(epoch from ts) * 1000000) filter (where action = '{action}'), 0)::bigint"
        )
    };
    let (success, failure) = (at("tool_call_success"), at("tool_call_failure"));
    let server = server.map_or("true".into(), |id| format!("server_id = '{id}'"));
    let sql = format!(
        "select server_id || ' ' || ({NAME}) || ' ' || {counts} || ' ' ||
            coalesce(sum(least(latency_us, 86400000000) * count) filter (where {MADE}), 0) || ' [' ||
            array_to_string(array[{classes}], ', ') || '] ' || {success} || ' ' || {failure} || ' ' ||
            coalesce((array_agg(coalesce(reason, outcome) order by ts desc)
                      filter (where action = 'tool_call_failure'))[1], '')
        from audit_event where {within} and {server} and ({MADE} or {REFUSED}) and ({NAME}) <> ''
        group by server_id, {NAME}"
    );
    assert_eq!(sorted(got), texts(store.pool(), sql).await, "tools {span:?}");
}

async fn people_agree(store: &Store, span: Span, server: Option<ServerId>) {
    let (counts, within) = (counts(), within(span));
    let here = server.map_or("true".into(), |id| format!("server_id = '{id}'"));
    let sql = |by: &str, whose: &str| {
        format!(
            "select {by} || ' ' || {counts} || ' ' || count(distinct actor_id) from audit_event
             where {within} and ({MADE} or {REFUSED}) and {here} and {whose} group by {by}"
        )
    };
    let known = "actor_id is not null";
    let got = store.calls_by_person(span, server).await.unwrap();
    let got = got.into_iter().map(|g| format!("{} {} {}", g.by, figures(g.counts), g.people));
    assert_eq!(sorted(got), texts(store.pool(), sql("actor_id", known)).await, "people {span:?}");
    let got = store.calls_by_client(span, server).await.unwrap();
    let got = got.into_iter().map(|g| format!("{} {} {}", g.by, figures(g.counts), g.people));
    let name = "coalesce(client_name, '')";
    assert_eq!(sorted(got), texts(store.pool(), sql(name, known)).await, "clients {span:?}");
    if server.is_none() {
        let got = store.calls_by_server(span).await.unwrap();
        let got = got.into_iter().map(|(by, counts)| format!("{by} {}", figures(counts)));
        let sql = format!(
            "select server_id || ' ' || {counts} from audit_event
             where {within} and ({MADE} or {REFUSED}) group by server_id"
        );
        assert_eq!(sorted(got), texts(store.pool(), sql).await, "servers {span:?}");
    }
}

async fn verdicts_agree(store: &Store, span: Span) {
    let got = store.verdicts(span).await.unwrap().into_iter().map(|v| {
        let server = v.server.map_or(NIL.into(), |id| id.to_string());
        let words = [v.action, v.reason, server, v.resource_type, v.resource_name];
        format!("{} {}", words.join("/"), v.events)
    });
    let by = format!(
        "action || '/' || coalesce(reason, '') || '/' || coalesce(server_id, '{NIL}') || '/' ||
         coalesce(resource_type, '') || '/' || ({NAME})"
    );
    let sql = format!(
        "select {by} || ' ' || sum(count) from audit_event
         where {} and (outcome = 'denied' or action like 'confirmation_%') group by {by}",
        within(span)
    );
    assert_eq!(sorted(got), texts(store.pool(), sql).await, "verdicts {span:?}");
}

/// Stretches of uneven lengths, as those of days when clocks are changed.
async fn times_agree(store: &Store, bounds: &[Timestamp]) {
    let got = store.calls_by_time(bounds, None).await.unwrap();
    let stretches = bounds.len() - 1;
    // The first stretch alone, the others by two.
    let groups: Vec<usize> = (0..stretches).map(|place| place.div_ceil(2)).collect();
    let (active, grouped) = store.active(bounds, &groups).await.unwrap();
    assert_eq!((got.len(), active.len(), grouped.len()), (stretches, stretches, 1 + stretches / 2));
    let whole = |group: usize| {
        let of: Vec<usize> = (0..stretches).filter(|place| groups[*place] == group).collect();
        Span::around(bounds[of[0]], bounds[of[of.len() - 1] + 1]).unwrap()
    };
    for (group, active) in grouped.into_iter().enumerate() {
        assert_eq!(
            active,
            counted_active(store, &within(whole(group))).await,
            "{groups:?} {group}"
        );
    }
    for (place, pair) in bounds.windows(2).enumerate() {
        let within = within(Span::around(pair[0], pair[1]).unwrap());
        let counts = counts();
        let sql = format!("select {counts} from audit_event where {within}");
        assert_eq!(texts(store.pool(), sql).await, [figures(got[place])], "{within}");
        let expected = counted_active(store, &within).await;
        assert_eq!(active[place], expected, "{within}");
    }
}

async fn counted_active(store: &Store, within: &str) -> Active {
    let distinct = |agent| {
        format!(
            "select count(distinct actor_id) from audit_event where {within} and {MADE}
             and (actor_kind = 'agent') = {agent}"
        )
    };
    Active {
        people: number(store, &distinct(false)).await,
        agents: number(store, &distinct(true)).await,
    }
}

async fn all_agree(store: &Store, now: Timestamp) {
    let minutes = |count: i64| now - time::Duration::minutes(count);
    let ranges = [
        (4 * 1440, 0),
        (3 * 1440 - 345, 345),
        (2 * 1440 + 7, 13),
        (1440, 700),
        (300, 299),
        (30 * 1440, 10 * 1440),
    ];
    for (from, until) in ranges {
        let span = Span::around(minutes(from), minutes(until)).unwrap();
        tools_agree(store, span, None).await;
        people_agree(store, span, None).await;
        people_agree(store, span, Some(ServerId(Uuid::from_u128(8)))).await;
        verdicts_agree(store, span).await;
    }
    let span = Span::around(minutes(4 * 1440), now).unwrap();
    tools_agree(store, span, Some(ServerId(Uuid::from_u128(8)))).await;
    let whole = Span::around(minutes(3 * 1440), now).unwrap();
    let quarters = [0, 3, 4, 92, 96 + 92, 96 + 96, 96 * 2 + 100];
    let bounds: Vec<Timestamp> =
        quarters.iter().map(|n| whole.first() + time::Duration::minutes(15 * n)).collect();
    times_agree(store, &bounds).await;
}

#[tokio::test]
async fn rollups_equal_brute_force() {
    let store = testing::store().await;
    let (one, other) = (Dir::new(), Dir::new());
    let now = uuid::Timestamp::now(uuid::NoContext).to_unix().0;
    // Two replicas, so that there are two shards; commits of many rows and of one.
    let trails = [start(&store, &one).await, start(&store, &other).await];
    for n in 0..3000_u64 {
        trails[usize::from(n % 3 == 0)].conclude(event(n, now));
        if n % 300 == 0 {
            assert!(trails[0].flush(PATIENCE).await && trails[1].flush(PATIENCE).await);
        }
    }
    for trail in trails {
        assert!(trail.flush(PATIENCE).await);
        trail.stop().await;
    }
    let now = Timestamp::from_unix_timestamp(i64::try_from(now).unwrap()).unwrap();
    all_agree(&store, now).await;
    // Nothing was compared with nothing.
    let calls = store.calls_by_time(&[now - time::Duration::days(1), now], None).await.unwrap();
    assert!(calls[0].calls > 100 && calls[0].failures > 10 && calls[0].denied > 10, "{calls:?}");

    // What the migration counts of rows that stood before it.
    let tables = "audit_calls_quarter, audit_tool_quarter, audit_tool_day, audit_person_quarter,
        audit_person_day, audit_usage_quarter, audit_usage_day, audit_verdict_quarter, audit_verdict_day";
    sql(&store, &format!("truncate {tables}")).await;
    let calls = store.calls_by_time(&[now - time::Duration::days(1), now], None).await.unwrap();
    assert_eq!(calls[0], Counts::default());
    let migration = include_str!("../../../../../migrations/0005_analytics.sql");
    let (begin, end) = (migration.find("\ndo $$").unwrap(), migration.rfind("end\n$$;").unwrap());
    let block = &migration[begin..];
    let block = &block[..block.find("end\n$$;").unwrap() + "end\n$$;".len()];
    assert!(begin < end && block.contains("audit_backfill"));
    sql(&store, &format!("begin; {block} commit;")).await;
    all_agree(&store, now).await;
}

#[tokio::test]
async fn latency_bounds_are_those_of_the_database() {
    let store = testing::store().await;
    let bounds: Vec<i64> = sqlx::query_scalar("select unnest(audit_latency_bounds())")
        .fetch_all(store.pool())
        .await
        .unwrap();
    assert_eq!(bounds, LATENCY_BOUNDS);
}
