//! What a person has agreed to for one client, and the code that a client redeems once.
//!
//! Codes are here as keyed hashes. A code is used up by one statement, whatever comes of it; of any number of
//! replicas that redeem it at the same moment one gets the session, and the others learn of a replay.

use gateway_core::Timestamp;
use gateway_core::ids::{SessionId, UserId};
use sqlx::PgConnection;

use crate::error::StoreError;
use crate::oauth_refresh;
use crate::pool::Store;

/// A session as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSession {
    /// Its id.
    pub id: SessionId,
    /// Who agreed.
    pub user: UserId,
    /// For which client.
    pub client_id: String,
    /// The client's name at that time.
    pub client_name: String,
    /// The audience of its tokens.
    pub resource: String,
    /// What was agreed to.
    pub scope: String,
    /// When.
    pub created_at: Timestamp,
    /// When it ends unless it is used before.
    pub expires_at: Timestamp,
}

/// A code that was given out.
#[derive(Debug, Clone)]
pub struct NewCode {
    /// HMAC of the code.
    pub hash: [u8; 32],
    /// Where it was sent.
    pub redirect_uri: String,
    /// The PKCE challenge, S256.
    pub challenge: String,
    /// When it is too late.
    pub expires_at: Timestamp,
}

/// A refresh token that is given out.
#[derive(Debug, Clone, Copy)]
pub struct NewRefresh {
    /// HMAC of the token.
    pub hash: [u8; 32],
    /// When it is too late; the session lives as long.
    pub expires_at: Timestamp,
}

/// What a client redeems a code with.
#[derive(Debug, Clone)]
pub struct Redemption<'a> {
    /// HMAC of the code.
    pub hash: [u8; 32],
    /// The client that asks.
    pub client_id: &'a str,
    /// The challenge that its verifier makes.
    pub challenge: &'a str,
    /// The redirect URI that it repeats, if it does.
    pub redirect_uri: Option<&'a str>,
    /// The refresh token that it gets.
    pub refresh: Option<NewRefresh>,
    /// Until when the session lives without one.
    pub lives_until: Timestamp,
    /// When.
    pub now: Timestamp,
}

/// What came of redeeming a code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redeemed {
    /// The session is the client's.
    Granted(StoredSession),
    /// The code was used up by somebody who does not fit: another client, verifier or redirect URI.
    Misfit(SessionId),
    /// It had been used before.
    Replayed(SessionId),
    /// No such code, or it came too late, or the session has ended.
    Refused,
}

impl Store {
    /// Stores what a person agreed to, and the code that stands for it.
    pub async fn grant_code(
        &self,
        session: &StoredSession,
        code: &NewCode,
    ) -> Result<(), StoreError> {
        self.promptly("grant a code", async {
            let mut transaction = self.pool().begin().await?;
            insert(&mut transaction, session).await?;
            sqlx::query!(
                "insert into oauth_code (hash, session_id, redirect_uri, challenge, expires_at)
                 values ($1, $2, $3, $4, $5)",
                &code.hash[..],
                session.id.0,
                code.redirect_uri,
                code.challenge,
                code.expires_at
            )
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await?;
            Ok(())
        })
        .await
    }

    /// Uses a code up.
    pub async fn redeem_code(&self, asked: &Redemption<'_>) -> Result<Redeemed, StoreError> {
        self.promptly("redeem a code", async {
            let mut transaction = self.pool().begin().await?;
            // A second one waits here until the first has all it gets, and then finds the code used.
            let used = sqlx::query!(
                r#"update oauth_code c set used_at = $2
                     from oauth_session s
                    where c.hash = $1 and c.used_at is null and c.expires_at > $2
                      and s.id = c.session_id and s.revoked_at is null
                   returning c.session_id,
                             (s.client_id = $3 and c.challenge = $4
                              and ($5::text is null or c.redirect_uri = $5)) as "fits!""#,
                &asked.hash[..],
                asked.now,
                asked.client_id,
                asked.challenge,
                asked.redirect_uri
            )
            .fetch_optional(&mut *transaction)
            .await?;
            let redeemed = match used {
                Some(row) if !row.fits => Redeemed::Misfit(SessionId(row.session_id)),
                Some(row) => {
                    let id = SessionId(row.session_id);
                    if let Some(refresh) = asked.refresh {
                        oauth_refresh::insert(&mut transaction, id, refresh, asked.now).await?;
                    }
                    let until = asked.refresh.map_or(asked.lives_until, |r| r.expires_at);
                    touch(&mut transaction, id, asked.now, until)
                        .await?
                        .map_or(Redeemed::Refused, Redeemed::Granted)
                }
                None => replay(&mut transaction, &asked.hash).await?,
            };
            transaction.commit().await?;
            Ok(redeemed)
        })
        .await
    }

    /// Ends a session: nothing is refreshed any more, and every replica refuses its access tokens, of which
    /// the last expires at `until`. False when it had ended before, or never was.
    pub async fn end_session(
        &self,
        id: SessionId,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, StoreError> {
        self.promptly("end a session", async {
            let mut transaction = self.change().await?;
            let ended = sqlx::query!(
                "update oauth_session set revoked_at = $2 where id = $1 and revoked_at is null",
                id.0,
                now
            )
            .execute(&mut *transaction)
            .await?;
            sqlx::query!(
                "insert into revocation (session_id, until) values ($1, $2)
                 on conflict (session_id) do nothing",
                id.0,
                until
            )
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await?;
            Ok(ended.rows_affected() > 0)
        })
        .await
    }
}

pub(crate) async fn insert(
    connection: &mut PgConnection,
    session: &StoredSession,
) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into oauth_session
             (id, user_id, client_id, client_name, resource, scope, created_at, last_used_at, expires_at)
         values ($1, $2, $3, $4, $5, $6, $7, $7, $8)",
        session.id.0,
        session.user.0,
        session.client_id,
        session.client_name,
        session.resource,
        session.scope,
        session.created_at,
        session.expires_at
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The session was used and lives on until then; `None` once it has ended.
pub(crate) async fn touch(
    connection: &mut PgConnection,
    id: SessionId,
    now: Timestamp,
    until: Timestamp,
) -> Result<Option<StoredSession>, StoreError> {
    let row = sqlx::query!(
        "update oauth_session set last_used_at = $2, expires_at = greatest(expires_at, $3)
          where id = $1 and revoked_at is null
         returning id, user_id, client_id, client_name, resource, scope, created_at, expires_at",
        id.0,
        now,
        until
    )
    .fetch_optional(connection)
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
}

async fn replay(connection: &mut PgConnection, hash: &[u8; 32]) -> Result<Redeemed, StoreError> {
    let known = sqlx::query_scalar!(
        "select session_id from oauth_code where hash = $1 and used_at is not null",
        &hash[..]
    )
    .fetch_optional(connection)
    .await?;
    Ok(known.map_or(Redeemed::Refused, |id| Redeemed::Replayed(SessionId(id))))
}
