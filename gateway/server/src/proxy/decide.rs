//! May it pass? Policy decides on body values, and only this file makes a [`Permitted`].

use bytes::Bytes;
use gateway_core::decision::{Denial, FLOW_RULE, Target, Verdict};
use gateway_core::ids::{ConfirmationId, PolicyId};
use gateway_core::json::{Json, Kind as JsonKind, Member};
use gateway_core::mcp::{MessageKind, Method};
use gateway_core::names::twins;
use gateway_core::reason::Reason;
use gateway_core::scan::Guard;
use gateway_governance::Attempt;

use super::Proxy;
use super::confirm::{self, Agreed};
use super::connect;
use super::filter::SESSION_ENDED;
use super::refusal::Refusal;
use super::resolve::Routed;
use super::screen::{Blocked, Screen};
use super::{fail, scan, task};

/// Longest message of an error that a client may send to an outward server unasked, bytes: its program writes it.
const SHORT_ERROR: usize = 200;

/// A request that policy lets pass, with people's agreement where it asks for that.
pub(super) struct Permitted {
    pub(super) routed: Routed,
    permit: Permit,
}

/// Proof of a decision.
struct Permit {
    /// What our own elicitation put into the request and the upstream must not see.
    strip: Option<confirm::Carried>,
    /// The upstream's own id of the task that the request names.
    task: Option<String>,
    /// Where the message says to which task it belongs, and the upstream's own id of that.
    relation: Option<task::Place>,
}

impl Permit {
    fn free() -> Permit {
        Permit { strip: None, task: None, relation: None }
    }
}

impl Permitted {
    /// What has to be taken out of the body before it leaves.
    pub(super) fn carried(&self) -> Option<&confirm::Carried> {
        self.permit.strip.as_ref()
    }

    /// The upstream's own id of the task that the request names.
    pub(super) fn task(&self) -> Option<&str> {
        self.permit.task.as_deref()
    }

    /// Where the message says to which task it belongs, and the upstream's own id of that.
    pub(super) fn relation(&self) -> Option<&task::Place> {
        self.permit.relation.as_ref()
    }
}

/// What a message is about, in the terms of the policies.
enum Subject {
    /// Chatter: whoever may enter the server may say it.
    Free,
    /// A call that policies decide.
    Decided(Kind, String),
    /// Shown to whoever may see the thing.
    Seen(Kind, String),
    /// A handle that we have to have given out; with answers to the server's questions, or without.
    Task { answers: bool },
    /// A client's answer to a server's question, with something in it.
    Answer,
    /// A completion whose `ref` cannot be read.
    Unreadable,
}

#[derive(Clone, Copy)]
enum Kind {
    Tool,
    Resource,
    Prompt,
}

impl Kind {
    fn target(self, name: &str) -> Target<'_> {
        match self {
            Kind::Tool => Target::Tool(name),
            Kind::Resource => Target::Resource(name),
            Kind::Prompt => Target::Prompt(name),
        }
    }
}

/// Asks the policies, and people where the policies say so.
pub(super) async fn permit(routed: Routed, proxy: &Proxy) -> Result<Permitted, Refusal> {
    fail::point("decide");
    let relation = match relation(&routed, proxy) {
        Ok(relation) => relation,
        Err(detail) => return Err(Refusal::of_routed(routed, Reason::TaskUnknown, detail)),
    };
    let mut permitted = match subject(&routed) {
        Subject::Free => Permitted { routed, permit: Permit::free() },
        Subject::Answer => {
            let routed = Box::pin(unasked(routed, proxy)).await?;
            Permitted { routed, permit: Permit::free() }
        }
        Subject::Decided(kind, name) => decided(routed, kind.target(&name), proxy).await?,
        Subject::Seen(kind, name) => {
            let Permitted { routed, permit } = seen(routed, kind.target(&name), proxy)?;
            Permitted { routed: Box::pin(unasked(routed, proxy)).await?, permit }
        }
        Subject::Task { answers } => {
            let Permitted { mut routed, permit } = of_task(routed, proxy)?;
            if answers {
                routed = Box::pin(unasked(routed, proxy)).await?;
            }
            Permitted { routed, permit }
        }
        Subject::Unreadable => {
            let detail = "\"params.ref\": expected ref/prompt with name or ref/resource with uri";
            return Err(Refusal::of_routed(routed, Reason::InvalidParams, detail.into()));
        }
    };
    permitted.permit.relation = relation;
    Ok(permitted)
}

