//! Operations on agent accounts: programs with credentials of their own. A secret is shown once, by REST or
//! on the command line, never to a model; stored is its keyed hash.

use std::sync::Arc;

use gateway_core::caller::{PrincipalKind, Role, User};
use gateway_core::ids::{SessionId, UserId};
use gateway_core::reason::Reason;
use gateway_core::record::ActionType;
use gateway_store::agent::{AgentChange, AgentEdit, StoredAgent};
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::run::Run;
use super::{Change, answer, rfc3339};
use crate::oauth::client::agent::AGENT_SECRET;
use crate::perform::{About, Answer, Face, Planned, Refused};
use crate::ports::Random;

/// Longer than any token of an agent lives.
const TOKENS_LIVE: time::Duration = time::Duration::hours(2);
/// The longest name.
const LONGEST_NAME: usize = 64;
/// The longest key set, as JSON text.
const LONGEST_JWKS: usize = 16 * 1024;

/// Of `create_agent_account`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateAgentAccount {
    /// Its name, which policies use as `agent:NAME`: letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// Who answers for it: an e-mail address; yourself if absent. For others: administrators only.
    #[serde(default)]
    pub owner: Option<String>,
    /// Its platform roles, none that you don't hold.
    #[serde(default)]
    pub roles: Option<Vec<String>>,
    /// Its public keys, a JWK set, for `private_key_jwt`; then it has no secret.
    #[serde(default)]
    pub jwks: Option<Map<String, Value>>,
    /// Must be the boolean true; otherwise nothing changes and the answer shows what would.
    #[serde(default)]
    pub confirm: Option<bool>,
}

/// Of `list_agent_accounts`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListAgentAccounts {
    /// Rows per page, 1 to 200; 50 if absent.
    #[serde(default)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// Of `get_agent_account`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetAgentAccount {
    /// Its id, name or client id.
    pub agent: String,
}

/// Of `set_agent_account_status`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetAgentAccountStatus {
    /// Its id, name or client id.
    pub agent: String,
    /// true: it may get tokens and call; false: it may not, and tokens that are out end.
    pub enabled: bool,
    /// Must be the boolean true; otherwise nothing changes and the answer shows what would.
    #[serde(default)]
    pub confirm: Option<bool>,
}

/// Of `rotate_agent_account_secret`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateAgentAccountSecret {
    /// Its id, name or client id.
    pub agent: String,
    /// Must be the boolean true; otherwise nothing changes and the answer shows what would.
    #[serde(default)]
    pub confirm: Option<bool>,
}

/// Of `update_agent_account`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateAgentAccount {
    /// Its id, name or client id.
    pub agent: String,
    /// Who answers for it from now on: an e-mail address.
    #[serde(default)]
    pub owner: Option<String>,
    /// All its platform roles, none that its owner lacks.
    #[serde(default)]
    pub roles: Option<Vec<String>>,
    /// Must be the boolean true; otherwise nothing changes and the answer shows what would.
    #[serde(default)]
    pub confirm: Option<bool>,
}

/// An agent account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct AgentRow {
    /// Its id.
    pub id: String,
    /// Its name in policies.
    pub name: String,
    /// Its client id at the token endpoint.
    pub client_id: String,
    /// Who answers for it.
    pub owner: String,
    /// Its platform roles.
    pub roles: Vec<&'static str>,
    /// Whether it may get tokens and call.
    pub enabled: bool,
    /// How it proves itself: `client_secret` or `private_key_jwt`.
    pub auth_method: &'static str,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub updated_at: String,
}

/// An agent account with its secret.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct AgentWithSecret {
    /// The account.
    #[serde(flatten)]
    pub row: AgentRow,
    /// The secret. It is shown now and never again; absent for accounts that have none, and in tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<String>,
}

