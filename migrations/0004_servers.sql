-- What governing one server takes: bodies withheld from most readers, and people who administer it alone.

alter table server add column sensitive boolean not null default false;

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
