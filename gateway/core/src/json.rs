//! Strict, borrowed JSON: a text is checked once and read in place, never copied into a tree.
//!
//! What two parsers could read differently is refused: duplicate keys at any level, a byte order
//! mark, invalid UTF-8, lone surrogates, trailing data, nesting beyond [`MAX_DEPTH`]. So the bytes that
//! a policy was decided on are the bytes that the upstream reads. Values are spans of the source:
//! numbers keep their spelling, unknown members stay where they are.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

use memchr::memchr2;

/// Deepest nesting of arrays and objects that is read.
pub const MAX_DEPTH: usize = 64;

/// Names of members that JSON-RPC itself gives a meaning.
const ENVELOPE: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];

/// Objects with more members than this are checked for duplicates by hashing.
const LINEAR_DUPLICATE_CHECK: usize = 16;

/// Why a text is not acceptable JSON; `at` is the byte offset in the source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// The text starts with a byte order mark.
    #[error("byte order mark before the JSON text")]
    ByteOrderMark,
    /// The text is not UTF-8.
    #[error("invalid UTF-8 at byte {at}")]
    Utf8 {
        /// Byte offset.
        at: usize,
    },
    /// The text does not follow the JSON grammar.
    #[error("expected {expected} at byte {at}")]
    Syntax {
        /// Byte offset.
        at: usize,
        /// What would have been legal there.
        expected: &'static str,
    },
    /// An object names a key twice (after unescaping).
    #[error("duplicate key {}at byte {at}", key.map(|key| format!("\"{key}\" ")).unwrap_or_default())]
    DuplicateKey {
        /// Byte offset of the second occurrence.
        at: usize,
        /// The key, if it is one of JSON-RPC's own: any other may hold what nobody should read.
        key: Option<&'static str>,
    },
    /// A `\u` escape is half of a surrogate pair.
    #[error("lone surrogate at byte {at}")]
    LoneSurrogate {
        /// Byte offset.
        at: usize,
    },
    /// Arrays and objects nest deeper than [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH} levels at byte {at}")]
    TooDeep {
        /// Byte offset.
        at: usize,
    },
    /// Something follows the JSON value.
    #[error("trailing data at byte {at}")]
    TrailingData {
        /// Byte offset.
        at: usize,
    },
}

/// A JSON value inside a text that has been checked; `raw` is its exact source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Json<'a> {
    raw: &'a str,
}

/// The type of a JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// A number in its source spelling.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

