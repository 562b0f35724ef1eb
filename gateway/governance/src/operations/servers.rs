//! Operations on servers: which there are, how to install one, switching one on or off.

use std::sync::Arc;

use gateway_core::reason::Reason;
use gateway_core::record::ActionType;
use gateway_core::server::{Endpoint, Eras, RUNLAYER_ID, Server, ServerStatus};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::install::{InstallLinks, install_links};
use super::run::{Page, Run};
use super::{Change, answer};
use crate::perform::{About, Answer, Planned, Refused};

/// Of `list_servers`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListServers {
    /// `accessible` (default): servers on which you may do something; `all`: every server, for admins.
    #[serde(default)]
    pub scope: Option<Scope>,
    /// Only servers whose slug, title or description contains this text.
    #[serde(default)]
    pub query: Option<String>,
    /// Rows per page, 1 to 200; 50 if absent.
    #[serde(default)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// Which servers to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Those on which the caller may do something.
    Accessible,
    /// Every server.
    All,
}

/// Of `get_server`: one of the two.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetServer {
    /// The server's id or slug.
    #[serde(default)]
    pub server_id: Option<String>,
    /// Instead of `server_id`: the server's slug or title.
    #[serde(default)]
    pub name: Option<String>,
}

/// Of `set_server_status`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetServerStatus {
    /// The server's id or slug.
    pub server_id: String,
    /// The new status.
    pub status: Status,
    /// Must be the boolean true; otherwise nothing changes and the answer shows what would.
    #[serde(default)]
    pub confirm: Option<bool>,
}

/// A status that can be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Calls pass.
    Active,
    /// Switched off.
    Disabled,
    /// Not finished.
    Draft,
}

impl From<Status> for ServerStatus {
    fn from(status: Status) -> ServerStatus {
        match status {
            Status::Active => ServerStatus::Active,
            Status::Disabled => ServerStatus::Disabled,
            Status::Draft => ServerStatus::Draft,
        }
    }
}

/// A server in lists.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ServerRow {
    /// Its id.
    pub id: String,
    /// Its name in URLs and policies.
    pub slug: String,
    /// Shown to people.
    pub title: String,
    /// Shown to people.
    pub description: String,
    /// `active`, `disabled`, `draft` or `error`.
    pub status: &'static str,
    /// Where clients reach it through the gateway.
    pub proxy_url: String,
    /// Whether you may do something on it.
    pub accessible: bool,
}

/// A server in full.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ServerDetail {
    /// The same as in lists.
    #[serde(flatten)]
    pub row: ServerRow,
    /// Links that add it to a client.
    pub install_links: InstallLinks,
    /// Which eras of MCP it speaks; null until it was asked.
    pub protocol_eras: Option<EraNames>,
    /// `streamable-http` or `in-process`.
    pub transport: &'static str,
    /// Where it is; for admins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// How the gateway signs in there; for admins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_mode: Option<&'static str>,
    /// False when the gateway's credential for it is missing on this replica; for admins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential_present: Option<bool>,
}

/// Eras of MCP.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
pub struct EraNames {
    /// `initialize` and sessions.
    pub legacy: bool,
    /// 2026-07-28.
    pub modern: bool,
}

impl From<Eras> for EraNames {
    fn from(eras: Eras) -> EraNames {
        EraNames { legacy: eras.legacy, modern: eras.modern }
    }
}

/// Of a changed status.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct StatusChanged {
    /// The server's id.
    pub id: String,
    /// Its slug.
    pub slug: String,
    /// The status before.
    pub before: &'static str,
    /// The status now.
    pub after: &'static str,
}

