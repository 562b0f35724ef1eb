//! One rule's pattern, tried at one place of a text. Linear: an attempt that arrives in the state in which an earlier
//! one stood at the same place takes over what that one came to, so attempts that overlap do not read twice.

use std::ops::Range;

use regex_automata::dfa::{Automaton, dense};
use regex_automata::util::primitives::StateID;
use regex_automata::util::start;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, meta};

/// Most bytes that one match may have: longer ones end here.
pub(super) const WINDOW: usize = 8 * 1024;

/// An attempt notes its state every so many bytes.
const EVERY: usize = 16;

/// Most memory that one pattern's table may take, bytes. A larger one is searched by a lazy automaton instead.
const TABLE: usize = 1 << 20;

/// A pattern, ready to be tried.
pub(super) struct Compiled {
    table: Option<dense::DFA<Vec<u32>>>,
    /// For the group `it`, and where there is no table or it gives up.
    regex: Option<meta::Regex>,
    it: Option<usize>,
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
    course: Course,
    spare: Vec<StateID>,
}

impl Progress {
    /// For another text.
    pub(super) fn restart(&mut self) {
        self.seen = false;
        self.tried = 0;
        self.skip = 0;
        self.course.states.clear();
        self.course.last = None;
    }
}

/// How one attempt went.
#[derive(Default)]
struct Course {
    /// Place of the first note; the others follow every `EVERY` bytes.
    first: usize,
    states: Vec<StateID>,
    /// End of the last match.
    end: Option<usize>,
    /// Where it stopped, and in which state unless nothing could follow.
    stop: usize,
    last: Option<StateID>,
}

/// The table cannot say (a Unicode word boundary beside something that is not ASCII).
struct GaveUp;

impl Compiled {
    /// Compiles one of the built-in rules' patterns; a test compiles them all.
    pub(super) fn new(pattern: &str) -> Option<Compiled> {
        let exact = table(pattern, false);
        let gives_up = exact.is_none();
        let table = exact.or_else(|| table(pattern, true));
        let named = pattern.contains("(?P<it>") || pattern.contains("(?<it>");
        let regex = match named || gives_up {
            true => Some(meta::Regex::new(pattern).ok()?),
            false => None,
        };
        let it = regex
            .as_ref()
            .and_then(|regex| regex.group_info().to_index(regex_automata::PatternID::ZERO, "it"));
        (table.is_some() || regex.is_some()).then_some(Compiled { table, regex, it })
    }

    /// Bytes of its table; `None` if it is too large for one.
    #[cfg(test)]
    pub(super) fn table_size(&self) -> Option<usize> {
        self.table.as_ref().map(|table| table.memory_usage())
    }

    /// The end of the match that begins at `at`.
    pub(super) fn end(&self, text: &str, at: usize, progress: &mut Progress) -> Option<usize> {
        let walked = match &self.table {
            Some(table) => walk(table, text.as_bytes(), at, progress),
            None => Err(GaveUp),
        };
        let end = walked.unwrap_or_else(|GaveUp| {
            let input = anchored(text, at, text.len().min(at + WINDOW));
            self.regex.as_ref()?.search_half(&input).map(|half| half.offset())
        })?;
        Some(text.ceil_char_boundary(end))
    }

    /// What was found by a match: its group `it`, if it has one that says something.
    pub(super) fn found(&self, text: &str, matched: Range<usize>) -> Range<usize> {
        let (Some(regex), Some(it)) = (&self.regex, self.it) else { return matched };
        let mut groups = regex.create_captures();
        regex.search_captures(&anchored(text, matched.start, matched.end), &mut groups);
        match groups.get_group(it) {
            Some(it) if !it.is_empty() && text.get(it.range()).is_some() => it.range(),
            Some(_) | None => matched,
        }
    }
}

fn table(pattern: &str, may_give_up: bool) -> Option<dense::DFA<Vec<u32>>> {
    let config = dense::Config::new()
        .start_kind(regex_automata::dfa::StartKind::Anchored)
        .accelerate(false)
        .unicode_word_boundary(may_give_up)
        .dfa_size_limit(Some(TABLE))
        .determinize_size_limit(Some(4 * TABLE));
    dense::Builder::new().configure(config).syntax(syntax::Config::new()).build(pattern).ok()
}

fn anchored(text: &str, at: usize, end: usize) -> Input<'_> {
    Input::new(text).range(at..end).anchored(Anchored::Yes)
}

