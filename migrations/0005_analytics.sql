-- Rollups that analytics read instead of raw rows: narrow ones, by quarter of an hour and by day (UTC), since
-- the days and hours of every time zone begin at a quarter. A range is answered from days in its middle and
-- from quarters at its edges. They are fed by a trigger in the statement that writes the events, so that
-- replicas of an older release feed them, too.
--
-- A call is a tool call that was made; it failed unless it succeeded. Denied is a tool call that was refused.
-- One shard for each replica, so that writers never wait for each other. Absent values are '' and the nil
-- uuid. Nothing here depends on how long raw rows are kept.

-- When.
create table audit_calls_quarter (
    bucket    timestamptz not null,
    server_id uuid        not null,
    replica   uuid        not null,
    calls     bigint      not null,
    failures  bigint      not null,
    denied    bigint      not null,
    primary key (bucket, server_id, replica)
) with (fillfactor = 80);

-- Which tool, how well. l00 to l15 count calls by latency class, as audit_latency_bounds() cuts them.
create table audit_tool_quarter (
    bucket          timestamptz not null,
    server_id       uuid        not null,
    tool            text        not null,
    replica         uuid        not null,
    calls           bigint      not null,
    failures        bigint      not null,
    denied          bigint      not null,
    latency_us      bigint      not null,
    l00 bigint not null, l01 bigint not null, l02 bigint not null, l03 bigint not null,
    l04 bigint not null, l05 bigint not null, l06 bigint not null, l07 bigint not null,
    l08 bigint not null, l09 bigint not null, l10 bigint not null, l11 bigint not null,
    l12 bigint not null, l13 bigint not null, l14 bigint not null, l15 bigint not null,
    last_success_at timestamptz,
    last_failure_at timestamptz,
    -- Its reason; where it has none how it ended.
    last_failure    text,
    primary key (bucket, server_id, tool, replica)
) with (fillfactor = 80);
create table audit_tool_day (like audit_tool_quarter including all) with (fillfactor = 80);

-- Who, with which client.
create table audit_person_quarter (
    bucket      timestamptz not null,
    actor_id    uuid        not null,
    client_name text        not null,
    replica     uuid        not null,
    calls       bigint      not null,
    failures    bigint      not null,
    denied      bigint      not null,
    primary key (bucket, actor_id, client_name, replica)
) with (fillfactor = 80);
create table audit_person_day (
    like audit_person_quarter including all,
    -- An agent account that acted for itself.
    agent  boolean not null,
    -- In which of the day's quarters calls were made.
    active bit(96) not null
) with (fillfactor = 80);

-- The same of one server.
create table audit_usage_quarter (
    bucket      timestamptz not null,
    server_id   uuid        not null,
    actor_id    uuid        not null,
    client_name text        not null,
    replica     uuid        not null,
    calls       bigint      not null,
    failures    bigint      not null,
    denied      bigint      not null,
    primary key (server_id, bucket, actor_id, client_name, replica)
) with (fillfactor = 80);
create table audit_usage_day (like audit_usage_quarter including all) with (fillfactor = 80);

-- What was refused, and what people were asked and answered.
create table audit_verdict_quarter (
    bucket        timestamptz not null,
    action        text        not null,
    reason        text        not null,
    server_id     uuid        not null,
    resource_type text        not null,
    resource_name text        not null,
    replica       uuid        not null,
    events        bigint      not null,
    primary key (bucket, action, reason, server_id, resource_type, resource_name, replica)
) with (fillfactor = 80);
create table audit_verdict_day (like audit_verdict_quarter including all) with (fillfactor = 80);

