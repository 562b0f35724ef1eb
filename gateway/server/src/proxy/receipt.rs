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
use gateway_core::record::{ActionType, Event, Intent, Outcome, Subject};
use gateway_core::server::RUNLAYER_ID;
use gateway_governance::Governance;
use gateway_governance::operations::keeps_nothing;

/// One exchange's debt to the audit trail.
pub(super) struct Receipt {
    governance: Arc<Governance>,
    /// Also what the client sees as correlation id.
    pub(super) call: CallId,
    pub(super) subject: Box<Subject>,
    pub(super) request_bytes: u64,
    /// The call's arguments, cut to what may be kept.
    pub(super) arguments: Option<Bytes>,
    kind: Kind,
    at: Timestamp,
    started: Instant,
    sent: Option<Instant>,
    /// Why a server in this process refused the call.
    behind: Option<Reason>,
    intent: bool,
    owed: bool,
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
        let at = governance.clock().now();
        Receipt {
            governance: governance.clone(),
            call: CallId(governance.next_id(at)),
            subject: Box::default(),
            request_bytes: request_bytes as u64,
            arguments: None,
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
            let denied = !is_failure(reason);
            ended.outcome = if denied { Outcome::Denied } else { Outcome::Error };
            ended.reason = Some(reason);
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
        let trail = self.governance.trail();
        match (event.subject.actor_id, event.subject.client_ip.clone()) {
            // Anybody can make as many of these as they like.
            (None, Some(source)) => trail.conclude_flood(&source, event),
            _ => trail.conclude(event),
        }
    }

    fn action(&self, ended: &Ended) -> ActionType {
        if let Some(action) = ended.reason.and_then(refused) {
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

/// The action type of a refusal; `None` for failures behind us, which are the call's own.
fn refused(reason: Reason) -> Option<ActionType> {
    let denied = [
        Reason::PolicyDenied,
        Reason::TargetNotFound,
        Reason::ServerNotFound,
        Reason::RoleMissing,
        Reason::EntityNotFound,
        Reason::ConfirmationDeclined,
        Reason::ConfirmationExpired,
    ];
    if is_failure(reason) {
        None
    } else if reason.is_about_the_credential() {
        Some(ActionType::AuthFailed)
    } else if denied.contains(&reason) {
        Some(ActionType::AccessDenied)
    } else if reason == Reason::ConfirmationRequired {
        Some(ActionType::ConfirmationRequested)
    } else if matches!(reason, Reason::ScannerBlocked | Reason::DefinitionNotApproved) {
        Some(ActionType::SecurityViolation)
    } else {
        Some(ActionType::RequestRefused)
    }
}

/// True for what went wrong behind the decision: the call was not refused, it failed.
pub(super) fn is_failure(reason: Reason) -> bool {
    [
        Reason::UpstreamUnreachable,
        Reason::UpstreamTimeout,
        Reason::UpstreamInvalid,
        Reason::UpstreamAddressRefused,
        Reason::UpstreamCredentialMissing,
        Reason::Internal,
    ]
    .contains(&reason)
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
