//! Servers at which each person has an account of their own: how the line gets the caller's credential, and what it
//! says when there is none. By what the client can do: modern: an `input_required` result with the page's address;
//! legacy with URL elicitation: the error that the specification has for it (-32042); else a text with the link, which
//! a model passes on. Renewing is governance's; nothing is sent twice here either, see `forward`.

use gateway_core::credential::Credential;
use gateway_core::mcp::{Era, MessageKind, Method};
use gateway_core::reason::Reason;
use gateway_governance::connections::{Refusing, Unconnected};
use http::{HeaderMap, StatusCode};

use super::parse::Ask;
use super::refusal::{Refusal, Way};
use super::resolve::Routed;
use super::{Proxy, answer};

/// Our own `requestState`: it holds nothing, and is taken out before the request leaves.
const OURS: &str = "rl-connect";

/// What the request carries for its caller.
pub(super) async fn credential(routed: &Routed, proxy: &Proxy) -> Result<Credential, Unconnected> {
    let caller = &routed.understood.identified.caller;
    proxy.governance.connections().credential(Some(caller), &routed.server).await
}

/// Whether the caller has to connect an account before people are asked about the call.
pub(super) async fn lacking(routed: &Routed, proxy: &Proxy) -> Option<Unconnected> {
    let caller = &routed.understood.identified.caller;
    proxy.governance.connections().lacking(caller, &routed.server).await
}

/// What it means that the server answered so.
pub(super) async fn refusing(
    routed: &Routed,
    (status, headers): (StatusCode, &HeaderMap),
    proxy: &Proxy,
) -> Refusing {
    if !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        return Refusing::Nothing;
    }
    let caller = &routed.understood.identified.caller;
    let connections = proxy.governance.connections();
    connections.refused(caller, &routed.server, status, headers).await
}

/// True for a request that has no effects: it may be sent again once it was refused.
pub(super) fn may_repeat(routed: &Routed) -> bool {
    match &routed.understood.ask {
        Ask::Message(call) => {
            call.kind == MessageKind::Request && call.method.is_some_and(|m| !m.has_effects())
        }
        Ask::OpenStream | Ask::EndSession => false,
    }
}

/// Refuses, with the way to a connection where that is what is missing.
pub(super) fn refuse(routed: Routed, unconnected: Unconnected) -> Refusal {
    let Unconnected { reason, detail, link } = unconnected;
    let way = link.map_or(Way::None, |link| way(&routed, link));
    Refusal { way, ..Refusal::of_routed(routed, reason, detail) }
}

fn way(routed: &Routed, link: String) -> Way {
    let Some(call) = routed.understood.call().filter(|_| routed.client.elicitation_url) else {
        return Way::Connect(link);
    };
    let id = routed.understood.identified.received.receipt.call.to_string();
    let asked = answer::elicit_url(&id, Reason::ConnectionRequired.message(), &link);
    match call.era {
        Era::Legacy => Way::ConnectByUrl(link, asked),
        // What the client sent for the upstream would be lost: it gets the link.
        Era::Modern if carries(routed) || !takes_input(call.method) => Way::Connect(link),
        Era::Modern => Way::Ask(answer::ask_url(OURS, &asked, OURS)),
    }
}

fn carries(routed: &Routed) -> bool {
    let params = routed.understood.params();
    let has = |key| params.is_some_and(|params| params.get(key).is_some());
    (has("requestState") || has("inputResponses")) && !came_back(routed)
}

fn takes_input(method: Option<Method>) -> bool {
    matches!(method, Some(Method::CallTool | Method::ReadResource | Method::GetPrompt))
}

/// True when the request answers our own question: both members are ours and must not leave.
pub(super) fn came_back(routed: &Routed) -> bool {
    let state = routed.understood.params().and_then(|params| params.get("requestState"));
    routed.understood.era() == Era::Modern
        && state.and_then(|state| state.as_str()).as_deref() == Some(OURS)
}

/// True for our own state as JSON text.
pub(super) fn is_ours(state: &str) -> bool {
    state.trim().strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) == Some(OURS)
}
