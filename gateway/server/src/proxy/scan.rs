//! What a request carries: the detectors read it whole, and what they find is recorded with the call.

use std::time::Instant;

use gateway_core::scan::{Guard, message};

use super::Proxy;
use super::decide::Permitted;
use super::limit::Counted;

/// A permitted request that the detectors have read, whole.
pub(super) struct Scanned {
    pub(super) permitted: Permitted,
}

/// Reads the outgoing body.
pub(super) fn request(counted: Counted, proxy: &Proxy) -> Scanned {
    let mut permitted = counted.into_inner();
    let routed = &mut permitted.routed;
    let scanning = routed.snapshot.scanning(routed.server.id);
    let started = Instant::now();
    let text = routed.understood.text();
    if routed.understood.call().is_none() {
        return Scanned { permitted };
    }
    let found = message::read(&scanning.detectors, Guard::ToolIntent, &scanning.modes, text);
    let took = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    let findings: Vec<_> = found
        .iter()
        .map(|one| {
            let mode = scanning.modes.of(Guard::ToolIntent, one.class);
            one.finding(Guard::ToolIntent, mode, &proxy.finding_key, took)
        })
        .collect();
    routed.understood.identified.received.receipt.subject.findings.extend(findings);
    Scanned { permitted }
}
