//! People's accounts at upstream servers, the gateway as a client of their authorization servers, and people on the
//! way to a consent page. What is secret comes sealed and stays so; see [`crate::vault`].
//!
//! A token is renewed under its row's lock, so that of all replicas one asks the issuer:
//!
//! ```text
//! replica A   select ... for update -> asks the issuer -> update, commit
//! replica B   select ... for update ..... waits .......................... -> reads the new token
//! ```

use gateway_core::Timestamp;
use gateway_core::ids::{ConnectionId, ServerId, UserId, VaultKeyId};
use sqlx::{Postgres, Transaction};
use uuid::Uuid;

use crate::catalogue;
use crate::error::StoreError;
use crate::pool::Store;
use crate::vault::Sealed;

/// A person's account at a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredConnection {
    /// Its id.
    pub id: ConnectionId,
    /// The server.
    pub server: ServerId,
    /// The person.
    pub user: UserId,
    /// Who issued the tokens.
    pub issuer: String,
    /// What they are good for, separated by spaces.
    pub scope: String,
    /// The tokens.
    pub sealed: Sealed,
    /// When the access token ends; `None` where the issuer does not say.
    pub expires_at: Option<Timestamp>,
    /// When the person connected it.
    pub connected_at: Timestamp,
    /// When the tokens came.
    pub refreshed_at: Timestamp,
    /// Why it does not work any more, or what it does not suffice for.
    pub broken: Option<String>,
}

/// The gateway as a client of a server's issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredUpstreamClient {
    /// The client's id there.
    pub client_id: String,
    /// Its secret, if it has one.
    pub secret: Option<Sealed>,
    /// When the registration ends.
    pub expires_at: Option<Timestamp>,
}

/// A person on the way to a consent page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAttempt {
    /// A keyed hash of `state`.
    pub hash: [u8; 32],
    /// The person.
    pub user: UserId,
    /// The server.
    pub server: ServerId,
    /// The issuer that must answer.
    pub issuer: String,
    /// What it takes to end it.
    pub sealed: Sealed,
    /// From then on it is worth nothing.
    pub expires_at: Timestamp,
}

struct Row {
    id: Uuid,
    server_id: Uuid,
    user_id: Uuid,
    issuer: String,
    scope: String,
    vault_key: Uuid,
    sealed: String,
    expires_at: Option<Timestamp>,
    connected_at: Timestamp,
    refreshed_at: Timestamp,
    broken: Option<String>,
}

impl From<Row> for StoredConnection {
    fn from(row: Row) -> StoredConnection {
        StoredConnection {
            id: ConnectionId(row.id),
            server: ServerId(row.server_id),
            user: UserId(row.user_id),
            issuer: row.issuer,
            scope: row.scope,
            sealed: Sealed { key: VaultKeyId(row.vault_key), text: row.sealed },
            expires_at: row.expires_at,
            connected_at: row.connected_at,
            refreshed_at: row.refreshed_at,
            broken: row.broken,
        }
    }
}

impl Store {
    /// A person's connection to a server.
    pub async fn connection(
        &self,
        server: ServerId,
        user: UserId,
    ) -> Result<Option<StoredConnection>, StoreError> {
        self.promptly("read a connection", async {
            let row = sqlx::query_as!(
                Row,
                "select id, server_id, user_id, issuer, scope, vault_key, sealed, expires_at, connected_at,
                        refreshed_at, broken
                   from upstream_connection where server_id = $1 and user_id = $2",
                server.0,
                user.0
            )
            .fetch_optional(self.pool())
            .await?;
            Ok(row.map(StoredConnection::from))
        })
        .await
    }

    /// Connections of one person, or all, by id; those after `after`.
    pub async fn connections(
        &self,
        user: Option<UserId>,
        after: Option<ConnectionId>,
        limit: u32,
    ) -> Result<Vec<StoredConnection>, StoreError> {
        self.within("read connections", async {
            let rows = sqlx::query_as!(
                Row,
                "select id, server_id, user_id, issuer, scope, vault_key, sealed, expires_at, connected_at,
                        refreshed_at, broken
                   from upstream_connection
                  where ($1::uuid is null or user_id = $1) and ($2::uuid is null or id > $2)
                  order by id limit $3",
                user.map(|user| user.0),
                after.map(|after| after.0),
                i64::from(limit)
            )
            .fetch_all(self.pool())
            .await?;
            Ok(rows.into_iter().map(StoredConnection::from).collect())
        })
        .await
    }