impl<'a> Json<'a> {
    /// Checks `bytes` as one strict JSON text.
    pub fn parse(bytes: &'a [u8]) -> Result<Json<'a>, JsonError> {
        if bytes.starts_with(&[0xEF, 0xBB, 0xBF]) {
            return Err(JsonError::ByteOrderMark);
        }
        let text =
            std::str::from_utf8(bytes).map_err(|e| JsonError::Utf8 { at: e.valid_up_to() })?;
        let mut check = Check { text, at: 0 };
        check.space();
        let start = check.at;
        check.value(0)?;
        let end = check.at;
        check.space();
        if check.at < bytes.len() {
            return Err(JsonError::TrailingData { at: check.at });
        }
        Ok(Json { raw: &text[start..end] })
    }

    /// A value whose source text was checked by [`Json::parse`] before, for instance a remembered span.
    /// Reading text that was never checked gives wrong answers, not undefined behaviour.
    pub fn checked_before(raw: &'a str) -> Json<'a> {
        Json { raw: raw.trim_matches(|c| matches!(c, ' ' | '\t' | '\n' | '\r')) }
    }

    /// The exact source text of this value.
    pub fn raw(&self) -> &'a str {
        self.raw
    }

    /// The type of this value.
    pub fn kind(&self) -> Kind {
        match self.raw.as_bytes().first() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'"') => Kind::String,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'n') | None => Kind::Null,
            Some(_) => Kind::Number,
        }
    }

    /// Members of an object in source order; empty for every other type.
    pub fn members(&self) -> Members<'a> {
        Members { cursor: Cursor::inside(self.raw, b'{') }
    }

    /// Elements of an array in source order; empty for every other type.
    pub fn elements(&self) -> Elements<'a> {
        Elements { cursor: Cursor::inside(self.raw, b'[') }
    }

    /// The member `key` of an object, compared bytewise after unescaping.
    pub fn get(&self, key: &str) -> Option<Json<'a>> {
        self.members().find(|m| m.key == key).map(|m| m.value)
    }

    /// Follows object keys, one after the other.
    pub fn at(&self, path: &[&str]) -> Option<Json<'a>> {
        path.iter().try_fold(*self, |value, key| value.get(key))
    }

    /// The text of a string; `None` for every other type.
    pub fn as_str(&self) -> Option<Cow<'a, str>> {
        (self.kind() == Kind::String).then(|| unescape(&self.raw[1..self.raw.len() - 1]))
    }

    /// The truth value of a boolean; `None` for every other type.
    pub fn as_bool(&self) -> Option<bool> {
        match self.raw {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// The source spelling of a number; `None` for every other type.
    pub fn as_number(&self) -> Option<&'a str> {
        (self.kind() == Kind::Number).then_some(self.raw)
    }

    /// Where this value stands inside `outer`, in bytes. `outer` must be the text that it was read from.
    pub fn span_in(&self, outer: &str) -> Option<Range<usize>> {
        let start = (self.raw.as_ptr() as usize).checked_sub(outer.as_ptr() as usize)?;
        let end = start.checked_add(self.raw.len())?;
        (outer.get(start..end)? == self.raw).then_some(start..end)
    }

    /// A spelling that does not depend on white space, escapes or the order of keys: keys sorted
    /// bytewise, strings minimally escaped, numbers as the source wrote them.
    pub fn canonical(&self) -> String {
        let mut out = String::with_capacity(self.raw.len());
        self.write_canonical(&mut out);
        out
    }

    fn write_canonical(&self, out: &mut String) {
        match self.kind() {
            Kind::Object => {
                let mut members: Vec<_> = self.members().collect();
                members.sort_by(|a, b| a.key.cmp(&b.key));
                out.push('{');
                for (i, member) in members.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    write_string(&member.key, out);
                    out.push(':');
                    member.value.write_canonical(out);
                }
                out.push('}');
            }
            Kind::Array => {
                out.push('[');
                for (i, element) in self.elements().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    element.write_canonical(out);
                }
                out.push(']');
            }
            Kind::String => write_string(&self.as_str().unwrap_or_default(), out),
            Kind::Null | Kind::Bool | Kind::Number => out.push_str(self.raw),
        }
    }
}

/// Appends `text` as a JSON string literal with the fewest escapes.
pub fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// One member of an object.
#[derive(Debug, Clone)]
pub struct Member<'a> {
    /// The key, unescaped.
    pub key: Cow<'a, str>,
    /// The value.
    pub value: Json<'a>,
    /// The source from the key's opening quote to the value's last byte.
    pub raw: &'a str,
}

/// Iterator over the members of an object.
#[derive(Debug, Clone)]
pub struct Members<'a> {
    cursor: Cursor<'a>,
}

impl<'a> Iterator for Members<'a> {
    type Item = Member<'a>;

    fn next(&mut self) -> Option<Member<'a>> {
        let start = self.cursor.next_item()?;
        let key = self.cursor.take_value();
        self.cursor.skip_space_and(b':');
        let value = self.cursor.take_value();
        let raw = &self.cursor.text[start..self.cursor.at];
        let key = unescape(key.get(1..key.len().saturating_sub(1)).unwrap_or(""));
        Some(Member { key, value: Json { raw: value }, raw })
    }
}

/// Iterator over the elements of an array.
#[derive(Debug, Clone)]
pub struct Elements<'a> {
    cursor: Cursor<'a>,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Json<'a>;

    fn next(&mut self) -> Option<Json<'a>> {
        self.cursor.next_item()?;
        Some(Json { raw: self.cursor.take_value() })
    }
}

