//! The vault's rows: data keys, each wrapped by a key that is not in the database, and what hangs on them. It
//! cannot read what it keeps.

use gateway_core::Timestamp;
use gateway_core::ids::VaultKeyId;
use sqlx::{Postgres, Transaction};

use crate::error::StoreError;
use crate::pool::Store;

/// Something sealed, and the data key that opens it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The data key.
    pub key: VaultKeyId,
    /// The ciphertext.
    pub text: String,
}

/// A data key as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredVaultKey {
    /// Its id.
    pub id: VaultKeyId,
    /// The key, wrapped.
    pub wrapped: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Since when nothing new is sealed with it.
    pub retired_at: Option<Timestamp>,
}

/// A sealed column of one row, with what its seal is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedRow {
    /// Whose it is.
    pub owner: SealedOwner,
    /// What is sealed.
    pub sealed: Sealed,
}

/// Which row a sealed column belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SealedOwner {
    /// A row of `upstream_connection`.
    Connection {
        /// The server.
        server: gateway_core::ids::ServerId,
        /// The person.
        user: gateway_core::ids::UserId,
        /// The issuer.
        issuer: String,
    },
    /// A row of `upstream_client`.
    Client {
        /// The server.
        server: gateway_core::ids::ServerId,
        /// The issuer.
        issuer: String,
    },
}

impl Store {
    /// Every data key, newest first.
    pub async fn vault_keys(&self) -> Result<Vec<StoredVaultKey>, StoreError> {
        self.within("read the vault's keys", async {
            let rows = sqlx::query!(
                "select id, wrapped, created_at, retired_at from vault_key order by created_at desc, id"
            )
            .fetch_all(self.pool())
            .await?;
            let key = |id, wrapped, created_at, retired_at| StoredVaultKey {
                id: VaultKeyId(id),
                wrapped,
                created_at,
                retired_at,
            };
            Ok(rows
                .into_iter()
                .map(|row| key(row.id, row.wrapped, row.created_at, row.retired_at))
                .collect())
        })
        .await
    }

    /// Adds a data key, unless one that is not retired is there already; gives the one that is in force.
    pub async fn first_vault_key(&self, key: &StoredVaultKey) -> Result<(), StoreError> {
        self.within("make the vault's first key", async {
            let mut transaction = self.pool().begin().await?;
            lock(&mut transaction).await?;
            sqlx::query!(
                "insert into vault_key (id, wrapped, created_at)
                 select $1, $2, $3 where not exists (select from vault_key where retired_at is null)",
                key.id.0,
                key.wrapped,
                key.created_at
            )
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await?;
            Ok(())
        })
        .await
    }

    /// Retires every data key in favour of `key`.
    pub async fn replace_vault_key(&self, key: &StoredVaultKey) -> Result<(), StoreError> {
        self.within("replace the vault's key", async {
            let mut transaction = self.pool().begin().await?;
            lock(&mut transaction).await?;
            sqlx::query!(
                "update vault_key set retired_at = $1 where retired_at is null",
                key.created_at
            )
            .execute(&mut *transaction)
            .await?;
            sqlx::query!(
                "insert into vault_key (id, wrapped, created_at) values ($1, $2, $3)",
                key.id.0,
                key.wrapped,
                key.created_at
            )
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await?;
            Ok(())
        })
        .await
    }

    /// Up to `limit` rows that are sealed with a retired key.
    pub async fn sealed_with_retired(&self, limit: u32) -> Result<Vec<SealedRow>, StoreError> {
        self.within("read what is sealed with retired keys", async {
            let rows = sqlx::query!(
                r#"select server_id as "server_id!", user_id, issuer as "issuer!",
                          vault_key as "vault_key!", sealed as "sealed!"
                     from (select server_id, user_id, issuer, vault_key, sealed from upstream_connection
                           union all
                           select server_id, null, issuer, vault_key, sealed from upstream_client
                            where sealed is not null) as every
                    where vault_key in (select id from vault_key where retired_at is not null)
                    limit $1"#,
                i64::from(limit)
            )
            .fetch_all(self.pool())
            .await?;
            Ok(rows
                .into_iter()
                .map(|row| {
                    let server = gateway_core::ids::ServerId(row.server_id);
                    let sealed = Sealed { key: VaultKeyId(row.vault_key), text: row.sealed };
                    let issuer = row.issuer;
                    let owner = match row.user_id.map(gateway_core::ids::UserId) {
                        Some(user) => SealedOwner::Connection { server, user, issuer },
                        None => SealedOwner::Client { server, issuer },
                    };
                    SealedRow { owner, sealed }
                })
                .collect())
        })
        .await
    }

    /// Puts `after` where `row` still is what it was; false when somebody changed it meanwhile.
    pub async fn reseal(&self, row: &SealedRow, after: &Sealed) -> Result<bool, StoreError> {
        self.within("seal with another key", async {
            let done = match &row.owner {
                SealedOwner::Connection { server, user, issuer } => {
                    sqlx::query!(
                        "update upstream_connection set vault_key = $5, sealed = $6
                          where server_id = $1 and user_id = $2 and issuer = $3 and sealed = $4",
                        server.0,
                        user.0,
                        issuer,
                        row.sealed.text,
                        after.key.0,
                        after.text
                    )
                    .execute(self.pool())
                    .await?
                }
                SealedOwner::Client { server, issuer } => {
                    sqlx::query!(
                        "update upstream_client set vault_key = $4, sealed = $5
                          where server_id = $1 and issuer = $2 and sealed = $3",
                        server.0,
                        issuer,
                        row.sealed.text,
                        after.key.0,
                        after.text
                    )
                    .execute(self.pool())
                    .await?
                }
            };
            Ok(done.rows_affected() > 0)
        })
        .await
    }

    /// Removes retired data keys on which nothing hangs any more; gives how many.
    pub async fn drop_unused_vault_keys(&self) -> Result<u64, StoreError> {
        self.within("remove the vault's old keys", async {
            let gone = sqlx::query!(
                "delete from vault_key k
                  where retired_at is not null
                    and not exists (select from upstream_connection c where c.vault_key = k.id)
                    and not exists (select from upstream_client c where c.vault_key = k.id)
                    and not exists (select from connect_attempt a where a.vault_key = k.id)"
            )
            .execute(self.pool())
            .await?;
            Ok(gone.rows_affected())
        })
        .await
    }
}

/// Those who make keys do so one after the other.
async fn lock(transaction: &mut Transaction<'_, Postgres>) -> Result<(), StoreError> {
    sqlx::query!("select pg_advisory_xact_lock(hashtext('gateway vault key')) is null as locked")
        .fetch_one(&mut **transaction)
        .await?;
    Ok(())
}
