//! Operations on the audit trail: what happened, one's own or, for those who may, everybody's.

use gateway_core::caller::PrincipalKind;
use gateway_core::ids::UserId;
use gateway_core::reason::Reason;
use gateway_core::record::ActionType;
use gateway_store::audit::{EventCursor, EventDetail, EventEntry, EventFilter, Only, Payload};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::run::{Page, Run, page_limit};
use super::{answer, instant, rfc3339};
use crate::perform::{Answer, Refused};

/// Of `list_audit_logs`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListAuditLogs {
    /// Only these kinds of event, for instance `tool_call_success`, `access_denied`, `auth_failed`.
    #[serde(default)]
    pub action_type: Option<Vec<String>>,
    /// `tool`, `resource`, `prompt`, `server`, `policy`, ...
    #[serde(default)]
    pub resource_type: Option<String>,
    /// The tool's or prompt's name, the resource's URI, or the entity's id.
    #[serde(default)]
    pub resource_id: Option<String>,
    /// Only this person, by id or e-mail address. Who may not see others gets own rows whatever is asked.
    #[serde(default)]
    pub actor_id: Option<String>,
    /// Only the exchange of which a refusal or an answer gave this id.
    #[serde(default)]
    pub correlation_id: Option<String>,
    /// Only what this agent account did, for itself or on somebody's behalf: by id, name or client id.
    #[serde(default)]
    pub agent_id: Option<String>,
    /// Only this MCP client, for instance `Cursor`.
    #[serde(default)]
    pub client_name: Option<String>,
    /// Only this server, by id or slug.
    #[serde(default)]
    pub server_id: Option<String>,
    /// How it ended.
    #[serde(default)]
    pub outcome: Option<OutcomeName>,
    /// Not before this instant, RFC 3339.
    #[serde(default)]
    pub start: Option<String>,
    /// Before this instant, RFC 3339.
    #[serde(default)]
    pub end: Option<String>,
    /// Rows per page, 1 to 200; 50 if absent.
    #[serde(default)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// How an exchange ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeName {
    /// Done.
    Ok,
    /// Failed behind the gateway.
    Error,
    /// Refused.
    Denied,
    /// The client went away.
    Cancelled,
    /// Nobody knows.
    Unknown,
}

/// Of `get_audit_log`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetAuditLog {
    /// The entry's id, from `list_audit_logs`.
    pub id: String,
}

/// An audit entry without its large fields.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Entry {
    /// Its id.
    pub id: String,
    /// RFC 3339: when the exchange began.
    pub timestamp: String,
    /// What happened, for instance `tool_call_success` or `access_denied`.
    pub action_type: String,
    /// `ok`, `error`, `denied`, `cancelled` or `unknown`.
    pub outcome: String,
    /// Why it was refused or failed: a stable code.
    pub reason: Option<String>,
    /// Who: e-mail address.
    pub actor_email: Option<String>,
    /// Who: id.
    pub actor_id: Option<String>,
    /// `person` or `agent`.
    pub actor_kind: Option<String>,
    /// Where an agent acted for a person: that person's e-mail address.
    pub on_behalf_of: Option<String>,
    /// The agent account that acted, for itself or on the person's behalf.
    pub act: Option<Act>,
    /// How the caller proved who it is: `api_key`, `jwt`, `oauth_token` or `browser`.
    pub auth_method: Option<String>,
    /// The MCP client, as it names itself.
    pub client_name: Option<String>,
    /// The server's slug.
    pub server: Option<String>,
    /// The server's id.
    pub server_id: Option<String>,
    /// The MCP method, or the operation.
    pub method: Option<String>,
    /// `tool`, `resource`, `prompt`, `server`, ...
    pub resource_type: Option<String>,
    /// The tool's or prompt's name, the resource's URI, the entity's id.
    pub resource_id: Option<String>,
    /// The exchange: what a refusal gave as correlation id.
    pub correlation_id: String,
    /// The deciding policies.
    pub policy_ids: Vec<String>,
    /// From the first byte in to the last byte out, microseconds.
    pub latency_us: Option<i64>,
    /// For how many equal events it stands.
    pub count: i64,
}

/// Who acted, as in a token's `act`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Act {
    /// The agent account's id.
    pub sub: String,
    /// Its name at the time.
    pub name: Option<String>,
}

