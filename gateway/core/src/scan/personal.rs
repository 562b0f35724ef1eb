//! Rules for personal data.

use super::rule::Rule;

/// The rules.
pub(super) const RULES: &[Rule] = &[];
