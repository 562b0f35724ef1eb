//! Who is calling: a person (later also an agent account) whose credential has been verified.

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
    /// An operator's command, next to the configuration.
    CommandLine,
}

impl AuthMethod {
    /// The name in audit rows and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            AuthMethod::ApiKey => "api_key",
            AuthMethod::Jwt => "jwt",
            AuthMethod::CommandLine => "command_line",
        }
    }
}

/// A verified person. Cheap to clone; immutable, so that a change of roles or groups makes a new one.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The person.
    pub user: Arc<User>,
    /// How it was proven.
    pub auth: AuthMethod,
    /// Which credential: the key's id, or the token's issuer. Never the secret.
    pub credential: Arc<str>,
}

impl Caller {
    /// A fixed-size name for the principal that sealed handles are bound to: the same person has the
    /// same binding whatever credential is used.
    pub fn binding(&self) -> [u8; 16] {
        let hash = digest(&SHA256, self.user.id.0.as_bytes());
        let mut out = [0; 16];
        out.copy_from_slice(&hash.as_ref()[..16]);
        out
    }

    /// True when the person holds `role`.
    pub fn has_role(&self, role: Role) -> bool {
        self.user.roles.contains(&role)
    }
}

/// A person as the catalogue knows them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct User {
    /// Stable id.
    pub id: UserId,
    /// Lower-case e-mail address; unique.
    pub email: String,
    /// Display name.
    pub name: String,
    /// Platform roles, sorted.
    pub roles: Vec<Role>,
    /// Names of the groups, sorted.
    pub groups: Vec<String>,
    /// False once deactivated: no credential of theirs works.
    pub active: bool,
}
