//! The role matrix: what each platform role may do, asked of the rules themselves, never written by hand.
//! `policies/roles.md` shows it to people; a test keeps the two alike.

use std::fmt::Write;

use gateway_core::caller::{Attributes, PrincipalKind, Role, User};
use gateway_core::ids::UserId;
use uuid::Uuid;

use crate::set::PolicySet;

/// How far a role reaches with one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// Not at all.
    Nothing,
    /// What is the person's own.
    Own,
    /// Everybody's.
    All,
}

impl PolicySet {
    /// Every operation that the rules know, by name.
    pub fn operations(&self) -> Vec<&'static str> {
        self.platform.operations()
    }

    /// How far people with these roles reach with an operation.
    pub fn reach(&self, roles: &[Role], operation: &str) -> Reach {
        let person = person(roles);
        match [false, true].map(|owns| self.authorize(&person, operation, owns)) {
            [true, true] => Reach::All,
            // What only the person concerned may do, whatever their roles.
            [_, true] => Reach::Own,
            [_, false] => Reach::Nothing,
        }
    }

    /// Whether somebody with `roles` may give the role, or take it: if it reaches nowhere where their own do
    /// not. So nobody makes anybody mightier than themself.
    pub fn may_give(&self, roles: &[Role], given: Role) -> bool {
        roles.contains(&given)
            || given != Role::SuperAdmin
                && self.operations().into_iter().all(|operation| {
                    self.reach(&[given], operation) <= self.reach(roles, operation)
                })
    }

    /// The matrix as a table in Markdown: operations by roles.
    pub fn role_table(&self) -> String {
        let mut table = String::from("| operation |");
        for role in Role::ALL {
            // Writing to a `String` cannot fail.
            let _ = write!(table, " {} |", role.as_str());
        }
        table.push_str("\n|---|");
        table.push_str(&"---|".repeat(Role::ALL.len()));
        for operation in self.operations() {
            let _ = write!(table, "\n| `{operation}` |");
            for role in Role::ALL {
                let _ = write!(table, " {} |", self.reach(&[role], operation).word());
            }
        }
        table.push_str("\n| may give |");
        for role in Role::ALL {
            let given = Role::ALL.into_iter().filter(|given| self.may_give(&[role], *given));
            let administers = self.reach(&[role], "update_user") == Reach::All;
            let given: Vec<_> = given.filter(|_| administers).map(Role::as_str).collect();
            let _ = write!(table, " {} |", given.join(", "));
        }
        table.push('\n');
        table
    }
}

impl Reach {
    /// `all`, `own` or nothing.
    pub fn word(self) -> &'static str {
        match self {
            Reach::Nothing => "",
            Reach::Own => "own",
            Reach::All => "all",
        }
    }
}

fn person(roles: &[Role]) -> User {
    User {
        id: UserId(Uuid::nil()),
        kind: PrincipalKind::Person,
        email: "somebody@example.com".into(),
        name: String::new(),
        roles: roles.to_vec(),
        groups: vec![],
        attributes: Attributes::new(),
        active: true,
    }
}
