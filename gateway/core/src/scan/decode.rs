//! Texts as they read once their escapes are undone, and where each piece stood before.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memchr;

use super::fold;

/// A decoded text and the way back.
#[derive(Debug, Default)]
pub(super) struct Decoded {
    /// The text.
    pub(super) text: String,
    /// Where it differs from its source, in order.
    steps: Vec<Step>,
}

/// A piece that was written otherwise.
#[derive(Debug)]
struct Step {
    /// Its place and length in the decoded text; a length of 0: it was left out.
    at: usize,
    len: usize,
    /// Its place and length in the source.
    from: usize,
    width: usize,
}

impl Decoded {
    fn clear(&mut self) {
        self.text.clear();
        self.steps.clear();
    }

    fn push(&mut self, c: Option<char>, from: usize, width: usize) {
        let at = self.text.len();
        self.text.extend(c);
        self.steps.push(Step { at, len: self.text.len() - at, from, width });
    }

    /// The stretches of the decoded text that hold something which was written otherwise, with `around` bytes about it.
    pub(super) fn changed(&self, around: usize) -> impl Iterator<Item = Range<usize>> {
        let mut steps = self.steps.iter().peekable();
        std::iter::from_fn(move || {
            let first = steps.next()?;
            let start = self.text.floor_char_boundary(first.at.saturating_sub(around));
            let mut end = first.at + first.len + around;
            while let Some(next) = steps.next_if(|next| next.at <= end.saturating_add(around)) {
                end = next.at + next.len + around;
            }
            Some(start..self.text.ceil_char_boundary(end))
        })
    }

    /// Where the bytes of a span of the decoded text stand in the source: whole escapes.
    pub(super) fn source(&self, span: &Range<usize>) -> Range<usize> {
        if span.is_empty() {
            return 0..0;
        }
        let start = match self.last(|step| step.at <= span.start) {
            Some(step) if span.start < step.at + step.len => step.from,
            Some(step) => step.from + step.width + (span.start - step.at - step.len),
            None => span.start,
        };
        let end = match self.last(|step| step.at < span.end) {
            Some(step) if span.end <= step.at + step.len => step.from + step.width,
            Some(step) => step.from + step.width + (span.end - step.at - step.len),
            None => span.end,
        };
        start..end
    }

    fn last(&self, holds: impl Fn(&Step) -> bool) -> Option<&Step> {
        self.steps.get(self.steps.partition_point(holds).checked_sub(1)?)
    }
}

/// Undoes the escapes of a JSON string's inside.
pub(super) fn json(raw: &str, out: &mut Decoded) {
    out.clear();
    out.text.reserve(raw.len());
    let mut at = 0;
    while let Some(rest) = raw.get(at..) {
        let Some(plain) = memchr(b'\\', rest.as_bytes()) else {
            out.text.push_str(rest);
            break;
        };
        out.text.push_str(rest.get(..plain).unwrap_or_default());
        at += plain;
        let (c, width) = escape(raw, at).unwrap_or_else(|| {
            // Not in a checked text: what follows the backslash is taken as it is.
            let next = raw.get(at + 1..).and_then(|rest| rest.chars().next());
            (next.unwrap_or('\\'), 1 + next.map_or(0, char::len_utf8))
        });
        out.push(Some(c), at, width);
        at += width;
    }
}

/// The inside of a JSON string with its escapes undone.
pub(super) fn plain(raw: &str) -> Cow<'_, str> {
    if memchr(b'\\', raw.as_bytes()).is_none() {
        return Cow::Borrowed(raw);
    }
    let mut decoded = Decoded::default();
    json(raw, &mut decoded);
    Cow::Owned(decoded.text)
}

/// Undoes percent-encoding, HTML entities, backslash escapes, characters that do not show and the zero bytes of UTF-16
/// that somebody took for text, each once. False if there are none.
pub(super) fn loosened(plain: &str, out: &mut Decoded) -> bool {
    let mut at = 0;
    while let Some((found, c, width)) = next_unit(plain, at) {
        if at == 0 {
            out.clear();
            out.text.reserve(plain.len());
        }
        out.text.push_str(plain.get(at..found).unwrap_or_default());
        out.push(c, found, width);
        at = found + width;
    }
    if at > 0 {
        out.text.push_str(plain.get(at..).unwrap_or_default());
    }
    at > 0
}

/// The next encoded character from `from` on: its place, what it stands for, and its length.
fn next_unit(plain: &str, from: usize) -> Option<(usize, Option<char>, usize)> {
    let bytes = plain.as_bytes();
    let mut at = from;
    loop {
        at += plain_pieces(bytes.get(at..)?);
        let rest = bytes.get(at..)?;
        at += rest.iter().position(|b| MAY_BEGIN[usize::from(*b)])?;
        if let Some((c, width)) = unit(plain, at) {
            return Some((at, c, width));
        }
        at += 1;
    }
}

