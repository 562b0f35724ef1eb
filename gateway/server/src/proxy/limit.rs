//! How much of it? What policy lets pass may still be too much. Everything needs a place with its server, which is kept
//! until the answer's head is there; calls of tools, resources and prompts are counted besides, chatter is not. Only
//! this file makes a [`Counted`], and `scan` takes nothing else.

use gateway_core::mcp::{MessageKind, Method};

use super::decide::Permitted;
use super::refusal::{Refusal, Way};
use super::{Proxy, fail};
use crate::telemetry;
use crate::upstream::TurnedAway;

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
pub(super) async fn count(mut permitted: Permitted, proxy: &Proxy) -> Result<Counted, Refusal> {
    fail::point("limit");
    let caller = permitted.routed.understood.identified.caller.user.id.0.as_u128();
    match proxy.leg.enter(&permitted.routed.server, caller) {
        Ok(entry) => permitted.routed.entry = Some(entry),
        Err(away) => return Err(turned_away(permitted, away, proxy).await),
    }
    let routed = &permitted.routed;
    let Some(tool) = counts(permitted.routed.understood.call()) else {
        return Ok(Counted { permitted });
    };
    let caller = &routed.understood.identified.caller;
    let limits = proxy.governance.limits();
    let counted = limits.count(&routed.snapshot, caller, &routed.server, tool).await;
    let Err(over) = counted else { return Ok(Counted { permitted }) };
    telemetry::limited(&over.limit);
    give_back(&permitted, proxy).await;
    let refusal = Refusal::of_routed(permitted.routed, over.reason, over.told.clone());
    let way = Way::Later { seconds: over.retry_after, limit: Some(over.limit) };
    Err(Refusal { message: Some(over.told), way, ..refusal })
}

/// There is no place for it, or its server has not answered lately. Whoever comes in a crowd leaves one record.
async fn turned_away(permitted: Permitted, away: TurnedAway, proxy: &Proxy) -> Refusal {
    Box::pin(give_back(&permitted, proxy)).await;
    let refusal = Refusal::of_routed(permitted.routed, away.reason, away.detail);
    Refusal { way: Way::Later { seconds: away.retry_after, limit: None }, ..refusal }
}

/// What people agreed to is not used up by a call that is not made.
async fn give_back(permitted: &Permitted, proxy: &Proxy) {
    let receipt = &permitted.routed.understood.identified.received.receipt;
    if let Some(agreement) = receipt.subject.confirmation_id {
        proxy.governance.confirmations().give_back(agreement).await;
    }
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
