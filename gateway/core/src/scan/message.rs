//! Walks a message, looks at every key, string and number of it, and says where in its bytes what was found stands.

use std::ops::Range;

use super::forms::Forms;
use super::path::Path;
use super::plan::Mark;
use super::rule::Name;
use super::tokens::{Token, Tokens};
use super::{Class, Detectors, Guard, Mode, Modes};

pub use super::mask::{mask, mask_text, mask_where};

/// Of each mode so many finds of one message are described and so many recorded; what there is beyond is masked and
/// blocked like the others.
pub const DESCRIBED: usize = 256;

/// Longest key that is read together with its value, bytes.
const LONGEST_KEY: usize = 128;
/// Longest value that is read together with its key, bytes.
const LONGEST_VALUE: usize = 4 * 1024;
/// Numbers with fewer characters hold nothing that a built-in rule looks for.
const SHORTEST_NUMBER: usize = 7;

/// Something that stands in a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Of which class.
    pub class: Class,
    /// By which rule.
    pub rule: Name,
    /// Where, as a JSON Pointer (RFC 6901) of at most 256 bytes. Keys in which something was found are masked in it.
    pub path: String,
    /// Its bytes in the text, escapes and all: a part of a key or string, a whole run of base64, a whole number; all of a
    /// key or string that was too dense to be read.
    pub span: Range<usize>,
    /// What it says, decoded. Empty beyond the first [`DESCRIBED`] of a mode, and `path` with it.
    pub plain: String,
}

/// Looks through a checked JSON text for what `guard` does anything about: in order of place; those of one class do not
/// overlap, those of different classes may.
///
/// Every key, string and number is read, with JSON's escapes undone; then once more with percent-encoding, HTML
/// entities, backslash escapes, unseen characters and UTF-16's zero bytes undone; and every run of base64 in it. One
/// level deep: base64 in base64 is not read.
pub fn read(detectors: &Detectors, guard: Guard, modes: &Modes, text: &str) -> Vec<Found> {
    if modes.is_off(guard) {
        return vec![];
    }
    let wanted = |class| modes.of(guard, class) != Mode::Off;
    let mut reader = Reader {
        text,
        forms: Forms::new(detectors.look(guard, &wanted)),
        path: Path::of(text),
        finds: Finds { guard, modes, found: vec![], described: [0; 4] },
    };
    Tokens::of(text).for_each(|token| reader.token(token));
    reader.finds.found
}

/// The same for a text that is not JSON: an error text, what somebody pastes. Its finds' `path` is empty.
pub fn read_text(detectors: &Detectors, guard: Guard, modes: &Modes, text: &str) -> Vec<Found> {
    if modes.is_off(guard) {
        return vec![];
    }
    let wanted = |class| modes.of(guard, class) != Mode::Off;
    let mut finds = Finds { guard, modes, found: vec![], described: [0; 4] };
    Forms::new(detectors.look(guard, &wanted))
        .text(text, |mark, says| finds.add(&mark, mark.span.clone(), &String::new, says));
    finds.found
}

/// Reads one message.
struct Reader<'a> {
    text: &'a str,
    forms: Forms<'a>,
    path: Path<'a>,
    finds: Finds<'a>,
}

/// What was found so far.
struct Finds<'a> {
    guard: Guard,
    modes: &'a Modes,
    found: Vec<Found>,
    /// By mode.
    described: [usize; 4],
}

impl Reader<'_> {
    fn token(&mut self, token: Token) {
        match token {
            Token::Object => self.path.open(),
            Token::Array => self.path.open_array(),
            Token::End => self.path.close(),
            Token::Word => self.path.value(),
            Token::Key(span) => self.key(span),
            Token::String(span) => {
                self.path.value();
                self.string(span);
            }
            Token::Number(span) => {
                self.path.value();
                self.number(span);
            }
        }
    }

    fn key(&mut self, span: Range<usize>) {
        self.path.key(span.clone());
        let Some(raw) = self.text.get(span.clone()) else { return };
        let (path, finds) = (&mut self.path, &mut self.finds);
        self.forms.json(raw, |mark, says| {
            path.hide_key(mark.rule);
            finds.add(&mark, within(&span, &mark.span), &|| path.pointer(), says);
        });
    }

    fn string(&mut self, span: Range<usize>) {
        let Some(raw) = self.text.get(span.clone()) else { return };
        let (path, finds) = (&self.path, &mut self.finds);
        let before = finds.found.len();
        self.forms.json(raw, |mark, says| {
            finds.add(&mark, within(&span, &mark.span), &|| path.pointer(), says);
        });
        if let Some(key) = path.last_key().filter(|key| key.len() <= LONGEST_KEY)
            && raw.len() <= LONGEST_VALUE
        {
            let known = before..finds.found.len();
            self.forms.member(key, raw, |mark, says| {
                let span = within(&span, &mark.span);
                if !finds.covers(&known, mark.class, &span) {
                    finds.add(&mark, span, &|| path.pointer(), says);
                }
            });
            finds.in_order(before);
        }
    }

    /// What stands in a number is the number.
    fn number(&mut self, span: Range<usize>) {
        let Some(raw) = self.text.get(span.clone()) else { return };
        if raw.len() < SHORTEST_NUMBER && !self.forms.has_own() {
            return;
        }
        let (path, finds) = (&self.path, &mut self.finds);
        let before = finds.found.len();
        let mut add = |mark: Mark<'_>| {
            if !finds.covers(&(before..finds.found.len()), mark.class, &span) {
                finds.add(&mark, span.clone(), &|| path.pointer(), raw);
            }
        };
        self.forms.number(raw, |mark, _| add(mark));
        if let Some(key) = path.last_key().filter(|key| key.len() <= LONGEST_KEY) {
            self.forms.member(key, raw, |mark, _| add(mark));
        }
    }
}

fn within(outer: &Range<usize>, inner: &Range<usize>) -> Range<usize> {
    outer.start + inner.start..outer.start + inner.end
}

impl Finds<'_> {
    fn add(&mut self, mark: &Mark<'_>, span: Range<usize>, path: &dyn Fn() -> String, says: &str) {
        let described = &mut self.described[self.modes.of(self.guard, mark.class) as usize];
        let (path, plain) = match *described < DESCRIBED {
            true => (path(), says.to_owned()),
            false => (String::new(), String::new()),
        };
        *described += 1;
        self.found.push(Found { class: mark.class, rule: (*mark.rule).clone(), path, span, plain });
    }

    /// Whether something of that class among the `known`, which are in order, overlaps the span.
    fn covers(&self, known: &Range<usize>, class: Class, span: &Range<usize>) -> bool {
        let known = self.found.get(known.clone()).unwrap_or_default();
        let begun = known.partition_point(|one| one.span.start < span.end);
        // Those of one class do not overlap: the last that has begun ends last.
        let mut begun = known.iter().take(begun).rev();
        begun.find(|one| one.class == class).is_some_and(|one| span.start < one.span.end)
    }

    fn in_order(&mut self, first: usize) {
        let new = self.found.get_mut(first..).unwrap_or_default();
        new.sort_by_key(|one| (one.span.start, one.class));
    }
}
