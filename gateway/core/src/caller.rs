//! Who is calling: a person or an agent account whose credential has been verified, and for whom an agent acts.

use std::collections::BTreeMap;
use std::sync::Arc;

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::ids::UserId;

/// The platform roles of product role matrix; they gate operations, policies gate MCP calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything.
    SuperAdmin,
    /// Policies, scanners, audit.
    SecurityAdmin,
    /// Servers and people.
    ItAdmin,
    /// Analytics exports.
    AnalyticsAdmin,
    /// Builds plugins, skills and agents.
    Developer,
    /// Sees who may do what, changes nothing.
    Helpdesk,
    /// Everybody.
    User,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 7] = [
        Role::SuperAdmin,
        Role::SecurityAdmin,
        Role::ItAdmin,
        Role::AnalyticsAdmin,
        Role::Developer,
        Role::Helpdesk,
        Role::User,
    ];

    /// The role's name in desired state, policies and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::SuperAdmin => "super_admin",
            Role::SecurityAdmin => "security_admin",
            Role::ItAdmin => "it_admin",
            Role::AnalyticsAdmin => "analytics_admin",
            Role::Developer => "developer",
            Role::Helpdesk => "helpdesk",
            Role::User => "user",
        }
    }

    /// The role of that name.
    pub fn parse(name: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.as_str() == name)
    }
}

/// How a caller proved who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMethod {
    /// An `rl_...` key.
    ApiKey,
    /// A JWT of a configured issuer.
    Jwt,
    /// An access token of our own authorization server.
    OauthToken,
    /// A browser that is signed in.
    Browser,
    /// An operator's command, next to the configuration.
    CommandLine,
}

impl AuthMethod {
    /// The name in audit rows and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            AuthMethod::ApiKey => "api_key",
            AuthMethod::Jwt => "jwt",
            AuthMethod::OauthToken => "oauth_token",
            AuthMethod::Browser => "browser",
            AuthMethod::CommandLine => "command_line",
        }
    }
}

/// A verified caller. Cheap to clone; immutable, so that a change of roles or groups makes a new one.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The principal: the person, or an agent account that acts for itself.
    pub user: Arc<User>,
    /// The agent account that acts on behalf of the person: then both must be allowed.
    pub actor: Option<Arc<User>>,
    /// How it was proven.
    pub auth: AuthMethod,
    /// Which credential: the key's id, the token's issuer, or the session's id. Never the secret.
    pub credential: Arc<str>,
}

impl Caller {
    /// A principal that acts for itself.
    pub fn new(user: Arc<User>, auth: AuthMethod, credential: impl Into<Arc<str>>) -> Caller {
        Caller { user, actor: None, auth, credential: credential.into() }
    }

    /// Everybody whose permission a call needs: the principal, and the agent that acts on its behalf.
    pub fn principals(&self) -> impl Iterator<Item = &Arc<User>> {
        std::iter::once(&self.user).chain(&self.actor)
    }

    /// The agent account behind the call, whether it acts for itself or on somebody's behalf.
    pub fn agent(&self) -> Option<&Arc<User>> {
        self.principals().find(|principal| principal.kind == PrincipalKind::Agent)
    }

    /// A fixed-size name for the principal that sealed handles are bound to: the same person has the
    /// same binding whatever credential is used, and another one through each agent.
    pub fn binding(&self) -> [u8; 16] {
        let names: Vec<u8> =
            self.principals().flat_map(|principal| *principal.id.0.as_bytes()).collect();
        let hash = digest(&SHA256, &names);
        let mut out = [0; 16];
        out.copy_from_slice(&hash.as_ref()[..16]);
        out
    }

    /// True when the person holds `role`.
    pub fn has_role(&self, role: Role) -> bool {
        self.user.roles.contains(&role)
    }
}

impl User {
    /// Whether an agent account of this person's may hold the role: nobody's program is more than they are.
    pub fn lends(&self, role: Role) -> bool {
        role == Role::User || self.roles.contains(&role) || self.roles.contains(&Role::SuperAdmin)
    }
}

/// What a principal is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrincipalKind {
    /// A human.
    #[default]
    Person,
    /// An agent account: a program.
    Agent,
}

impl PrincipalKind {
    /// The name in audit rows and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            PrincipalKind::Person => "person",
            PrincipalKind::Agent => "agent",
        }
    }
}

/// What an identity provider says of a person beside name and groups: each attribute's values, sorted.
pub type Attributes = BTreeMap<String, Vec<String>>;

/// A principal as the catalogue knows it: a person or an agent account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct User {
    /// Stable id.
    pub id: UserId,
    /// What it is.
    pub kind: PrincipalKind,
    /// Lower-case e-mail address, unique; of an agent its client id.
    pub email: String,
    /// Display name.
    pub name: String,
    /// Platform roles, sorted.
    pub roles: Vec<Role>,
    /// Names of the groups, sorted.
    pub groups: Vec<String>,
    /// Of people only.
    pub attributes: Attributes,
    /// False once deactivated: no credential of theirs works.
    pub active: bool,
}
