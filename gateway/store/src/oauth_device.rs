//! Devices that wait for a person to agree in a browser (RFC 8628). The device's code is here as a keyed
//! hash; the person's short one is not, for it is worth nothing without a signed-in person.

use gateway_core::Timestamp;
use gateway_core::ids::SessionId;

use crate::error::StoreError;
use crate::oauth_refresh;
use crate::oauth_session::{self, NewRefresh, StoredSession};
use crate::pool::Store;

/// A device that asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDevice {
    /// HMAC of the device's code.
    pub hash: [u8; 32],
    /// What the person types, in its normal form.
    pub user_code: String,
    /// The client.
    pub client_id: String,
    /// Its name.
    pub client_name: String,
    /// The audience that its tokens will have.
    pub resource: String,
    /// What it asks for.
    pub scope: String,
    /// When it asked.
    pub created_at: Timestamp,
    /// When it is too late.
    pub expires_at: Timestamp,
}

/// A device that asks whether it may by now.
#[derive(Debug, Clone)]
pub struct Poll<'a> {
    /// HMAC of the device's code.
    pub hash: [u8; 32],
    /// The client that asks.
    pub client_id: &'a str,
    /// Asking again is too soon if it asked after this.
    pub not_since: Timestamp,
    /// The refresh token that it gets.
    pub refresh: Option<NewRefresh>,
    /// Until when the session lives without one.
    pub lives_until: Timestamp,
    /// When.
    pub now: Timestamp,
}

/// The answer to a device that polls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Polled {
    /// The session is the device's; said once.
    Granted(StoredSession),
    /// Nobody has answered yet.
    Pending,
    /// It asks too often.
    TooSoon,
    /// The person said no.
    Declined,
    /// Too late.
    Expired,
    /// No such code of this client, or it was used before.
    Refused,
}

impl Store {
    /// Stores a device that asks. False when its user code is taken.
    pub async fn start_device(&self, device: &StoredDevice) -> Result<bool, StoreError> {
        self.promptly("start a device", async {
            let made = sqlx::query!(
                "insert into oauth_device
                     (hash, user_code, client_id, client_name, resource, scope, created_at, expires_at)
                 values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (user_code) do nothing",
                &device.hash[..],
                device.user_code,
                device.client_id,
                device.client_name,
                device.resource,
                device.scope,
                device.created_at,
                device.expires_at
            )
            .execute(self.pool())
            .await?;
            Ok(made.rows_affected() > 0)
        })
        .await
    }

    /// The device that waits under that user code.
    pub async fn waiting_device(
        &self,
        user_code: &str,
        now: Timestamp,
    ) -> Result<Option<StoredDevice>, StoreError> {
        self.promptly("read a device", async {
            let row = sqlx::query!(
                "select hash, user_code, client_id, client_name, resource, scope, created_at, expires_at
                   from oauth_device
                  where user_code = $1 and status = 'pending' and expires_at > $2",
                user_code,
                now
            )
            .fetch_optional(self.pool())
            .await?;
            row.map(|row| {
                Ok(StoredDevice {
                    hash: crate::catalogue::hash(&row.hash)?,
                    user_code: row.user_code,
                    client_id: row.client_id,
                    client_name: row.client_name,
                    resource: row.resource,
                    scope: row.scope,
                    created_at: row.created_at,
                    expires_at: row.expires_at,
                })
            })
            .transpose()
        })
        .await
    }

    /// Notes the person's answer: a session, or no. False when nothing waits under that code any more.
    pub async fn decide_device(
        &self,
        user_code: &str,
        session: Option<&StoredSession>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.promptly("decide about a device", async {
            let mut transaction = self.pool().begin().await?;
            if let Some(session) = session {
                oauth_session::insert(&mut transaction, session).await?;
            }
            let status = if session.is_some() { "approved" } else { "refused" };
            let decided = sqlx::query!(
                "update oauth_device set status = $3, session_id = $4
                  where user_code = $1 and status = 'pending' and expires_at > $2",
                user_code,
                now,
                status,
                session.map(|session| session.id.0)
            )
            .execute(&mut *transaction)
            .await?;
            let decided = decided.rows_affected() > 0;
            if decided {
                transaction.commit().await?;
            }
            Ok(decided)
        })
        .await
    }

    /// What a device that polls is told.
    pub async fn poll_device(&self, poll: &Poll<'_>) -> Result<Polled, StoreError> {
        self.promptly("poll a device", async {
            let mut transaction = self.pool().begin().await?;
            let Some(row) = sqlx::query!(
                "select status, session_id, polled_at, expires_at from oauth_device
                  where hash = $1 and client_id = $2 for update",
                &poll.hash[..],
                poll.client_id
            )
            .fetch_optional(&mut *transaction)
            .await?
            else {
                return Ok(Polled::Refused);
            };
            let polled = match (row.status.as_str(), row.session_id) {
                ("used", _) => return Ok(Polled::Refused),
                ("refused", _) => return Ok(Polled::Declined),
                _ if row.expires_at <= poll.now => return Ok(Polled::Expired),
                _ if row.polled_at.is_some_and(|at| at > poll.not_since) => Polled::TooSoon,
                ("approved", Some(session)) => {
                    let id = SessionId(session);
                    if let Some(refresh) = poll.refresh {
                        oauth_refresh::insert(&mut transaction, id, refresh, poll.now).await?;
                    }
                    let until = poll.refresh.map_or(poll.lives_until, |r| r.expires_at);
                    oauth_session::touch(&mut transaction, id, poll.now, until)
                        .await?
                        .map_or(Polled::Refused, Polled::Granted)
                }
                _ => Polled::Pending,
            };
            let status = match polled {
                Polled::Granted(_) => "used",
                Polled::Pending
                | Polled::TooSoon
                | Polled::Declined
                | Polled::Expired
                | Polled::Refused => row.status.as_str(),
            };
            sqlx::query!(
                "update oauth_device set status = $2, polled_at = $3 where hash = $1",
                &poll.hash[..],
                status,
                poll.now
            )
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await?;
            Ok(polled)
        })
        .await
    }
}
