//! What policies were: every version, of one policy or of all, newest first.

use gateway_core::ids::PolicyId;
use gateway_store::policy::PolicyVersion;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::run::{Page, page_limit, wrong_cursor};
use super::super::{answer, rfc3339};
use super::{Run, absent, called};
use crate::perform::{Answer, Refused};
use crate::snapshot::Snapshot;

/// Of `list_policy_versions`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListPolicyVersions {
    /// Its id, or a name that it has or had; absent: all.
    #[serde(default)]
    pub policy_id: Option<String>,
    /// 1 to 200; default 50.
    #[serde(default)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// One version of a policy.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct VersionRow {
    /// The policy's id.
    pub policy_id: String,
    /// Its name.
    pub name: String,
    /// For restore_policy.
    pub version: i32,
    /// `created`, `updated` or `deleted`.
    pub what: String,
    /// RFC 3339.
    pub at: String,
    /// Who did it; null: `apply`.
    pub by: Option<String>,
    /// As it was from then on, or last.
    pub spec: Value,
}

impl ListPolicyVersions {
    pub(crate) async fn answer(self, run: &Run<'_>) -> Result<Answer, Refused> {
        run.authorize(false)?;
        let limit = page_limit(self.limit)?;
        let before = match &self.cursor {
            Some(cursor) => Some(run.open_cursor(cursor)?.parse().map_err(|_| wrong_cursor())?),
            None => None,
        };
        let of = match &self.policy_id {
            Some(name) => Some(identify(run, &run.snapshot, name).await?.ok_or_else(absent)?),
            None => None,
        };
        let store = &run.governance.store;
        let found = store.policy_versions(of, before, limit + 1).await.map_err(Refused::store)?;
        if found.is_empty() && before.is_none() && of.is_some() {
            return Err(absent());
        }
        let shown = &found[..found.len().min(limit as usize)];
        let last = shown.last().filter(|_| found.len() > shown.len());
        answer(&Page {
            data: shown.iter().map(|version| row(run, version)).collect::<Vec<_>>(),
            next_cursor: last.map(|version| run.seal_cursor(&version.change.to_string())),
        })
    }
}

/// The policy of that id, or of that name now or once.
pub(super) async fn identify(
    run: &Run<'_>,
    snapshot: &Snapshot,
    id_or_name: &str,
) -> Result<Option<PolicyId>, Refused> {
    if let Some(stored) = snapshot.stored_policy(id_or_name) {
        return Ok(Some(stored.id));
    }
    if let Ok(id) = id_or_name.parse() {
        return Ok(Some(id));
    }
    run.governance.store.policy_once_called(id_or_name).await.map_err(Refused::store)
}

fn row(run: &Run<'_>, version: &PolicyVersion) -> VersionRow {
    VersionRow {
        policy_id: version.policy.to_string(),
        name: version.name.clone(),
        version: version.version,
        what: version.what.clone(),
        at: rfc3339(version.at),
        by: version.actor.map(|id| called(&run.snapshot, id)),
        spec: serde_json::from_str(&version.spec_json).unwrap_or_default(),
    }
}
