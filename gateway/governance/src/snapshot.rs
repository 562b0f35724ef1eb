//! The catalogue as one immutable value: what every decision of one exchange is made with.
//!
//! Built whole from what the store read at one instant, or not at all. It knows nothing of how it is
//! kept current; that is [`crate::refresh`].

use std::collections::HashMap;
use std::sync::Arc;

use gateway_core::Timestamp;
use gateway_core::caller::{AuthMethod, Caller, User};
use gateway_core::ids::{ServerId, UserId};
use gateway_core::server::{SecretSource, Server, UpstreamAuth};
use gateway_store::api_key::StoredKey;
use gateway_store::catalogue::Catalogue;
use gateway_store::policy::StoredPolicy;
use policies::{PolicySet, Problem, Source};
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

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
    /// The compiled policies.
    pub policies: Arc<PolicySet>,
    /// The policies as written, in order.
    pub sources: Arc<Vec<Source>>,
    stored_policies: Vec<StoredPolicy>,
    by_slug: HashMap<String, usize>,
    by_server_id: HashMap<ServerId, usize>,
    by_email: HashMap<String, usize>,
    by_user_id: HashMap<UserId, usize>,
    keys: HashMap<[u8; 32], StoredKey>,
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
    /// Stored policies do not compile.
    #[error("policies in the database do not compile: {}", list(.0))]
    Policies(Vec<Problem>),
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl Snapshot {
    /// Compiles and indexes `catalogue`. Policies that did not change since `previous` are not compiled
    /// again. Slow: not for async tasks.
    pub fn build(
        catalogue: Catalogue,
        previous: Option<&Snapshot>,
        now: Timestamp,
    ) -> Result<Snapshot, SnapshotError> {
        let (sources, policies) = match previous {
            Some(previous) if previous.stored_policies == catalogue.policies => {
                (Arc::clone(&previous.sources), Arc::clone(&previous.policies))
            }
            Some(_) | None => compile(&catalogue.policies)?,
        };
        let servers: Vec<_> =
            catalogue.servers.into_iter().map(with_secret).map(Arc::new).collect();
        let users: Vec<_> = catalogue.users.into_iter().map(Arc::new).collect();
        Ok(Snapshot {
            version: catalogue.version,
            generation: previous.map_or(1, |previous| previous.generation + 1),
            loaded_at: now,
            by_slug: (0..).zip(&servers).map(|(i, s)| (s.slug.to_string(), i)).collect(),
            by_server_id: (0..).zip(&servers).map(|(i, s)| (s.id, i)).collect(),
            by_email: (0..).zip(&users).map(|(i, u)| (u.email.clone(), i)).collect(),
            by_user_id: (0..).zip(&users).map(|(i, u)| (u.id, i)).collect(),
            keys: catalogue.keys.into_iter().map(|key| (key.hash, key)).collect(),
            stored_policies: catalogue.policies,
            servers,
            users,
            policies,
            sources,
        })
    }

    /// The server of that id or slug, as in a proxy URL.
    pub fn server(&self, id_or_slug: &str) -> Option<&Arc<Server>> {
        let by_slug = self.by_slug.get(id_or_slug).and_then(|&i| self.servers.get(i));
        by_slug.or_else(|| self.server_by_id(ServerId(Uuid::parse_str(id_or_slug).ok()?)))
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

    /// False once the person or the API key of `caller` no longer works: long streams end then.
    pub fn still_good(&self, caller: &Caller, now: Timestamp) -> bool {
        let active = self.user(caller.user.id).is_some_and(|user| user.active);
        let works = |key: &StoredKey| {
            key.revoked_at.is_none() && key.expires_at.is_none_or(|expires| expires > now)
        };
        let held = match caller.auth {
            AuthMethod::ApiKey => {
                let named = |key: &&StoredKey| key.id.to_string() == *caller.credential;
                self.keys.values().find(named).is_some_and(works)
            }
            AuthMethod::Jwt | AuthMethod::CommandLine => true,
        };
        active && held
    }

    /// The API key with that keyed hash, whatever its state.
    pub(crate) fn key(&self, hash: &[u8; 32]) -> Option<&StoredKey> {
        self.keys.get(hash)
    }

    /// The policy's name and place, for explanations.
    pub fn policy(&self, id: gateway_core::ids::PolicyId) -> Option<&Source> {
        self.sources.iter().find(|source| source.id == id)
    }

    /// True when an upstream secret reads differently now than when this snapshot was built.
    pub(crate) fn secrets_changed(&self) -> bool {
        self.servers.iter().any(|server| match &server.auth {
            UpstreamAuth::None => false,
            UpstreamAuth::Header { from, value, .. } => {
                let read = resolve(from);
                let (was, is) = (value.as_ref(), read.as_ref());
                was.map(ExposeSecret::expose_secret) != is.map(ExposeSecret::expose_secret)
            }
        })
    }
}

type Compiled = (Arc<Vec<Source>>, Arc<PolicySet>);

fn compile(stored: &[StoredPolicy]) -> Result<Compiled, SnapshotError> {
    let mut sources = Vec::with_capacity(stored.len());
    for policy in stored {
        let spec = serde_json::from_str(&policy.spec_json)
            .map_err(|source| SnapshotError::Unreadable { name: policy.name.clone(), source })?;
        sources.push(Source { id: policy.id, spec });
    }
    let set = PolicySet::compile(&sources).map_err(SnapshotError::Policies)?;
    Ok((Arc::new(sources), Arc::new(set)))
}

fn with_secret(mut server: Server) -> Server {
    if let UpstreamAuth::Header { from, value, .. } = &mut server.auth {
        *value = resolve(from);
    }
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
