//! The record that an exchange owes. Whoever holds the receipt last concludes it; when it is dropped
//! instead, because the client left or something panicked, it writes that. So every exchange leaves
//! exactly one event, whatever happens to it.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use gateway_core::Timestamp;
use gateway_core::ids::{CallId, EventId};
use gateway_core::mcp::{Call, Method};
use gateway_core::reason::Reason;
use gateway_core::record::{ActionType, Event, Finding, Intent, Outcome, Subject};
use gateway_core::scan::Guard;
use gateway_core::server::RUNLAYER_ID;
use gateway_governance::Governance;
use gateway_governance::operations::keeps_nothing;

use super::screen::{FINDINGS, Findings, Screen, Seen, Tally};

/// One exchange's debt to the audit trail.
pub(super) struct Receipt {
    governance: Arc<Governance>,
    /// Also what the client sees as correlation id.
    pub(super) call: CallId,
    pub(super) subject: Box<Subject>,
    pub(super) request_bytes: u64,
    /// The call's arguments, if they are to be kept; of unidentified callers never: their records are counted
    /// together.
    pub(super) arguments: Option<Bytes>,
    /// What scanners found and the record does not list.
    beyond: Tally,
    /// A scanner has read the message: nothing is left in here that no record may hold.
    read: bool,
    kind: Kind,
    at: Timestamp,
    started: Instant,
    sent: Option<Instant>,
    /// Why a server in this process refused the call.
    behind: Option<Reason>,
    intent: bool,
    owed: bool,
}

/// A fresh id for an exchange.
pub(super) fn next_call(governance: &Governance) -> CallId {
    CallId(governance.next_id(governance.clock().now()))
}

/// Which pair of action types an exchange ends in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tool,
    Resource,
    Prompt,
    Listing,
    SessionStart,
    SessionEnd,
    Relay,
}

impl Kind {
    fn of(method: Method) -> Kind {
        match method {
            Method::CallTool => Kind::Tool,
            Method::ReadResource => Kind::Resource,
            Method::GetPrompt => Kind::Prompt,
            Method::List(_) => Kind::Listing,
            Method::Initialize => Kind::SessionStart,
            Method::Ping
            | Method::Discover
            | Method::Subscribe
            | Method::Unsubscribe
            | Method::Complete
            | Method::SetLevel
            | Method::Listen
            | Method::Task
            | Method::Initialized
            | Method::Cancelled
            | Method::Progress
            | Method::RootsListChanged
            | Method::TaskStatus => Kind::Relay,
        }
    }
}

/// How an exchange ended.
pub(super) struct Ended {
    pub(super) outcome: Outcome,
    pub(super) reason: Option<Reason>,
    pub(super) detail: Option<String>,
    pub(super) response_bytes: u64,
    pub(super) result: Option<Bytes>,
}

impl Ended {
    /// Without an answer's body.
    pub(super) fn without_body(outcome: Outcome, reason: Option<Reason>, detail: String) -> Ended {
        let detail = Some(detail).filter(|text| !text.is_empty());
        Ended { outcome, reason, detail, response_bytes: 0, result: None }
    }
}

impl Receipt {
    /// The debt begins with the first byte.
    pub(super) fn new(governance: &Arc<Governance>, request_bytes: usize) -> Receipt {
        Receipt::of(governance, next_call(governance), request_bytes)
    }

    /// The same under an id that was given out before.
    pub(super) fn of(governance: &Arc<Governance>, call: CallId, request_bytes: usize) -> Receipt {
        let at = governance.clock().now();
        Receipt {
            governance: governance.clone(),
            call,
            subject: Box::default(),
            request_bytes: request_bytes as u64,
            arguments: None,
            beyond: Tally::default(),
            read: false,
            kind: Kind::Relay,
            at,
            started: Instant::now(),
            sent: None,
            behind: None,
            intent: false,
            owed: true,
        }
    }

