//! No record, no call: what may have effects waits here until its intent row is committed. Chatter
//! (initialize, listings, ping, notifications) goes through the same writer without waiting.

use gateway_core::mcp::{MessageKind, Method};
use gateway_core::reason::Reason;

use super::Proxy;
use super::parse::Ask;
use super::refusal::Refusal;
use super::scan::Scanned;

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
    let understood = &mut scanned.routed().understood;
    let waits = has_effects(&understood.ask);
    let intent = understood.identified.received.receipt.intent();
    if !waits {
        proxy.governance.trail().record_detached(intent);
        return Ok(Recorded { scanned });
    }
    match proxy.governance.trail().record(intent).await {
        Ok(_durable) => Ok(Recorded { scanned }),
        Err(error) => {
            let detail = error.to_string();
            Err(Refusal::of_routed(scanned.into_routed(), Reason::AuditUnavailable, detail))
        }
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
