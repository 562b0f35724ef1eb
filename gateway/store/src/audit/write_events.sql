-- A whole batch of events in one statement, as with intents. The rollups of migration 0005 are fed by a trigger, in
-- it, too.
with moved as (
    update audit_chain set batch = $3::bigint, mac = $7, seal = $8
    where replica = $2 and batch = $3::bigint - 1 and mac = $9 returning replica
),
rows as (
    insert into audit_event (
        replica, batch, place, ts, id, at, call_id, concludes, action, outcome, reason, detail, count,
        actor_id, actor_email, auth_method, credential, client_name, client_version, client_ip, session,
        request_id, server_id, server_slug, method, era, resource_type, resource_name, policy_ids, findings,
        confirmation_id, trace_id, latency_us, upstream_us, request_bytes, response_bytes,
        arguments_digest, result_digest, actor_kind, agent_id, agent_name)
    select moved.replica, $3, row.* from moved, unnest(
        $17::integer[], $18::timestamptz[], $19::uuid[], $20::timestamptz[], $21::uuid[], $22::boolean[],
        $23::text[], $24::text[], $25::text[], $26::text[], $27::bigint[],
        $28::uuid[], $29::text[], $30::text[], $31::text[], $32::text[], $33::text[], $34::text[], $35::text[],
        $36::text[], $37::uuid[], $38::text[], $39::text[], $40::text[], $41::text[], $42::text[], $43::text[],
        $44::text[], $45::uuid[], $46::text[], $47::bigint[], $48::bigint[], $49::bigint[], $50::bigint[],
        $51::bytea[], $52::bytea[], $53::text[], $54::uuid[], $55::text[]) as row
),
payloads as (
    insert into audit_payload (ts, id, kind, codec, size, kept, body)
    select row.* from moved, unnest(
        $10::timestamptz[], $11::uuid[], $12::text[], $13::text[], $14::bigint[], $15::bigint[],
        $16::bytea[]) as row
)
insert into audit_batch (ts, replica, batch, from_ts, to_ts, tags, mac)
select $1, replica, $3, $4, $5, $6, $7 from moved
