-- Each stretch between two bounds meets one UTC day or several: the bits of its quarters in that day.
with stretches as (
    select place, first, lead(first) over (order by place) as past, number
    from unnest($1::timestamptz[], $2::integer[]) with ordinality as bounds (first, number, place)
),
parts as (
    select place, number, day,
        (extract(epoch from greatest(first, day) - day) / 900)::integer as low,
        (extract(epoch from least(past, day + interval '24 hours') - day) / 900)::integer as high
    from stretches
    cross join lateral generate_series(
        date_bin('1 day', first, '2000-01-01 00:00+00'), past - interval '1 second', interval '24 hours') day
    where past is not null
),
masks as materialized (
    select place, number, day,
        (repeat('0', low) || repeat('1', high - low) || repeat('0', 96 - high))::bit(96) as mask
    from parts where high > low
),
days as materialized (
    select bucket, actor_id, agent, bit_or(active) as active
    from audit_person_day
    where bucket >= date_bin('1 day', $3::timestamptz, '2000-01-01 00:00+00') and bucket < $4::timestamptz
    group by bucket, actor_id, agent
),
found as materialized (
    select distinct place, number, agent, actor_id
    from masks join days on bucket = day
    where active & mask <> B'0'::bit(96)
)
select false as "grouped!", place::integer as "place!", agent as "agent!", count(*) as "active!"
from found group by place, agent
union all
select true, number, agent, count(distinct actor_id) from found group by number, agent