impl ListServers {
    pub(crate) fn answer(self, run: &Run<'_>) -> Result<Answer, Refused> {
        let all = self.scope == Some(Scope::All);
        run.authorize(!all)?;
        let query = self.query.unwrap_or_default().to_lowercase();
        let matches = |server: &Server| {
            let texts = [server.slug.as_str(), &server.title, &server.description];
            texts.iter().any(|text| text.to_lowercase().contains(&query))
        };
        let rows: Vec<ServerRow> = run
            .snapshot
            .servers
            .iter()
            .filter(|server| matches(server))
            .map(|server| row(run, server))
            .filter(|row| all || row.accessible)
            .collect();
        let page: Page<ServerRow> = run.page(rows, self.limit, self.cursor.as_deref())?;
        answer(&page)
    }
}

impl GetServer {
    pub(crate) fn answer(self, run: &Run<'_>) -> Result<Answer, Refused> {
        let server = match (&self.server_id, &self.name) {
            (Some(id), None) => run.server(id)?,
            (None, Some(name)) => by_name(run, name)?,
            (None, None) | (Some(_), Some(_)) => {
                return Err(Refused::params("expected exactly one of server_id and name"));
            }
        };
        answer(&detail(run, &server))
    }
}

impl SetServerStatus {
    pub(crate) fn plan(self, run: &Run<'_>) -> Result<Planned, Refused> {
        run.authorize(false)?;
        let server = run.server(&self.server_id)?;
        let after = ServerStatus::from(self.status);
        Ok(Planned {
            action: match after {
                ServerStatus::Active => ActionType::ServerEnabled,
                ServerStatus::Disabled => ActionType::ServerDisabled,
                ServerStatus::Draft | ServerStatus::Error => ActionType::ServerUpdated,
            },
            confirmed: self.confirm == Some(true),
            before: json!({"server": server.slug, "status": server.status}),
            after: json!({"server": server.slug, "status": after}),
            about: About {
                kind: Some("server"),
                name: Some(server.id.to_string()),
                server: Some(Arc::clone(&server)),
            },
            change: Change::ServerStatus { server, after },
        })
    }
}

/// Sets the status.
pub(super) async fn set_status(
    run: &Run<'_>,
    server: &Server,
    after: ServerStatus,
) -> Result<Answer, Refused> {
    let before = run.governance.store.set_server_status(server.id, after).await;
    let Some(before) = before.map_err(Refused::store)? else {
        return Err(Refused::new(Reason::EntityNotFound, "the server was removed meanwhile"));
    };
    super::seen_here(run).await;
    answer(&StatusChanged {
        id: server.id.to_string(),
        slug: server.slug.to_string(),
        before: before.as_str(),
        after: after.as_str(),
    })
}

fn by_name(run: &Run<'_>, name: &str) -> Result<Arc<Server>, Refused> {
    if let Ok(server) = run.server(name) {
        return Ok(server);
    }
    let titled = run.snapshot.servers.iter().find(|server| server.title == name);
    // The id of a foreign server answers like an absent one.
    run.server(&titled.map_or_else(|| name.to_owned(), |server| server.id.to_string()))
}

fn row(run: &Run<'_>, server: &Server) -> ServerRow {
    ServerRow {
        id: server.id.to_string(),
        slug: server.slug.to_string(),
        title: server.title.clone(),
        description: server.description.clone(),
        status: server.status.as_str(),
        proxy_url: run.governance.proxy_url(server.id),
        accessible: run.may_enter(server),
    }
}

fn detail(run: &Run<'_>, server: &Server) -> ServerDetail {
    let row = row(run, server);
    let admin = run.may(false);
    // Clients know the Runlayer MCP by its fixed name, every other server by its slug.
    let name = if server.id == RUNLAYER_ID { "runlayer" } else { &row.slug };
    let (transport, url) = match &server.endpoint {
        Endpoint::Http(url) => ("streamable-http", Some(url.clone())),
        Endpoint::InProcess => ("in-process", None),
    };
    let present = server.auth.secret().map(|(_, value)| value.is_some());
    ServerDetail {
        install_links: install_links(name, &row.proxy_url),
        protocol_eras: server.eras.map(EraNames::from),
        transport,
        url: url.filter(|_| admin),
        auth_mode: admin.then_some(server.auth.mode()),
        credential_present: present.filter(|_| admin),
        row,
    }
}
