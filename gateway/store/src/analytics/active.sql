-- Each stretch between two bounds meets one UTC day or several: the bits of its quarters in that day.
with stretches as (
    select place, first, lead(first) over (order by place) as past
    from unnest($1::timestamptz[]) with ordinality as bounds (first, place)
),
parts as (
    select place, day,
        (extract(epoch from greatest(first, day) - day) / 900)::integer as low,
        (extract(epoch from least(past, day + interval '24 hours') - day) / 900)::integer as high
    from stretches
    cross join lateral generate_series(
        date_bin('1 day', first, '2000-01-01 00:00+00'), past - interval '1 second', interval '24 hours') day
    where past is not null
),
masks as (
    select place, day,
        (repeat('0', low) || repeat('1', high - low) || repeat('0', 96 - high))::bit(96) as mask
    from parts where high > low
)
select place::integer as "place!", agent as "agent!", count(*) as "active!"
from (
    select distinct place, agent, actor_id
    from masks join audit_active_day on bucket = day
    where quarters & mask <> repeat('0', 96)::bit(96)
) found
group by place, agent
