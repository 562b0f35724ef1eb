//! All rules, compiled into one pass over a text.

use std::ops::Range;
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};

use super::{Class, Guard, hidden};

/// A pattern that the organisation looks for besides the built-in rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pattern {
    /// Its name in findings.
    pub name: String,
    /// Of which class what it finds is.
    pub class: Class,
    /// In `regex` syntax, over the decoded text of a string; its group `it`, if any, is what was found.
    pub pattern: String,
}

/// A pattern that cannot be looked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("patterns[{index}].{field}: {expected}")]
pub struct BadPattern {
    /// Which, from 0.
    pub index: usize,
    /// `name` or `pattern`.
    pub field: &'static str,
    /// What is wrong and what is accepted.
    pub expected: String,
}

/// Something that a rule found in a decoded text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hit {
    pub(super) class: Class,
    pub(super) rule: Arc<str>,
    pub(super) span: Range<usize>,
}

/// Every rule, ready to be looked for. Shared; building one is expensive, using it is not.
#[derive(Debug)]
pub struct Detectors {}

impl Detectors {
    /// Only the built-in rules.
    pub fn built_in() -> Arc<Detectors> {
        static BUILT_IN: LazyLock<Arc<Detectors>> = LazyLock::new(|| Arc::new(Detectors {}));
        BUILT_IN.clone()
    }

    /// The built-in rules and the organisation's own.
    pub fn with(patterns: &[Pattern]) -> Result<Arc<Detectors>, BadPattern> {
        match patterns.first() {
            None => Ok(Detectors::built_in()),
            Some(_) => Err(BadPattern {
                index: 0,
                field: "pattern",
                expected: "patterns are not looked for yet".into(),
            }),
        }
    }

    /// What stands in a decoded text, of the classes that `wanted` names, in order of place and not overlapping.
    pub(super) fn find(
        &self,
        _guard: Guard,
        wanted: &dyn Fn(Class) -> bool,
        text: &str,
    ) -> Vec<Hit> {
        if !wanted(Class::HiddenCharacters) {
            return vec![];
        }
        hidden::find(text)
    }
}
