//! Servers made and changed one by one. Whether the values make sense was checked before they came here.

use gateway_core::ids::{PolicyId, ServerId, Slug, UserId};
use gateway_core::label::Label;
use gateway_core::server::{Endpoint, Server, ServerStatus, UpstreamAuth};
use sqlx::PgConnection;

use super::{StoredAuth, label_names};
use crate::error::StoreError;
use crate::pool::Store;

/// What changes in a server; `None` leaves it as it is.
#[derive(Debug, Clone, Default)]
pub struct ServerPatch {
    /// Its name in URLs and policies.
    pub slug: Option<Slug>,
    /// Shown to people.
    pub title: Option<String>,
    /// Shown to people.
    pub description: Option<String>,
    /// Where it is. Another address: what the old one told is forgotten.
    pub url: Option<String>,
    /// How the gateway signs in there.
    pub auth: Option<UpstreamAuth>,
    /// Whether calls may go there.
    pub status: Option<ServerStatus>,
    /// The empty text takes it away.
    pub icon: Option<String>,
    /// The empty text takes it away.
    pub catalog_entry: Option<String>,
    /// Whether what calls say and give is withheld from most readers.
    pub sensitive: Option<bool>,
    /// What flows to and from it, all of them; sorted, each once.
    pub labels: Option<Vec<Label>>,
    /// Those who administer it, all of them.
    pub admins: Option<Vec<UserId>>,
}

/// A policy as it is, and as it reads once the server that it names is called otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenamedPolicy {
    /// Which.
    pub id: PolicyId,
    /// The specification now, JSON text.
    pub before: String,
    /// The specification then.
    pub after: String,
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerChange {
    /// It is made.
    Made,
    /// There is no such server.
    Absent,
    /// Another server has that slug.
    SlugTaken,
    /// Policies that name the old slug were changed or made meanwhile.
    PoliciesMoved,
}

impl Store {
    /// Makes a server with an address; what it told is not stored.
    pub async fn create_server(&self, server: &Server) -> Result<ServerChange, StoreError> {
        let Endpoint::Http(url) = &server.endpoint else {
            return Err(StoreError::Invalid(format!("server \"{}\" needs a url", server.slug)));
        };
        let auth = StoredAuth::from(&server.auth).to_json()?;
        self.within("create a server", async {
            let mut transaction = self.change().await?;
            if slug_taken(&mut transaction, &server.slug, server.id).await? {
                return Ok(ServerChange::SlugTaken);
            }
            sqlx::query!(
                "insert into server (id, slug, title, description, url, auth, status, icon,
                                     catalog_entry, sensitive, labels, source)
                 values ($1, $2, $3, $4, $5, $6::text::jsonb, $7, $8, $9, $10, $11, 'api')",
                server.id.0,
                server.slug.as_str(),
                server.title,
                server.description,
                url,
                auth,
                server.status.as_str(),
                server.icon,
                server.catalog_entry,
                server.sensitive,
                &label_names(&server.labels)
            )
            .execute(&mut *transaction)
            .await?;
            set_admins(&mut transaction, server.id, &server.admins).await?;
            transaction.commit().await?;
            Ok(ServerChange::Made)
        })
        .await
    }

    /// Changes a server; with its slug, the policies that name it, all or nothing. `actor` stands in their
    /// versions.
    pub async fn update_server(
        &self,
        id: ServerId,
        patch: &ServerPatch,
        (policies, actor): (&[RenamedPolicy], Option<UserId>),
    ) -> Result<ServerChange, StoreError> {
        let auth = patch.auth.as_ref().map(|auth| StoredAuth::from(auth).to_json()).transpose()?;
        self.within("update a server", async {
            let mut transaction = self.change().await?;
            let before = sqlx::query!("select slug, url from server where id = $1", id.0)
                .fetch_optional(&mut *transaction)
                .await?;
            let Some(before) = before else { return Ok(ServerChange::Absent) };
            if before.url.is_none() && (patch.url.is_some() || patch.auth.is_some()) {
                let wrong = format!("server \"{}\" lives in the gateway: no url", before.slug);
                return Err(StoreError::Invalid(wrong));
            }
            if let Some(slug) = patch.slug.as_ref().filter(|slug| slug.as_str() != before.slug) {
                if slug_taken(&mut transaction, slug, id).await? {
                    return Ok(ServerChange::SlugTaken);
                }
                crate::policy::act_as(&mut transaction, actor).await?;
                if !rename_in_policies(&mut transaction, &before.slug, policies).await? {
                    return Ok(ServerChange::PoliciesMoved);
                }
            }
            write(&mut transaction, id, patch, auth.as_deref()).await?;
            if let Some(admins) = &patch.admins {
                set_admins(&mut transaction, id, admins).await?;
            }
            if patch.url.is_some() && patch.url != before.url {
                forget_what_was_learned(&mut transaction, id).await?;
            }
            crate::server_health::forget_unwatched(&mut transaction).await?;
            transaction.commit().await?;
            Ok(ServerChange::Made)
        })
        .await
    }
}

