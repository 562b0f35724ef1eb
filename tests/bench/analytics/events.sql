-- $2 events of one day from $1 on, in bursts of eight calls: 500 people, each on up to 9 of 30 servers with 13 tools
-- each, 6 clients, 3 replicas; 3 % denied, 0.5 % waiting for an agreement, 4.5 % failed.
insert into audit_event (ts, id, replica, batch, place, at, call_id, concludes, action, outcome, reason,
    count, actor_id, actor_email, actor_kind, auth_method, client_name, client_ip, server_id, server_slug, method, era,
    resource_type, resource_name, policy_ids, findings, latency_us, upstream_us, request_bytes, response_bytes)
select ts, gen_random_uuid(), ('00000000-0000-0000-0000-00000000000' || (1 + n % 3))::uuid, 1, n,
    ts + latency * interval '1 microsecond', gen_random_uuid(), true,
    case when kind < 0.03 then 'access_denied' when kind < 0.035 then 'confirmation_requested'
         when kind < 0.08 then 'tool_call_failure' else 'tool_call_success' end,
    case when kind < 0.035 then 'denied' when kind < 0.08 then 'error' else 'ok' end,
    case when kind < 0.03 then 'policy_denied' when kind < 0.035 then 'confirmation_required'
         when kind < 0.05 then 'upstream_timeout' end,
    1, md5('person ' || person)::uuid, 'person' || person || '@example.com', 'person', 'oauth_token',
    (array['Cursor', 'VS Code', 'Claude', 'Claude Code', 'ChatGPT', 'indexer'])[1 + (person + (n % 10) / 9) % 6],
    '10.0.0.1', md5('server ' || server)::uuid, 'server-' || server, 'tools/call', 'modern',
    'tool', 'tool_' || tool, '["11111111-1111-1111-1111-111111111111"]', '[]',
    latency, (latency * 0.9)::bigint, 200, 900
from (
    select burst.*, n, (person * 7 + (8 * power(chance, 2))::integer * 11) % 30 as server, burst.at + n * interval '7 seconds' as ts, random() as kind,
        (12 * power(random(), 2))::integer as tool,
        (1000 * exp(3 + 2 * random() + 2 * random() * random()))::bigint as latency
    from (
        select $1::timestamptz + interval '23 hours' * ((random() + random() + random()) / 3) as at,
            (500 * power(random(), 1.5))::integer as person, random() as chance
        from generate_series(1, $2::integer / 8)) burst
    cross join generate_series(0, 7) n
) e
