-- Every version of every policy, kept by the database itself, so that whoever writes policies versions them.
-- Who did it stands in the transaction's setting gateway.actor; empty for `apply`.

alter table policy add column version integer not null default 1 check (version > 0);
-- Who made this version; null for `apply`.
alter table policy add column changed_by uuid;

create table policy_version (
    change    bigint generated always as identity primary key,
    policy_id uuid        not null,
    version   integer     not null,
    what      text        not null check (what in ('created', 'updated', 'deleted')),
    -- As it was from then on; of a deleted policy: as it was last.
    name      text        not null,
    spec      text        not null,
    source    text        not null,
    actor_id  uuid,
    at        timestamptz not null default now(),
    unique (policy_id, version)
);
create index policy_version_name on policy_version (name, change);

insert into policy_version (policy_id, version, what, name, spec, source, at)
select id, 1, 'created', name, spec, source, updated_at from policy order by position, name;

-- A policy that comes back counts on; one that merely moved up or down is no new version.
create function policy_numbered() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' then
        select coalesce(max(version), 0) + 1 into new.version from policy_version where policy_id = new.id;
    elsif (new.name, new.spec, new.source) is distinct from (old.name, old.spec, old.source) then
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

create function policy_versioned() returns trigger language plpgsql as $$
begin
    if tg_op = 'DELETE' then
        insert into policy_version (policy_id, version, what, name, spec, source, actor_id)
        values (old.id, old.version + 1, 'deleted', old.name, old.spec, old.source,
                nullif(current_setting('gateway.actor', true), '')::uuid);
    elsif tg_op = 'INSERT' or new.version <> old.version then
        insert into policy_version (policy_id, version, what, name, spec, source, actor_id)
        values (new.id, new.version, case tg_op when 'INSERT' then 'created' else 'updated' end,
                new.name, new.spec, new.source, new.changed_by);
    end if;
    return null;
end
$$;

create trigger policy_numbered before insert or update on policy
    for each row execute function policy_numbered();
create trigger policy_versioned after insert or update or delete on policy
    for each row execute function policy_versioned();

-- A version can neither be changed nor removed.
grant select, insert on policy_version to gateway_app;
