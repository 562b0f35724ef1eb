//! Where in a message a walk stands, as a JSON Pointer that holds nothing which was found.

use std::ops::Range;

use super::rule::Name;
use super::{decode, fold};

/// Longest pointer, bytes.
const LONGEST: usize = 256;

/// The arrays and objects around the present place.
pub(super) struct Path<'a> {
    text: &'a str,
    around: Vec<Place>,
}

#[derive(Default)]
struct Place {
    /// Of an array: how many of its elements have begun.
    elements: Option<usize>,
    /// Of an object: its present key's bytes.
    key: Range<usize>,
    /// The rule that found something in that key.
    hidden_by: Option<Name>,
}

impl<'a> Path<'a> {
    pub(super) fn of(text: &'a str) -> Path<'a> {
        Path { text, around: vec![] }
    }

    pub(super) fn open(&mut self) {
        self.value();
        self.around.push(Place::default());
    }

    pub(super) fn open_array(&mut self) {
        self.value();
        self.around.push(Place { elements: Some(0), ..Place::default() });
    }

    pub(super) fn close(&mut self) {
        self.around.pop();
    }

    /// A value begins.
    pub(super) fn value(&mut self) {
        if let Some(count) = self.around.last_mut().and_then(|place| place.elements.as_mut()) {
            *count += 1;
        }
    }

    /// A member begins.
    pub(super) fn key(&mut self, span: Range<usize>) {
        if let Some(place) = self.around.last_mut() {
            place.key = span;
            place.hidden_by = None;
        }
    }

    /// The present key is not to be shown.
    pub(super) fn hide_key(&mut self, rule: &Name) {
        if let Some(place) = self.around.last_mut() {
            place.hidden_by.get_or_insert_with(|| rule.clone());
        }
    }

    /// The key whose value begins here, as it stands in the text; `None` in an array.
    pub(super) fn last_key(&self) -> Option<&'a str> {
        let place = self.around.last().filter(|place| place.elements.is_none())?;
        self.text.get(place.key.clone()).filter(|key| !key.is_empty())
    }

    /// Where the present value stands, shortened at the end.
    pub(super) fn pointer(&self) -> String {
        let mut pointer = String::new();
        for place in &self.around {
            pointer.push('/');
            match (place.elements, &place.hidden_by) {
                (Some(count), _) => pointer.push_str(&count.saturating_sub(1).to_string()),
                (None, Some(rule)) => pointer.extend(["[masked:", rule, "]"]),
                (None, None) => self.push_key(place, &mut pointer),
            }
        }
        if pointer.len() > LONGEST {
            pointer.truncate(pointer.floor_char_boundary(LONGEST - '…'.len_utf8()));
            pointer.push('…');
        }
        pointer
    }

    fn push_key(&self, place: &Place, pointer: &mut String) {
        let raw = self.text.get(place.key.clone()).unwrap_or_default();
        let raw = raw.get(..raw.floor_char_boundary(2 * LONGEST)).unwrap_or_default();
        for c in decode::plain(raw).chars() {
            match c {
                '~' => pointer.push_str("~0"),
                '/' => pointer.push_str("~1"),
                c if c.is_control() || fold::unseen(c).is_some() => pointer.push('\u{FFFD}'),
                c => pointer.push(c),
            }
        }
    }
}