impl CreateAgentAccount {
    pub(crate) fn plan(self, run: &Run<'_>) -> Result<Planned, Refused> {
        let named = self.owner.as_deref().map(str::to_lowercase);
        let own = named.is_none_or(|owner| owner == run.user().email);
        run.authorize(own)?;
        let owner = match &self.owner {
            None => run.snapshot.user(run.user().id).cloned(),
            Some(name) => run.person(name),
        };
        let owner = owner.filter(|user| user.active).ok_or_else(no_owner)?;
        check_name(&self.name)?;
        if run.agent(&self.name).is_some() {
            return Err(taken());
        }
        let roles = roles(run, self.roles.as_deref().unwrap_or_default())?;
        held_by(&owner, &roles)?;
        let jwks = self.jwks.as_ref().map(key_set).transpose()?;
        let now = run.governance.clock().now();
        let id = UserId(run.governance.next_id(now));
        let secret = jwks.is_none().then(|| new_secret(run.governance.random()));
        let hash = |secret: &SecretString| {
            run.governance.oauth().hash(AGENT_SECRET, secret.expose_secret())
        };
        let agent = StoredAgent {
            principal: User {
                id,
                kind: PrincipalKind::Agent,
                email: format!("agent_{}", id.0.simple()),
                name: self.name,
                roles,
                groups: vec![],
                attributes: Default::default(),
                active: true,
            },
            secret_hash: secret.as_ref().map(hash),
            jwks,
            session: SessionId(run.governance.next_id(now)),
            owner: owner.id,
            created_at: now,
            updated_at: now,
        };
        Ok(Planned {
            action: ActionType::AgentAccountCreated,
            about: about(id),
            confirmed: self.confirm == Some(true),
            before: Value::Null,
            after: json!(row(run, &agent)),
            change: Change::NewAgent { agent: Box::new(agent), secret },
        })
    }
}

impl ListAgentAccounts {
    pub(crate) fn answer(self, run: &Run<'_>) -> Result<Answer, Refused> {
        run.authorize(true)?;
        let (all, me) = (run.may(false), run.user().id);
        let shown = run.snapshot.agents.iter().filter(|agent| all || agent.owner == me);
        let rows = shown.map(|agent| row(run, agent)).collect();
        answer(&run.page(rows, self.limit, self.cursor.as_deref())?)
    }
}

impl GetAgentAccount {
    pub(crate) fn answer(self, run: &Run<'_>) -> Result<Answer, Refused> {
        let agent = managed(run, &self.agent)?;
        answer(&row(run, &agent))
    }
}

impl SetAgentAccountStatus {
    pub(crate) fn plan(self, run: &Run<'_>) -> Result<Planned, Refused> {
        let agent = managed(run, &self.agent)?;
        let id = agent.principal.id;
        let state = |enabled: bool| json!({"agent": agent.principal.name, "enabled": enabled});
        Ok(Planned {
            action: if self.enabled {
                ActionType::AgentAccountEnabled
            } else {
                ActionType::AgentAccountDisabled
            },
            about: about(id),
            confirmed: self.confirm == Some(true),
            before: state(agent.principal.active),
            after: state(self.enabled),
            change: Change::AgentStatus { id, enabled: self.enabled },
        })
    }
}

impl RotateAgentAccountSecret {
    pub(crate) fn plan(self, run: &Run<'_>) -> Result<Planned, Refused> {
        let agent = managed(run, &self.agent)?;
        // Whoever has the secret is the agent.
        if agent.owner != run.user().id {
            run.may_act_upon("agent", &agent.principal)?;
        }
        if agent.jwks.is_some() {
            return Err(Refused::params("agent: it proves itself by private_key_jwt"));
        }
        let state = |secret: &str| json!({"agent": agent.principal.name, "secret": secret});
        Ok(Planned {
            action: ActionType::AgentAccountSecretRotated,
            about: about(agent.principal.id),
            confirmed: self.confirm == Some(true),
            before: state("as it is"),
            after: state("another; the former one and its tokens end"),
            change: Change::AgentSecret {
                id: agent.principal.id,
                secret: new_secret(run.governance.random()),
            },
        })
    }
}

