//! What a caller may use of a server, as long as a stream of theirs is open: when policies, grants, approvals or people
//! change it, the client is told that its listing is old. What the server itself changes, the server tells.

use std::collections::HashMap;

use bytes::Bytes;
use gateway_core::decision::{Circumstances, Target};
use gateway_core::mcp::Method;
use gateway_core::sse;
use gateway_governance::Snapshot;
use serde_json::json;

use super::filter::View;
use super::parse::Ask;
use super::resolve::Routed;

/// What was usable when the client was told last.
pub(super) struct Shown {
    generation: u64,
    tools: HashMap<String, bool>,
    message: Bytes,
}

impl Shown {
    /// Of a stream on which its client can be told: opened by a legacy client, or subscribed to by a modern
    /// one that wants to know.
    pub(super) fn of(routed: &Routed, view: &View) -> Option<Shown> {
        let subscription = match &routed.understood.ask {
            Ask::OpenStream => None,
            Ask::EndSession => return None,
            Ask::Message(call) if call.method == Some(Method::Listen) => {
                let wanted = routed.understood.params()?.get("notifications")?;
                wanted.get("toolsListChanged")?.as_bool().filter(|wanted| *wanted)?;
                Some(call.id.as_deref()?)
            }
            Ask::Message(_) => return None,
        };
        let mut message = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"});
        if let Some(id) = subscription {
            let id: serde_json::Value = serde_json::from_str(id).ok()?;
            message["params"] = json!({"_meta": {"io.modelcontextprotocol/subscriptionId": id}});
        }
        Some(Shown {
            generation: view.snapshot.generation,
            tools: usable(&view.snapshot, view)?,
            message: Bytes::from(sse::message(&message.to_string())),
        })
    }

    /// The message to send, when what may be used has changed since the last time.
    pub(super) fn changed(&mut self, view: &View) -> Option<Bytes> {
        let snapshot = view.governance.snapshot();
        if snapshot.generation == self.generation {
            return None;
        }
        self.generation = snapshot.generation;
        let now = usable(&snapshot, view)?;
        let differs =
            |(tool, may): (&String, &bool)| self.tools.get(tool).is_some_and(|might| might != may);
        let changed = now.iter().any(differs);
        self.tools = now;
        changed.then(|| self.message.clone())
    }
}

/// Which of the server's tools the caller may use.
fn usable(snapshot: &Snapshot, view: &View) -> Option<HashMap<String, bool>> {
    let caller = snapshot.present(&view.caller)?;
    let server = snapshot.server_by_id(view.server.id)?;
    let circumstances =
        Circumstances { now: view.governance.clock().now(), ..view.circumstances.clone() };
    let guard = view.governance.tool_list();
    let listed = |tool: &str| {
        let target = Target::Tool(tool);
        view.governance.listed(snapshot, &caller, server, target, &circumstances)
            && guard.standing(snapshot, server, tool).passes()
    };
    Some(server.tools.iter().map(|tool| (tool.name.clone(), listed(&tool.name))).collect())
}