create function audit_roll_up() returns trigger language plpgsql as $$
begin
    with sorted as materialized (
        select replica, ts, count, latency_us, action, outcome, reason,
            date_bin('15 minutes', ts, '2000-01-01 00:00+00') as quarter,
            date_bin('1 day', ts, '2000-01-01 00:00+00') as day,
            coalesce(server_id, '00000000-0000-0000-0000-000000000000') as server_id,
            coalesce(resource_type, '') as resource_type,
            -- Names that a client may invent at will would make as many rows as calls.
            case when resource_type in ('tool', 'prompt') and actor_id is not null
                      and coalesce(reason, '') not in ('target_not_found', 'server_not_found', 'invalid_params')
                 then left(coalesce(resource_name, ''), 200) else '' end as name,
            actor_id, actor_kind, left(coalesce(client_name, ''), 64) as client_name,
            action in ('tool_call_success', 'tool_call_failure') as made,
            outcome = 'denied' and resource_type = 'tool' and action <> 'confirmation_requested' as refused
        from fresh
    ),
    counted as materialized (
        select *, case when made then count else 0 end as calls,
            case when action = 'tool_call_failure' then count else 0 end as failures,
            case when refused then count else 0 end as denied,
            case when made then width_bucket(latency_us, audit_latency_bounds()) end as class
        from sorted where made or refused
    ),
    by_time as (
        insert into audit_calls_quarter as stood
        select quarter, server_id, replica, sum(calls), sum(failures), sum(denied)
        from counted group by quarter, server_id, replica
        on conflict (bucket, server_id, replica) do update set
            calls = stood.calls + excluded.calls, failures = stood.failures + excluded.failures,
            denied = stood.denied + excluded.denied
    ),
    tools as materialized (
        select quarter, day, server_id, name, replica,
            sum(calls) as calls, sum(failures) as failures, sum(denied) as denied,
            -- A day at most, so that no sum can overflow.
            coalesce(sum(least(latency_us, 86400000000) * count) filter (where made), 0) as latency_us,
            coalesce(sum(count) filter (where class = 0), 0) as l00,
            coalesce(sum(count) filter (where class = 1), 0) as l01,
            coalesce(sum(count) filter (where class = 2), 0) as l02,
            coalesce(sum(count) filter (where class = 3), 0) as l03,
            coalesce(sum(count) filter (where class = 4), 0) as l04,
            coalesce(sum(count) filter (where class = 5), 0) as l05,
            coalesce(sum(count) filter (where class = 6), 0) as l06,
            coalesce(sum(count) filter (where class = 7), 0) as l07,
            coalesce(sum(count) filter (where class = 8), 0) as l08,
            coalesce(sum(count) filter (where class = 9), 0) as l09,
            coalesce(sum(count) filter (where class = 10), 0) as l10,
            coalesce(sum(count) filter (where class = 11), 0) as l11,
            coalesce(sum(count) filter (where class = 12), 0) as l12,
            coalesce(sum(count) filter (where class = 13), 0) as l13,
            coalesce(sum(count) filter (where class = 14), 0) as l14,
            coalesce(sum(count) filter (where class = 15), 0) as l15,
            max(ts) filter (where action = 'tool_call_success') as last_success_at,
            max(ts) filter (where failures > 0) as last_failure_at,
            (array_agg(coalesce(reason, outcome) order by ts desc) filter (where failures > 0))[1]
                as last_failure
        from counted where name <> '' group by quarter, day, server_id, name, replica
    ),
    tool_quarters as (
        insert into audit_tool_quarter as stood
        select quarter, server_id, name, replica, calls, failures, denied, latency_us,
            l00, l01, l02, l03, l04, l05, l06, l07, l08, l09, l10, l11, l12, l13, l14, l15,
            last_success_at, last_failure_at, last_failure
        from tools
        on conflict (bucket, server_id, tool, replica) do update set
            calls = stood.calls + excluded.calls, failures = stood.failures + excluded.failures,
            denied = stood.denied + excluded.denied, latency_us = stood.latency_us + excluded.latency_us,
            l00 = stood.l00 + excluded.l00, l01 = stood.l01 + excluded.l01,
            l02 = stood.l02 + excluded.l02, l03 = stood.l03 + excluded.l03,
            l04 = stood.l04 + excluded.l04, l05 = stood.l05 + excluded.l05,
            l06 = stood.l06 + excluded.l06, l07 = stood.l07 + excluded.l07,
            l08 = stood.l08 + excluded.l08, l09 = stood.l09 + excluded.l09,
            l10 = stood.l10 + excluded.l10, l11 = stood.l11 + excluded.l11,
            l12 = stood.l12 + excluded.l12, l13 = stood.l13 + excluded.l13,
            l14 = stood.l14 + excluded.l14, l15 = stood.l15 + excluded.l15,
            last_success_at = greatest(stood.last_success_at, excluded.last_success_at),
            last_failure = case when excluded.last_failure_at < stood.last_failure_at
                                then stood.last_failure
                                else coalesce(excluded.last_failure, stood.last_failure) end,
            last_failure_at = greatest(stood.last_failure_at, excluded.last_failure_at)
    ),
    tool_days as (
        insert into audit_tool_day as stood
        select day, server_id, name, replica, sum(calls), sum(failures), sum(denied), sum(latency_us),
            sum(l00), sum(l01), sum(l02), sum(l03), sum(l04), sum(l05), sum(l06), sum(l07),
            sum(l08), sum(l09), sum(l10), sum(l11), sum(l12), sum(l13), sum(l14), sum(l15),
            max(last_success_at), max(last_failure_at),
            (array_agg(last_failure order by last_failure_at desc) filter (where failures > 0))[1]
        from tools group by day, server_id, name, replica
        on conflict (bucket, server_id, tool, replica) do update set
            calls = stood.calls + excluded.calls, failures = stood.failures + excluded.failures,
            denied = stood.denied + excluded.denied, latency_us = stood.latency_us + excluded.latency_us,
            l00 = stood.l00 + excluded.l00, l01 = stood.l01 + excluded.l01,
            l02 = stood.l02 + excluded.l02, l03 = stood.l03 + excluded.l03,
            l04 = stood.l04 + excluded.l04, l05 = stood.l05 + excluded.l05,
            l06 = stood.l06 + excluded.l06, l07 = stood.l07 + excluded.l07,
            l08 = stood.l08 + excluded.l08, l09 = stood.l09 + excluded.l09,
            l10 = stood.l10 + excluded.l10, l11 = stood.l11 + excluded.l11,
            l12 = stood.l12 + excluded.l12, l13 = stood.l13 + excluded.l13,
            l14 = stood.l14 + excluded.l14, l15 = stood.l15 + excluded.l15,
            last_success_at = greatest(stood.last_success_at, excluded.last_success_at),
            last_failure = case when excluded.last_failure_at < stood.last_failure_at
                                then stood.last_failure
                                else coalesce(excluded.last_failure, stood.last_failure) end,
            last_failure_at = greatest(stood.last_failure_at, excluded.last_failure_at)
    ),
    usage as materialized (
        select quarter, day, server_id, actor_id, client_name, replica,
            bool_and(actor_kind is not distinct from 'agent') as agent,
            sum(calls) as calls, sum(failures) as failures, sum(denied) as denied
        from counted where actor_id is not null
        group by quarter, day, server_id, actor_id, client_name, replica
    ),
    usage_quarters as (
        insert into audit_usage_quarter as stood
        select quarter, server_id, actor_id, client_name, replica, calls, failures, denied from usage
        on conflict (server_id, bucket, actor_id, client_name, replica) do update set
            calls = stood.calls + excluded.calls, failures = stood.failures + excluded.failures,
            denied = stood.denied + excluded.denied
    ),
    usage_days as (
        insert into audit_usage_day as stood
        select day, server_id, actor_id, client_name, replica, sum(calls), sum(failures), sum(denied)
        from usage group by day, server_id, actor_id, client_name, replica
        on conflict (server_id, bucket, actor_id, client_name, replica) do update set
            calls = stood.calls + excluded.calls, failures = stood.failures + excluded.failures,
            denied = stood.denied + excluded.denied
    ),
    person_quarters as (
        insert into audit_person_quarter as stood
        select quarter, actor_id, client_name, replica, sum(calls), sum(failures), sum(denied)
        from usage group by quarter, actor_id, client_name, replica
        on conflict (bucket, actor_id, client_name, replica) do update set
            calls = stood.calls + excluded.calls, failures = stood.failures + excluded.failures,
            denied = stood.denied + excluded.denied
    ),
    person_days as (
        insert into audit_person_day as stood
        select day, actor_id, client_name, replica, sum(calls), sum(failures), sum(denied), bool_and(agent),
            bit_or(set_bit(B'0'::bit(96), (extract(epoch from quarter - day) / 900)::integer,
                           (calls > 0)::integer))
        from usage group by day, actor_id, client_name, replica
        on conflict (bucket, actor_id, client_name, replica) do update set
            calls = stood.calls + excluded.calls, failures = stood.failures + excluded.failures,
            denied = stood.denied + excluded.denied, active = stood.active | excluded.active
    ),
    verdicts as materialized (
        select quarter, day, action, coalesce(reason, '') as reason, server_id, resource_type, name, replica,
            sum(count) as events
        from sorted
        where outcome = 'denied'
           or action in ('confirmation_requested', 'confirmation_approved', 'confirmation_declined')
        group by quarter, day, action, coalesce(reason, ''), server_id, resource_type, name, replica
    ),
    verdict_quarters as (
        insert into audit_verdict_quarter as stood
        select quarter, action, reason, server_id, resource_type, name, replica, events from verdicts
        on conflict (bucket, action, reason, server_id, resource_type, resource_name, replica)
        do update set events = stood.events + excluded.events
    )
    insert into audit_verdict_day as stood
    select day, action, reason, server_id, resource_type, name, replica, sum(events)
    from verdicts group by day, action, reason, server_id, resource_type, name, replica
    on conflict (bucket, action, reason, server_id, resource_type, resource_name, replica)
    do update set events = stood.events + excluded.events;
    return null;
