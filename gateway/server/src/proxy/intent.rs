//! No record, no call: what may have effects waits here until its intent row is committed. Chatter
//! (initialize, listings, ping, notifications) goes through the same writer without waiting. What gives the client a
//! server's content is noted for the flow rule before it leaves, too.

use gateway_core::mcp::{MessageKind, Method};
use gateway_core::reason::Reason;

use super::parse::Ask;
use super::refusal::Refusal;
use super::resolve::Routed;
use super::scan::Scanned;
use super::{Proxy, fail};

/// A request whose intent is in the trail. The only thing that `forward` takes; made only here.
pub(super) struct Recorded {
    scanned: Scanned,
}

impl Recorded {
    /// What is to be sent.
    pub(super) fn into_inner(self) -> Scanned {
        self.scanned
    }
}

/// Writes the intent.
pub(super) async fn record(mut scanned: Scanned, proxy: &Proxy) -> Result<Recorded, Refusal> {
    fail::point("intent");
    if let Err(detail) = mark(scanned.routed(), proxy).await {
        return Err(Refusal::of_routed(scanned.into_routed(), Reason::AuditUnavailable, detail));
    }
    let understood = &mut scanned.routed().understood;
    let waits = has_effects(&understood.ask);
    let intent = understood.identified.received.receipt.intent();
    if !waits {
        proxy.governance.trail().record_detached(intent);
        return Ok(Recorded { scanned });
    }
    match proxy.governance.trail().record(intent).await {
        Ok(_durable) => {
            fail::point("recorded");
            Ok(Recorded { scanned })
        }
        Err(error) => {
            let detail = error.to_string();
            Err(Refusal::of_routed(scanned.into_routed(), Reason::AuditUnavailable, detail))
        }
    }
}

/// Notes that the caller reads from the server, where its labels make that count.
async fn mark(routed: &Routed, proxy: &Proxy) -> Result<(), String> {
    let call = routed.understood.call().filter(|call| call.kind == MessageKind::Request);
    if routed.server.labels.is_empty() || !call.is_some_and(|call| call.method.is_some_and(reads)) {
        return Ok(());
    }
    let caller = &routed.understood.identified.caller;
    let marked = Box::pin(proxy.governance.flow().mark(caller, &routed.server)).await;
    marked.map_err(|error| format!("flow rule: {error}"))
}

/// Whether the answer holds what the server was asked for; a task's answer comes later.
fn reads(method: Method) -> bool {
    match method {
        Method::CallTool
        | Method::ReadResource
        | Method::GetPrompt
        | Method::Complete
        | Method::Task => true,
        Method::Initialize
        | Method::Ping
        | Method::Discover
        | Method::List(_)
        | Method::Subscribe
        | Method::Unsubscribe
        | Method::SetLevel
        | Method::Listen
        | Method::Initialized
        | Method::Cancelled
        | Method::Progress
        | Method::RootsListChanged
        | Method::TaskStatus => false,
    }
}

/// A client's answer to a server's question may carry anything: it waits too.
fn has_effects(ask: &Ask) -> bool {
    match ask {
        Ask::Message(call) => {
            call.kind == MessageKind::Response || call.method.is_some_and(Method::has_effects)
        }
        Ask::OpenStream | Ask::EndSession => false,
    }
}
