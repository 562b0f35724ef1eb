//! What was typed, checked field by field: every error names the field and what is accepted.

use gateway_core::ids::UserId;
use gateway_core::label::{Label, labels};
use gateway_core::reason::Reason;
use gateway_core::server::{Endpoint, OauthClient, Server, UpstreamAuth};
use gateway_store::server::ServerPatch;

use super::super::run::Run;
use super::{CreateServer, UpdateServer};
use crate::catalog::{AuthHint, CatalogEntry};
use crate::desired_state::{AuthItem, auth, names};
use crate::perform::Refused;

/// Checked values, and what the catalogue says about signing in.
pub(super) struct Typed {
    pub(super) patch: ServerPatch,
    hint: Option<AuthHint>,
}

impl Typed {
    /// Of a new server: what is absent comes from the catalogue's entry.
    pub(super) fn of_new(run: &Run<'_>, given: CreateServer) -> Result<Typed, Refused> {
        let entry = given.catalog_entry.as_deref().map(|name| entry(run, name)).transpose()?;
        let from = |field: fn(&CatalogEntry) -> Option<String>| entry.as_ref().and_then(field);
        let update = UpdateServer {
            slug: given.slug.or_else(|| from(|entry| Some(short_name(&entry.name)))),
            title: given.title.or_else(|| from(|entry| Some(entry.title.clone()))),
            description: given.description.or_else(|| from(|e| Some(e.description.clone()))),
            url: given.url.or_else(|| from(|entry| Some(entry.url.clone()))),
            icon: given.icon.or_else(|| from(|entry| entry.icon.clone())),
            auth: given.auth,
            status: given.status,
            catalog_entry: given.catalog_entry,
            sensitive: given.sensitive,
            labels: given.labels,
            admins: given.admins,
            ..UpdateServer::default()
        };
        let mut patch = patch(run, update)?;
        let hint = entry.map(|entry| entry.auth);
        if patch.auth.is_none() {
            patch.auth = match &hint {
                None | Some(AuthHint::None) => Some(UpstreamAuth::None),
                Some(AuthHint::OauthUser(false)) => {
                    Some(UpstreamAuth::OauthUser(OauthClient::default()))
                }
                Some(AuthHint::OauthUser(true) | AuthHint::Header(_)) => None,
            };
        }
        Ok(Typed { patch, hint })
    }

    /// Of a change; the server in this process keeps its place.
    pub(super) fn of_change(
        run: &Run<'_>,
        server: &Server,
        given: UpdateServer,
    ) -> Result<Typed, Refused> {
        if let Some(name) = given.catalog_entry.as_deref().filter(|name| !name.is_empty()) {
            entry(run, name)?;
        }
        let patch = patch(run, given)?;
        if server.endpoint == Endpoint::InProcess {
            let fixed = [
                ("slug", patch.slug.as_ref().is_some_and(|slug| *slug != server.slug)),
                ("url", patch.url.is_some()),
                ("auth", patch.auth.is_some()),
                ("catalog_entry", patch.catalog_entry.is_some()),
            ];
            if let Some((field, _)) = fixed.into_iter().find(|(_, given)| *given) {
                let detail = format!("{field}: the server runlayer is built in and keeps it");
                return Err(Refused::params(detail));
            }
        }
        Ok(Typed { patch, hint: None })
    }

    /// What an administrator has to add to the catalogue's entry.
    pub(super) fn auth_missing(&self) -> Refused {
        Refused::params(match &self.hint {
            Some(AuthHint::Header(name)) => format!(
                "auth: required for this entry: {{\"mode\":\"header\",\"name\":\"{name}\",\"value_env\":...}}"
            ),
            Some(AuthHint::OauthUser(_)) => {
                "auth: required for this entry: register the gateway there, then \
                 {\"mode\":\"oauth_user\",\"client_id\":...,\"client_secret_env\":...}"
                    .to_owned()
            }
            Some(AuthHint::None) | None => "auth: required".to_owned(),
        })
    }
}

