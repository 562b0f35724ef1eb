//! Why the line stopped, and the one place that says so: to the trail, and to the client in its own era's
//! form. What a client reads comes from `Reason`; the audit row has the details.

use gateway_core::decision::Denial;
use gateway_core::mcp::{Call, Era, MessageKind, Method};
use gateway_core::reason::Reason;
use gateway_core::record::{ActionType, Outcome};

use super::parse::Understood;
use super::receipt::{Ended, Receipt};
use super::resolve::Routed;
use super::{Proxy, answer};
use crate::exchange::Reply;

/// An exchange that ends here.
pub(super) struct Refusal {
    pub(super) receipt: Receipt,
    pub(super) reason: Reason,
    /// Which field, what was expected; what was tried, on what.
    pub(super) detail: String,
    pub(super) form: Form,
    pub(super) policies: Vec<String>,
    /// A policy's own words.
    pub(super) message: Option<String>,
    /// How the call can still go through.
    pub(super) way: Way,
    /// Some of the call may have reached the upstream: nobody knows what it did there.
    pub(super) sent: bool,
}

/// What the answer has to look like.
#[derive(Debug, Clone)]
pub(super) struct Form {
    /// The request's id as JSON text; `None` where there is none to echo.
    pub(super) id: Option<String>,
    pub(super) era: Era,
    /// A model waits for the answer of a tool; a task instead of an answer would have to be an error.
    pub(super) tool: bool,
}

impl Form {
    /// Of what answers this message.
    pub(super) fn answering(call: &Call) -> Form {
        let request = call.kind == MessageKind::Request;
        Form {
            id: call.id.clone().filter(|_| request),
            era: call.era,
            tool: request && call.method == Some(Method::CallTool) && !call.as_task,
        }
    }
}

impl Default for Form {
    fn default() -> Form {
        Form { id: None, era: Era::Legacy, tool: false }
    }
}

/// How a refused call can still go through.
#[derive(Debug, Clone)]
pub(super) enum Way {
    /// It cannot.
    None,
    /// Once somebody has agreed at this address.
    Link(String),
    /// Once the client has asked its user: an `input_required` result, as JSON text.
    Ask(String),
    /// Once so many seconds have passed, as the limit of that name has it, if it is a limit's.
    Later { seconds: u32, limit: Option<String> },
    /// Once the person has connected their account at this address.
    Connect(String),
    /// The same for a client that can send its user there: the address, and `elicitation/create`'s parameters.
    ConnectByUrl(String, serde_json::Value),
}

impl Refusal {
    /// Refuses an exchange whose message is not known.
    pub(super) fn new(receipt: Receipt, reason: Reason, detail: String) -> Refusal {
        let form = Form::default();
        let policies = Vec::new();
        Refusal {
            receipt,
            reason,
            detail,
            form,
            policies,
            message: None,
            way: Way::None,
            sent: false,
        }
    }

    /// Refuses an exchange whose message is known.
    pub(super) fn of(understood: Understood, reason: Reason, detail: String) -> Refusal {
        let call = understood.call().cloned();
        let refusal = Refusal::new(understood.identified.received.receipt, reason, detail);
        match call {
            Some(call) => refusal.answering(&call),
            None => refusal,
        }
    }

    /// Refuses an exchange whose server is known.
    pub(super) fn of_routed(routed: Routed, reason: Reason, detail: String) -> Refusal {
        Refusal::of(routed.understood, reason, detail)
    }

    /// Echoes an id that could be read although the message could not.
    pub(super) fn echo(self, id: Option<String>, era: Era) -> Refusal {
        Refusal { form: Form { id, era, tool: false }, ..self }
    }

    /// Answers this message.
    pub(super) fn answering(self, call: &Call) -> Refusal {
        Refusal { form: Form::answering(call), ..self }
    }

    /// Names the policies that stopped it, and their message.
    pub(super) fn because(mut self, denial: Denial) -> Refusal {
        self.policies = denial.policies.iter().map(ToString::to_string).collect();
        self.receipt.subject.policy_ids.clone_from(&self.policies);
        self.message = denial.message;
        self
    }

    /// Writes the record and makes the answer.
    pub(super) fn conclude(self, proxy: &Proxy) -> Reply {
        let reply = answer::refuse(&self, proxy.edge.public_url());
        self.record();
        reply
    }

    /// The same as one message on a stream that is open already.
    pub(super) fn conclude_as_message(self) -> String {
        let message = answer::message(&self);
        self.record();
        message
    }

    fn record(self) {
        let outcome = match (self.sent, ActionType::of_refusal(self.reason)) {
            (true, _) => Outcome::Unknown,
            (false, None) => Outcome::Error,
            (false, Some(_)) => Outcome::Denied,
        };
        self.receipt.conclude(Ended::without_body(outcome, Some(self.reason), self.detail));
    }
}
