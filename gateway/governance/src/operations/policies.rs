//! Operations on policies: reading them.

use gateway_core::ids::PolicyId;
use policies::{PolicySpec, Source};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::answer;
use super::run::Run;
use crate::perform::{Answer, Refused};

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