    /// What the message turned out to be.
    pub(super) fn understood(&mut self, call: &Call) {
        self.kind = call.method.map_or(Kind::Relay, Kind::of);
        self.subject.resource_type = match self.kind {
            Kind::Tool => Some("tool"),
            Kind::Resource => Some("resource"),
            Kind::Prompt => Some("prompt"),
            Kind::Listing | Kind::SessionStart | Kind::SessionEnd | Kind::Relay => None,
        };
        self.subject.method = Some(call.method_name.clone()).filter(|name| !name.is_empty());
        self.subject.era = Some(call.era.as_str());
        self.subject.request_id = call.id.clone();
        self.subject.resource_name.clone_from(&call.target);
        self.subject.client_name.clone_from(&call.client.name);
        self.subject.client_version.clone_from(&call.client.version);
    }

    /// The exchange ends a session.
    pub(super) fn ends_session(&mut self) {
        self.kind = Kind::SessionEnd;
    }

    /// The intent row. From here on the event concludes it.
    pub(super) fn intent(&mut self) -> Intent {
        self.intent = true;
        Intent {
            id: self.call,
            at: self.at,
            subject: Arc::new((*self.subject).clone()),
            arguments: self.arguments.clone().filter(|_| self.keeps_bodies()),
            request_bytes: self.request_bytes,
        }
    }

    /// A scanner has read the request. What is said twice counts once.
    pub(super) fn was_read(&mut self, guard: Guard, seen: &Seen) {
        self.read = true;
        self.subject.findings.retain(|finding| finding.guard != guard);
        self.beyond.forget(guard);
        self.found(&seen.findings);
        self.names().into_iter().flatten().for_each(|name| seen.redact(name));
    }

    /// What a scanner has found. Of too much the strictest stays.
    pub(super) fn found(&mut self, findings: &Findings) {
        self.beyond.extend(&findings.beyond);
        let known = &mut self.subject.findings;
        for finding in &findings.listed {
            if known.iter().filter(|one| one.guard == finding.guard).count() < FINDINGS {
                known.push(finding.clone());
                continue;
            }
            let weaker = |one: &&mut Finding| one.guard == finding.guard && one.mode < finding.mode;
            let left_out = match known.iter_mut().find(weaker) {
                Some(weaker) => std::mem::replace(weaker, finding.clone()),
                None => finding.clone(),
            };
            self.beyond.add((left_out.guard, left_out.class, left_out.mode), 1);
        }
    }

    /// What the client said of itself and of what it asks for.
    fn names(&mut self) -> [Option<&mut String>; 5] {
        let subject = &mut *self.subject;
        [
            subject.method.as_mut(),
            subject.request_id.as_mut(),
            subject.resource_name.as_mut(),
            subject.client_name.as_mut(),
            subject.client_version.as_mut(),
        ]
    }

    /// An exchange of its own for something that happens on this one's stream.
    pub(super) fn beside(&self) -> Receipt {
        let mut receipt = Receipt::new(&self.governance, 0);
        receipt.subject = self.subject.clone();
        receipt.subject.findings.clear();
        receipt.read = true;
        receipt
    }

    /// False where nothing that is said may be kept.
    fn keeps_bodies(&self) -> bool {
        let ours = self.subject.server_id == Some(RUNLAYER_ID);
        !(ours && self.subject.resource_name.as_deref().is_some_and(keeps_nothing))
    }

    /// The first byte is about to leave.
    pub(super) fn leaves(&mut self) {
        self.sent = Some(Instant::now());
    }

    /// A server in this process refused the call.
    pub(super) fn refused_behind(&mut self, reason: Reason) {
        self.behind = Some(reason);
    }

    /// Writes the event. Never waits, never fails.
    pub(super) fn conclude(mut self, ended: Ended) {
        self.write(ended);
    }

    /// Somebody else has written this exchange's record.
    pub(super) fn forgive(&mut self) {
        self.owed = false;
    }

