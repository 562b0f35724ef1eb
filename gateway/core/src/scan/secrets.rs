//! Rules for secrets: tokens by provider, private keys, connection strings, headers and assignments.
//!
//! Tokens are found by prefix, alphabet and length; those that carry a checksum are asked for it. Where a format is
//! documented stands in SCANNERS.md, which names every rule.

mod ai;
mod assignments;
mod checksums;
mod cloud;
mod code;
mod connections;
mod keys;
mod messaging;
mod monitoring;
mod payment;
mod plausible;

#[cfg(test)]
mod tests;

use super::rule::{Rule, Seek};
use super::{Class, tables};

/// The rules.
pub(super) const RULES: &[Rule] = &tables::joined::<{ tables::count(PARTS) }>(PARTS);

const PARTS: &[&[Rule]] = &[
    code::RULES,
    cloud::RULES,
    ai::RULES,
    messaging::RULES,
    monitoring::RULES,
    payment::RULES,
    keys::RULES,
    connections::RULES,
    assignments::RULES,
];

/// A provider's token says more about itself than a name beside it: where both find the same, it gives the name.
const SPECIFIC: u8 = 120;

/// A token that begins with one of the literals and is no placeholder.
const fn token(
    name: &'static str,
    literals: &'static [&'static str],
    pattern: &'static str,
) -> Rule {
    checked(name, literals, pattern, plausible::token)
}

/// A token that a check of its own decides about.
const fn checked(
    name: &'static str,
    literals: &'static [&'static str],
    pattern: &'static str,
    check: fn(&str) -> bool,
) -> Rule {
    secret(name, Seek::Literals { literals, pattern }, Some(check))
}

const fn secret(name: &'static str, seek: Seek, check: Option<fn(&str) -> bool>) -> Rule {
    Rule { name, class: Class::Secrets, guards: &[], seek, check, weight: SPECIFIC }
}
