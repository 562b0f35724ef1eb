//! People, their groups and roles, as the catalogue holds them. Written by [`crate::desired_state`].

use gateway_core::caller::{PrincipalKind, Role, User};
use gateway_core::ids::UserId;
use sqlx::PgConnection;

use crate::error::StoreError;
use crate::pool::Store;

impl Store {
    /// Everybody, by e-mail.
    pub async fn users(&self) -> Result<Vec<User>, StoreError> {
        self.within("read users", async { load(&mut *self.pool().acquire().await?, None).await })
            .await
    }

    /// The person with that e-mail address, in any spelling of its case.
    pub async fn user_by_email(&self, email: &str) -> Result<Option<User>, StoreError> {
        let email = email.to_lowercase();
        self.within("read a user", async {
            Ok(load(&mut *self.pool().acquire().await?, Some(&email)).await?.pop())
        })
        .await
    }
}

pub(crate) async fn load(
    connection: &mut PgConnection,
    email: Option<&str>,
) -> Result<Vec<User>, StoreError> {
    let rows = sqlx::query!(
        r#"select u.id, u.email, u.name, u.roles, u.active,
                  coalesce(array_agg(g.name order by g.name) filter (where g.name is not null), '{}')
                      as "groups!"
             from gateway_user u
             left join membership m on m.user_id = u.id
             left join gateway_group g on g.id = m.group_id
            where $1::text is null or u.email = $1
            group by u.id
            order by u.email"#,
        email
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| User {
            kind: PrincipalKind::Person,
            id: UserId(row.id),
            roles: known_roles(&row.email, &row.roles),
            email: row.email,
            name: row.name,
            groups: row.groups,
            active: row.active,
        })
        .collect())
}

/// A role that only a newer version knows gives nothing here.
pub(crate) fn known_roles(email: &str, names: &[String]) -> Vec<Role> {
    let mut roles: Vec<Role> = Vec::with_capacity(names.len());
    for name in names {
        match Role::parse(name) {
            Some(role) => roles.push(role),
            None => tracing::warn!(email, role = %name, "unknown role ignored"),
        }
    }
    roles.sort_unstable();
    roles.dedup();
    roles
}
