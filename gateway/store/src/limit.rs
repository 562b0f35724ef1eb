//! Limits on calls as they were written, and what is gone of their daily budgets.
//!
//! Replicas take a budget in blocks ([`Store::lease_budget`]), so that a call costs no round trip, and report what
//! they have used and give back what they have not ([`Store::settle_budgets`]). What a replica holds when it dies
//! is lost for the day: never do more calls pass than the budget says.

use gateway_core::ids::LimitId;
use sqlx::PgConnection;
use time::Date;
use uuid::Uuid;

use crate::error::StoreError;
use crate::pool::Store;

/// A limit as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredLimit {
    /// Stable id; the same name keeps it.
    pub id: LimitId,
    /// Unique.
    pub name: String,
    /// The specification, JSON text.
    pub spec_json: String,
}

/// Whose calls of which day count against which budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BudgetKey {
    /// The limit.
    pub limit: LimitId,
    /// In the budget's own time zone.
    pub day: Date,
    /// The principal; the nil id where all count together.
    pub subject: Uuid,
}

/// What a replica did with what it held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settlement {
    /// Of what.
    pub key: BudgetKey,
    /// Calls that passed.
    pub used: u32,
    /// Calls that others may make.
    pub returned: u32,
}

/// Calls that count against a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BudgetUse {
    /// Whose.
    pub key: BudgetKey,
    /// Calls that passed, as far as they were reported: replicas do so every few seconds.
    pub used: u64,
}

impl Store {
    /// Makes a limit, or replaces the one of that name, whose id and use it keeps.
    pub async fn set_limit(&self, limit: &StoredLimit) -> Result<LimitId, StoreError> {
        self.within("set a limit", async {
            let mut transaction = self.change().await?;
            let id = sqlx::query_scalar!(
                "insert into call_limit (id, name, spec, source) values ($1, $2, $3, 'api')
                 on conflict (name) do update
                    set spec = excluded.spec, source = 'api', updated_at = now()
                 returning id",
                limit.id.0,
                limit.name,
                limit.spec_json
            )
            .fetch_one(&mut *transaction)
            .await?;
            transaction.commit().await?;
            Ok(LimitId(id))
        })
        .await
    }

    /// Removes a limit. False when there is none.
    pub async fn delete_limit(&self, id: LimitId) -> Result<bool, StoreError> {
        self.within("delete a limit", async {
            let mut transaction = self.change().await?;
            let gone = sqlx::query!("delete from call_limit where id = $1", id.0)
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await?;
            Ok(gone.rows_affected() == 1)
        })
        .await
    }

    /// Takes up to `most` calls of a budget of `calls` for this replica, fewer where little is left; 0 when
    /// nothing is, or the limit is gone.
    pub async fn lease_budget(
        &self,
        key: BudgetKey,
        calls: u32,
        most: u32,
    ) -> Result<u32, StoreError> {
        self.within("lease a budget", async {
            let mut transaction = self.pool().begin().await?;
            sqlx::query!(
                "insert into call_limit_use (limit_id, subject, day)
                 select id, $2, $3 from call_limit where id = $1 on conflict do nothing",
                key.limit.0,
                key.subject,
                key.day
            )
            .execute(&mut *transaction)
            .await?;
            // Locked: of several replicas, one after the other.
            let leased = sqlx::query_scalar!(
                "select leased from call_limit_use
                  where limit_id = $1 and subject = $2 and day = $3 for update",
                key.limit.0,
                key.subject,
                key.day
            )
            .fetch_optional(&mut *transaction)
            .await?;
            let left = leased.map_or(0, |leased| i64::from(calls).saturating_sub(leased).max(0));
            // The last ones are shared among those who ask.
            let granted = i64::from(most).min((left + 3) / 4);
            if granted > 0 {
                sqlx::query!(
                    "update call_limit_use set leased = leased + $4
                      where limit_id = $1 and subject = $2 and day = $3",
                    key.limit.0,
                    key.subject,
                    key.day,
                    granted
                )
                .execute(&mut *transaction)
                .await?;
            }
            transaction.commit().await?;
            u32::try_from(granted).map_err(|_| StoreError::Corrupt("a lease is too large".into()))
        })
        .await
    }

    /// Notes what was used of leases and what is given back. All or nothing.
    pub async fn settle_budgets(&self, settled: &[Settlement]) -> Result<(), StoreError> {
        let limits: Vec<Uuid> = settled.iter().map(|one| one.key.limit.0).collect();
        let subjects: Vec<Uuid> = settled.iter().map(|one| one.key.subject).collect();
        let days: Vec<Date> = settled.iter().map(|one| one.key.day).collect();
        let used: Vec<i64> = settled.iter().map(|one| one.used.into()).collect();
        let returned: Vec<i64> = settled.iter().map(|one| one.returned.into()).collect();
        self.within("settle budgets", async {
            sqlx::query!(
                "update call_limit_use u
                    set used = u.used + s.used, leased = greatest(u.leased - s.returned, 0)
                   from unnest($1::uuid[], $2::uuid[], $3::date[], $4::bigint[], $5::bigint[])
                        as s (limit_id, subject, day, used, returned)
                  where (u.limit_id, u.subject, u.day) = (s.limit_id, s.subject, s.day)",
                &limits,
                &subjects,
                &days,
                &used,
                &returned
            )
            .execute(self.pool())
            .await?;
            Ok(())
        })
        .await
    }

    /// The use of these budgets on these days, the largest first, at most 20 rows of each.
    pub async fn budget_use(&self, of: &[(LimitId, Date)]) -> Result<Vec<BudgetUse>, StoreError> {
        let limits: Vec<Uuid> = of.iter().map(|(limit, _)| limit.0).collect();
        let days: Vec<Date> = of.iter().map(|(_, day)| *day).collect();
        self.within("read the use of budgets", async {
            let rows = sqlx::query!(
                "select u.limit_id, u.subject, u.day, u.used
                   from unnest($1::uuid[], $2::date[]) as a (limit_id, day)
                  cross join lateral (
                        select * from call_limit_use u
                         where u.limit_id = a.limit_id and u.day = a.day and u.used > 0
                         order by u.used desc, u.subject limit 20) u
                  order by u.limit_id, u.used desc, u.subject",
                &limits,
                &days
            )
            .fetch_all(self.pool())
            .await?;
            let key = |limit, day, subject| BudgetKey { limit: LimitId(limit), day, subject };
            Ok(rows
                .into_iter()
                .map(|row| BudgetUse {
                    key: key(row.limit_id, row.day, row.subject),
                    used: u64::try_from(row.used).unwrap_or_default(),
                })
                .collect())
        })
        .await
    }

    /// Forgets the use of days before that one.
    pub async fn forget_budget_use(&self, before: Date) -> Result<u64, StoreError> {
        self.within("forget the use of budgets", async {
            let gone = sqlx::query!("delete from call_limit_use where day < $1", before)
                .execute(self.pool())
                .await?;
            Ok(gone.rows_affected())
        })
        .await
    }
}

pub(crate) async fn load(connection: &mut PgConnection) -> Result<Vec<StoredLimit>, StoreError> {
    let rows = sqlx::query!("select id, name, spec from call_limit order by name")
        .fetch_all(connection)
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| StoredLimit { id: LimitId(row.id), name: row.name, spec_json: row.spec })
        .collect())
}
