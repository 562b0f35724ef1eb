//! Account numbers (IBAN) and payment cards.

use std::ops::Range;

use super::check_digits;
use super::groups::{Shape, shaped};

/// Countries of the IBAN registry (ISO 13616) and their lengths.
const LENGTHS: &[(&[u8; 2], usize)] = &[
    (b"AD", 24),
    (b"AE", 23),
    (b"AL", 28),
    (b"AT", 20),
    (b"AZ", 28),
    (b"BA", 20),
    (b"BE", 16),
    (b"BG", 22),
    (b"BH", 22),
    (b"BI", 27),
    (b"BR", 29),
    (b"BY", 28),
    (b"CH", 21),
    (b"CR", 22),
    (b"CY", 28),
    (b"CZ", 24),
    (b"DE", 22),
    (b"DJ", 27),
    (b"DK", 18),
    (b"DO", 28),
    (b"EE", 20),
    (b"EG", 29),
    (b"ES", 24),
    (b"FI", 18),
    (b"FK", 18),
    (b"FO", 18),
    (b"FR", 27),
    (b"GB", 22),
    (b"GE", 22),
    (b"GI", 23),
    (b"GL", 18),
    (b"GR", 27),
    (b"GT", 28),
    (b"HN", 28),
    (b"HR", 21),
    (b"HU", 28),
    (b"IE", 22),
    (b"IL", 23),
    (b"IQ", 23),
    (b"IS", 26),
    (b"IT", 27),
    (b"JO", 30),
    (b"KW", 30),
    (b"KZ", 20),
    (b"LB", 28),
    (b"LC", 32),
    (b"LI", 21),
    (b"LT", 20),
    (b"LU", 20),
    (b"LV", 21),
    (b"LY", 25),
    (b"MC", 27),
    (b"MD", 24),
    (b"ME", 22),
    (b"MK", 19),
    (b"MN", 20),
    (b"MR", 27),
    (b"MT", 31),
    (b"MU", 30),
    (b"NI", 28),
    (b"NL", 18),
    (b"NO", 15),
    (b"OM", 23),
    (b"PK", 24),
    (b"PL", 28),
    (b"PS", 29),
    (b"PT", 25),
    (b"QA", 29),
    (b"RO", 24),
    (b"RS", 22),
    (b"RU", 33),
    (b"SA", 24),
    (b"SC", 31),
    (b"SD", 18),
    (b"SE", 24),
    (b"SI", 19),
    (b"SK", 24),
    (b"SM", 27),
    (b"SO", 23),
    (b"ST", 25),
    (b"SV", 28),
    (b"TL", 23),
    (b"TN", 24),
    (b"TR", 26),
    (b"UA", 29),
    (b"VA", 22),
    (b"VG", 24),
    (b"XK", 20),
    (b"YE", 30),
];

/// How far before a run of digits its country may stand: `MT84 MALT 0110 ...`, `FR14 2004 ...`.
const BEFORE: usize = 24;

/// An IBAN around a run: country, check digits, bank and account, in one piece or in groups.
pub(super) fn iban(text: &str, run: Range<usize>) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let earliest = run.start.saturating_sub(BEFORE);
    let before = bytes.get(earliest..run.start)?;
    let inner = |b: &&u8| b.is_ascii_alphanumeric() || **b == b' ' || **b == b'-';
    let reach = before.iter().rev().take_while(inner).count();
    let starts = (run.start - reach..run.start).rev();
    starts
        .filter(|start| is_head(bytes, *start))
        .find_map(|start| iban_at(bytes, start))
        // In a run of several numbers the country stands further back than a later one.
        .filter(|found| found.end > run.start)
}

/// Two letters of a country with IBANs and two digits, not inside a word.
fn is_head(bytes: &[u8], start: usize) -> bool {
    let before = start.checked_sub(1).and_then(|i| bytes.get(i));
    // Most places are digits: that must cost little.
    bytes.get(start).is_some_and(u8::is_ascii_alphabetic)
        && !before.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_')
        && bytes.get(start + 2..start + 4).is_some_and(|two| two.iter().all(u8::is_ascii_digit))
        && length_at(bytes, start).is_some()
}

fn length_at(bytes: &[u8], start: usize) -> Option<usize> {
    let two = bytes.get(start..start + 2)?;
    LENGTHS
        .iter()
        .find(|(country, _)| two.eq_ignore_ascii_case(country.as_slice()))
        .map(|(_, length)| *length)
}

fn iban_at(bytes: &[u8], start: usize) -> Option<Range<usize>> {
    const LONGEST: usize = 34;
    let length = length_at(bytes, start)?;
    let (mut plain, mut count, mut at) = ([0u8; LONGEST], 0, start);
    while count < length {
        let byte = *bytes.get(at)?;
        if byte.is_ascii_alphanumeric() {
            *plain.get_mut(count)? = byte.to_ascii_uppercase();
            count += 1;
        } else if !(byte == b' ' || byte == b'-') || !bytes.get(at + 1)?.is_ascii_alphanumeric() {
            return None;
        }
        at += 1;
    }
    let goes_on = bytes.get(at).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    (!goes_on && check_digits::iban(plain.get(..length)?)).then_some(start..at)
}

/// A payment card: a range of an issuer, its length, Luhn's check digit.
pub(super) fn card(text: &str, run: Range<usize>) -> Option<Range<usize>> {
    const SHAPES: &[Shape] = &[
        Shape::plain(&[16], &[]),
        Shape::plain(&[15], &[]),
        Shape::plain(&[14], &[]),
        Shape::plain(&[19], &[]),
        Shape::plain(&[4, 4, 4, 4], &[b" ", b"-", b"."]),
        Shape::plain(&[4, 6, 5], &[b" ", b"-", b"."]),
        Shape::plain(&[4, 6, 4], &[b" ", b"-", b"."]),
        Shape::plain(&[4, 4, 4, 4, 3], &[b" ", b"-"]),
    ];
    shaped(text, run, SHAPES, &[], is_card)
}

fn is_card(digits: &[u8]) -> bool {
    let head = digits.iter().take(4).fold(0u32, |head, digit| head * 10 + u32::from(*digit));
    let is_issued = match (head, digits.len()) {
        // Visa, Mastercard, American Express, Discover, JCB, Diners Club, UnionPay, Maestro, Mir, Elo and RuPay.
        (4000..=4999, 16 | 19)
        | (5100..=5599 | 2221..=2720, 16)
        | (3400..=3499 | 3700..=3799, 15)
        | (6011 | 6440..=6599, 16 | 19)
        | (3528..=3589, 16)
        | (3000..=3059 | 3095 | 3600..=3699 | 3800..=3999, 14 | 16)
        | (6200..=6299, 16 | 19)
        | (5018 | 5020 | 5038 | 5893 | 6304 | 6759 | 6761..=6763, 16 | 19)
        | (2200..=2204, 16)
        | (5067 | 5090 | 6362 | 6363 | 8172, 16) => true,
        (_, _) => false,
    };
    let same = digits.iter().all(|digit| Some(digit) == digits.first());
    is_issued && !same && check_digits::luhn(digits)
}