/// An audit entry in full.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Detail {
    /// The same as in lists.
    #[serde(flatten)]
    pub entry: Entry,
    /// RFC 3339: when it was over.
    pub finished_at: String,
    /// RFC 3339: when its intent was durable, for what was forwarded or changed.
    pub intended_at: Option<String>,
    /// What was tried, on what.
    pub detail: Option<String>,
    /// The key's id or the token's issuer.
    pub credential: Option<String>,
    /// The MCP client's version.
    pub client_version: Option<String>,
    /// The caller's address.
    pub client_ip: Option<String>,
    /// A short hash of the session handle.
    pub session: Option<String>,
    /// The JSON-RPC id, as JSON text.
    pub request_id: Option<String>,
    /// `legacy` or `modern`.
    pub era: Option<String>,
    /// The confirmation that let it pass, or that it waits for.
    pub confirmation_id: Option<String>,
    /// The W3C trace id.
    pub trace_id: Option<String>,
    /// What the scanners saw.
    pub findings: Value,
    /// The deciding policies by name, as they are called now.
    pub policies: Vec<NamedPolicy>,
    /// Time spent with the server, microseconds.
    pub upstream_us: Option<i64>,
    /// Bytes of the request's body.
    pub request_bytes: Option<i64>,
    /// Bytes of the answer's body.
    pub response_bytes: Option<i64>,
    /// The call's arguments, if they were kept.
    pub arguments: Option<Body>,
    /// The answer, or a change's before and after, if kept.
    pub result: Option<Body>,
    /// Other entries of the same exchange, oldest first.
    pub related: Vec<Entry>,
}

/// A policy's id and name.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct NamedPolicy {
    /// Its id.
    pub id: String,
    /// Its name; null once it is gone.
    pub name: Option<String>,
}

/// Arguments or a result.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Body {
    /// The text as it was; bytes that are no UTF-8 are replaced.
    pub text: String,
    /// How many bytes there were.
    pub bytes: u64,
    /// True when only the beginning was kept.
    pub cut: bool,
}

impl ListAuditLogs {
    pub(crate) async fn answer(self, run: &Run<'_>) -> Result<Answer, Refused> {
        run.authorize(true)?;
        let limit = page_limit(self.limit)?;
        let after = match self.cursor.as_deref() {
            Some(cursor) => Some(read_cursor(&run.open_cursor(cursor)?)?),
            None => None,
        };
        let Some(filter) = self.filter(run)? else {
            return answer(&Page::<Entry> { data: vec![], next_cursor: None });
        };
        let found = run.governance.store.list_events(&filter, after, limit as usize).await;
        let found = found.map_err(Refused::store)?;
        answer(&Page {
            data: found.events.into_iter().map(Entry::from).collect(),
            next_cursor: found.next.map(|next| run.seal_cursor(&next.to_string())),
        })
    }

    /// `None` when nothing can fit it.
    fn filter(self, run: &Run<'_>) -> Result<Option<EventFilter>, Refused> {
        let action_types = self.action_type.unwrap_or_default();
        let known = |name: &&String| ActionType::ALL.iter().any(|action| action.as_str() == *name);
        if let Some(unknown) = action_types.iter().find(|name| !known(name)) {
            return Err(Refused::params(format!("action_type: there is no \"{unknown}\"")));
        }
        let mut filter = EventFilter {
            action_types,
            resource_type: self.resource_type,
            resource_id: self.resource_id,
            client_name: self.client_name,
            outcome: self.outcome.map(|outcome| outcome.name().to_owned()),
            start: self.start.as_deref().map(instant("start")).transpose()?,
            end: self.end.as_deref().map(instant("end")).transpose()?,
            ..EventFilter::default()
        };
        if let Some(call) = self.correlation_id {
            let read = call.parse();
            filter.correlation_id =
                Some(read.map_err(|_| Refused::params("correlation_id: expected a UUID"))?);
        }
        if let Some(server) = self.server_id {
            let by_slug = run.snapshot.server(&server).map(|server| server.id);
            let Some(id) = by_slug.or_else(|| server.parse().ok()) else { return Ok(None) };
            filter.server_id = Some(id);
        }
        if let Some(actor) = self.actor_id {
            let known = run.person(&actor).map(|user| user.id);
            let Some(id) = known.or_else(|| actor.parse().ok()) else { return Ok(None) };
            filter.actor_id = Some(id);
        }
        if let Some(agent) = self.agent_id {
            let known = run.agent(&agent).map(|agent| agent.principal.id);
            let Some(id) = known.or_else(|| agent.parse().ok()) else { return Ok(None) };
            filter.agent_id = Some(id);
        }
        // Whatever was asked for: without the role everybody sees their own entries only, and an agent
        // what it did on the person's behalf.
        let own = own_entries(run);
        let other = |asked: Option<UserId>, own: Option<UserId>| {
            own.is_some() && asked.is_some() && asked != own
        };
        if other(filter.actor_id, own.actor) || other(filter.agent_id, own.agent) {
            return Ok(None);
        }
        filter.actor_id = own.actor.or(filter.actor_id);
        filter.agent_id = own.agent.or(filter.agent_id);
        Ok(Some(filter))
    }
}

