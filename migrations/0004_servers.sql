-- What governing one server takes: bodies withheld from most readers, and people who administer it alone.

alter table server add column sensitive boolean not null default false;
-- An https URL or a small data:image/...;base64,...
alter table server add column icon text check (length(icon) between 1 and 8192);
-- The entry of the catalogue of well-known servers that it was made from.
alter table server add column catalog_entry text check (length(catalog_entry) between 1 and 200);

-- Who administers this server without a role that administers all.
create table server_admin (
    server_id uuid not null references server on delete cascade,
    user_id   uuid not null references gateway_user on delete cascade,
    primary key (server_id, user_id)
);
create index server_admin_user on server_admin (user_id);

create trigger catalogue_added after insert or delete on server_admin
    for each row execute function catalogue_changed();

grant select, insert, delete on server_admin to gateway_app;

-- How servers were when one replica last looked. No trigger: what is measured does not make snapshots anew.
create table server_health (
    server_id  uuid primary key references server on delete cascade,
    status     text not null check (status in ('ok', 'failing')),
    since      timestamptz not null,
    checked_at timestamptz not null,
    last_ok    timestamptz,
    -- Of the last failure; null while it is ok.
    reason     text,
    detail     text,
    latency_us bigint,
    -- In a row.
    failures   integer not null default 0 check (failures >= 0)
);

grant select, insert, update, delete on server_health to gateway_app;
