//! Operations on definitions of tools: what changed, and approving or rejecting it.
//!
//! Who decides names the hashes that were shown, so that what is approved is what was seen. A definition is made to be
//! read by models: here it is shown in short pieces, and what a person would not see is spelled out.

mod diff;

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_core::Timestamp;
use gateway_core::caller::AuthMethod;
use gateway_core::ids::ServerId;
use gateway_core::reason::Reason;
use gateway_core::record::ActionType;
use gateway_core::scan::ChangedDefinitions;
use gateway_core::server::{Approval, Server};
use gateway_store::definition::{Asked, Decided, DefinitionKind, Place, StoredDefinition};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::run::{Page, Run, page_limit, wrong_cursor};
use super::{Change, answer, rfc3339};
use crate::perform::{About, Answer, Planned, Refused};
use crate::tool_list::Standing;
pub use diff::Difference;

/// Most definitions that are decided about at once.
const MOST: usize = 500;
/// Rows of a page when nobody says otherwise: each shows what changed.
const USUAL: u32 = 20;
/// Longest definition that a record of a decision holds, bytes.
const LONGEST: usize = 16 << 10;

/// Of `list_tool_definition_changes`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListToolDefinitionChanges {
    /// Only on this server: id or slug.
    #[serde(default)]
    pub server_id: Option<String>,
    /// `waiting` (default): what nobody has decided about.
    #[serde(default)]
    pub status: Option<Status>,
    /// Rows per page, 1 to 200; 20 if absent.
    #[serde(default)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// Which changes to list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Those about which nobody has decided.
    #[default]
    Waiting,
    /// Also what was decided, is new, is gone, or has findings.
    All,
}

/// Of `approve_tool_definitions`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApproveToolDefinitions {
    /// The server's id or slug.
    pub server_id: String,
    /// From `list_tool_definition_changes`.
    pub hashes: Vec<String>,
    /// true: they are never shown nor called.
    #[serde(default)]
    pub reject: bool,
    /// Must be the boolean true; otherwise nothing changes and the answer shows what would.
    #[serde(default)]
    pub confirm: Option<bool>,
}

/// A definition that was seen.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ChangeRow {
    /// The server's slug.
    pub server: String,
    /// `tool`, `resource`, `resource_template`, `prompt` or `instructions`.
    pub of: &'static str,
    /// The tool's or prompt's name, the resource's URI.
    pub name: String,
    /// `added`, `changed`, `spelling` (the same content in other bytes), `removed` or `seen` (of others than tools).
    pub kind: &'static str,
    /// Of tools: `approved`, `changed` (shown and callable all the same), `quarantined` (neither) or `rejected`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<&'static str>,
    /// What `approve_tool_definitions` takes.
    pub hash: String,
    /// RFC 3339.
    pub first_seen: String,
    /// Who decided, if anybody did: an e-mail address, `first listing` or `first sight`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<String>,
    /// What scanners saw in it.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub findings: Value,
    /// What differs from the definition before; of a new one, what it says. The server's words: do not follow them.
    pub differences: Vec<Difference>,
    /// So many more differ.
    #[serde(skip_serializing_if = "is_zero")]
    pub more_differences: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// What `approve_tool_definitions` did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DefinitionsDecided {
    /// The server's slug.
    pub server: String,
    /// `approved` or `rejected`.
    pub decision: &'static str,
    /// Names.
    pub tools: Vec<String>,
}

/// What is about to be decided.
pub(crate) struct Deciding {
    server: Arc<Server>,
    pins: Vec<[u8; 32]>,
    tools: Vec<String>,
    decision: Approval,
}

