//! Requests for access: asked for, decided, and at the grant's end swept, whichever replica does it.
//!
//! ```text
//! pending --approved--> approved (its policy is there) --at expires_at--> expired (its policy is gone)
//!    +--rejected--> rejected    +--by whoever asked--> cancelled
//! ```
//! Who may decide is governance's business. What a grant allows is a policy like any other, written here
//! in the transaction of the decision; its id is the request's.

mod decide;
mod read;

use gateway_core::Timestamp;
use gateway_core::ids::{AccessRequestId, ServerId, UserId};
use uuid::Uuid;

pub use decide::{Decided, Decision, Grant};
pub use read::{AccessRequestStatus, Listed};

use crate::error::StoreError;
use crate::notice::{self, NewNotice};
use crate::pool::Store;

/// A request as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessRequest {
    /// UUIDv7: lists are ordered by it.
    pub id: AccessRequestId,
    /// For whom: a person or an agent account.
    pub principal_id: UserId,
    /// How policies called them when they asked: `user:EMAIL` or `agent:NAME`.
    pub principal: String,
    /// The person behind it: of an agent account, whoever owned it.
    pub person: UserId,
    /// The server as it was asked for.
    pub server: String,
    /// Which one that was, if there was one.
    pub server_id: Option<ServerId>,
    /// Sorted names; empty: everything on the server.
    pub tools: Vec<String>,
    /// Why, in the asker's words.
    pub reason: String,
    /// For how long, in seconds.
    pub seconds: Option<i64>,
    /// As last written; see [`AccessRequest::status_at`].
    pub status: AccessRequestStatus,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it was decided or withdrawn.
    pub decided_at: Option<Timestamp>,
    /// The e-mail address of whoever decided.
    pub decider: Option<String>,
    /// Their words.
    pub note: Option<String>,
    /// When the grant ends.
    pub expires_at: Option<Timestamp>,
}

/// What asking led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// It stands.
    New,
    /// The same was asked before and is still open.
    Known(Box<AccessRequest>),
    /// Too many of this principal are open.
    TooMany,
}

impl Store {
    /// Stores a request, with notices of it, unless the same is open or `most` of its principal are.
    pub async fn open_access_request(
        &self,
        new: &AccessRequest,
        most: i64,
        notices: &[NewNotice],
    ) -> Result<Opened, StoreError> {
        self.within("ask for access", async {
            let mut transaction = self.pool().begin().await?;
            // One principal's requests one after the other, so that counting them means something.
            sqlx::query!(
                "select pg_advisory_xact_lock(hashtextextended($1, 8))",
                new.principal_id.to_string()
            )
            .execute(&mut *transaction)
            .await?;
            let open = sqlx::query_scalar!(
                r#"select count(*) as "count!" from access_request
                    where principal_id = $1 and status = 'pending'
                      and not (server = $2 and tools = $3)"#,
                new.principal_id.0,
                new.server,
                &new.tools
            )
            .fetch_one(&mut *transaction)
            .await?;
            let made = sqlx::query!(
                "insert into access_request
                     (id, principal_id, principal, person_id, server, server_id, tools, reason, seconds, created_at)
                 values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
                 on conflict (principal_id, server, tools) where status = 'pending' do nothing",
                new.id.0,
                new.principal_id.0,
                new.principal,
                new.person.0,
                new.server,
                new.server_id.map(|id| id.0),
                &new.tools,
                new.reason,
                new.seconds,
                new.created_at
            )
            .execute(&mut *transaction)
            .await?;
            if made.rows_affected() == 0 {
                let known = read::open(&mut transaction, new).await?;
                return Ok(known.map_or(Opened::TooMany, |known| Opened::Known(Box::new(known))));
            }
            if open >= most {
                // Dropping the transaction takes the row back.
                return Ok(Opened::TooMany);
            }
            notice::add(&mut transaction, notices).await?;
            transaction.commit().await?;
            Ok(Opened::New)
        })
        .await
    }

    /// The open request of that principal for exactly the same.
    pub async fn open_request_like(
        &self,
        new: &AccessRequest,
    ) -> Result<Option<AccessRequest>, StoreError> {
        self.within("look for a request for access", async {
            read::open(&mut *self.pool().acquire().await?, new).await
        })
        .await
    }

    /// Withdraws an open request. False when it is not open (any more).
    pub async fn cancel_access_request(
        &self,
        id: AccessRequestId,
        now: Timestamp,
        notices: &[NewNotice],
    ) -> Result<bool, StoreError> {
        self.within("withdraw a request for access", async {
            let mut transaction = self.pool().begin().await?;
            let done = sqlx::query!(
                "update access_request set status = 'cancelled', decided_at = $2
                  where id = $1 and status = 'pending'",
                id.0,
                now
            )
            .execute(&mut *transaction)
            .await?;
            let done = done.rows_affected() == 1;
            if done {
                notice::add(&mut transaction, notices).await?;
            }
            transaction.commit().await?;
            Ok(done)
        })
        .await
    }
}

pub(crate) fn ids(ids: &[AccessRequestId]) -> Vec<Uuid> {
    ids.iter().map(|id| id.0).collect()
}
