//! The two automata that can be read byte by byte from a place on: a table, made once, for most patterns; for those whose
//! table would be large, one whose states are made as they are needed.

use regex_automata::dfa::{Automaton, dense};
use regex_automata::hybrid::{LazyStateID, dfa};
use regex_automata::util::pool::PoolGuard;
use regex_automata::util::primitives::StateID;
use regex_automata::util::start;
use regex_automata::util::syntax;
use regex_automata::{Anchored, nfa::thompson};

/// Most memory that a table may take, bytes.
const TABLE: usize = 256 * 1024;
/// Most memory that states made as they are needed may take, bytes per thread.
const LAZY: usize = 1 << 20;

/// The automaton cannot say: a Unicode word boundary beside something that is not ASCII, or no more room for states.
#[derive(Debug)]
pub(super) struct GaveUp;

/// What a state says about what was read before its last byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Says {
    /// Nothing yet.
    Nothing,
    /// A match ended there.
    Match,
    /// Nothing can match any more.
    Dead,
}

/// Reads a text from a place on, which is where a match must begin.
pub(super) trait Reads {
    /// What was read so far, as far as it matters for what comes.
    type State: Copy + PartialEq + std::fmt::Debug;

    /// Before the first byte, which follows `before`.
    fn begin(&mut self, before: Option<u8>) -> Result<Self::State, GaveUp>;
    /// After one more byte; `None` is the end of the text.
    fn next(&mut self, state: Self::State, byte: Option<u8>) -> Result<Self::State, GaveUp>;
    /// What the state says.
    fn says(&self, state: Self::State) -> Says;
    /// States may be compared only within one epoch.
    fn epoch(&self) -> (usize, usize);
}

pub(super) type Table = dense::DFA<Vec<u32>>;

/// The table for a pattern; the error says whether it would be too large.
pub(super) fn table(pattern: &str) -> Result<Table, dense::BuildError> {
    let config = dense::Config::new()
        .start_kind(regex_automata::dfa::StartKind::Anchored)
        .accelerate(false)
        .unicode_word_boundary(true)
        .dfa_size_limit(Some(TABLE))
        .determinize_size_limit(Some(2 * TABLE));
    dense::Builder::new().configure(config).syntax(syntax()).build(pattern)
}

/// The automaton that makes its states as they are needed.
pub(super) fn lazy(pattern: &str) -> Option<dfa::DFA> {
    let config = dfa::Config::new()
        .unicode_word_boundary(true)
        .cache_capacity(LAZY)
        .skip_cache_capacity_check(true);
    dfa::Builder::new()
        .configure(config)
        .syntax(syntax())
        .thompson(thompson::Config::new().nfa_size_limit(Some(8 * LAZY)))
        .build(pattern)
        .ok()
}

/// Patterns may say `(?-u:[^x])`: what they find is widened to whole characters.
pub(super) fn syntax() -> syntax::Config {
    syntax::Config::new().utf8(false)
}

fn begin(before: Option<u8>) -> start::Config {
    start::Config::new().anchored(Anchored::Yes).look_behind(before)
}

impl Reads for &Table {
    type State = StateID;

    fn begin(&mut self, before: Option<u8>) -> Result<StateID, GaveUp> {
        self.start_state(&begin(before)).map_err(|_| GaveUp)
    }

    #[inline(always)]
    fn next(&mut self, state: StateID, byte: Option<u8>) -> Result<StateID, GaveUp> {
        let next = match byte {
            Some(byte) => self.next_state(state, byte),
            None => self.next_eoi_state(state),
        };
        if self.is_special_state(next) && self.is_quit_state(next) {
            return Err(GaveUp);
        }
        Ok(next)
    }

    #[inline(always)]
    fn says(&self, state: StateID) -> Says {
        match self.is_special_state(state) {
            true if self.is_match_state(state) => Says::Match,
            true if self.is_dead_state(state) => Says::Dead,
            true | false => Says::Nothing,
        }
    }

    fn epoch(&self) -> (usize, usize) {
        (0, 0)
    }
}

/// An automaton with room for its states.
pub(super) struct Lazy<'a> {
    pub(super) dfa: &'a dfa::DFA,
    pub(super) cache: PoolGuard<'a, dfa::Cache, Box<dyn Fn() -> dfa::Cache + Send + Sync>>,
}

impl Reads for Lazy<'_> {
    type State = LazyStateID;

    fn begin(&mut self, before: Option<u8>) -> Result<LazyStateID, GaveUp> {
        self.dfa.start_state(&mut self.cache, &begin(before)).map_err(|_| GaveUp)
    }

    #[inline(always)]
    fn next(&mut self, state: LazyStateID, byte: Option<u8>) -> Result<LazyStateID, GaveUp> {
        let next = match byte {
            Some(byte) => self.dfa.next_state(&mut self.cache, state, byte),
            None => self.dfa.next_eoi_state(&mut self.cache, state),
        };
        next.ok().filter(|next| !next.is_quit()).ok_or(GaveUp)
    }

    #[inline(always)]
    fn says(&self, state: LazyStateID) -> Says {
        match state.is_tagged() {
            true if state.is_match() => Says::Match,
            true if state.is_dead() => Says::Dead,
            true | false => Says::Nothing,
        }
    }

    /// Which cache it is and how often it was emptied.
    fn epoch(&self) -> (usize, usize) {
        let cache: &dfa::Cache = &self.cache;
        (std::ptr::from_ref(cache).addr(), cache.clear_count())
    }
}
