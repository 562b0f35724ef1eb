//! Rules for text that speaks to the model instead of informing it, by families that are published: instructions
//! overridden, roles impersonated, secrecy asked for, data led out, other tools steered, authority claimed, jailbreaks,
//! hidden and encoded instructions, the system prompt asked for.
//!
//! Not decidable, hence weighed: what is plain counts by itself, what is suspicious only together with something else
//! in the same text. A rule's name is its family, and its language where it has one. How well they do is measured on
//! texts in other words and stands in SCANNERS.md; nothing is promised.

mod english;
mod languages;
mod markup;
mod tools;

use super::rule::{Rule, Seek};
use super::{Class, Guard, tables};

/// The rules.
pub(super) const RULES: &[Rule] = &tables::joined::<{ tables::count(PARTS) }>(PARTS);

const PARTS: &[&[Rule]] = &[english::RULES, languages::RULES, markup::RULES, tools::RULES];

/// Where text that was written elsewhere arrives: definitions and results. A client may well send a lesson about it.
const INCOMING: &[Guard] = &[Guard::ToolList, Guard::ToolCall];

const fn speech(
    name: &'static str,
    weight: u8,
    literals: &'static [&'static str],
    pattern: &'static str,
) -> Rule {
    Rule {
        name,
        class: Class::Injection,
        guards: INCOMING,
        seek: Seek::Literals { literals, pattern },
        check: None,
        weight,
    }
}
