//! Servers and how the gateway signs in there; never a secret value, only where it comes from.
//! Written by [`crate::desired_state`] and one by one in `change`; what was learned from a server itself is in [`crate::tool`].

mod change;

use std::collections::HashMap;
use std::sync::Arc;

use gateway_core::ids::{ServerId, Slug, UserId};
use gateway_core::label::{Label, labels};
use gateway_core::server::{
    Endpoint, Eras, OauthClient, PrivateKey, Secret, SecretSource, Server, ServerStatus,
    TokenExchange, Tool, UpstreamAuth,
};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::StoreError;
use crate::pool::Store;

pub use change::{RenamedPolicy, ServerChange, ServerPatch};
pub(crate) use change::{forget_what_was_learned, set_admins};

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
                crate::server_health::forget_unwatched(&mut transaction).await?;
            }
            transaction.commit().await?;
            Ok(Some(before))
        })
        .await
    }
}

/// A server's `auth` column. Rows of older versions have fewer members, and no row has a secret's value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub(crate) enum StoredAuth {
    None,
    Header {
        name: String,
        from: SecretSource,
    },
    OauthUser(StoredClient),
    OauthShared(StoredClient),
    IdentityForward,
    TokenExchange {
        #[serde(flatten)]
        client: StoredClient,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token_url: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        audience: Option<String>,
    },
}

/// An [`OauthClient`] as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredClient {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_secret: Option<SecretSource>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    private_key: Option<SecretSource>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_id: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    scopes: Vec<String>,
}

impl From<&OauthClient> for StoredClient {
    fn from(client: &OauthClient) -> StoredClient {
        StoredClient {
            issuer: client.issuer.clone(),
            client_id: client.client_id.clone(),
            client_secret: client.client_secret.as_ref().map(|secret| secret.from.clone()),
            private_key: client.private_key.as_ref().map(|key| key.pem.from.clone()),
            key_id: client.private_key.as_ref().and_then(|key| key.key_id.clone()),
            scopes: client.scopes.clone(),
        }
    }
}

impl From<StoredClient> for OauthClient {
    fn from(stored: StoredClient) -> OauthClient {
        let StoredClient { issuer, client_id, client_secret, private_key, key_id, scopes } = stored;
        let client_secret = client_secret.map(Secret::of);
        let private_key = private_key.map(|from| PrivateKey { pem: Secret::of(from), key_id });
        OauthClient { issuer, client_id, client_secret, private_key, scopes }
    }
}

impl From<&UpstreamAuth> for StoredAuth {
    fn from(auth: &UpstreamAuth) -> StoredAuth {
        match auth {
            UpstreamAuth::None => StoredAuth::None,
            UpstreamAuth::Header { name, from, value: _ } => {
                StoredAuth::Header { name: name.clone(), from: from.clone() }
            }
            UpstreamAuth::OauthUser(client) => StoredAuth::OauthUser(client.into()),
            UpstreamAuth::OauthShared(client) => StoredAuth::OauthShared(client.into()),
            UpstreamAuth::IdentityForward => StoredAuth::IdentityForward,
            UpstreamAuth::TokenExchange(exchange) => StoredAuth::TokenExchange {
                client: (&exchange.client).into(),
                token_url: exchange.token_url.clone(),
                audience: exchange.audience.clone(),
            },
        }
    }
}

impl From<StoredAuth> for UpstreamAuth {
    fn from(auth: StoredAuth) -> UpstreamAuth {
        match auth {
            StoredAuth::None => UpstreamAuth::None,
            StoredAuth::Header { name, from } => UpstreamAuth::Header { name, from, value: None },
            StoredAuth::OauthUser(client) => UpstreamAuth::OauthUser(client.into()),
            StoredAuth::OauthShared(client) => UpstreamAuth::OauthShared(client.into()),
            StoredAuth::IdentityForward => UpstreamAuth::IdentityForward,
            StoredAuth::TokenExchange { client, token_url, audience } => {
                let client = client.into();
                UpstreamAuth::TokenExchange(TokenExchange { client, token_url, audience })
            }
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
        r#"select id, slug, title, description, url, auth::text as "auth!", status, legacy, modern, sensitive, labels, icon, catalog_entry,
                  array(select user_id from server_admin where server_id = server.id order by user_id) as "admins!"
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
    sensitive: bool,
    labels: Vec<String>,
    icon: Option<String>,
    catalog_entry: Option<String>,
    admins: Vec<Uuid>,
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
            sensitive: self.sensitive,
            labels: parse_labels(&self.labels)?,
            icon: self.icon,
            catalog_entry: self.catalog_entry,
            admins: self.admins.into_iter().map(UserId).collect(),
            tools: Arc::new(tools),
        })
    }
}

async fn load_tools(connection: &mut PgConnection) -> Result<HashMap<Uuid, Vec<Tool>>, StoreError> {
    let rows = sqlx::query!(
        "select server_id, name, definition, hash, pin, annotations from tool order by server_id, position"
    )
    .fetch_all(connection)
    .await?;
    let mut tools: HashMap<Uuid, Vec<Tool>> = HashMap::new();
    for row in rows {
        tools.entry(row.server_id).or_default().push(Tool {
            name: row.name,
            definition: row.definition,
            hash: crate::catalogue::hash(&row.hash)?,
            pin: crate::catalogue::hash(&row.pin)?,
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

/// A row of a newer version may have labels that this one cannot honour.
fn parse_labels(names: &[String]) -> Result<Vec<Label>, StoreError> {
    labels(names).map_err(|wrong| StoreError::Corrupt(format!("server.labels: {wrong}")))
}

/// Labels as rows have them.
pub(crate) fn label_names(labels: &[Label]) -> Vec<String> {
    labels.iter().map(|label| label.as_str().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_every_mode_are_read_and_written_the_same() {
        let rows = [
            r#"{"mode":"none"}"#,
            r#"{"mode":"header","name":"x-key","from":{"env":"KEY"}}"#,
            r#"{"mode":"oauth_user"}"#,
            r#"{"mode":"oauth_user","issuer":"https://as.example.com","client_id":"gw","scopes":["read"]}"#,
            r#"{"mode":"oauth_shared","client_id":"gw","client_secret":{"file":"/run/secret"}}"#,
            r#"{"mode":"oauth_shared","client_id":"gw","private_key":{"env":"KEY"},"key_id":"2026"}"#,
            r#"{"mode":"identity_forward"}"#,
            r#"{"mode":"token_exchange","client_id":"gw","client_secret":{"env":"S"},"token_url":"https://as.example.com/token","audience":"api"}"#,
        ];
        for row in rows {
            let auth: UpstreamAuth = StoredAuth::from_json(row).unwrap().into();
            assert_eq!(StoredAuth::from(&auth).to_json().unwrap(), row);
        }
        for unknown in [r#"{"mode":"later"}"#, "{}", "[]", r#"{"mode":"header"}"#] {
            assert!(StoredAuth::from_json(unknown).is_err(), "{unknown}");
        }
    }
}
