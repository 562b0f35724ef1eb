//! Separation of duty where people are changed: nobody raises themself, nobody acts upon somebody who reaches
//! further, nobody makes anybody mightier than themself. The floor below checks that it still holds when the change
//! is made.

use gateway_core::caller::{AuthMethod, Role, User};
use gateway_core::ids::{PolicyId, UserId};
use gateway_core::reason::Reason;
use gateway_store::group::Group;
use gateway_store::people::{Edited, KeptBy};

use super::run::Run;
use crate::perform::Refused;

impl Run<'_> {
    /// Who makes a change, and with which roles; `None`: the operator.
    pub(super) fn by(&self) -> Option<(UserId, Vec<Role>)> {
        let person = self.caller.auth != AuthMethod::CommandLine;
        person.then(|| (self.user().id, self.user().roles.clone()))
    }

    /// Whether the caller holds every right already, so that no change of their own raises them.
    pub(super) fn is_super_admin(&self) -> bool {
        self.user().roles.contains(&Role::SuperAdmin)
    }

    /// Every one of these roles is one that the caller may give.
    pub(super) fn may_give(&self, field: &str, roles: &[Role]) -> Result<(), Refused> {
        let own = &self.user().roles;
        match roles.iter().find(|role| !self.snapshot.policies.may_give(own, **role)) {
            None => Ok(()),
            Some(role) => {
                let role = role.as_str();
                let detail = format!(
                    "{field}: {role} reaches further than your own roles; list_roles says who may"
                );
                Err(Refused::new(Reason::RoleMissing, detail))
            }
        }
    }

    /// The caller may act upon somebody who reaches no further than they do, and upon themself.
    pub(super) fn may_act_upon(&self, field: &str, person: &User) -> Result<(), Refused> {
        if person.id == self.user().id {
            return Ok(());
        }
        self.may_give(field, &person.roles)
    }

    /// Names of the policies that name a principal, for previews.
    pub(super) fn naming(&self, principal: &str) -> Vec<String> {
        let policies = &self.snapshot.policies;
        let name = |id: PolicyId| policies.name(id).map(str::to_owned);
        policies.naming(principal).into_iter().filter_map(name).collect()
    }
}

/// Reads names of roles.
pub(super) fn roles(names: &[String]) -> Result<Vec<Role>, Refused> {
    let mut roles = Vec::with_capacity(names.len());
    for name in names {
        let unknown = || {
            let known = Role::ALL.map(Role::as_str).join(", ");
            Refused::params(format!("roles: there is no \"{name}\"; expected {known}"))
        };
        roles.push(Role::parse(name).ok_or_else(unknown)?);
    }
    roles.sort_unstable();
    roles.dedup();
    Ok(roles)
}

/// Refused because nobody raises themself.
pub(super) fn themself(field: &str) -> Refused {
    let detail = format!("{field}: nobody raises themself; another administrator must do that");
    Refused::new(Reason::RoleMissing, detail)
}

/// What comes of a change of something that others keep, too.
pub(super) fn kept_elsewhere(kept_by: KeptBy) -> Option<String> {
    match kept_by {
        KeptBy::Gateway => None,
        KeptBy::DesiredState => Some("desired state has it: the next apply sets it back".into()),
        KeptBy::IdentityProvider => {
            Some("the identity provider has it: the next sign-in may set it back".into())
        }
        KeptBy::Scim => Some("SCIM has it, too, and may set it back".into()),
    }
}

/// A group that SCIM keeps is changed there.
pub(super) fn ours(group: &Group) -> Result<(), Refused> {
    match group.kept_by {
        KeptBy::Scim => Err(scim(&format!("group {}", group.name))),
        KeptBy::Gateway | KeptBy::DesiredState | KeptBy::IdentityProvider => Ok(()),
    }
}

/// SCIM keeps it.
pub(super) fn scim(what: &str) -> Refused {
    let detail = format!("{what}: your identity provider keeps it by SCIM; change it there");
    Refused::new(Reason::Conflict, detail)
}

/// An edit that was not made, as a refusal.
pub(super) fn edited(
    edited: Edited,
    taken: &'static str,
    absent: &'static str,
) -> Result<(), Refused> {
    match edited {
        Edited::Done => Ok(()),
        Edited::Conflict => Err(Refused::new(Reason::Conflict, taken)),
        Edited::Absent => Err(Refused::new(Reason::EntityNotFound, absent)),
        Edited::LastSuperAdmin => {
            let detail = "this is the last active super_admin: make another one first";
            Err(Refused::new(Reason::Conflict, detail))
        }
        Edited::Foreign => Err(scim("group")),
    }
}