end
$$;

create trigger audit_rolled_up after insert on audit_event referencing new table as fresh
    for each statement execute function audit_roll_up();

-- What stands already, a day at a time through the same function. Writers wait meanwhile.
do $$
declare
    day  timestamptz;
    past timestamptz;
begin
    select date_bin('1 day', min(ts), '2000-01-01 00:00+00'), max(ts) into day, past from audit_event;
    if day is null then
        return;
    end if;
    create temporary table audit_backfill (like audit_event) on commit drop;
    create trigger audit_rolled_up after insert on audit_backfill referencing new table as fresh
        for each statement execute function audit_roll_up();
    while day <= past loop
        insert into audit_backfill select * from audit_event where ts >= day and ts < day + interval '24 hours';
        truncate audit_backfill;
        day := day + interval '24 hours';
    end loop;
end
$$;

-- The rows of a range: quarters before the first whole day, days, quarters from the last whole day's end on.
create function audit_tools(first timestamptz, day_first timestamptz, day_past timestamptz, past timestamptz)
returns setof audit_tool_day language sql stable parallel safe as $$
    select * from audit_tool_quarter where bucket >= first and bucket < day_first
    union all select * from audit_tool_day where bucket >= day_first and bucket < day_past
    union all select * from audit_tool_quarter where bucket >= day_past and bucket < past
