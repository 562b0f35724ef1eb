-- People by hand: attributes that somebody here gave. They count before those of an identity provider of the same
-- name, and a sign-in does not touch them.

alter table gateway_user
    -- JSON object of texts or lists of texts.
    add column given_attributes text not null default '{}';
