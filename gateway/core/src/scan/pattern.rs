//! One rule's pattern, tried at one place of a text. Linear: an attempt that arrives in the state in which an earlier
//! one stood at the same place takes over what that one came to, so attempts that overlap do not read twice.

use std::ops::Range;
use std::sync::OnceLock;

use regex_automata::hybrid::{LazyStateID, dfa};
use regex_automata::util::pool::Pool;
use regex_automata::util::primitives::StateID;
use regex_automata::{Anchored, Input, PatternID, meta};

use super::automaton::{self, GaveUp, Lazy, Reads, Says, Table};

/// Most bytes that one match may have: longer ones end here.
pub(super) const WINDOW: usize = 8 * 1024;

/// The same where no automaton can say, only a search that shares nothing.
const SHORT_WINDOW: usize = 512;

/// An attempt notes its state every so many bytes.
const EVERY: usize = 8;

/// So many attempts are remembered.
const COURSES: usize = 4;

/// A pattern, ready to be tried.
pub(super) struct Compiled {
    automaton: Kind,
    pattern: &'static str,
    /// For the group `it`, and where the automaton gives up: made when that first happens, for most rules never.
    regex: OnceLock<Option<meta::Regex>>,
}

enum Kind {
    Table(Box<Table>),
    Lazy(Box<dfa::DFA>, Pool<dfa::Cache, Box<dyn Fn() -> dfa::Cache + Send + Sync>>),
}

impl Kind {
    fn lazy(pattern: &str) -> Option<Kind> {
        let dfa = Box::new(automaton::lazy(pattern)?);
        let make = dfa.clone();
        Some(Kind::Lazy(dfa, Pool::new(Box::new(move || make.create_cache()))))
    }
}

/// What earlier attempts of one pattern at one text came to.
#[derive(Default)]
pub(super) struct Progress {
    /// Whether it is in use for this text.
    pub(super) seen: bool,
    /// Where the last attempt began, and one more; 0: nowhere.
    pub(super) tried: usize,
    /// Before it nothing is tried: a match ends there.
    pub(super) skip: usize,
    /// Bytes read since somebody asked.
    read: usize,
    table: Courses<StateID>,
    lazy: Courses<LazyStateID>,
}

impl Progress {
    /// How many bytes attempts have read since this was last asked.
    pub(super) fn take_read(&mut self) -> usize {
        std::mem::take(&mut self.read)
            + std::mem::take(&mut self.table.read)
            + std::mem::take(&mut self.lazy.read)
    }

    /// For another text.
    pub(super) fn restart(&mut self) {
        self.seen = false;
        self.tried = 0;
        self.skip = 0;
        self.table.forget();
        self.lazy.forget();
    }
}

impl Compiled {
    /// Compiles one of the built-in rules' patterns; a test compiles them all.
    pub(super) fn new(pattern: &'static str) -> Option<Compiled> {
        let automaton = match automaton::table(pattern) {
            Ok(table) => Kind::Table(Box::new(table)),
            Err(_) => Kind::lazy(pattern)?,
        };
        Some(Compiled { automaton, pattern, regex: OnceLock::new() })
    }

    /// `None` for no pattern of a rule, as a test says.
    pub(super) fn regex(&self) -> Option<&meta::Regex> {
        let make = || {
            meta::Builder::new()
                .configure(meta::Config::new().utf8_empty(false))
                .syntax(automaton::syntax())
                .build(self.pattern)
                .ok()
        };
        self.regex.get_or_init(make).as_ref()
    }

    /// Bytes of its table; `None` if it has none.
    #[cfg(test)]
    pub(super) fn table_size(&self) -> Option<usize> {
        match &self.automaton {
            Kind::Table(table) => Some(table.memory_usage()),
            Kind::Lazy(..) => None,
        }
    }

    /// The end of the match that begins at `at`.
    pub(super) fn end(&self, text: &str, at: usize, progress: &mut Progress) -> Option<usize> {
        let bytes = text.as_bytes();
        let walked = match &self.automaton {
            Kind::Table(table) => progress.table.walk(&**table, bytes, at),
            Kind::Lazy(dfa, caches) => {
                progress.lazy.walk(Lazy { dfa, cache: caches.get() }, bytes, at)
            }
        };
        let end = walked.unwrap_or_else(|GaveUp| {
            progress.read += SHORT_WINDOW;
            let input = anchored(text, at, text.len().min(at + SHORT_WINDOW));
            self.regex()?.search_half(&input).map(|half| half.offset())
        })?;
        Some(text.ceil_char_boundary(end))
    }