/// Walks text that is known to be well formed.
#[derive(Debug, Clone)]
struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn inside(raw: &'a str, open: u8) -> Cursor<'a> {
        let at = if raw.as_bytes().first() == Some(&open) { 1 } else { raw.len() };
        Cursor { text: raw, at }
    }

    fn skip_space_and(&mut self, also: u8) {
        let bytes = self.text.as_bytes();
        while let Some(&b) = bytes.get(self.at) {
            if !is_space(b) && b != also {
                break;
            }
            self.at += 1;
        }
    }

    /// Moves to the next item of an array or object; `None` at its end.
    fn next_item(&mut self) -> Option<usize> {
        self.skip_space_and(b',');
        match self.text.as_bytes().get(self.at) {
            None | Some(b']' | b'}') => None,
            Some(_) => Some(self.at),
        }
    }

    fn take_value(&mut self) -> &'a str {
        let bytes = self.text.as_bytes();
        let start = self.at;
        let mut depth = 0usize;
        while let Some(&b) = bytes.get(self.at) {
            match b {
                b'"' => {
                    self.at = (end_of_string(bytes, self.at + 1) + 1).min(bytes.len());
                    if depth == 0 {
                        break;
                    }
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' if depth == 0 => break,
                b'}' | b']' => {
                    depth -= 1;
                    if depth == 0 {
                        self.at += 1;
                        break;
                    }
                }
                b',' | b':' if depth == 0 => break,
                b if depth == 0 && is_space(b) => break,
                _ => {}
            }
            self.at += 1;
        }
        &self.text[start..self.at.min(self.text.len())]
    }
}

/// Where the string whose inside begins at `start` ends: at its closing quote.
pub(crate) fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start;
    while let Some(rest) = bytes.get(at..) {
        match memchr2(b'"', b'\\', rest) {
            Some(plain) if rest.get(plain) == Some(&b'"') => return at + plain,
            Some(plain) => at += plain + 2,
            None => break,
        }
    }
    bytes.len()
}

fn is_space(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\n' | b'\r')
}

/// The text between the quotes with its escapes resolved.
fn unescape(inner: &str) -> Cow<'_, str> {
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some('u') => out.push(unicode_escape(&mut chars)),
            Some(other) => out.push(other),
            None => {}
        }
    }
    Cow::Owned(out)
}

/// The character of a `\u` escape whose `\u` has been read; joins surrogate pairs.
fn unicode_escape(chars: &mut std::str::Chars<'_>) -> char {
    let high = hex4(chars);
    let code = if (0xD800..0xDC00).contains(&high) {
        chars.next();
        chars.next();
        let low = hex4(chars);
        0x10000 + ((high - 0xD800) << 10) + (low.wrapping_sub(0xDC00) & 0x3FF)
    } else {
        high
    };
    char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
}

fn hex4(chars: &mut std::str::Chars<'_>) -> u32 {
    (0..4).fold(0, |n, _| n * 16 + chars.next().and_then(|c| c.to_digit(16)).unwrap_or(0))
}

