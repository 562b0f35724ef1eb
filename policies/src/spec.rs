//! What an operator writes: one `[[policies]]` table of the desired state, kept as it was written.
//!
//! Texts are not interpreted here, so that one place ([`crate::PolicySet::compile`]) says what is wrong
//! with them, naming policy, field and what was expected. Unknown fields are refused while reading.

use std::fmt;

use gateway_core::Timestamp;
use gateway_core::ids::PolicyId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::times;

/// One policy, structured or as Cedar text (`cedar`). The same names as in the desired state.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicySpec {
    /// Unique name, shown in refusals.
    pub name: String,
    /// `allow`, `deny` or `confirm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<String>,
    /// Who agrees, for `confirm`: `caller` (default), `group:NAME` or `user:EMAIL`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// `user:EMAIL`, `group:NAME`, `role:NAME`, `agent:NAME`, `attribute:NAME=VALUE` or `everyone`; any of
    /// them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principals: Option<Vec<String>>,
    /// A server's slug, or `*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Globs on tool names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<String>>,
    /// Globs on resource URIs (of templates: on the template's text).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Vec<String>>,
    /// Globs on prompt names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompts: Option<Vec<String>>,
    /// Conditions; all of them must hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub when: Vec<ConditionSpec>,
    /// When it is over, RFC 3339: from then on it counts for nothing. Fractions of a second are cut off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Shown with a denial or a confirmation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Cedar text, instead of everything above except `name` and `message`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cedar: Option<String>,
}

impl PolicySpec {
    /// When it is over, if it is ever and says so readably.
    pub fn ends_at(&self) -> Option<Timestamp> {
        self.until.as_deref().and_then(times::instant)
    }

    /// True once it is over: it may be left out of what is compiled.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.ends_at().is_some_and(|end| end <= now)
    }
}

/// One condition: exactly one of `arg`, `client`, `ip`, `annotation` and `time`, with its companions.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConditionSpec {
    /// Dotted path of an argument; `*` for any element of an array.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arg: Option<String>,
    /// With `arg`: eq ne lt le gt ge in not_in prefix suffix contains matches exists missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub op: Option<String>,
    /// With `arg`: what the argument is compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// A glob on the MCP client's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// An address or a CIDR range that holds the caller's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// A boolean annotation of the tool, for instance `destructiveHint`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotation: Option<String>,
    /// With `annotation`: what it must be (default true).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is: Option<bool>,
    /// A time of day, `HH:MM-HH:MM`, start included, end excluded; may pass midnight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// With `time`: the offset from UTC, `+HH:MM` or `-HH:MM` (default UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<String>,
}

/// A policy with its id, as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// Stable id.
    pub id: PolicyId,
    /// What was written.
    pub spec: PolicySpec,
}

/// What is wrong with a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The policy's name.
    pub policy: String,
    /// The field, for instance `when[0].op`.
    pub field: String,
    /// What was expected there.
    pub expected: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "policy \"{}\": {}: expected {}", self.policy, self.field, self.expected)
    }
}

impl std::error::Error for Problem {}
