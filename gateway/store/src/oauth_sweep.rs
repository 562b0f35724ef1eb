//! What the authorization server no longer needs is removed: a bounded number of rows at a time, by one
//! replica at a time.

use gateway_core::Timestamp;

use crate::error::StoreError;
use crate::pool::Store;

/// The advisory lock that whoever sweeps holds.
const SWEEPING: i64 = 0x6761_7465_7761_7903;
/// How many rows of each kind one sweep removes at most.
const AT_ONCE: i64 = 5000;
/// How long a refresh token that was used is remembered, so that using it again tells of a theft.
const REUSE_IS_TOLD: time::Duration = time::Duration::days(7);

impl Store {
    /// Removes what expired before `now`; how many rows went, `None` when another replica is at it.
    pub async fn sweep_oauth(&self, now: Timestamp) -> Result<Option<u64>, StoreError> {
        self.within("sweep the authorization server's tables", async {
            let mut transaction = self.pool().begin().await?;
            let ours =
                sqlx::query_scalar!(r#"select pg_try_advisory_xact_lock($1) as "ours!""#, SWEEPING)
                    .fetch_one(&mut *transaction)
                    .await?;
            if !ours {
                return Ok(None);
            }
            // Sessions take their codes and refresh tokens along.
            let mut gone = sqlx::query!(
                "delete from oauth_session where id in
                     (select id from oauth_session where expires_at <= $1 limit $2)",
                now,
                AT_ONCE
            )
            .execute(&mut *transaction)
            .await?
            .rows_affected();
            gone += sqlx::query!(
                "delete from oauth_refresh where hash in
                     (select hash from oauth_refresh where used_at <= $1 limit $2)",
                now - REUSE_IS_TOLD,
                AT_ONCE
            )
            .execute(&mut *transaction)
            .await?
            .rows_affected();
            gone += sqlx::query!(
                "delete from oauth_device where hash in
                     (select hash from oauth_device where expires_at <= $1 limit $2)",
                now,
                AT_ONCE
            )
            .execute(&mut *transaction)
            .await?
            .rows_affected();
            gone += sqlx::query!(
                "delete from oauth_client where client_id in
                     (select client_id from oauth_client where expires_at <= $1 limit $2)",
                now,
                AT_ONCE
            )
            .execute(&mut *transaction)
            .await?
            .rows_affected();
            gone += sqlx::query!(
                "delete from used_assertion where hash in
                     (select hash from used_assertion where expires_at <= $1 limit $2)",
                now,
                AT_ONCE
            )
            .execute(&mut *transaction)
            .await?
            .rows_affected();
            transaction.commit().await?;
            Ok(Some(gone + self.sweep_catalogue(now).await?))
        })
        .await
    }

    /// Every replica reads these anew when some go, so they go only when there are any.
    async fn sweep_catalogue(&self, now: Timestamp) -> Result<u64, StoreError> {
        let due = sqlx::query_scalar!(
            r#"select exists (select 1 from revocation where until <= $1)
                   or exists (select 1 from signing_key where gone_at <= $1)
                   or exists (select 1 from ended_session where until <= $1) as "due!""#,
            now
        )
        .fetch_one(self.pool())
        .await?;
        if !due {
            return Ok(0);
        }
        let mut transaction = self.change().await?;
        let mut gone = sqlx::query!(
            "delete from revocation where session_id in
                 (select session_id from revocation where until <= $1 limit $2)",
            now,
            AT_ONCE
        )
        .execute(&mut *transaction)
        .await?
        .rows_affected();
        gone += sqlx::query!("delete from signing_key where gone_at <= $1", now)
            .execute(&mut *transaction)
            .await?
            .rows_affected();
        gone += sqlx::query!(
            "delete from ended_session where hash in
                 (select hash from ended_session where until <= $1 limit $2)",
            now,
            AT_ONCE
        )
        .execute(&mut *transaction)
        .await?
        .rows_affected();
        transaction.commit().await?;
        Ok(gone)
    }
}
