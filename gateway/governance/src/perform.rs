//! Performing one operation: authorise, record the intent of a change, do it in one transaction, record.
//!
//! Every face calls [`Governance::perform`] and only decodes and encodes around it. Who may do what is
//! asked of the policies; what an operation does stands under [`crate::operations`].
//!
//! Records: in the tools' face the call itself travels the governed line, which writes its intent and its
//! event, with the reason of a refusal; here only a change's own event is added. In the other faces this is
//! the only record.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use gateway_core::caller::{AuthMethod, Caller};
use gateway_core::ids::{CallId, EventId};
use gateway_core::reason::Reason;
use gateway_core::record::{ActionType, Event, Intent, Outcome, Subject};
use gateway_core::server::Server;
use gateway_store::StoreError;
use serde_json::{Value, json};

use crate::governance::Governance;
use crate::operations::{Change, Operation, Run, Step};

/// Where an operation comes from.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The exchange; what a refusal gives as correlation id.
    pub call: CallId,
    /// The caller's address.
    pub client_ip: IpAddr,
    /// The client's name, as it gives it.
    pub client_name: Option<String>,
    /// Through which face.
    pub face: Face,
}

/// The faces of the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Face {
    /// The Runlayer MCP. Changes need `confirm=true`, and nobody agrees to their own calls here: a model
    /// must not agree for its person.
    Tools,
    /// REST and the console.
    Rest,
    /// An operator's command.
    CommandLine,
}

impl Face {
    /// The name in figures.
    pub fn as_str(self) -> &'static str {
        match self {
            Face::Tools => "tools",
            Face::Rest => "rest",
            Face::CommandLine => "command_line",
        }
    }
}

/// What an operation gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// A JSON object; a list is `{"data": [...], "next_cursor": ...}`.
    pub value: Value,
    /// One sentence for whoever reads it, where the value does not say it.
    pub note: Option<String>,
    /// Of an export: what a file with it is called. One that ends in `.csv` holds the member `csv` alone.
    pub file: Option<String>,
}

impl Answer {
    /// Meant for a file of that name.
    pub(crate) fn saved_as(self, file: String) -> Answer {
        Answer { file: Some(file), ..self }
    }
}

/// An operation that was not performed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Refused {
    /// Why.
    pub reason: Reason,
    /// What was expected, or what to do next.
    pub detail: String,
    /// What would have changed, when only `confirm=true` was missing.
    pub preview: Option<Value>,
}

impl Refused {
    /// With this reason and this advice.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Refused {
        Refused { reason, detail: detail.into(), preview: None }
    }

    /// The database did not do it.
    pub(crate) fn store(error: StoreError) -> Refused {
        tracing::error!(%error, "an operation failed in the database");
        if error.is_unavailable() {
            Refused::new(Reason::CatalogueStale, "the database is not available; try again later")
        } else {
            Refused::new(Reason::Internal, "the database refused")
        }
    }

    pub(crate) fn params(detail: impl Into<String>) -> Refused {
        Refused::new(Reason::InvalidParams, detail)
    }
}

/// What an operation is about, for its record.
#[derive(Debug, Clone, Default)]
pub(crate) struct About {
    pub(crate) kind: Option<&'static str>,
    pub(crate) name: Option<String>,
    pub(crate) server: Option<Arc<Server>>,
}

/// A change that is allowed and ready to be made.
pub(crate) struct Planned {
    pub(crate) action: ActionType,
    pub(crate) about: About,
    pub(crate) confirmed: bool,
    /// What it is now, and what it will be.
    pub(crate) before: Value,
    pub(crate) after: Value,
    pub(crate) change: Change,
}

impl Governance {
    /// Performs `operation` for `caller`.
    pub async fn perform(
        &self,
        caller: &Caller,
        origin: &Origin,
        operation: Operation,
    ) -> Result<Answer, Refused> {
        let record = Record {
            governance: self,
            caller,
            origin,
            operation: operation.name(),
            started: Instant::now(),
        };
        let run = match Run::new(self, caller, origin, operation.name()) {
            Ok(run) => run,
            Err(refused) => return record.refused(About::default(), refused),
        };
        match operation.step(&run).await {
            Ok(Step::Answer(answer)) => {
                record.read();
                Ok(answer)
            }
            Ok(Step::Change(planned)) => record.change(&run, *planned).await,
            Err(refused) => record.refused(About::default(), refused),
        }
    }
}

