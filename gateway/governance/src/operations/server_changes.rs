//! Making and changing a server. What people type is checked as in the desired state; beyond that, what only
//! matters when the change does not come from the operator: which secrets may be sent to a server that an
//! administrator adds ([`secrets`]), and what a change brings about ([`consequences`]).

#![expect(missing_docs, reason = "the names say it, and models pay for every word")]

mod consequences;
mod secrets;
mod typed;

use std::sync::Arc;

use gateway_core::ids::{ServerId, UserId};
use gateway_core::reason::Reason;
use gateway_core::record::ActionType;
use gateway_core::server::{Endpoint, Server, ServerStatus};
use gateway_store::server::{RenamedPolicy, ServerChange, ServerPatch};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::run::Run;
use super::servers::{Status, auth_shown, emails};
use super::{Change, answer, seen_here};
use crate::desired_state::AuthItem;
use crate::perform::{About, Answer, Planned, Refused};
use typed::Typed;

/// Of `create_server`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateServer {
    /// A name from list_catalog_servers; fills what is absent.
    #[serde(default)]
    pub catalog_entry: Option<String>,
    /// In URLs and policies: a-z, 0-9 and -.
    #[serde(default)]
    pub slug: Option<String>,
    #[serde(default)]
    pub title: Option<String>,
    #[serde(default)]
    pub description: Option<String>,
    /// Its streamable-http endpoint.
    #[serde(default)]
    pub url: Option<String>,
    /// How the gateway signs in; secrets by source only.
    #[serde(default)]
    pub auth: Option<AuthItem>,
    /// `active` if absent.
    #[serde(default)]
    pub status: Option<Status>,
    /// An https URL or a data URI, at most 8 KiB.
    #[serde(default)]
    pub icon: Option<String>,
    /// Withhold arguments and results from audit readers.
    #[serde(default)]
    pub sensitive: Option<bool>,
    /// Of untrusted, private, outward.
    #[serde(default)]
    pub labels: Option<Vec<String>>,
    /// E-mail addresses.
    #[serde(default)]
    pub admins: Option<Vec<String>>,
    #[serde(default)]
    pub confirm: Option<bool>,
}

/// Of `update_server`: what is absent stays.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateServer {
    /// Id or slug.
    pub server_id: String,
    /// Policies that name the old one follow.
    #[serde(default)]
    pub slug: Option<String>,
    #[serde(default)]
    pub title: Option<String>,
    #[serde(default)]
    pub description: Option<String>,
    #[serde(default)]
    pub url: Option<String>,
    /// Replaces all of it.
    #[serde(default)]
    pub auth: Option<AuthItem>,
    #[serde(default)]
    pub status: Option<Status>,
    /// Empty: none.
    #[serde(default)]
    pub icon: Option<String>,
    /// Empty: none.
    #[serde(default)]
    pub catalog_entry: Option<String>,
    #[serde(default)]
    pub sensitive: Option<bool>,
    /// All of them, of untrusted, private, outward.
    #[serde(default)]
    pub labels: Option<Vec<String>>,
    /// E-mail addresses, all of them.
    #[serde(default)]
    pub admins: Option<Vec<String>>,
    #[serde(default)]
    pub confirm: Option<bool>,
}

/// A server that was made or changed.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ServerMade {
    pub id: String,
    pub slug: String,
    pub proxy_url: String,
    /// Names of the fields that differ from before.
    pub changed: Vec<String>,
}

/// A change of a server that is ready to be made.
pub(crate) struct Patched {
    server: Arc<Server>,
    patch: ServerPatch,
    policies: Vec<RenamedPolicy>,
    changed: Vec<String>,
}

impl CreateServer {
    pub(crate) async fn plan(self, run: &Run<'_>) -> Result<Planned, Refused> {
        run.authorize(false)?;
        let confirmed = self.confirm == Some(true);
        let mut typed = Typed::of_new(run, self)?;
        let slug = typed.patch.slug.take();
        let slug =
            slug.ok_or_else(|| Refused::params("slug: required, unless by catalog_entry"))?;
        let url = typed.patch.url.take();
        let url = url.ok_or_else(|| Refused::params("url: required, unless by catalog_entry"))?;
        if run.snapshot.server(slug.as_str()).is_some() {
            return Err(taken());
        }
        let auth = typed.patch.auth.take().ok_or_else(|| typed.auth_missing())?;
        secrets::may_be_sent(run, &auth)?;
        let mut consequences = vec![];
        consequences.extend(typed::reachable(run, &url).await?);
        consequences.extend(consequences::of_new_slug(run, slug.as_str()));
        let patch = typed.patch;
        let server = Server {
            id: ServerId(run.governance.next_id(run.governance.clock().now())),
            title: patch.title.unwrap_or_else(|| slug.to_string()),
            slug,
            description: patch.description.unwrap_or_default(),
            endpoint: Endpoint::Http(url),
            auth,
            status: patch.status.unwrap_or(ServerStatus::Active),
            eras: None,
            sensitive: patch.sensitive.unwrap_or_default(),
            labels: patch.labels.unwrap_or_default(),
            icon: patch.icon.filter(|icon| !icon.is_empty()),
            catalog_entry: patch.catalog_entry,
            admins: patch.admins.unwrap_or_default(),
            tools: Arc::default(),
        };
        let mut after = fields(run, &server);
        after.retain(|_, value| !value.is_null());
        add(&mut after, consequences);
        Ok(Planned {
            action: ActionType::ServerCreated,
            about: About {
                kind: Some("server"),
                name: Some(server.id.to_string()),
                // It has no row yet that a record could belong to; its slug is in what is recorded.
                server: None,
            },
            confirmed,
            before: Value::Null,
            after: Value::Object(after),
            change: Change::NewServer(Box::new(server)),
        })
    }
}

