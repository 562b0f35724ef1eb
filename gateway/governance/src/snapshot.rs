//! The catalogue as one immutable value: what every decision of one exchange is made with.
//!
//! Built whole from what the store read at one instant, or not at all. It knows nothing of how it is
//! kept current; that is [`crate::refresh`].

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use gateway_core::Timestamp;
use gateway_core::caller::{AuthMethod, Caller, PrincipalKind, User};
use gateway_core::ids::{ServerId, SessionId, UserId};
use gateway_core::scan::Scanning;
use gateway_core::server::{Approval, SecretSource, Server};
use gateway_store::agent::{StoredAgent, StoredDelegation};
use gateway_store::api_key::StoredKey;
use gateway_store::catalogue::Catalogue;
use gateway_store::definition::Pins;
use gateway_store::limit::StoredLimit;
use gateway_store::policy::StoredPolicy;
use gateway_store::signing_key::StoredSigningKey;
use policies::{PolicySet, Problem, Source};
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use crate::limits::Index;
use crate::scanners::Scanners;

/// Everything that decisions rest on, at one version. Immutable.
#[derive(Debug)]
pub struct Snapshot {
    /// The catalogue's version in the store.
    pub version: i64,
    /// Counts snapshots in this process; never the same for different contents.
    pub generation: u64,
    /// When it was read.
    pub loaded_at: Timestamp,
    /// Every server, by slug, with secrets resolved.
    pub servers: Vec<Arc<Server>>,
    /// Everybody, by e-mail.
    pub users: Vec<Arc<User>>,
    /// The compiled policies, without those that were over when it was read.
    pub policies: Arc<PolicySet>,
    /// The policies as written, in order, those that are over too.
    pub sources: Arc<Vec<Source>>,
    /// The limits on calls.
    pub limits: Arc<Index>,
    /// What the scanners do.
    pub scanners: Arc<Scanners>,
    /// When the next policy is over: from then on a new snapshot is due.
    pub ends_at: Option<Timestamp>,
    stored_policies: Vec<StoredPolicy>,
    stored_limits: Vec<StoredLimit>,
    by_slug: HashMap<String, usize>,
    by_server_id: HashMap<ServerId, usize>,
    by_email: HashMap<String, usize>,
    by_user_id: HashMap<UserId, usize>,
    keys: HashMap<[u8; 32], StoredKey>,
    /// Every agent account, by name.
    pub agents: Vec<Arc<StoredAgent>>,
    /// The principals of `agents`, in the same order.
    agent_principals: Vec<Arc<User>>,
    delegations: Vec<StoredDelegation>,
    /// Every key that signs access tokens, or did.
    pub signing_keys: Arc<Vec<StoredSigningKey>>,
    revoked: HashSet<SessionId>,
    ended_sessions: HashSet<[u8; 32]>,
    pins: HashMap<ServerId, Pins>,
}