/// An entry's own name as slug, or its owner's where that says nothing: `com.example/mcp` is `example`.
fn short_name(name: &str) -> String {
    let (namespace, own) = name.split_once('/').unwrap_or(("", name));
    let owner = namespace.rsplit('.').next().unwrap_or_default();
    let told = if own.eq_ignore_ascii_case("mcp") { owner } else { own };
    let legal = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    told.chars().map(legal).take(63).collect::<String>().trim_matches('-').to_owned()
}

fn entry(run: &Run<'_>, name: &str) -> Result<CatalogEntry, Refused> {
    let found = run.governance.settings.servers.catalog.entry(name).cloned();
    found.ok_or_else(|| {
        Refused::params("catalog_entry: expected the name of an entry, as list_catalog_servers has")
    })
}

fn patch(run: &Run<'_>, given: UpdateServer) -> Result<ServerPatch, Refused> {
    let field =
        |name: &'static str| move |wrong: String| Refused::params(format!("{name}: {wrong}"));
    let title = given.title.as_deref();
    title.map(names::name).transpose().map_err(field("title"))?;
    let description = given.description.as_deref();
    description.map(names::description).transpose().map_err(field("description"))?;
    let icon = given.icon.as_deref().filter(|icon| !icon.is_empty());
    icon.map(names::icon).transpose().map_err(field("icon"))?;
    let patch = ServerPatch {
        slug: given.slug.as_deref().map(names::slug).transpose().map_err(field("slug"))?,
        url: given.url.as_deref().map(names::server_url).transpose().map_err(field("url"))?,
        auth: given.auth.map(sign_in).transpose()?,
        admins: given.admins.map(|emails| people(run, &emails)).transpose()?,
        title: given.title,
        description: given.description,
        status: given.status.map(Into::into),
        icon: given.icon,
        catalog_entry: given.catalog_entry,
        sensitive: given.sensitive,
        labels: given.labels.map(|names| labelled(&names)).transpose()?,
    };
    let ServerPatch { slug, url, auth, admins, title, description, .. } = &patch;
    let ServerPatch { status, icon, catalog_entry, sensitive, labels, .. } = &patch;
    let texts = [title, description, url, icon, catalog_entry].iter().any(|text| text.is_some());
    let others = slug.is_some() || auth.is_some() || admins.is_some() || labels.is_some();
    if !texts && !others && status.is_none() && sensitive.is_none() {
        return Err(Refused::params("expected at least one field to change, such as title"));
    }
    Ok(patch)
}

fn sign_in(item: AuthItem) -> Result<UpstreamAuth, Refused> {
    auth::auth(item).map_err(|(key, wrong)| Refused::params(format!("auth.{key}: {wrong}")))
}

fn labelled(names: &[String]) -> Result<Vec<Label>, Refused> {
    labels(names).map_err(|wrong| Refused::params(format!("labels.{}: {wrong}", wrong.at)))
}

fn people(run: &Run<'_>, emails: &[String]) -> Result<Vec<UserId>, Refused> {
    let mut people = Vec::with_capacity(emails.len());
    for (at, email) in emails.iter().enumerate() {
        let user = run.snapshot.user_by_email(email).filter(|user| user.active);
        let absent = || Refused::params(format!("admins.{at}: expected an active user's address"));
        people.push(user.ok_or_else(absent)?.id);
    }
    people.sort_unstable();
    people.dedup();
    Ok(people)
}

/// Refuses what the gateway would never connect to; says so where that cannot be told now.
pub(super) async fn reachable(run: &Run<'_>, url: &str) -> Result<Option<String>, Refused> {
    match run.governance.upstreams.reachable(url).await {
        Ok(()) => Ok(None),
        Err(unread) if unread.reason == Reason::UpstreamAddressRefused => {
            Err(Refused::params(format!("url: {}", unread.detail)))
        }
        Err(unread) => Ok(Some(format!("the address cannot be reached now: {}", unread.detail))),
    }
}
