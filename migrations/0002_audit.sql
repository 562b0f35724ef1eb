-- The audit trail: what was about to be done (intent), what came of it (event), what was said (payload),
-- partitioned by day; the hash chain over them; rollups for analytics.
-- gateway_app inserts and reads; it can neither change nor remove a record.

-- ts of a row is the instant inside its UUIDv7. An event that concludes an intent carries the intent's ts,
-- so that "at most one event for an intent" is a unique index although the table is partitioned.
create table audit_intent (
    ts               timestamptz not null,
    id               uuid        not null,
    -- Place in the hash chain.
    replica          uuid        not null,
    batch            bigint      not null,
    place            integer     not null,
    request_bytes    bigint      not null,
    -- Who does what, JSON text. Not jsonb: that refuses legal JSON (\u0000).
    subject          text        not null,
    arguments_digest bytea,
    primary key (ts, id)
) partition by range (ts);

create table audit_event (
    ts               timestamptz not null,
    id               uuid        not null,
    replica          uuid        not null,
    batch            bigint      not null,
    place            integer     not null,
    -- When it was over.
    at               timestamptz not null,
    call_id          uuid        not null,
    concludes        boolean     not null,
    action           text        not null,
    outcome          text        not null,
    reason           text,
    detail           text,
    -- How many like it this row stands for; more than 1 after a flood.
    count            bigint      not null,
    actor_id         uuid,
    actor_email      text,
    auth_method      text,
    credential       text,
    client_name      text,
    client_version   text,
    client_ip        text,
    session          text,
    request_id       text,
    server_id        uuid,
    server_slug      text,
    method           text,
    era              text,
    resource_type    text,
    resource_name    text,
    -- JSON arrays as text.
    policy_ids       text        not null,
    findings         text        not null,
    confirmation_id  uuid,
    trace_id         text,
    latency_us       bigint,
    upstream_us      bigint,
    request_bytes    bigint,
    response_bytes   bigint,
    arguments_digest bytea,
    result_digest    bytea,
    primary key (id, ts)
) partition by range (ts);
create index audit_event_page on audit_event (ts, id);
create unique index audit_event_concludes on audit_event (call_id, ts) where concludes;
create index audit_event_call on audit_event (call_id) where not concludes;
create index audit_event_actor on audit_event (actor_id, ts, id) where actor_id is not null;

-- Arguments and results, apart: large, and kept for a shorter time. id is the intent's or the event's.
create table audit_payload (
    ts        timestamptz not null,
    id        uuid        not null,
    kind      text        not null check (kind in ('arguments', 'result')),
    codec     text        not null check (codec in ('raw', 'zstd')),
    -- Bytes as they were; only the first `kept` of them are in body.
    size      bigint      not null,
    kept      bigint      not null,
    body      bytea       not null,
    primary key (ts, id, kind)
) partition by range (ts);
-- Compressed already.
alter table audit_payload alter column body set storage external;

-- One record for each commit of a writer: a tag for each of its rows, chained by mac.
create table audit_batch (
    ts      timestamptz not null,
    replica uuid        not null,
    batch   bigint      not null,
    -- The span of its rows' ts, where they are found.
    from_ts timestamptz not null,
    to_ts   timestamptz not null,
    -- 16 bytes for each place; all zero where the row was there already.
    tags    bytea       not null,
    mac     bytea       not null,
    primary key (ts, replica, batch)
) partition by range (ts);
create index audit_batch_walk on audit_batch (replica, batch);

-- Where each chain ends, sealed with a key that is not in the database: a cut tail shows.
create table audit_chain (
    replica uuid   primary key,
    batch   bigint not null,
    mac     bytea  not null,
    seal    bytea  not null
);

-- Which gateways are alive: only their own sweeper closes what they left open.
create table audit_replica (
    replica    uuid primary key,
    started_at timestamptz not null default now(),
    seen_at    timestamptz not null default now()
);

-- Rows that Postgres refused for what they hold; nothing is lost, and nothing waits behind them.
create table audit_quarantine (
    id       uuid        not null,
    kind     text        not null,
    at       timestamptz not null,
    sqlstate text        not null,
    body     bytea       not null,
    primary key (id, kind)
);

-- Counts by hour and by day. One shard for each replica, so that writers never wait for each other.
-- Absent values are '' and the nil uuid. latency_class is the index into audit_latency_bounds(), 0 first;
-- -1 where nothing was measured.
create table audit_rollup_hour (
    bucket         timestamptz not null,
    replica        uuid        not null,
    action         text        not null,
    outcome        text        not null,
    reason         text        not null,
    server_id      uuid        not null,
    resource_type  text        not null,
    resource_name  text        not null,
    actor_id       uuid        not null,
    client_name    text        not null,
    latency_class  smallint    not null,
    events         bigint      not null,
    latency_us     bigint      not null,
    upstream_us    bigint      not null,
    request_bytes  bigint      not null,
    response_bytes bigint      not null,
    primary key (bucket, server_id, actor_id, resource_name, action, outcome, reason, resource_type,
                 client_name, latency_class, replica)
);
create table audit_rollup_day (like audit_rollup_hour including all);

-- Upper bounds of the latency classes, in microseconds.
create function audit_latency_bounds() returns bigint[] language sql immutable parallel safe as $$
    select array[1000, 2000, 5000, 10000, 20000, 50000, 100000, 200000, 500000, 1000000, 2000000,
                 5000000, 10000000, 30000000, 60000000]::bigint[]
$$;

-- Makes the partitions of `days` days from `first` on. gateway_app owns no table, therefore the owner's
-- rights; it can make nothing but empty days near the present.
create function audit_make_days(first date, days integer) returns integer
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    parent text;
    child  text;
    day    date;
    made   integer := 0;
begin
    if days < 1 or days > 31 or first < current_date - 400 or first + days > current_date + 60 then
        raise exception 'audit partitions are made from 400 days ago until 60 days ahead'
            using errcode = 'invalid_parameter_value';
    end if;
    -- Replicas take turns; readers and writers of other days do not wait (attach locks only lightly).
    perform pg_advisory_xact_lock(7205759403792793);
    foreach parent in array array['audit_intent', 'audit_event', 'audit_payload', 'audit_batch'] loop
        for day in select first + n from generate_series(0, days - 1) n loop
            child := parent || to_char(day, '_YYYYMMDD');
            continue when to_regclass(child) is not null;
            execute format('create table %I (like %I including all)', child, parent);
            execute format('alter table %I attach partition %I for values from (%L) to (%L)', parent, child,
                           day::timestamp at time zone 'UTC', (day + 1)::timestamp at time zone 'UTC');
            made := made + 1;
        end loop;
    end loop;
    return made;
end
$$;

revoke all on function audit_make_days(date, integer) from public;
grant execute on function audit_make_days(date, integer) to gateway_app;
revoke all on audit_intent, audit_event, audit_payload, audit_batch, audit_quarantine,
    audit_chain, audit_replica, audit_rollup_hour, audit_rollup_day from public, gateway_app;
grant select, insert on audit_intent, audit_event, audit_payload, audit_batch, audit_quarantine
    to gateway_app;
grant select, insert, update on audit_chain, audit_replica, audit_rollup_hour, audit_rollup_day
    to gateway_app;