/// A catalogue that cannot be decided with.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// A stored policy is not readable.
    #[error("policy \"{name}\" in the database is not readable: {source}")]
    Unreadable {
        /// The policy.
        name: String,
        /// What serde says.
        source: serde_json::Error,
    },
    /// A stored limit is not readable.
    #[error("limit \"{name}\" in the database is not readable: {why}")]
    Limit {
        /// The limit.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// Stored settings of the scanners are not readable.
    #[error("the scanners' settings of {whose} in the database are not readable: {why}")]
    Scanners {
        /// The organisation, or a server.
        whose: String,
        /// What is wrong with them.
        why: String,
    },
    /// Stored policies do not compile.
    #[error("policies in the database do not compile: {}", list(.0))]
    Policies(Vec<Problem>),
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl Snapshot {
    /// Compiles and indexes `catalogue`. Policies that did not change since `previous`, and of which none is
    /// over since, are not compiled again. Slow: not for async tasks.
    pub fn build(
        catalogue: Catalogue,
        previous: Option<&Snapshot>,
        now: Timestamp,
    ) -> Result<Snapshot, SnapshotError> {
        let (sources, policies) = match previous {
            Some(previous)
                if previous.stored_policies == catalogue.policies && !previous.is_over(now) =>
            {
                (Arc::clone(&previous.sources), Arc::clone(&previous.policies))
            }
            Some(_) | None => compile(&catalogue.policies, now)?,
        };
        let limits = match previous {
            Some(previous) if previous.stored_limits == catalogue.limits => {
                Arc::clone(&previous.limits)
            }
            Some(_) | None => {
                let index = Index::build(&catalogue.limits);
                Arc::new(index.map_err(|(name, why)| SnapshotError::Limit { name, why })?)
            }
        };
        let scanners =
            Scanners::build(&catalogue.scanners, previous.map(|previous| &previous.scanners))
                .map_err(|(whose, why)| SnapshotError::Scanners { whose, why })?;
        let ends = sources.iter().filter_map(|source| source.spec.ends_at());
        let ends_at = ends.filter(|end| *end > now).min();
        let servers: Vec<_> =
            catalogue.servers.into_iter().map(with_secret).map(Arc::new).collect();
        let users: Vec<_> = catalogue.users.into_iter().map(Arc::new).collect();
        let mut agents = catalogue.agents;
        for agent in &mut agents {
            // Somebody must answer for a program, which is never more than they are.
            let owner = users.iter().find(|user| user.id == agent.owner && user.active);
            agent.principal.active &= owner.is_some();
            agent.principal.roles.retain(|role| owner.is_some_and(|owner| owner.lends(*role)));
        }
        Ok(Snapshot {
            version: catalogue.version,
            generation: previous.map_or(1, |previous| previous.generation + 1),
            loaded_at: now,
            by_slug: (0..).zip(&servers).map(|(i, s)| (s.slug.to_string(), i)).collect(),
            by_server_id: (0..).zip(&servers).map(|(i, s)| (s.id, i)).collect(),
            by_email: (0..).zip(&users).map(|(i, u)| (u.email.clone(), i)).collect(),
            by_user_id: (0..).zip(&users).map(|(i, u)| (u.id, i)).collect(),
            keys: catalogue.keys.into_iter().map(|key| (key.hash, key)).collect(),
            agent_principals: agents.iter().map(|a| Arc::new(a.principal.clone())).collect(),
            agents: agents.into_iter().map(Arc::new).collect(),
            delegations: catalogue.delegations,
            signing_keys: Arc::new(catalogue.signing_keys),
            revoked: catalogue.revoked.into_iter().collect(),
            ended_sessions: catalogue.ended_sessions.into_iter().collect(),
            stored_policies: catalogue.policies,
            stored_limits: catalogue.limits,
            limits,
            scanners,
            servers,
            users,
            policies,
            sources,
            ends_at,
            pins: catalogue.pins,
        })
    }

    /// True once a policy in it is over, so that another snapshot is due. Verdicts are right all the same.
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        self.ends_at.is_some_and(|end| end <= now)
    }

    /// The server of that id or slug, as in a proxy URL.
    pub fn server(&self, id_or_slug: &str) -> Option<&Arc<Server>> {
        let by_slug = self.by_slug.get(id_or_slug).and_then(|&i| self.servers.get(i));
        by_slug.or_else(|| self.server_by_id(ServerId(Uuid::parse_str(id_or_slug).ok()?)))
    }

    /// What is looked for on the way to and from that server, and what is done about it.
    pub fn scanning(&self, server: ServerId) -> &Arc<Scanning> {
        self.scanners.scanning(Some(server))
    }

    /// What was decided about the definition with that pin; `None`: it is not known on that server.
    pub(crate) fn approval(&self, server: ServerId, pin: &[u8; 32]) -> Option<Option<Approval>> {
        self.pins.get(&server)?.known.get(pin).copied()
    }

    /// Since when a tool of that name is known on that server.
    pub(crate) fn tool_since(&self, server: ServerId, tool: &str) -> Option<Timestamp> {
        self.pins.get(&server)?.since.get(tool).copied()
    }

    /// The server of that id.
    pub fn server_by_id(&self, id: ServerId) -> Option<&Arc<Server>> {
        self.servers.get(*self.by_server_id.get(&id)?)
    }

    /// The person of that id, active or not.
    pub fn user(&self, id: UserId) -> Option<&Arc<User>> {
        self.users.get(*self.by_user_id.get(&id)?)
    }

    /// The person of that address, in any case; active or not.
    pub fn user_by_email(&self, email: &str) -> Option<&Arc<User>> {
        let index = match self.by_email.get(email) {
            Some(index) => index,
            None => self.by_email.get(&email.to_lowercase())?,
        };
        self.users.get(*index)
    }

    /// The agent account of that id, enabled or not, as a principal.
    pub fn agent(&self, id: UserId) -> Option<&Arc<User>> {
        self.agent_principals.iter().find(|agent| agent.id == id)
    }

    /// The agent account of that client id, enabled or not.
    pub fn agent_by_client_id(&self, client_id: &str) -> Option<&Arc<StoredAgent>> {
        self.agents.iter().find(|agent| agent.principal.email == client_id)
    }

    /// The person or the agent account of that id.
    pub fn principal(&self, id: UserId) -> Option<&Arc<User>> {
        self.user(id).or_else(|| self.agent(id))
    }

    /// The caller as they are now; `None` once the person or the agent is gone or switched off.
    pub fn present(&self, caller: &Caller) -> Option<Caller> {
        let now = |was: &Arc<User>| self.principal(was.id).filter(|known| known.active).cloned();
        let actor = match &caller.actor {
            Some(agent) => Some(now(agent)?),
            None => None,
        };
        Some(Caller { user: now(&caller.user)?, actor, ..caller.clone() })
    }

    /// The person behind a caller: of an agent that acts for itself, its owner.
    pub fn person_behind(&self, caller: &Caller) -> Option<UserId> {
        match caller.user.kind {
            PrincipalKind::Person => Some(caller.user.id),
            PrincipalKind::Agent => {
                let same = |agent: &&Arc<StoredAgent>| agent.principal.id == caller.user.id;
                self.agents.iter().find(same).map(|agent| agent.owner)
            }
        }
    }

    /// Whether the caller has the leave that a call on somebody's behalf needs on that server (`None`:
    /// the gateway itself).
    pub fn has_leave(&self, caller: &Caller, server: Option<ServerId>, now: Timestamp) -> bool {
        caller
            .actor
            .as_ref()
            .is_none_or(|agent| self.delegation((agent.id, caller.user.id), server, now).is_some())
    }

    /// The leave of `user` for `agent`, as long as it holds on that server (`None`: the gateway itself).
    pub fn delegation(
        &self,
        (agent, user): (UserId, UserId),
        server: Option<ServerId>,
        now: Timestamp,
    ) -> Option<&StoredDelegation> {
        let theirs = |d: &&StoredDelegation| d.agent == agent && d.user == user;
        self.delegations.iter().filter(theirs).find(|d| d.covers(server, now))
    }

    /// Every delegation that was not withdrawn.
    pub fn delegations(&self) -> impl Iterator<Item = &StoredDelegation> {
        self.delegations.iter()
    }

    /// Whether any delegation of `user` to `agent` holds, on whatever server.
    pub fn delegates(&self, agent: UserId, user: UserId, now: Timestamp) -> bool {
        let theirs = |d: &&StoredDelegation| d.agent == agent && d.user == user;
        self.delegations.iter().filter(theirs).any(|d| d.holds(now))
    }

    /// True once the session was ended.
    pub fn is_revoked(&self, session: SessionId) -> bool {
        self.revoked.contains(&session)
    }

    /// True once the MCP session whose handle has that SHA-256 was ended before its time.
    pub fn is_ended(&self, handle: &[u8; 32]) -> bool {
        self.ended_sessions.contains(handle)
    }

    /// False once the person, the agent or the credential of `caller` no longer works: long streams end then.
    pub fn still_good(&self, caller: &Caller, now: Timestamp) -> bool {
        let here =
            |principal: &Arc<User>| self.principal(principal.id).is_some_and(|known| known.active);
        let active = caller.principals().all(here);
        let delegated =
            caller.actor.as_ref().is_none_or(|agent| self.delegates(agent.id, caller.user.id, now));
        let works = |key: &StoredKey| {
            key.revoked_at.is_none() && key.expires_at.is_none_or(|expires| expires > now)
        };
        let held = match caller.auth {
            AuthMethod::ApiKey => {
                let named = |key: &&StoredKey| key.id.to_string() == *caller.credential;
                self.keys.values().find(named).is_some_and(works)
            }
            AuthMethod::OauthToken | AuthMethod::Browser => {
                caller.credential.parse().is_ok_and(|session| !self.is_revoked(session))
            }
            AuthMethod::Jwt | AuthMethod::CommandLine => true,
        };
        active && delegated && held
    }

    /// The API key with that keyed hash, whatever its state.
    pub(crate) fn key(&self, hash: &[u8; 32]) -> Option<&StoredKey> {
        self.keys.get(hash)
    }

    /// The policy of that id or name, as it is stored.
    pub fn stored_policy(&self, id_or_name: &str) -> Option<&StoredPolicy> {
        let id = id_or_name.parse().ok();
        let by_id = self.stored_policies.iter().find(|policy| Some(policy.id) == id);
        by_id.or_else(|| self.stored_policies.iter().find(|policy| policy.name == id_or_name))
    }

    /// The policy's name and place, for explanations.
    pub fn policy(&self, id: gateway_core::ids::PolicyId) -> Option<&Source> {
        self.sources.iter().find(|source| source.id == id)
    }

    /// The policies as stored, in order.
    pub(crate) fn stored_policies(&self) -> &[StoredPolicy] {
        &self.stored_policies
    }

    /// True when an upstream secret reads differently now than when this snapshot was built.
    pub(crate) fn secrets_changed(&self) -> bool {
        self.servers.iter().filter_map(|server| server.auth.secret()).any(|(from, was)| {
            let is = resolve(from);
            was.map(ExposeSecret::expose_secret) != is.as_ref().map(ExposeSecret::expose_secret)
        })
    }
}

