//! People's agreement to one call: how it is asked for and how the answer comes back. By what the client can
//! do: modern: an `input_required` result whose sealed `requestState` returns with the answer; legacy with
//! elicitation: `elicitation/create` on the call's own stream; neither, or an approver other than the
//! caller, or an agent that calls: a link, and the same call goes through once it is agreed. What is agreed to (principal, server,
//! tool, definition, arguments) is the binding; governance keeps it, single use, across replicas.

use std::time::Duration;

use bytes::Bytes;
use gateway_core::caller::Caller;
use gateway_core::decision::{Approver, Demand, Target};
use gateway_core::ids::ConfirmationId;
use gateway_core::json::Json;
use gateway_core::mcp::{Era, MessageKind};
use gateway_core::reason::Reason;
use gateway_core::record::Outcome;
use gateway_core::sse;
use gateway_governance::confirmations::{Binding, NewConfirmation, Settled, Via};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};

use super::receipt::Ended;
use super::refusal::{Refusal, Way};
use super::resolve::Routed;
use super::{Proxy, answer, connect};
use crate::exchange::{self, Reply};

/// Begins the id of our own `elicitation/create` requests, and our `requestState`.
const OURS: &str = "rl-confirm.";
/// The key of our request among `inputRequests`.
const INPUT_KEY: &str = "rl-confirm";

/// A call that people have agreed to; the agreement is used up.
pub(super) struct Agreed {
    pub(super) routed: Routed,
    pub(super) confirmation: ConfirmationId,
    pub(super) carried: Option<Carried>,
}

/// What our elicitation put into a modern request: ours is taken out again, and what the client had sent
/// for the upstream before we asked is put back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Carried {
    #[serde(rename = "c")]
    confirmation: ConfirmationId,
    /// The upstream's own `requestState`, as JSON text.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub(super) request_state: Option<String>,
    /// The client's answers for the upstream, as JSON text.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub(super) input_responses: Option<String>,
}

/// A legacy client's answer to our own question.
pub(super) struct Agreement {
    confirmation: ConfirmationId,
    approve: bool,
}

/// What the call is bound to, with what it tells the upstream besides: answers to its questions, and the state that goes
/// with them. `None`: what our own state is sealed to, which holds those.
fn binding(
    routed: &Routed,
    target: Target<'_>,
    answers: Option<&Answers>,
    proxy: &Proxy,
) -> Binding {
    let definition = match target {
        Target::Tool(name) => routed.server.tool(name).map(|tool| tool.hash),
        Target::Resource(_) | Target::Prompt(_) => None,
    };
    let arguments = routed.understood.arguments().map(|a| a.canonical());
    let mut arguments = arguments.unwrap_or_else(|| "{}".into());
    if let Some(Answers { responses: Some(responses), state }) = answers {
        let state = state.as_deref().unwrap_or_default();
        // No canonical text has a line break.
        arguments = format!("{arguments}\n{responses}\n{state}");
    }
    proxy.governance.confirmations().binding(
        &routed.understood.identified.caller,
        routed.server.id,
        target,
        definition.unwrap_or_default(),
        &arguments,
    )
}

/// What a modern call tells the upstream besides its arguments, canonical.
struct Answers {
    responses: Option<String>,
    state: Option<String>,
}

impl Answers {
    /// Of a request; `carried`: what it had in it before we asked, if it answers a question of ours.
    fn of(routed: &Routed, carried: Option<&Carried>) -> Answers {
        let canonical = |text: &str| Json::checked_before(text).canonical();
        if let Some(Carried { request_state, input_responses, .. }) = carried {
            let ours = request_state.as_deref().is_some_and(connect::is_ours);
            let theirs = |text: &Option<String>| text.as_deref().filter(|_| !ours).map(canonical);
            return Answers { responses: theirs(input_responses), state: theirs(request_state) };
        }
        let params = routed.understood.params().filter(|_| !connect::came_back(routed));
        let theirs = |member| params.and_then(|p| p.get(member)).map(|value| value.canonical());
        Answers { responses: theirs("inputResponses"), state: theirs("requestState") }
    }
}