/// One operation's debt to the audit trail.
struct Record<'a> {
    governance: &'a Governance,
    caller: &'a Caller,
    origin: &'a Origin,
    operation: &'static str,
    started: Instant,
}

impl Record<'_> {
    /// Role first, then confirm, then the record, then the change.
    async fn change(&self, run: &Run<'_>, planned: Planned) -> Result<Answer, Refused> {
        let Planned { action, about, confirmed, before, after, change } = planned;
        if self.origin.face == Face::Tools && !confirmed {
            let preview = json!({"operation": self.operation, "before": before, "after": after});
            let detail =
                "nothing was changed; repeat the call with confirm=true to make this change";
            let refused = Refused::new(Reason::ConfirmMissing, detail);
            return self.refused(about, Refused { preview: Some(preview), ..refused });
        }
        let intent = match self.intent(&about).await {
            Ok(intent) => intent,
            Err(refused) => return self.refused(about, refused),
        };
        match change.apply(run).await {
            Ok(answer) => {
                let change = json!({"before": before, "after": after}).to_string();
                let mut event = self.event(about, action, Outcome::Ok);
                event.concludes_intent = intent;
                event.result = Some(Bytes::from(change));
                self.governance.trail().conclude(event);
                Ok(answer)
            }
            Err(refused) if self.origin.face == Face::Tools => Err(refused),
            Err(refused) => {
                let mut event = self.event(about, action, Outcome::Error);
                event.concludes_intent = intent;
                event.reason = Some(refused.reason);
                event.detail = Some(refused.detail.clone());
                self.governance.trail().conclude(event);
                Err(refused)
            }
        }
    }

    /// A change is recorded before it is made. The governed line has done so for the tools' face.
    async fn intent(&self, about: &About) -> Result<bool, Refused> {
        if self.origin.face == Face::Tools {
            return Ok(false);
        }
        let intent = Intent {
            id: self.origin.call,
            at: self.governance.clock().now(),
            subject: Arc::new(self.subject(about)),
            arguments: None,
            request_bytes: 0,
        };
        match self.governance.trail().record(intent).await {
            Ok(_durable) => Ok(true),
            Err(error) => Err(Refused::new(Reason::AuditUnavailable, error.to_string())),
        }
    }

    fn read(&self) {
        if self.origin.face != Face::Tools {
            let event = self.event(About::default(), ActionType::OperationRead, Outcome::Ok);
            self.governance.trail().conclude(event);
        }
    }

    /// In the tools' face the line's own row says that the call was refused, and why.
    fn refused(&self, about: About, refused: Refused) -> Result<Answer, Refused> {
        if self.origin.face != Face::Tools {
            let action = ActionType::of_refusal(refused.reason);
            let mut event =
                self.event(about, action.unwrap_or(ActionType::RequestRefused), Outcome::Denied);
            event.reason = Some(refused.reason);
            event.detail = Some(refused.detail.clone());
            self.governance.trail().conclude(event);
        }
        Err(refused)
    }

    fn subject(&self, about: &About) -> Subject {
        let mut subject = Subject {
            client_name: self.origin.client_name.clone(),
            client_ip: Some(self.origin.client_ip.to_string()),
            server_id: about.server.as_ref().map(|server| server.id),
            server_slug: about.server.as_ref().map(|server| server.slug.to_string()),
            method: Some(self.operation.into()),
            resource_type: about.kind,
            resource_name: about.name.clone(),
            ..Subject::default()
        };
        subject.identified(self.caller);
        if self.caller.auth == AuthMethod::CommandLine {
            // The operator is no person of the catalogue.
            (subject.actor_id, subject.actor_email, subject.actor_kind) = (None, None, None);
        }
        subject
    }

    fn event(&self, about: About, action: ActionType, outcome: Outcome) -> Event {
        let now = self.governance.clock().now();
        let took = self.started.elapsed().as_micros();
        Event {
            latency_us: Some(u64::try_from(took).unwrap_or(u64::MAX)),
            ..Event::new(
                EventId(self.governance.next_id(now)),
                now,
                self.origin.call,
                self.subject(&about),
                action,
                outcome,
            )
        }
    }
}
