//! What one guard looks for, of the classes that are on: every literal, byte and run of digits in one pass. Where one
//! stands its rule is asked. Classes that are off are not in the plan and cost nothing.

use std::ops::Range;
use std::sync::{LazyLock, OnceLock};

use aho_corasick::automaton::Automaton;
use aho_corasick::{Anchored, MatchKind, dfa};

use super::budget::{ATTEMPT, Budget, CALL, FIND, LOOK, STEP};
use super::detectors::TABLES;
use super::pattern::{Compiled, Progress};
use super::rule::{Name, Rule, Seek};
use super::{Class, Guard};

/// A set of classes, a bit each.
pub(super) type Classes = u8;

/// Something that a rule says stands in a text.
#[derive(Debug, Clone)]
pub(super) struct Mark<'a> {
    pub(super) class: Class,
    pub(super) rule: &'a Name,
    pub(super) weight: u8,
    pub(super) span: Range<usize>,
    /// What it says, if the text does not say it at `span` as it is.
    pub(super) says: Option<Box<str>>,
}

/// The rules of one guard and some classes.
pub(super) struct Plan {
    rules: Vec<&'static Known>,
    /// All literals; `None` if there are none.
    literals: Option<dfa::DFA>,
    /// By literal: the rules that begin so, and its length.
    begin: Vec<(Vec<usize>, usize)>,
    /// By byte: whether it is a `DIGIT`, and where in `bytes`, from 1 on, the rules are that ask for it.
    marks: [u8; 256],
    bytes: Vec<Vec<Asked>>,
    /// Rules that ask for digits, and of which lengths a run must have groups in a row; none: any run.
    digits: Vec<(usize, Vec<Row>)>,
}

/// A rule that asks for a byte.
struct Asked {
    known: &'static Known,
    find: fn(&str, usize) -> Option<Range<usize>>,
}

/// A digit, where some rule asks for digits.
const DIGIT: u8 = 0x80;

/// No number has more digits in a row.
const LONGEST_NUMBER: usize = 40;

/// Lengths of groups that follow each other.
struct Row {
    lengths: &'static [u8],
    /// The same, a bit each.
    set: u64,
}

impl Row {
    fn of(lengths: &'static [u8]) -> Row {
        Row { lengths, set: lengths.iter().fold(0, |all, length| all | bit(*length)) }
    }
}

/// A built-in rule; its pattern is compiled when its literal is first seen.
struct Known {
    rule: &'static Rule,
    name: Name,
    pattern: OnceLock<Option<Compiled>>,
}

/// What a pass over one text needs besides the plan; made once, used for text after text.
#[derive(Default)]
pub(super) struct Scratch {
    /// By rule: which of `progress` is its, from 1 on; empty until a literal is seen.
    places: Vec<u16>,
    /// Of the rules whose literals the message has, in the order of their coming: most have few.
    progress: Vec<Progress>,
    /// Those of `progress` that the present text has used.
    touched: Vec<usize>,
    /// Lengths of the groups of a run of digits.
    groups: Vec<u8>,
    /// What the message may still cost.
    pub(super) budget: Budget,
}

static KNOWN: LazyLock<Vec<Known>> = LazyLock::new(|| {
    let rules = TABLES.iter().copied().flatten();
    rules
        .map(|rule| Known { rule, name: Name::BuiltIn(rule.name), pattern: OnceLock::new() })
        .collect()
});

/// The plan of `guard` for some classes. The first asking builds it, which takes milliseconds.
pub(super) fn plan(guard: Guard, classes: Classes) -> &'static Plan {
    const ALL: usize = 1 << Class::ALL.len();
    static PLANS: [[OnceLock<Plan>; ALL]; Guard::ALL.len()] =
        [const { [const { OnceLock::new() }; ALL] }; Guard::ALL.len()];
    PLANS[guard as usize][usize::from(classes) % ALL].get_or_init(|| Plan::new(guard, classes))
}

/// True for the name of a built-in rule.
pub(super) fn is_built_in(name: &str) -> bool {
    KNOWN.iter().any(|known| known.rule.name == name)
}

/// Every literal with which something that is looked for may begin.
pub(super) fn literals() -> impl Iterator<Item = &'static str> {
    let literals = |rule: &'static Rule| match rule.seek {
        Seek::Literals { literals, .. } => literals,
        Seek::Byte { .. } | Seek::Digits { .. } => &[],
    };
    TABLES.iter().copied().flatten().flat_map(literals).copied()
}

