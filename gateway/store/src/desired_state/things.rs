//! Servers and policies.

use std::collections::HashMap;

use gateway_core::ids::{ServerId, UserId};
use gateway_core::server::{Endpoint, Server, ServerStatus, UpstreamAuth};
use sqlx::PgConnection;

use super::{Change, ChangeKind, DesiredPolicy, DesiredServer, Diff, Noun, whole};
use crate::error::StoreError;
use crate::policy::StoredPolicy;
use crate::server::{StoredAuth, forget_what_was_learned, label_names, set_admins};

pub(super) async fn servers(
    connection: &mut PgConnection,
    desired: &[DesiredServer],
    prune: bool,
) -> Result<Vec<Change>, StoreError> {
    let known: HashMap<String, Server> = crate::server::load(&mut *connection)
        .await?
        .into_iter()
        .map(|server| (server.slug.to_string(), server))
        .collect();
    let mut changes = Vec::new();
    for server in desired {
        changes.push(match known.get(server.slug.as_str()) {
            Some(before) => update_server(&mut *connection, before, server).await?,
            None => create_server(&mut *connection, server).await?,
        });
    }
    crate::server_health::forget_unwatched(&mut *connection).await?;
    if prune {
        let slugs: Vec<String> = desired.iter().map(|server| server.slug.to_string()).collect();
        let gone = sqlx::query!(
            "delete from server where source = 'apply' and slug <> all($1) returning id, slug",
            &slugs
        )
        .fetch_all(connection)
        .await?;
        changes.extend(
            gone.iter().map(|row| whole(ChangeKind::Deleted, Noun::Server, &row.slug, row.id)),
        );
    }
    Ok(changes)
}

async fn update_server(
    connection: &mut PgConnection,
    before: &Server,
    server: &DesiredServer,
) -> Result<Change, StoreError> {
    let in_process = before.endpoint == Endpoint::InProcess;
    if in_process != server.url.is_none() {
        let wrong = if in_process { "lives in the gateway and has no url" } else { "needs a url" };
        return Err(StoreError::Invalid(format!("server \"{}\" {wrong}", server.slug)));
    }
    let title = server.title.as_ref().unwrap_or(&before.title);
    let description = server.description.as_ref().unwrap_or(&before.description);
    let status = server.status.unwrap_or(before.status);
    let url = server.url.clone().unwrap_or_default();
    let old_url = match &before.endpoint {
        Endpoint::Http(url) => url.clone(),
        Endpoint::InProcess => String::new(),
    };
    let moved = old_url != url;
    let mut diff = Diff::default();
    diff.field("title", &before.title, title);
    diff.field("description", &before.description, description);
    diff.field("url", old_url, url);
    diff.field("auth", auth_json(&before.auth)?, auth_json(&server.auth)?);
    diff.field("status", before.status.as_str(), status.as_str());
    let icon = server.icon.clone().map_or_else(|| before.icon.clone(), none_if_empty);
    let (old_icon, new_icon) = (before.icon.as_deref(), icon.as_deref());
    diff.shown("icon", (old_icon, new_icon), |icon| shown_icon(icon.unwrap_or_default()));
    let sensitive = server.sensitive.unwrap_or(before.sensitive);
    diff.field("sensitive", before.sensitive.to_string(), sensitive.to_string());
    let labels = label_names(server.labels.as_ref().unwrap_or(&before.labels));
    diff.field("labels", label_names(&before.labels).join(", "), labels.join(", "));
    // The seeded row stays 'seed': pruning must never take it.
    sqlx::query!(
        "update server
            set title = $2, description = $3, url = $4, auth = $5::text::jsonb, status = $6,
                icon = $7, sensitive = $8, labels = $9,
                source = case source when 'seed' then 'seed' else 'apply' end, updated_at = now()
          where id = $1
            and ((title, description, auth, status, sensitive, labels)
                     is distinct from ($2, $3, $5::text::jsonb, $6, $8, $9)
                 or url is distinct from $4 or icon is distinct from $7 or source = 'api')",
        before.id.0,
        title,
        description,
        server.url,
        auth_json(&server.auth)?,
        status.as_str(),
        icon,
        sensitive,
        &labels
    )
    .execute(&mut *connection)
    .await?;
    if let Some(admins) = &server.admins {
        let (was, is) = administered(&mut *connection, before.id, server, admins).await?;
        diff.field("admins", was, is);
    }
    if moved {
        forget_what_was_learned(connection, before.id).await?;
    }
    Ok(diff.into_change(Noun::Server, server.slug.as_str(), before.id.0))
}

