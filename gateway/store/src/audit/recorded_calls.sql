-- What policy, a limit or a scanner refused was put to the policies, too. A call that waited for people counts once:
-- when it was made, or declined. Denials of operations stand beside those of calls: the method tells them apart. ts <= the cursor's is
-- redundant, and lets the planner leave out younger days.
select e.ts, e.id, e.call_id, e.concludes, e.actor_id as "actor_id!", e.actor_email, e.actor_kind, e.agent_id,
    e.agent_name, e.client_name, e.client_ip, e.server_id as "server_id!", e.server_slug,
    e.resource_type as "resource_type!", e.resource_name as "resource_name!", p.size as "size?", p.kept as "kept?"
from audit_event e
left join audit_payload p
    on p.ts = e.ts and p.id = case when e.concludes then e.call_id else e.id end and p.kind = 'arguments'
where (e.action in ('tool_call_success', 'tool_call_failure', 'resource_read_success', 'resource_read_failure',
                    'prompt_get_success', 'prompt_get_failure', 'access_denied', 'security_violation')
       or e.action = 'request_refused' and e.reason in ('rate_limited', 'budget_exhausted'))
  and e.method in ('tools/call', 'resources/read', 'prompts/get')
  and e.actor_id is not null and e.server_id is not null
  and e.resource_type in ('tool', 'resource', 'prompt') and e.resource_name is not null
  and e.ts >= $1 and e.ts < $2
  and ($3::timestamptz is null or (e.ts <= $3 and (e.ts, e.id) < ($3, $4::uuid)))
order by e.ts desc, e.id desc
limit $5
