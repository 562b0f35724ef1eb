//! Groups as administrators list and change them. Those that SCIM keeps are changed by SCIM alone, see
//! [`crate::scim`].

use gateway_core::Timestamp;
use gateway_core::caller::Role;
use gateway_core::ids::UserId;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::StoreError;
use crate::people::{Edited, KeptBy, ids, still};
use crate::pool::Store;

/// A group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its id.
    pub id: Uuid,
    /// Its name, which policies use.
    pub name: String,
    /// Who else says what it is.
    pub kept_by: KeptBy,
    /// How many people are in it.
    pub members: i64,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Somebody in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub id: UserId,
    /// Their address.
    pub email: String,
    /// Their name.
    pub name: String,
    /// False once deactivated.
    pub active: bool,
    /// Who put them there.
    pub kept_by: KeptBy,
}

/// What becomes of a group: people leave before others join.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupEdit {
    /// Its name; `None`: as it is.
    pub name: Option<String>,
    /// These leave.
    pub leave: Vec<UserId>,
    /// These join, or stay whatever others say.
    pub join: Vec<UserId>,
}

/// Who changes it, and with which roles; `None`: the operator.
pub type By = Option<(UserId, Vec<Role>)>;

impl Store {
    /// Groups by name, from after `after` on; with `query`: those whose name contains it, in any case.
    pub async fn groups(
        &self,
        query: Option<&str>,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Group>, StoreError> {
        self.within("read groups", async {
            let mut connection = self.pool().acquire().await?;
            load(&mut connection, (None, query, after), limit).await
        })
        .await
    }

    /// The group of that name or id.
    pub async fn group(&self, name_or_id: &str) -> Result<Option<Group>, StoreError> {
        self.within("read a group", async {
            let mut connection = self.pool().acquire().await?;
            Ok(load(&mut connection, (Some(name_or_id), None, None), 1).await?.pop())
        })
        .await
    }

    /// People in a group by address, from after `after` on.
    pub async fn group_members(
        &self,
        id: Uuid,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Member>, StoreError> {
        self.within("read a group's members", async {
            let rows = sqlx::query!(
                "select u.id, u.email, u.name, u.active, m.source
                   from membership m join gateway_user u on u.id = m.user_id
                  where m.group_id = $1 and ($2::text is null or u.email > $2)
                  order by u.email limit $3",
                id,
                after,
                i64::from(limit)
            )
            .fetch_all(self.pool())
            .await?;
            let member = rows.into_iter().map(|row| Member {
                id: UserId(row.id),
                email: row.email,
                name: row.name,
                active: row.active,
                kept_by: KeptBy::of(&row.source, None),
            });
            Ok(member.collect())
        })
        .await
    }

    /// Makes a group. [`Edited::Conflict`]: another one has the name.
    pub async fn create_group(
        &self,
        (id, name): (Uuid, &str),
        members: &[UserId],
        by: &By,
        now: Timestamp,
    ) -> Result<Edited, StoreError> {
        self.within("create a group", async {
            let mut transaction = self.change().await?;
            if !still(&mut transaction, by.as_ref()).await? {
                return Ok(Edited::Conflict);
            }
            let made = sqlx::query!(
                "insert into gateway_group (id, name, source, created_at) values ($1, $2, 'api', $3)
                 on conflict do nothing",
                id,
                name,
                now
            )
            .execute(&mut *transaction)
            .await?;
            if made.rows_affected() == 0 {
                return Ok(Edited::Conflict);
            }
            if !join(&mut transaction, id, members).await? {
                return Ok(Edited::Absent);
            }
            transaction.commit().await?;
            Ok(Edited::Done)
        })
        .await
    }

    /// Changes a group, unless SCIM keeps it.
    pub async fn edit_group(
        &self,
        id: Uuid,
        edit: &GroupEdit,
        by: &By,
    ) -> Result<Edited, StoreError> {
        self.within("change a group", async {
            let mut transaction = self.change().await?;
            let refused = not_ours(&mut transaction, id, by).await?;
            if let Some(refused) = refused {
                return Ok(refused);
            }
            if let Some(name) = &edit.name {
                let renamed = sqlx::query!(
                    "update gateway_group set name = $2
                      where id = $1 and not exists (select from gateway_group where name = $2 and id <> $1)",
                    id,
                    name
                )
                .execute(&mut *transaction)
                .await?;
                if renamed.rows_affected() == 0 {
                    return Ok(Edited::Conflict);
                }
            }
            sqlx::query!(
                "delete from membership where group_id = $1 and user_id = any($2)",
                id,
                &ids(&edit.leave)
            )
            .execute(&mut *transaction)
            .await?;
            if !join(&mut transaction, id, &edit.join).await? {
                return Ok(Edited::Absent);
            }
            transaction.commit().await?;
            Ok(Edited::Done)
        })
        .await
    }

    /// Removes a group, unless SCIM keeps it.
    pub async fn delete_group(&self, id: Uuid, by: &By) -> Result<Edited, StoreError> {
        self.within("delete a group", async {
            let mut transaction = self.change().await?;
            let refused = not_ours(&mut transaction, id, by).await?;
            if let Some(refused) = refused {
                return Ok(refused);
            }
            sqlx::query!("delete from gateway_group where id = $1", id)
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await?;
            Ok(Edited::Done)
        })
        .await
    }
}

/// Why the group is not to be changed by hand, if so.
async fn not_ours(
    connection: &mut PgConnection,
    id: Uuid,
    by: &By,
) -> Result<Option<Edited>, StoreError> {
    if !still(&mut *connection, by.as_ref()).await? {
        return Ok(Some(Edited::Conflict));
    }
    let kept = sqlx::query!("select source, external_id from gateway_group where id = $1", id)
        .fetch_optional(connection)
        .await?;
    Ok(match kept.map(|row| KeptBy::of(&row.source, row.external_id.as_deref())) {
        None => Some(Edited::Absent),
        Some(KeptBy::Scim) => Some(Edited::Foreign),
        Some(KeptBy::Gateway | KeptBy::DesiredState | KeptBy::IdentityProvider) => None,
    })
}

/// False when one of them is nobody.
async fn join(
    connection: &mut PgConnection,
    group: Uuid,
    people: &[UserId],
) -> Result<bool, StoreError> {
    let joined = sqlx::query!(
        "insert into membership (group_id, user_id, source)
         select $1, id, 'api' from gateway_user where id = any($2)
         on conflict (group_id, user_id) do update set source = 'api'",
        group,
        &ids(people)
    )
    .execute(connection)
    .await?;
    Ok(joined.rows_affected() == people.len() as u64)
}

async fn load(
    connection: &mut PgConnection,
    (one, query, after): (Option<&str>, Option<&str>, Option<&str>),
    limit: u32,
) -> Result<Vec<Group>, StoreError> {
    let rows = sqlx::query!(
        r#"select g.id, g.name, g.source, g.external_id, g.created_at,
                  (select count(*) from membership m where m.group_id = g.id) as "members!"
             from gateway_group g
            where ($1::text is null or g.name = $1 or g.id::text = lower($1))
              and ($2::text is null or strpos(lower(g.name), lower($2)) > 0)
              and ($3::text is null or g.name > $3)
            order by g.name is distinct from $1, g.name limit $4"#,
        one,
        query,
        after,
        i64::from(limit)
    )
    .fetch_all(connection)
    .await?;
    let group = rows.into_iter().map(|row| Group {
        id: row.id,
        name: row.name,
        kept_by: KeptBy::of(&row.source, row.external_id.as_deref()),
        members: row.members,
        created_at: row.created_at,
    });
    Ok(group.collect())
}