/// Our state in a modern request, if it carries one; an error if it is not for exactly this call.
pub(super) fn carried(
    routed: &Routed,
    target: Target<'_>,
    proxy: &Proxy,
) -> Result<Option<Carried>, String> {
    if routed.understood.era() == Era::Legacy {
        return Ok(None);
    }
    let state = routed.understood.params().and_then(|p| p.get("requestState"));
    let Some(state) = state.and_then(|s| s.as_str()) else { return Ok(None) };
    let Some(sealed) = state.strip_prefix(OURS) else { return Ok(None) };
    let context = binding(routed, target, None, proxy);
    let plain = proxy.request_states.open(context.as_bytes(), sealed);
    let plain = plain.map_err(|_| "requestState is not for this call".to_owned())?;
    let carried = serde_json::from_slice(&plain);
    carried.map(Some).map_err(|_| "requestState is not readable".to_owned())
}

/// What people are asked.
pub(super) struct Question {
    pub(super) demand: Demand,
    /// The arguments as they are shown.
    pub(super) shown: Option<String>,
}

/// Gets the agreement that a confirm rule demands, or refuses with the way to it.
pub(super) async fn obtain(
    routed: Routed,
    target: Target<'_>,
    Question { demand, shown }: Question,
    proxy: &Proxy,
) -> Result<Agreed, Refusal> {
    let carried = match carried(&routed, target, proxy) {
        Ok(carried) => carried,
        Err(detail) => {
            return Err(Refusal::of_routed(routed, Reason::ConfirmationExpired, detail));
        }
    };
    let answers = Answers::of(&routed, carried.as_ref());
    let sealed_to = binding(&routed, target, None, proxy);
    let binding = binding(&routed, target, Some(&answers), proxy);
    let request = Request { binding, sealed_to, demand, shown, carried };
    if let Some(carried) = request.carried.clone() {
        return request.answered(routed, carried, proxy).await;
    }
    // Agreed out of band, and now the same call is made again.
    match proxy.governance.confirmations().take_agreed(&request.binding, &request.demand).await {
        Ok(Some(confirmation)) => return Ok(Agreed { routed, confirmation, carried: None }),
        Ok(None) => {}
        Err(error) => return Err(unavailable(routed, &error)),
    }
    request.ask(routed, target, proxy).await
}

fn unavailable(routed: Routed, error: &dyn std::fmt::Display) -> Refusal {
    Refusal::of_routed(routed, Reason::AuditUnavailable, format!("confirmation: {error}"))
}

/// What is being asked.
struct Request {
    binding: Binding,
    sealed_to: Binding,
    demand: Demand,
    shown: Option<String>,
    carried: Option<Carried>,
}

impl Request {
    async fn ask(
        self,
        mut routed: Routed,
        target: Target<'_>,
        proxy: &Proxy,
    ) -> Result<Agreed, Refusal> {
        let caller = &routed.understood.identified.caller;
        let Some(behind) = routed.snapshot.person_behind(caller) else {
            let detail = "nobody answers for this agent".into();
            return Err(Refusal::of_routed(routed, Reason::ConfirmationExpired, detail));
        };
        let new = NewConfirmation {
            binding: self.binding.clone(),
            user: behind,
            server: routed.server.id,
            target: format!("{}:{}", target.kind(), target.name()),
            demand: Demand { message: told(caller, &self.demand.message), ..self.demand.clone() },
            call: routed.understood.identified.received.receipt.call,
            arguments: self.shown.clone(),
        };
        let pending = match proxy.governance.confirmations().request(new).await {
            Ok(pending) => pending,
            Err(error) => return Err(unavailable(routed, &error)),
        };
        let receipt = &mut routed.understood.identified.received.receipt;
        receipt.subject.confirmation_id = Some(pending.id);
        // An agent's client is no human, and the person's own is not asked through it.
        let human = routed.understood.identified.caller.agent().is_none();
        let in_band =
            human && self.demand.approvers == [Approver::Caller] && routed.client.elicitation;
        match (in_band, routed.understood.era()) {
            (true, Era::Modern) => Err(self.input_required(routed, pending.id, proxy)),
            (true, Era::Legacy) => self.elicit(routed, pending.id, pending.expires_at, proxy).await,
            (false, _) => Err(self.link(routed, pending.id, proxy)),
        }
    }

