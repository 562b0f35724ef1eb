//! Why somebody may or may not do something.

use std::sync::Arc;

use gateway_core::decision::{Circumstances, Question, Target};
use gateway_core::json::Json;
use gateway_core::reason::Reason;
use gateway_core::server::Server;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::answer;
use super::run::Run;
use crate::perform::{Answer, Refused};
use crate::tool_list::Standing;

const HOW_TO_REQUEST: &str = "call request_access with this server, what you need and why";

/// Of `explain_access`. Name one of `tool`, `resource` and `prompt`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainAccess {
    /// Whose access: an e-mail address or a user id, or `agent:NAME`; yourself if absent.
    #[serde(default)]
    pub principal: Option<String>,
    /// The server's id or slug.
    pub server: String,
    /// The tool's name.
    #[serde(default)]
    pub tool: Option<String>,
    /// The resource's URI.
    #[serde(default)]
    pub resource: Option<String>,
    /// The prompt's name.
    #[serde(default)]
    pub prompt: Option<String>,
    /// The call's arguments, where policies look at them.
    #[serde(default)]
    pub arguments: Option<Map<String, Value>>,
    /// The MCP client's name, where policies look at it.
    #[serde(default)]
    pub client_name: Option<String>,
}

/// A verdict with its grounds.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Explained {
    /// Whose access.
    pub principal: String,
    /// Where.
    pub server: String,
    /// To what, as `tool:NAME`.
    pub target: String,
    /// `allow`, `deny` or `confirm`.
    pub verdict: &'static str,
    /// One sentence.
    pub reason: String,
    /// The deciding policy's own message.
    pub message: Option<String>,
    /// Who must agree first.
    pub approvers: Vec<String>,
    /// Where the flow rule may ask too, whatever the policies say: when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow_rule: Option<String>,
    /// Of a tool that nobody can call, whatever the policies say: why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_back: Option<String>,
    /// Of a denial: how to ask for access.
    pub how_to_request: Option<&'static str>,
    /// The policies about this person and this server.
    pub policies: Vec<ExplainedPolicy>,
}

/// One policy's part.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ExplainedPolicy {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `allow`, `deny`, `confirm` or `cedar`.
    pub effect: &'static str,
    /// True when the verdict rests on it.
    pub deciding: bool,
    /// Why it holds or does not.
    pub why: String,
}

impl ExplainAccess {
    pub(crate) fn answer(self, run: &Run<'_>) -> Result<Answer, Refused> {
        let target = self.target()?;
        let admin = run.may(false);
        let user = match &self.principal {
            None => Some(run.caller.user.clone()),
            Some(name) => {
                let agent = || Some(Arc::new(run.agent(name)?.principal.clone()));
                let found = run.person(name).or_else(agent);
                found.filter(|user| admin || user.id == run.user().id)
            }
        };
        let Some(user) = user else {
            run.authorize(self.principal.is_none())?;
            return Err(Refused::new(Reason::EntityNotFound, "principal: no such person"));
        };
        run.authorize(user.id == run.user().id)?;
        let server = run.server(&self.server)?;
        let circumstances = Circumstances {
            client: self.client_name.clone().unwrap_or_else(|| run.circumstances().client),
            ..run.circumstances()
        };
        let arguments = Value::Object(self.arguments.clone().unwrap_or_default()).to_string();
        let arguments = Json::parse(arguments.as_bytes())
            .map_err(|e| Refused::params(format!("arguments: {e}")))?;
        let question = Question {
            user: &user,
            server: &server,
            target,
            arguments: Some(arguments),
            circumstances: &circumstances,
            confirmed: false,
        };
        answer(&explained(run, &question, admin))
    }

    fn target(&self) -> Result<Target<'_>, Refused> {
        match (&self.tool, &self.resource, &self.prompt) {
            (Some(tool), None, None) => Ok(Target::Tool(tool)),
            (None, Some(resource), None) => Ok(Target::Resource(resource)),
            (None, None, Some(prompt)) => Ok(Target::Prompt(prompt)),
            _ => Err(Refused::params("expected exactly one of tool, resource and prompt")),
        }
    }
}

/// To those who do not administer policies, what they may never use and what does not exist look alike.
fn explained(run: &Run<'_>, question: &Question<'_>, admin: bool) -> Explained {
    let explanation = run.snapshot.policies.explain(question);
    let hidden = !admin && (explanation.invisible || unknown(question.server, question.target));
    let about = Explained {
        principal: question.user.email.clone(),
        server: question.server.slug.to_string(),
        target: format!("{}:{}", question.target.kind(), question.target.name()),
        verdict: "deny",
        reason: "There is no such thing on this server, or no policy allows it".into(),
        message: None,
        approvers: vec![],
        flow_rule: None,
        held_back: None,
        how_to_request: Some(HOW_TO_REQUEST),
        policies: vec![],
    };
    if hidden {
        return about;
    }
    let policy = |part: policies::Considered| ExplainedPolicy {
        id: part.id.to_string(),
        name: part.name,
        effect: part.effect,
        deciding: part.deciding,
        why: part.why,
    };
    Explained {
        how_to_request: (explanation.verdict == "deny").then_some(HOW_TO_REQUEST),
        verdict: explanation.verdict,
        reason: explanation.reason,
        message: explanation.message,
        approvers: explanation.approvers.into_iter().map(String::from).collect(),
        held_back: held_back(run, question),
        flow_rule: flow_rule(run, question.server).filter(|_| explanation.verdict != "deny"),
        policies: explanation.policies.into_iter().map(policy).collect(),
        ..about
    }
}

/// The verdict is the policies'; a tool whose definition was not approved is not called all the same.
fn held_back(run: &Run<'_>, question: &Question<'_>) -> Option<String> {
    let Target::Tool(tool) = question.target else { return None };
    let server = run.snapshot.server_by_id(question.server.id)?;
    let why = match run.governance.tool_list().standing(&run.snapshot, server, tool) {
        Standing::Approved | Standing::Changed => return None,
        Standing::Quarantined => {
            "The tool is quarantined: its definition is new or has changed, and it waits for approval"
        }
        Standing::Rejected => "Somebody has rejected the tool's definition",
        Standing::Blocked => "A scanner stops the tool's definition",
    };
    Some(format!("{why}. Until that changes nobody sees or calls it: list_tool_definition_changes"))
}

/// The verdict is the policies'; what was read before may make it a question.
fn flow_rule(run: &Run<'_>, server: &Server) -> Option<String> {
    let flow = run.governance.flow();
    let minutes = flow.window().whole_minutes();
    flow.concerns(server).then(|| {
        format!(
            "The server is labelled outward: a caller who in the last {minutes} minutes has read from servers \
             labelled untrusted and private must agree to the call"
        )
    })
}

/// A tool that the server, whose tools have been read, does not have.
pub(super) fn unknown(server: &Server, target: Target<'_>) -> bool {
    match target {
        Target::Tool(name) => server.eras.is_some() && server.tool(name).is_none(),
        Target::Resource(_) | Target::Prompt(_) => false,
    }
}
