//! What the trail keeps of definitions: that one changed, from what to what; what the scanners saw in one.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_core::Timestamp;
use gateway_core::ids::{CallId, EventId};
use gateway_core::reason::Reason;
use gateway_core::record::{ActionType, Event, Finding, Outcome, Subject};
use gateway_core::server::{Server, Tool};
use gateway_store::audit::Trail;
use gateway_store::definition::DefinitionKind;
use serde_json::json;

use super::{Standing, Verdict};
use crate::ports::{Random, uuid7};

/// Longest pair of definitions that a record holds, bytes.
const LONGEST: usize = 128 << 10;

/// A tool that is defined otherwise than before.
pub(crate) struct Redefined<'a> {
    pub(crate) name: &'a str,
    pub(crate) before: &'a str,
    pub(crate) after: &'a str,
    /// Of the canonical forms.
    pub(crate) hashes: [[u8; 32]; 2],
}

/// Records that a tool is defined otherwise than before.
pub(crate) fn redefined(
    (trail, random): (&Trail, &dyn Random),
    server: &Server,
    tool: &Redefined<'_>,
    now: Timestamp,
) {
    let Redefined { name, before, after, hashes } = tool;
    let id = || uuid7(now, random);
    let subject = subject(server, DefinitionKind::Tool, name);
    let [was, is] = hashes.map(|hash| URL_SAFE_NO_PAD.encode(hash));
    let detail = if was == is {
        format!("definition hash {was}: only its spelling has changed")
    } else {
        format!("definition hash {was}, now {is}")
    };
    let fits = before.len() + after.len() <= LONGEST;
    let result = fits.then(|| format!(r#"{{"before":{before},"after":{after}}}"#).into());
    let action = ActionType::ToolDefinitionChanged;
    trail.conclude(Event {
        detail: Some(detail),
        result,
        ..Event::new(EventId(id()), now, CallId(id()), subject, action, Outcome::Ok)
    });
}

/// Records that there is a tool that nobody knew, and that it waits for somebody's approval.
pub(crate) fn appeared(
    (trail, random): (&Trail, &dyn Random),
    server: &Server,
    tool: &Tool,
    now: Timestamp,
) {
    let id = || uuid7(now, random);
    let subject = subject(server, DefinitionKind::Tool, &tool.name);
    let hash = URL_SAFE_NO_PAD.encode(tool.hash);
    let fits = tool.definition.len() <= LONGEST;
    let result = fits.then(|| format!(r#"{{"before":null,"after":{}}}"#, tool.definition).into());
    let action = ActionType::ToolDefinitionChanged;
    trail.conclude(Event {
        detail: Some(format!("definition hash {hash}: a new tool, which waits for approval")),
        result,
        ..Event::new(EventId(id()), now, CallId(id()), subject, action, Outcome::Ok)
    });
}

/// Records what the scanners saw in a definition.
pub(super) fn flagged(
    (trail, random): (&Trail, &dyn Random),
    server: &Server,
    (kind, name): (DefinitionKind, &str),
    verdict: &Verdict,
    now: Timestamp,
) {
    let id = || uuid7(now, random);
    let blocked = verdict.standing == Standing::Blocked;
    let subject = Subject { findings: verdict.findings.clone(), ..subject(server, kind, name) };
    let (action, outcome) = if blocked {
        (ActionType::SecurityViolation, Outcome::Denied)
    } else {
        (ActionType::DefinitionFlagged, Outcome::Ok)
    };
    let reason = match &verdict.unread {
        Some(_) => Reason::ScanLimitExceeded,
        None => Reason::ScannerBlocked,
    };
    trail.conclude(Event {
        reason: blocked.then_some(reason),
        detail: verdict.unread.clone(),
        ..Event::new(EventId(id()), now, CallId(id()), subject, action, outcome)
    });
}

fn subject(server: &Server, kind: DefinitionKind, name: &str) -> Subject {
    Subject {
        server_id: Some(server.id),
        server_slug: Some(server.slug.to_string()),
        resource_type: Some(kind.as_str()),
        resource_name: Some(name.to_owned()),
        ..Subject::default()
    }
}

/// What is kept beside the definition: which rules, where, and what was done. The same findings are the same text.
pub(super) fn findings_json(findings: &[Finding], unread: Option<&str>) -> String {
    let mut rows: Vec<_> = findings
        .iter()
        .take(50)
        .map(
            |one| json!({"rule": one.rule, "class": one.class, "mode": one.mode, "path": one.path}),
        )
        .collect();
    rows.extend(unread.map(|why| json!({"unread": why})));
    serde_json::Value::from(rows).to_string()
}
