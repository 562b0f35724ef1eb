//! Refresh tokens, as keyed hashes: each is used once, and leads to one successor.
//!
//! ```text
//! replica A: update .. used_at = now          -> the successor is stored
//! replica B: waits for A's row, then finds it used a moment ago -> the same successor
//! later, by anybody: used longer ago than the grace -> the whole session ends
//! ```

use gateway_core::Timestamp;
use gateway_core::ids::{SessionId, UserId};
use sqlx::PgConnection;

use crate::error::StoreError;
use crate::oauth_session::{self, NewRefresh, StoredSession};
use crate::pool::Store;

/// What a client refreshes with.
#[derive(Debug, Clone)]
pub struct Rotation<'a> {
    /// HMAC of the token.
    pub hash: [u8; 32],
    /// The client that asks.
    pub client_id: &'a str,
    /// Its successor: always the same one for the same token.
    pub next: NewRefresh,
    /// A token that was first used after this may be used again.
    pub grace_from: Timestamp,
    /// When.
    pub now: Timestamp,
}

/// What came of refreshing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rotated {
    /// The successor counts.
    Granted(StoredSession),
    /// The token had been used before, too long ago for an honest repetition.
    Reused(SessionId),
    /// No such token of this client, or too late, or the session has ended.
    Refused,
}

impl Store {
    /// Uses a refresh token.
    pub async fn rotate_refresh(&self, asked: &Rotation<'_>) -> Result<Rotated, StoreError> {
        self.promptly("rotate a refresh token", async {
            let mut transaction = self.pool().begin().await?;
            let used = sqlx::query_scalar!(
                "update oauth_refresh r set used_at = coalesce(r.used_at, $2)
                   from oauth_session s
                  where r.hash = $1 and r.expires_at > $2 and (r.used_at is null or r.used_at > $4)
                    and s.id = r.session_id and s.client_id = $3 and s.revoked_at is null
                 returning r.session_id",
                &asked.hash[..],
                asked.now,
                asked.client_id,
                asked.grace_from
            )
            .fetch_optional(&mut *transaction)
            .await?;
            let rotated = match used.map(SessionId) {
                Some(id) => {
                    insert(&mut transaction, id, asked.next, asked.now).await?;
                    let until = asked.next.expires_at;
                    oauth_session::touch(&mut transaction, id, asked.now, until)
                        .await?
                        .map_or(Rotated::Refused, Rotated::Granted)
                }
                None => reused(&mut transaction, asked).await?,
            };
            transaction.commit().await?;
            Ok(rotated)
        })
        .await
    }

    /// The session that a refresh token of this client belongs to, whether or not the token was used.
    pub async fn session_of_refresh(
        &self,
        hash: &[u8; 32],
        client_id: &str,
    ) -> Result<Option<StoredSession>, StoreError> {
        self.promptly("read a refresh token", async {
            let row = sqlx::query!(
                "select s.id, s.user_id, s.client_id, s.client_name, s.resource, s.scope, s.created_at,
                        s.expires_at
                   from oauth_refresh r join oauth_session s on s.id = r.session_id
                  where r.hash = $1 and s.client_id = $2",
                &hash[..],
                client_id
            )
            .fetch_optional(self.pool())
            .await?;
            Ok(row.map(|row| StoredSession {
                id: SessionId(row.id),
                user: UserId(row.user_id),
                client_id: row.client_id,
                client_name: row.client_name,
                resource: row.resource,
                scope: row.scope,
                created_at: row.created_at,
                expires_at: row.expires_at,
            }))
        })
        .await
    }
}

/// Stores a token; it is there already when somebody refreshed with the same one at the same time.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    session: SessionId,
    refresh: NewRefresh,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into oauth_refresh (hash, session_id, created_at, expires_at)
         values ($1, $2, $3, $4) on conflict (hash) do nothing",
        &refresh.hash[..],
        session.0,
        now,
        refresh.expires_at
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn reused(
    connection: &mut PgConnection,
    asked: &Rotation<'_>,
) -> Result<Rotated, StoreError> {
    let known = sqlx::query_scalar!(
        "select s.id from oauth_refresh r join oauth_session s on s.id = r.session_id
          where r.hash = $1 and s.client_id = $2 and r.used_at is not null and r.used_at <= $3
            and s.revoked_at is null",
        &asked.hash[..],
        asked.client_id,
        asked.grace_from
    )
    .fetch_optional(connection)
    .await?;
    Ok(known.map_or(Rotated::Refused, |id| Rotated::Reused(SessionId(id))))
}
