-- ts <= the cursor's is redundant, and lets the planner leave out younger days.
select ts, id, at, call_id, concludes, action, outcome, reason, detail, count, actor_id, actor_email,
    actor_kind, agent_id, agent_name, auth_method,
    credential, client_name, client_version, client_ip, session, request_id, server_id, server_slug, method, era,
    resource_type, resource_name, policy_ids, findings, confirmation_id, trace_id, latency_us, upstream_us,
    request_bytes, response_bytes
from audit_event
where (cardinality($1::text[]) = 0 or action = any($1))
  and ($2::text is null or resource_type = $2)
  and ($3::text is null or resource_name = $3)
  and ($4::uuid is null or actor_id = $4)
  and ($5::uuid is null or (call_id = $5 and concludes) or (call_id = $5 and not concludes))
  and ($6::text is null or client_name = $6)
  and ($7::uuid is null or (server_id = $7 and (not $15::boolean or reason is distinct from 'server_not_found')))
  and ($8::text is null or outcome = $8)
  and ($9::timestamptz is null or ts >= $9)
  and ($10::timestamptz is null or ts < $10)
  and ($11::timestamptz is null or (ts <= $11 and (ts, id) < ($11, $12::uuid)))
  and ($14::uuid is null or agent_id = $14)
order by ts desc, id desc
limit $13
