-- A whole batch of intents in one statement, which is its own transaction: rows, payloads, and the chain's next
-- link, without which there is none of it.
with moved as (
    update audit_chain set batch = $3::bigint, mac = $7, seal = $8
    where replica = $2 and batch = $3::bigint - 1 and mac = $9 returning replica
),
rows as (
    insert into audit_intent (replica, batch, ts, id, place, request_bytes, subject, arguments_digest)
    select moved.replica, $3, row.* from moved, unnest(
        $10::timestamptz[], $11::uuid[], $12::integer[], $13::bigint[], $14::text[], $15::bytea[]) as row
),
payloads as (
    insert into audit_payload (ts, id, kind, codec, size, kept, body)
    select row.* from moved, unnest(
        $16::timestamptz[], $17::uuid[], $18::text[], $19::text[], $20::bigint[], $21::bigint[],
        $22::bytea[]) as row
)
insert into audit_batch (ts, replica, batch, from_ts, to_ts, tags, mac)
select $1, replica, $3, $4, $5, $6, $7 from moved
