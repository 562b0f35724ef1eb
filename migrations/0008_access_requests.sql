-- People ask for access, others decide, and what was granted for a time ends by itself. Notices tell both.

create table access_request (
    -- UUIDv7; also the id of the policy that an approval makes.
    id           uuid primary key,
    -- For whom: a person or an agent account, and how policies called them when they asked.
    principal_id uuid not null,
    principal    text not null check (principal <> ''),
    -- The person behind it: of an agent account, whoever owned it.
    person_id    uuid not null references gateway_user on delete cascade,
    -- The server as it was asked for; and which one that was, if there was one.
    server       text not null check (server <> ''),
    server_id    uuid references server on delete set null,
    -- Sorted names; empty: everything on it.
    tools        text[] not null default '{}',
    reason       text not null,
    -- For how long it is asked for.
    seconds      bigint check (seconds > 0),
    status       text not null default 'pending'
                 check (status in ('pending', 'approved', 'rejected', 'cancelled', 'expired')),
    created_at   timestamptz not null,
    decided_at   timestamptz,
    -- Who decided: their id and e-mail address.
    decided_by   uuid,
    decider      text,
    note         text,
    -- When the grant ends.
    expires_at   timestamptz,
    check (status <> 'approved' or expires_at is not null)
);
create unique index access_request_open on access_request (principal_id, server, tools) where status = 'pending';
create index access_request_principal on access_request (principal_id, id);
create index access_request_person on access_request (person_id, id);
create index access_request_server on access_request (server_id, id);
create index access_request_grant on access_request (expires_at) where status = 'approved';

-- What has to be told to somebody outside, until it is. The id is what receivers tell repeats by.
create table notice (
    id         uuid primary key,
    channel    text not null check (channel in ('webhook', 'mail')),
    -- Of mail: the address.
    recipient  text not null default '',
    kind       text not null,
    -- JSON text: what a webhook gets, what a mail is written from.
    body       text not null,
    status     text not null default 'waiting' check (status in ('waiting', 'sent', 'dead')),
    attempts   integer not null default 0,
    created_at timestamptz not null,
    -- Not before; while one replica tries, the others leave it alone until then.
    due_at     timestamptz not null,
    settled_at timestamptz,
    error      text
);
create index notice_due on notice (due_at) where status = 'waiting';
create index notice_settled on notice (settled_at) where status <> 'waiting';

grant select, insert, update on access_request to gateway_app;
grant select, insert, update, delete on notice to gateway_app;
