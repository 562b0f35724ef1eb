-- Two branches for the two partial indexes on call_id.
select ts, id, at, call_id, concludes, action, outcome, reason, detail, count, actor_id, actor_email,
    actor_kind, agent_id, agent_name, auth_method,
    credential, client_name, client_version, client_ip, session, request_id, server_id, server_slug, method, era,
    resource_type, resource_name, policy_ids, findings, confirmation_id, trace_id, latency_us, upstream_us,
    request_bytes, response_bytes
from audit_event
where ((call_id = $1 and concludes) or (call_id = $1 and not concludes))
  and id <> $2
  and ($3::uuid is null or actor_id = $3)
  and ($4::uuid is null or agent_id = $4)
order by ts, id
limit 100
