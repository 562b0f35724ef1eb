//! Who a person is at an identity provider, and what their provider says of them: found by issuer and subject, else
//! by an address that the provider vouches for, else made. All of a sign-in in one transaction.

use gateway_core::Timestamp;
use gateway_core::ids::UserId;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::StoreError;
use crate::pool::Store;

/// Somebody whom a provider has identified.
#[derive(Debug, Clone)]
pub struct Identified<'a> {
    /// The provider's `iss`.
    pub issuer: &'a str,
    /// Its `sub`.
    pub subject: &'a str,
    /// Their address, lower-case, if the provider vouches for it.
    pub email: Option<&'a str>,
    /// How the provider calls them; empty if it does not say.
    pub name: &'a str,
    /// The groups that it names; `None`: it says nothing of groups.
    pub groups: Option<&'a [String]>,
    /// A JSON object of texts and lists of texts.
    pub attributes: &'a str,
    /// Makes a person of whoever is not known.
    pub create: bool,
    /// The present.
    pub now: Timestamp,
}

/// Who that is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admitted {
    /// Somebody who has signed in with that provider before.
    Known(UserId),
    /// Somebody who was here before, and is now linked.
    Linked(UserId),
    /// Somebody new.
    Created(UserId),
    /// Nobody.
    Nobody,
    /// The address belongs to somebody whom the provider knows by another subject.
    OtherSubject(UserId),
    /// Somebody who is deactivated.
    Inactive(UserId),
}

impl Store {
    /// The person who has signed in as that subject of that issuer.
    pub async fn linked_user(
        &self,
        issuer: &str,
        subject: &str,
    ) -> Result<Option<UserId>, StoreError> {
        self.promptly("find the person behind a subject", async {
            let found = sqlx::query_scalar!(
                "select user_id from identity_link where issuer = $1 and subject = $2",
                issuer,
                subject
            )
            .fetch_optional(self.pool())
            .await?;
            Ok(found.map(UserId))
        })
        .await
    }

    /// Finds, links or makes the person, and takes over what the provider says of them. Memberships that a
    /// sign-in gave follow the provider; those from elsewhere, and groups that SCIM keeps, stay as they are.
    pub async fn admit(&self, who: &Identified<'_>) -> Result<Admitted, StoreError> {
        self.within("find the person behind a sign-in", async {
            let mut transaction = self.change().await?;
            let admitted = find(&mut transaction, who).await?;
            if let Admitted::Known(id) | Admitted::Linked(id) | Admitted::Created(id) = admitted {
                update(&mut transaction, id, who).await?;
                if let Some(groups) = who.groups {
                    follow_groups(&mut transaction, id, groups).await?;
                }
            }
            transaction.commit().await?;
            Ok(admitted)
        })
        .await
    }
}

async fn find(connection: &mut PgConnection, who: &Identified<'_>) -> Result<Admitted, StoreError> {
    let linked = sqlx::query!(
        "select u.id, u.active from identity_link l join gateway_user u on u.id = l.user_id
          where l.issuer = $1 and l.subject = $2",
        who.issuer,
        who.subject
    )
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(person) = linked {
        let id = UserId(person.id);
        return Ok(if person.active { Admitted::Known(id) } else { Admitted::Inactive(id) });
    }
    let Some(email) = who.email else { return Ok(Admitted::Nobody) };
    let by_email = sqlx::query!(
        r#"select id, active,
                  exists (select 1 from identity_link l where l.user_id = u.id and l.issuer = $2) as "other!"
             from gateway_user u where email = $1"#,
        email,
        who.issuer
    )
    .fetch_optional(&mut *connection)
    .await?;
    let admitted = match by_email {
        Some(person) if person.other => return Ok(Admitted::OtherSubject(UserId(person.id))),
        Some(person) if !person.active => return Ok(Admitted::Inactive(UserId(person.id))),
        Some(person) => Admitted::Linked(UserId(person.id)),
        None if who.create => Admitted::Created(create(&mut *connection, email, who.name).await?),
        None => return Ok(Admitted::Nobody),
    };
    if let Admitted::Linked(id) | Admitted::Created(id) = admitted {
        sqlx::query!(
            "insert into identity_link (issuer, subject, user_id, linked_at) values ($1, $2, $3, $4)",
            who.issuer,
            who.subject,
            id.0,
            who.now
        )
        .execute(connection)
        .await?;
    }
    Ok(admitted)
}

async fn create(
    connection: &mut PgConnection,
    email: &str,
    name: &str,
) -> Result<UserId, StoreError> {
    let id = sqlx::query_scalar!(
        "insert into gateway_user (email, name, roles, source) values ($1, $2, '{}', 'sign_in')
         returning id",
        email,
        if name.is_empty() { email } else { name }
    )
    .fetch_one(connection)
    .await?;
    Ok(UserId(id))
}

/// The name is the provider's only where a sign-in made the person; who made them otherwise named them too.
async fn update(
    connection: &mut PgConnection,
    id: UserId,
    who: &Identified<'_>,
) -> Result<(), StoreError> {
    sqlx::query!(
        "update gateway_user
            set name = case when source = 'sign_in' and $2 <> '' then $2 else name end,
                attributes = $3, updated_at = now()
          where id = $1 and (attributes <> $3 or (source = 'sign_in' and $2 <> '' and name <> $2))",
        id.0,
        who.name,
        who.attributes
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn follow_groups(
    connection: &mut PgConnection,
    id: UserId,
    names: &[String],
) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into gateway_group (name, source) select unnest($1::text[]), 'sign_in'
         on conflict (name) do nothing",
        names
    )
    .execute(&mut *connection)
    .await?;
    let groups: Vec<Uuid> = sqlx::query_scalar!(
        "select id from gateway_group where name = any($1) and source <> 'scim'",
        names
    )
    .fetch_all(&mut *connection)
    .await?;
    sqlx::query!(
        "delete from membership
          where user_id = $1 and source = 'sign_in' and group_id <> all($2)",
        id.0,
        &groups
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "insert into membership (user_id, group_id, source) select $1, unnest($2::uuid[]), 'sign_in'
         on conflict do nothing",
        id.0,
        &groups
    )
    .execute(connection)
    .await?;
    Ok(())
}
