-- What the scanners do: the organisation's settings and those of single servers, laid over them. Every version is
-- kept by the database itself, as those of policies are; who did it stands in the transaction's setting gateway.actor.

create table scanner_settings (
    id         uuid primary key default gen_random_uuid(),
    -- Null: the organisation's.
    server_id  uuid unique references server on delete cascade,
    -- The settings as written, JSON text: what they mean is not the store's business.
    spec       text not null,
    -- Of these settings; counts on when they are removed and come back.
    version    integer not null default 1 check (version > 0),
    -- Who made this version; null for `apply`.
    changed_by uuid,
    source     text not null default 'apply' check (source in ('apply', 'api')),
    updated_at timestamptz not null default now()
);
create unique index scanner_settings_organisation on scanner_settings ((true)) where server_id is null;

create table scanner_settings_version (
    change      bigint generated always as identity primary key,
    -- Null: the organisation's. The server may be gone.
    server_id   uuid,
    server_slug text,
    version     integer not null,
    -- Null: there were none; there are none any more.
    before      text,
    after       text,
    source      text        not null,
    actor_id    uuid,
    at          timestamptz not null default now()
);
create index scanner_settings_version_of on scanner_settings_version (server_id, change);

create function scanner_settings_numbered() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' then
        select coalesce(max(version), 0) + 1 into new.version
          from scanner_settings_version where server_id is not distinct from new.server_id;
    elsif new.spec is distinct from old.spec then
        new.version := old.version + 1;
    else
        new.version := old.version;
        new.changed_by := old.changed_by;
        return new;
    end if;
    new.changed_by := nullif(current_setting('gateway.actor', true), '')::uuid;
    return new;
end
$$;

create function scanner_settings_versioned() returns trigger language plpgsql as $$
declare
    one    record;
    called text;
begin
    if tg_op = 'UPDATE' and new.version = old.version then
        return null;
    end if;
    if tg_op = 'DELETE' then one := old; else one := new; end if;
    -- A server that goes takes its settings along: then only an earlier version knows what it was called.
    select slug into called from server where id = one.server_id;
    if called is null and one.server_id is not null then
        select server_slug into called from scanner_settings_version
         where server_id = one.server_id order by change desc limit 1;
    end if;
    insert into scanner_settings_version (server_id, server_slug, version, before, after, source, actor_id)
    values (one.server_id, called,
            case tg_op when 'DELETE' then one.version + 1 else one.version end,
            case tg_op when 'INSERT' then null else old.spec end,
            case tg_op when 'DELETE' then null else new.spec end,
            one.source, nullif(current_setting('gateway.actor', true), '')::uuid);
    return null;
end
$$;

create trigger scanner_settings_numbered before insert or update on scanner_settings
    for each row execute function scanner_settings_numbered();
create trigger scanner_settings_versioned after insert or update or delete on scanner_settings
    for each row execute function scanner_settings_versioned();

create trigger catalogue_added after insert or delete on scanner_settings
    for each row execute function catalogue_changed();
create trigger catalogue_edited after update on scanner_settings
    for each row when (old.* is distinct from new.*) execute function catalogue_changed();

grant select, insert, update, delete on scanner_settings to gateway_app;
-- A version can neither be changed nor removed.
grant select, insert on scanner_settings_version to gateway_app;
