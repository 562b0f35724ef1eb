//! Clients that registered themselves. What their metadata says is read where it is used; a secret is here as
//! a keyed hash only.

use gateway_core::Timestamp;

use crate::error::StoreError;
use crate::pool::Store;

/// A registered client as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredClient {
    /// Its id.
    pub client_id: String,
    /// As registered, JSON text.
    pub metadata: String,
    /// HMAC of its secret; `None` for a public client.
    pub secret_hash: Option<[u8; 32]>,
    /// When it registered.
    pub created_at: Timestamp,
    /// When it is forgotten, unless it is used before.
    pub expires_at: Timestamp,
}

impl Store {
    /// Stores a new client.
    pub async fn register_client(&self, client: &StoredClient) -> Result<(), StoreError> {
        self.promptly("register a client", async {
            sqlx::query!(
                "insert into oauth_client (client_id, metadata, secret_hash, created_at, expires_at)
                 values ($1, $2, $3, $4, $5)",
                client.client_id,
                client.metadata,
                client.secret_hash.as_ref().map(|hash| &hash[..]),
                client.created_at,
                client.expires_at
            )
            .execute(self.pool())
            .await?;
            Ok(())
        })
        .await
    }

    /// The client of that id, unless it was forgotten.
    pub async fn oauth_client(
        &self,
        client_id: &str,
        now: Timestamp,
    ) -> Result<Option<StoredClient>, StoreError> {
        self.promptly("read a client", async {
            let row = sqlx::query!(
                "select client_id, metadata, secret_hash, created_at, expires_at
                   from oauth_client where client_id = $1 and expires_at > $2",
                client_id,
                now
            )
            .fetch_optional(self.pool())
            .await?;
            row.map(|row| {
                Ok(StoredClient {
                    client_id: row.client_id,
                    metadata: row.metadata,
                    secret_hash: row
                        .secret_hash
                        .as_deref()
                        .map(crate::catalogue::hash)
                        .transpose()?,
                    created_at: row.created_at,
                    expires_at: row.expires_at,
                })
            })
            .transpose()
        })
        .await
    }

    /// The client was used: it is kept until `until`.
    pub async fn keep_client(
        &self,
        client_id: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        self.promptly("keep a client", async {
            sqlx::query!(
                "update oauth_client set last_used_at = $2, expires_at = $3
                  where client_id = $1 and expires_at < $3",
                client_id,
                now,
                until
            )
            .execute(self.pool())
            .await?;
            Ok(())
        })
        .await
    }
}
