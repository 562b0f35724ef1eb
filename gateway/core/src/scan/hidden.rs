//! Characters that a model reads and a person does not see: Unicode tag characters and bidirectional
//! overrides. Looks at raw bytes and at `\u` escapes alike, because both reach the upstream.

use crate::record::Finding;

/// This detector's rule name.
pub const HIDDEN_CHARACTERS: &str = "hidden_characters";

/// Finds hidden characters in a JSON text.
pub fn hidden_characters(body: &str) -> Option<Finding> {
    let mut offsets = raw(body).chain(escaped(body));
    let first = offsets.next()?;
    let (offset, count) = offsets.fold((first, 1), |(min, n), at| (min.min(at), n + 1));
    Some(Finding { rule: HIDDEN_CHARACTERS, offset, count })
}

fn raw(body: &str) -> impl Iterator<Item = usize> {
    // All of them lie outside ASCII, so pure ASCII costs one pass over bytes.
    let wide = if body.is_ascii() { "" } else { body };
    wide.char_indices().filter(|(_, c)| is_hidden(*c as u32)).map(|(at, _)| at)
}

fn escaped(body: &str) -> impl Iterator<Item = usize> {
    body.match_indices("\\u").filter_map(move |(at, _)| {
        let code = body.get(at + 2..at + 6).and_then(|hex| u32::from_str_radix(hex, 16).ok())?;
        let hidden = match code {
            // The high surrogate of U+E0000..U+E007F.
            0xDB40 => body
                .get(at + 8..at + 12)
                .and_then(|hex| u32::from_str_radix(hex, 16).ok())
                .is_some_and(|low| (0xDC00..=0xDC7F).contains(&low)),
            code => is_hidden(code),
        };
        hidden.then_some(at)
    })
}

fn is_hidden(c: u32) -> bool {
    matches!(c, 0xE0000..=0xE007F | 0x202A..=0x202E | 0x2066..=0x2069)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_both_spellings_and_nothing_else() {
        let cases = [
            (r#"{"a":"plain \u00e9 ☂ 👩‍👩‍👧"}"#, None),
            ("{\"a\":\"x\u{E0041}\u{E0042}\"}", Some((7, 2))),
            (r#"{"a":"\udb40\udc41"}"#, Some((6, 1))),
            (r#"{"a":"\u202e"}"#, Some((6, 1))),
            (r#"{"a":"\udb40"}"#, None),
            (r#""\u"#, None),
        ];
        for (body, expected) in cases {
            let found = hidden_characters(body).map(|f| (f.offset, f.count));
            assert_eq!(found, expected, "{body}");
        }
    }
}