impl UpdateAgentAccount {
    pub(crate) fn plan(self, run: &Run<'_>) -> Result<Planned, Refused> {
        run.authorize(false)?;
        let agent = run.agent(&self.agent).ok_or_else(absent)?;
        run.may_act_upon("agent", &agent.principal)?;
        let owner = match &self.owner {
            None => run.snapshot.user(agent.owner).cloned(),
            Some(name) => run.person(name).filter(|user| user.active),
        };
        let owner = owner.ok_or_else(no_owner)?;
        let roles = match &self.roles {
            Some(names) => roles(run, names)?,
            None => agent.principal.roles.clone(),
        };
        held_by(&owner, &roles)?;
        let state = |owner: &str, roles: &[Role]| {
            let roles: Vec<_> = roles.iter().map(|role| role.as_str()).collect();
            json!({"agent": agent.principal.name, "owner": owner, "roles": roles})
        };
        let before = row(run, &agent);
        let mut after = state(&owner.email, &roles);
        if owner.id != agent.owner {
            let note = "whoever owned it may know its secret: give it another one";
            after["note"] = json!(note);
        }
        Ok(Planned {
            action: ActionType::AgentAccountUpdated,
            about: about(agent.principal.id),
            confirmed: self.confirm == Some(true),
            before: state(&before.owner, &agent.principal.roles),
            after,
            change: Change::EditAgent {
                id: agent.principal.id,
                edit: Box::new(AgentEdit { owner: owner.id, roles }),
            },
        })
    }
}

/// Stores a new account.
pub(super) async fn create(
    run: &Run<'_>,
    agent: StoredAgent,
    secret: Option<SecretString>,
) -> Result<Answer, Refused> {
    if !run.governance.store.create_agent(&agent).await.map_err(Refused::store)? {
        return Err(taken());
    }
    super::seen_here(run).await;
    shown(run, &agent, secret)
}

/// Switches an account on or off.
pub(super) async fn set_status(
    run: &Run<'_>,
    id: UserId,
    enabled: bool,
) -> Result<Answer, Refused> {
    let change = change(run, id);
    let found = run.governance.store.set_agent_enabled(change, enabled).await;
    changed(run, id, found.map_err(Refused::store)?, None).await
}

/// Gives an account another secret.
pub(super) async fn set_secret(
    run: &Run<'_>,
    id: UserId,
    secret: SecretString,
) -> Result<Answer, Refused> {
    let hash = run.governance.oauth().hash(AGENT_SECRET, secret.expose_secret());
    let found = run.governance.store.rotate_agent_secret(change(run, id), &hash).await;
    changed(run, id, found.map_err(Refused::store)?, Some(secret)).await
}

/// Gives an account another owner or other roles.
pub(super) async fn edit(run: &Run<'_>, id: UserId, edit: &AgentEdit) -> Result<Answer, Refused> {
    let now = run.governance.clock().now();
    let found = run.governance.store.edit_agent(id, edit, now).await;
    changed(run, id, found.map_err(Refused::store)?, None).await
}

async fn changed(
    run: &Run<'_>,
    id: UserId,
    found: bool,
    secret: Option<SecretString>,
) -> Result<Answer, Refused> {
    super::seen_here(run).await;
    let snapshot = run.governance.snapshot();
    let agent = snapshot.agents.iter().find(|agent| agent.principal.id == id);
    match agent.filter(|_| found) {
        Some(agent) => shown(run, agent, secret),
        None => Err(absent()),
    }
}

/// A model does not handle secrets, and what tools answer is kept in the trail.
fn shown(
    run: &Run<'_>,
    agent: &StoredAgent,
    secret: Option<SecretString>,
) -> Result<Answer, Refused> {
    let row = row(run, agent);
    let path = format!("/api/v1/agent-accounts/{}/secret", row.id);
    let withheld = run.origin.face == Face::Tools && secret.is_some();
    let secret = secret.filter(|_| !withheld);
    let client_secret = secret.map(|secret| secret.expose_secret().to_owned());
    let mut answer = answer(&AgentWithSecret { row, client_secret })?;
    answer.note = withheld.then(|| {
        format!("Its secret is not shown in tools: POST {path} gives it a new one, shown once.")
    });
    Ok(answer)
}

