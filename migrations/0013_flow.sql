-- The flow rule: labels on servers, and who has read from labelled ones; and sessions that a block ended.

alter table server add column labels text[] not null default '{}'
    check (labels <@ array['untrusted', 'private', 'outward']);

-- Who has last read when from a labelled server. It outlives the server: what was read stays read. No trigger: it
-- belongs to no snapshot, and replicas ask for it when they need it.
create table flow_mark (
    -- The principal: a person, or an agent that acted for itself.
    user_id   uuid        not null,
    -- The agent that read on the person's behalf; the nil id: nobody.
    agent_id  uuid        not null,
    server_id uuid        not null,
    -- As the server was labelled then.
    label     text        not null,
    at        timestamptz not null,
    primary key (user_id, agent_id, server_id, label)
);
create index flow_mark_agent on flow_mark (agent_id) where agent_id <> '00000000-0000-0000-0000-000000000000';
create index flow_mark_at on flow_mark (at);

grant select, insert, update, delete on flow_mark to gateway_app;

-- Sessions of the older protocol versions that are over before they expire: every replica knows all of them.
create table ended_session (
    -- SHA-256 of the handle.
    hash  bytea       primary key check (length(hash) = 32),
    -- When the handle expires by itself, and the row may go.
    until timestamptz not null
);

create trigger catalogue_added after insert or delete on ended_session
    for each row execute function catalogue_changed();

grant select, insert, delete on ended_session to gateway_app;