/// How many bytes a text has before the first piece of it in which an encoded character may begin: without a branch for
/// each byte, for most texts have none.
fn plain_pieces(rest: &[u8]) -> usize {
    const PIECE: usize = 64;
    let may_begin = |b: u8| (b == 0) | (b == b'%') | (b == b'&') | (b == b'\\') | (b >= 0xC2);
    let is_plain = |piece: &&[u8]| !piece.iter().fold(false, |any, b| any | may_begin(*b));
    match rest.len() {
        // Not worth it.
        ..PIECE => 0,
        _ => rest.chunks(PIECE).take_while(is_plain).count() * PIECE,
    }
}

/// Bytes with which an encoded character may begin.
const MAY_BEGIN: [bool; 256] = {
    let mut table = [false; 256];
    // With the last ones begin characters that do not show: U+00AD, U+034F, U+180B, U+2000, U+FE00 and U+E0000 ff.
    let bytes = [0, b'%', b'&', b'\\', 0xC2, 0xCD, 0xE1, 0xE2, 0xEF, 0xF3];
    let mut i = 0;
    while i < bytes.len() {
        table[bytes[i] as usize] = true;
        i += 1;
    }
    table
};

fn unit(plain: &str, at: usize) -> Option<(Option<char>, usize)> {
    let shown = |(c, width): (char, usize)| ((c != '\0').then_some(c), width);
    match plain.as_bytes().get(at)? {
        0 => Some((None, 1)),
        b'%' => percent(plain, at).map(shown),
        b'&' => entity(plain, at).map(shown),
        b'\\' => escape(plain, at).map(shown),
        _ => {
            let c = plain.get(at..)?.chars().next()?;
            fold::unseen(c).map(|stands_for| (stands_for, c.len_utf8()))
        }
    }
}

/// One character in percent-encoding, however many bytes it has.
fn percent(plain: &str, at: usize) -> Option<(char, usize)> {
    let byte = |n: usize| {
        let code = plain.get(at + 3 * n..at + 3 * n + 3)?.strip_prefix('%')?;
        hex(code).and_then(|b| u8::try_from(b).ok())
    };
    let first = byte(0)?;
    let len = match first {
        0x00..=0x7F => 1,
        0xC2..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xF4 => 4,
        0x80..=0xC1 | 0xF5..=0xFF => return None,
    };
    let mut bytes = [first, 0, 0, 0];
    for (n, slot) in bytes.iter_mut().enumerate().take(len).skip(1) {
        *slot = byte(n)?;
    }
    let text = std::str::from_utf8(bytes.get(..len)?).ok()?;
    Some((text.chars().next()?, 3 * len))
}

/// A backslash escape of JSON, or `\xHH`.
fn escape(raw: &str, at: usize) -> Option<(char, usize)> {
    let c = match raw.as_bytes().get(at + 1)? {
        b'n' => '\n',
        b't' => '\t',
        b'r' => '\r',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'"' => '"',
        b'/' => '/',
        b'\\' => '\\',
        b'x' => return Some((char::from_u32(hex(raw.get(at + 2..at + 4)?)?)?, 4)),
        b'u' => return unicode(raw, at),
        _ => return None,
    };
    Some((c, 2))
}

/// A `\u` escape; joins surrogate pairs.
fn unicode(raw: &str, at: usize) -> Option<(char, usize)> {
    let high = hex(raw.get(at + 2..at + 6)?)?;
    if !(0xD800..0xDC00).contains(&high) {
        return Some((char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER), 6));
    }
    let low = raw.get(at + 6..at + 12).and_then(|next| next.strip_prefix("\\u")).and_then(hex);
    match low.filter(|low| (0xDC00..0xE000).contains(low)) {
        Some(low) => {
            let code = 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
            Some((char::from_u32(code)?, 12))
        }
        None => Some((char::REPLACEMENT_CHARACTER, 6)),
    }
}

/// A number of hexadecimal digits and nothing else.
fn hex(digits: &str) -> Option<u32> {
    let all = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
    all.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
}

/// An HTML character reference: decimal, hexadecimal (either without its `;`, too, as browsers read it), or named.
fn entity(plain: &str, at: usize) -> Option<(char, usize)> {
    let rest = plain.get(at + 1..)?;
    match rest.strip_prefix('#') {
        Some(number) => {
            let (digits, radix, before) = match number.strip_prefix(['x', 'X']) {
                Some(digits) => (digits, 16, 3),
                None => (number, 10, 2),
            };
            // Leading zeros are allowed, as many as somebody likes; eight digits are enough for a character.
            let len = digits.bytes().take(16).take_while(|b| (*b as char).is_digit(radix)).count();
            let code = u32::from_str_radix(digits.get(..len)?, radix).ok()?;
            let end = usize::from(digits.as_bytes().get(len) == Some(&b';'));
            Some((char::from_u32(code)?, before + len + end))
        }
        None => {
            let len = rest.bytes().take(12).take_while(u8::is_ascii_alphanumeric).count();
            let name = rest.get(..len).filter(|_| rest.as_bytes().get(len) == Some(&b';'))?;
            let (_, c) = NAMED.iter().find(|(known, _)| *known == name)?;
            Some((*c, len + 2))
        }
    }
}

