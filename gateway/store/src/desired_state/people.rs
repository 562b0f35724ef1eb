//! Groups, people and who is in which group.

use std::collections::{HashMap, HashSet};

use gateway_core::caller::{Role, User};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Change, ChangeKind, DesiredGroup, DesiredUser, Diff, Noun, whole};
use crate::error::StoreError;

pub(super) async fn groups(
    connection: &mut PgConnection,
    desired: &[DesiredGroup],
    prune: bool,
) -> Result<Vec<Change>, StoreError> {
    let known = group_ids(&mut *connection).await?;
    let mut changes = Vec::new();
    for group in desired {
        let (kind, id) = match known.get(&group.name) {
            Some(id) => {
                sqlx::query!(
                    "update gateway_group set source = 'apply' where id = $1 and source = 'api'",
                    id
                )
                .execute(&mut *connection)
                .await?;
                (ChangeKind::Unchanged, *id)
            }
            None => {
                let id = sqlx::query_scalar!(
                    "insert into gateway_group (name) values ($1) returning id",
                    group.name
                )
                .fetch_one(&mut *connection)
                .await?;
                (ChangeKind::Created, id)
            }
        };
        changes.push(whole(kind, Noun::Group, &group.name, id));
    }
    if prune {
        let names: Vec<String> = desired.iter().map(|group| group.name.clone()).collect();
        let gone = sqlx::query!(
            "delete from gateway_group where source = 'apply' and name <> all($1)
             returning id, name",
            &names
        )
        .fetch_all(connection)
        .await?;
        changes.extend(
            gone.iter().map(|row| whole(ChangeKind::Deleted, Noun::Group, &row.name, row.id)),
        );
    }
    Ok(changes)
}

pub(super) async fn users(
    connection: &mut PgConnection,
    desired: &[DesiredUser],
    prune: bool,
) -> Result<Vec<Change>, StoreError> {
    let groups = group_ids(&mut *connection).await?;
    let known: HashMap<String, User> = crate::user::load(&mut *connection, None)
        .await?
        .into_iter()
        .map(|user| (user.email.clone(), user))
        .collect();
    let mut changes = Vec::new();
    for user in desired {
        let user = normalised(user);
        let memberships = memberships(&user, &groups)?;
        let change = match known.get(&user.email) {
            Some(before) => update(&mut *connection, before, &user).await?,
            None => create(&mut *connection, &user).await?,
        };
        set_memberships(&mut *connection, change.id, &memberships).await?;
        changes.push(change);
    }
    if prune {
        let emails: Vec<String> = desired.iter().map(|user| user.email.to_lowercase()).collect();
        let gone = sqlx::query!(
            "delete from gateway_user where source = 'apply' and email <> all($1)
             returning id, email",
            &emails
        )
        .fetch_all(connection)
        .await?;
        changes.extend(
            gone.iter().map(|row| whole(ChangeKind::Deleted, Noun::User, &row.email, row.id)),
        );
    }
    Ok(changes)
}

async fn group_ids(connection: &mut PgConnection) -> Result<HashMap<String, Uuid>, StoreError> {
    let rows = sqlx::query!("select name, id from gateway_group").fetch_all(connection).await?;
    Ok(rows.into_iter().map(|row| (row.name, row.id)).collect())
}

fn normalised(user: &DesiredUser) -> DesiredUser {
    let mut user = DesiredUser { email: user.email.to_lowercase(), ..user.clone() };
    user.roles.sort_unstable();
    user.roles.dedup();
    user.groups.sort_unstable();
    user.groups.dedup();
    user
}

fn memberships(
    user: &DesiredUser,
    groups: &HashMap<String, Uuid>,
) -> Result<Vec<Uuid>, StoreError> {
    user.groups
        .iter()
        .map(|name| {
            groups.get(name).copied().ok_or_else(|| {
                StoreError::Invalid(format!(
                    "user \"{}\": groups: there is no group \"{name}\"",
                    user.email
                ))
            })
        })
        .collect()
}

async fn update(
    connection: &mut PgConnection,
    before: &User,
    user: &DesiredUser,
) -> Result<Change, StoreError> {
    let mut diff = Diff::default();
    diff.field("name", &before.name, &user.name);
    diff.field("roles", role_names(&before.roles).join(", "), role_names(&user.roles).join(", "));
    let given = sqlx::query_scalar!(
        "select g.name from membership m join gateway_group g on g.id = m.group_id
          where m.user_id = $1 and m.source <> 'sign_in' order by g.name",
        before.id.0
    )
    .fetch_all(&mut *connection)
    .await?;
    diff.field("groups", given.join(", "), user.groups.join(", "));
    diff.field("active", before.active.to_string(), user.active.to_string());
    let given = given_attributes(&mut *connection, before).await?;
    let attributes = match &user.attributes {
        Some(attributes) => {
            let attributes = crate::people::json(attributes)?;
            diff.field("attributes", given, attributes.as_str());
            Some(attributes)
        }
        None => None,
    };
    sqlx::query!(
        "update gateway_user
            set name = $2, roles = $3, active = $4, source = 'apply', updated_at = now(),
                given_attributes = coalesce($5, given_attributes)
          where id = $1 and (name, roles, active, source, given_attributes) is distinct from
                            ($2, $3, $4, 'apply', coalesce($5, given_attributes))",
        before.id.0,
        user.name,
        &role_names(&user.roles),
        user.active,
        attributes
    )
    .execute(connection)
    .await?;
    Ok(diff.into_change(Noun::User, &user.email, before.id.0))
}

/// What was given here, in the one spelling that is written.
async fn given_attributes(
    connection: &mut PgConnection,
    user: &User,
) -> Result<String, StoreError> {
    let given =
        sqlx::query_scalar!("select given_attributes from gateway_user where id = $1", user.id.0)
            .fetch_one(connection)
            .await?;
    crate::people::json(&crate::user::attributes(&user.email, "{}", &given))
}

async fn create(connection: &mut PgConnection, user: &DesiredUser) -> Result<Change, StoreError> {
    let attributes = crate::people::json(&user.attributes.clone().unwrap_or_default())?;
    let id = sqlx::query_scalar!(
        "insert into gateway_user (email, name, roles, active, given_attributes)
         values ($1, $2, $3, $4, $5) returning id",
        user.email,
        user.name,
        &role_names(&user.roles),
        user.active,
        attributes
    )
    .fetch_one(connection)
    .await?;
    Ok(whole(ChangeKind::Created, Noun::User, &user.email, id))
}

async fn set_memberships(
    connection: &mut PgConnection,
    user: Uuid,
    groups: &[Uuid],
) -> Result<(), StoreError> {
    let present: HashSet<Uuid> = sqlx::query_scalar!(
        "select group_id from membership where user_id = $1 and source <> 'sign_in'",
        user
    )
    .fetch_all(&mut *connection)
    .await?
    .into_iter()
    .collect();
    if present == groups.iter().copied().collect() {
        return Ok(());
    }
    // What the person's identity provider says of them stays, and follows it alone.
    sqlx::query!(
        "delete from membership
          where user_id = $1 and source <> 'sign_in' and group_id <> all($2)",
        user,
        groups
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "insert into membership (user_id, group_id) select $1, unnest($2::uuid[])
         on conflict (group_id, user_id) do update set source = 'apply'",
        user,
        groups
    )
    .execute(connection)
    .await?;
    Ok(())
}

fn role_names(roles: &[Role]) -> Vec<String> {
    roles.iter().map(|role| role.as_str().to_owned()).collect()
}