async fn write(
    connection: &mut PgConnection,
    id: ServerId,
    patch: &ServerPatch,
    auth: Option<&str>,
) -> Result<(), StoreError> {
    let labels = patch.labels.as_deref().map(label_names);
    sqlx::query!(
        "update server
            set slug = coalesce($2, slug), title = coalesce($3, title),
                description = coalesce($4, description), url = coalesce($5, url),
                auth = coalesce($6::text::jsonb, auth), status = coalesce($7, status),
                icon = nullif(coalesce($8, icon), ''),
                catalog_entry = nullif(coalesce($9, catalog_entry), ''),
                sensitive = coalesce($10, sensitive), labels = coalesce($11, labels),
                updated_at = now()
          where id = $1",
        id.0,
        patch.slug.as_ref().map(Slug::as_str),
        patch.title,
        patch.description,
        patch.url,
        auth,
        patch.status.map(ServerStatus::as_str),
        patch.icon,
        patch.catalog_entry,
        patch.sensitive,
        labels.as_deref()
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn slug_taken(
    connection: &mut PgConnection,
    slug: &Slug,
    but: ServerId,
) -> Result<bool, StoreError> {
    let taken = sqlx::query_scalar!(
        r#"select exists (select 1 from server where slug = $1 and id <> $2) as "taken!""#,
        slug.as_str(),
        but.0
    );
    Ok(taken.fetch_one(connection).await?)
}

/// False when a policy is not any more what the caller knew, or one names the slug that the caller did not.
async fn rename_in_policies(
    connection: &mut PgConnection,
    slug: &str,
    policies: &[RenamedPolicy],
) -> Result<bool, StoreError> {
    for policy in policies {
        let done = sqlx::query!(
            "update policy set spec = $3, updated_at = now() where id = $1 and spec = $2",
            policy.id.0,
            policy.before,
            policy.after
        )
        .execute(&mut *connection)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
    }
    let named = sqlx::query_scalar!(
        r#"select exists (select 1 from policy where spec::jsonb ->> 'server' = $1) as "named!""#,
        slug
    );
    Ok(!named.fetch_one(connection).await?)
}

/// Makes these the admins, all of them; whoever is gone meanwhile is left out.
pub(crate) async fn set_admins(
    connection: &mut PgConnection,
    server: ServerId,
    admins: &[UserId],
) -> Result<(), StoreError> {
    let admins: Vec<uuid::Uuid> = admins.iter().map(|id| id.0).collect();
    sqlx::query!(
        "delete from server_admin where server_id = $1 and user_id <> all($2)",
        server.0,
        &admins
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "insert into server_admin (server_id, user_id)
         select $1, id from gateway_user where id = any($2) on conflict do nothing",
        server.0,
        &admins
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Another address may be another server: what the old one told counts no more.
pub(crate) async fn forget_what_was_learned(
    connection: &mut PgConnection,
    server: ServerId,
) -> Result<(), StoreError> {
    sqlx::query!("update server set legacy = null, modern = null where id = $1", server.0)
        .execute(&mut *connection)
        .await?;
    sqlx::query!("delete from tool where server_id = $1", server.0)
        .execute(&mut *connection)
        .await?;
    sqlx::query!("delete from server_health where server_id = $1", server.0)
        .execute(connection)
        .await?;
    Ok(())
}
