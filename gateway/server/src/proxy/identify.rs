//! Who calls. A presented credential that does not hold ends the exchange: there is no weaker way in.

use gateway_core::caller::Caller;
use gateway_core::reason::Reason;
use gateway_governance::Presented;

use super::accept::Received;
use super::refusal::Refusal;
use super::{Proxy, fail};
use crate::edge::credentials;

/// A request of a known caller.
pub(super) struct Identified {
    pub(super) received: Received,
    pub(super) caller: Caller,
}

/// Verifies the one credential that the request carries.
pub(super) async fn caller(mut received: Received, proxy: &Proxy) -> Result<Identified, Refusal> {
    fail::point("identify");
    let credentials = match credentials(&received.headers) {
        Ok(credentials) => credentials,
        Err(detail) => {
            return Err(Refusal::new(received.receipt, Reason::CredentialAmbiguous, detail));
        }
    };
    let resource = format!("{}/api/v1/proxy/{}/mcp", proxy.edge.public_url(), received.server);
    let presented = Presented {
        api_key_header: credentials.0,
        authorization: credentials.1,
        resource: &resource,
    };
    match proxy.governance.identify(presented).await {
        Ok(caller) => {
            received.receipt.subject.identified(&caller);
            Ok(Identified { received, caller })
        }
        Err(unidentified) => {
            received.receipt.subject.credential = unidentified.hint;
            Err(Refusal::new(received.receipt, unidentified.reason, unidentified.detail))
        }
    }
}
