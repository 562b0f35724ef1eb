//! People, their groups and roles, as the catalogue holds them. Written by [`crate::desired_state`].

use gateway_core::caller::{Attributes, PrincipalKind, Role, User};
use gateway_core::ids::UserId;
use serde_json::Value;
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
        r#"select u.id, u.email, u.name, u.roles, u.active, u.attributes, u.given_attributes,
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
            attributes: attributes(&row.email, &row.attributes, &row.given_attributes),
            email: row.email,
            name: row.name,
            groups: row.groups,
            active: row.active,
        })
        .collect())
}

/// What the identity provider says of somebody; what was given here counts before it.
pub(crate) fn attributes(email: &str, claimed: &str, given: &str) -> Attributes {
    let mut known = Attributes::new();
    for text in [claimed, given] {
        match serde_json::from_str::<serde_json::Map<String, Value>>(text) {
            Ok(members) => known.extend(members.into_iter().map(|(n, value)| (n, texts(value)))),
            Err(error) => {
                tracing::warn!(email, %error, "attributes that are no JSON object ignored")
            }
        }
    }
    known.retain(|_, values| !values.is_empty());
    known
}

/// One text or several, sorted; anything else is none.
fn texts(value: Value) -> Vec<String> {
    let list = match value {
        Value::Array(list) => list,
        one @ (Value::String(_)
        | Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::Object(_)) => {
            vec![one]
        }
    };
    let text = |value: Value| match value {
        Value::String(text) => Some(text),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            None
        }
    };
    let mut texts: Vec<String> = list.into_iter().filter_map(text).collect();
    texts.sort_unstable();
    texts.dedup();
    texts
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