/// The task to which the message says it belongs.
fn relation(routed: &Routed, proxy: &Proxy) -> Result<Option<task::Place>, String> {
    let Some(call) = routed.understood.call() else { return Ok(None) };
    let caller = &routed.understood.identified.caller;
    let asks = call.kind == MessageKind::Request;
    proxy.tasks.relation(routed.server.id, caller, routed.understood.text(), asks)
}

fn subject(routed: &Routed) -> Subject {
    let Some(call) = routed.understood.call() else { return Subject::Free };
    if call.kind == MessageKind::Response {
        return if is_bare(routed.understood.text()) { Subject::Free } else { Subject::Answer };
    }
    let target = call.target.clone().unwrap_or_default();
    match call.method {
        Some(Method::CallTool) => Subject::Decided(Kind::Tool, target),
        Some(Method::ReadResource | Method::Subscribe | Method::Unsubscribe) => {
            Subject::Decided(Kind::Resource, target)
        }
        Some(Method::GetPrompt) => Subject::Decided(Kind::Prompt, target),
        Some(Method::Complete) => completion(routed.understood.params()),
        Some(Method::Task) => {
            let answers = routed.understood.params().and_then(|p| p.get("inputResponses"));
            Subject::Task { answers: answers.is_some() }
        }
        Some(
            Method::Initialize
            | Method::Ping
            | Method::Discover
            | Method::List(_)
            | Method::SetLevel
            | Method::Listen
            | Method::Initialized
            | Method::Cancelled
            | Method::Progress
            | Method::RootsListChanged
            | Method::TaskStatus,
        )
        | None => Subject::Free,
    }
}

/// An answer that says no more than that there is none: an empty result, a question declined or dropped, an error with a
/// short message and nothing else.
fn is_bare(text: &str) -> bool {
    let message = Json::checked_before(text);
    let says = |member: &str| message.get(member);
    match (says("result"), says("error")) {
        (Some(result), None) => result.kind() == JsonKind::Object && result.members().all(declines),
        (None, Some(error)) => error.kind() == JsonKind::Object && error.members().all(is_short),
        (Some(_), Some(_)) | (None, None) => false,
    }
}

fn declines(member: Member<'_>) -> bool {
    let action = member.value.as_str();
    member.key == "action" && matches!(action.as_deref(), Some("decline" | "cancel"))
}

fn is_short(member: Member<'_>) -> bool {
    match &*member.key {
        "code" => member.value.kind() == JsonKind::Number && member.value.raw().len() <= 8,
        "message" => member.value.as_str().is_some_and(|text| text.len() <= SHORT_ERROR),
        _ => false,
    }
}

/// What leaves without a call about which people could be asked: the flow rule stops it where it would ask.
async fn unasked(routed: Routed, proxy: &Proxy) -> Result<Routed, Refusal> {
    let flow = proxy.governance.flow();
    let caller = &routed.understood.identified.caller;
    match flow.denial(&routed.snapshot, caller, &routed.server).await {
        Ok(None) => Ok(routed),
        Ok(Some(denial)) => Err(deny(routed, denial)),
        Err(error) => {
            let detail = format!("flow rule: {error}");
            Err(Refusal::of_routed(routed, Reason::AuditUnavailable, detail))
        }
    }
}

/// `completion/complete` helps to fill in a prompt or a resource template.
fn completion(params: Option<Json<'_>>) -> Subject {
    let reference = params.and_then(|p| p.get("ref"));
    let mut members = reference.into_iter().flat_map(|r| r.members());
    if members.any(|m| ["type", "name", "uri"].iter().any(|name| twins(&m.key, name))) {
        return Subject::Unreadable;
    }
    let text = |key| reference.and_then(|r| r.get(key)).and_then(|v| v.as_str());
    match (text("type").as_deref(), text("name"), text("uri")) {
        (Some("ref/prompt"), Some(name), _) => Subject::Seen(Kind::Prompt, name.into_owned()),
        (Some("ref/resource"), _, Some(uri)) => Subject::Seen(Kind::Resource, uri.into_owned()),
        _ => Subject::Unreadable,
    }
}

