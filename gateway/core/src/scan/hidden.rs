//! Characters that a model reads and a person does not see: Unicode tag characters and bidirectional overrides.

use super::Class;
use super::detectors::Hit;

/// The rule's name.
const HIDDEN_CHARACTERS: &str = "hidden_characters";

/// True for the name of a rule of this class.
pub(super) fn is_built_in(name: &str) -> bool {
    name == HIDDEN_CHARACTERS
}

/// Every run of them.
pub(super) fn find(text: &str) -> Vec<Hit> {
    let mut hits: Vec<Hit> = Vec::new();
    // All of them lie outside ASCII.
    let wide = if text.is_ascii() { "" } else { text };
    for (at, c) in wide.char_indices().filter(|(_, c)| is_hidden(*c as u32)) {
        let end = at + c.len_utf8();
        match hits.last_mut() {
            Some(last) if last.span.end == at => last.span.end = end,
            Some(_) | None => hits.push(Hit {
                class: Class::HiddenCharacters,
                rule: HIDDEN_CHARACTERS.into(),
                span: at..end,
            }),
        }
    }
    hits
}

fn is_hidden(c: u32) -> bool {
    matches!(c, 0xE0000..=0xE007F | 0x202A..=0x202E | 0x2066..=0x2069)
}