async fn create_server(
    connection: &mut PgConnection,
    server: &DesiredServer,
) -> Result<Change, StoreError> {
    let Some(url) = &server.url else {
        return Err(StoreError::Invalid(format!("server \"{}\" needs a url", server.slug)));
    };
    let id = sqlx::query_scalar!(
        "insert into server (slug, title, description, url, auth, status, icon, sensitive, labels)
         values ($1, $2, $3, $4, $5::text::jsonb, $6, $7, $8, $9) returning id",
        server.slug.as_str(),
        server.title.as_deref().unwrap_or(server.slug.as_str()),
        server.description.as_deref().unwrap_or_default(),
        url,
        auth_json(&server.auth)?,
        server.status.unwrap_or(ServerStatus::Active).as_str(),
        server.icon.clone().and_then(none_if_empty),
        server.sensitive.unwrap_or_default(),
        &label_names(server.labels.as_deref().unwrap_or_default())
    )
    .fetch_one(&mut *connection)
    .await?;
    if let Some(admins) = &server.admins {
        administered(connection, ServerId(id), server, admins).await?;
    }
    Ok(whole(ChangeKind::Created, Noun::Server, server.slug.as_str(), id))
}

/// Gives the server these admins; who they were and are.
async fn administered(
    connection: &mut PgConnection,
    id: ServerId,
    server: &DesiredServer,
    admins: &[String],
) -> Result<(String, String), StoreError> {
    let lower: Vec<String> = admins.iter().map(|email| email.to_lowercase()).collect();
    let known = sqlx::query!("select id, email from gateway_user where email = any($1)", &lower)
        .fetch_all(&mut *connection)
        .await?;
    if let Some(absent) = lower.iter().find(|email| known.iter().all(|row| row.email != **email)) {
        let slug = &server.slug;
        let wrong = format!("server \"{slug}\": admins: there is no user \"{absent}\"");
        return Err(StoreError::Invalid(wrong));
    }
    let names = async |connection: &mut PgConnection| -> Result<String, StoreError> {
        let names = sqlx::query_scalar!(
            "select email from gateway_user where id in
                 (select user_id from server_admin where server_id = $1) order by email",
            id.0
        );
        Ok(names.fetch_all(connection).await?.join(", "))
    };
    let before = names(&mut *connection).await?;
    let ids: Vec<UserId> = known.into_iter().map(|row| UserId(row.id)).collect();
    set_admins(&mut *connection, id, &ids).await?;
    Ok((before, names(connection).await?))
}

fn none_if_empty(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// An icon that is in the text itself is nothing to read.
fn shown_icon(icon: &str) -> String {
    match icon.split_once(',') {
        Some((head, body)) if icon.starts_with("data:") => {
            format!("{head},... ({} characters)", body.len())
        }
        Some(_) | None => icon.to_owned(),
    }
}

fn auth_json(auth: &UpstreamAuth) -> Result<String, StoreError> {
    StoredAuth::from(auth).to_json()
}

pub(super) async fn policies(
    connection: &mut PgConnection,
    desired: &[DesiredPolicy],
    prune: bool,
) -> Result<Vec<Change>, StoreError> {
    let known: HashMap<String, StoredPolicy> = crate::policy::load(&mut *connection)
        .await?
        .into_iter()
        .map(|policy| (policy.name.clone(), policy))
        .collect();
    let mut changes = Vec::new();
    for (position, policy) in (0_i32..).zip(desired) {
        changes.push(match known.get(&policy.name) {
            Some(before) => update_policy(&mut *connection, before, policy, position).await?,
            None => create_policy(&mut *connection, policy, position).await?,
        });
    }
    if prune {
        let names: Vec<String> = desired.iter().map(|policy| policy.name.clone()).collect();
        let gone = sqlx::query!(
            "delete from policy where source = 'apply' and name <> all($1) returning id, name",
            &names
        )
        .fetch_all(connection)
        .await?;
        changes.extend(
            gone.iter().map(|row| whole(ChangeKind::Deleted, Noun::Policy, &row.name, row.id)),
        );
    }
    Ok(changes)
}

async fn update_policy(
    connection: &mut PgConnection,
    before: &StoredPolicy,
    policy: &DesiredPolicy,
    position: i32,
) -> Result<Change, StoreError> {
    let mut diff = Diff::default();
    diff.field("spec", &before.spec_json, &policy.spec_json);
    diff.field("position", before.position.to_string(), position.to_string());
    sqlx::query!(
        "update policy set spec = $2, position = $3, source = 'apply', updated_at = now()
          where id = $1 and (spec, position, source) is distinct from ($2, $3, 'apply')",
        before.id.0,
        policy.spec_json,
        position
    )
    .execute(connection)
    .await?;
    Ok(diff.into_change(Noun::Policy, &policy.name, before.id.0))
}

async fn create_policy(
    connection: &mut PgConnection,
    policy: &DesiredPolicy,
    position: i32,
) -> Result<Change, StoreError> {
    let id = sqlx::query_scalar!(
        "insert into policy (name, position, spec) values ($1, $2, $3) returning id",
        policy.name,
        position,
        policy.spec_json
    )
    .fetch_one(connection)
    .await?;
    Ok(whole(ChangeKind::Created, Noun::Policy, &policy.name, id))
}
