//! MCP servers behind the gateway.

use std::sync::Arc;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use uuid::{Uuid, uuid};

use crate::Timestamp;
use crate::ids::{ServerId, Slug, UserId};
use crate::label::Label;

/// The Runlayer MCP's fixed id.
pub const RUNLAYER_ID: ServerId = ServerId(uuid!("d0b2d0c6-5d87-4f87-a2e1-7f0a60a6c0b5"));
/// The Runlayer MCP's slug.
pub const RUNLAYER_SLUG: &str = "runlayer";

/// A server ("connector").
#[derive(Debug, Clone)]
pub struct Server {
    /// Stable id.
    pub id: ServerId,
    /// Name in URLs and policies.
    pub slug: Slug,
    /// Shown to people.
    pub title: String,
    /// Shown to people.
    pub description: String,
    /// Where it is.
    pub endpoint: Endpoint,
    /// How the gateway signs in there.
    pub auth: UpstreamAuth,
    /// Whether calls may go there.
    pub status: ServerStatus,
    /// Which eras it speaks; `None` until it was asked.
    pub eras: Option<Eras>,
    /// True: what calls say and give is withheld from readers of the audit trail who have no role for it.
    pub sensitive: bool,
    /// What flows to and from it; sorted, each once.
    pub labels: Vec<Label>,
    /// An https URL or a `data:image/...` of at most 8 KiB.
    pub icon: Option<String>,
    /// The name of the entry in the catalogue of well-known servers that it was made from.
    pub catalog_entry: Option<String>,
    /// Those who administer this server without a role that administers all.
    pub admins: Vec<UserId>,
    /// Its tools as last read; empty until then.
    pub tools: Arc<Vec<Tool>>,
}

/// Where a server lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// Streamable HTTP at this URL (`http` or `https`).
    Http(String),
    /// The Runlayer MCP, inside this process.
    InProcess,
}

/// How the gateway authenticates towards a server.
#[derive(Debug, Clone)]
pub enum UpstreamAuth {
    /// Not at all.
    None,
    /// A header with a secret value.
    Header {
        /// Header name, lower case.
        name: String,
        /// Where the value comes from; the value itself is never stored.
        from: SecretSource,
        /// The value, once resolved; `None` when the source is missing on this replica.
        value: Option<SecretString>,
    },
    /// With the access token of the caller's own account there, which each person connects once.
    OauthUser(OauthClient),
    /// With an access token of the gateway's own (client credentials), the same for every caller.
    OauthShared(OauthClient),
    /// With signed headers that say who calls.
    IdentityForward,
    /// With an access token that a configured issuer gives for the caller (RFC 8693).
    TokenExchange(TokenExchange),
}

/// The gateway as a client of an upstream's authorization server.
#[derive(Debug, Clone, Default)]
pub struct OauthClient {
    /// The only issuer that counts; `None`: the one that the server's metadata names.
    pub issuer: Option<String>,
    /// As registered there; `None`: by metadata document, else registered by the gateway itself.
    pub client_id: Option<String>,
    /// Of a confidential client that proves itself by it.
    pub client_secret: Option<Secret>,
    /// Of one that signs instead (`private_key_jwt`); never together with a secret.
    pub private_key: Option<PrivateKey>,
    /// What to ask for; empty: what the server's metadata says.
    pub scopes: Vec<String>,
}

/// The key that a client signs its assertions with (RFC 7523).
#[derive(Debug, Clone)]
pub struct PrivateKey {
    /// PKCS#8 in PEM: RSA, P-256, P-384 or Ed25519.
    pub pem: Secret,
    /// `kid` in the assertions' headers, where the issuer knows several keys of the client.
    pub key_id: Option<String>,
}

impl OauthClient {
    /// What it proves itself with, by its source.
    pub fn secret(&self) -> Option<&Secret> {
        self.client_secret.as_ref().or(self.private_key.as_ref().map(|key| &key.pem))
    }

    fn secret_mut(&mut self) -> Option<&mut Secret> {
        self.client_secret.as_mut().or(self.private_key.as_mut().map(|key| &mut key.pem))
    }
}

/// Where and how callers' identities are exchanged for access tokens.
#[derive(Debug, Clone, Default)]
pub struct TokenExchange {
    /// The gateway as a client of the issuer.
    pub client: OauthClient,
    /// The token endpoint; `None`: as the issuer's metadata says.
    pub token_url: Option<String>,
    /// The `audience` to ask for.
    pub audience: Option<String>,
}

/// A secret by its source.
#[derive(Debug, Clone)]
pub struct Secret {
    /// Where the value comes from; the value itself is never stored.
    pub from: SecretSource,
    /// The value, once resolved; `None` when the source is missing on this replica.
    pub value: Option<SecretString>,
}

impl Secret {
    /// A secret that is not resolved yet.
    pub fn of(from: SecretSource) -> Secret {
        Secret { from, value: None }
    }
}

