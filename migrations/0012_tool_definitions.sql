-- What servers' definitions were whenever somebody looked, and which of them people have approved.

-- The first look at a server approves what it lists: adding the server was an administrator's act.
-- Null: nobody has looked yet.
alter table server add column baseline_at timestamptz;

-- SHA-256 of the definition's exact bytes, whoever writes the row.
alter table tool add column pin bytea check (length(pin) = 32);
create function tool_pin() returns trigger language plpgsql as $$
begin
    new.pin := sha256(convert_to(new.definition, 'UTF8'));
    return new;
end
$$;
create trigger tool_pinned before insert or update on tool for each row execute function tool_pin();
update tool set pin = null;
alter table tool alter column pin set not null;

create table definition (
    server_id  uuid not null references server on delete cascade,
    kind       text not null check (kind in ('tool', 'resource', 'resource_template', 'prompt', 'instructions')),
    -- Tool or prompt name, URI; empty for instructions.
    name       text not null,
    -- SHA-256 of the exact bytes.
    pin        bytea not null check (length(pin) = 32),
    -- SHA-256 of the canonical form: equal where only the spelling differs.
    hash       bytea not null check (length(hash) = 32),
    -- JSON text; null: too long to be kept.
    definition text,
    -- Of tools. Null: nobody has decided.
    decision   text check (decision in ('approved', 'rejected')),
    decided_by text,
    decided_at timestamptz,
    first_seen timestamptz not null,
    -- The pin of what was defined before it; null: nothing was.
    instead_of bytea,
    -- Since when the server does not list it any more.
    gone_at    timestamptz,
    -- What the scanners saw in it, JSON text.
    findings   text,
    primary key (server_id, kind, name, pin)
);
create index definition_seen on definition (first_seen desc, pin desc);

-- What is in use has been shown and called all the while.
insert into definition (server_id, kind, name, pin, hash, definition, decision, decided_by, decided_at, first_seen)
select server_id, 'tool', name, pin, hash, definition, 'approved', 'first listing', now(), first_seen from tool;
update server set baseline_at = now() where legacy is not null;

create trigger catalogue_added after insert or delete on definition
    for each row execute function catalogue_changed();
create trigger catalogue_edited after update on definition
    for each row when (old.decision is distinct from new.decision) execute function catalogue_changed();

grant select, insert, update, delete on definition to gateway_app;
