//! The strings, keys and numbers of a checked JSON text, in one walk without recursion. A text that was never checked
//! gives wrong tokens, never a panic.

use std::ops::Range;

use crate::json::end_of_string;

/// A piece of a JSON text; spans are in bytes, without the quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// `{`
    Object,
    /// `[`
    Array,
    /// `}` or `]`
    End,
    /// A member's key.
    Key(Range<usize>),
    /// A string that is no key.
    String(Range<usize>),
    /// A number in its source spelling.
    Number(Range<usize>),
    /// `true`, `false` or `null`.
    Word,
}

/// Iterator over the tokens of a text.
pub(super) struct Tokens<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Tokens<'a> {
    pub(super) fn of(text: &'a str) -> Tokens<'a> {
        Tokens { bytes: text.as_bytes(), at: 0 }
    }

    fn while_byte(&mut self, holds: impl Fn(u8) -> bool) {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        self.at += rest.iter().position(|b| !holds(*b)).unwrap_or(rest.len());
    }

    fn string(&mut self) -> Token {
        let start = self.at + 1;
        let end = end_of_string(self.bytes, start);
        self.at = (end + 1).min(self.bytes.len());
        self.while_byte(is_space);
        match self.bytes.get(self.at) {
            Some(b':') => Token::Key(start..end),
            Some(_) | None => Token::String(start..end),
        }
    }
}

impl Iterator for Tokens<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        self.while_byte(|b| is_space(b) || matches!(b, b',' | b':'));
        let start = self.at;
        let single = match self.bytes.get(start)? {
            b'{' => Token::Object,
            b'[' => Token::Array,
            b'}' | b']' => Token::End,
            b'"' => return Some(self.string()),
            b'-' | b'0'..=b'9' => {
                self.while_byte(|b| matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'));
                return Some(Token::Number(start..self.at));
            }
            _ => {
                self.at += 1;
                self.while_byte(|b| b.is_ascii_alphabetic());
                return Some(Token::Word);
            }
        };
        self.at += 1;
        Some(single)
    }
}

fn is_space(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\n' | b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_stand_where_they_stand() {
        let text = r#" {"a\"b" : [1, -2.5e+3, "x\\", true],"c":"","d":{}, "e":null} "#;
        let got: Vec<_> = Tokens::of(text)
            .map(|token| match token {
                Token::Key(span) => format!("key {}", &text[span]),
                Token::String(span) => format!("string {}", &text[span]),
                Token::Number(span) => format!("number {}", &text[span]),
                Token::Object | Token::Array | Token::End | Token::Word => format!("{token:?}"),
            })
            .collect();
        let all = r#"Object|key a\"b|Array|number 1|number -2.5e+3|string x\\|Word|End|key c|string |key d|Object|End|key e|Word|End"#;
        assert_eq!(got.join("|"), all);
    }

    #[test]
    fn what_is_no_json_ends_too() {
        for text in ["\"", "\"\\", "{\"a", "nonsense é }", "\"é\\", "[[[", "-"] {
            assert!(Tokens::of(text).count() <= text.len(), "{text}");
        }
    }
}
