//! Writing policies: created, written anew, removed, brought back. What a change does is known before it is
//! made, and it is made only if the policy is still what it was then.

use gateway_core::caller::AuthMethod;
use gateway_core::ids::PolicyId;
use gateway_core::reason::Reason;
use gateway_core::record::ActionType;
use gateway_store::policy::{PolicyText, PolicyWrite, StoredPolicy};
use policies::PolicySpec;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::super::{Change, answer};
use super::draft::{Draft, expect_version, found, latest, name_taken};
use super::versions::identify;
use super::{Run, absent, effects};
use crate::perform::{About, Answer, Planned, Refused};

/// Of `create_policy`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreatePolicy {
    /// The policy, by fields or as Cedar text.
    pub spec: PolicySpec,
    /// True makes the change.
    #[serde(default)]
    pub confirm: Option<bool>,
}

/// Of `update_policy`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdatePolicy {
    /// Its id or name.
    pub policy_id: String,
    /// The whole policy anew, as in create_policy.
    #[schemars(with = "Map<String, Value>")]
    pub spec: PolicySpec,
    /// Refuse if it is at another version.
    #[serde(default)]
    pub expected_version: Option<i32>,
    /// True makes the change.
    #[serde(default)]
    pub confirm: Option<bool>,
}

/// Of `delete_policy`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeletePolicy {
    /// Its id or name.
    pub policy_id: String,
    /// Refuse if it is at another version.
    #[serde(default)]
    pub expected_version: Option<i32>,
    /// True makes the change.
    #[serde(default)]
    pub confirm: Option<bool>,
}

/// Of `restore_policy`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RestorePolicy {
    /// Its id, or a name that it has or had.
    pub policy_id: String,
    /// The version to bring back, of list_policy_versions.
    pub version: i32,
    /// Refuse if it is at another version.
    #[serde(default)]
    pub expected_version: Option<i32>,
    /// True makes the change.
    #[serde(default)]
    pub confirm: Option<bool>,
}

/// A policy that was written or removed.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct PolicyChanged {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its version now.
    pub version: i32,
    /// True once it is gone.
    pub deleted: bool,
    /// Who gained and who lost what.
    pub effects: Map<String, Value>,
}

/// A change that is compiled, with what it does.
pub(crate) struct Write {
    draft: Draft,
    effects: Map<String, Value>,
}

impl CreatePolicy {
    pub(crate) async fn plan(self, run: &Run<'_>) -> Result<Planned, Refused> {
        run.authorize(false)?;
        let snapshot = latest(run).await?;
        let id = PolicyId(run.governance.next_id(run.governance.clock().now()));
        let draft = Draft::compile(run, snapshot, id, Some(self.spec)).await?;
        planned(draft, self.confirm).await
    }
}

impl UpdatePolicy {
    pub(crate) async fn plan(self, run: &Run<'_>) -> Result<Planned, Refused> {
        run.authorize(false)?;
        let snapshot = latest(run).await?;
        let id = found(&snapshot, &self.policy_id, self.expected_version)?.id;
        let draft = Draft::compile(run, snapshot, id, Some(self.spec)).await?;
        planned(draft, self.confirm).await
    }
}

impl DeletePolicy {
    pub(crate) async fn plan(self, run: &Run<'_>) -> Result<Planned, Refused> {
        run.authorize(false)?;
        let snapshot = latest(run).await?;
        let id = found(&snapshot, &self.policy_id, self.expected_version)?.id;
        let draft = Draft::compile(run, snapshot, id, None).await?;
        planned(draft, self.confirm).await
    }
}

