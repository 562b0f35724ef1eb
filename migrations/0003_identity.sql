-- Identity: sign-in, the authorization server, agent accounts, and credentials towards upstreams.
-- Secrets are here as keyed hashes, or sealed with keys that are not in the database.

-- People and groups may also come from a sign-in at an identity provider, or by SCIM.
alter table gateway_user
    drop constraint gateway_user_source_check,
    add constraint gateway_user_source_check check (source in ('apply', 'api', 'seed', 'sign_in', 'scim')),
    -- The provisioning system's own id.
    add column external_id text,
    -- JSON object of texts, from the identity provider.
    add column attributes  text not null default '{}',
    -- Since when the provisioning system knows them no more; it may bring them back.
    add column removed_at  timestamptz;
alter table gateway_group
    drop constraint gateway_group_source_check,
    add constraint gateway_group_source_check check (source in ('apply', 'api', 'seed', 'sign_in', 'scim')),
    add column external_id text;

-- Who put a person into a group: a sign-in takes back only what a sign-in gave.
alter table membership
    add column source text not null default 'apply' check (source in ('apply', 'api', 'sign_in', 'scim'));

-- Who a person is at an identity provider: its `iss` and `sub`, never the address alone.
create table identity_link (
    issuer    text not null,
    subject   text not null,
    user_id   uuid not null references gateway_user on delete cascade,
    linked_at timestamptz not null,
    primary key (issuer, subject)
);

-- Built-in sign-in, for machines without an identity provider.
create table local_password (
    user_id    uuid primary key references gateway_user on delete cascade,
    -- argon2id, as a PHC string.
    phc        text not null,
    changed_at timestamptz not null
);
create table sign_in_link (
    hash       bytea primary key check (length(hash) = 32),
    user_id    uuid not null references gateway_user on delete cascade,
    expires_at timestamptz not null,
    used_at    timestamptz
);

-- A person's browser that is signed in; the cookie is here as a keyed hash.
create table browser_session (
    id         uuid primary key,
    hash       bytea not null unique check (length(hash) = 32),
    user_id    uuid not null references gateway_user on delete cascade,
    -- The identity provider, or 'local'.
    issuer     text not null,
    user_agent text not null default '',
    created_at timestamptz not null,
    expires_at timestamptz not null,
    revoked_at timestamptz
);
create index browser_session_user on browser_session (user_id);

-- Keys that sign access tokens. Published before they sign, and until the last token has expired.
create table signing_key (
    kid         text primary key,
    algorithm   text not null check (algorithm in ('EdDSA', 'ES256')),
    public_key  bytea not null,
    -- The private key, sealed.
    sealed      text not null,
    created_at  timestamptz not null,
    signs_from  timestamptz not null,
    signs_until timestamptz not null,
    gone_at     timestamptz not null
);

-- Clients that registered themselves (RFC 7591).
create table oauth_client (
    client_id    text primary key,
    -- As registered, JSON text.
    metadata     text not null,
    -- A keyed hash; null for a public client.
    secret_hash  bytea check (length(secret_hash) = 32),
    created_at   timestamptz not null,
    last_used_at timestamptz,
    expires_at   timestamptz not null
);
create index oauth_client_expires on oauth_client (expires_at);

-- What a person has agreed to for one client: access and refresh tokens hang on it.
create table oauth_session (
    id           uuid primary key,
    user_id      uuid not null references gateway_user on delete cascade,
    client_id    text not null,
    client_name  text not null,
    resource     text not null,
    scope        text not null,
    created_at   timestamptz not null,
    last_used_at timestamptz not null,
    expires_at   timestamptz not null,
    revoked_at   timestamptz
);
create index oauth_session_user on oauth_session (user_id);
create index oauth_session_client on oauth_session (client_id);
create index oauth_session_expires on oauth_session (expires_at);

create table oauth_code (
    hash         bytea primary key check (length(hash) = 32),
    session_id   uuid not null references oauth_session on delete cascade,
    redirect_uri text not null,
    -- Of PKCE, S256.
    challenge    text not null,
    expires_at   timestamptz not null,
    used_at      timestamptz
);
create index oauth_code_session on oauth_code (session_id);

-- A token that was used is kept for a week: using it again ends the session.

create table oauth_refresh (
    hash       bytea primary key check (length(hash) = 32),
    session_id uuid not null references oauth_session on delete cascade,
    created_at timestamptz not null,
    expires_at timestamptz not null,
    used_at    timestamptz
);
create index oauth_refresh_session on oauth_refresh (session_id);
create index oauth_refresh_used on oauth_refresh (used_at) where used_at is not null;

create table oauth_device (
    hash        bytea primary key check (length(hash) = 32),
    user_code   text not null unique,
    client_id   text not null,
    client_name text not null,
    resource    text not null,
    scope       text not null,
    status      text not null default 'pending' check (status in ('pending', 'approved', 'refused', 'used')),
    -- Once approved.
    session_id  uuid references oauth_session on delete cascade,
    created_at  timestamptz not null,
    polled_at   timestamptz,
    expires_at  timestamptz not null
);

-- Assertions that were used (RFC 7523): each once.
create table used_assertion (
    hash       bytea primary key check (length(hash) = 32),
    expires_at timestamptz not null
);
create index used_assertion_expires on used_assertion (expires_at);

