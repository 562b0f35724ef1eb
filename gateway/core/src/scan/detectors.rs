//! All rules, compiled into one pass over a text.

use std::cmp::Reverse;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};

use super::budget::{Budget, FIND, TOO_DENSE};
use super::own::{self, Own};
use super::plan::{self, Classes, Mark, Plan, Scratch};
use super::rule::{Name, Rule};
use super::{Class, Guard, Mode, Modes, actions, hidden, injection, personal, secrets};

/// The built-in rules, table by table.
pub(super) const TABLES: &[&[Rule]] =
    &[secrets::RULES, personal::RULES, injection::RULES, actions::RULES];

/// A pattern that the organisation looks for besides the built-in rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pattern {
    /// Its name in findings: 1 to 64 of `a-z`, `0-9`, `_` and `-`; no built-in rule's.
    pub name: String,
    /// Of which class what it finds is.
    pub class: Class,
    /// In `regex` syntax, at most 1,000 bytes, over the decoded text of a string, key or number; its group `it`, if
    /// any, is what was found. A match has at most 4 KiB.
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
#[cfg(test)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hit {
    pub(super) class: Class,
    pub(super) rule: Name,
    pub(super) span: Range<usize>,
}

/// Every rule, ready to be looked for. Shared; the organisation's patterns are compiled once, here; the built-in
/// rules once for all.
#[derive(Debug)]
pub struct Detectors {
    own: Vec<Own>,
}

/// What is looked for by one guard with one set of modes.
pub(super) struct Look<'a> {
    plan: &'static Plan,
    own: &'a [Own],
    classes: Classes,
    scratch: Scratch,
}

impl Detectors {
    /// Only the built-in rules.
    pub fn built_in() -> Arc<Detectors> {
        static BUILT_IN: LazyLock<Arc<Detectors>> =
            LazyLock::new(|| Arc::new(Detectors { own: vec![] }));
        BUILT_IN.clone()
    }

    /// The built-in rules and the organisation's own, at most 100.
    pub fn with(patterns: &[Pattern]) -> Result<Arc<Detectors>, BadPattern> {
        match patterns {
            [] => Ok(Detectors::built_in()),
            patterns => Ok(Arc::new(Detectors { own: own::compile(patterns)? })),
        }
    }

    /// Compiles what these modes need, which otherwise the first text of each kind waits for (some hundred
    /// milliseconds in all).
    pub fn prepare(&self, modes: &Modes) {
        for guard in Guard::ALL {
            let classes = classes(&|class| modes.of(guard, class) != Mode::Off);
            plan::plan(guard, classes).prepare();
        }
    }

    /// Every literal with which something may begin that a built-in rule looks for; benchmarks make hostile texts of
    /// them.
    pub fn literals() -> impl Iterator<Item = &'static str> {
        plan::literals()
    }

    pub(super) fn look(&self, guard: Guard, wanted: &dyn Fn(Class) -> bool) -> Look<'_> {
        let classes = classes(wanted);
        let plan = plan::plan(guard, classes);
        Look { plan, own: &self.own, classes, scratch: Scratch::default() }
    }

    /// What stands in a decoded text, of the classes that `wanted` names: in order of place, those of one class not
    /// overlapping.
    #[cfg(test)]
    pub(super) fn find(
        &self,
        guard: Guard,
        wanted: &dyn Fn(Class) -> bool,
        text: &str,
    ) -> Vec<Hit> {
        let mut marks = vec![];
        self.look(guard, wanted).text(text, &mut marks);
        settle(&mut marks, text);
        let hit = |mark: Mark| Hit { class: mark.class, rule: mark.rule.clone(), span: mark.span };
        marks.into_iter().map(hit).collect()
    }
}

fn classes(wanted: &dyn Fn(Class) -> bool) -> Classes {
    Class::ALL.into_iter().filter(|class| wanted(*class)).fold(0, |all, one| all | 1 << one as u8)
}

impl<'a> Look<'a> {
    /// Appends what counts in `text`, in no order; not all of it once the budget is used up.
    pub(super) fn text(&mut self, text: &str, marks: &mut Vec<Mark<'a>>) {
        self.rules(text, marks);
        if self.classes & 1 << Class::HiddenCharacters as u8 != 0 {
            hidden::find(text, &mut self.scratch.budget, marks);
        }
    }

