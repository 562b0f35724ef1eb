//! API keys: a keyed hash, when they end, and the last four characters for people to recognise them by.
//! The key itself is never here.

use std::collections::HashMap;

use gateway_core::Timestamp;
use gateway_core::ids::{KeyId, UserId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::StoreError;
use crate::pool::Store;

/// A key as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredKey {
    /// Its id, which audit rows show.
    pub id: KeyId,
    /// Whose it is.
    pub user: UserId,
    /// HMAC of the key.
    pub hash: [u8; 32],
    /// Given by its maker; may be empty.
    pub name: String,
    /// The key's last four characters.
    pub last_four: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
    /// Since when it does not work any more.
    pub revoked_at: Option<Timestamp>,
}

impl Store {
    /// Stores a new key. `Invalid` when its user does not exist.
    pub async fn create_key(&self, key: &StoredKey) -> Result<(), StoreError> {
        self.within("create an API key", async {
            let mut transaction = self.change().await?;
            let made = sqlx::query!(
                "insert into api_key
                     (id, user_id, name, hash, last_four, created_at, expires_at, revoked_at)
                 select $1, id, $3, $4, $5, $6, $7, $8 from gateway_user where id = $2",
                key.id.0,
                key.user.0,
                key.name,
                &key.hash[..],
                key.last_four,
                key.created_at,
                key.expires_at,
                key.revoked_at
            )
            .execute(&mut *transaction)
            .await?;
            if made.rows_affected() == 0 {
                return Err(StoreError::Invalid(format!("no user with the id {}", key.user)));
            }
            transaction.commit().await?;
            Ok(())
        })
        .await
    }

    /// The keys of one person, or all; oldest first.
    pub async fn keys(&self, user: Option<UserId>) -> Result<Vec<StoredKey>, StoreError> {
        self.within("read API keys", async { load(&mut *self.pool().acquire().await?, user).await })
            .await
    }

    /// Ends a key, of that person only where one is given. Gives the key as it is now (a key revoked
    /// before keeps its time), `None` without such a key.
    pub async fn revoke_key(
        &self,
        id: KeyId,
        user: Option<UserId>,
        now: Timestamp,
    ) -> Result<Option<StoredKey>, StoreError> {
        self.within("revoke an API key", async {
            let mut transaction = self.change().await?;
            sqlx::query!(
                "update api_key set revoked_at = $3
                  where id = $1 and revoked_at is null and ($2::uuid is null or user_id = $2)",
                id.0,
                user.map(|user| user.0),
                now
            )
            .execute(&mut *transaction)
            .await?;
            let key = load(&mut transaction, user).await?.into_iter().find(|key| key.id == id);
            transaction.commit().await?;
            Ok(key)
        })
        .await
    }
}

impl Store {
    /// Notes when keys were used, each at most once a minute, whatever several replicas say; keys that are gone are
    /// left out.
    pub async fn note_key_uses(&self, uses: &[(KeyId, Timestamp)]) -> Result<(), StoreError> {
        let (keys, times): (Vec<Uuid>, Vec<Timestamp>) =
            uses.iter().map(|(key, at)| (key.0, *at)).unzip();
        self.within("note when API keys were used", async {
            sqlx::query!(
                r#"insert into api_key_use (key_id, last_used_at)
                   select k.id, u.at from unnest($1::uuid[], $2::timestamptz[]) as u (id, at)
                     join api_key k on k.id = u.id
                   on conflict (key_id) do update set last_used_at = excluded.last_used_at
                    where api_key_use.last_used_at <= excluded.last_used_at - interval '1 minute'"#,
                &keys,
                &times
            )
            .execute(self.pool())
            .await?;
            Ok(())
        })
        .await
    }

    /// When keys were last used, to the minute: those of one person, or all. Absent: never.
    pub async fn key_uses(
        &self,
        user: Option<UserId>,
    ) -> Result<HashMap<KeyId, Timestamp>, StoreError> {
        self.within("read when API keys were used", async {
            let rows = sqlx::query!(
                "select u.key_id, u.last_used_at
                   from api_key_use u join api_key k on k.id = u.key_id
                  where $1::uuid is null or k.user_id = $1",
                user.map(|user| user.0)
            )
            .fetch_all(self.pool())
            .await?;
            Ok(rows.into_iter().map(|row| (KeyId(row.key_id), row.last_used_at)).collect())
        })
        .await
    }
}

pub(crate) async fn load(
    connection: &mut PgConnection,
    user: Option<UserId>,
) -> Result<Vec<StoredKey>, StoreError> {
    let rows = sqlx::query!(
        "select id, user_id, hash, name, last_four, created_at, expires_at, revoked_at
           from api_key where $1::uuid is null or user_id = $1 order by created_at, id",
        user.map(|user| user.0)
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(StoredKey {
                id: KeyId(row.id),
                user: UserId(row.user_id),
                hash: crate::catalogue::hash(&row.hash)?,
                name: row.name,
                last_four: row.last_four,
                created_at: row.created_at,
                expires_at: row.expires_at,
                revoked_at: row.revoked_at,
            })
        })
        .collect()
}
