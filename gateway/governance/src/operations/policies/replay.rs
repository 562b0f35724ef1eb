//! The calls of the trail put to a draft: which verdicts would have been others. Both sets of policies, the
//! present one and the draft, are asked the same question, about the people and the servers as they are now
//! and the call as it was recorded. No argument is ever shown.
//!
//! Bounded: a number of calls a request (`replayed_calls` of the settings), read in pages; arguments only where one of the sets looks at
//! them, a few megabytes at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use gateway_core::Timestamp;
use gateway_core::caller::User;
use gateway_core::decision::{Circumstances, Question, Target, Verdict};
use gateway_core::ids::PolicyId;
use gateway_core::json::Json;
use gateway_core::reason::Reason;
use gateway_core::server::Server;
use gateway_store::audit::{EventCursor, KeptArguments, Payload, RecordedCall};
use policies::{PolicySet, PolicySpec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::super::run::wrong_cursor;
use super::super::{answer, instant, rfc3339};
use super::Run;
use super::draft::{Draft, found, latest};
use crate::perform::{Answer, Refused};
use crate::snapshot::Snapshot;

/// Calls of a page.
const PAGE: usize = 500;
/// Bytes of arguments that are held at a time; one call's may be more.
const HELD: u64 = 8 << 20;
/// Changed verdicts that are shown, when nobody says otherwise and at most.
const USUAL: u32 = 20;
const SHOWN: u32 = 50;

/// Of `replay_policy`: a draft to create (`spec`), to write anew (`policy_id`, `spec`) or to remove
/// (`policy_id`, `delete`).
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayPolicy {
    /// Its id or name; absent: a new one.
    #[serde(default)]
    pub policy_id: Option<String>,
    /// The draft, as in create_policy.
    #[serde(default)]
    #[schemars(with = "Option<Map<String, Value>>")]
    pub spec: Option<PolicySpec>,
    /// True instead of a spec: as if it were removed.
    #[serde(default)]
    pub delete: Option<bool>,
    /// RFC 3339; default 24 hours before the end.
    #[serde(default)]
    pub start: Option<String>,
    /// RFC 3339; default now.
    #[serde(default)]
    pub end: Option<String>,
    /// Changed calls to show, 1 to 50; default 20.
    #[serde(default)]
    pub limit: Option<u32>,
    /// `next_cursor`, to look at older calls.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// What a draft would have changed.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Replayed {
    /// RFC 3339: from then on.
    pub start: String,
    /// RFC 3339: before then.
    pub end: String,
    /// Calls that were looked at, newest first; at most 20,000.
    pub calls: usize,
    /// Verdicts that would stay.
    pub unchanged: usize,
    /// Verdicts that would be others.
    pub changed: usize,
    /// The same by kind, as `allow_to_deny`.
    pub changes: BTreeMap<String, usize>,
    /// Calls without an answer, by why.
    pub undecidable: BTreeMap<String, usize>,
    /// The first changed ones.
    pub data: Vec<ChangedCall>,
    /// Goes on with older calls; null: that was all.
    pub next_cursor: Option<String>,
}

/// A call whose verdict would be another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ChangedCall {
    /// For get_audit_log.
    pub event_id: String,
    /// RFC 3339.
    pub at: String,
    /// Who called.
    pub actor: String,
    /// The agent that did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The server's slug.
    pub server: String,
    /// As `tool:NAME`.
    pub target: String,
    /// `allow`, `confirm` or `deny` by the present policies.
    pub before: String,
    /// The same by the draft.
    pub after: String,
    /// Names of the policies that decide now.
    pub policies_before: Vec<String>,
    /// Names of those that would.
    pub policies_after: Vec<String>,
}

impl ReplayPolicy {
    pub(crate) async fn answer(self, run: &Run<'_>) -> Result<Answer, Refused> {
        run.authorize(false)?;
        let shown = match self.limit.unwrap_or(USUAL) {
            limit @ 1..=SHOWN => limit as usize,
            _ => return Err(Refused::params(format!("limit: expected 1 to {SHOWN}"))),
        };
        let (start, end) = self.span(run)?;
        let after = match &self.cursor {
            Some(cursor) => Some(run.open_cursor(cursor)?.parse().map_err(|_| wrong_cursor())?),
            None => None,
        };
        let draft = self.draft(run).await?;
        let replay = Replay { snapshot: draft.snapshot, draft: draft.set, shown };
        let (tally, next) = replay.all(run, (start, end), after).await?;
        answer(&Replayed {
            start: rfc3339(start),
            end: rfc3339(end),
            calls: tally.calls,
            unchanged: tally.unchanged,
            changed: tally.changes.values().sum(),
            changes: tally.changes,
            undecidable: tally.undecidable,
            data: tally.rows,
            next_cursor: next.map(|cursor| run.seal_cursor(&cursor.to_string())),
        })
    }

