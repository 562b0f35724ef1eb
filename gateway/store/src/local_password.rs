//! The built-in sign-in's passwords, as argon2id hashes, and its one-time links, as keyed hashes.

use gateway_core::Timestamp;
use gateway_core::ids::UserId;

use crate::error::StoreError;
use crate::pool::Store;

impl Store {
    /// The stored hash of that person's password, a PHC string.
    pub async fn local_password(&self, user: UserId) -> Result<Option<String>, StoreError> {
        self.promptly("read a password's hash", async {
            let phc =
                sqlx::query_scalar!("select phc from local_password where user_id = $1", user.0)
                    .fetch_optional(self.pool())
                    .await?;
            Ok(phc)
        })
        .await
    }

    /// Gives a person a new password. Browsers that were signed in with the old one are signed out. False
    /// when there is no such person.
    pub async fn set_local_password(
        &self,
        user: UserId,
        phc: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.within("set a password", async {
            let mut transaction = self.pool().begin().await?;
            let set = sqlx::query!(
                "insert into local_password (user_id, phc, changed_at)
                 select id, $2, $3 from gateway_user where id = $1
                 on conflict (user_id) do update set phc = $2, changed_at = $3",
                user.0,
                phc,
                now
            )
            .execute(&mut *transaction)
            .await?;
            sqlx::query!(
                "update browser_session set revoked_at = $2
                  where user_id = $1 and issuer = 'local' and revoked_at is null",
                user.0,
                now
            )
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await?;
            Ok(set.rows_affected() == 1)
        })
        .await
    }

    /// Stores a one-time link; those that are over are forgotten. False when there is no such person.
    pub async fn create_sign_in_link(
        &self,
        hash: &[u8; 32],
        user: UserId,
        (now, expires_at): (Timestamp, Timestamp),
    ) -> Result<bool, StoreError> {
        self.within("create a sign-in link", async {
            let mut transaction = self.pool().begin().await?;
            sqlx::query!("delete from sign_in_link where expires_at <= $1", now)
                .execute(&mut *transaction)
                .await?;
            let made = sqlx::query!(
                "insert into sign_in_link (hash, user_id, expires_at)
                 select $1, id, $3 from gateway_user where id = $2",
                &hash[..],
                user.0,
                expires_at
            )
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await?;
            Ok(made.rows_affected() == 1)
        })
        .await
    }

    /// Whose link it is, while it can be used.
    pub async fn sign_in_link(
        &self,
        hash: &[u8; 32],
        now: Timestamp,
    ) -> Result<Option<UserId>, StoreError> {
        self.promptly("read a sign-in link", async {
            let user = sqlx::query_scalar!(
                "select user_id from sign_in_link
                  where hash = $1 and used_at is null and expires_at > $2",
                &hash[..],
                now
            )
            .fetch_optional(self.pool())
            .await?;
            Ok(user.map(UserId))
        })
        .await
    }

    /// Uses a link up: of several who try, one gets its person.
    pub async fn use_sign_in_link(
        &self,
        hash: &[u8; 32],
        now: Timestamp,
    ) -> Result<Option<UserId>, StoreError> {
        self.within("use a sign-in link", async {
            let user = sqlx::query_scalar!(
                "update sign_in_link set used_at = $2
                  where hash = $1 and used_at is null and expires_at > $2 returning user_id",
                &hash[..],
                now
            )
            .fetch_optional(self.pool())
            .await?;
            Ok(user.map(UserId))
        })
        .await
    }
}
