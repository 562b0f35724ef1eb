//! Rules for secrets: tokens, private keys, connection strings, passwords.

use super::rule::Rule;

/// The rules.
pub(super) const RULES: &[Rule] = &[];