/// The entities of HTML that stand for what secrets and sentences are made of.
const NAMED: &[(&str, char)] = &[
    ("amp", '&'),
    ("AMP", '&'),
    ("lt", '<'),
    ("gt", '>'),
    ("quot", '"'),
    ("apos", '\''),
    ("nbsp", ' '),
    ("Tab", '\t'),
    ("NewLine", '\n'),
    ("excl", '!'),
    ("num", '#'),
    ("dollar", '$'),
    ("percnt", '%'),
    ("lpar", '('),
    ("rpar", ')'),
    ("ast", '*'),
    ("plus", '+'),
    ("comma", ','),
    ("hyphen", '-'),
    ("dash", '-'),
    ("period", '.'),
    ("sol", '/'),
    ("colon", ':'),
    ("semi", ';'),
    ("equals", '='),
    ("quest", '?'),
    ("commat", '@'),
    ("lsqb", '['),
    ("lbrack", '['),
    ("bsol", '\\'),
    ("rsqb", ']'),
    ("rbrack", ']'),
    ("Hat", '^'),
    ("lowbar", '_'),
    ("UnderBar", '_'),
    ("grave", '`'),
    ("lcub", '{'),
    ("lbrace", '{'),
    ("verbar", '|'),
    ("vert", '|'),
    ("rcub", '}'),
    ("rbrace", '}'),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn loose(plain: &str) -> Option<String> {
        let mut out = Decoded::default();
        loosened(plain, &mut out).then_some(out.text)
    }

    #[test]
    fn escapes_are_undone_as_the_json_reader_does() {
        for text in [r#""a\n\"\/\\\b\f\r\t""#, r#""\u0041\ud83d\ude00é""#, r#""\u00e9 x""#] {
            let json_reader = crate::json::Json::parse(text.as_bytes()).unwrap();
            let mut out = Decoded::default();
            json(&text[1..text.len() - 1], &mut out);
            assert_eq!(out.text, json_reader.as_str().unwrap());
        }
    }

    #[test]
    fn encoded_characters_are_undone_once() {
        for (plain, text) in [
            ("%41%42 100% %zz %4", "AB 100% %zz %4"),
            ("%C3%A9%e2%82%ac%ff%C3", "é€%ff%C3"),
            ("&#65;&#x42;&#X43 &amp;lt; &AT&T; &lt;", "ABC &lt; &AT&T; <"),
            ("&#0000000065;&#99999999999;", "A&#99999999999;"),
            (r"\u0041\x42\/ \q \ud83d\ude00 \ud83d", "AB/ \\q \u{1F600} \u{FFFD}"),
            ("A\0K\0I\0", "AKI"),
            ("gh\u{200B}p\u{AD}_\u{E0041}", "ghp_A"),
            ("%2541", "%41"),
        ] {
            assert_eq!(loose(plain).as_deref(), Some(text), "{plain}");
        }
        for plain in
            ["", "nothing 100 % & so on, é – “x”", "\\q", "%", "&", "&;", "%g1", "\u{2014}"]
        {
            assert_eq!(loose(plain), None, "{plain}");
        }
    }

    #[test]
    fn stretches_hold_what_changed() {
        let plain =
            format!("{}%41{}&lt;{}\\n%42", "\u{e9}".repeat(50), "y".repeat(30), "z".repeat(100));
        let mut out = Decoded::default();
        assert!(loosened(&plain, &mut out));
        let texts = |around| out.changed(around).map(|s| &out.text[s]).collect::<Vec<_>>();
        assert_eq!(texts(0), ["A", "<", "\nB"]);
        assert_eq!(texts(3), ["\u{e9}\u{e9}Ayyy", "yyy<zzz", "zzz\nB"]);
        assert_eq!(texts(20).len(), 2);
        assert_eq!(texts(1000), [&out.text[..]]);
    }

    #[test]
    fn spans_lead_back_to_whole_escapes() {
        let plain = "a%41%42b&#67;\0d";
        let mut out = Decoded::default();
        assert!(loosened(plain, &mut out));
        assert_eq!(out.text, "aABbCd");
        for (span, source) in [
            (0..1, "a"),
            (0..2, "a%41"),
            (1..3, "%41%42"),
            (2..4, "%42b"),
            (4..5, "&#67;"),
            (4..6, "&#67;\0d"),
            (5..6, "d"),
            (0..6, plain),
        ] {
            assert_eq!(&plain[out.source(&span)], source, "{span:?}");
        }
        assert_eq!(out.source(&(3..3)), 0..0);
    }
}