    fn span(&self, run: &Run<'_>) -> Result<(Timestamp, Timestamp), Refused> {
        let end = self.end.as_deref().map(instant("end")).transpose()?;
        let end = end.unwrap_or_else(|| run.governance.clock().now());
        let start = self.start.as_deref().map(instant("start")).transpose()?;
        let start = start.or_else(|| end.checked_sub(time::Duration::DAY)).unwrap_or(end);
        if start < end {
            Ok((start, end))
        } else {
            Err(Refused::params("start: expected before end"))
        }
    }

    async fn draft(self, run: &Run<'_>) -> Result<Draft, Refused> {
        let snapshot = latest(run).await?;
        let id = match &self.policy_id {
            Some(name) => found(&snapshot, name, None)?.id,
            None => PolicyId(run.governance.next_id(run.governance.clock().now())),
        };
        let deletes = self.delete == Some(true);
        let after = match (self.spec, &self.policy_id, deletes) {
            (Some(spec), _, false) => Some(spec),
            (None, Some(_), true) => None,
            (None, None, _) | (None, Some(_), false) | (Some(_), _, true) => {
                let detail = "spec: expected a spec (with policy_id to change one), or policy_id with delete=true";
                return Err(Refused::params(detail));
            }
        };
        Draft::compile(run, snapshot, id, after).await
    }
}

/// What is asked of both sets.
#[derive(Clone)]
struct Replay {
    snapshot: Arc<Snapshot>,
    draft: Arc<PolicySet>,
    shown: usize,
}

/// What came of it.
#[derive(Default)]
struct Tally {
    calls: usize,
    unchanged: usize,
    changes: BTreeMap<String, usize>,
    undecidable: BTreeMap<String, usize>,
    rows: Vec<ChangedCall>,
}

/// Why a call has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Undecidable {
    PrincipalGone,
    ServerGone,
    ArgumentsNotKept,
    AddressUnknown,
}

impl Undecidable {
    fn as_str(self) -> &'static str {
        match self {
            Undecidable::PrincipalGone => "principal_gone",
            Undecidable::ServerGone => "server_gone",
            Undecidable::ArgumentsNotKept => "arguments_not_kept",
            Undecidable::AddressUnknown => "address_unknown",
        }
    }
}

