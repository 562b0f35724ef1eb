//! Numbers as people write them: groups of digits with separators between them.

use std::ops::Range;

/// How a number may be written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// Digits of each group.
    pub(super) groups: &'static [usize],
    /// What may stand between them: each text holds one separator per gap.
    pub(super) between: &'static [&'static [u8]],
    /// Whether it counts only beside one of the words.
    pub(super) needs_word: bool,
}

impl Shape {
    /// Counts by itself.
    pub(super) const fn plain(
        groups: &'static [usize],
        between: &'static [&'static [u8]],
    ) -> Shape {
        Shape { groups, between, needs_word: false }
    }

    /// Counts beside a word.
    pub(super) const fn named(
        groups: &'static [usize],
        between: &'static [&'static [u8]],
    ) -> Shape {
        Shape { groups, between, needs_word: true }
    }
}

/// The most digits that any shape has.
pub(super) const DIGITS: usize = 24;

/// Digits as numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Number {
    digits: [u8; DIGITS],
    length: usize,
}

impl Number {
    /// The digits of a text, whatever else stands in it; none when there are too many.
    pub(super) fn of(text: &[u8]) -> Option<Number> {
        let mut number = Number { digits: [0; DIGITS], length: 0 };
        for byte in text.iter().filter(|b| b.is_ascii_digit()) {
            *number.digits.get_mut(number.length)? = byte - b'0';
            number.length += 1;
        }
        Some(number)
    }

    /// From the first to the last.
    pub(super) fn digits(&self) -> &[u8] {
        self.digits.get(..self.length).unwrap_or_default()
    }
}

/// The first place in a run where the digits stand in one of the shapes, by themselves, and are accepted.
pub(super) fn shaped(
    text: &str,
    run: Range<usize>,
    shapes: &[Shape],
    words: &[&str],
    accept: fn(&[u8]) -> bool,
) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let inner = bytes.get(..run.end)?;
    // Most groups begin no shape: that must cost little, a text may be full of them.
    let firsts = shapes.iter().filter_map(|shape| shape.groups.first());
    let firsts = firsts.fold(0u32, |all, length| all | 1 << length.min(&31));
    let mut start = run.start;
    while start < run.end {
        let mut end = start;
        while inner.get(end).is_some_and(u8::is_ascii_digit) {
            end += 1;
        }
        let length = end - start;
        if firsts >> length.min(31) & 1 == 1 {
            let found = shapes
                .iter()
                .filter(|shape| shape.groups.first() == Some(&length))
                .find_map(|shape| one_shaped(text, start..run.end, shape, words, accept));
            if found.is_some() {
                return found;
            }
        }
        // The separator, or two where the run allows it.
        start = end + 1;
        while inner.get(start).is_some_and(|byte| !byte.is_ascii_digit()) {
            start += 1;
        }
    }
    None
}

fn one_shaped(
    text: &str,
    rest: Range<usize>,
    shape: &Shape,
    words: &[&str],
    accept: fn(&[u8]) -> bool,
) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let start = rest.start;
    let end = fits(bytes, start, rest.end, shape).filter(|end| stands_alone(bytes, start, *end))?;
    let is_it = bytes.get(start..end).and_then(Number::of).is_some_and(|n| accept(n.digits()));
    (is_it && (!shape.needs_word || beside(text, start..end, words))).then_some(start..end)
}

/// Where the shape ends that begins at `start`, in the same separators throughout where the shape lets choose.
fn fits(bytes: &[u8], start: usize, limit: usize, shape: &Shape) -> Option<usize> {
    'separators: for between in
        shape.between.iter().chain(shape.between.is_empty().then_some(&&[][..]))
    {
        // The first group is of that length, or nobody would ask.
        let mut at = start + shape.groups.first().copied().unwrap_or(0);
        for (i, wanted) in shape.groups.iter().enumerate().skip(1) {
            let separator = between.get(i - 1).or(between.last());
            if separator.is_none() || bytes.get(at) != separator {
                continue 'separators;
            }
            at += 1;
            if digits_from(bytes, at, limit.min(at + DIGITS)) != *wanted {
                continue 'separators;
            }
            at += wanted;
        }
        return Some(at);
    }
    None
}

/// True when neither end is part of something longer: a word, a decimal, a version, a key.
pub(super) fn stands_alone(bytes: &[u8], start: usize, end: usize) -> bool {
    let at = |i: Option<usize>| i.and_then(|i| bytes.get(i)).copied();
    let is_word = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    let joins = |b: Option<u8>| b.is_some_and(|b| b"-./".contains(&b));
    let (before, behind) = (at(start.checked_sub(1)), at(Some(end)));
    let joined_before = joins(before) && is_word(at(start.checked_sub(2)));
    let joined_behind = joins(behind) && is_word(at(Some(end + 1)));
    // Expiry dates and the like follow cards: `... 1111 05/27` has a space in between.
    !is_word(before) && !is_word(behind) && !joined_before && !joined_behind
}

/// True when one of the words (in small letters) stands shortly before or right behind.
pub(super) fn beside(text: &str, span: Range<usize>, words: &[&str]) -> bool {
    const BEFORE: usize = 48;
    const BEHIND: usize = 20;
    let bytes = text.as_bytes();
    let before = bytes.get(span.start.saturating_sub(BEFORE)..span.start).unwrap_or_default();
    let behind = bytes.get(span.end..(span.end + BEHIND).min(bytes.len())).unwrap_or_default();
    [before, behind].iter().any(|near| words.iter().any(|word| holds_word(near, word.as_bytes())))
}

/// As a word of its own or of a name: `SSN`, `user_ssn`, `userSsn`.
fn holds_word(near: &[u8], word: &[u8]) -> bool {
    near.windows(word.len()).enumerate().any(|(at, part)| {
        let byte = |i: Option<usize>| i.and_then(|i| near.get(i)).copied().unwrap_or(b' ');
        let (before, behind) = (byte(at.checked_sub(1)), byte(Some(at + word.len())));
        let first = byte(Some(at));
        let begins = !before.is_ascii_alphabetic()
            || (first.is_ascii_uppercase() && before.is_ascii_lowercase());
        let last = byte(Some(at + word.len() - 1));
        let ends = !behind.is_ascii_alphabetic()
            || (behind.is_ascii_uppercase() && last.is_ascii_lowercase());
        part.eq_ignore_ascii_case(word) && begins && ends
    })
}

/// How many digits stand here.
pub(super) fn digits_from(bytes: &[u8], start: usize, limit: usize) -> usize {
    let rest = bytes.get(start..limit).unwrap_or_default();
    rest.iter().take_while(|b| b.is_ascii_digit()).count()
}
