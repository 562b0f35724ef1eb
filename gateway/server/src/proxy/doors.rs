//! What fuzz targets (`tests/stays`) and instruction counts (`tests/bench/instructions`) hold on to: parts that are
//! private otherwise. Nothing else uses this.

use gateway_core::Timestamp;
use gateway_core::caller::Caller;
use gateway_core::ids::ServerId;
use gateway_core::json::JsonError;
use gateway_core::mcp::{Client, Listing};
use gateway_core::seal::Sealer;
use gateway_governance::tool_list::Shown;

use super::listing::Trim;
use super::session::Session;

/// Session handles of one caller on one server.
pub struct Handles {
    /// Seals them.
    pub sealer: Sealer,
    /// Where they count.
    pub server: ServerId,
    /// Whose they are.
    pub caller: Caller,
}

impl Handles {
    /// A handle that is good until `expires`.
    pub fn make(&self, upstream: &str, client: &Client, expires: Timestamp) -> String {
        let session = Session::new(Some(upstream.to_owned()), client, expires);
        session.seal(&self.sealer, [7; 12], self.server, &self.caller)
    }

    /// The upstream's session id that a handle opens to, as a request would have it.
    pub fn open(&self, handle: &str, now: Timestamp) -> Option<Option<String>> {
        let opened = Session::open(&self.sealer, handle, self.server, &self.caller, now);
        opened.ok().map(|session| session.upstream)
    }
}

/// A listing of tools without those that are not to be kept; `None`: it stays as it is.
pub fn cut_tools(text: &str, keep: &dyn Fn(&str) -> bool) -> Result<Option<String>, JsonError> {
    let keep = |name: &str, _: &str| if keep(name) { Shown::Whole } else { Shown::Cut };
    let trim = Trim { listing: Some(Listing::Tools), private: false, keep: &keep, said: None };
    trim.apply(text)
}
