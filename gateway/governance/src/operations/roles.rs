//! The role matrix, for everybody: what each role may do, and who gives it.

use gateway_core::caller::Role;
use policies::Reach;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::run::{Page, Run};
use super::{answer, duty};
use crate::perform::{Answer, Refused};

/// Of `list_roles`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListRoles {
    /// Only this one.
    #[serde(default)]
    pub role: Option<String>,
    /// Only what they may do with this operation.
    #[serde(default)]
    pub operation: Option<String>,
}

/// A role.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RoleRow {
    /// Its name.
    pub role: &'static str,
    /// Operations on everybody's and everything.
    pub all: Vec<&'static str>,
    /// Operations on what is the person's own alone.
    pub own: Vec<&'static str>,
    /// Who may give it to others, and take it.
    pub given_by: Vec<&'static str>,
}

impl ListRoles {
    pub(crate) fn answer(self, run: &Run<'_>) -> Result<Answer, Refused> {
        run.authorize(true)?;
        let roles = match self.role {
            Some(role) => duty::roles(&[role])?,
            None => Role::ALL.to_vec(),
        };
        let set = &run.snapshot.policies;
        let mut operations = set.operations();
        if let Some(asked) = &self.operation {
            operations.retain(|operation| operation == asked);
            if operations.is_empty() {
                return Err(Refused::params(format!("operation: there is no \"{asked}\"")));
            }
        }
        let rows = roles.into_iter().map(|role| {
            let reaching = |reach: Reach| {
                let named = operations.iter().copied();
                named.filter(|operation| set.reach(&[role], operation) == reach).collect()
            };
            let gives = |giver: &Role| {
                set.reach(&[*giver], "update_user") == Reach::All && set.may_give(&[*giver], role)
            };
            RoleRow {
                role: role.as_str(),
                all: reaching(Reach::All),
                own: reaching(Reach::Own),
                given_by: Role::ALL.iter().filter(|r| gives(r)).map(|r| r.as_str()).collect(),
            }
        });
        answer(&Page { data: rows.collect(), next_cursor: None })
    }
}
