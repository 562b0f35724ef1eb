//! Operations on delegations: a person lets an agent act for them, on some servers, for some time. Only for
//! oneself: no role lets anybody do it for others.

use std::sync::Arc;

use gateway_core::ids::{DelegationId, ServerId};
use gateway_core::reason::Reason;
use gateway_core::record::ActionType;
use gateway_store::agent::StoredDelegation;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::run::Run;
use super::{Change, answer, rfc3339};
use crate::perform::{About, Answer, Planned, Refused};

/// Most servers that one delegation names.
const MOST_SERVERS: usize = 200;

/// Of `create_delegation`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateDelegation {
    /// The agent account that may act for you: its id, name or client id.
    pub agent: String,
    /// On these servers only, by id or slug; on all that you may use if absent.
    #[serde(default)]
    pub servers: Option<Vec<String>>,
    /// When it ends by itself, RFC 3339; not before you revoke it if absent.
    #[serde(default)]
    pub expires_at: Option<String>,
    /// Must be the boolean true; otherwise nothing changes and the answer shows what would.
    #[serde(default)]
    pub confirm: Option<bool>,
}

/// Of `list_delegations`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListDelegations {
    /// Only to this agent account: its id, name or client id.
    #[serde(default)]
    pub agent: Option<String>,
    /// Rows per page, 1 to 200; 50 if absent.
    #[serde(default)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// Of `revoke_delegation`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeDelegation {
    /// The delegation's id, from `list_delegations`.
    pub id: String,
    /// Must be the boolean true; otherwise nothing changes and the answer shows what would.
    #[serde(default)]
    pub confirm: Option<bool>,
}

/// A delegation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DelegationRow {
    /// Its id.
    pub id: String,
    /// The agent account's name.
    pub agent: String,
    /// The agent account's id.
    pub agent_id: String,
    /// For whom it may act: e-mail address.
    pub user: String,
    /// The slugs of the servers; null: all that the person may use.
    pub servers: Option<Vec<String>>,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub expires_at: Option<String>,
    /// RFC 3339.
    pub revoked_at: Option<String>,
}

impl CreateDelegation {
    pub(crate) fn plan(self, run: &Run<'_>) -> Result<Planned, Refused> {
        run.authorize(true)?;
        let agent = run.agent(&self.agent).filter(|agent| agent.principal.active);
        let agent = agent.ok_or_else(|| {
            Refused::new(Reason::EntityNotFound, "agent: no such agent account that is enabled")
        })?;
        let now = run.governance.clock().now();
        let expires_at =
            self.expires_at.as_deref().map(super::instant("expires_at")).transpose()?;
        if expires_at.is_some_and(|expiry| expiry <= now) {
            return Err(Refused::params("expires_at: expected an instant in the future"));
        }
        let new = StoredDelegation {
            id: DelegationId(run.governance.next_id(now)),
            agent: agent.principal.id,
            user: run.user().id,
            servers: self.servers.as_deref().map(|names| servers(run, names)).transpose()?,
            created_at: now,
            expires_at,
            revoked_at: None,
        };
        let before =
            run.snapshot.delegations().find(|d| (d.agent, d.user) == (new.agent, new.user));
        Ok(Planned {
            action: ActionType::DelegationCreated,
            about: about(new.id),
            confirmed: self.confirm == Some(true),
            before: before.map_or(Value::Null, |before| json!(row(run, before))),
            after: json!(row(run, &new)),
            change: Change::NewDelegation(Box::new(new)),
        })
    }
}

impl ListDelegations {
    pub(crate) fn answer(self, run: &Run<'_>) -> Result<Answer, Refused> {
        run.authorize(true)?;
        let agent = self.agent.as_deref().map(|name| run.agent(name).map(|a| a.principal.id));
        let asked = |d: &&StoredDelegation| agent.is_none_or(|agent| agent == Some(d.agent));
        let shown = run.snapshot.delegations().filter(asked).filter(|d| concerns(run, d));
        let rows = shown.map(|delegation| row(run, delegation)).collect();
        answer(&run.page(rows, self.limit, self.cursor.as_deref())?)
    }
}

