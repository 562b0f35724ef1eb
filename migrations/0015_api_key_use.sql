-- When API keys were last used. A table of its own: it changes without the catalogue's changing.

create table api_key_use (
    key_id       uuid primary key references api_key on delete cascade,
    last_used_at timestamptz not null
);

grant select, insert, update, delete on api_key_use to gateway_app;