    /// What was found by a match: its group `it`, if it has one that says something.
    pub(super) fn found(&self, text: &str, matched: Range<usize>) -> Range<usize> {
        if !self.pattern.contains("<it>") {
            return matched;
        }
        let Some(regex) = self.regex() else { return matched };
        let Some(it) = regex.group_info().to_index(PatternID::ZERO, "it") else { return matched };
        let mut groups = regex.create_captures();
        regex.search_captures(&anchored(text, matched.start, matched.end), &mut groups);
        match groups.get_group(it) {
            Some(it) if !it.is_empty() && text.get(it.range()).is_some() => it.range(),
            Some(_) | None => matched,
        }
    }
}

fn anchored(text: &str, at: usize, end: usize) -> Input<'_> {
    Input::new(text).range(at..end).anchored(Anchored::Yes)
}

/// How the last attempts went that took a while: a few, for patterns of several parts that take turns.
struct Courses<S> {
    all: Vec<Course<S>>,
    oldest: usize,
    /// Room for the next attempt's notes.
    spare: Vec<S>,
    /// Bytes read.
    read: usize,
}

/// How an attempt went.
struct Course<S> {
    /// Place of the first note; the others follow every `EVERY` bytes.
    first: usize,
    states: Vec<S>,
    /// In which epoch of the automaton they were noted.
    epoch: (usize, usize),
    /// End of the last match.
    end: Option<usize>,
    /// Where it stopped, and in which state unless nothing could follow.
    stop: usize,
    last: Option<S>,
}

impl<S> Default for Courses<S> {
    fn default() -> Courses<S> {
        Courses { all: vec![], oldest: 0, spare: vec![], read: 0 }
    }
}

impl<S: Copy + PartialEq> Courses<S> {
    fn forget(&mut self) {
        self.all.clear();
        self.oldest = 0;
    }

    /// Reads from `at` on and gives the end of the match.
    fn walk<A: Reads<State = S>>(
        &mut self,
        mut automaton: A,
        bytes: &[u8],
        at: usize,
    ) -> Result<Option<usize>, GaveUp> {
        let stop = bytes.len().min(at + WINDOW);
        let mut state = automaton.begin(at.checked_sub(1).and_then(|i| bytes.get(i).copied()))?;
        let epoch = automaton.epoch();
        let (mut end, mut states) = (None, std::mem::take(&mut self.spare));
        states.clear();
        for (i, byte) in bytes.iter().enumerate().take(stop).skip(at) {
            count();
            state = automaton.next(state, Some(*byte))?;
            match automaton.says(state) {
                Says::Nothing => {}
                Says::Match => end = Some(i),
                Says::Dead => {
                    let epoch = one_epoch(epoch, &automaton);
                    self.read += i + 1 - at;
                    return Ok(self.settle(epoch, at, states, (end, i, None)));
                }
            }
            let next = i + 1;
            if next % EVERY == 0 {
                let epoch = automaton.epoch();
                if let Some(course) =
                    self.all.iter_mut().find(|course| course.passed(next, state, epoch))
                {
                    self.spare = states;
                    self.read += next - at + course.still_to_read(stop);
                    return Ok(course.go_on(&mut automaton, bytes, stop, next)?.or(end));
                }
                states.push(state);
            }
        }
        self.read += stop.saturating_sub(at);
        end = at_end(&mut automaton, bytes, stop, state)?.or(end);
        let epoch = one_epoch(epoch, &automaton);
        Ok(self.settle(epoch, at, states, (end, stop, Some(state))))
    }

    /// Remembers how an attempt went, if that took a while.
    fn settle(
        &mut self,
        epoch: (usize, usize),
        at: usize,
        states: Vec<S>,
        (end, stop, last): (Option<usize>, usize, Option<S>),
    ) -> Option<usize> {
        if states.is_empty() {
            self.spare = states;
            return end;
        }
        let course = Course { first: (at / EVERY + 1) * EVERY, states, epoch, end, stop, last };
        match self.all.get_mut(self.oldest) {
            Some(oldest) => self.spare = std::mem::replace(oldest, course).states,
            None => self.all.push(course),
        }
        self.oldest = (self.oldest + 1) % COURSES;
        end
    }
}

impl<S: Copy + PartialEq> Course<S> {
    /// Whether that attempt was in that state there.
    fn passed(&self, at: usize, state: S, epoch: (usize, usize)) -> bool {
        let note = at.checked_sub(self.first).map(|beyond| beyond / EVERY);
        note.and_then(|note| self.states.get(note)) == Some(&state) && self.epoch == epoch
    }

    /// How far `go_on` reads at most.
    fn still_to_read(&self, stop: usize) -> usize {
        if self.last.is_some() { stop.saturating_sub(self.stop) } else { 0 }
    }