impl Replay {
    /// Page by page, newest first.
    async fn all(
        &self,
        run: &Run<'_>,
        span: (Timestamp, Timestamp),
        mut after: Option<EventCursor>,
    ) -> Result<(Tally, Option<EventCursor>), Refused> {
        let store = &run.governance.store;
        let mut tally = Tally::default();
        let most = run.governance.settings.replayed_calls;
        while tally.calls < most {
            let limit = PAGE.min(most - tally.calls);
            let page = store.recorded_calls(span, after, limit).await.map_err(Refused::store)?;
            for calls in in_parts(page.calls) {
                let kept: Vec<KeptArguments> = calls
                    .iter()
                    .filter(|call| self.needs_arguments(call))
                    .filter_map(kept)
                    .collect();
                let mut bodies = vec![];
                if !kept.is_empty() {
                    bodies = store.recorded_arguments(&kept).await.map_err(Refused::store)?;
                }
                let replay = self.clone();
                tally = tokio::task::spawn_blocking(move || replay.part(calls, bodies, tally))
                    .await
                    .map_err(|_| Refused::new(Reason::Internal, "the replay was interrupted"))?;
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        Ok((tally, after))
    }

    /// `bodies` are those of the calls that need some and have some, in order.
    fn part(
        &self,
        calls: Vec<RecordedCall>,
        bodies: Vec<Option<Payload>>,
        mut tally: Tally,
    ) -> Tally {
        let mut bodies = bodies.into_iter();
        for call in calls {
            let body = if self.needs_arguments(&call) && kept(&call).is_some() {
                bodies.next().flatten()
            } else {
                None
            };
            tally.calls += 1;
            match self.verdicts(&call, body.as_ref()) {
                Err(why) => *tally.undecidable.entry(why.as_str().into()).or_default() += 1,
                Ok((before, after)) => self.compare(&call, &before, &after, &mut tally),
            }
        }
        tally
    }

    fn compare(&self, call: &RecordedCall, was: &Verdict, is: &Verdict, tally: &mut Tally) {
        let (before, after) = (kind(was), kind(is));
        if before == after {
            tally.unchanged += 1;
            return;
        }
        *tally.changes.entry(format!("{before}_to_{after}")).or_default() += 1;
        if tally.rows.len() < self.shown {
            tally.rows.push(ChangedCall {
                event_id: call.event.to_string(),
                at: rfc3339(call.at),
                actor: call.actor_email.clone().unwrap_or_default(),
                agent: call.agent_name.clone(),
                server: call.server_slug.clone().unwrap_or_default(),
                target: format!("{}:{}", call.kind, call.name),
                before: before.into(),
                after: after.into(),
                policies_before: names(&self.snapshot.policies, was),
                policies_after: names(&self.draft, is),
            });
        }
    }

    /// Both sets' verdicts on the call, nobody having agreed to it.
    fn verdicts(
        &self,
        call: &RecordedCall,
        body: Option<&Payload>,
    ) -> Result<(Verdict, Verdict), Undecidable> {
        let people = self.principals(call).ok_or(Undecidable::PrincipalGone)?;
        let server = self.server(call).ok_or(Undecidable::ServerGone)?;
        let target = target(call);
        let body = body.filter(|body| !body.is_cut());
        let arguments = body.and_then(|body| Json::parse(&body.bytes).ok());
        if arguments.is_none() && self.looks_at_arguments(&people, server, target) {
            return Err(Undecidable::ArgumentsNotKept);
        }
        let ip = call.client_ip.as_deref().and_then(|ip| ip.parse().ok());
        let circumstances = Circumstances {
            client: call.client_name.clone().unwrap_or_default(),
            ip: ip.ok_or(Undecidable::AddressUnknown)?,
            now: call.at,
        };
        let ask = |set: &PolicySet| {
            let question = |user| Question {
                user,
                server,
                target,
                arguments,
                circumstances: &circumstances,
                confirmed: false,
            };
            let verdicts = people.iter().map(|user| set.decide(&question(user)).verdict);
            verdicts.reduce(Verdict::and)
        };
        let both = ask(&self.snapshot.policies).zip(ask(&self.draft));
        both.ok_or(Undecidable::PrincipalGone)
    }

    fn needs_arguments(&self, call: &RecordedCall) -> bool {
        self.principals(call)
            .zip(self.server(call))
            .is_some_and(|(people, server)| self.looks_at_arguments(&people, server, target(call)))
    }

    fn looks_at_arguments(
        &self,
        people: &[Arc<User>],
        server: &Server,
        target: Target<'_>,
    ) -> bool {
        [&self.snapshot.policies, &self.draft]
            .into_iter()
            .any(|set| people.iter().any(|user| set.reads_arguments(user, server, target)))
    }

    /// Everybody whose permission the call needed, as they are now; `None`: one of them is gone.
    fn principals(&self, call: &RecordedCall) -> Option<Vec<Arc<User>>> {
        let agent = call.agent.filter(|agent| *agent != call.actor);
        let ids = std::iter::once(call.actor).chain(agent);
        let known = |id| self.snapshot.principal(id).filter(|user| user.active).cloned();
        ids.map(known).collect()
    }

    fn server(&self, call: &RecordedCall) -> Option<&Server> {
        self.snapshot.server_by_id(call.server).map(|server| &**server)
    }
}

/// Arguments that were kept whole.
fn kept(call: &RecordedCall) -> Option<KeptArguments> {
    call.arguments.filter(|kept| kept.whole)
}

/// Calls in parts whose arguments can be held at once.
fn in_parts(calls: Vec<RecordedCall>) -> Vec<Vec<RecordedCall>> {
    let mut parts = vec![];
    let (mut part, mut bytes) = (vec![], 0);
    for call in calls {
        let more = kept(&call).map_or(0, |kept| kept.kept);
        if bytes + more > HELD && !part.is_empty() {
            parts.push(std::mem::take(&mut part));
            bytes = 0;
        }
        bytes += more;
        part.push(call);
    }
    parts.push(part);
    parts
}

fn target(call: &RecordedCall) -> Target<'_> {
    match call.kind.as_str() {
        "resource" => Target::Resource(&call.name),
        "prompt" => Target::Prompt(&call.name),
        _ => Target::Tool(&call.name),
    }
}

fn kind(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Allow { .. } => "allow",
        Verdict::Confirm(_) => "confirm",
        Verdict::Deny(_) => "deny",
    }
}

fn names(set: &PolicySet, verdict: &Verdict) -> Vec<String> {
    let ids = match verdict {
        Verdict::Allow { policies } => policies,
        Verdict::Confirm(demand) => &demand.policies,
        Verdict::Deny(denial) => &denial.policies,
    };
    ids.iter().filter_map(|id| set.name(*id)).map(str::to_owned).collect()
}
