//! Replaces what was found in a message; every other byte stays, and JSON stays strict JSON.

use std::collections::HashSet;
use std::ops::Range;

use super::budget::TOO_DENSE;
use super::message::Found;
use super::tokens::{Token, Tokens};
use super::{Class, decode};

/// The JSON text with every one of `found` replaced by `[masked:RULE]`; hidden characters are left out. A number
/// becomes a string; a key that would be there twice gets `~2`, `~3`, ... behind it.
pub fn mask(text: &str, found: &[Found]) -> String {
    mask_where(text, found, |_| true)
}

/// The same for the classes that `which` names.
pub fn mask_where(text: &str, found: &[Found], which: impl Fn(Class) -> bool) -> String {
    let spans = spans(found, which);
    let mut writer = Writer { text, out: String::with_capacity(text.len()), copied: 0 };
    let mut keys = None;
    let (mut left, mut objects, mut around) = (&spans[..], 0, vec![]);
    for token in Tokens::of(text) {
        if left.is_empty() {
            break;
        }
        match token {
            Token::Object => {
                around.push(objects);
                objects += 1;
            }
            Token::Array => around.push(usize::MAX),
            Token::End => {
                around.pop();
            }
            Token::Word => {}
            Token::Number(span) => {
                if let Some(first) = take(&mut left, &span).first() {
                    writer.put(&span, &format!("\"{}\"", first.put));
                }
            }
            Token::String(span) => {
                for one in take(&mut left, &span) {
                    writer.put(&clip(&one.span, &span), &one.put);
                }
            }
            Token::Key(span) => {
                let masks = take(&mut left, &span);
                if !masks.is_empty() {
                    let keys = keys.get_or_insert_with(|| Keys::other_than(text, &spans));
                    let object = around.last().copied().unwrap_or(usize::MAX);
                    let key = keys.another(object, masked(text, &span, masks));
                    writer.put(&span, &key);
                }
            }
        }
    }
    writer.finish()
}

/// A text that is not JSON with every one of `found` replaced.
pub fn mask_text(text: &str, found: &[Found]) -> String {
    let mut writer = Writer { text, out: String::with_capacity(text.len()), copied: 0 };
    for one in spans(found, |_| true) {
        writer.put(&one.span, &one.put);
    }
    writer.finish()
}

/// What is replaced by what.
struct Span {
    span: Range<usize>,
    put: String,
    /// Length of the longest find in it that is more than hidden characters.
    longest: usize,
}

/// In order and not overlapping: what overlaps is replaced at once, in the name of the longest.
fn spans(found: &[Found], which: impl Fn(Class) -> bool) -> Vec<Span> {
    let chosen = found.iter().filter(|one| which(one.class) && !one.span.is_empty());
    let mut spans: Vec<Span> = chosen
        .map(|one| {
            let span = one.span.clone();
            match one.class {
                Class::HiddenCharacters if *one.rule != *TOO_DENSE => {
                    Span { span, put: String::new(), longest: 0 }
                }
                Class::HiddenCharacters
                | Class::Secrets
                | Class::PersonalData
                | Class::Injection
                | Class::DangerousActions => {
                    let (put, longest) = (format!("[masked:{}]", one.rule), one.span.len());
                    Span { span, put, longest }
                }
            }
        })
        .collect();
    spans.sort_by_key(|one| (one.span.start, one.span.end));
    spans.dedup_by(|next, kept| {
        if next.span.start >= kept.span.end {
            return false;
        }
        let span = kept.span.start..kept.span.end.max(next.span.end);
        if next.longest > kept.longest {
            std::mem::swap(next, kept);
        }
        kept.span = span;
        true
    });
    spans
}

/// The spans that overlap `token`; those before it are dropped.
fn take<'s>(left: &mut &'s [Span], token: &Range<usize>) -> &'s [Span] {
    let before = left.partition_point(|one| one.span.end <= token.start);
    let all = left.get(before..).unwrap_or_default();
    let inside = all.partition_point(|one| one.span.start < token.end);
    let (inside, rest) = all.split_at(inside);
    // One that goes on beyond the token concerns the next one, too.
    let goes_on = inside.last().is_some_and(|one| one.span.end > token.end);
    *left = if goes_on { all.get(inside.len() - 1..).unwrap_or_default() } else { rest };
    inside
}

fn clip(span: &Range<usize>, token: &Range<usize>) -> Range<usize> {
    span.start.max(token.start)..span.end.min(token.end)
}

fn masked(text: &str, key: &Range<usize>, masks: &[Span]) -> String {
    let inside = text.get(..key.end).unwrap_or_default();
    let mut writer = Writer { text: inside, out: String::new(), copied: key.start };
    masks.iter().for_each(|one| writer.put(&clip(&one.span, key), &one.put));
    writer.finish()
}

/// Copies a text and puts something else in the place of some of it.
struct Writer<'a> {
    text: &'a str,
    out: String,
    copied: usize,
}

impl Writer<'_> {
    fn put(&mut self, span: &Range<usize>, instead: &str) {
        // Spans that are not of this text are not borders of it.
        let start = self.text.floor_char_boundary(span.start);
        self.out.push_str(self.text.get(self.copied..start).unwrap_or_default());
        self.out.push_str(instead);
        self.copied = self.text.ceil_char_boundary(span.end).max(self.copied);
    }

    fn finish(mut self) -> String {
        self.out.push_str(self.text.get(self.copied..).unwrap_or_default());
        self.out
    }
}

/// The keys that a message has or gets, by object.
struct Keys {
    taken: HashSet<(usize, String)>,
    last: usize,
}

impl Keys {
    /// All keys that stay.
    fn other_than(text: &str, spans: &[Span]) -> Keys {
        let (mut taken, mut objects, mut around) = (HashSet::new(), 0, vec![]);
        let mut left = spans;
        for token in Tokens::of(text) {
            match token {
                Token::Object => {
                    around.push(objects);
                    objects += 1;
                }
                Token::Array => around.push(usize::MAX),
                Token::End => {
                    around.pop();
                }
                Token::Key(span) if take(&mut left, &span).is_empty() => {
                    let object = around.last().copied().unwrap_or(usize::MAX);
                    taken.insert((
                        object,
                        decode::plain(text.get(span).unwrap_or_default()).into_owned(),
                    ));
                }
                Token::Key(_) | Token::String(_) | Token::Number(_) | Token::Word => {}
            }
        }
        Keys { taken, last: 1 }
    }

    /// `key`, or if its object has that already, `key` with a number that no other has.
    fn another(&mut self, object: usize, key: String) -> String {
        let mut other = key.clone();
        while !self.taken.insert((object, decode::plain(&other).into_owned())) {
            self.last += 1;
            other = format!("{key}~{}", self.last);
        }
        other
    }
}