fn ask(routed: &Routed, target: Target<'_>, confirmed: bool, proxy: &Proxy) -> Verdict {
    let attempt = Attempt {
        server: &routed.server,
        target,
        arguments: routed.understood.arguments(),
        circumstances: &routed.circumstances,
        confirmed,
    };
    let caller = &routed.understood.identified.caller;
    proxy.governance.decide(&routed.snapshot, caller, &attempt)
}

async fn decided(
    mut routed: Routed,
    target: Target<'_>,
    proxy: &Proxy,
) -> Result<Permitted, Refusal> {
    let verdict = match with_flow(&routed, ask(&routed, target, false, proxy), proxy).await {
        Ok(verdict) => verdict,
        Err(detail) => return Err(Refusal::of_routed(routed, Reason::AuditUnavailable, detail)),
    };
    if let Verdict::Allow { .. } | Verdict::Confirm(_) = verdict {
        if let Err(unheard) = heard(&mut routed, target, proxy).await {
            return Err(unheard.refuse(routed));
        }
        if let Some(reason) = held_back(&routed, target, proxy) {
            return Err(unapproved(routed, reason));
        }
    }
    match verdict {
        Verdict::Allow { policies } => match confirm::carried(&routed, target, proxy) {
            Ok(strip) => Ok(pass(routed, &policies, None, strip)),
            Err(detail) => Err(Refusal::of_routed(routed, Reason::ConfirmationExpired, detail)),
        },
        Verdict::Deny(denial) => Err(deny(routed, denial)),
        Verdict::Confirm(demand) => {
            // Nobody is asked about a call that could not be made.
            if let Some(unconnected) = Box::pin(connect::lacking(&routed, proxy)).await {
                return Err(connect::refuse(routed, unconnected));
            }
            let flow = demand.policies.contains(&FLOW_RULE).then_some(FLOW_RULE);
            let shown = match Box::pin(scan::before_asking(&mut routed, proxy)).await {
                Ok(shown) => shown,
                Err(blocked) => return Err(blocked.refuse(routed)),
            };
            // Rare, and large: off the common path's stack.
            let question = confirm::Question { demand, shown };
            let agreed = Box::pin(confirm::obtain(routed, target, question, proxy)).await?;
            after_agreement(agreed, flow, target, proxy)
        }
    }
}

/// What policy lets pass the flow rule may still ask about. An error: nobody knows what was read before.
async fn with_flow(routed: &Routed, verdict: Verdict, proxy: &Proxy) -> Result<Verdict, String> {
    let flow = proxy.governance.flow();
    if matches!(verdict, Verdict::Deny(_)) || !flow.concerns(&routed.server) {
        return Ok(verdict);
    }
    let caller = &routed.understood.identified.caller;
    match Box::pin(flow.demand(&routed.snapshot, caller, &routed.server)).await {
        Ok(None) => Ok(verdict),
        Ok(Some(demand)) => Ok(verdict.and(Verdict::Confirm(demand))),
        Err(error) => Err(format!("flow rule: {error}")),
    }
}

/// What people agreed to is decided once more: a policy may have changed meanwhile.
fn after_agreement(
    agreed: Agreed,
    flow: Option<PolicyId>,
    target: Target<'_>,
    proxy: &Proxy,
) -> Result<Permitted, Refusal> {
    if let Some(reason) = held_back(&agreed.routed, target, proxy) {
        return Err(unapproved(agreed.routed, reason));
    }
    let session = agreed.routed.session.as_ref();
    if session.is_some_and(|session| proxy.governance.snapshot().is_ended(&session.hash)) {
        let detail = SESSION_ENDED.into();
        return Err(Refusal::of_routed(agreed.routed, Reason::SessionUnknown, detail));
    }
    match ask(&agreed.routed, target, true, proxy) {
        Verdict::Allow { mut policies } => {
            policies.extend(flow);
            Ok(pass(agreed.routed, &policies, Some(agreed.confirmation), agreed.carried))
        }
        Verdict::Deny(denial) => Err(deny(agreed.routed, denial)),
        Verdict::Confirm(demand) => {
            let denial = Denial {
                invisible: false,
                policies: demand.policies,
                message: Some(demand.message),
            };
            Err(deny(agreed.routed, denial))
        }
    }
}

