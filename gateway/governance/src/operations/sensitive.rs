//! What was said to and by sensitive servers: shown to those only whose role includes it, for what their own
//! calls said, too. People who are asked to agree to a call see what they agree to.

use gateway_core::ids::ServerId;
use gateway_core::reason::Reason;
use gateway_core::server::RUNLAYER_ID;
use gateway_store::audit::EventEntry;

use super::run::Run;

/// The action in `policies/default/platform.cedar`.
const READ: &str = "read_sensitive_bodies";
/// Tools of the Runlayer MCP whose answers show what other calls said.
const SHOW_BODIES: [&str; 4] =
    ["get_audit_log", "list_confirmations", "get_confirmation", "decide_confirmation"];

/// Why bodies are withheld, in answers.
pub(super) const WHY: &str =
    "the server is sensitive: arguments, results and error texts are for roles that may read them";

/// Why bodies are withheld of what reached no server.
const NOWHERE: &str = "it reached no server that could say who may read it: what was sent is for roles that may read all";

/// Why arguments, result and error text of an entry are to be withheld from the caller, if they are. What was
/// sent to a server that the caller may not know of looks like what was sent to none.
pub(super) fn why_withheld(run: &Run<'_>, entry: &EventEntry) -> Option<&'static str> {
    if entry.reason.as_deref() == Some(Reason::ServerNotFound.as_str()) {
        return (!run.may_also(READ)).then_some(NOWHERE);
    }
    is_withheld(run, entry.server_id, entry.resource_name.as_deref()).then_some(WHY)
}

/// Whether arguments, result and error text of something on that server are to be withheld from the caller.
/// `target`: the tool that was called.
pub(super) fn is_withheld(run: &Run<'_>, server: Option<ServerId>, target: Option<&str>) -> bool {
    let Some(server) = server else { return false };
    let sensitive = match run.snapshot.server_by_id(server) {
        Some(_) if server == RUNLAYER_ID => {
            target.is_some_and(|tool| SHOW_BODIES.contains(&tool))
                && run.snapshot.servers.iter().any(|server| server.sensitive)
        }
        Some(known) => known.sensitive,
        // Nobody knows any more what a server was that is gone.
        None => true,
    };
    sensitive && !run.may_also(READ)
}
