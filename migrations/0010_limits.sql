-- Limits on calls: how often, and how many a day.

create table call_limit (
    id         uuid primary key,
    name       text not null unique check (name <> ''),
    -- The limit as written, JSON text: what it means is not the store's business.
    spec       text not null,
    source     text not null default 'apply' check (source in ('apply', 'api')),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create trigger catalogue_added after insert or delete on call_limit
    for each row execute function catalogue_changed();
create trigger catalogue_edited after update on call_limit
    for each row when (old.* is distinct from new.*) execute function catalogue_changed();

-- What is gone of a day's budget. Replicas take it in blocks: "leased" is given out, "used" was reported.
create table call_limit_use (
    limit_id uuid   not null references call_limit on delete cascade,
    -- The principal; the nil id where all count together.
    subject  uuid   not null,
    day      date   not null,
    leased   bigint not null default 0 check (leased >= 0),
    used     bigint not null default 0 check (used >= 0),
    primary key (limit_id, day, subject)
);

grant select, insert, update, delete on call_limit, call_limit_use to gateway_app;