impl Known {
    fn pattern(&self) -> Option<&Compiled> {
        let compile = || match self.rule.seek {
            Seek::Literals { pattern, .. } => Compiled::new(pattern),
            Seek::Byte { .. } | Seek::Digits { .. } => None,
        };
        self.pattern.get_or_init(compile).as_ref()
    }
}

impl Plan {
    fn new(guard: Guard, classes: Classes) -> Plan {
        let wanted = |known: &&Known| {
            classes & 1 << known.rule.class as u8 != 0
                && (known.rule.guards.is_empty() || known.rule.guards.contains(&guard))
        };
        let rules: Vec<&'static Known> = KNOWN.iter().filter(wanted).collect();
        let mut plan = Plan {
            rules: rules.clone(),
            literals: None,
            begin: vec![],
            marks: [0; 256],
            bytes: vec![],
            digits: vec![],
        };
        let mut texts: Vec<String> = vec![];
        for (n, known) in rules.into_iter().enumerate() {
            match known.rule.seek {
                Seek::Literals { literals, .. } => {
                    literals.iter().for_each(|literal| plan.begins(literal, n, &mut texts));
                }
                Seek::Byte { bytes, find } => {
                    bytes.iter().for_each(|byte| plan.ask(*byte, Asked { known, find }));
                }
                Seek::Digits { groups, .. } => {
                    (b'0'..=b'9').for_each(|byte| plan.marks[usize::from(byte)] |= DIGIT);
                    plan.digits.push((n, groups.iter().map(|lengths| Row::of(lengths)).collect()));
                }
            }
        }
        plan.literals = automaton(&texts);
        plan
    }

    /// Rule `n` may begin with `literal`.
    fn begins(&mut self, literal: &str, n: usize, texts: &mut Vec<String>) {
        let literal = literal.to_ascii_lowercase();
        match texts.iter().position(|text| *text == literal).and_then(|at| self.begin.get_mut(at)) {
            Some((rules, _)) => rules.push(n),
            None => {
                self.begin.push((vec![n], literal.len()));
                texts.push(literal);
            }
        }
    }

    /// A rule asks for `byte`.
    fn ask(&mut self, byte: u8, asked: Asked) {
        let mark = &mut self.marks[usize::from(byte)];
        if *mark & !DIGIT == 0 {
            // There are fewer bytes to ask for than marks: all ASCII.
            self.bytes.push(vec![]);
            *mark |= u8::try_from(self.bytes.len()).unwrap_or(0);
        }
        if let Some(rules) = self.bytes.get_mut(usize::from(*mark & !DIGIT).wrapping_sub(1)) {
            rules.push(asked);
        }
    }

    /// Appends what stands in `text` because of the sign at `at`, and if its name holds a literal, what that begins.
    pub(super) fn look_at_assignment(
        &self,
        text: &str,
        at: usize,
        scratch: &mut Scratch,
        found: &mut Vec<Mark<'_>>,
    ) {
        let (name, value) =
            (text.get(..at).unwrap_or_default(), text.get(at..).unwrap_or_default());
        // What is a number of somebody may be said by the name beside it.
        let is_number = || {
            let digits = value.bytes().filter(u8::is_ascii_digit).take(7).count();
            !self.digits.is_empty() && value.len() <= 64 && digits == 7
        };
        if is_number() || self.names(name) {
            if scratch.budget.afford(LOOK * text.len()) {
                self.look(text, scratch, found);
            }
            return;
        }
        scratch.begin();
        let mark = text.as_bytes().get(at).map_or(0, |sign| self.marks[usize::from(*sign)]);
        Pass { plan: self, text, scratch, found, digits: 0 }.byte(mark & !DIGIT, at);
    }

    /// True when `text` holds a literal of some rule.
    fn names(&self, text: &str) -> bool {
        let Some(literals) = &self.literals else { return false };
        let Ok(mut state) = literals.start_state(Anchored::No) else { return false };
        text.bytes().any(|byte| {
            state = literals.next_state(Anchored::No, state, byte);
            literals.is_special(state) && literals.is_match(state)
        })
    }

    /// Compiles what is compiled when it is first needed.
    pub(super) fn prepare(&self) {
        self.rules.iter().for_each(|known| {
            known.pattern();
        });
    }