/// Has the organisation's own scanner read the definition of a tool that is called: whoever listed it may have done so on
/// another replica.
async fn heard(routed: &mut Routed, target: Target<'_>, proxy: &Proxy) -> Result<(), Blocked> {
    let Target::Tool(tool) = target else { return Ok(()) };
    let now = proxy.governance.snapshot();
    let server = now.server_by_id(routed.server.id).unwrap_or(&routed.server);
    let guard = proxy.governance.tool_list();
    let Some(unheard) = guard.unheard_tool(&now, server, tool) else { return Ok(()) };
    let call = routed.understood.identified.received.receipt.call;
    let method = routed.understood.call().map(|call| call.method_name.as_str());
    let Err(silence) = Box::pin(proxy.governance.hear(unheard, call, method)).await else {
        return Ok(());
    };
    let mut seen = Screen::of(routed, Guard::ToolList, proxy).unheard(silence);
    routed.understood.identified.received.receipt.found(&seen.findings);
    seen.clear(Bytes::new()).map(drop)
}

/// Why a tool that policies allow is held back: its definition, as it was last seen, was not approved or is blocked.
/// What counts is now, not when the exchange began: people may have taken their time to agree.
fn held_back(routed: &Routed, target: Target<'_>, proxy: &Proxy) -> Option<Reason> {
    let Target::Tool(tool) = target else { return None };
    let now = proxy.governance.snapshot();
    let server = now.server_by_id(routed.server.id).unwrap_or(&routed.server);
    proxy.governance.tool_list().standing(&now, server, tool).refusal()
}

fn unapproved(routed: Routed, reason: Reason) -> Refusal {
    Refusal::of_routed(routed, reason, "by the tool's definition as it was last seen".into())
}

fn pass(
    mut routed: Routed,
    policies: &[PolicyId],
    confirmation: Option<ConfirmationId>,
    strip: Option<confirm::Carried>,
) -> Permitted {
    let subject = &mut routed.understood.identified.received.receipt.subject;
    subject.policy_ids = policies.iter().map(ToString::to_string).collect();
    subject.confirmation_id = confirmation;
    Permitted { routed, permit: Permit { strip, ..Permit::free() } }
}

/// What no policy allows and what does not exist look alike; everything else says which policy it was.
fn deny(routed: Routed, denial: Denial) -> Refusal {
    if denial.invisible {
        Refusal::of_routed(routed, Reason::TargetNotFound, "no policy allows it".into())
    } else {
        Refusal::of_routed(routed, Reason::PolicyDenied, String::new()).because(denial)
    }
}

fn seen(routed: Routed, target: Target<'_>, proxy: &Proxy) -> Result<Permitted, Refusal> {
    let caller = &routed.understood.identified.caller;
    let (snapshot, server) = (&routed.snapshot, &routed.server);
    if proxy.governance.listed(snapshot, caller, server, target, &routed.circumstances) {
        Ok(Permitted { routed, permit: Permit::free() })
    } else {
        Err(Refusal::of_routed(routed, Reason::TargetNotFound, "not visible".into()))
    }
}

/// A task is its starter's: the handle opens for nobody else.
fn of_task(routed: Routed, proxy: &Proxy) -> Result<Permitted, Refusal> {
    let caller = &routed.understood.identified.caller;
    let handle = routed.understood.call().and_then(|call| call.target.as_deref());
    match handle.and_then(|handle| proxy.tasks.open(routed.server.id, caller, handle)) {
        Some(id) => Ok(Permitted { routed, permit: Permit { task: Some(id), ..Permit::free() } }),
        None => {
            let detail = "not a task that this caller has started here".into();
            Err(Refusal::of_routed(routed, Reason::TaskUnknown, detail))
        }
    }
}
