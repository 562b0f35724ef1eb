//! Rollups say what counting the rows would say.

use super::*;
use gateway_core::reason::Reason;

const DIMENSIONS: &str = "action, outcome, coalesce(reason, '') as reason, replica,
    coalesce(server_id, '00000000-0000-0000-0000-000000000000') as server_id,
    coalesce(actor_id, '00000000-0000-0000-0000-000000000000') as actor_id,
    coalesce(resource_type, '') as resource_type,
    case when actor_id is null then '' else coalesce(client_name, '') end as client_name,
    case when resource_type = 'tool' and actor_id is not null and reason is distinct from 'target_not_found'
        then coalesce(resource_name, '') else '' end as resource_name,
    case when latency_us is null then -1 else
        (select count(*) from unnest(audit_latency_bounds()) bound where bound <= latency_us) end as latency_class";
const SUMS: &str =
    "sum(count)::bigint as events, sum(coalesce(latency_us, 0))::bigint as latency_us,
    sum(coalesce(upstream_us, 0))::bigint as upstream_us,
    sum(coalesce(request_bytes, 0))::bigint as request_bytes,
    sum(coalesce(response_bytes, 0))::bigint as response_bytes";
const NAMES: &str =
    "bucket, action, outcome, reason, replica, server_id, actor_id, resource_type, client_name,
    resource_name, latency_class";

#[tokio::test]
async fn rollups_equal_brute_force() {
    let (store, dir) = (testing::store().await, Dir::new());
    let trail = start(&store, &dir).await;
    for n in 0..2000_u64 {
        let mut subject = subject(&format!("tool_{}", n % 5));
        subject.actor_id = (n % 7 != 0).then(|| user(u128::from(n % 3)));
        subject.client_name = (n % 4 != 0).then(|| format!("client {}", n % 2));
        subject.resource_type = [None, Some("tool"), Some("resource")][n as usize % 3];
        let back = n % 50 * 3600;
        let at = uuid::Timestamp::now(uuid::NoContext).to_unix().0 - back;
        let id = Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, at, 0));
        let mut event = outcome(&intent(subject));
        (event.id, event.concludes_intent, event.result) = (EventId(id), false, None);
        event.reason =
            [None, Some(Reason::PolicyDenied), Some(Reason::TargetNotFound)][n as usize % 3];
        event.latency_us = (n % 6 != 0).then(|| 1 << (n % 40));
        event.response_bytes = (n % 5 != 0).then_some(n);
        event.count = 1 + (n % 3) as u32;
        trail.conclude(event);
        if n % 400 == 0 {
            assert!(trail.flush(PATIENCE).await);
        }
    }
    assert!(trail.flush(PATIENCE).await);
    for (table, unit) in [("audit_rollup_hour", "hour"), ("audit_rollup_day", "day")] {
        let raw = format!(
            "select {NAMES}, {SUMS} from (select date_trunc('{unit}', ts, 'UTC') as bucket, {DIMENSIONS},
                count, upstream_us, request_bytes, response_bytes, latency_us from audit_event) e
             group by {NAMES}"
        );
        let kept = format!(
            "select {NAMES}, events, latency_us, upstream_us, request_bytes, response_bytes from {table}"
        );
        let differences = format!(
            "select count(*) from (({raw} except {kept}) union all ({kept} except {raw})) d"
        );
        assert_eq!(number(&store, &differences).await, 0, "{table}");
        assert!(number(&store, &format!("select count(*) from {table}")).await > 50);
    }
    trail.stop().await;
}