/// The account, if the caller owns it or administers agents.
pub(super) fn managed(run: &Run<'_>, name: &str) -> Result<Arc<StoredAgent>, Refused> {
    let agent = run.agent(name);
    let mine = |agent: &Arc<StoredAgent>| run.may(agent.owner == run.user().id);
    agent.filter(mine).ok_or_else(absent)
}

/// An agent account as faces show it.
pub(super) fn row(run: &Run<'_>, agent: &StoredAgent) -> AgentRow {
    let principal = &agent.principal;
    AgentRow {
        id: principal.id.to_string(),
        name: principal.name.clone(),
        client_id: principal.email.clone(),
        owner: run.snapshot.user(agent.owner).map(|user| user.email.clone()).unwrap_or_default(),
        roles: principal.roles.iter().map(|role| role.as_str()).collect(),
        enabled: principal.active,
        auth_method: if agent.jwks.is_some() { "private_key_jwt" } else { "client_secret" },
        created_at: rfc3339(agent.created_at),
        updated_at: rfc3339(agent.updated_at),
    }
}

fn change(run: &Run<'_>, id: UserId) -> AgentChange {
    let now = run.governance.clock().now();
    let session = SessionId(run.governance.next_id(now));
    AgentChange { id, session, now, until: now + TOKENS_LIVE }
}

fn about(id: UserId) -> About {
    About { kind: Some("agent_account"), name: Some(id.to_string()), server: None }
}

fn absent() -> Refused {
    Refused::new(Reason::EntityNotFound, "no such agent account, or it is not yours")
}

fn taken() -> Refused {
    Refused::new(Reason::Conflict, "name: another agent account is called so")
}

fn check_name(name: &str) -> Result<(), Refused> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if begins && name.len() <= LONGEST_NAME && name.chars().all(legal) {
        return Ok(());
    }
    let detail = "name: expected 1 to 64 letters, digits, dots, dashes and underscores";
    Err(Refused::params(detail))
}

/// Nobody gives an agent a role that they lack.
fn roles(run: &Run<'_>, names: &[String]) -> Result<Vec<Role>, Refused> {
    let roles = super::duty::roles(names)?;
    match roles.iter().find(|role| !run.user().lends(**role)) {
        None => Ok(roles),
        Some(role) => {
            let detail = format!("roles: you don't hold {} yourself", role.as_str());
            Err(Refused::new(Reason::RoleMissing, detail))
        }
    }
}

/// Nor has an agent one that its owner lacks, who has its secret.
fn held_by(owner: &User, roles: &[Role]) -> Result<(), Refused> {
    match roles.iter().find(|role| !owner.lends(**role)) {
        None => Ok(()),
        Some(role) => {
            let detail = format!("roles: {} does not hold {}", owner.email, role.as_str());
            Err(Refused::new(Reason::RoleMissing, detail))
        }
    }
}

fn no_owner() -> Refused {
    Refused::new(Reason::EntityNotFound, "owner: no active user with that e-mail address")
}

/// Public keys only, of the kinds that are verified.
fn key_set(jwks: &Map<String, Value>) -> Result<String, Refused> {
    let text = Value::Object(jwks.clone()).to_string();
    let keys = jwks.get("keys").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let public = |key: &Value| {
        let kty = key.get("kty").and_then(Value::as_str);
        let private = ["d", "p", "q", "dp", "dq", "qi", "k", "oth"];
        matches!(kty, Some("OKP" | "EC" | "RSA"))
            && !private.iter().any(|member| key.get(member).is_some())
    };
    let good = (1..=10).contains(&keys.len()) && keys.iter().all(public);
    if good && text.len() <= LONGEST_JWKS {
        return Ok(text);
    }
    Err(Refused::params("jwks: expected a JWK set of 1 to 10 public keys (OKP, EC or RSA)"))
}

/// 32 random bytes, recognisable by scanners for secrets.
fn new_secret(random: &dyn Random) -> SecretString {
    use base64::Engine;
    let mut secret = [0; 32];
    random.fill(&mut secret);
    let encoded = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(secret);
    format!("rls_{encoded}").into()
}
