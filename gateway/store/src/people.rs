//! People as administrators list and change them. Who may do so to whom was decided before; that it still holds
//! when the change is made, and that somebody is left who may do everything, is made sure here.

use gateway_core::Timestamp;
use gateway_core::caller::{Attributes, PrincipalKind, Role, User};
use gateway_core::ids::UserId;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::StoreError;
use crate::pool::Store;
use crate::user::{attributes, known_roles};

/// Who else says what a person or a group is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeptBy {
    /// Nobody: made and changed here.
    Gateway,
    /// `gateway apply`, which sets it back.
    DesiredState,
    /// Sign-ins at an identity provider.
    IdentityProvider,
    /// A provisioning system.
    Scim,
}

impl KeptBy {
    pub(crate) fn of(source: &str, external_id: Option<&str>) -> KeptBy {
        match source {
            "scim" => KeptBy::Scim,
            _ if external_id.is_some() => KeptBy::Scim,
            "apply" => KeptBy::DesiredState,
            "sign_in" => KeptBy::IdentityProvider,
            _ => KeptBy::Gateway,
        }
    }

    /// The name in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            KeptBy::Gateway => "gateway",
            KeptBy::DesiredState => "desired_state",
            KeptBy::IdentityProvider => "identity_provider",
            KeptBy::Scim => "scim",
        }
    }
}

/// A person, with what only administrators look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// As the catalogue has them.
    pub user: User,
    /// Attributes that were given here; `user.attributes` has them, too.
    pub given: Attributes,
    /// Who else says what they are.
    pub kept_by: KeptBy,
    /// When they were made.
    pub created_at: Timestamp,
    /// When they were changed last.
    pub updated_at: Timestamp,
}

/// Which people to list; `None`: all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeopleFilter {
    /// Part of address or name, in any case.
    pub query: Option<String>,
    /// Who holds this role.
    pub role: Option<Role>,
    /// Who is in the group of this name.
    pub group: Option<String>,
    /// Who is active, or who is not.
    pub active: Option<bool>,
}

/// A new person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewUser {
    /// Their id.
    pub id: UserId,
    /// Address, lower case.
    pub email: String,
    /// Display name.
    pub name: String,
    /// Platform roles.
    pub roles: Vec<Role>,
    /// Names of groups, which must exist and not be SCIM's.
    pub groups: Vec<String>,
    /// Attributes.
    pub given: Attributes,
    /// When.
    pub now: Timestamp,
}

/// What becomes of a person; `None`: as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserEdit {
    /// Display name.
    pub name: Option<String>,
    /// Exactly these roles.
    pub roles: Option<Vec<Role>>,
    /// Access or none; none ends every session at once.
    pub active: Option<bool>,
    /// Exactly these attributes, as given here.
    pub given: Option<Attributes>,
}

/// What a decision was made with: the change is made only while it is still so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The person's roles.
    pub roles: Vec<Role>,
    /// Whether the person was active.
    pub active: bool,
    /// Who changes them, and with which roles; `None`: the operator.
    pub by: Option<(UserId, Vec<Role>)>,
}

/// What came of a change by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edited {
    /// It is made.
    Done,
    /// What it rests on changed meanwhile, or a name is taken.
    Conflict,
    /// There is no such person or group, or one that is named with it.
    Absent,
    /// Nobody would be left who may do everything.
    LastSuperAdmin,
    /// SCIM keeps it.
    Foreign,
}

