//! Phone numbers: E.164 with a country's length, and the usual national spellings with a country or an area code.

use std::ops::Range;

use super::groups::{Number, Shape, beside, digits_from, shaped, stands_alone};

/// Country codes (ITU-T E.164): their first digits, which digits may follow (any where there are none), and how many a
/// whole number has, the code included, from and to.
const COUNTRIES: &[(&[u8], &[u8], usize, usize)] = &[
    (b"1", b"", 11, 11),
    (b"7", b"", 11, 11),
    (b"20", b"", 11, 12),
    (b"27", b"", 11, 11),
    (b"30", b"", 12, 12),
    (b"31", b"", 11, 11),
    (b"32", b"", 10, 11),
    (b"33", b"", 11, 11),
    (b"34", b"", 11, 11),
    (b"36", b"", 10, 11),
    (b"39", b"", 10, 13),
    (b"40", b"", 11, 11),
    (b"41", b"", 11, 11),
    (b"43", b"", 9, 14),
    (b"44", b"", 11, 12),
    (b"45", b"", 10, 10),
    (b"46", b"", 9, 12),
    (b"47", b"", 10, 10),
    (b"48", b"", 11, 11),
    (b"49", b"", 9, 14),
    (b"51", b"", 10, 11),
    (b"52", b"", 12, 13),
    (b"53", b"", 10, 10),
    (b"54", b"", 12, 13),
    (b"55", b"", 12, 13),
    (b"56", b"", 11, 11),
    (b"57", b"", 12, 12),
    (b"58", b"", 12, 12),
    (b"60", b"", 10, 12),
    (b"61", b"", 11, 11),
    (b"62", b"", 10, 14),
    (b"63", b"", 12, 12),
    (b"64", b"", 10, 12),
    (b"65", b"", 10, 10),
    (b"66", b"", 10, 11),
    (b"81", b"", 11, 12),
    (b"82", b"", 10, 12),
    (b"84", b"", 11, 12),
    (b"86", b"", 12, 13),
    (b"90", b"", 12, 12),
    (b"91", b"", 12, 12),
    (b"92", b"", 11, 12),
    (b"93", b"", 11, 11),
    (b"94", b"", 11, 11),
    (b"95", b"", 9, 12),
    (b"98", b"", 12, 12),
    (b"21", b"12368", 11, 12),
    (b"22", b"0123456789", 10, 13),
    (b"23", b"0123456789", 10, 13),
    (b"24", b"0123456789", 10, 12),
    (b"25", b"012345678", 10, 13),
    (b"26", b"0123456789", 10, 13),
    (b"29", b"01789", 9, 11),
    (b"35", b"0123456789", 10, 13),
    (b"37", b"012345678", 10, 13),
    (b"38", b"01235679", 10, 13),
    (b"42", b"013", 10, 13),
    (b"50", b"0123456789", 10, 12),
    (b"59", b"0123456789", 10, 13),
    (b"67", b"023456789", 9, 12),
    (b"68", b"0123456789", 8, 11),
    (b"69", b"012", 9, 11),
    (b"85", b"02356", 10, 14),
    (b"88", b"06", 11, 14),
    (b"96", b"012345678", 10, 13),
    (b"97", b"01234567", 10, 13),
    (b"99", b"234568", 11, 13),
];

const WORDS: &[&str] = &[
    "phone",
    "telephone",
    "telefon",
    "telefono",
    "tel",
    "mobile",
    "mobil",
    "cell",
    "cellphone",
    "fax",
    "sms",
    "whatsapp",
    "rufnummer",
    "phonenumber",
    "handynummer",
];

/// Asked at `+` (a number with its country code) and at `(` (North American, the area in parentheses).
pub(super) fn international(text: &str, at: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let before = at.checked_sub(1).and_then(|i| bytes.get(i));
    if before.is_some_and(|b| b.is_ascii_alphanumeric() || b"+_/".contains(b)) {
        return None;
    }
    match bytes.get(at)? {
        b'+' => with_country(bytes, at, at + 1).map(|end| at..end),
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
        let end = with_country(bytes, run.start, run.start + 2)?;
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

/// Where the number ends that begins at `whole` and with its country code at `start`.
fn with_country(bytes: &[u8], whole: usize, start: usize) -> Option<usize> {
    if !matches!(bytes.get(start), Some(b'1'..=b'9')) {
        return None;
    }
    let rest = bytes.get(start..)?;
    let is_code = |(code, then, _, _): &&(&[u8], &[u8], usize, usize)| {
        let next = rest.get(code.len())?;
        let is_so = rest.first() == code.first() && rest.starts_with(code);
        Some(is_so && (then.is_empty() || then.contains(next)))
    };
    let (_, _, least, most) = COUNTRIES.iter().find(|one| is_code(one).unwrap_or(false))?;
    let (mut at, mut count, mut fits) = (start, 0, None);
    while count < *most {
        let digits = digits_from(bytes, at, (at + 16).min(bytes.len()));
        if digits == 0 || count + digits > *most {
            break;
        }
        count += digits;
        at += digits;
        if count >= *least && stands_alone(bytes, whole, at) {
            fits = Some(at);
        }
        at += gap(bytes, at);
    }
    let number = bytes.get(start..fits?).and_then(Number::of)?;
    let is_valid = !rest.starts_with(b"1") || is_north_american(number.digits());
    fits.filter(|_| is_valid)
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