    /// The same but for characters that do not show.
    pub(super) fn rules(&mut self, text: &str, marks: &mut Vec<Mark<'a>>) {
        let before = marks.len();
        self.plan.look(text, &mut self.scratch, marks);
        only_what_counts(marks, before);
        let budget = &mut self.scratch.budget;
        if !self.own.is_empty() && !budget.is_used_up() {
            let before = marks.len();
            own::look(self.own, self.classes, text, marks);
            budget.spend(FIND * (marks.len() - before));
        }
    }

    /// What the message may still cost.
    pub(super) fn budget(&mut self) -> &mut Budget {
        &mut self.scratch.budget
    }

    /// One find of each class that is looked for, under the rule that a text was too dense to be read.
    pub(super) fn too_dense(&self, span: &Range<usize>, marks: &mut Vec<Mark<'a>>) {
        static RULE: Name = Name::BuiltIn(TOO_DENSE);
        let wanted = Class::ALL.into_iter().filter(|class| self.classes & 1 << *class as u8 != 0);
        marks.extend(wanted.map(|class| Mark {
            class,
            rule: &RULE,
            weight: 100,
            span: span.clone(),
            says: None,
        }));
    }

    /// Appends what counts in `text`, a name and a value with a sign between them at `at`, because they stand together.
    pub(super) fn assignment(&mut self, text: &str, at: usize, marks: &mut Vec<Mark<'a>>) {
        let before = marks.len();
        self.plan.look_at_assignment(text, at, &mut self.scratch, marks);
        only_what_counts(marks, before);
    }

    /// True when something is looked for that may be shorter than any built-in rule's finds.
    pub(super) fn has_own(&self) -> bool {
        !self.own.is_empty()
    }
}

/// Drops the marks from `first` on of every class whose rules' weights, each rule once, do not add up to 100.
fn only_what_counts(marks: &mut Vec<Mark<'_>>, first: usize) {
    let new = marks.get(first..).unwrap_or_default();
    if new.iter().all(|mark| mark.weight >= 100) {
        return;
    }
    let mut weights = [0u32; Class::ALL.len()];
    let mut rules: Vec<&Name> = vec![];
    for mark in new {
        if !rules.iter().any(|rule| std::ptr::eq(*rule, mark.rule)) {
            rules.push(mark.rule);
            weights[mark.class as usize] += u32::from(mark.weight);
        }
    }
    drop_from(first, marks, |mark| weights[mark.class as usize] < 100);
}

/// Drops some of the marks from `first` on; those before it are not even looked at, there may be many.
pub(super) fn drop_from(
    first: usize,
    marks: &mut Vec<Mark<'_>>,
    which: impl Fn(&Mark<'_>) -> bool,
) {
    if marks.iter().skip(first).any(&which) {
        let new = marks.split_off(first);
        marks.extend(new.into_iter().filter(|mark| !which(mark)));
    }
}

/// In order of place; those of one class that overlap become one, which covers them all and bears the name of the
/// weightiest, of equal ones the longest, and says what that one says. `text` is what they were found in.
pub(super) fn settle(marks: &mut Vec<Mark<'_>>, text: &str) {
    if marks.is_sorted_by(|a, b| a.span.end <= b.span.start) {
        return;
    }
    marks.sort_by(|a, b| {
        let key = |m: &Mark| (m.class, m.span.start, Reverse(m.span.end), Reverse(m.weight));
        key(a).cmp(&key(b)).then_with(|| (**a.rule).cmp(b.rule)).then_with(|| a.says.cmp(&b.says))
    });
    marks.dedup_by(|next, kept| {
        if next.class != kept.class || next.span.start >= kept.span.end {
            return false;
        }
        let span = kept.span.start..kept.span.end.max(next.span.end);
        if (next.weight, next.span.len()) > (kept.weight, kept.span.len()) {
            std::mem::swap(next, kept);
        }
        if kept.span != span && kept.says.is_none() {
            kept.says = text.get(kept.span.clone()).map(Box::from);
        }
        kept.span = span;
        true
    });
    marks.sort_by_key(|mark| (mark.span.start, mark.class));
}