impl UpstreamAuth {
    /// The name in desired state and answers.
    pub fn mode(&self) -> &'static str {
        match self {
            UpstreamAuth::None => "none",
            UpstreamAuth::Header { .. } => "header",
            UpstreamAuth::OauthUser(_) => "oauth_user",
            UpstreamAuth::OauthShared(_) => "oauth_shared",
            UpstreamAuth::IdentityForward => "identity_forward",
            UpstreamAuth::TokenExchange(_) => "token_exchange",
        }
    }

    /// True where what the gateway presents depends on who calls.
    pub fn is_personal(&self) -> bool {
        match self {
            UpstreamAuth::None | UpstreamAuth::Header { .. } | UpstreamAuth::OauthShared(_) => {
                false
            }
            UpstreamAuth::OauthUser(_)
            | UpstreamAuth::IdentityForward
            | UpstreamAuth::TokenExchange(_) => true,
        }
    }

    /// The configured secret: where it comes from, and its value.
    pub fn secret(&self) -> Option<(&SecretSource, Option<&SecretString>)> {
        match self {
            UpstreamAuth::None | UpstreamAuth::IdentityForward => None,
            UpstreamAuth::Header { from, value, .. } => Some((from, value.as_ref())),
            UpstreamAuth::OauthUser(client)
            | UpstreamAuth::OauthShared(client)
            | UpstreamAuth::TokenExchange(TokenExchange { client, .. }) => {
                client.secret().map(|secret| (&secret.from, secret.value.as_ref()))
            }
        }
    }

    /// Puts the configured secret's value in, as `read` finds it.
    pub fn resolve(&mut self, read: impl FnOnce(&SecretSource) -> Option<SecretString>) {
        match self {
            UpstreamAuth::None | UpstreamAuth::IdentityForward => {}
            UpstreamAuth::Header { from, value, .. } => *value = read(from),
            UpstreamAuth::OauthUser(client)
            | UpstreamAuth::OauthShared(client)
            | UpstreamAuth::TokenExchange(TokenExchange { client, .. }) => {
                if let Some(secret) = client.secret_mut() {
                    secret.value = read(&secret.from);
                }
            }
        }
    }
}

/// Where a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretSource {
    /// An environment variable of the gateway.
    Env(String),
    /// A file; trailing line breaks are cut off.
    File(String),
}

/// Whether calls may go to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerStatus {
    /// Calls pass.
    Active,
    /// Switched off by an admin.
    Disabled,
    /// Not finished.
    Draft,
    /// Broken; needs an admin.
    Error,
}

impl ServerStatus {
    /// Every status.
    pub const ALL: [ServerStatus; 4] =
        [ServerStatus::Active, ServerStatus::Disabled, ServerStatus::Draft, ServerStatus::Error];

    /// The name in desired state, rows and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            ServerStatus::Active => "active",
            ServerStatus::Disabled => "disabled",
            ServerStatus::Draft => "draft",
            ServerStatus::Error => "error",
        }
    }

    /// The status of that name.
    pub fn parse(name: &str) -> Option<ServerStatus> {
        ServerStatus::ALL.into_iter().find(|status| status.as_str() == name)
    }
}

/// How a server was when the gateway last looked. Measured: nobody sets it, and it decides nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Whether it answers.
    pub status: HealthStatus,
    /// Since when it is so.
    pub since: Timestamp,
    /// When it was asked last.
    pub checked_at: Timestamp,
    /// When it last answered.
    pub last_ok: Option<Timestamp>,
    /// Why it does not answer: the name of a [`crate::reason::Reason`].
    pub reason: Option<String>,
    /// The same in words, for operators; holds no secret.
    pub detail: Option<String>,
    /// How long the last answer took, microseconds.
    pub latency_us: Option<i64>,
    /// Failures in a row.
    pub failures: u32,
}

/// Whether a server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    /// It answered, if only that it wants to know who calls.
    Ok,
    /// It did not, or not as MCP.
    Failing,
}

impl HealthStatus {
    /// The name in rows and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            HealthStatus::Ok => "ok",
            HealthStatus::Failing => "failing",
        }
    }
}

/// Which eras of MCP a server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Eras {
    /// `initialize` and sessions, up to 2025-11-25.
    pub legacy: bool,
    /// Stateless, 2026-07-28.
    pub modern: bool,
}

/// A tool's definition as the upstream last gave it.
#[derive(Debug, Clone)]
pub struct Tool {
    /// Name, compared bytewise.
    pub name: String,
    /// The definition's exact JSON text.
    pub definition: String,
    /// SHA-256 of the canonical definition.
    pub hash: [u8; 32],
    /// SHA-256 of its exact bytes: what is approved is approved byte for byte.
    pub pin: [u8; 32],
    /// Its boolean annotations that are true, for instance `destructiveHint`; sorted.
    pub annotations: Vec<String>,
}

/// What somebody decided about a definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Approval {
    /// It may be shown and called.
    Approved,
    /// It may not, whatever the server's settings.
    Rejected,
}

impl Approval {
    /// The name in rows and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Approval::Approved => "approved",
            Approval::Rejected => "rejected",
        }
    }
}

impl Server {
    /// A server of which only its name is known: in this process, active, without anything.
    pub fn named(id: ServerId, slug: Slug) -> Server {
        Server {
            id,
            slug,
            title: String::new(),
            description: String::new(),
            endpoint: Endpoint::InProcess,
            auth: UpstreamAuth::None,
            status: ServerStatus::Active,
            eras: None,
            sensitive: false,
            labels: vec![],
            icon: None,
            catalog_entry: None,
            admins: vec![],
            tools: Arc::default(),
        }
    }

    /// The tool of that name, as last read.
    pub fn tool(&self, name: &str) -> Option<&Tool> {
        self.tools.iter().find(|tool| tool.name == name)
    }

    /// True for the id or the slug in a proxy URL.
    pub fn answers_to(&self, id_or_slug: &str) -> bool {
        self.slug.as_str() == id_or_slug
            || Uuid::parse_str(id_or_slug).is_ok_and(|id| id == self.id.0)
    }
}
