//! Rules for text that speaks to the model instead of informing it.

use super::rule::Rule;

/// The rules.
pub(super) const RULES: &[Rule] = &[];
