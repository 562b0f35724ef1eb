//! Browsers in which people are signed in. A cookie is here as a keyed hash only; a session counts while it
//! was not ended, has not expired, and its person is active, whatever any snapshot says.

use gateway_core::Timestamp;
use gateway_core::ids::{SessionId, UserId};

use crate::error::StoreError;
use crate::pool::Store;

/// Sessions of one person that are shown.
const MOST: i64 = 200;

/// A browser session as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBrowserSession {
    /// Its id, which audit rows show.
    pub id: SessionId,
    /// HMAC of the cookie.
    pub hash: [u8; 32],
    /// Who is signed in.
    pub user: UserId,
    /// The identity provider, or `local`.
    pub issuer: String,
    /// The browser, as it calls itself.
    pub user_agent: String,
    /// When it began.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
}

impl Store {
    /// Stores a new session. False when its person is not there or not active. Sessions of theirs that
    /// are long over are forgotten on the way.
    pub async fn open_browser_session(
        &self,
        session: &StoredBrowserSession,
    ) -> Result<bool, StoreError> {
        self.within("open a browser session", async {
            let mut transaction = self.pool().begin().await?;
            sqlx::query!(
                "delete from browser_session where user_id = $1 and expires_at < $2",
                session.user.0,
                session.created_at
            )
            .execute(&mut *transaction)
            .await?;
            // The lock makes it wait for whoever deactivates the person meanwhile.
            let made = sqlx::query!(
                "insert into browser_session
                     (id, hash, user_id, issuer, user_agent, created_at, expires_at)
                 select $1, $2, id, $4, $5, $6, $7
                   from gateway_user where id = $3 and active for share",
                session.id.0,
                &session.hash[..],
                session.user.0,
                session.issuer,
                session.user_agent,
                session.created_at,
                session.expires_at
            )
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await?;
            Ok(made.rows_affected() == 1)
        })
        .await
    }

    /// The session behind that cookie, if it counts at `now`.
    pub async fn browser_session(
        &self,
        hash: &[u8; 32],
        now: Timestamp,
    ) -> Result<Option<StoredBrowserSession>, StoreError> {
        self.promptly("read a browser session", async {
            let row = sqlx::query!(
                "select s.id, s.user_id, s.issuer, s.user_agent, s.created_at, s.expires_at
                   from browser_session s join gateway_user u on u.id = s.user_id
                  where s.hash = $1 and s.revoked_at is null and s.expires_at > $2 and u.active",
                &hash[..],
                now
            )
            .fetch_optional(self.pool())
            .await?;
            Ok(row.map(|row| StoredBrowserSession {
                id: SessionId(row.id),
                hash: *hash,
                user: UserId(row.user_id),
                issuer: row.issuer,
                user_agent: row.user_agent,
                created_at: row.created_at,
                expires_at: row.expires_at,
            }))
        })
        .await
    }

    /// The sessions of one person that count at `now`, latest first.
    pub async fn browser_sessions(
        &self,
        user: UserId,
        now: Timestamp,
    ) -> Result<Vec<StoredBrowserSession>, StoreError> {
        self.within("read browser sessions", async {
            let rows = sqlx::query!(
                "select id, hash, user_id, issuer, user_agent, created_at, expires_at
                   from browser_session
                  where user_id = $1 and revoked_at is null and expires_at > $2
                  order by created_at desc, id limit $3",
                user.0,
                now,
                MOST
            )
            .fetch_all(self.pool())
            .await?;
            rows.into_iter()
                .map(|row| {
                    Ok(StoredBrowserSession {
                        id: SessionId(row.id),
                        hash: crate::catalogue::hash(&row.hash)?,
                        user: UserId(row.user_id),
                        issuer: row.issuer,
                        user_agent: row.user_agent,
                        created_at: row.created_at,
                        expires_at: row.expires_at,
                    })
                })
                .collect()
        })
        .await
    }

    /// Ends a session of that person; false when there is none that counts.
    pub async fn end_browser_session(
        &self,
        id: SessionId,
        user: UserId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.within("end a browser session", async {
            let ended = sqlx::query!(
                "update browser_session set revoked_at = $3
                  where id = $1 and user_id = $2 and revoked_at is null",
                id.0,
                user.0,
                now
            )
            .execute(self.pool())
            .await?;
            Ok(ended.rows_affected() == 1)
        })
        .await
    }
}
