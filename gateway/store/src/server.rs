//! Servers and how the gateway signs in there; never a secret value, only where it comes from.
//! Written by [`crate::desired_state`]; what was learned from a server itself is in [`crate::tool`].

use std::collections::HashMap;
use std::sync::Arc;

use gateway_core::ids::{ServerId, Slug};
use gateway_core::server::{
    Endpoint, Eras, SecretSource, Server, ServerStatus, Tool, UpstreamAuth,
};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::StoreError;
use crate::pool::Store;

impl Store {
    /// Every server with its tools, by slug.
    pub async fn servers(&self) -> Result<Vec<Server>, StoreError> {
        Ok(self.load_catalogue().await?.servers)
    }

    /// Switches a server to `status`; gives the status before, `None` without such a server.
    pub async fn set_server_status(
        &self,
        id: ServerId,
        status: ServerStatus,
    ) -> Result<Option<ServerStatus>, StoreError> {
        self.within("set a server's status", async {
            let mut transaction = self.change().await?;
            let before = sqlx::query_scalar!("select status from server where id = $1", id.0)
                .fetch_optional(&mut *transaction)
                .await?;
            let Some(before) = before else { return Ok(None) };
            let before = parse_status(&before)?;
            if before != status {
                sqlx::query!(
                    "update server set status = $2, updated_at = now() where id = $1",
                    id.0,
                    status.as_str()
                )
                .execute(&mut *transaction)
                .await?;
            }
            transaction.commit().await?;
            Ok(Some(before))
        })
        .await
    }
}

/// A server's `auth` column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub(crate) enum StoredAuth {
    None,
    Header { name: String, from: SecretSource },
}

impl From<&UpstreamAuth> for StoredAuth {
    fn from(auth: &UpstreamAuth) -> StoredAuth {
        match auth {
            UpstreamAuth::None => StoredAuth::None,
            UpstreamAuth::Header { name, from, value: _ } => {
                StoredAuth::Header { name: name.clone(), from: from.clone() }
            }
        }
    }
}

impl From<StoredAuth> for UpstreamAuth {
    fn from(auth: StoredAuth) -> UpstreamAuth {
        match auth {
            StoredAuth::None => UpstreamAuth::None,
            StoredAuth::Header { name, from } => UpstreamAuth::Header { name, from, value: None },
        }
    }
}

impl StoredAuth {
    pub(crate) fn to_json(&self) -> Result<String, StoreError> {
        serde_json::to_string(self).map_err(|e| StoreError::Invalid(format!("auth: {e}")))
    }

    pub(crate) fn from_json(text: &str) -> Result<StoredAuth, StoreError> {
        serde_json::from_str(text).map_err(|e| StoreError::Corrupt(format!("server.auth: {e}")))
    }
}

pub(crate) async fn load(connection: &mut PgConnection) -> Result<Vec<Server>, StoreError> {
    let mut tools = load_tools(&mut *connection).await?;
    let rows = sqlx::query_as!(
        Row,
        r#"select id, slug, title, description, url, auth::text as "auth!", status, legacy, modern
             from server order by slug"#
    )
    .fetch_all(connection)
    .await?;
    let mut servers = Vec::with_capacity(rows.len());
    for row in rows {
        let (id, slug) = (row.id, row.slug.clone());
        match row.into_server(tools.remove(&id).unwrap_or_default()) {
            Ok(server) => servers.push(server),
            // Written by a newer version: absent is the safe reading, for this one server.
            Err(error) => tracing::error!(%slug, %error, "server left out of the catalogue"),
        }
    }
    Ok(servers)
}

struct Row {
    id: Uuid,
    slug: String,
    title: String,
    description: String,
    url: Option<String>,
    auth: String,
    status: String,
    legacy: Option<bool>,
    modern: Option<bool>,
}

impl Row {
    fn into_server(self, tools: Vec<Tool>) -> Result<Server, StoreError> {
        Ok(Server {
            id: ServerId(self.id),
            slug: parse_slug(self.slug)?,
            title: self.title,
            description: self.description,
            endpoint: self.url.map_or(Endpoint::InProcess, Endpoint::Http),
            auth: StoredAuth::from_json(&self.auth)?.into(),
            status: parse_status(&self.status)?,
            eras: self.legacy.zip(self.modern).map(|(legacy, modern)| Eras { legacy, modern }),
            tools: Arc::new(tools),
        })
    }
}

async fn load_tools(connection: &mut PgConnection) -> Result<HashMap<Uuid, Vec<Tool>>, StoreError> {
    let rows = sqlx::query!(
        "select server_id, name, definition, hash, annotations from tool order by server_id, position"
    )
    .fetch_all(connection)
    .await?;
    let mut tools: HashMap<Uuid, Vec<Tool>> = HashMap::new();
    for row in rows {
        tools.entry(row.server_id).or_default().push(Tool {
            name: row.name,
            definition: row.definition,
            hash: crate::catalogue::hash(&row.hash)?,
            annotations: row.annotations,
        });
    }
    Ok(tools)
}

fn parse_slug(slug: String) -> Result<Slug, StoreError> {
    Slug::try_from(slug).map_err(|e| StoreError::Corrupt(format!("server.slug: {e}")))
}

pub(crate) fn parse_status(name: &str) -> Result<ServerStatus, StoreError> {
    ServerStatus::parse(name).ok_or_else(|| StoreError::Corrupt(format!("server.status: {name}")))
}
