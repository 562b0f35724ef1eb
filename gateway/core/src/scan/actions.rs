//! Rules for arguments that destroy or carry data away, by shapes that a person can read in SCANNERS.md.
//!
//! Only what a client sends is looked at: a result may well speak of `drop table`.

mod checks;
mod host;
mod reach;
mod remote;
#[cfg(test)]
mod tests;

use super::rule::{Rule, Seek};
use super::{Class, Guard, tables};

/// The rules.
pub(super) const RULES: &[Rule] = &tables::joined::<{ tables::count(PARTS) }>(PARTS);

const PARTS: &[&[Rule]] = &[host::RULES, remote::RULES, reach::RULES];

const fn action(
    name: &'static str,
    literals: &'static [&'static str],
    pattern: &'static str,
) -> Rule {
    Rule {
        name,
        class: Class::DangerousActions,
        guards: &[Guard::ToolIntent],
        seek: Seek::Literals { literals, pattern },
        check: None,
        weight: 100,
    }
}

const fn checked(
    name: &'static str,
    literals: &'static [&'static str],
    pattern: &'static str,
    check: fn(&str) -> bool,
) -> Rule {
    Rule { check: Some(check), ..action(name, literals, pattern) }
}