$$;
create function audit_people(first timestamptz, day_first timestamptz, day_past timestamptz, past timestamptz)
returns setof audit_person_quarter language sql stable parallel safe as $$
    select * from audit_person_quarter where bucket >= first and bucket < day_first
    union all select bucket, actor_id, client_name, replica, calls, failures, denied from audit_person_day
        where bucket >= day_first and bucket < day_past
    union all select * from audit_person_quarter where bucket >= day_past and bucket < past
$$;
create function audit_usage(
    server uuid, first timestamptz, day_first timestamptz, day_past timestamptz, past timestamptz)
returns setof audit_usage_day language sql stable parallel safe as $$
    select * from audit_usage_quarter where server_id = server and bucket >= first and bucket < day_first
    union all select * from audit_usage_day
        where server_id = server and bucket >= day_first and bucket < day_past
    union all select * from audit_usage_quarter
        where server_id = server and bucket >= day_past and bucket < past
$$;
create function audit_verdicts(first timestamptz, day_first timestamptz, day_past timestamptz, past timestamptz)
returns setof audit_verdict_day language sql stable parallel safe as $$
    select * from audit_verdict_quarter where bucket >= first and bucket < day_first
    union all select * from audit_verdict_day where bucket >= day_first and bucket < day_past
    union all select * from audit_verdict_quarter where bucket >= day_past and bucket < past
$$;

revoke all on audit_calls_quarter, audit_tool_quarter, audit_tool_day, audit_person_quarter, audit_person_day,
    audit_usage_quarter, audit_usage_day, audit_verdict_quarter, audit_verdict_day from public, gateway_app;
grant select, insert, update on audit_calls_quarter, audit_tool_quarter, audit_tool_day,
    audit_person_quarter, audit_person_day, audit_usage_quarter, audit_usage_day, audit_verdict_quarter,
    audit_verdict_day to gateway_app;

-- Nothing reads audit_rollup_hour and audit_rollup_day any more. They stay for replicas of an older release,
-- which write them; a later migration drops them.