/// The checking pass over text of unknown quality.
struct Check<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Check<'a> {
    fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    fn space(&mut self) {
        while self.bytes().get(self.at).copied().is_some_and(is_space) {
            self.at += 1;
        }
    }

    fn value(&mut self, depth: usize) -> Result<(), JsonError> {
        match self.bytes().get(self.at) {
            Some(b'{') => self.object(depth + 1),
            Some(b'[') => self.array(depth + 1),
            Some(b'"') => self.string().map(|_| ()),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.literal("true"),
            Some(b'f') => self.literal("false"),
            Some(b'n') => self.literal("null"),
            _ => Err(self.expected("a JSON value")),
        }
    }

    fn object(&mut self, depth: usize) -> Result<(), JsonError> {
        self.open(depth)?;
        let mut keys = Keys::default();
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            self.space();
            let at = self.at;
            let key = unescape(self.string()?);
            if !keys.insert(key.clone()) {
                let key = ENVELOPE.into_iter().find(|known| key == *known);
                return Err(JsonError::DuplicateKey { at, key });
            }
            self.space();
            if !self.take(b':') {
                return Err(self.expected("':'"));
            }
            self.space();
            self.value(depth)?;
            self.space();
            if self.take(b'}') {
                return Ok(());
            }
            if !self.take(b',') {
                return Err(self.expected("',' or '}'"));
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<(), JsonError> {
        self.open(depth)?;
        if self.take(b']') {
            return Ok(());
        }
        loop {
            self.space();
            self.value(depth)?;
            self.space();
            if self.take(b']') {
                return Ok(());
            }
            if !self.take(b',') {
                return Err(self.expected("',' or ']'"));
            }
        }
    }

    fn open(&mut self, depth: usize) -> Result<(), JsonError> {
        if depth > MAX_DEPTH {
            return Err(JsonError::TooDeep { at: self.at });
        }
        self.at += 1;
        self.space();
        Ok(())
    }

    /// Reads a string and gives what stands between its quotes.
    fn string(&mut self) -> Result<&'a str, JsonError> {
        if !self.take(b'"') {
            return Err(self.expected("a string"));
        }
        let start = self.at;
        loop {
            let rest = self.bytes().get(self.at..).unwrap_or_default();
            let plain = memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
            let shown = rest.get(..plain).unwrap_or_default();
            // All of them at once: hardly any string has one.
            if shown.iter().fold(false, |any, byte| any | (*byte < 0x20)) {
                self.at += shown.iter().take_while(|byte| **byte >= 0x20).count();
                return Err(self.expected("an escaped control character"));
            }
            self.at += plain;
            match rest.get(plain) {
                Some(b'"') => break,
                Some(_) => self.escape()?,
                None => return Err(self.expected("'\"'")),
            }
        }
        let inner = self.text.get(start..self.at);
        self.at += 1;
        inner.ok_or(JsonError::Utf8 { at: start })
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        match self.bytes().get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => {
                self.at += 2;
                let code = self.hex4()?;
                if (0xDC00..0xE000).contains(&code) {
                    return Err(JsonError::LoneSurrogate { at: start });
                }
                if (0xD800..0xDC00).contains(&code) {
                    if !(self.take(b'\\') && self.take(b'u')) {
                        return Err(JsonError::LoneSurrogate { at: start });
                    }
                    if !(0xDC00..0xE000).contains(&self.hex4()?) {
                        return Err(JsonError::LoneSurrogate { at: start });
                    }
                }
            }
            _ => return Err(self.expected("an escape sequence")),
        }
        Ok(())
    }

    fn hex4(&mut self) -> Result<u32, JsonError> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.bytes().get(self.at).and_then(|b| (*b as char).to_digit(16));
            code = code * 16 + digit.ok_or_else(|| self.expected("four hexadecimal digits"))?;
            self.at += 1;
        }
        Ok(code)
    }

    fn number(&mut self) -> Result<(), JsonError> {
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            if !self.take(b'+') {
                self.take(b'-');
            }
            self.digits()?;
        }
        match self.bytes().get(self.at) {
            Some(b'0'..=b'9') => Err(self.expected("no leading zero")),
            _ => Ok(()),
        }
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while self.bytes().get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        if start == self.at { Err(self.expected("a digit")) } else { Ok(()) }
    }

    fn literal(&mut self, word: &'static str) -> Result<(), JsonError> {
        if !self.bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(self.expected("a JSON value"));
        }
        self.at += word.len();
        Ok(())
    }

    fn take(&mut self, b: u8) -> bool {
        let found = self.bytes().get(self.at) == Some(&b);
        self.at += usize::from(found);
        found
    }

    fn expected(&self, expected: &'static str) -> JsonError {
        JsonError::Syntax { at: self.at, expected }
    }
}

/// The keys of one object while it is checked.
#[derive(Default)]
struct Keys<'a> {
    few: Vec<Cow<'a, str>>,
    many: HashSet<Cow<'a, str>>,
}