type Compiled = (Arc<Vec<Source>>, Arc<PolicySet>);

fn compile(stored: &[StoredPolicy], now: Timestamp) -> Result<Compiled, SnapshotError> {
    let mut sources = Vec::with_capacity(stored.len());
    for policy in stored {
        let spec = serde_json::from_str(&policy.spec_json)
            .map_err(|source| SnapshotError::Unreadable { name: policy.name.clone(), source })?;
        sources.push(Source { id: policy.id, spec });
    }
    let live: Vec<Source> =
        sources.iter().filter(|source| !source.spec.is_over(now)).cloned().collect();
    let set = PolicySet::compile(&live).map_err(SnapshotError::Policies)?;
    Ok((Arc::new(sources), Arc::new(set)))
}

fn with_secret(mut server: Server) -> Server {
    server.auth.resolve(resolve);
    server
}

/// The secret's value on this replica. A missing one is no error here: calls to that server are refused.
fn resolve(from: &SecretSource) -> Option<SecretString> {
    let text = match from {
        SecretSource::Env(name) => std::env::var(name).ok()?,
        SecretSource::File(path) => {
            let text = std::fs::read_to_string(path).ok()?;
            text.trim_end_matches(['\r', '\n']).to_owned()
        }
    };
    (!text.is_empty()).then(|| SecretString::from(text))
}
