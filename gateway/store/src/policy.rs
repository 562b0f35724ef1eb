//! Policies as they were written: JSON text whose meaning is the `policies` package's business, with every
//! version that there ever was. [`crate::desired_state`] writes them, too; the versions are the database's
//! own work (a trigger), so that nobody can forget them.

use gateway_core::Timestamp;
use gateway_core::ids::{PolicyId, UserId};
use sqlx::PgConnection;

use crate::error::StoreError;
use crate::pool::Store;

/// A policy as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPolicy {
    /// Stable id; the same name keeps it.
    pub id: PolicyId,
    /// Unique.
    pub name: String,
    /// Order in the desired state; of several messages the first one's is shown.
    pub position: i32,
    /// The specification, JSON text.
    pub spec_json: String,
    /// Counts what was written under this id, removals too.
    pub version: i32,
    /// Who made it: `apply`, `api` or `seed`. Only what `apply` made is removed by its pruning.
    pub source: String,
    /// Who made this version; `None`: `apply`.
    pub changed_by: Option<UserId>,
    /// When it was made first.
    pub created_at: Timestamp,
    /// When it was last written.
    pub updated_at: Timestamp,
}

/// One version of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyVersion {
    /// Counts all changes of all policies.
    pub change: i64,
    /// The policy, which may be gone.
    pub policy: PolicyId,
    /// Its version.
    pub version: i32,
    /// `created`, `updated` or `deleted`.
    pub what: String,
    /// Its name from then on; of a deleted policy the last one.
    pub name: String,
    /// Its specification from then on, JSON text; of a deleted policy the last one.
    pub spec_json: String,
    /// `apply`, `api` or `seed`.
    pub source: String,
    /// Who did it; `None`: `apply`.
    pub actor: Option<UserId>,
    /// When.
    pub at: Timestamp,
}

/// A policy to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyText {
    /// Its id, new or known.
    pub id: PolicyId,
    /// Its name.
    pub name: String,
    /// Its specification, JSON text.
    pub spec_json: String,
}

/// How a write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyWrite {
    /// Done: this is its version now.
    Written(i32),
    /// Another policy has the name; nothing was written.
    NameTaken,
    /// It is not the version that was expected, or is gone, or is there; nothing was written.
    Changed,
}

impl Store {
    /// Every policy, in order.
    pub async fn policies(&self) -> Result<Vec<StoredPolicy>, StoreError> {
        self.within("read policies", async { load(&mut *self.pool().acquire().await?).await }).await
    }

    /// Writes a policy that is not there, after all others. One that was there comes back under its id.
    pub async fn create_policy(
        &self,
        policy: &PolicyText,
        actor: Option<UserId>,
    ) -> Result<PolicyWrite, StoreError> {
        self.within("create a policy", async {
            let mut transaction = self.change().await?;
            act_as(&mut transaction, actor).await?;
            if is_taken(&mut transaction, policy).await? {
                return Ok(PolicyWrite::NameTaken);
            }
            let version = sqlx::query_scalar!(
                "insert into policy (id, name, position, spec, source)
                 select $1, $2, coalesce(max(position) + 1, 0), $3, 'api' from policy
                 on conflict (id) do nothing returning version",
                policy.id.0,
                policy.name,
                policy.spec_json
            )
            .fetch_optional(&mut *transaction)
            .await?;
            transaction.commit().await?;
            Ok(version.map_or(PolicyWrite::Changed, PolicyWrite::Written))
        })
        .await
    }

    /// Writes a policy anew, if it is still at version `expected`. Who made it first stays.
    pub async fn update_policy(
        &self,
        policy: &PolicyText,
        expected: i32,
        actor: Option<UserId>,
    ) -> Result<PolicyWrite, StoreError> {
        self.within("update a policy", async {
            let mut transaction = self.change().await?;
            act_as(&mut transaction, actor).await?;
            if is_taken(&mut transaction, policy).await? {
                return Ok(PolicyWrite::NameTaken);
            }
            let version = sqlx::query_scalar!(
                "update policy set name = $3, spec = $4, updated_at = now()
                  where id = $1 and version = $2 returning version",
                policy.id.0,
                expected,
                policy.name,
                policy.spec_json
            )
            .fetch_optional(&mut *transaction)
            .await?;
            transaction.commit().await?;
            Ok(version.map_or(PolicyWrite::Changed, PolicyWrite::Written))
        })
        .await
    }

