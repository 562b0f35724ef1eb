//! Operations on policies: reading them here, trying and writing them below.

mod change;
mod draft;
mod effects;
mod replay;
mod versions;

use gateway_core::caller::PrincipalKind;
use gateway_core::ids::{PolicyId, UserId};
use gateway_core::reason::Reason;
use gateway_store::policy::StoredPolicy;
use policies::{PolicySpec, RUNLAYER_POLICY, Source};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::run::Run;
use super::{answer, rfc3339};
use crate::perform::{Answer, Refused};
use crate::snapshot::Snapshot;

pub(crate) use change::Write;
pub(super) use change::write;
pub use change::{CreatePolicy, DeletePolicy, PolicyChanged, RestorePolicy, UpdatePolicy};
pub use replay::{ReplayPolicy, Replayed};
pub use versions::{ListPolicyVersions, VersionRow};

/// Of `list_policies`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListPolicies {
    /// Only policies whose name contains this text.
    #[serde(default)]
    pub query: Option<String>,
    /// Rows per page, 1 to 200; 50 if absent.
    #[serde(default)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// Of `list_server_policies`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListServerPolicies {
    /// The server's id or slug.
    pub server_id: String,
    /// Rows per page, 1 to 200; 50 if absent.
    #[serde(default)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// Of `get_policy`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetPolicy {
    /// Its id or name.
    pub policy_id: String,
}

/// A policy in full.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct PolicyDetail {
    /// Its id, as refusals name it.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Counts its changes.
    pub version: i32,
    /// Who made it: `apply`, `api` or `built_in`.
    pub source: String,
    /// Who made this version; null: `apply`.
    pub changed_by: Option<String>,
    /// RFC 3339.
    pub created_at: Option<String>,
    /// RFC 3339.
    pub updated_at: Option<String>,
    /// Slugs of the servers that it is about; null: all.
    pub servers: Option<Vec<String>>,
    /// As it was written.
    pub spec: Value,
    /// As it is evaluated.
    pub cedar: String,
}

/// A policy.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct PolicyRow {
    /// Its id, as refusals name it.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `allow`, `deny` or `confirm`; `cedar` for Cedar text.
    pub effect: String,
    /// The policy as it was written.
    pub spec: Value,
}

impl ListPolicies {
    pub(crate) fn answer(self, run: &Run<'_>) -> Result<Answer, Refused> {
        run.authorize(false)?;
        let query = self.query.unwrap_or_default().to_lowercase();
        let named = |source: &&Source| source.spec.name.to_lowercase().contains(&query);
        let rows = run.snapshot.sources.iter().filter(named).map(row).collect();
        answer(&run.page(rows, self.limit, self.cursor.as_deref())?)
    }
}

impl ListServerPolicies {
    pub(crate) fn answer(self, run: &Run<'_>) -> Result<Answer, Refused> {
        let own =
            run.snapshot.server(&self.server_id).is_some_and(|server| run.administers(server));
        run.authorize(own)?;
        let server = run.server(&self.server_id)?;
        let about = |source: &&Source| applies(&source.spec, server.slug.as_str());
        let rows = run.snapshot.sources.iter().filter(about).map(row).collect();
        answer(&run.page(rows, self.limit, self.cursor.as_deref())?)
    }
}

impl GetPolicy {
    pub(crate) fn answer(self, run: &Run<'_>) -> Result<Answer, Refused> {
        let snapshot = &run.snapshot;
        let stored = snapshot.stored_policy(&self.policy_id);
        let source = stored.and_then(|stored| snapshot.policy(stored.id));
        let mut theirs = snapshot.servers.iter().filter(|server| run.administers(server));
        let own = source.is_some_and(|s| theirs.any(|at| applies(&s.spec, at.slug.as_str())));
        run.authorize(own)?;
        match (stored, source) {
            (Some(stored), Some(source)) => answer(&detail(snapshot, stored, source)),
            _ if self.policy_id == RUNLAYER_POLICY.to_string() => answer(&built_in(snapshot)),
            _ => Err(absent()),
        }
    }
}

fn detail(snapshot: &Snapshot, stored: &StoredPolicy, source: &Source) -> PolicyDetail {
    PolicyDetail {
        version: stored.version,
        source: stored.source.clone(),
        changed_by: stored.changed_by.map(|id| called(snapshot, id)),
        created_at: Some(rfc3339(stored.created_at)),
        updated_at: Some(rfc3339(stored.updated_at)),
        ..text(snapshot, stored.id, serde_json::to_value(&source.spec).unwrap_or_default())
    }
}

/// The one policy that is there by itself.
fn built_in(snapshot: &Snapshot) -> PolicyDetail {
    text(snapshot, RUNLAYER_POLICY, Value::Null)
}

fn text(snapshot: &Snapshot, id: PolicyId, spec: Value) -> PolicyDetail {
    let set = &snapshot.policies;
    let servers = set.servers_of(id);
    PolicyDetail {
        id: id.to_string(),
        name: set.name(id).unwrap_or_default().to_owned(),
        version: 0,
        source: "built_in".into(),
        changed_by: None,
        created_at: None,
        updated_at: None,
        servers: servers.map(|slugs| slugs.into_iter().map(str::to_owned).collect()),
        spec,
        cedar: set.cedar(id).unwrap_or_default(),
    }
}

/// A person's e-mail address, `agent:NAME`, or of somebody unknown the id.
pub(super) fn called(snapshot: &Snapshot, id: UserId) -> String {
    match snapshot.principal(id) {
        Some(user) if user.kind == PrincipalKind::Agent => format!("agent:{}", user.name),
        Some(user) => user.email.clone(),
        None => id.to_string(),
    }
}

fn absent() -> Refused {
    let detail = "policy_id: no such policy; list_policies has them, list_policy_versions those that are gone";
    Refused::new(Reason::EntityNotFound, detail)
}

/// Cedar text may be about any server.
fn applies(spec: &PolicySpec, slug: &str) -> bool {
    spec.cedar.is_some()
        || spec.server.as_deref().is_some_and(|server| server == "*" || server == slug)
}

fn row(source: &Source) -> PolicyRow {
    let Source { id: PolicyId(id), spec } = source;
    PolicyRow {
        id: id.to_string(),
        name: spec.name.clone(),
        effect: spec.effect.clone().unwrap_or_else(|| "cedar".into()),
        spec: serde_json::to_value(spec).unwrap_or_default(),
    }
}
