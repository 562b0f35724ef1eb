//! Deciding on a request, and ending what was granted.

use gateway_core::Timestamp;
use gateway_core::ids::{AccessRequestId, ServerId, UserId};

use super::read::load;
use super::{AccessRequest, AccessRequestStatus, ids};
use crate::error::StoreError;
use crate::notice::{self, NewNotice};
use crate::pool::Store;

/// How many grants one sweep ends at most.
const AT_ONCE: i64 = 500;

/// Somebody's decision.
#[derive(Debug, Clone)]
pub struct Decision {
    /// On what.
    pub id: AccessRequestId,
    /// Who decides; `None`: the operator.
    pub decider: Option<UserId>,
    /// Their e-mail address.
    pub email: String,
    /// Their words.
    pub note: Option<String>,
    /// When.
    pub now: Timestamp,
    /// What is granted; `None`: it is rejected.
    pub grant: Option<Grant>,
}

/// What an approval makes.
#[derive(Debug, Clone)]
pub struct Grant {
    /// The server that the policy names: the request may have been for one that is there only now.
    pub server: ServerId,
    /// The policy's name; no other has it.
    pub name: String,
    /// The policy, JSON text.
    pub spec_json: String,
    /// When it ends, as the policy says too.
    pub expires_at: Timestamp,
}

/// What a decision led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decided {
    /// It counts.
    Done(Box<AccessRequest>),
    /// Somebody was faster. Nothing changed.
    Over(AccessRequestStatus),
    /// No such request.
    Absent,
}

impl Store {
    /// Notes a decision. An approval and its policy come in one transaction, of any number of deciders
    /// from exactly one.
    pub async fn decide_access_request(
        &self,
        decision: &Decision,
        notices: &[NewNotice],
    ) -> Result<Decided, StoreError> {
        self.within("decide on a request for access", async {
            // A policy is the catalogue's.
            let mut transaction = self.change().await?;
            let status = sqlx::query_scalar!(
                "select status from access_request where id = $1 for update",
                decision.id.0
            )
            .fetch_optional(&mut *transaction)
            .await?;
            let Some(status) = status else { return Ok(Decided::Absent) };
            let status = AccessRequestStatus::parse(&status)?;
            if status != AccessRequestStatus::Pending {
                return Ok(Decided::Over(status));
            }
            sqlx::query!(
                "update access_request
                    set status = $2, decided_at = $3, decided_by = $4, decider = $5, note = $6, expires_at = $7,
                        server_id = coalesce($8, server_id)
                  where id = $1",
                decision.id.0,
                if decision.grant.is_some() { "approved" } else { "rejected" },
                decision.now,
                decision.decider.map(|id| id.0),
                decision.email,
                decision.note,
                decision.grant.as_ref().map(|grant| grant.expires_at),
                decision.grant.as_ref().map(|grant| grant.server.0)
            )
            .execute(&mut *transaction)
            .await?;
            if let Some(grant) = &decision.grant {
                crate::policy::act_as(&mut transaction, decision.decider).await?;
                sqlx::query!(
                    "insert into policy (id, name, position, spec, source)
                     select $1, $2, coalesce(max(position), 0) + 1, $3, 'api' from policy",
                    decision.id.0,
                    grant.name,
                    grant.spec_json
                )
                .execute(&mut *transaction)
                .await?;
            }
            notice::add(&mut transaction, notices).await?;
            let decided = load(&mut transaction, &[decision.id]).await?.pop();
            transaction.commit().await?;
            Ok(decided.map_or(Decided::Absent, |request| Decided::Done(Box::new(request))))
        })
        .await
    }

    /// Ends the grants whose time is over: each is given to exactly one replica. Their policies go with
    /// them, unless somebody has edited one since.
    pub async fn expire_grants(&self, now: Timestamp) -> Result<Vec<AccessRequest>, StoreError> {
        self.within("end grants", async {
            let due = sqlx::query_scalar!(
                r#"select exists (select 1 from access_request
                                   where status = 'approved' and expires_at <= $1) as "due!""#,
                now
            )
            .fetch_one(self.pool())
            .await?;
            if !due {
                return Ok(Vec::new());
            }
            let mut transaction = self.change().await?;
            let ended = sqlx::query_scalar!(
                "update access_request set status = 'expired' where id in
                     (select id from access_request where status = 'approved' and expires_at <= $1
                       order by id limit $2 for update skip locked)
                 returning id",
                now,
                AT_ONCE
            )
            .fetch_all(&mut *transaction)
            .await?;
            let ended: Vec<AccessRequestId> = ended.into_iter().map(AccessRequestId).collect();
            sqlx::query!(
                "delete from policy where id = any($1) and source = 'api' and updated_at = created_at",
                &ids(&ended)
            )
            .execute(&mut *transaction)
            .await?;
            let ended = load(&mut transaction, &ended).await?;
            transaction.commit().await?;
            Ok(ended)
        })
        .await
    }
}
