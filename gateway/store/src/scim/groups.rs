//! Groups and who is in them.

use gateway_core::Timestamp;
use gateway_core::ids::UserId;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Listed, Wanted, Written, is_taken};
use crate::error::StoreError;
use crate::pool::Store;

/// A group as provisioned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvisionedGroup {
    /// Its id.
    pub id: Uuid,
    /// The provisioning system's own id.
    pub external_id: Option<String>,
    /// Its name, which policies use.
    pub name: String,
    /// Ids and e-mail addresses of its members.
    pub members: Vec<(UserId, String)>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A new group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewGroup {
    /// Its id.
    pub id: Uuid,
    /// The provisioning system's own id.
    pub external_id: Option<String>,
    /// Its name.
    pub name: String,
    /// Its members.
    pub members: Vec<UserId>,
    /// When.
    pub now: Timestamp,
}

/// What becomes of a group, in this order; `None` and empty: as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupChange {
    /// Its name.
    pub name: Option<String>,
    /// The provisioning system's own id; inner `None`: it has none any more.
    pub external_id: Option<Option<String>>,
    /// Exactly these members.
    pub members: Option<Vec<UserId>>,
    /// These leave.
    pub leave: Vec<UserId>,
    /// These join.
    pub join: Vec<UserId>,
}

impl Store {
    /// Groups, by name.
    pub async fn provisioned_groups(
        &self,
        wanted: &Wanted,
    ) -> Result<Listed<ProvisionedGroup>, StoreError> {
        self.within("read provisioned groups", async {
            let mut connection = self.pool().acquire().await?;
            let total = sqlx::query_scalar!(
                r#"select count(*) as "count!" from gateway_group
                    where ($1::uuid is null or id = $1) and ($2::text is null or name = $2)
                      and ($3::text is null or external_id = $3)"#,
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

    /// Makes a group.
    pub async fn provision_group(
        &self,
        new: &NewGroup,
    ) -> Result<Written<ProvisionedGroup>, StoreError> {
        self.within("provision a group", async {
            let mut transaction = self.change().await?;
            let made = sqlx::query!(
                "insert into gateway_group (id, name, source, external_id, created_at)
                 values ($1, $2, 'scim', $3, $4) on conflict do nothing",
                new.id,
                new.name,
                new.external_id,
                new.now
            )
            .execute(&mut *transaction)
            .await?;
            if made.rows_affected() == 0 {
                return Ok(Written::Taken);
            }
            if !join(&mut transaction, new.id, &new.members).await? {
                return Ok(Written::Absent);
            }
            let written = one(&mut transaction, new.id).await?;
            transaction.commit().await?;
            Ok(written)
        })
        .await
    }

    /// Changes a group.
    pub async fn change_provisioned_group(
        &self,
        id: Uuid,
        change: &GroupChange,
    ) -> Result<Written<ProvisionedGroup>, StoreError> {
        self.within("change a provisioned group", async {
            let mut transaction = self.change().await?;
            let changed = sqlx::query!(
                "update gateway_group set name = coalesce($2, name),
                        external_id = case when $3 then $4 else external_id end
                  where id = $1",
                id,
                change.name,
                change.external_id.is_some(),
                change.external_id.clone().flatten()
            )
            .execute(&mut *transaction)
            .await;
            match changed {
                Ok(_) => {}
                Err(error) if is_taken(&error) => return Ok(Written::Taken),
                Err(error) => return Err(error.into()),
            }
            if let Some(members) = &change.members {
                let stay: Vec<Uuid> = members.iter().map(|user| user.0).collect();
                sqlx::query!(
                    "delete from membership where group_id = $1 and user_id <> all($2)",
                    id,
                    &stay
                )
                .execute(&mut *transaction)
                .await?;
            }
            let leave: Vec<Uuid> = change.leave.iter().map(|user| user.0).collect();
            sqlx::query!(
                "delete from membership where group_id = $1 and user_id = any($2)",
                id,
                &leave
            )
            .execute(&mut *transaction)
            .await?;
            let joining: Vec<UserId> =
                change.members.iter().flatten().chain(&change.join).copied().collect();
            if !join(&mut transaction, id, &joining).await? {
                return Ok(Written::Absent);
            }
            let written = one(&mut transaction, id).await?;
            transaction.commit().await?;
            Ok(written)
        })
        .await
    }

    /// Removes a group that provisioning made.
    pub async fn unprovision_group(
        &self,
        id: Uuid,
    ) -> Result<Written<ProvisionedGroup>, StoreError> {
        self.within("unprovision a group", async {
            let mut transaction = self.change().await?;
            let before = one(&mut transaction, id).await?;
            let gone = sqlx::query!(
                "delete from gateway_group where id = $1 and source in ('scim', 'sign_in')",
                id
            )
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await?;
            let foreign = matches!(before, Written::Done(_)) && gone.rows_affected() == 0;
            Ok(if foreign { Written::Foreign } else { before })
        })
        .await
    }
}

/// False when one of them is nobody.
async fn join(
    connection: &mut PgConnection,
    group: Uuid,
    members: &[UserId],
) -> Result<bool, StoreError> {
    if members.is_empty() {
        return Ok(true);
    }
    let ids: Vec<Uuid> = members.iter().map(|user| user.0).collect();
    let strangers = sqlx::query_scalar!(
        r#"select count(*) as "count!" from unnest($1::uuid[]) i
            where not exists (select from gateway_user u where u.id = i)"#,
        &ids
    )
    .fetch_one(&mut *connection)
    .await?;
    if strangers > 0 {
        return Ok(false);
    }
    sqlx::query!(
        "insert into membership (group_id, user_id, source)
         select g.id, u.id, 'scim' from gateway_group g, gateway_user u
          where g.id = $1 and u.id = any($2) on conflict do nothing",
        group,
        &ids
    )
    .execute(connection)
    .await?;
    Ok(true)
}

async fn one(
    connection: &mut PgConnection,
    id: Uuid,
) -> Result<Written<ProvisionedGroup>, StoreError> {
    let wanted = Wanted { id: Some(id), count: 1, ..Wanted::default() };
    let found = load(connection, &wanted).await?.pop();
    Ok(found.map_or(Written::Absent, Written::Done))
}

async fn load(
    connection: &mut PgConnection,
    wanted: &Wanted,
) -> Result<Vec<ProvisionedGroup>, StoreError> {
    let rows = sqlx::query!(
        r#"select g.id, g.external_id, g.name, g.created_at,
                  coalesce(array_agg(u.id order by u.email) filter (where u.id is not null), '{}')
                      as "user_ids!",
                  coalesce(array_agg(u.email order by u.email) filter (where u.id is not null), '{}')
                      as "user_emails!"
             from gateway_group g
             left join membership m on m.group_id = g.id
             left join gateway_user u on u.id = m.user_id
            where ($1::uuid is null or g.id = $1) and ($2::text is null or g.name = $2)
              and ($3::text is null or g.external_id = $3)
            group by g.id order by g.name offset $4 limit $5"#,
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
        .map(|row| ProvisionedGroup {
            id: row.id,
            external_id: row.external_id,
            name: row.name,
            members: row.user_ids.into_iter().map(UserId).zip(row.user_emails).collect(),
            created_at: row.created_at,
        })
        .collect())
}
