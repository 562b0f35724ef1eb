//! Operations on servers: which there are, how to install one, switching one on or off. Making and changing one
//! is in [`super::server_changes`].

use std::collections::HashMap;
use std::sync::Arc;

use gateway_core::decision::Target;
use gateway_core::ids::{ServerId, UserId};
use gateway_core::reason::Reason;
use gateway_core::record::ActionType;
use gateway_core::server::{
    Endpoint, Eras, Health, RUNLAYER_ID, SecretSource, Server, ServerStatus, Tool, UpstreamAuth,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::install::{InstallLinks, install_links};
use super::run::{Page, Run};
use super::{Change, answer, rfc3339};
use crate::perform::{About, Answer, Planned, Refused};
use crate::tool_list::Standing;

/// Tools of the same name that are shown.
const SHARED: usize = 20;

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
    /// `ok` or `failing`, as last measured; null: not watched, or not yet.
    pub health: Option<&'static str>,
    /// Where clients reach it through the gateway.
    pub proxy_url: String,
    /// Whether you may do something on it.
    pub accessible: bool,
    /// What flows to and from it: untrusted, private, outward.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<&'static str>,
}

/// A server in full.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ServerDetail {
    /// The same as in lists.
    #[serde(flatten)]
    pub row: ServerRow,
    /// Links that add it to a client.
    pub install_links: InstallLinks,
    /// An https URL or a data URI.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icon: Option<String>,
    /// Arguments and results are withheld from most readers of the audit trail.
    pub sensitive: bool,
    /// Tools that you may call; for admins: all that are known.
    pub tool_count: usize,
    /// Since when its health is so, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_since: Option<String>,
    /// When it last answered, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_ok: Option<String>,
    /// Of its last answer to a health probe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<i64>,
    /// The last failure's reason and detail; for admins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_error: Option<String>,
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
    /// The same with its parameters, as in the desired state; for admins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Map<String, Value>>,
    /// False when the gateway's credential for it is missing on this replica; for admins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential_present: Option<bool>,
    /// The catalogue's entry that it was made from; for admins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub catalog_entry: Option<String>,
    /// How its tools' definitions stand; for admins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_definitions: Option<DefinitionCounts>,
    /// Tools of the same name on other servers, as `search: github jira`; for admins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shared_tool_names: Vec<String>,
    /// E-mail addresses of those who administer it; for admins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admins: Option<Vec<String>>,
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

/// How many tools stand how; `list_tool_definition_changes` names them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DefinitionCounts {
    /// As somebody approved them.
    pub approved: usize,
    /// Not as approved, but shown and callable.
    pub changed: usize,
    /// Neither shown nor callable.
    pub held_back: usize,
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
    pub(crate) async fn answer(self, run: &Run<'_>) -> Result<Answer, Refused> {
        let all = self.scope == Some(Scope::All);
        run.authorize(!all)?;
        let query = self.query.unwrap_or_default().to_lowercase();
        let matches = |server: &Server| {
            let texts = [server.slug.as_str(), &server.title, &server.description];
            texts.iter().any(|text| text.to_lowercase().contains(&query))
        };
        let measured = measured(run).await?;
        let rows: Vec<ServerRow> = run
            .snapshot
            .servers
            .iter()
            .filter(|server| matches(server))
            .map(|server| (server, row(run, server, measured.get(&server.id))))
            .filter(|(server, row)| all || row.accessible || run.administers(server))
            .map(|(_, row)| row)
            .collect();
        let page: Page<ServerRow> = run.page(rows, self.limit, self.cursor.as_deref())?;
        answer(&page)
    }
}