    /// Appends what stands in `text`, in no order.
    pub(super) fn look(&self, text: &str, scratch: &mut Scratch, found: &mut Vec<Mark<'_>>) {
        scratch.begin();
        let mut pass = Pass { plan: self, text, scratch, found, digits: 0 };
        match &self.literals {
            Some(literals) => pass.all(literals),
            None => pass.bytes(),
        }
    }
}

/// `None` for no literals, and if they do not fit; a test builds the automaton of all.
fn automaton(texts: &[String]) -> Option<dfa::DFA> {
    if texts.is_empty() {
        return None;
    }
    dfa::DFA::builder()
        .ascii_case_insensitive(true)
        .match_kind(MatchKind::Standard)
        .start_kind(aho_corasick::StartKind::Unanchored)
        .prefilter(false)
        .build(texts)
        .ok()
}

impl Scratch {
    fn begin(&mut self) {
        for n in self.touched.drain(..) {
            if let Some(progress) = self.progress.get_mut(n) {
                progress.restart();
            }
        }
    }

    fn of(&mut self, n: usize, rules: usize) -> Option<&mut Progress> {
        if self.places.is_empty() {
            self.places.resize(rules, 0);
        }
        let place = self.places.get_mut(n)?;
        if *place == 0 {
            self.progress.push(Progress::default());
            *place = u16::try_from(self.progress.len()).ok()?;
        }
        let at = usize::from(*place) - 1;
        let progress = self.progress.get_mut(at)?;
        if !std::mem::replace(&mut progress.seen, true) {
            self.touched.push(at);
        }
        Some(progress)
    }
}

/// One pass over one text; it ends early where the message may cost no more.
struct Pass<'a, 'm> {
    plan: &'a Plan,
    text: &'a str,
    scratch: &'a mut Scratch,
    found: &'a mut Vec<Mark<'m>>,
    /// Runs of digits have been looked at up to here.
    digits: usize,
}

impl Pass<'_, '_> {
    fn all(&mut self, literals: &dfa::DFA) {
        let Ok(mut state) = literals.start_state(Anchored::No) else { return };
        for (i, byte) in self.text.as_bytes().iter().enumerate() {
            state = literals.next_state(Anchored::No, state, *byte);
            if literals.is_special(state) && literals.is_match(state) {
                for n in 0..literals.match_len(state) {
                    self.literal(literals.match_pattern(state, n).as_usize(), i + 1);
                }
                if self.scratch.budget.is_used_up() {
                    return;
                }
            }
            if !self.marked(*byte, i) {
                return;
            }
        }
    }

    fn bytes(&mut self) {
        if self.plan.bytes.is_empty() && self.plan.digits.is_empty() {
            return;
        }
        for (i, byte) in self.text.as_bytes().iter().enumerate() {
            if !self.marked(*byte, i) {
                return;
            }
        }
    }

    /// Asks whoever asks for that byte; false where the message may cost no more.
    #[inline(always)]
    fn marked(&mut self, byte: u8, at: usize) -> bool {
        let mark = self.plan.marks[usize::from(byte)];
        // Most are digits of a run that has been looked at.
        if mark == 0 || (mark == DIGIT && at < self.digits) {
            return true;
        }
        self.byte(mark, at);
        !self.scratch.budget.is_used_up()
    }

    /// A literal ends at `end`.
    fn literal(&mut self, literal: usize, end: usize) {
        let plan = self.plan;
        let Some((rules, len)) = plan.begin.get(literal) else { return };
        for n in rules {
            self.attempt(*n, end - len);
        }
    }

    fn attempt(&mut self, n: usize, at: usize) {
        let Some(known) = self.plan.rules.get(n).copied() else { return };
        let Some(pattern) = known.pattern() else { return };
        let Some(progress) = self.scratch.of(n, self.plan.rules.len()) else { return };
        if progress.tried == at + 1 || at < progress.skip {
            return;
        }
        progress.tried = at + 1;
        let end = pattern.end(self.text, at, progress);
        let work = ATTEMPT + STEP * progress.take_read();
        self.scratch.budget.spend(work);
        let Some(end) = end else { return };
        if self.counts(known, pattern.found(self.text, at..end))
            && let Some(progress) = self.scratch.of(n, self.plan.rules.len())
        {
            progress.skip = end;
        }
    }