    /// Removes a policy, if it is still at version `expected`. Its versions stay.
    pub async fn delete_policy(
        &self,
        id: PolicyId,
        expected: i32,
        actor: Option<UserId>,
    ) -> Result<PolicyWrite, StoreError> {
        self.within("delete a policy", async {
            let mut transaction = self.change().await?;
            act_as(&mut transaction, actor).await?;
            let version = sqlx::query_scalar!(
                r#"delete from policy where id = $1 and version = $2 returning version + 1 as "version!""#,
                id.0,
                expected
            )
            .fetch_optional(&mut *transaction)
            .await?;
            transaction.commit().await?;
            Ok(version.map_or(PolicyWrite::Changed, PolicyWrite::Written))
        })
        .await
    }

    /// At most `limit` versions older than `before`, of one policy or of all, newest first.
    pub async fn policy_versions(
        &self,
        of: Option<PolicyId>,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<PolicyVersion>, StoreError> {
        self.within("list versions of policies", async {
            let rows = sqlx::query_as!(
                VersionFields,
                "select change, policy_id, version, what, name, spec, source, actor_id, at
                   from policy_version
                  where ($1::uuid is null or policy_id = $1) and ($2::bigint is null or change < $2)
                  order by change desc limit $3",
                of.map(|id| id.0),
                before,
                i64::from(limit)
            )
            .fetch_all(self.pool())
            .await?;
            Ok(rows.into_iter().map(PolicyVersion::from).collect())
        })
        .await
    }

    /// One version of one policy.
    pub async fn policy_version(
        &self,
        id: PolicyId,
        version: i32,
    ) -> Result<Option<PolicyVersion>, StoreError> {
        self.within("read a version of a policy", async {
            let row = sqlx::query_as!(
                VersionFields,
                "select change, policy_id, version, what, name, spec, source, actor_id, at
                   from policy_version where policy_id = $1 and version = $2",
                id.0,
                version
            )
            .fetch_optional(self.pool())
            .await?;
            Ok(row.map(PolicyVersion::from))
        })
        .await
    }

    /// Those of `names` that are names of groups, with or without members.
    pub async fn groups_named(&self, names: &[String]) -> Result<Vec<String>, StoreError> {
        self.within("look up groups", async {
            let found =
                sqlx::query_scalar!("select name from gateway_group where name = any($1)", names);
            Ok(found.fetch_all(self.pool()).await?)
        })
        .await
    }

    /// The policy that was called so last, there or gone.
    pub async fn policy_once_called(&self, name: &str) -> Result<Option<PolicyId>, StoreError> {
        self.within("find a policy by a former name", async {
            let id = sqlx::query_scalar!(
                "select policy_id from policy_version where name = $1 order by change desc limit 1",
                name
            )
            .fetch_optional(self.pool())
            .await?;
            Ok(id.map(PolicyId))
        })
        .await
    }
}

/// Says who writes, for the versions of policies that this transaction makes.
pub(crate) async fn act_as(
    transaction: &mut PgConnection,
    actor: Option<UserId>,
) -> Result<(), StoreError> {
    let actor = actor.map(|id| id.0.to_string()).unwrap_or_default();
    sqlx::query!("select set_config('gateway.actor', $1, true)", actor)
        .fetch_one(transaction)
        .await?;
    Ok(())
}

/// Writers come one after the other, so that the name stays free until the transaction ends.
async fn is_taken(transaction: &mut PgConnection, policy: &PolicyText) -> Result<bool, StoreError> {
    Ok(sqlx::query_scalar!(
        r#"select exists (select from policy where name = $1 and id <> $2) as "taken!""#,
        policy.name,
        policy.id.0
    )
    .fetch_one(transaction)
    .await?)
}

pub(crate) async fn load(connection: &mut PgConnection) -> Result<Vec<StoredPolicy>, StoreError> {
    let rows = sqlx::query!(
        "select id, name, position, spec, version, source, changed_by, created_at, updated_at
           from policy order by position, name"
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| StoredPolicy {
            id: PolicyId(row.id),
            name: row.name,
            position: row.position,
            spec_json: row.spec,
            version: row.version,
            source: row.source,
            changed_by: row.changed_by.map(UserId),
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
        .collect())
}

struct VersionFields {
    change: i64,
    policy_id: uuid::Uuid,
    version: i32,
    what: String,
    name: String,
    spec: String,
    source: String,
    actor_id: Option<uuid::Uuid>,
    at: Timestamp,
}

impl From<VersionFields> for PolicyVersion {
    fn from(row: VersionFields) -> PolicyVersion {
        PolicyVersion {
            change: row.change,
            policy: PolicyId(row.policy_id),
            version: row.version,
            what: row.what,
            name: row.name,
            spec_json: row.spec,
            source: row.source,
            actor: row.actor_id.map(UserId),
            at: row.at,
        }
    }
}