impl UpdateServer {
    pub(crate) async fn plan(self, run: &Run<'_>) -> Result<Planned, Refused> {
        let own = run.snapshot.server(&self.server_id).is_some_and(|s| run.administers(s));
        run.authorize(own)?;
        let server = run.server(&self.server_id)?;
        if !run.may(false) {
            self.within_own_server()?;
        }
        let confirmed = self.confirm == Some(true);
        let Typed { patch, .. } = Typed::of_change(run, &server, self)?;
        let mut consequences = vec![];
        if let Some(url) = &patch.url {
            consequences.extend(typed::reachable(run, url).await?);
        }
        if let Some(auth) = &patch.auth {
            secrets::may_be_sent(run, auth)?;
        }
        secrets::stay_where_they_are(&server, &patch)?;
        let policies = consequences::renamed(run, &server, &patch)?;
        consequences.extend(consequences::of(run, &server, &patch, &policies));
        let (mut before, mut after) =
            (fields(run, &server), fields(run, &patched(&server, &patch)));
        let same: Vec<String> = before
            .iter()
            .filter(|(key, value)| after.get(*key) == Some(*value))
            .map(|(key, _)| key.clone())
            .collect();
        for key in &same {
            before.remove(key);
            after.remove(key);
        }
        let changed: Vec<String> = after.keys().cloned().collect();
        if !policies.is_empty() {
            before.insert(
                "policies".into(),
                json!(policies.iter().map(|p| &p.before).collect::<Vec<_>>()),
            );
            after.insert(
                "policies".into(),
                json!(policies.iter().map(|p| &p.after).collect::<Vec<_>>()),
            );
        }
        before.insert("server".into(), json!(server.slug));
        after.insert("server".into(), json!(server.slug));
        add(&mut after, consequences);
        Ok(Planned {
            action: action(&changed, &patch),
            about: About {
                kind: Some("server"),
                name: Some(server.id.to_string()),
                server: Some(Arc::clone(&server)),
            },
            confirmed,
            before: Value::Object(before),
            after: Value::Object(after),
            change: Change::ServerPatch(Box::new(Patched { server, patch, policies, changed })),
        })
    }

    /// Who administers this one server decides how it presents itself, and may ask for more discretion; where it
    /// leads, as whom, for whom and under which name is for those who administer all.
    fn within_own_server(&self) -> Result<(), Refused> {
        let others = [
            ("slug", self.slug.is_some()),
            ("url", self.url.is_some()),
            ("auth", self.auth.is_some()),
            ("status", self.status.is_some()),
            ("catalog_entry", self.catalog_entry.is_some()),
            ("sensitive=false", self.sensitive == Some(false)),
            ("labels", self.labels.is_some()),
            ("admins", self.admins.is_some()),
        ];
        match others.into_iter().find(|(_, given)| *given) {
            None => Ok(()),
            Some((field, _)) => {
                let detail = format!(
                    "{field}: as administrator of this server you may set title, description, icon and \
                     sensitive=true; ask an administrator"
                );
                Err(Refused::new(Reason::RoleMissing, detail))
            }
        }
    }
}

/// A status alone is what `set_server_status` would have done.
fn action(changed: &[String], patch: &ServerPatch) -> ActionType {
    match (changed, patch.status) {
        ([only], Some(ServerStatus::Active)) if only == "status" => ActionType::ServerEnabled,
        ([only], Some(ServerStatus::Disabled)) if only == "status" => ActionType::ServerDisabled,
        _ => ActionType::ServerUpdated,
    }
}

fn add(after: &mut Map<String, Value>, consequences: Vec<String>) {
    if !consequences.is_empty() {
        after.insert("consequences".into(), json!(consequences));
    }
}