    fn byte(&mut self, mark: u8, at: usize) {
        let plan = self.plan;
        if let Some(rules) = plan.bytes.get(usize::from(mark & !DIGIT).wrapping_sub(1)) {
            self.scratch.budget.spend(CALL * rules.len());
            for asked in rules {
                if let Some(span) = (asked.find)(self.text, at) {
                    self.counts(asked.known, span);
                }
            }
        }
        if mark & DIGIT != 0 && at >= self.digits {
            self.digits(at);
        }
    }

    /// A run of digits begins at `at`.
    fn digits(&mut self, at: usize) {
        let (end, count) = run(self.text.as_bytes(), at, &mut self.scratch.groups);
        self.digits = end;
        if count < 7 {
            return;
        }
        let plan = self.plan;
        // No group has no digits: that bit says how the run begins.
        let begins_00 = self.text.as_bytes().get(at..at + 2) == Some(b"00");
        let groups = self.scratch.groups.iter();
        let lengths = groups.fold(u64::from(begins_00), |all, length| all | bit(*length));
        for (n, wanted) in &plan.digits {
            if !may_hold(&self.scratch.groups, lengths, wanted) {
                continue;
            }
            let Some(known) = plan.rules.get(*n).copied() else { continue };
            let Seek::Digits { find, .. } = known.rule.seek else { continue };
            let mut rest = at..end;
            // One that takes every run does not go through it.
            let walked = if wanted.is_empty() { 0 } else { rest.len() };
            if !self.scratch.budget.afford(CALL + walked) {
                return;
            }
            while let Some(span) = find(self.text, rest.clone()) {
                let next = span.end.max(rest.start + 1);
                self.counts(known, span);
                if self.scratch.budget.is_used_up() {
                    return;
                }
                match digits_from(self.text.as_bytes(), next, end) {
                    Some(start) => rest = start..end,
                    None => break,
                }
            }
        }
    }

    /// Keeps it if the rule's check agrees.
    fn counts(&mut self, known: &'static Known, span: Range<usize>) -> bool {
        let Some(it) = self.text.get(span.clone()).filter(|it| !it.is_empty()) else {
            return false;
        };
        let agreed = known.rule.check.is_none_or(|check| {
            self.scratch.budget.spend(2 * it.len());
            check(it)
        });
        if agreed {
            self.scratch.budget.spend(FIND);
            self.found.push(Mark {
                class: known.rule.class,
                rule: &known.name,
                weight: known.rule.weight,
                span,
                says: None,
            });
        }
        agreed
    }
}

/// The end of the run of digits and single separators that begins at `at`, and how many digits it holds; their groups'
/// lengths go to `groups`. No digits if it is one of so many in a row that it is no number; such a one ends a run, too.
fn run(bytes: &[u8], at: usize, groups: &mut Vec<u8>) -> (usize, usize) {
    let (mut i, mut count) = (at, 0);
    groups.clear();
    loop {
        let rest = bytes.get(i..).unwrap_or_default();
        let group = rest.iter().position(|b| !b.is_ascii_digit()).unwrap_or(rest.len());
        if group > LONGEST_NUMBER {
            return if i == at { (i + group, 0) } else { (i - 1, count) };
        }
        (i, count) = (i + group, count + group);
        groups.extend(u8::try_from(group));
        match rest.get(group..) {
            Some([b' ' | b'-' | b'.' | b'/' | b'(' | b')', digit, ..])
                if digit.is_ascii_digit() =>
            {
                i += 1;
            }
            Some(_) | None => return (i, count),
        }
    }
}

/// No length is above 63, as `LONGEST_NUMBER` says.
fn bit(length: u8) -> u64 {
    1 << length.min(63)
}

/// Whether groups of the lengths of one of `wanted` follow each other; `lengths` are those that there are, a bit each.
fn may_hold(groups: &[u8], lengths: u64, wanted: &[Row]) -> bool {
    let follow = |row: &Row| memchr::memmem::find(groups, row.lengths).is_some();
    let is_there = |row: &Row| row.set & lengths == row.set && row.lengths.len() <= groups.len();
    wanted.is_empty()
        || wanted.iter().any(|row| is_there(row) && (row.lengths.len() == 1 || follow(row)))
}

/// Where the digits begin that follow `from` in a run that ends at `end`, if at least seven do.
fn digits_from(bytes: &[u8], from: usize, end: usize) -> Option<usize> {
    let rest = bytes.get(from..end)?;
    let start = from + rest.iter().position(u8::is_ascii_digit)?;
    let rest = bytes.get(start..end)?;
    (rest.iter().filter(|b| b.is_ascii_digit()).take(7).count() == 7).then_some(start)
}