    /// The end of the last match beyond `from`, after reading on to `stop` where that attempt had to stop.
    fn go_on<A: Reads<State = S>>(
        &mut self,
        automaton: &mut A,
        bytes: &[u8],
        stop: usize,
        from: usize,
    ) -> Result<Option<usize>, GaveUp> {
        if let Some(mut state) = self.last.filter(|_| stop > self.stop) {
            let begin = std::mem::replace(&mut self.stop, stop);
            self.last = None;
            for (i, byte) in bytes.iter().enumerate().take(stop).skip(begin) {
                count();
                state = automaton.next(state, Some(*byte)).inspect_err(|_| self.states.clear())?;
                match automaton.says(state) {
                    Says::Nothing => {}
                    Says::Match => self.end = Some(i),
                    Says::Dead => return Ok(self.end.filter(|end| *end >= from)),
                }
                if (i + 1) % EVERY == 0 {
                    self.states.push(state);
                }
            }
            self.end = at_end(automaton, bytes, stop, state)?.or(self.end);
            self.last = Some(state);
            if automaton.epoch() != self.epoch {
                self.states.clear();
            }
        }
        Ok(self.end.filter(|end| *end >= from))
    }
}

/// The epoch of all the states since one began; none if a new one has begun since: they are not comparable.
fn one_epoch<A: Reads>(began: (usize, usize), automaton: &A) -> (usize, usize) {
    if automaton.epoch() == began { began } else { (usize::MAX, usize::MAX) }
}

/// Whether a match ends at the end of what is read: an automaton knows one byte later.
fn at_end<A: Reads>(
    automaton: &mut A,
    bytes: &[u8],
    stop: usize,
    state: A::State,
) -> Result<Option<usize>, GaveUp> {
    let after = automaton.next(state, bytes.get(stop).copied())?;
    Ok((automaton.says(after) == Says::Match).then_some(stop))
}

#[cfg(test)]
thread_local! {
    /// Bytes that patterns have read, for tests that say how many there may be.
    pub(super) static STEPS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

#[inline(always)]
fn count() {
    #[cfg(test)]
    STEPS.with(|steps| steps.set(steps.get() + 1));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The plain way: an anchored search of its own from every place.
    fn check(pattern: &'static str, text: &str) {
        let mut lazy = Compiled::new(pattern).unwrap();
        lazy.automaton = Kind::lazy(pattern).unwrap();
        let regex = meta::Regex::new(pattern).unwrap();
        for compiled in [Compiled::new(pattern).unwrap(), lazy] {
            let mut progress = Progress::default();
            for (at, _) in text.char_indices() {
                let stop = text.len().min(at + WINDOW);
                let plain = regex.search_half(&anchored(text, at, stop)).map(|half| half.offset());
                assert_eq!(compiled.end(text, at, &mut progress), plain, "{pattern} at {at}");
            }
        }
    }

    #[test]
    fn what_attempts_share_is_what_each_would_find() {
        let long = format!("{}.{}", "eyJabc-".repeat(40), "x".repeat(50));
        for text in [&long[..], "", "eyJ", &"eyJaaaaaaaaaaaaaa-".repeat(30), "aab\u{e9}ab aaab"] {
            for pattern in [
                r"\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9]{5,20}",
                r"eyJ[A-Za-z0-9_-]{10,}(?:\.x+)?",
                r"(?i)EYJ[a-z]+-(?P<it>eyj)?",
                r"a+b?",
                r"\ba+\b",
                r"(?s)e.*x$",
                r"a.*?b",
            ] {
                check(pattern, text);
            }
        }
    }

    #[test]
    fn a_window_that_ends_is_read_on_from_there() {
        let text = format!("{}{}END", "BEGIN ".repeat(200), "z".repeat(WINDOW - 600));
        check(r"BEGIN (?s:.)*?END", &text);
        check(r"BEGIN [A-Z z]*END", &text);
    }

    /// Overlapping attempts cost a few bytes each, not the window each.
    #[test]
    fn attempts_that_overlap_do_not_read_twice() {
        let text = "eyJaaaaaaaaaa-".repeat(2_000);
        let compiled = Compiled::new(r"\beyJ[A-Za-z0-9_-]{10,}\.[a-z]+").unwrap();
        let mut progress = Progress::default();
        STEPS.with(|steps| steps.set(0));
        for at in (0..text.len()).step_by(14) {
            assert_eq!(compiled.end(&text, at, &mut progress), None);
        }
        let steps = STEPS.with(std::cell::Cell::get);
        assert!(steps < 5 * text.len() as u64, "{steps}");
    }

    #[test]
    fn the_group_it_is_what_was_found() {
        let compiled = Compiled::new(r#"key=(?P<it>[a-z]*)"#).unwrap();
        assert_eq!(compiled.found("my key=abc;", 3..10), 7..10);
        assert_eq!(compiled.found("my key=;", 3..7), 3..7, "a group that says nothing");
    }
}