/// Reads from `at` on and gives the end of the match.
fn walk(
    table: &dense::DFA<Vec<u32>>,
    bytes: &[u8],
    at: usize,
    progress: &mut Progress,
) -> Result<Option<usize>, GaveUp> {
    let stop = bytes.len().min(at + WINDOW);
    let before = at.checked_sub(1).and_then(|i| bytes.get(i).copied());
    let begin = start::Config::new().anchored(Anchored::Yes).look_behind(before);
    let mut state = table.start_state(&begin).map_err(|_| GaveUp)?;
    let mut own = Course { states: std::mem::take(&mut progress.spare), ..Course::default() };
    own.states.clear();
    own.first = (at / EVERY + 1) * EVERY;
    own.stop = stop;
    for (i, byte) in bytes.iter().enumerate().take(stop).skip(at) {
        count();
        state = table.next_state(state, *byte);
        if table.is_special_state(state) {
            if table.is_match_state(state) {
                own.end = Some(i);
            } else if table.is_dead_state(state) {
                own.stop = i;
                return Ok(settle(own, None, progress));
            } else if table.is_quit_state(state) {
                progress.spare = own.states;
                return Err(GaveUp);
            }
        }
        let next = i + 1;
        if next % EVERY == 0 {
            if progress.course.passed(next, state) {
                let end = own.end;
                progress.spare = own.states;
                return Ok(progress.course.go_on(table, bytes, stop, next)?.or(end));
            }
            own.states.push(state);
        }
    }
    let end = at_end(table, bytes, stop, state)?;
    own.end = end.or(own.end);
    Ok(settle(own, Some(state), progress))
}

/// Remembers how an attempt went, if that took a while.
fn settle(mut own: Course, last: Option<StateID>, progress: &mut Progress) -> Option<usize> {
    let end = own.end;
    own.last = last;
    match own.states.is_empty() {
        true => progress.spare = own.states,
        false => {
            progress.spare = std::mem::replace(&mut progress.course, own).states;
        }
    }
    end
}

impl Course {
    /// Whether this attempt was in that state there.
    fn passed(&self, at: usize, state: StateID) -> bool {
        let note = at.checked_sub(self.first).map(|beyond| beyond / EVERY);
        note.and_then(|note| self.states.get(note)) == Some(&state)
    }

    /// The end of the last match beyond `from`, after reading on to `stop` where this attempt had to stop.
    fn go_on(
        &mut self,
        table: &dense::DFA<Vec<u32>>,
        bytes: &[u8],
        stop: usize,
        from: usize,
    ) -> Result<Option<usize>, GaveUp> {
        if let Some(mut state) = self.last
            && stop > self.stop
        {
            let begin = self.stop;
            for (i, byte) in bytes.iter().enumerate().take(stop).skip(begin) {
                count();
                state = table.next_state(state, *byte);
                self.stop = i;
                if table.is_match_state(state) {
                    self.end = Some(i);
                } else if table.is_dead_state(state) {
                    self.last = None;
                    return Ok(self.end.filter(|end| *end >= from));
                } else if table.is_quit_state(state) {
                    self.states.clear();
                    return Err(GaveUp);
                }
                if (i + 1) % EVERY == 0 {
                    self.states.push(state);
                }
            }
            self.stop = stop;
            self.last = Some(state);
            let end = at_end(table, bytes, stop, state)?;
            self.end = end.or(self.end);
        }
        Ok(self.end.filter(|end| *end >= from))
    }
}

/// Whether a match ends at the end of what is read: the table knows one byte later.
fn at_end(
    table: &dense::DFA<Vec<u32>>,
    bytes: &[u8],
    stop: usize,
    state: StateID,
) -> Result<Option<usize>, GaveUp> {
    let after = match bytes.get(stop) {
        Some(byte) => table.next_state(state, *byte),
        None => table.next_eoi_state(state),
    };
    match table.is_quit_state(after) {
        true => Err(GaveUp),
        false => Ok(table.is_match_state(after).then_some(stop)),
    }
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
    fn check(pattern: &str, text: &str) {
        let compiled = Compiled::new(pattern).unwrap();
        let regex = meta::Regex::new(pattern).unwrap();
        let mut progress = Progress::default();
        for (at, _) in text.char_indices() {
            let stop = text.len().min(at + WINDOW);
            let plain = regex.search_half(&anchored(text, at, stop)).map(|half| half.offset());
            assert_eq!(compiled.end(text, at, &mut progress), plain, "{pattern} at {at}");
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
