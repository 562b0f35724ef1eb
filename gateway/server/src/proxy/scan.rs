//! What a request carries. Today one detector looks for characters that a model reads and a person does not
//! see; what it finds is recorded with the call.

use super::decide::Permitted;
use super::limit::Counted;

/// A permitted request that the detectors have read, whole.
pub(super) struct Scanned {
    pub(super) permitted: Permitted,
}

/// Reads the outgoing body.
pub(super) fn request(counted: Counted) -> Scanned {
    let mut permitted = counted.into_inner();
    let finding = gateway_core::scan::hidden_characters(permitted.routed.understood.text());
    permitted.routed.understood.identified.received.receipt.subject.findings.extend(finding);
    Scanned { permitted }
}