    /// Modern: the client asks its user and repeats the request with the answer.
    fn input_required(self, routed: Routed, id: ConfirmationId, proxy: &Proxy) -> Refusal {
        let params = routed.understood.params();
        let raw = |key| params.and_then(|p| p.get(key)).map(|v| v.raw().to_owned());
        let carried = Carried {
            confirmation: id,
            request_state: raw("requestState"),
            input_responses: raw("inputResponses"),
        };
        let plain = serde_json::to_vec(&carried).unwrap_or_default();
        let mut nonce = [0; 12];
        proxy.governance.random().fill(&mut nonce);
        let sealed = proxy.request_states.seal(nonce, self.sealed_to.as_bytes(), &plain);
        let result = answer::ask_user(INPUT_KEY, &self.demand.message, &format!("{OURS}{sealed}"));
        self.refuse(routed, Way::Ask(result))
    }

    /// Neither elicitation nor the caller's word will do: somebody decides elsewhere.
    fn link(self, routed: Routed, id: ConfirmationId, proxy: &Proxy) -> Refusal {
        let link = format!("{}/confirmations/{id}", proxy.edge.public_url());
        self.refuse(routed, Way::Link(link))
    }

    fn refuse(self, mut routed: Routed, way: Way) -> Refusal {
        let policies: Vec<_> = self.demand.policies.iter().map(ToString::to_string).collect();
        let subject = &mut routed.understood.identified.received.receipt.subject;
        subject.policy_ids.clone_from(&policies);
        let refusal = Refusal::of_routed(routed, Reason::ConfirmationRequired, String::new());
        Refusal { policies, message: Some(self.demand.message), way, ..refusal }
    }

    /// Legacy: ask on the call's own stream; the answer comes as a POST, to whichever replica.
    async fn elicit(
        self,
        routed: Routed,
        id: ConfirmationId,
        until: gateway_core::Timestamp,
        proxy: &Proxy,
    ) -> Result<Agreed, Refusal> {
        let question = answer::elicit(&format!("{OURS}{id}"), &self.demand.message);
        let frame = Bytes::from(sse::message(&question));
        let early = routed.understood.identified.received.early.clone();
        if early.send(HeaderMap::new(), frame).await.is_err() {
            let detail = "the client went away before it could be asked".into();
            return Err(Refusal::of_routed(routed, Reason::ConfirmationExpired, detail));
        }
        let settled = proxy.governance.confirmations().wait(id, until).await;
        self.settled(routed, settled, None, proxy).await
    }

    /// Modern: the repeated request, with the user's answer.
    async fn answered(
        self,
        routed: Routed,
        carried: Carried,
        proxy: &Proxy,
    ) -> Result<Agreed, Refusal> {
        let answer = routed
            .understood
            .params()
            .and_then(|p| p.at(&["inputResponses", INPUT_KEY]))
            .map(|response| agrees(response.get("result").unwrap_or(response)));
        let Some(approve) = answer else {
            let detail = format!("inputResponses.{INPUT_KEY}: missing");
            return Err(Refusal::of_routed(routed, Reason::ConfirmationExpired, detail));
        };
        let caller = &routed.understood.identified.caller;
        let confirmations = proxy.governance.confirmations();
        let id = carried.confirmation;
        let settled = match confirmations.settle(caller, id, approve, Via::Elicitation).await {
            Ok(settled) => settled,
            Err(refused) => {
                return Err(Refusal::of_routed(
                    routed,
                    Reason::ConfirmationExpired,
                    refused.detail,
                ));
            }
        };
        self.settled(routed, settled, Some(carried), proxy).await
    }

