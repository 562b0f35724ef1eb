-- The catalogue: people, servers, tools, policies, keys, confirmations; and the role the gateway acts as.
-- Needs no superuser: a role that owns the database and has CREATEROLE (or finds gateway_app made for it).

-- Roles belong to the whole cluster and other databases of it may be migrated at this very moment: what
-- two of them do at once makes one fail, and that one tries again.
do $$
begin
    for attempt in 1..20 loop
        begin
            if not exists (select from pg_roles where rolname = 'gateway_app') then
                create role gateway_app nologin;
            end if;
            if not (select rolsuper from pg_roles where rolname = current_user) then
                begin
                    execute format('grant gateway_app to %I', current_user);
                exception when insufficient_privilege then
                    -- Somebody else made the role: being allowed to become it is enough.
                    set local role gateway_app;
                    reset role;
                end;
            end if;
            return;
        exception
            when insufficient_privilege then
                raise exception 'the role gateway_app is missing or out of reach, and % may not change that: let a superuser run CREATE ROLE gateway_app NOLOGIN; GRANT gateway_app TO %; or ALTER ROLE % CREATEROLE',
                    quote_ident(current_user), quote_ident(current_user), quote_ident(current_user)
                    using errcode = 'insufficient_privilege';
            when duplicate_object or unique_violation or internal_error then
                perform pg_sleep(0.05);
        end;
    end loop;
    raise exception 'could not create the role gateway_app: other migrations kept changing it';
end
$$;

-- One row. Every change of the catalogue counts it up, once a transaction, and says so.
create table catalogue_version (
    only_one   boolean primary key default true check (only_one),
    version    bigint  not null default 1,
    changed_by xid8    not null default '0'
);
insert into catalogue_version default values;

create function catalogue_changed() returns trigger language plpgsql as $$
declare
    counted bigint;
begin
    update catalogue_version
       set version = version + 1, changed_by = pg_current_xact_id()
     where changed_by <> pg_current_xact_id()
    returning version into counted;
    if found then
        perform pg_notify('gateway_catalogue', counted::text);
    end if;
    return null;
end
$$;

