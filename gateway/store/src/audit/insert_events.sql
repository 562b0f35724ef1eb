-- The rollups of migration 0005 are fed by a trigger, in this statement.
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
returning place as "place!"