impl<'a> Keys<'a> {
    /// False when the key was there already.
    fn insert(&mut self, key: Cow<'a, str>) -> bool {
        if self.many.is_empty() && self.few.len() < LINEAR_DUPLICATE_CHECK {
            let fresh = !self.few.contains(&key);
            self.few.push(key);
            return fresh;
        }
        if self.many.is_empty() {
            self.many.extend(self.few.drain(..));
        }
        self.many.insert(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<Json<'_>, JsonError> {
        Json::parse(text.as_bytes())
    }

    #[test]
    fn what_parsers_disagree_on_is_refused() {
        let duplicate = |at| JsonError::DuplicateKey { at, key: None };
        let twice = |at, key| JsonError::DuplicateKey { at, key: Some(key) };
        let cases: &[(&[u8], JsonError)] = &[
            (b"{\"a\":1,\"a\":2}", duplicate(7)),
            (b"{\"a\":{\"b\":1,\"\\u0062\":2}}", duplicate(12)),
            (b"{\"id\":1,\"\\u0069d\":2}", twice(8, "id")),
            (b"\xEF\xBB\xBF{}", JsonError::ByteOrderMark),
            (b"{} x", JsonError::TrailingData { at: 3 }),
            (b"\"\xFF\"", JsonError::Utf8 { at: 1 }),
            (br#""\ud800""#, JsonError::LoneSurrogate { at: 1 }),
            (br#""\udc00""#, JsonError::LoneSurrogate { at: 1 }),
            (br#""\ud800\u0041""#, JsonError::LoneSurrogate { at: 1 }),
            (b"01", JsonError::Syntax { at: 1, expected: "no leading zero" }),
            (b"", JsonError::Syntax { at: 0, expected: "a JSON value" }),
            (b"{\"a\":1,}", JsonError::Syntax { at: 7, expected: "a string" }),
            (b"[1,]", JsonError::Syntax { at: 3, expected: "a JSON value" }),
            (b"\"a\nb\"", JsonError::Syntax { at: 2, expected: "an escaped control character" }),
            (b"NaN", JsonError::Syntax { at: 0, expected: "a JSON value" }),
            (b"1.", JsonError::Syntax { at: 2, expected: "a digit" }),
            (b"tru", JsonError::Syntax { at: 0, expected: "a JSON value" }),
        ];
        for (bytes, expected) in cases {
            assert_eq!(Json::parse(bytes).as_ref(), Err(expected), "{bytes:?}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(check(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(check(&nested(MAX_DEPTH + 1)), Err(JsonError::TooDeep { at: MAX_DEPTH }));
        assert!(check(&"[".repeat(1 << 20)).is_err());
    }

    #[test]
    fn many_keys_are_checked_too() {
        let keys: Vec<_> = (0..100).map(|i| format!("\"k{i}\":1")).collect();
        assert!(check(&format!("{{{}}}", keys.join(","))).is_ok());
        let with_twin = format!("{{{},\"k17\":2}}", keys.join(","));
        assert!(matches!(check(&with_twin), Err(JsonError::DuplicateKey { .. })));
    }

    #[test]
    fn values_are_spans_of_the_source() {
        let text = r#" {"a" : [1e400, {"x\u0041":null}] ,"b":"\ud83d\ude00\n", "c":-0.0} "#;
        let json = check(text).unwrap();
        let a = json.get("a").unwrap();
        assert_eq!(
            a.elements().map(|e| e.raw()).collect::<Vec<_>>(),
            ["1e400", r#"{"x\u0041":null}"#]
        );
        assert!(a.elements().nth(1).unwrap().get("xA").is_some());
        assert_eq!(json.get("b").unwrap().as_str().unwrap(), "😀\n");
        assert_eq!(json.get("c").unwrap().as_number(), Some("-0.0"));
        assert_eq!(a.span_in(text).map(|s| &text[s]), Some(a.raw()));
        assert!(json.get("d").is_none());
    }

    #[test]
    fn canonical_ignores_order_space_and_escapes() {
        let a = check(r#"{"b":[1, 2.0],"a":"\u0041\/"}"#).unwrap().canonical();
        let b = check(r#"{ "a":"A/", "b":[1,2.0] }"#).unwrap().canonical();
        assert_eq!(a, b);
        assert_eq!(a, r#"{"a":"A/","b":[1,2.0]}"#);
    }

    proptest::proptest! {
        #[test]
        fn agrees_with_serde_where_serde_is_strict(text in r#"[\[\]{}",:0-9a-e\\u. -]{0,24}"#) {
            let ours = check(&text);
            let theirs = serde_json::from_str::<serde_json::Value>(&text);
            if ours.is_ok() {
                // serde refuses numbers beyond f64, which we keep as text.
                proptest::prop_assert!(theirs.is_ok() || text.contains('e'), "{text}");
            } else if theirs.is_ok() {
                let duplicate = matches!(ours, Err(JsonError::DuplicateKey { .. }));
                proptest::prop_assert!(duplicate, "{text}: {ours:?}");
            }
        }

        #[test]
        fn canonical_keeps_the_value(value in r#"[a-z"\\\n\u{0}-\u{ff}]{0,12}"#) {
            let text = serde_json::to_string(&serde_json::json!({ "k": [value.clone()] })).unwrap();
            let canonical = check(&text).unwrap().canonical();
            let back: serde_json::Value = serde_json::from_str(&canonical).unwrap();
            proptest::prop_assert_eq!(&back["k"][0], &serde_json::Value::String(value));
        }
    }
}
