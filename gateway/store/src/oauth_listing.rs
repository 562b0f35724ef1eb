//! What people see of their clients' sessions; and sessions that begin without a code.

use gateway_core::Timestamp;
use gateway_core::ids::{SessionId, UserId};

use crate::error::StoreError;
use crate::oauth_session::{self, StoredSession};
use crate::pool::Store;

/// Most sessions that are listed.
const MOST: i64 = 10_000;

/// A session that lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LivingSession {
    /// What it is.
    pub session: StoredSession,
    /// When its client came for tokens last.
    pub last_used_at: Timestamp,
}

impl Store {
    /// Stores a session whose client gets a token at once, and no more.
    pub async fn start_session(&self, session: &StoredSession) -> Result<(), StoreError> {
        self.promptly("start a session", async {
            let mut connection = self.pool().acquire().await?;
            oauth_session::insert(&mut connection, session).await
        })
        .await
    }

    /// The living sessions of one person, or all; latest used first.
    pub async fn living_sessions(
        &self,
        user: Option<UserId>,
        now: Timestamp,
    ) -> Result<Vec<LivingSession>, StoreError> {
        self.within("read sessions", async {
            let rows = sqlx::query!(
                "select id, user_id, client_id, client_name, resource, scope, created_at, last_used_at,
                        expires_at
                   from oauth_session
                  where ($1::uuid is null or user_id = $1) and revoked_at is null and expires_at > $2
                  order by last_used_at desc, id limit $3",
                user.map(|user| user.0),
                now,
                MOST
            )
            .fetch_all(self.pool())
            .await?;
            Ok(rows
                .into_iter()
                .map(|row| LivingSession {
                    session: StoredSession {
                        id: SessionId(row.id),
                        user: UserId(row.user_id),
                        client_id: row.client_id,
                        client_name: row.client_name,
                        resource: row.resource,
                        scope: row.scope,
                        created_at: row.created_at,
                        expires_at: row.expires_at,
                    },
                    last_used_at: row.last_used_at,
                })
                .collect())
        })
        .await
    }
}
