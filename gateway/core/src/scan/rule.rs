//! What a rule is. The files of rules beside this one hold nothing but these.

use std::ops::{Deref, Range};
use std::sync::Arc;

use super::{Class, Guard};

/// One thing that is looked for.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Stable name in findings and settings, for instance `github_token`.
    pub name: &'static str,
    /// Of which class.
    pub class: Class,
    /// Where it is looked for; empty: by every guard.
    pub guards: &'static [Guard],
    /// How it is found in a decoded text.
    pub seek: Seek,
    /// What a pattern cannot say (check digits, entropy), asked with what was found.
    pub check: Option<fn(&str) -> bool>,
    /// In hundredths: what the rules of a class find in one text counts from 100 on. 100: by itself. More than that says
    /// only whose name a find bears that several rules make.
    pub weight: u8,
}

/// How a rule is found. All take time in proportion to what they read.
#[derive(Debug, Clone, Copy)]
pub enum Seek {
    /// Every match begins with one of the literals (in any case, as far as they are ASCII): there the pattern (`regex`
    /// syntax; case as it says) is tried, anchored. Its group `it`, if it has one, is what was found; else the whole
    /// match is. A match has at most 8 KiB. Fast are `x{n,}` and small counted maxima, ASCII classes and no `\b` beside
    /// what need not be ASCII.
    Literals {
        /// How it may begin; at least two bytes each.
        literals: &'static [&'static str],
        /// The whole of it, the beginning included.
        pattern: &'static str,
    },
    /// Asked wherever one of these ASCII bytes stands (for `=` also between a JSON member's key and string): with the text and the place, for the span of what was found. Must
    /// not look further than some hundred bytes either way.
    Byte {
        /// The bytes, for instance `@`.
        bytes: &'static [u8],
        /// Finds it.
        find: fn(&str, usize) -> Option<Range<usize>>,
    },
    /// Asked for each maximal run of ASCII digits and single separators (space, `-`, `.`, `/`, `(`, `)`) that begins and
    /// ends with a digit and holds at least seven, not more than 40 in a row: with the text and the run's span, for the
    /// first find in it. Asked again for what is left behind a find. It may look beside the run, not further than some
    /// dozen bytes.
    Digits {
        /// Only for runs in which groups of the lengths of one of these follow each other (0: for those that begin with
        /// `00`); empty: for every run.
        groups: &'static [&'static [u8]],
        /// Finds it.
        find: fn(&str, Range<usize>) -> Option<Range<usize>>,
    },
}

/// A rule's name. Finds carry it, of which a message may have a hundred thousand: a built-in rule's costs nothing to
/// copy.
#[derive(Debug, Clone)]
pub enum Name {
    /// Of a rule that is always there.
    BuiltIn(&'static str),
    /// Of a pattern of the organisation, or said by its own scanner.
    Given(Arc<str>),
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Name::BuiltIn(name) => name,
            Name::Given(name) => name,
        }
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self)
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Name) -> bool {
        **self == **other
    }
}

impl Eq for Name {}

impl From<&Name> for Arc<str> {
    fn from(name: &Name) -> Arc<str> {
        match name {
            Name::BuiltIn(name) => Arc::from(*name),
            Name::Given(name) => name.clone(),
        }
    }
}
