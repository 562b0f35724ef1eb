select server_id as "server_id!", tool as "tool!",
    sum(calls)::bigint as "calls!", sum(failures)::bigint as "failures!", sum(denied)::bigint as "denied!",
    sum(latency_us)::bigint as "latency_us!",
    array[sum(l00), sum(l01), sum(l02), sum(l03), sum(l04), sum(l05), sum(l06), sum(l07), sum(l08), sum(l09),
          sum(l10), sum(l11), sum(l12), sum(l13), sum(l14), sum(l15)]::bigint[] as "latency!",
    max(last_success_at) as last_success_at, max(last_failure_at) as last_failure_at,
    (array_agg(last_failure order by last_failure_at desc) filter (where last_failure_at is not null))[1]
        as last_failure
from audit_tools($1, $2, $3, $4)
where ($5::uuid is null or server_id = $5)
group by server_id, tool
