//! People.

use gateway_core::Timestamp;
use gateway_core::ids::UserId;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Listed, Wanted, Written, is_taken};
use crate::error::StoreError;
use crate::pool::Store;

/// A person as provisioned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provisioned {
    /// Their id.
    pub id: UserId,
    /// The provisioning system's own id.
    pub external_id: Option<String>,
    /// E-mail address, lower case.
    pub email: String,
    /// Display name.
    pub name: String,
    /// False once deactivated.
    pub active: bool,
    /// Ids and names of their groups.
    pub groups: Vec<(Uuid, String)>,
    /// When they were made.
    pub created_at: Timestamp,
    /// When they were changed last.
    pub updated_at: Timestamp,
}

/// A new person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPerson {
    /// Their id.
    pub id: UserId,
    /// The provisioning system's own id.
    pub external_id: Option<String>,
    /// E-mail address, lower case.
    pub email: String,
    /// Display name.
    pub name: String,
    /// False: without access from the start.
    pub active: bool,
    /// When.
    pub now: Timestamp,
}

/// What becomes of a person; `None`: as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PersonChange {
    /// E-mail address, lower case.
    pub email: Option<String>,
    /// Display name.
    pub name: Option<String>,
    /// Access or none; none ends every session at once.
    pub active: Option<bool>,
    /// The provisioning system's own id; inner `None`: it has none any more.
    pub external_id: Option<Option<String>>,
}

impl Store {
    /// People, by e-mail address.
    pub async fn provisioned_users(
        &self,
        wanted: &Wanted,
    ) -> Result<Listed<Provisioned>, StoreError> {
        self.within("read provisioned users", async {
            let mut connection = self.pool().acquire().await?;
            let total = sqlx::query_scalar!(
                r#"select count(*) as "count!" from gateway_user
                    where ($1::uuid is null or id = $1) and ($2::text is null or email = $2)
                      and ($3::text is null or external_id = $3) and (active or removed_at is null)"#,
                wanted.id,
                wanted.name,
                wanted.external_id
            )
            .fetch_one(&mut *connection)
            .await?;
            let rows = load(&mut connection, wanted).await?;
            Ok(Listed { total: u64::try_from(total).unwrap_or(0), rows })
        })
        .await
    }

    /// Makes a person, or brings one back that was removed before; then the id is theirs.
    pub async fn provision_user(
        &self,
        new: &NewPerson,
    ) -> Result<Written<Provisioned>, StoreError> {
        self.within("provision a user", async {
            let mut transaction = self.change().await?;
            let made = sqlx::query_scalar!(
                "insert into gateway_user as known
                     (id, email, name, active, source, external_id, created_at, updated_at)
                 values ($1, $2, $3, $4, 'scim', $5, $6, $6)
                 on conflict (email) do update
                    set name = $3, active = $4, external_id = $5, updated_at = $6, removed_at = null
                  where known.removed_at is not null and not known.active
                 returning id",
                new.id.0,
                new.email,
                new.name,
                new.active,
                new.external_id,
                new.now
            )
            .fetch_optional(&mut *transaction)
            .await;
            let id = match made {
                Ok(Some(id)) => UserId(id),
                Ok(None) => return Ok(Written::Taken),
                Err(error) if is_taken(&error) => return Ok(Written::Taken),
                Err(error) => return Err(error.into()),
            };
            let written = one(&mut transaction, id).await?;
            transaction.commit().await?;
            Ok(written)
        })
        .await
    }

    /// Changes a person.
    pub async fn change_provisioned_user(
        &self,
        id: UserId,
        change: &PersonChange,
        now: Timestamp,
    ) -> Result<Written<Provisioned>, StoreError> {
        self.within("change a provisioned user", async {
            let mut transaction = self.change().await?;
            let changed = sqlx::query!(
                "update gateway_user
                    set email = coalesce($2, email), name = coalesce($3, name), active = coalesce($4, active),
                        external_id = case when $5 then $6 else external_id end, updated_at = $7
                  where id = $1",
                id.0,
                change.email,
                change.name,
                change.active,
                change.external_id.is_some(),
                change.external_id.clone().flatten(),
                now
            )
            .execute(&mut *transaction)
            .await;
            match changed {
                Ok(_) => {}
                Err(error) if is_taken(&error) => return Ok(Written::Taken),
                Err(error) => return Err(error.into()),
            }
            let written = one(&mut transaction, id).await?;
            transaction.commit().await?;
            Ok(written)
        })
        .await
    }

    /// Takes a person's access for good: no session, key, link or group of provisioning is left. The row
    /// stays, for the trail names it. Gives the person as they were.
    pub async fn unprovision_user(
        &self,
        id: UserId,
        now: Timestamp,
    ) -> Result<Written<Provisioned>, StoreError> {
        self.within("unprovision a user", async {
            let mut transaction = self.change().await?;
            let before = one(&mut transaction, id).await?;
            if before == Written::Absent {
                return Ok(before);
            }
            sqlx::query!(
                "update gateway_user
                    set active = false, external_id = null, updated_at = $2, removed_at = $2
                  where id = $1",
                id.0,
                now
            )
            .execute(&mut *transaction)
            .await?;
            sqlx::query!("delete from identity_link where user_id = $1", id.0)
                .execute(&mut *transaction)
                .await?;
            sqlx::query!(
                "update api_key set revoked_at = $2 where user_id = $1 and revoked_at is null",
                id.0,
                now
            )
            .execute(&mut *transaction)
            .await?;
            sqlx::query!(
                "update delegation set revoked_at = $2 where user_id = $1 and revoked_at is null",
                id.0,
                now
            )
            .execute(&mut *transaction)
            .await?;
            sqlx::query!("delete from membership where user_id = $1 and source = 'scim'", id.0)
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await?;
            Ok(before)
        })
        .await
    }
}

async fn one(
    connection: &mut PgConnection,
    id: UserId,
) -> Result<Written<Provisioned>, StoreError> {
    let wanted = Wanted { id: Some(id.0), count: 1, ..Wanted::default() };
    let found = load(connection, &wanted).await?.pop();
    Ok(found.map_or(Written::Absent, Written::Done))
}

async fn load(
    connection: &mut PgConnection,
    wanted: &Wanted,
) -> Result<Vec<Provisioned>, StoreError> {
    let rows = sqlx::query!(
        r#"select u.id, u.external_id, u.email, u.name, u.active, u.created_at, u.updated_at,
                  coalesce(array_agg(g.id order by g.name) filter (where g.id is not null), '{}')
                      as "group_ids!",
                  coalesce(array_agg(g.name order by g.name) filter (where g.id is not null), '{}')
                      as "group_names!"
             from gateway_user u
             left join membership m on m.user_id = u.id
             left join gateway_group g on g.id = m.group_id
            where ($1::uuid is null or u.id = $1) and ($2::text is null or u.email = $2)
              and ($3::text is null or u.external_id = $3) and (u.active or u.removed_at is null)
            group by u.id order by u.email offset $4 limit $5"#,
        wanted.id,
        wanted.name,
        wanted.external_id,
        i64::from(wanted.skip),
        i64::from(wanted.count)
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Provisioned {
            id: UserId(row.id),
            external_id: row.external_id,
            email: row.email,
            name: row.name,
            active: row.active,
            groups: row.group_ids.into_iter().zip(row.group_names).collect(),
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
        .collect())
}