#[cfg(test)]
mod tests {
    use super::super::pattern::STEPS;
    use super::*;

    #[test]
    fn every_rule_compiles() {
        let mut names = std::collections::HashSet::new();
        for known in KNOWN.iter() {
            let rule = known.rule;
            assert!(names.insert(rule.name), "{} is there twice", rule.name);
            assert!(rule.weight > 0, "{}", rule.name);
            let Seek::Literals { literals, .. } = rule.seek else { continue };
            assert!(literals.iter().all(|literal| literal.len() >= 2), "{}", rule.name);
            let pattern = known.pattern().unwrap_or_else(|| panic!("{}", rule.name));
            assert!(pattern.regex().is_some(), "{}", rule.name);
            // Those without a table are searched by an automaton that is built as it goes.
            println!("{:>8} {}", pattern.table_size().unwrap_or(0), rule.name);
        }
        for guard in Guard::ALL {
            let plan = plan(guard, 0b11111);
            assert_eq!(plan.literals.is_some(), !plan.begin.is_empty());
        }
    }

    /// What one rule's pattern reads of a text that holds its literals again and again, bytes for each byte.
    fn reads(known: &Known, literals: &[&str], text: &str) -> u64 {
        let Some(pattern) = known.pattern() else { return 0 };
        let lower = text.to_ascii_lowercase();
        let mut places: Vec<usize> = literals
            .iter()
            .flat_map(|literal| {
                lower.match_indices(&literal.to_ascii_lowercase()).map(|m| m.0).collect::<Vec<_>>()
            })
            .collect();
        places.sort_unstable();
        let mut progress = Progress::default();
        STEPS.with(|steps| steps.set(0));
        for at in places {
            pattern.end(text, at, &mut progress);
        }
        STEPS.with(std::cell::Cell::get) / text.len() as u64
    }

    /// Texts made of what rules begin with are read a few times over, not once for each beginning.
    #[test]
    fn hostile_texts_are_read_a_few_times() {
        const LENGTH: usize = 4 * 1024;
        let every: String = literals().collect::<Vec<_>>().join(" ");
        for known in KNOWN.iter() {
            let Seek::Literals { literals, .. } = known.rule.seek else { continue };
            let mut soups = vec![every.repeat(LENGTH / every.len() + 1)];
            for literal in literals {
                for filler in ["", " ", "=", "A1b2", "aaaaaaaaaaaaaaaa-"] {
                    let piece = format!("{literal}{filler}");
                    soups.push(piece.repeat(LENGTH / piece.len()));
                }
            }
            let most = soups.iter().map(|soup| reads(known, literals, soup)).max().unwrap_or(0);
            assert!(most <= 48, "{} reads a text {most} times", known.rule.name);
        }
    }

    #[test]
    fn runs_of_digits_are_maximal() {
        let mut groups = vec![];
        for (text, end, count) in [
            ("1234567", 7, 7),
            ("12 34-56.7x", 10, 7),
            ("1  2", 1, 1),
            ("1-", 1, 1),
            ("(0)30/1", 7, 4),
            (") 1", 0, 0),
            (&format!("1 2.{} 3", "4".repeat(41)), 3, 2),
            (&format!("{} 3", "4".repeat(41)), 41, 0),
        ] {
            assert_eq!(run(text.as_bytes(), 0, &mut groups), (end, count), "{text}");
        }
        run(b"12 34-567", 0, &mut groups);
        assert_eq!(groups, [2, 2, 3]);
        let rows: [(&[&'static [u8]], bool); 7] = [
            (&[&[2, 3]], true),
            (&[&[3]], true),
            (&[&[4], &[2, 2, 3]], true),
            (&[], true),
            (&[&[3, 2]], false),
            (&[&[2, 2, 2]], false),
            (&[&[4]], false),
        ];
        for (wanted, holds) in rows {
            let rows: Vec<Row> = wanted.iter().map(|lengths| Row::of(lengths)).collect();
            assert_eq!(may_hold(&groups, bit(2) | bit(3), &rows), holds, "{wanted:?}");
        }
        assert_eq!(digits_from(b"4111 1234567", 4, 12), Some(5));
        assert_eq!(digits_from(b"4111 123456", 4, 11), None);
    }
}
