//! Joins the tables of several files into one, at compile time, and names what they hold.

use super::detectors::TABLES;
use super::rule::Rule;
use super::{Class, hidden};

/// Every built-in rule's name and class, those of one class together.
pub fn built_in() -> impl Iterator<Item = (&'static str, Class)> {
    let rules = TABLES.iter().copied().flatten().map(|rule| (rule.name, rule.class));
    rules.chain(hidden::NAMES.map(|name| (name, Class::HiddenCharacters)))
}

/// How many rules there are in all.
pub(super) const fn count(parts: &[&[Rule]]) -> usize {
    let (mut sum, mut part) = (0, 0);
    while part < parts.len() {
        sum += parts[part].len();
        part += 1;
    }
    sum
}

/// All of them, in order. `N` is their count; the first part holds at least one.
pub(super) const fn joined<const N: usize>(parts: &[&[Rule]]) -> [Rule; N] {
    let mut all = [parts[0][0]; N];
    let (mut at, mut part) = (0, 0);
    while part < parts.len() {
        let mut one = 0;
        while one < parts[part].len() {
            all[at] = parts[part][one];
            at += 1;
            one += 1;
        }
        part += 1;
    }
    all
}