    /// Puts a connection in the place of the one that the person has there, if they have one.
    pub async fn connect(&self, new: &StoredConnection) -> Result<(), StoreError> {
        self.within("store a connection", async {
            sqlx::query!(
                "insert into upstream_connection
                     (id, server_id, user_id, issuer, scope, vault_key, sealed, expires_at, connected_at,
                      refreshed_at)
                 values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
                 on conflict (server_id, user_id) do update
                     set id = excluded.id, issuer = excluded.issuer, scope = excluded.scope,
                         vault_key = excluded.vault_key, sealed = excluded.sealed,
                         expires_at = excluded.expires_at, connected_at = excluded.connected_at,
                         refreshed_at = excluded.refreshed_at, broken = null",
                new.id.0,
                new.server.0,
                new.user.0,
                new.issuer,
                new.scope,
                new.sealed.key.0,
                new.sealed.text,
                new.expires_at,
                new.connected_at,
                new.refreshed_at
            )
            .execute(self.pool())
            .await?;
            Ok(())
        })
        .await
    }

    /// Removes a connection, if it is still that one.
    pub async fn disconnect(&self, id: ConnectionId) -> Result<bool, StoreError> {
        self.within("remove a connection", async {
            let gone = sqlx::query!("delete from upstream_connection where id = $1", id.0)
                .execute(self.pool())
                .await?;
            Ok(gone.rows_affected() > 0)
        })
        .await
    }

    /// Notes that the server did not take the access token, if it is still that one: it counts as expired.
    pub async fn distrust(
        &self,
        id: ConnectionId,
        sealed: &Sealed,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.promptly("distrust a token", async {
            sqlx::query!(
                "update upstream_connection set expires_at = $3 where id = $1 and sealed = $2",
                id.0,
                sealed.text,
                now
            )
            .execute(self.pool())
            .await?;
            Ok(())
        })
        .await
    }

    /// Notes that the connection does not work, if it is still that one.
    pub async fn break_connection(
        &self,
        id: ConnectionId,
        sealed: &Sealed,
        why: &str,
    ) -> Result<(), StoreError> {
        self.promptly("note a broken connection", async {
            sqlx::query!(
                "update upstream_connection set broken = $3 where id = $1 and sealed = $2",
                id.0,
                sealed.text,
                why
            )
            .execute(self.pool())
            .await?;
            Ok(())
        })
        .await
    }

    /// Waits until nobody else renews the connection and gives it as it is then, locked.
    pub async fn lock_connection(
        &self,
        server: ServerId,
        user: UserId,
    ) -> Result<Option<LockedConnection>, StoreError> {
        self.within("lock a connection", async {
            let mut transaction = self.pool().begin().await?;
            // Whoever waits longer is told so by Postgres; a replica that hangs loses its lock.
            sqlx::query!(
                r#"select set_config('lock_timeout', '9s', true) as "a",
                          set_config('idle_in_transaction_session_timeout', '30s', true) as "b""#
            )
            .fetch_one(&mut *transaction)
            .await?;
            let row = sqlx::query_as!(
                Row,
                "select id, server_id, user_id, issuer, scope, vault_key, sealed, expires_at, connected_at,
                        refreshed_at, broken
                   from upstream_connection where server_id = $1 and user_id = $2 for update",
                server.0,
                user.0
            )
            .fetch_optional(&mut *transaction)
            .await?;
            Ok(row.map(|row| LockedConnection { transaction, now: row.into() }))
        })
        .await
    }

    /// The gateway's registration at a server's issuer.
    pub async fn upstream_client(
        &self,
        server: ServerId,
        issuer: &str,
    ) -> Result<Option<StoredUpstreamClient>, StoreError> {
        self.within("read a registration", async {
            let row = sqlx::query!(
                "select client_id, vault_key, sealed, expires_at
                   from upstream_client where server_id = $1 and issuer = $2",
                server.0,
                issuer
            )
            .fetch_optional(self.pool())
            .await?;
            Ok(row.map(|row| StoredUpstreamClient {
                client_id: row.client_id,
                secret: row
                    .vault_key
                    .zip(row.sealed)
                    .map(|(key, text)| Sealed { key: VaultKeyId(key), text }),
                expires_at: row.expires_at,
            }))
        })
        .await
    }