impl Store {
    /// People by address, from after `after` on.
    pub async fn people(
        &self,
        filter: &PeopleFilter,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Person>, StoreError> {
        self.within("read people", async {
            load(&mut *self.pool().acquire().await?, None, filter, after, limit).await
        })
        .await
    }

    /// One person.
    pub async fn person(&self, id: UserId) -> Result<Option<Person>, StoreError> {
        self.within("read a person", async {
            let mut connection = self.pool().acquire().await?;
            Ok(load(&mut connection, Some(id), &PeopleFilter::default(), None, 1).await?.pop())
        })
        .await
    }

    /// When the trail last saw the person do something.
    pub async fn last_seen(&self, id: UserId) -> Result<Option<Timestamp>, StoreError> {
        self.within("read when a person was last seen", async {
            Ok(sqlx::query_scalar!(
                "select ts from audit_event where actor_id = $1 order by ts desc limit 1",
                id.0
            )
            .fetch_optional(self.pool())
            .await?)
        })
        .await
    }

    /// Makes a person. [`Edited::Conflict`]: the address is somebody's.
    pub async fn create_user(
        &self,
        new: &NewUser,
        by: Option<(UserId, Vec<Role>)>,
    ) -> Result<Edited, StoreError> {
        self.within("create a user", async {
            let mut transaction = self.change().await?;
            if !still(&mut transaction, by.as_ref()).await? {
                return Ok(Edited::Conflict);
            }
            let made = sqlx::query!(
                "insert into gateway_user
                     (id, email, name, roles, source, given_attributes, created_at, updated_at)
                 values ($1, $2, $3, $4, 'api', $5, $6, $6) on conflict do nothing",
                new.id.0,
                new.email,
                new.name,
                &names(&new.roles),
                json(&new.given)?,
                new.now
            )
            .execute(&mut *transaction)
            .await?;
            if made.rows_affected() == 0 {
                return Ok(Edited::Conflict);
            }
            let joined = sqlx::query!(
                "insert into membership (group_id, user_id, source)
                 select id, $1, 'api' from gateway_group
                  where name = any($2) and source <> 'scim' and external_id is null",
                new.id.0,
                &new.groups
            )
            .execute(&mut *transaction)
            .await?;
            if joined.rows_affected() != new.groups.len() as u64 {
                return Ok(Edited::Absent);
            }
            transaction.commit().await?;
            Ok(Edited::Done)
        })
        .await
    }

    /// Changes a person, if everything is as `seen` says.
    pub async fn edit_user(
        &self,
        id: UserId,
        edit: &UserEdit,
        seen: &Seen,
        now: Timestamp,
    ) -> Result<Edited, StoreError> {
        self.within("change a user", async {
            // Holds off every other change of the catalogue: two administrators cannot end each other.
            let mut transaction = self.change().await?;
            if !still(&mut transaction, seen.by.as_ref()).await? {
                return Ok(Edited::Conflict);
            }
            let found = load(&mut transaction, Some(id), &PeopleFilter::default(), None, 1).await?;
            let Some(before) = found.into_iter().next().map(|person| person.user) else {
                return Ok(Edited::Absent);
            };
            if before.roles != seen.roles || before.active != seen.active {
                return Ok(Edited::Conflict);
            }
            let was = before.active && before.roles.contains(&Role::SuperAdmin);
            let roles = edit.roles.as_ref().unwrap_or(&before.roles);
            let is = edit.active.unwrap_or(before.active) && roles.contains(&Role::SuperAdmin);
            if was && !is && !another_super_admin(&mut transaction, id).await? {
                return Ok(Edited::LastSuperAdmin);
            }
            write(&mut transaction, id, edit, now).await?;
            transaction.commit().await?;
            Ok(Edited::Done)
        })
        .await
    }
}

/// Whether whoever makes the change is still who they were when it was decided.
pub(crate) async fn still(
    connection: &mut PgConnection,
    by: Option<&(UserId, Vec<Role>)>,
) -> Result<bool, StoreError> {
    let Some((id, roles)) = by else { return Ok(true) };
    let now = sqlx::query!("select email, roles from gateway_user where id = $1 and active", id.0)
        .fetch_optional(connection)
        .await?;
    Ok(now.is_some_and(|row| known_roles(&row.email, &row.roles) == *roles))
}

async fn another_super_admin(
    connection: &mut PgConnection,
    than: UserId,
) -> Result<bool, StoreError> {
    Ok(sqlx::query_scalar!(
        r#"select exists (select from gateway_user
             where active and $1 = any(roles) and id <> $2) as "there!""#,
        Role::SuperAdmin.as_str(),
        than.0
    )
    .fetch_one(connection)
    .await?)
}

async fn write(
    connection: &mut PgConnection,
    id: UserId,
    edit: &UserEdit,
    now: Timestamp,
) -> Result<(), StoreError> {
    let roles = edit.roles.as_deref().map(names);
    sqlx::query!(
        "update gateway_user
            set name = coalesce($2, name), roles = coalesce($3, roles), active = coalesce($4, active),
                given_attributes = coalesce($5, given_attributes), updated_at = $6
          where id = $1",
        id.0,
        edit.name,
        roles.as_deref(),
        edit.active,
        edit.given.as_ref().map(json).transpose()?,
        now
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn load(
    connection: &mut PgConnection,
    id: Option<UserId>,
    filter: &PeopleFilter,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<Person>, StoreError> {
    let rows = sqlx::query!(
        r#"select u.id, u.email, u.name, u.roles, u.active, u.attributes, u.given_attributes,
                  u.source, u.external_id, u.created_at, u.updated_at,
                  array(select g.name from membership m join gateway_group g on g.id = m.group_id
                         where m.user_id = u.id order by g.name) as "groups!"
             from gateway_user u
            where ($1::uuid is null or u.id = $1)
              and ($2::text is null or strpos(u.email, lower($2)) > 0 or strpos(lower(u.name), lower($2)) > 0)
              and ($3::text is null or $3 = any(u.roles))
              and ($4::text is null or exists (select from membership m
                    join gateway_group g on g.id = m.group_id where m.user_id = u.id and g.name = $4))
              and ($5::boolean is null or u.active = $5)
              and ($6::text is null or u.email > $6)
            order by u.email limit $7"#,
        id.map(|id| id.0),
        filter.query,
        filter.role.map(Role::as_str),
        filter.group,
        filter.active,
        after,
        i64::from(limit)
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Person {
            given: attributes(&row.email, "{}", &row.given_attributes),
            kept_by: KeptBy::of(&row.source, row.external_id.as_deref()),
            created_at: row.created_at,
            updated_at: row.updated_at,
            user: User {
                kind: PrincipalKind::Person,
                id: UserId(row.id),
                roles: known_roles(&row.email, &row.roles),
                attributes: attributes(&row.email, &row.attributes, &row.given_attributes),
                email: row.email,
                name: row.name,
                groups: row.groups,
                active: row.active,
            },
        })
        .collect())
}

fn names(roles: &[Role]) -> Vec<String> {
    roles.iter().map(|role| role.as_str().to_owned()).collect()
}

pub(crate) fn json(given: &Attributes) -> Result<String, StoreError> {
    serde_json::to_string(given)
        .map_err(|error| StoreError::Invalid(format!("attributes cannot be written: {error}")))
}

/// Ids of people as the database takes them.
pub(crate) fn ids(people: &[UserId]) -> Vec<Uuid> {
    people.iter().map(|user| user.0).collect()
}