/// The server as it will be.
fn patched(server: &Server, patch: &ServerPatch) -> Server {
    let ServerPatch { slug, title, description, url, auth, status, .. } = patch.clone();
    let none_if_empty = |new: &Option<String>, old: &Option<String>| {
        new.clone().or_else(|| old.clone()).filter(|text| !text.is_empty())
    };
    Server {
        slug: slug.unwrap_or_else(|| server.slug.clone()),
        title: title.unwrap_or_else(|| server.title.clone()),
        description: description.unwrap_or_else(|| server.description.clone()),
        endpoint: url.map_or_else(|| server.endpoint.clone(), Endpoint::Http),
        auth: auth.unwrap_or_else(|| server.auth.clone()),
        status: status.unwrap_or(server.status),
        icon: none_if_empty(&patch.icon, &server.icon),
        catalog_entry: none_if_empty(&patch.catalog_entry, &server.catalog_entry),
        sensitive: patch.sensitive.unwrap_or(server.sensitive),
        labels: patch.labels.clone().unwrap_or_else(|| server.labels.clone()),
        admins: patch.admins.clone().unwrap_or_else(|| server.admins.clone()),
        ..server.clone()
    }
}

/// Everything of a server that can be set, as people read it.
fn fields(run: &Run<'_>, server: &Server) -> Map<String, Value> {
    let mut admins: Vec<UserId> = server.admins.clone();
    admins.sort_unstable();
    let url = match &server.endpoint {
        Endpoint::Http(url) => Some(url),
        Endpoint::InProcess => None,
    };
    let fields = [
        ("slug", json!(server.slug)),
        ("title", json!(server.title)),
        ("description", json!(server.description)),
        ("url", json!(url)),
        ("auth", Value::Object(auth_shown(&server.auth))),
        ("status", json!(server.status)),
        ("icon", json!(server.icon.as_deref().map(icon_shown))),
        ("catalog_entry", json!(server.catalog_entry)),
        ("sensitive", json!(server.sensitive)),
        ("labels", json!(server.labels)),
        ("admins", json!(emails(run, &admins))),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A picture in the text itself is nothing to read; a part of it tells two apart.
fn icon_shown(icon: &str) -> String {
    match icon.split_once(',') {
        Some((head, body)) if icon.starts_with("data:") => {
            let digest = ring::digest::digest(&ring::digest::SHA256, body.as_bytes());
            let mark: String = digest.as_ref().iter().take(4).map(|b| format!("{b:02x}")).collect();
            format!("{head},... ({} characters, {mark})", body.len())
        }
        Some(_) | None => icon.to_owned(),
    }
}

fn taken() -> Refused {
    Refused::params("slug: another server has it; update_server changes that one")
}

/// Makes it.
pub(super) async fn create(run: &Run<'_>, server: &Server) -> Result<Answer, Refused> {
    let done = run.governance.store.create_server(server).await.map_err(Refused::store)?;
    expect_made(done)?;
    let changed = vec![];
    finish(run, server.id, server.slug.as_str(), changed, true).await
}

/// Changes it.
pub(super) async fn update(run: &Run<'_>, patched: &Patched) -> Result<Answer, Refused> {
    let Patched { server, patch, policies, changed } = patched;
    let done =
        run.governance.store.update_server(server.id, patch, (policies, Some(run.user().id))).await;
    expect_made(done.map_err(Refused::store)?)?;
    let slug = patch.slug.as_ref().unwrap_or(&server.slug);
    let anew = ["url", "auth", "status"].iter().any(|field| changed.iter().any(|c| c == field));
    finish(run, server.id, slug.as_str(), changed.clone(), anew).await
}

fn expect_made(done: ServerChange) -> Result<(), Refused> {
    match done {
        ServerChange::Made => Ok(()),
        ServerChange::SlugTaken => Err(taken()),
        ServerChange::Absent => {
            Err(Refused::new(Reason::EntityNotFound, "the server was removed meanwhile"))
        }
        ServerChange::PoliciesMoved => {
            let detail = "policies that name the server were changed meanwhile: look again";
            Err(Refused::new(Reason::Conflict, detail))
        }
    }
}

/// What it lists is read soon, so that nobody has to wait for it.
async fn finish(
    run: &Run<'_>,
    id: ServerId,
    slug: &str,
    changed: Vec<String>,
    anew: bool,
) -> Result<Answer, Refused> {
    seen_here(run).await;
    let snapshot = run.governance.snapshot();
    let active = snapshot.server_by_id(id).is_some_and(|s| s.status == ServerStatus::Active);
    if anew && active {
        run.governance.suspect(id, &run.caller);
    }
    let proxy_url = run.governance.proxy_url(id);
    answer(&ServerMade { id: id.to_string(), slug: slug.to_owned(), proxy_url, changed })
}