impl OutcomeName {
    fn name(self) -> &'static str {
        match self {
            OutcomeName::Ok => "ok",
            OutcomeName::Error => "error",
            OutcomeName::Denied => "denied",
            OutcomeName::Cancelled => "cancelled",
            OutcomeName::Unknown => "unknown",
        }
    }
}

impl GetAuditLog {
    pub(crate) async fn answer(self, run: &Run<'_>) -> Result<Answer, Refused> {
        run.authorize(true)?;
        let absent =
            || Refused::new(Reason::EntityNotFound, "no such audit entry, or it is not yours");
        let id = self.id.parse().map_err(|_| absent())?;
        let found =
            run.governance.store.get_event(id, own_entries(run)).await.map_err(Refused::store)?;
        answer(&detail(run, found.ok_or_else(absent)?))
    }
}

/// Which entries the caller may see.
fn own_entries(run: &Run<'_>) -> Only {
    match run.may(false) {
        true => Only::default(),
        false => Only { actor: Some(run.user().id), agent: run.actor() },
    }
}

fn read_cursor(text: &str) -> Result<EventCursor, Refused> {
    text.parse().map_err(|_| Refused::params("cursor: expected next_cursor of the page before"))
}

impl From<EventEntry> for Entry {
    fn from(event: EventEntry) -> Entry {
        let person = event.actor_kind.as_deref() == Some(PrincipalKind::Person.as_str());
        let for_somebody = person && event.agent_id.is_some();
        Entry {
            id: event.id.to_string(),
            timestamp: rfc3339(event.timestamp),
            action_type: event.action_type,
            outcome: event.outcome,
            reason: event.reason,
            on_behalf_of: event.actor_email.clone().filter(|_| for_somebody),
            act: event.agent_id.map(|id| Act { sub: id.to_string(), name: event.agent_name }),
            actor_email: event.actor_email,
            auth_method: event.auth_method,
            actor_kind: event.actor_kind,
            actor_id: event.actor_id.map(|id| id.to_string()),
            client_name: event.client_name,
            server: event.server_slug,
            server_id: event.server_id.map(|id| id.to_string()),
            method: event.method,
            resource_type: event.resource_type,
            resource_id: event.resource_name,
            correlation_id: event.correlation_id.to_string(),
            policy_ids: event.policy_ids,
            latency_us: event.latency_us,
            count: event.count,
        }
    }
}

fn detail(run: &Run<'_>, found: EventDetail) -> Detail {
    let EventDetail { event, arguments, result, intended_at, neighbours } = found;
    let body = |payload: Payload| Body {
        cut: payload.is_cut(),
        bytes: payload.size,
        text: String::from_utf8_lossy(&payload.bytes).into_owned(),
    };
    let named = |id: &String| NamedPolicy {
        id: id.clone(),
        name: id
            .parse()
            .ok()
            .and_then(|id| run.snapshot.policy(id))
            .map(|source| source.spec.name.clone()),
    };
    Detail {
        finished_at: rfc3339(event.finished_at),
        intended_at: intended_at.map(rfc3339),
        detail: event.detail.clone(),
        credential: event.credential.clone(),
        client_version: event.client_version.clone(),
        client_ip: event.client_ip.clone(),
        session: event.session.clone(),
        request_id: event.request_id.clone(),
        era: event.era.clone(),
        confirmation_id: event.confirmation_id.map(|id| id.to_string()),
        trace_id: event.trace_id.clone(),
        findings: event.findings.clone(),
        policies: event.policy_ids.iter().map(named).collect(),
        upstream_us: event.upstream_us,
        request_bytes: event.request_bytes,
        response_bytes: event.response_bytes,
        arguments: arguments.map(body),
        result: result.map(body),
        related: neighbours.into_iter().map(Entry::from).collect(),
        entry: Entry::from(event),
    }
}