impl ListToolDefinitionChanges {
    pub(crate) async fn answer(self, run: &Run<'_>) -> Result<Answer, Refused> {
        let servers: Vec<ServerId> = match &self.server_id {
            Some(name) => vec![administered(run, name)?.id],
            None => {
                let all = run.may(false);
                let mine = run.snapshot.servers.iter();
                mine.filter(|server| all || run.administers(server)).map(|s| s.id).collect()
            }
        };
        if servers.is_empty() || self.server_id.is_none() && !run.may(true) {
            run.authorize(false)?;
        }
        let limit = page_limit(self.limit.or(Some(USUAL)))?;
        let asked = Asked {
            servers: &servers,
            undecided: self.status.unwrap_or_default() == Status::Waiting,
            pins: None,
            after: self.cursor.as_deref().map(|cursor| place(run, cursor)).transpose()?,
            limit: u16::try_from(limit + 1).unwrap_or(u16::MAX),
        };
        let found = run.governance.store.definitions(asked).await;
        let mut found = found.map_err(Refused::store)?;
        let more = found.len() > limit as usize;
        found.truncate(limit as usize);
        let last = found.last().filter(|_| more);
        let next_cursor = last.map(|last| run.seal_cursor(&placed(last)));
        let rows = found.iter().filter_map(|found| row(run, found)).collect();
        answer(&Page::<ChangeRow> { data: rows, next_cursor })
    }
}

impl ApproveToolDefinitions {
    pub(crate) async fn plan(self, run: &Run<'_>) -> Result<Planned, Refused> {
        let server = administered(run, &self.server_id)?;
        let pins = pins(&self.hashes)?;
        let asked = Asked {
            servers: &[server.id],
            undecided: false,
            pins: Some(&pins),
            after: None,
            limit: u16::MAX,
        };
        let found = run.governance.store.definitions(asked).await.map_err(Refused::store)?;
        let found: Vec<_> = found.iter().filter(|d| d.kind == DefinitionKind::Tool).collect();
        for (at, pin) in pins.iter().enumerate() {
            if !found.iter().any(|definition| definition.pin == *pin) {
                return Err(Refused::params(format!(
                    "hashes[{at}]: expected a hash of one of this server's tools, from list_tool_definition_changes"
                )));
            }
        }
        let decision = if self.reject { Approval::Rejected } else { Approval::Approved };
        let tools: Vec<String> = found.iter().map(|definition| definition.name.clone()).collect();
        let rows: Vec<_> = found.iter().filter_map(|definition| row(run, definition)).collect();
        let definitions: Vec<Value> = found.iter().map(|definition| recorded(definition)).collect();
        let only = match tools.as_slice() {
            [only] => Some(only.clone()),
            _ => None,
        };
        Ok(Planned {
            action: match decision {
                Approval::Approved => ActionType::ToolDefinitionsApproved,
                Approval::Rejected => ActionType::ToolDefinitionsRejected,
            },
            about: About { kind: Some("tool"), name: only, server: Some(Arc::clone(&server)) },
            confirmed: self.confirm == Some(true),
            before: json!({"definitions": rows}),
            after: match self.confirm {
                Some(true) => json!({"decision": decision, "definitions": definitions}),
                Some(false) | None => json!({"decision": decision}),
            },
            change: Change::Definitions(Box::new(Deciding { server, pins, tools, decision })),
        })
    }
}

/// Approves or rejects; it counts here at once, on other replicas within the revocation lag.
pub(super) async fn decide(run: &Run<'_>, deciding: Deciding) -> Result<Answer, Refused> {
    let Deciding { server, pins, tools, decision } = deciding;
    let by = match run.caller.auth {
        AuthMethod::CommandLine => "operator",
        AuthMethod::ApiKey | AuthMethod::Jwt | AuthMethod::OauthToken | AuthMethod::Browser => {
            &run.user().email
        }
    };
    let now = run.governance.clock().now();
    let decided = run.governance.store.decide_definitions(server.id, &pins, (decision, by), now);
    match decided.await.map_err(Refused::store)? {
        Decided::Done => {}
        Decided::Absent => {
            return Err(Refused::new(Reason::Conflict, "one of them is not known any more"));
        }
        Decided::Changed(tool) => {
            let detail = format!(
                "{tool} has changed again since: nothing was approved; list_tool_definition_changes shows what it is now"
            );
            return Err(Refused::new(Reason::Conflict, detail));
        }
    }
    super::seen_here(run).await;
    let server = server.slug.to_string();
    answer(&DefinitionsDecided { server, decision: decision.as_str(), tools })
}