impl GetServer {
    pub(crate) async fn answer(self, run: &Run<'_>) -> Result<Answer, Refused> {
        let server = match (&self.server_id, &self.name) {
            (Some(id), None) => run.server(id)?,
            (None, Some(name)) => by_name(run, name)?,
            (None, None) | (Some(_), Some(_)) => {
                return Err(Refused::params("expected exactly one of server_id and name"));
            }
        };
        let measured = measured(run).await?;
        answer(&detail(run, &server, measured.get(&server.id)))
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

/// How servers were when somebody last looked.
async fn measured(run: &Run<'_>) -> Result<HashMap<ServerId, Health>, Refused> {
    let known = run.governance.store.server_health().await.map_err(Refused::store)?;
    Ok(known.into_iter().collect())
}

fn row(run: &Run<'_>, server: &Server, health: Option<&Health>) -> ServerRow {
    ServerRow {
        id: server.id.to_string(),
        slug: server.slug.to_string(),
        title: server.title.clone(),
        description: server.description.clone(),
        status: server.status.as_str(),
        health: health.map(|health| health.status.as_str()),
        proxy_url: run.governance.proxy_url(server.id),
        accessible: run.may_enter(server),
        labels: server.labels.iter().map(|label| label.as_str()).collect(),
    }
}

fn detail(run: &Run<'_>, server: &Arc<Server>, health: Option<&Health>) -> ServerDetail {
    let row = row(run, server, health);
    let admin = run.may(false) || run.administers(server);
    // Clients know the Runlayer MCP by its fixed name, every other server by its slug.
    let name = if server.id == RUNLAYER_ID { "runlayer" } else { &row.slug };
    let (transport, url) = match &server.endpoint {
        Endpoint::Http(url) => ("streamable-http", Some(url.clone())),
        Endpoint::InProcess => ("in-process", None),
    };
    let present = server.auth.secret().map(|(_, value)| value.is_some());
    let error = health.and_then(|health| {
        Some(format!("{}: {}", health.reason.as_ref()?, health.detail.as_deref().unwrap_or("")))
    });
    ServerDetail {
        install_links: install_links(name, &row.proxy_url),
        icon: server.icon.clone(),
        sensitive: server.sensitive,
        tool_count: if admin { server.tools.len() } else { callable(run, server) },
        health_since: health.map(|health| rfc3339(health.since)),
        last_ok: health.and_then(|health| health.last_ok).map(rfc3339),
        latency_ms: health.and_then(|health| health.latency_us).map(|us| us / 1_000),
        health_error: error.filter(|_| admin),
        protocol_eras: server.eras.map(EraNames::from),
        transport,
        url: url.filter(|_| admin),
        auth_mode: admin.then_some(server.auth.mode()),
        auth: admin.then(|| auth_shown(&server.auth)),
        credential_present: present.filter(|_| admin),
        catalog_entry: server.catalog_entry.clone().filter(|_| admin),
        tool_definitions: admin.then(|| counts(run, server)),
        shared_tool_names: if admin { shared(run, server) } else { vec![] },
        admins: admin.then(|| emails(run, &server.admins)),
        row,
    }
}

fn counts(run: &Run<'_>, server: &Arc<Server>) -> DefinitionCounts {
    let mut counts = DefinitionCounts::default();
    for tool in server.tools.iter() {
        match run.governance.tool_list().standing(&run.snapshot, server, &tool.name) {
            Standing::Approved => counts.approved += 1,
            Standing::Changed => counts.changed += 1,
            Standing::Quarantined | Standing::Rejected | Standing::Blocked => counts.held_back += 1,
        }
    }
    counts
}

fn shared(run: &Run<'_>, server: &Server) -> Vec<String> {
    let guard = run.governance.tool_list();
    let namesakes = |tool: &Tool| guard.namesakes(&run.snapshot, server.id, &tool.name);
    let shared = server.tools.iter().map(|tool| (&tool.name, namesakes(tool)));
    let shared = shared.filter(|(_, others)| !others.is_empty());
    shared.map(|(tool, others)| format!("{tool}: {}", others.join(" "))).take(SHARED).collect()
}

/// How many tools a listing shows the caller.
fn callable(run: &Run<'_>, server: &Arc<Server>) -> usize {
    let around = run.circumstances();
    let guard = run.governance.tool_list();
    let listed = |tool: &&Tool| {
        let target = Target::Tool(&tool.name);
        run.governance.listed(&run.snapshot, &run.caller, server, target, &around)
            && guard.standing(&run.snapshot, server, &tool.name).passes()
    };
    server.tools.iter().filter(listed).count()
}

/// E-mail addresses of these people.
pub(super) fn emails(run: &Run<'_>, people: &[UserId]) -> Vec<String> {
    let known = people.iter().filter_map(|id| run.snapshot.user(*id));
    known.map(|user| user.email.clone()).collect()
}

/// How the gateway signs in, in the words of the desired state. Where a secret comes from, never what it is.
pub(super) fn auth_shown(auth: &UpstreamAuth) -> Map<String, Value> {
    let mut shown = Map::new();
    let mut put = |key: &str, value: Option<&String>| {
        if let Some(value) = value {
            shown.insert(key.into(), value.as_str().into());
        }
    };
    put("mode", Some(&auth.mode().to_owned()));
    let secret =
        |put: &mut dyn FnMut(&str, Option<&String>), from: &SecretSource, what: &str| match from {
            SecretSource::Env(name) => put(&format!("{what}_env"), Some(name)),
            SecretSource::File(path) => put(&format!("{what}_file"), Some(path)),
        };
    let client = match auth {
        UpstreamAuth::None | UpstreamAuth::IdentityForward => None,
        UpstreamAuth::Header { name, from, .. } => {
            put("name", Some(name));
            secret(&mut put, from, "value");
            None
        }
        UpstreamAuth::OauthUser(client) | UpstreamAuth::OauthShared(client) => Some(client),
        UpstreamAuth::TokenExchange(exchange) => {
            put("token_url", exchange.token_url.as_ref());
            put("audience", exchange.audience.as_ref());
            Some(&exchange.client)
        }
    };
    if let Some(client) = client {
        put("issuer", client.issuer.as_ref());
        put("client_id", client.client_id.as_ref());
        if let Some(from) = &client.client_secret {
            secret(&mut put, &from.from, "client_secret");
        }
        if let Some(key) = &client.private_key {
            secret(&mut put, &key.pem.from, "private_key");
            put("key_id", key.key_id.as_ref());
        }
        if !client.scopes.is_empty() {
            shown.insert("scopes".into(), json!(client.scopes));
        }
    }
    shown
}