    fn write(&mut self, mut ended: Ended) {
        if !std::mem::take(&mut self.owed) {
            return;
        }
        if let (Some(reason), Outcome::Error, None) = (self.behind, ended.outcome, ended.reason) {
            let denied = ActionType::of_refusal(reason).is_some();
            ended.outcome = if denied { Outcome::Denied } else { Outcome::Error };
            ended.reason = Some(reason);
        }
        if !self.read {
            self.withhold(&mut ended.detail);
        }
        let now = self.governance.clock().now();
        let keeps_bodies = self.keeps_bodies();
        let event = Event {
            id: EventId(self.governance.next_id(now)),
            at: now,
            call: self.call,
            concludes_intent: self.intent,
            subject: Arc::new(std::mem::take(&mut *self.subject)),
            action: self.action(&ended),
            outcome: ended.outcome,
            reason: ended.reason,
            detail: ended.detail,
            latency_us: Some(micros(self.started)),
            upstream_us: self.sent.map(micros),
            request_bytes: Some(self.request_bytes),
            response_bytes: Some(ended.response_bytes),
            // The intent row has them already.
            arguments: self.arguments.take().filter(|_| !self.intent && keeps_bodies),
            result: ended.result.filter(|_| keeps_bodies),
            count: 1,
        };
        crate::telemetry::observe(&event);
        crate::telemetry::observe_findings(self.beyond.iter());
        let trail = self.governance.trail();
        match (event.subject.actor_id, event.subject.client_ip.clone()) {
            // Anybody can make as many of these as they like.
            (None, Some(source)) => trail.conclude_flood(&source, event),
            _ => trail.conclude(event),
        }
    }

    /// A request that was refused before it was read: what no record may hold is taken out now.
    fn withhold(&mut self, detail: &mut Option<String>) {
        if std::thread::panicking() {
            // Another panic would end the process.
            self.arguments = None;
            return;
        }
        let snapshot = self.governance.snapshot();
        let screen = Screen::for_records(&snapshot, self.subject.server_id);
        let arguments = self.arguments.take();
        let text = arguments.as_deref().and_then(|bytes| std::str::from_utf8(bytes).ok());
        let kept = text.and_then(|text| screen.message(text).kept(text, 0..text.len()));
        self.arguments = kept.map(Bytes::from);
        let names = self.names().into_iter().flatten().chain(detail.as_mut());
        for name in names {
            screen.text(&name.clone(), "").redact(name);
        }
    }

    fn action(&self, ended: &Ended) -> ActionType {
        // What was refused once it had left was done, as far as anybody knows.
        let refused = ended.reason.filter(|_| ended.outcome != Outcome::Unknown);
        if let Some(action) = refused.and_then(ActionType::of_refusal) {
            return action;
        }
        let ok = ended.outcome == Outcome::Ok;
        match (self.kind, ok) {
            (Kind::Tool, true) => ActionType::ToolCallSuccess,
            (Kind::Tool, false) => ActionType::ToolCallFailure,
            (Kind::Resource, true) => ActionType::ResourceReadSuccess,
            (Kind::Resource, false) => ActionType::ResourceReadFailure,
            (Kind::Prompt, true) => ActionType::PromptGetSuccess,
            (Kind::Prompt, false) => ActionType::PromptGetFailure,
            (Kind::Listing, _) => ActionType::ListingRead,
            (Kind::SessionStart, _) => ActionType::SessionStarted,
            (Kind::SessionEnd, _) => ActionType::SessionEnded,
            (Kind::Relay, _) => ActionType::MessageRelayed,
        }
    }
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

impl Drop for Receipt {
    fn drop(&mut self) {
        let ended = if std::thread::panicking() {
            Ended::without_body(Outcome::Unknown, Some(Reason::Internal), "panic".into())
        } else {
            let left = if self.sent.is_some() { "after" } else { "before" };
            let detail = format!("the client went away {left} the call had left");
            Ended::without_body(Outcome::Cancelled, None, detail)
        };
        self.write(ended);
    }
}