-- Sessions that ended while access tokens of theirs may still be valid: every replica knows all of them.
create table revocation (
    session_id uuid primary key,
    -- When the last token has expired, and the row may go.
    until      timestamptz not null
);

-- Programs.
create table agent_account (
    id          uuid primary key,
    name        text not null unique check (name <> ''),
    client_id   text not null unique,
    -- A keyed hash; null where the agent signs assertions instead.
    secret_hash bytea check (length(secret_hash) = 32),
    -- For private_key_jwt: a JWK set, JSON text.
    jwks        text,
    -- Its tokens' session: another one after the secret was changed or the account switched off.
    session_id  uuid not null unique,
    owner_id    uuid not null references gateway_user on delete cascade,
    roles       text[] not null default '{}',
    enabled     boolean not null default true,
    created_at  timestamptz not null,
    updated_at  timestamptz not null,
    check (secret_hash is not null or jwks is not null)
);

-- A person lets an agent act for them.
create table delegation (
    id         uuid primary key,
    agent_id   uuid not null references agent_account on delete cascade,
    user_id    uuid not null references gateway_user on delete cascade,
    -- null: every server.
    servers    uuid[],
    created_at timestamptz not null,
    expires_at timestamptz,
    revoked_at timestamptz
);
create unique index delegation_live on delegation (agent_id, user_id) where revoked_at is null;

do $$
declare
    noun text;
begin
    foreach noun in array array['signing_key', 'revocation', 'agent_account', 'delegation'] loop
        execute format('create trigger catalogue_added after insert or delete on %I
                        for each row execute function catalogue_changed()', noun);
        execute format('create trigger catalogue_edited after update on %I
                        for each row when (old.* is distinct from new.*)
                        execute function catalogue_changed()', noun);
    end loop;
end
$$;

-- The provisioning system's ids are its own to give, once each.
create unique index gateway_user_external on gateway_user (external_id) where external_id is not null;
create unique index gateway_group_external on gateway_group (external_id) where external_id is not null;

-- Whoever stops being there or active takes their sessions along, whatever program changed the row; tokens
-- that are out stay dead should the person come back.
create function end_sessions() returns trigger language plpgsql as $$
begin
    insert into revocation (session_id, until)
        select id, now() + interval '1 day' from oauth_session where user_id = old.id and revoked_at is null
        on conflict do nothing;
    update oauth_session set revoked_at = now() where user_id = old.id and revoked_at is null;
    update browser_session set revoked_at = now() where user_id = old.id and revoked_at is null;
    update delegation set revoked_at = now() where user_id = old.id and revoked_at is null;
    return null;
end
$$;
create trigger user_deactivated after update of active on gateway_user
    for each row when (old.active and not new.active) execute function end_sessions();

-- Envelope encryption of upstream credentials: data keys, wrapped by a key that is not in the database.
create table vault_key (
    id         uuid primary key,
    wrapped    text not null,
    created_at timestamptz not null,
    retired_at timestamptz
);

-- The gateway as a client of an upstream's authorization server.
create table upstream_client (
    server_id  uuid not null references server on delete cascade,
    issuer     text not null,
    client_id  text not null,
    -- Sealed; null for a public client.
    vault_key  uuid references vault_key,
    sealed     text,
    created_at timestamptz not null,
    expires_at timestamptz,
    primary key (server_id, issuer)
);
create index upstream_client_key on upstream_client (vault_key);

-- A person's account at an upstream: its tokens, sealed.
create table upstream_connection (
    id           uuid primary key,
    server_id    uuid not null references server on delete cascade,
    user_id      uuid not null references gateway_user on delete cascade,
    issuer       text not null,
    scope        text not null default '',
    vault_key    uuid not null references vault_key,
    sealed       text not null,
    -- Of the access token; null where the issuer does not say.
    expires_at   timestamptz,
    connected_at timestamptz not null,
    refreshed_at timestamptz not null,
    -- Why it does not work any more; null while it does.
    broken       text,
    unique (server_id, user_id)
);
create index upstream_connection_user on upstream_connection (user_id);
create index upstream_connection_key on upstream_connection (vault_key);

-- A person on the way to an upstream's consent page and back: used once.
create table connect_attempt (
    hash       bytea primary key check (length(hash) = 32),
    user_id    uuid not null references gateway_user on delete cascade,
    server_id  uuid not null references server on delete cascade,
    issuer     text not null,
    vault_key  uuid not null references vault_key,
    sealed     text not null,
    expires_at timestamptz not null
);
create index connect_attempt_key on connect_attempt (vault_key);

-- Who acts on whose behalf, in the trail.
alter table audit_event
    add column actor_kind text,
    add column agent_id   uuid,
    add column agent_name text;
create index audit_event_agent on audit_event (agent_id, ts, id) where agent_id is not null;

grant select, insert, update, delete on
    identity_link, local_password, sign_in_link, browser_session, signing_key, oauth_client, oauth_session,
    oauth_code, oauth_refresh, oauth_device, used_assertion, revocation, agent_account, delegation, vault_key,
    upstream_client, upstream_connection, connect_attempt
    to gateway_app;