impl RevokeDelegation {
    pub(crate) fn plan(self, run: &Run<'_>) -> Result<Planned, Refused> {
        let asked = self.id.to_lowercase();
        let found = run.snapshot.delegations().find(|d| d.id.to_string() == asked);
        let found = found.filter(|d| run.may(d.user == run.user().id)).ok_or_else(absent)?;
        Ok(Planned {
            action: ActionType::DelegationRevoked,
            about: about(found.id),
            confirmed: self.confirm == Some(true),
            before: json!(row(run, found)),
            after: json!({"id": found.id.to_string(), "revoked": true}),
            change: Change::EndDelegation(Box::new(found.clone())),
        })
    }
}

/// Stores a delegation; it takes the place of an earlier one to the same agent.
pub(super) async fn create(run: &Run<'_>, new: StoredDelegation) -> Result<Answer, Refused> {
    if !run.governance.store.create_delegation(&new).await.map_err(Refused::store)? {
        return Err(Refused::new(Reason::EntityNotFound, "the agent was removed meanwhile"));
    }
    super::seen_here(run).await;
    answer(&row(run, &new))
}

/// Withdraws a delegation.
pub(super) async fn revoke(run: &Run<'_>, mut found: StoredDelegation) -> Result<Answer, Refused> {
    let now = run.governance.clock().now();
    let ended = run.governance.store.revoke_delegation(found.id, now).await;
    if !ended.map_err(Refused::store)? {
        return Err(absent());
    }
    super::seen_here(run).await;
    found.revoked_at = Some(now);
    answer(&row(run, &found))
}

/// Whoever gave it, whoever owns the agent, and administrators know of it.
fn concerns(run: &Run<'_>, delegation: &StoredDelegation) -> bool {
    let me = run.user().id;
    let agent = run.snapshot.agents.iter().find(|agent| agent.principal.id == delegation.agent);
    run.may(false)
        || delegation.user == me
        || delegation.agent == me
        || agent.is_some_and(|agent| agent.owner == me)
}

/// Servers that the person may use: nobody passes on what they don't have.
fn servers(run: &Run<'_>, names: &[String]) -> Result<Vec<ServerId>, Refused> {
    if names.is_empty() || names.len() > MOST_SERVERS {
        return Err(Refused::params(format!("servers: expected 1 to {MOST_SERVERS} of them")));
    }
    let mut ids = Vec::with_capacity(names.len());
    for name in names {
        let server = run.snapshot.server(name).filter(|server| run.may_enter(server));
        let absent = || {
            let detail = format!("servers: no server \"{name}\" that you may use");
            Refused::new(Reason::ServerNotFound, detail)
        };
        ids.push(server.map(Arc::clone).ok_or_else(absent)?.id);
    }
    ids.sort_unstable_by_key(|id| id.0);
    ids.dedup();
    Ok(ids)
}

fn row(run: &Run<'_>, delegation: &StoredDelegation) -> DelegationRow {
    let agent = run.snapshot.agent(delegation.agent);
    let slug = |id: &ServerId| run.snapshot.server_by_id(*id).map(|server| server.slug.to_string());
    let servers = delegation.servers.as_ref();
    DelegationRow {
        id: delegation.id.to_string(),
        agent: agent.map(|agent| agent.name.clone()).unwrap_or_default(),
        agent_id: delegation.agent.to_string(),
        user: run.snapshot.user(delegation.user).map(|u| u.email.clone()).unwrap_or_default(),
        servers: servers.map(|ids| ids.iter().filter_map(slug).collect()),
        created_at: rfc3339(delegation.created_at),
        expires_at: delegation.expires_at.map(rfc3339),
        revoked_at: delegation.revoked_at.map(rfc3339),
    }
}

fn about(id: DelegationId) -> About {
    About { kind: Some("delegation"), name: Some(id.to_string()), server: None }
}

fn absent() -> Refused {
    Refused::new(Reason::EntityNotFound, "no such delegation, or it is not yours")
}