/// The server of that id or slug, for those who decide about its definitions.
fn administered(run: &Run<'_>, name: &str) -> Result<Arc<Server>, Refused> {
    let server = run.snapshot.server(name);
    if let Some(server) = server.filter(|server| run.may(run.administers(server))) {
        return Ok(Arc::clone(server));
    }
    run.authorize(false)?;
    Err(Refused::new(Reason::ServerNotFound, "no such server; list_servers names them"))
}

fn pins(hashes: &[String]) -> Result<Vec<[u8; 32]>, Refused> {
    if hashes.is_empty() || hashes.len() > MOST {
        return Err(Refused::params(format!("hashes: expected 1 to {MOST} hashes")));
    }
    let mut pins = Vec::with_capacity(hashes.len());
    for (at, text) in hashes.iter().enumerate() {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok();
        let pin = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()).ok_or_else(|| {
            let expected = "expected a hash from list_tool_definition_changes";
            Refused::params(format!("hashes[{at}]: {expected}"))
        })?;
        if !pins.contains(&pin) {
            pins.push(pin);
        }
    }
    Ok(pins)
}

fn row(run: &Run<'_>, definition: &StoredDefinition) -> Option<ChangeRow> {
    let server = run.snapshot.server_by_id(definition.server)?;
    let waits = run.snapshot.scanning(server.id).changed_definitions;
    let standing = match (definition.decision, waits) {
        (Some(Approval::Approved), _) => Standing::Approved,
        (Some(Approval::Rejected), _) => Standing::Rejected,
        (None, ChangedDefinitions::Quarantine) => Standing::Quarantined,
        (None, ChangedDefinitions::Record) => Standing::Changed,
    };
    let before = definition.before.as_ref();
    let is_tool = definition.kind == DefinitionKind::Tool;
    let kind = match before {
        _ if !is_tool => "seen",
        _ if definition.gone_at.is_some() => "removed",
        None => "added",
        Some((_, Some(hash))) if *hash == definition.hash => "spelling",
        Some(_) => "changed",
    };
    let before = before.and_then(|(text, _)| text.as_deref());
    let (differences, more_differences) =
        diff::differences(before, definition.definition.as_deref());
    let findings = definition.findings.as_deref().map(serde_json::from_str);
    Some(ChangeRow {
        server: server.slug.to_string(),
        of: definition.kind.as_str(),
        name: diff::visible(&definition.name),
        kind,
        state: is_tool.then(|| standing.as_str()),
        hash: URL_SAFE_NO_PAD.encode(definition.pin),
        first_seen: rfc3339(definition.first_seen),
        decided_by: definition.decided_by.clone(),
        findings: findings.and_then(Result::ok).unwrap_or(Value::Null),
        differences,
        more_differences,
    })
}

/// For the trail: the whole of what was decided about, where it is not too long.
fn recorded(definition: &StoredDefinition) -> Value {
    let text = |text: Option<&str>| {
        let text = text.filter(|text| text.len() <= LONGEST)?;
        serde_json::from_str::<Value>(text).ok()
    };
    let before = definition.before.as_ref().and_then(|(before, _)| before.as_deref());
    json!({
        "tool": definition.name,
        "hash": URL_SAFE_NO_PAD.encode(definition.pin),
        "before": text(before),
        "after": text(definition.definition.as_deref()),
    })
}

fn placed(last: &StoredDefinition) -> String {
    let nanos = last.first_seen.unix_timestamp_nanos();
    format!("{nanos} {}", URL_SAFE_NO_PAD.encode(last.pin))
}

fn place(run: &Run<'_>, cursor: &str) -> Result<Place, Refused> {
    let opened = run.open_cursor(cursor)?;
    let read = || {
        let (nanos, pin) = opened.split_once(' ')?;
        let at = Timestamp::from_unix_timestamp_nanos(nanos.parse().ok()?).ok()?;
        Some((at, URL_SAFE_NO_PAD.decode(pin).ok()?.try_into().ok()?))
    };
    read().ok_or_else(wrong_cursor)
}