impl RestorePolicy {
    pub(crate) async fn plan(self, run: &Run<'_>) -> Result<Planned, Refused> {
        run.authorize(false)?;
        let snapshot = latest(run).await?;
        let store = &run.governance.store;
        let id = identify(run, &snapshot, &self.policy_id).await?.ok_or_else(absent)?;
        let newest = store.policy_versions(Some(id), None, 1).await.map_err(Refused::store)?;
        let newest = newest.first().ok_or_else(absent)?;
        expect_version(newest.version, self.expected_version)?;
        let old = store.policy_version(id, self.version).await.map_err(Refused::store)?;
        let Some(old) = old else {
            let detail = format!("version: expected 1 to {}", newest.version);
            return Err(Refused::params(detail));
        };
        let spec = serde_json::from_str(&old.spec_json).map_err(|error| {
            Refused::params(format!("version: it is not readable any more ({error})"))
        })?;
        let draft = Draft::compile(run, snapshot, id, Some(spec)).await?;
        planned(draft, self.confirm).await
    }
}

async fn planned(draft: Draft, confirm: Option<bool>) -> Result<Planned, Refused> {
    let effects = match serde_json::to_value(effects::of(&draft).await?) {
        Ok(Value::Object(members)) => members,
        Ok(_) | Err(_) => Map::new(),
    };
    Ok(Planned {
        action: match (&draft.before, &draft.after) {
            (None, _) => ActionType::PolicyCreated,
            (Some(_), Some(_)) => ActionType::PolicyUpdated,
            (Some(_), None) => ActionType::PolicyDeleted,
        },
        about: About { kind: Some("policy"), name: Some(draft.id.to_string()), server: None },
        confirmed: confirm == Some(true),
        before: before(&draft),
        after: after(&draft, &effects),
        change: Change::Policy(Box::new(Write { draft, effects })),
    })
}

fn before(draft: &Draft) -> Value {
    let Some(stored) = &draft.before else { return Value::Null };
    let spec: Value = serde_json::from_str(&stored.spec_json).unwrap_or_default();
    json!({"id": stored.id, "version": stored.version, "source": stored.source, "spec": spec})
}

fn after(draft: &Draft, effects: &Map<String, Value>) -> Value {
    match &draft.after {
        Some(spec) => {
            json!({"spec": spec, "cedar": draft.set.cedar(draft.id), "effects": effects})
        }
        None => json!({"deleted": true, "effects": effects}),
    }
}

/// Makes the change, unless somebody was faster.
pub(in super::super) async fn write(run: &Run<'_>, write: Write) -> Result<Answer, Refused> {
    let Write { draft, effects } = write;
    let store = &run.governance.store;
    let command_line = run.caller.auth == AuthMethod::CommandLine;
    let actor = (!command_line).then(|| run.user().id);
    let text = draft.after.as_ref().map(|spec| text(draft.id, spec)).transpose()?;
    let done = match (&draft.before, &text) {
        (None, Some(text)) => store.create_policy(text, actor).await,
        (Some(before), Some(text)) => store.update_policy(text, before.version, actor).await,
        (Some(before), None) => store.delete_policy(draft.id, before.version, actor).await,
        (None, None) => return Err(absent()),
    };
    let version = match done.map_err(Refused::store)? {
        PolicyWrite::Written(version) => version,
        PolicyWrite::NameTaken => return Err(name_taken()),
        PolicyWrite::Changed => {
            let detail = "somebody else changed this policy meanwhile; nothing was written";
            return Err(Refused::new(Reason::Conflict, detail));
        }
    };
    super::super::seen_here(run).await;
    let name = text.map(|text| text.name).or(draft.before.as_ref().map(|b| b.name.clone()));
    let mut answer = answer(&PolicyChanged {
        id: draft.id.to_string(),
        name: name.unwrap_or_default(),
        version,
        deleted: draft.after.is_none(),
        effects,
    })?;
    answer.note = draft.before.as_ref().and_then(of_a_file);
    Ok(answer)
}

/// One canonical spelling: the store compares policies as text.
fn text(id: PolicyId, spec: &PolicySpec) -> Result<PolicyText, Refused> {
    let spec_json = serde_json::to_string(spec)
        .map_err(|error| Refused::params(format!("spec: cannot be written ({error})")))?;
    Ok(PolicyText { id, name: spec.name.clone(), spec_json })
}

fn of_a_file(before: &StoredPolicy) -> Option<String> {
    (before.source == "apply").then(|| {
        "It came from a file of the desired state: change it there, too, or the next apply undoes this."
            .to_owned()
    })
}