    /// Stores a registration in the place of an older one.
    pub async fn put_upstream_client(
        &self,
        server: ServerId,
        issuer: &str,
        client: &StoredUpstreamClient,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.within("store a registration", async {
            sqlx::query!(
                "insert into upstream_client
                     (server_id, issuer, client_id, vault_key, sealed, created_at, expires_at)
                 values ($1, $2, $3, $4, $5, $6, $7)
                 on conflict (server_id, issuer) do update
                     set client_id = excluded.client_id, vault_key = excluded.vault_key,
                         sealed = excluded.sealed, created_at = excluded.created_at,
                         expires_at = excluded.expires_at",
                server.0,
                issuer,
                client.client_id,
                client.secret.as_ref().map(|sealed| sealed.key.0),
                client.secret.as_ref().map(|sealed| sealed.text.as_str()),
                now,
                client.expires_at
            )
            .execute(self.pool())
            .await?;
            Ok(())
        })
        .await
    }

    /// Forgets a registration that the issuer does not know any more.
    pub async fn drop_upstream_client(
        &self,
        server: ServerId,
        issuer: &str,
        client_id: &str,
    ) -> Result<(), StoreError> {
        self.within("remove a registration", async {
            sqlx::query!(
                "delete from upstream_client where server_id = $1 and issuer = $2 and client_id = $3",
                server.0,
                issuer,
                client_id
            )
            .execute(self.pool())
            .await?;
            Ok(())
        })
        .await
    }

    /// Stores an attempt, and removes those that are over.
    pub async fn begin_attempt(
        &self,
        attempt: &StoredAttempt,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.within("begin a connection", async {
            sqlx::query!("delete from connect_attempt where expires_at <= $1", now)
                .execute(self.pool())
                .await?;
            sqlx::query!(
                "insert into connect_attempt
                     (hash, user_id, server_id, issuer, vault_key, sealed, expires_at)
                 values ($1, $2, $3, $4, $5, $6, $7)",
                &attempt.hash[..],
                attempt.user.0,
                attempt.server.0,
                attempt.issuer,
                attempt.sealed.key.0,
                attempt.sealed.text,
                attempt.expires_at
            )
            .execute(self.pool())
            .await?;
            Ok(())
        })
        .await
    }

    /// Takes an attempt of that person: of several who come with it, one gets it.
    pub async fn take_attempt(
        &self,
        hash: &[u8; 32],
        user: UserId,
        now: Timestamp,
    ) -> Result<Option<StoredAttempt>, StoreError> {
        self.within("end a connection's attempt", async {
            let row = sqlx::query!(
                "delete from connect_attempt where hash = $1 and user_id = $2 and expires_at > $3
                 returning hash, user_id, server_id, issuer, vault_key, sealed, expires_at",
                &hash[..],
                user.0,
                now
            )
            .fetch_optional(self.pool())
            .await?;
            row.map(|row| {
                Ok(StoredAttempt {
                    hash: catalogue::hash(&row.hash)?,
                    user: UserId(row.user_id),
                    server: ServerId(row.server_id),
                    issuer: row.issuer,
                    sealed: Sealed { key: VaultKeyId(row.vault_key), text: row.sealed },
                    expires_at: row.expires_at,
                })
            })
            .transpose()
        })
        .await
    }
}

/// A connection that nobody else can change until this is dropped.
#[derive(Debug)]
pub struct LockedConnection {
    transaction: Transaction<'static, Postgres>,
    now: StoredConnection,
}

impl LockedConnection {
    /// The connection as it is.
    pub fn connection(&self) -> &StoredConnection {
        &self.now
    }

    /// Stores new tokens and lets go.
    pub async fn renewed(
        mut self,
        sealed: &Sealed,
        scope: &str,
        expires_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "update upstream_connection
                set vault_key = $2, sealed = $3, scope = $4, expires_at = $5, refreshed_at = $6
              where id = $1",
            self.now.id.0,
            sealed.key.0,
            sealed.text,
            scope,
            expires_at,
            now
        )
        .execute(&mut *self.transaction)
        .await?;
        self.transaction.commit().await?;
        Ok(())
    }

    /// Notes that it does not work any more and lets go.
    pub async fn broken(mut self, why: &str) -> Result<(), StoreError> {
        sqlx::query!(
            "update upstream_connection set broken = $2 where id = $1",
            self.now.id.0,
            why
        )
        .execute(&mut *self.transaction)
        .await?;
        self.transaction.commit().await?;
        Ok(())
    }

    /// Lets go without a change.
    pub async fn release(self) -> Result<(), StoreError> {
        Ok(self.transaction.rollback().await?)
    }
}
