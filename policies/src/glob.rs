//! Globs on exact bytes: `*` stands for any text, everything else for itself. No case folding and no
//! normalisation: what looks alike is not alike. Characters that nobody sees are refused where policies
//! are written and never match where names are checked.

/// Longest pattern, in bytes.
pub(crate) const MAX_PATTERN: usize = 1024;

/// Stands for "some name that nobody has written down" when asking whether any name could pass. Patterns
/// cannot contain it.
pub(crate) const WITNESS: &str = "\u{10FFFD}";

/// A pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Glob(String);

impl Glob {
    /// Takes a pattern, or says what is expected instead.
    pub(crate) fn parse(text: &str) -> Result<Glob, String> {
        if text.is_empty() || text.len() > MAX_PATTERN {
            return Err(format!("a pattern of 1 to {MAX_PATTERN} bytes"));
        }
        match hidden_character(text) {
            Some(c) => Err(format!("a pattern without the invisible character {}", code(c))),
            None => Ok(Glob(text.to_owned())),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn has_star(&self) -> bool {
        self.0.contains('*')
    }

    /// A name that the pattern matches and that a second pattern matches only if it matches all names
    /// which this one does.
    pub(crate) fn witness(&self) -> String {
        self.0.replace('*', WITNESS)
    }

    /// True when the pattern stands for `name`.
    pub(crate) fn matches(&self, name: &str) -> bool {
        let (pattern, name) = (self.0.as_bytes(), name.as_bytes());
        let (mut p, mut n) = (0, 0);
        let mut retry: Option<(usize, usize)> = None;
        while n < name.len() {
            if pattern.get(p) == Some(&b'*') {
                p += 1;
                retry = Some((p, n));
            } else if pattern.get(p) == name.get(n) {
                p += 1;
                n += 1;
            } else if let Some((after_star, from)) = retry {
                p = after_star;
                n = from + 1;
                retry = Some((p, n));
            } else {
                return false;
            }
        }
        pattern.get(p..).is_some_and(|rest| rest.iter().all(|b| *b == b'*'))
    }
}

/// The first character of `text` that a person does not see or that changes how the text is read:
/// controls, zero-width and filler characters, bidirectional controls, variation selectors, tags.
pub fn hidden_character(text: &str) -> Option<char> {
    if text.bytes().all(|b| (0x20..0x7F).contains(&b)) {
        return None;
    }
    text.chars().find(|c| {
        c.is_control()
            || matches!(*c as u32,
                0xAD | 0x34F | 0x61C | 0x115F..=0x1160 | 0x17B4..=0x17B5 | 0x180B..=0x180F
                | 0x200B..=0x200F | 0x2028..=0x202E | 0x2060..=0x206F | 0x3164 | 0xFE00..=0xFE0F
                | 0xFEFF | 0xFFA0 | 0xFFF0..=0xFFFB | 0x1BCA0..=0x1BCA3 | 0x1D173..=0x1D17A
                | 0xE0000..=0xE0FFF | 0x10FFFD)
    })
}

/// A character's name for messages.
pub(crate) fn code(c: char) -> String {
    format!("U+{:04X}", c as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_bytes() {
        let cases = [
            ("get_*", "get_ticket", true),
            ("get_*", "get_", true),
            ("get_*", "GET_ticket", false),
            ("get_*", "xget_ticket", false),
            ("*_ticket", "get_ticket", true),
            ("*a*b*", "xaxxbx", true),
            ("*a*b*", "xbxxax", false),
            ("a*a", "a", false),
            ("*", "", true),
            ("a**", "a", true),
            ("caf\u{e9}", "cafe\u{301}", false),
            ("get?", "getx", false),
            ("get.x", "getyx", false),
            ("file:///a/*", "file:///a/../b", true),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(Glob::parse(pattern).unwrap().matches(name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn invisible_characters_are_found() {
        let hidden = ["a\u{200b}", "\u{202e}a", "a\n", "\u{0}", "a\u{feff}", "\u{e0041}", "\u{ad}"];
        for text in hidden {
            assert!(hidden_character(text).is_some(), "{text:?}");
            assert!(Glob::parse(text).is_err(), "{text:?}");
        }
        for text in ["get_ticket", "prüfen", "検索", "😀"] {
            assert_eq!(hidden_character(text), None, "{text}");
        }
    }

    #[test]
    fn a_long_name_against_many_stars_ends_soon() {
        let name = "a".repeat(8192);
        assert!(!Glob::parse(&format!("{}b", "a*".repeat(500))).unwrap().matches(&name));
    }
}
