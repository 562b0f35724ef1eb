//! How an entry's verdict came about. Which policies decided is recorded; what else was considered is asked
//! anew, about the same call and the policies as they are now.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use gateway_core::caller::User;
use gateway_core::decision::{Approver, Circumstances, FLOW_RULE, Question, Target};
use gateway_core::ids::PolicyId;
use gateway_core::json::Json;
use gateway_store::audit::{EventEntry, Payload};
use schemars::JsonSchema;
use serde::Serialize;

use super::super::access::unknown;
use super::super::run::Run;
use crate::perform::Refused;

/// A policy's part in an entry's verdict.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct TracedPolicy {
    /// Its id.
    pub id: String,
    /// Null once it is gone.
    pub name: Option<String>,
    /// allow, deny, confirm or cedar; null once it is gone.
    pub effect: Option<String>,
    /// Recorded: the verdict rested on it.
    pub deciding: bool,
    /// Why it holds or not, as policies are now.
    pub why: Option<String>,
}

/// What people were asked about the call.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct TracedConfirmation {
    /// pending, agreed, declined, used or expired.
    pub status: &'static str,
    /// What the rule says.
    pub message: String,
    /// Everybody who had to agree.
    pub approvers: Vec<String>,
    /// Who did.
    pub agreed: Vec<String>,
}

/// The recorded policies first, then others that are about the same call.
pub(super) fn policies(
    run: &Run<'_>,
    event: &EventEntry,
    arguments: Option<&Payload>,
) -> Vec<TracedPolicy> {
    let mut policies: Vec<_> = event.policy_ids.iter().map(|id| recorded(run, id)).collect();
    for considered in considered(run, event, arguments) {
        let id = considered.id.to_string();
        let why = Some(considered.why);
        match policies.iter_mut().find(|policy| policy.id == id) {
            Some(policy) if policy.why.is_some() => {}
            Some(policy) => {
                (policy.effect, policy.why) = (Some(considered.effect.to_owned()), why);
            }
            None => policies.push(TracedPolicy {
                id,
                name: Some(considered.name),
                effect: Some(considered.effect.to_owned()),
                deciding: false,
                why,
            }),
        }
    }
    policies
}

fn recorded(run: &Run<'_>, id: &str) -> TracedPolicy {
    let parsed = id.parse::<PolicyId>().ok();
    let spec = parsed.and_then(|id| run.snapshot.policy(id)).map(|source| &source.spec);
    if parsed == Some(FLOW_RULE) {
        return TracedPolicy {
            id: id.to_owned(),
            name: run.snapshot.policies.name(FLOW_RULE).map(str::to_owned),
            effect: Some("confirm".into()),
            deciding: true,
            why: Some("untrusted content and private data were read before".into()),
        };
    }
    TracedPolicy {
        id: id.to_owned(),
        name: spec.map(|spec| spec.name.clone()),
        effect: spec.map(|spec| spec.effect.clone().unwrap_or_else(|| "cedar".into())),
        deciding: true,
        why: None,
    }
}

/// Asked as each of those was who had to be allowed.
fn considered(
    run: &Run<'_>,
    event: &EventEntry,
    arguments: Option<&Payload>,
) -> Vec<policies::Considered> {
    let principals = [event.actor_id, event.agent_id].into_iter().flatten();
    let principals = principals.filter_map(|id| run.snapshot.principal(id));
    let mut found: Vec<policies::Considered> = Vec::new();
    for principal in principals {
        for part in considered_for(run, principal, event, arguments).unwrap_or_default() {
            if !found.contains(&part) {
                found.push(part);
            }
        }
    }
    found
}

/// `None` where nobody asked policies, and where the reader must not learn of them.
fn considered_for(
    run: &Run<'_>,
    user: &Arc<User>,
    event: &EventEntry,
    arguments: Option<&Payload>,
) -> Option<Vec<policies::Considered>> {
    let server = run.snapshot.server_by_id(event.server_id?)?;
    let name = event.resource_name.as_deref()?;
    let target = match event.resource_type.as_deref()? {
        "tool" => Target::Tool(name),
        "resource" => Target::Resource(name),
        "prompt" => Target::Prompt(name),
        _ => return None,
    };
    let address = event.client_ip.as_deref().and_then(|text| text.parse().ok());
    let circumstances = Circumstances {
        client: event.client_name.clone().unwrap_or_default(),
        ip: address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        now: event.timestamp,
    };
    let whole = arguments.filter(|payload| !payload.is_cut());
    let question = Question {
        user,
        server,
        target,
        arguments: whole.and_then(|payload| Json::parse(&payload.bytes).ok()),
        circumstances: &circumstances,
        confirmed: event.confirmation_id.is_some() && event.outcome != "denied",
    };
    let explanation = run.snapshot.policies.explain(&question);
    let hidden = !run.may(false) && (explanation.invisible || unknown(server, target));
    (!hidden).then_some(explanation.policies)
}

/// What became of the entry's confirmation.
pub(super) async fn confirmation(
    run: &Run<'_>,
    event: &EventEntry,
) -> Result<Option<TracedConfirmation>, Refused> {
    let Some(id) = event.confirmation_id else { return Ok(None) };
    let found = run.governance.store.get_confirmation(id).await.map_err(Refused::store)?;
    Ok(found.map(|found| TracedConfirmation {
        status: found.status_at(run.governance.clock().now()).as_str(),
        approvers: found.approvers.iter().cloned().map(<String as From<Approver>>::from).collect(),
        agreed: found.answers.iter().filter(|a| a.approve).map(|a| a.email.clone()).collect(),
        message: found.message,
    }))
}
