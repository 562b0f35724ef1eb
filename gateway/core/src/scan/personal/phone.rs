//! Phone numbers: E.164 with a country's length, and the usual national spellings with a country or an area code.

use std::ops::Range;

use super::groups::{Number, Shape, beside, digits_from, shaped, stands_alone};

/// Country codes (ITU-T E.164) with the digits of a whole number, the code included, from and to.
const COUNTRIES: &[(&[u8], usize, usize)] = &[
    (b"1", 11, 11),
    (b"7", 11, 11),
    (b"20", 11, 12),
    (b"27", 11, 11),
    (b"30", 12, 12),
    (b"31", 11, 11),
    (b"32", 10, 11),
    (b"33", 11, 11),
    (b"34", 11, 11),
    (b"36", 10, 11),
    (b"39", 10, 13),
    (b"40", 11, 11),
    (b"41", 11, 11),
    (b"43", 9, 14),
    (b"44", 11, 12),
    (b"45", 10, 10),
    (b"46", 9, 12),
    (b"47", 10, 10),
    (b"48", 11, 11),
    (b"49", 9, 14),
    (b"51", 10, 11),
    (b"52", 12, 13),
    (b"53", 10, 10),
    (b"54", 12, 13),
    (b"55", 12, 13),
    (b"56", 11, 11),
    (b"57", 12, 12),
    (b"58", 12, 12),
    (b"60", 10, 12),
    (b"61", 11, 11),
    (b"62", 10, 14),
    (b"63", 12, 12),
    (b"64", 10, 12),
    (b"65", 10, 10),
    (b"66", 10, 11),
    (b"81", 11, 12),
    (b"82", 10, 12),
    (b"84", 11, 12),
    (b"86", 12, 13),
    (b"90", 12, 12),
    (b"91", 12, 12),
    (b"92", 11, 12),
    (b"93", 11, 11),
    (b"94", 11, 11),
    (b"95", 9, 12),
    (b"98", 12, 12),
    (b"21", 11, 12),
    (b"22", 10, 13),
    (b"23", 10, 13),
    (b"24", 10, 12),
    (b"25", 10, 13),
    (b"26", 10, 13),
    (b"29", 9, 11),
    (b"35", 10, 13),
    (b"37", 10, 13),
    (b"38", 10, 13),
    (b"42", 10, 13),
    (b"50", 10, 12),
    (b"59", 10, 13),
    (b"67", 9, 12),
    (b"68", 8, 11),
    (b"69", 9, 11),
    (b"85", 10, 14),
    (b"88", 11, 14),
    (b"96", 10, 13),
    (b"97", 10, 13),
    (b"99", 11, 13),
];

const WORDS: &[&str] = &[
    "phone",
    "telephone",
    "telefon",
    "telefono",
    "tel",
    "tel.",
    "mobile",
    "mobil",
    "cell",
    "cellphone",
    "fax",
    "call",
    "sms",
    "whatsapp",
    "handy",
    "rufnummer",
    "portable",
    "dial",
    "contact",
];

/// Asked at `+` (a number with its country code) and at `(` (North American, the area in parentheses).
pub(super) fn international(text: &str, at: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let before = at.checked_sub(1).and_then(|i| bytes.get(i));
    if before.is_some_and(|b| b.is_ascii_alphanumeric() || b"+_/=".contains(b)) {
        return None;
    }
    match bytes.get(at)? {
        b'+' => with_country(bytes, at + 1).map(|end| at..end),
        _ => area_in_parentheses(bytes, at).map(|end| at..end),
    }
}

/// `0049 30 901820`, and `415-555-2671` or `1-415-555-2671` beside a word.
pub(super) fn national(text: &str, run: Range<usize>) -> Option<Range<usize>> {
    const SHAPES: &[Shape] = &[
        Shape::named(&[3, 3, 4], &[b"-", b".", b" "]),
        Shape::named(&[1, 3, 3, 4], &[b"-", b".", b" "]),
        Shape::named(&[10], &[]),
    ];
    let bytes = text.as_bytes();
    if bytes.get(run.start..run.start + 2) == Some(b"00") {
        let end = with_country(bytes, run.start + 2)?;
        let is_spaced = bytes.get(run.start..end)?.iter().any(|b| !b.is_ascii_digit());
        let is_phone = is_spaced || beside(text, run.start..end, WORDS);
        return (is_phone && stands_alone(bytes, run.start, end)).then_some(run.start..end);
    }
    shaped(text, run, SHAPES, WORDS, is_north_american)
}

/// Area and exchange begin with 2 to 9.
fn is_north_american(digits: &[u8]) -> bool {
    let ten = match digits {
        [1, ten @ ..] => ten,
        ten => ten,
    };
    ten.len() == 10 && ten.first() > Some(&1) && ten.get(3) > Some(&1) && ten.get(1) != Some(&9)
}

/// Where the number ends that begins with its country code at `start`.
fn with_country(bytes: &[u8], start: usize) -> Option<usize> {
    if !matches!(bytes.get(start), Some(b'1'..=b'9')) {
        return None;
    }
    let rest = bytes.get(start..)?;
    let (_, least, most) = COUNTRIES.iter().find(|(code, _, _)| is_code(rest, code))?;
    let (mut at, mut count, mut fits) = (start, 0, None);
    while count < *most {
        let digits = digits_from(bytes, at, (at + 16).min(bytes.len()));
        if digits == 0 || count + digits > *most {
            break;
        }
        count += digits;
        at += digits;
        if count >= *least && stands_alone(bytes, start, at) {
            fits = Some(at);
        }
        at += gap(bytes, at);
    }
    let number = bytes.get(start..fits?).and_then(Number::of)?;
    let is_valid = !rest.starts_with(b"1") || is_north_american(number.digits());
    fits.filter(|_| is_valid)
}

/// The code may be followed by a separator before its last digit only if it has two.
fn is_code(rest: &[u8], code: &[u8]) -> bool {
    rest.starts_with(code)
}

/// What may stand between two groups: a separator, or `(0)` and the like, which does not count.
fn gap(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    for trunk in [&b" (0) "[..], b" (0)", b"(0) ", b"(0)"] {
        if rest.starts_with(trunk) {
            return trunk.len();
        }
    }
    for pair in [&b" ("[..], b") ", b")-", b"-("] {
        if rest.starts_with(pair) {
            return pair.len();
        }
    }
    usize::from(rest.first().is_some_and(|b| b" -./()".contains(b)))
}

/// `(415) 555-2671`
fn area_in_parentheses(bytes: &[u8], at: usize) -> Option<usize> {
    let space = usize::from(bytes.get(at + 5) == Some(&b' '));
    let exchange = at + 5 + space;
    let end = exchange + 8;
    let is_shaped = bytes.get(at + 4) == Some(&b')')
        && digits_from(bytes, at + 1, at + 4) == 3
        && bytes.get(exchange..exchange + 3)?.iter().all(u8::is_ascii_digit)
        && matches!(bytes.get(exchange + 3), Some(b'-' | b'.' | b' '))
        && bytes.get(exchange + 4..end)?.iter().all(u8::is_ascii_digit);
    let number = bytes.get(at..end).and_then(Number::of)?;
    (is_shaped && is_north_american(number.digits()) && stands_alone(bytes, at, end)).then_some(end)
}
