//! The filters of the audit trail, the same for lists and exports, and whose entries somebody may see.

use gateway_core::ids::UserId;
use gateway_core::located::nearest;
use gateway_core::record::ActionType;
use gateway_store::audit::{EventCursor, EventFilter, Only};
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::instant;
use super::super::run::Run;
use crate::perform::Refused;

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

/// Arguments with the trail's filters, and more.
macro_rules! with_filters {
    ($(#[$doc:meta])* $name:ident { $($(#[$more:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            /// Any of these, as access_denied.
            #[serde(default)]
            pub action_type: Option<Vec<String>>,
            /// tool, resource, prompt, server, policy, ...
            #[serde(default)]
            pub resource_type: Option<String>,
            /// Tool's or prompt's name, URI, or entity's id.
            #[serde(default)]
            pub resource_id: Option<String>,
            /// A person's id or e-mail address.
            #[serde(default)]
            pub actor_id: Option<String>,
            /// Of one exchange.
            #[serde(default)]
            pub correlation_id: Option<String>,
            /// An agent account's id, name or client id.
            #[serde(default)]
            pub agent_id: Option<String>,
            /// The MCP client, as Cursor.
            #[serde(default)]
            pub client_name: Option<String>,
            /// Id or slug.
            #[serde(default)]
            pub server_id: Option<String>,
            /// How it ended.
            #[serde(default)]
            pub outcome: Option<OutcomeName>,
            /// Not before this, RFC 3339.
            #[serde(default)]
            pub start: Option<String>,
            /// Before this, RFC 3339.
            #[serde(default)]
            pub end: Option<String>,
            $($(#[$more])* #[serde(default)] pub $field: $type,)*
        }

        impl $name {
            /// `None` when nothing can fit it.
            fn filter(&self, run: &Run<'_>) -> Result<Option<EventFilter>, Refused> {
                let Self {
                    action_type, resource_type, resource_id, actor_id, correlation_id, agent_id,
                    client_name, server_id, outcome, start, end, ..
                } = self.clone();
                Filters {
                    action_type, resource_type, resource_id, actor_id, correlation_id, agent_id,
                    client_name, server_id, outcome, start, end,
                }
                .read(run)
            }
        }
    };
}
pub(super) use with_filters;

/// What [`with_filters`] declares.
pub(super) struct Filters {
    pub(super) action_type: Option<Vec<String>>,
    pub(super) resource_type: Option<String>,
    pub(super) resource_id: Option<String>,
    pub(super) actor_id: Option<String>,
    pub(super) correlation_id: Option<String>,
    pub(super) agent_id: Option<String>,
    pub(super) client_name: Option<String>,
    pub(super) server_id: Option<String>,
    pub(super) outcome: Option<OutcomeName>,
    pub(super) start: Option<String>,
    pub(super) end: Option<String>,
}

impl Filters {
    /// `None` when nothing can fit them.
    pub(super) fn read(self, run: &Run<'_>) -> Result<Option<EventFilter>, Refused> {
        let action_types = self.action_type.unwrap_or_default();
        known_actions(&action_types)?;
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
        if let (Some(start), Some(end)) = (filter.start, filter.end)
            && start >= end
        {
            return Err(Refused::params("start: expected an instant before end"));
        }
        if let Some(call) = self.correlation_id {
            let read = call.parse();
            filter.correlation_id =
                Some(read.map_err(|_| Refused::params("correlation_id: expected a UUID"))?);
        }
        if let Some(server) = self.server_id {
            let by_slug = run.snapshot.server(&server).map(|server| server.id);
            let Some(id) = by_slug.or_else(|| server.parse().ok()) else { return Ok(None) };
            filter.server_id = Some(id);
            // Else what is found tells that a server is there which the caller may not enter.
            filter.reached = !run.may(false);
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
        Ok(own(filter, own_entries(run)))
    }
}

/// Whatever was asked for: without the role everybody sees their own entries only, and an agent what it did
/// on the person's behalf.
fn own(mut filter: EventFilter, own: Only) -> Option<EventFilter> {
    let other = |asked: Option<UserId>, own: Option<UserId>| {
        own.is_some() && asked.is_some() && asked != own
    };
    if other(filter.actor_id, own.actor) || other(filter.agent_id, own.agent) {
        return None;
    }
    filter.actor_id = own.actor.or(filter.actor_id);
    filter.agent_id = own.agent.or(filter.agent_id);
    Some(filter)
}

/// Which entries the caller may see.
pub(super) fn own_entries(run: &Run<'_>) -> Only {
    match run.may(false) {
        true => Only::default(),
        false => Only { actor: Some(run.user().id), agent: run.actor() },
    }
}

/// Where the page before ended.
pub(super) fn read_cursor(
    run: &Run<'_>,
    cursor: Option<&str>,
) -> Result<Option<EventCursor>, Refused> {
    let Some(cursor) = cursor else { return Ok(None) };
    let place = run.open_cursor(cursor)?.parse();
    let place =
        place.map_err(|_| Refused::params("cursor: expected next_cursor of the page before"));
    Ok(Some(place?))
}

fn known_actions(names: &[String]) -> Result<(), Refused> {
    let all: Vec<&str> = ActionType::ALL.iter().map(|action| action.as_str()).collect();
    let Some(unknown) = names.iter().find(|name| !all.contains(&name.as_str())) else {
        return Ok(());
    };
    let advice = match nearest(unknown, &all) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("expected any of {}", all.join(", ")),
    };
    Err(Refused::params(format!("action_type: there is no \"{unknown}\"; {advice}")))
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
