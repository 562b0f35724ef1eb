//! Rules for arguments that destroy or carry data away.

use super::rule::Rule;

/// The rules.
pub(super) const RULES: &[Rule] = &[];
