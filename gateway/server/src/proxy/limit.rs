//! How much of it? What policy lets pass may still be too much: calls of tools, resources and prompts are counted
//! here, chatter is not. Only this file makes a [`Counted`], and `scan` takes nothing else.

use gateway_core::mcp::{MessageKind, Method};

use super::decide::Permitted;
use super::refusal::{Refusal, Way};
use super::{Proxy, fail};
use crate::telemetry;

/// A permitted request that is within every limit.
pub(super) struct Counted {
    permitted: Permitted,
}

impl Counted {
    /// What may go on.
    pub(super) fn into_inner(self) -> Permitted {
        self.permitted
    }
}

/// Counts the call; a refusal says which limit, and when to come again.
pub(super) async fn count(permitted: Permitted, proxy: &Proxy) -> Result<Counted, Refusal> {
    fail::point("limit");
    let routed = &permitted.routed;
    let Some(tool) = counts(permitted.routed.understood.call()) else {
        return Ok(Counted { permitted });
    };
    let caller = &routed.understood.identified.caller;
    let limits = proxy.governance.limits();
    let counted = limits.count(&routed.snapshot, caller, &routed.server, tool).await;
    let Err(over) = counted else { return Ok(Counted { permitted }) };
    telemetry::limited(&over.limit);
    // What people agreed to is not used up by a call that is not made.
    if let Some(agreement) = routed.understood.identified.received.receipt.subject.confirmation_id {
        proxy.governance.confirmations().give_back(agreement).await;
    }
    let refusal = Refusal::of_routed(permitted.routed, over.reason, over.told.clone());
    let way = Way::Later { seconds: over.retry_after, limit: over.limit };
    Err(Refusal { message: Some(over.told), way, ..refusal })
}

/// `None`: it is no call. Else the tool, if it is one's.
fn counts(call: Option<&gateway_core::mcp::Call>) -> Option<Option<&str>> {
    let call = call.filter(|call| call.kind == MessageKind::Request)?;
    match call.method? {
        Method::CallTool => Some(call.target.as_deref()),
        Method::ReadResource | Method::GetPrompt => Some(None),
        Method::Initialize
        | Method::Ping
        | Method::Discover
        | Method::List(_)
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
        | Method::TaskStatus => None,
    }
}