-- source: who made the row. Only what came from `apply` is removed by `apply --prune`.
create table gateway_user (
    id         uuid primary key default gen_random_uuid(),
    email      text not null unique check (email = lower(email) and email <> ''),
    name       text not null default '',
    roles      text[] not null default '{}',
    active     boolean not null default true,
    source     text not null default 'apply' check (source in ('apply', 'api', 'seed')),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create table gateway_group (
    id         uuid primary key default gen_random_uuid(),
    name       text not null unique check (name <> ''),
    source     text not null default 'apply' check (source in ('apply', 'api', 'seed')),
    created_at timestamptz not null default now()
);

create table membership (
    group_id  uuid not null references gateway_group on delete cascade,
    user_id uuid not null references gateway_user on delete cascade,
    primary key (group_id, user_id)
);
create index membership_user on membership (user_id);

create table server (
    id          uuid primary key default gen_random_uuid(),
    slug        text not null unique check (slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    title       text not null default '',
    description text not null default '',
    -- null: in this process (the Runlayer MCP).
    url         text,
    transport   text not null default 'streamable-http' check (transport in ('streamable-http', 'in-process')),
    -- {"mode":"none"} or {"mode":"header","name":...,"from":{"env":...}|{"file":...}}; never a secret.
    auth        jsonb not null default '{"mode":"none"}',
    status      text not null default 'active' check (status in ('active', 'disabled', 'draft', 'error')),
    -- Which eras of MCP it answers; null until it was asked.
    legacy      boolean,
    modern      boolean,
    source      text not null default 'apply' check (source in ('apply', 'api', 'seed')),
    created_at  timestamptz not null default now(),
    updated_at  timestamptz not null default now(),
    check ((transport = 'in-process') = (url is null)),
    check ((legacy is null) = (modern is null))
);

insert into server (id, slug, title, description, transport, source) values (
    'd0b2d0c6-5d87-4f87-a2e1-7f0a60a6c0b5', 'runlayer', 'Runlayer MCP',
    'Ask and steer the governance system itself: servers, policies, audit, confirmations.',
    'in-process', 'seed');

-- Tool definitions as the server last gave them, byte for byte.
create table tool (
    server_id   uuid not null references server on delete cascade,
    name        text not null,
    position    integer not null,
    definition  text not null,
    hash        bytea not null check (length(hash) = 32),
    annotations text[] not null default '{}',
    first_seen  timestamptz not null,
    changed_at  timestamptz not null,
    primary key (server_id, name)
);

create table policy (
    id         uuid primary key default gen_random_uuid(),
    name       text not null unique check (name <> ''),
    position   integer not null,
    -- The policy as written, JSON text: what it means is not the store's business.
    spec       text not null,
    source     text not null default 'apply' check (source in ('apply', 'api', 'seed')),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create table api_key (
    id         uuid primary key,
    user_id  uuid not null references gateway_user on delete cascade,
    name       text not null default '',
    -- A keyed hash; the key itself is nowhere.
    hash       bytea not null unique check (length(hash) = 32),
    last_four  text not null check (length(last_four) <= 4),
    created_at timestamptz not null,
    expires_at timestamptz,
    revoked_at timestamptz
);
create index api_key_user on api_key (user_id);

do $$
declare
    noun text;
begin
    foreach noun in array array['gateway_user', 'gateway_group', 'membership', 'server', 'tool', 'policy', 'api_key'] loop
        execute format('create trigger catalogue_added after insert or delete on %I
                        for each row execute function catalogue_changed()', noun);
        execute format('create trigger catalogue_edited after update on %I
                        for each row when (old.* is distinct from new.*)
                        execute function catalogue_changed()', noun);
    end loop;
end
$$;

-- A human's agreement to one call: asked for, given, and used at most once.
create table confirmation (
    id          uuid primary key,
    -- What the agreement is bound to: principal, server, tool, definition, arguments, approvers.
    binding     bytea not null check (length(binding) = 32),
    user_id   uuid not null references gateway_user on delete cascade,
    server_id   uuid not null references server on delete cascade,
    tool        text not null,
    message     text not null,
    -- The call's arguments, for the people who are to agree.
    arguments   text,
    policy_ids  uuid[] not null,
    -- Everyone who must agree: caller, group:NAME, user:EMAIL.
    approvers   text[] not null check (cardinality(approvers) > 0),
    status      text not null default 'pending'
                check (status in ('pending', 'agreed', 'declined', 'used', 'expired')),
    call_id     uuid not null,
    created_at  timestamptz not null,
    expires_at  timestamptz not null,
    settled_at  timestamptz,
    used_at     timestamptz
);
create unique index confirmation_live on confirmation (binding) where status in ('pending', 'agreed');
create index confirmation_pending on confirmation (id) where status = 'pending';

-- Who agreed or declined, and for which of the approvers.
create table confirmation_answer (
    confirmation_id uuid not null references confirmation on delete cascade,
    approver        text not null,
    user_id       uuid not null,
    email           text not null,
    approve         boolean not null,
    answered_at     timestamptz not null,
    primary key (confirmation_id, approver)
);

create function confirmation_changed() returns trigger language plpgsql as $$
begin
    perform pg_notify('gateway_confirmation', new.id::text);
    return null;
end
$$;
create trigger confirmation_added after insert on confirmation
    for each row execute function confirmation_changed();
create trigger confirmation_settled after update of status on confirmation
    for each row when (old.status <> new.status) execute function confirmation_changed();

grant select, update on catalogue_version to gateway_app;
grant select, insert, update, delete on
    gateway_user, gateway_group, membership, server, tool, policy, api_key, confirmation, confirmation_answer
    to gateway_app;
