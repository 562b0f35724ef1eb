//! Deciding on a request, and ending what was granted.

use gateway_core::Timestamp;
use gateway_core::ids::{AccessRequestId, PolicyId, ServerId, UserId};
use uuid::Uuid;

use super::read::load;
use super::{AccessRequest, AccessRequestStatus};
use crate::error::StoreError;
use crate::notice::{self, NewNotice};
use crate::pool::Store;

/// How many grants one sweep looks at.
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

    /// Grants whose time is over at `now`, and those of which `over` are the policies, also of requests that
    /// have ended. At most 500, so that a sweep stays short.
    pub async fn due_grants(
        &self,
        now: Timestamp,
        over: &[PolicyId],
    ) -> Result<Vec<AccessRequest>, StoreError> {
        let over: Vec<Uuid> = over.iter().map(|id| id.0).collect();
        self.within("look for grants that are over", async {
            let due = sqlx::query_scalar!(
                "select id from access_request
                  where (status = 'approved' and expires_at <= $1)
                     or (id = any($2) and status in ('approved', 'expired'))
                  order by id limit $3",
                now,
                &over,
                AT_ONCE
            )
            .fetch_all(self.pool())
            .await?;
            if due.is_empty() {
                return Ok(Vec::new());
            }
            let due: Vec<AccessRequestId> = due.into_iter().map(AccessRequestId).collect();
            load(&mut *self.pool().acquire().await?, &due).await
        })
        .await
    }

    /// Ends grants, each once over all replicas, with what is to be told of each; and removes the policies
    /// of ended grants among `over` that are still at that version, whoever wrote it. All or nothing. Gives
    /// the requests that ended.
    pub async fn end_grants(
        &self,
        ended: &[(AccessRequestId, Vec<NewNotice>)],
        over: &[(PolicyId, i32)],
    ) -> Result<Vec<AccessRequestId>, StoreError> {
        let wanted: Vec<Uuid> = ended.iter().map(|(id, _)| id.0).collect();
        let (policies, versions): (Vec<Uuid>, Vec<i32>) =
            over.iter().map(|(id, version)| (id.0, *version)).unzip();
        self.within("end grants", async {
            let mut transaction = self.change().await?;
            let done = sqlx::query_scalar!(
                "update access_request set status = 'expired' where id = any($1) and status = 'approved'
                 returning id",
                &wanted
            )
            .fetch_all(&mut *transaction)
            .await?;
            for (_, notices) in ended.iter().filter(|(id, _)| done.contains(&id.0)) {
                notice::add(&mut transaction, notices).await?;
            }
            sqlx::query!(
                "delete from policy p using unnest($1::uuid[], $2::integer[]) as gone (id, version)
                  where p.id = gone.id and p.version = gone.version and p.source = 'api'
                    and exists (select from access_request r where r.id = p.id and r.status = 'expired')",
                &policies,
                &versions
            )
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await?;
            Ok(done.into_iter().map(AccessRequestId).collect())
        })
        .await
    }

    /// A grant goes on until then: somebody has moved the end of its policy.
    pub async fn prolong_grant(
        &self,
        id: AccessRequestId,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        self.within("prolong a grant", async {
            sqlx::query!(
                "update access_request set expires_at = $2
                  where id = $1 and status = 'approved' and expires_at < $2",
                id.0,
                until
            )
            .execute(self.pool())
            .await?;
            Ok(())
        })
        .await
    }
}