    /// Uses the agreement up: of several equal calls, one gets it.
    async fn settled(
        self,
        routed: Routed,
        settled: Settled,
        carried: Option<Carried>,
        proxy: &Proxy,
    ) -> Result<Agreed, Refusal> {
        match settled {
            Settled::Agreed => {}
            Settled::Declined => {
                return Err(Refusal::of_routed(
                    routed,
                    Reason::ConfirmationDeclined,
                    String::new(),
                ));
            }
            Settled::Expired => {
                return Err(Refusal::of_routed(routed, Reason::ConfirmationExpired, String::new()));
            }
        }
        match proxy.governance.confirmations().take_agreed(&self.binding, &self.demand).await {
            Ok(Some(confirmation)) => Ok(Agreed { routed, confirmation, carried }),
            Ok(None) => {
                let detail = "the agreement was used already".into();
                Err(Refusal::of_routed(routed, Reason::ConfirmationExpired, detail))
            }
            Err(error) => Err(unavailable(routed, &error)),
        }
    }
}

/// What people are told out of band: which agent calls, too.
fn told(caller: &Caller, message: &str) -> String {
    match caller.agent() {
        Some(agent) => format!("The agent \"{}\" makes this call. {message}", agent.name),
        None => message.to_owned(),
    }
}

/// `{"action":"accept","content":{"confirm":true}}` and nothing else means yes.
fn agrees(result: Json<'_>) -> bool {
    let action = result.get("action").and_then(|a| a.as_str());
    let confirm = result.at(&["content", "confirm"]).and_then(|c| c.as_bool());
    action.as_deref() == Some("accept") && confirm == Some(true)
}

/// A legacy client's answer to a question of ours, if this message is one.
pub(super) fn agreement(routed: &Routed) -> Option<Agreement> {
    let call = routed.understood.call().filter(|call| call.kind == MessageKind::Response)?;
    let id = Json::checked_before(call.id.as_deref()?).as_str()?;
    let confirmation = id.strip_prefix(OURS)?.parse().ok()?;
    let message = Json::checked_before(routed.understood.text());
    let approve = message.get("result").is_some_and(agrees);
    Some(Agreement { confirmation, approve })
}

/// Hands a legacy client's answer to whoever waits for it.
pub(super) async fn settle(
    routed: Routed,
    agreement: Agreement,
    proxy: &Proxy,
) -> Result<Reply, Refusal> {
    let caller = &routed.understood.identified.caller;
    let settled = tokio::time::timeout(
        Duration::from_secs(5),
        proxy.governance.confirmations().settle(
            caller,
            agreement.confirmation,
            agreement.approve,
            Via::Elicitation,
        ),
    );
    match settled.await {
        Ok(Ok(_)) => {
            let receipt = routed.understood.identified.received.receipt;
            receipt.conclude(Ended::without_body(Outcome::Ok, None, String::new()));
            Ok(exchange::empty(StatusCode::ACCEPTED))
        }
        Ok(Err(refused)) => {
            Err(Refusal::of_routed(routed, Reason::ConfirmationExpired, refused.detail))
        }
        Err(_) => Err(unavailable(routed, &"no answer in time")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_explicit_yes_is_a_yes() {
        let cases = [
            (r#"{"action":"accept","content":{"confirm":true}}"#, true),
            (r#"{"action":"accept","content":{"confirm":"true"}}"#, false),
            (r#"{"action":"accept","content":{"confirm":1}}"#, false),
            (r#"{"action":"accept","content":{"confirm":false}}"#, false),
            (r#"{"action":"accept","content":{}}"#, false),
            (r#"{"action":"accept"}"#, false),
            (r#"{"action":"decline","content":{"confirm":true}}"#, false),
            (r#"{"action":"cancel"}"#, false),
            (r#"{}"#, false),
            (r#"[]"#, false),
        ];
        for (text, expected) in cases {
            assert_eq!(agrees(Json::checked_before(text)), expected, "{text}");
        }
    }
}
