with fresh as (
    insert into audit_event (
        replica, batch, place, ts, id, at, call_id, concludes, action, outcome, reason, detail, count,
        actor_id, actor_email, auth_method, credential, client_name, client_version, client_ip, session,
        request_id, server_id, server_slug, method, era, resource_type, resource_name, policy_ids, findings,
        confirmation_id, trace_id, latency_us, upstream_us, request_bytes, response_bytes,
        arguments_digest, result_digest, actor_kind, agent_id, agent_name)
    select $1, $2, * from unnest(
        $3::integer[], $4::timestamptz[], $5::uuid[], $6::timestamptz[], $7::uuid[], $8::boolean[],
        $9::text[], $10::text[], $11::text[], $12::text[], $13::bigint[],
        $14::uuid[], $15::text[], $16::text[], $17::text[], $18::text[], $19::text[], $20::text[], $21::text[],
        $22::text[], $23::uuid[], $24::text[], $25::text[], $26::text[], $27::text[], $28::text[], $29::text[],
        $30::text[], $31::uuid[], $32::text[], $33::bigint[], $34::bigint[], $35::bigint[], $36::bigint[],
        $37::bytea[], $38::bytea[], $39::text[], $40::uuid[], $41::text[])
    on conflict do nothing
    returning *
),
counted as (
    select date_trunc('hour', ts, 'UTC') as hour, date_trunc('day', ts, 'UTC') as day,
        action, outcome, coalesce(reason, '') as reason,
        coalesce(server_id, '00000000-0000-0000-0000-000000000000') as server_id,
        coalesce(resource_type, '') as resource_type,
        -- Names that a client may invent at will would make as many rows as calls.
        case when resource_type in ('tool', 'prompt') and actor_id is not null
                  and coalesce(reason, '') not in ('target_not_found', 'server_not_found', 'invalid_params')
             then left(coalesce(resource_name, ''), 200) else '' end as resource_name,
        coalesce(actor_id, '00000000-0000-0000-0000-000000000000') as actor_id,
        case when actor_id is not null then left(coalesce(client_name, ''), 64) else '' end as client_name,
        coalesce(width_bucket(latency_us, audit_latency_bounds()), -1)::smallint as latency_class,
        count, coalesce(latency_us, 0) as latency_us, coalesce(upstream_us, 0) as upstream_us,
        coalesce(request_bytes, 0) as request_bytes, coalesce(response_bytes, 0) as response_bytes
    from fresh
),
hours as (
    insert into audit_rollup_hour as stood
    select hour, $1, action, outcome, reason, server_id, resource_type, resource_name, actor_id, client_name,
        latency_class, sum(count), sum(latency_us), sum(upstream_us), sum(request_bytes), sum(response_bytes)
    from counted
    group by hour, action, outcome, reason, server_id, resource_type, resource_name, actor_id, client_name,
        latency_class
    on conflict (bucket, server_id, actor_id, resource_name, action, outcome, reason, resource_type,
                 client_name, latency_class, replica)
    do update set events = stood.events + excluded.events,
        latency_us = stood.latency_us + excluded.latency_us,
        upstream_us = stood.upstream_us + excluded.upstream_us,
        request_bytes = stood.request_bytes + excluded.request_bytes,
        response_bytes = stood.response_bytes + excluded.response_bytes
),
days as (
    insert into audit_rollup_day as stood
    select day, $1, action, outcome, reason, server_id, resource_type, resource_name, actor_id, client_name,
        latency_class, sum(count), sum(latency_us), sum(upstream_us), sum(request_bytes), sum(response_bytes)
    from counted
    group by day, action, outcome, reason, server_id, resource_type, resource_name, actor_id, client_name,
        latency_class
    on conflict (bucket, server_id, actor_id, resource_name, action, outcome, reason, resource_type,
                 client_name, latency_class, replica)
    do update set events = stood.events + excluded.events,
        latency_us = stood.latency_us + excluded.latency_us,
        upstream_us = stood.upstream_us + excluded.upstream_us,
        request_bytes = stood.request_bytes + excluded.request_bytes,
        response_bytes = stood.response_bytes + excluded.response_bytes
)
select place as "place!" from fresh
