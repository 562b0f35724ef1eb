//! National ids with check digits, each in the spellings that are usual for it.

use std::ops::Range;

use super::check_digits;
use super::groups::{Number, Shape, beside, shaped, stands_alone};

// Words that say of a number what it is, in small letters.
const DE: &[&str] = &[
    "steuer",
    "steuerid",
    "steuer-id",
    "steuernummer",
    "steueridentifikationsnummer",
    "identifikationsnummer",
    "steuerliche",
    "idnr",
    "idnr.",
    "tin",
    "taxid",
    "tax id",
    "tax_id",
    "tax number",
];
const FR: &[&str] = &[
    "nir",
    "insee",
    "secu",
    "nss",
    "social",
    "sociale",
    "immatriculation",
    "assure",
    "carte vitale",
];
const NL: &[&str] = &["bsn", "burgerservicenummer", "sofi", "sofinummer", "citizen service number"];
const BE: &[&str] = &[
    "rijksregisternummer",
    "insz",
    "niss",
    "registre national",
    "national number",
    "rijksregister",
    "rrn",
];
const CH: &[&str] =
    &["ahv", "avs", "ahvn13", "sozialversicherungsnummer", "navs13", "assurance sociale"];
const FI: &[&str] = &["hetu", "henkilotunnus", "henkil\u{f6}tunnus", "personbeteckning"];
const PL: &[&str] = &["pesel"];
const SE: &[&str] = &[
    "personnummer",
    "personnr",
    "pnr",
    "samordningsnummer",
    "personal number",
    "personal identity",
    "ssn",
];
const NO: &[&str] =
    &["personnummer", "fnr", "d-nummer", "dnummer", "nummer", "fodselsnummer", "national id"];
const GB: &[&str] = &["nhs", "nhsnumber", "national health"];
const US: &[&str] = &[
    "ssn",
    "social security",
    "socialsecurity",
    "socialsecuritynumber",
    "taxid",
    "tin",
    "social_security",
    "soc sec",
    "taxpayer",
];
const BR: &[&str] = &["cpf", "contribuinte", "cadastro"];
const IND: &[&str] = &["aadhaar", "aadhar", "adhaar", "uid", "uidai"];
const ES: &[&str] = &[
    "dni",
    "nif",
    "nie",
    "identidad",
    "documento",
    "extranjero",
    "identificacion",
    "fiscal",
    "tax id",
];

pub(super) fn de(text: &str, run: Range<usize>) -> Option<Range<usize>> {
    const SHAPES: &[Shape] =
        &[Shape::named(&[11], &[]), Shape::plain(&[2, 3, 3, 3], &[b" ", b"/"])];
    shaped(text, run, SHAPES, DE, check_digits::de)
}

pub(super) fn fr(text: &str, run: Range<usize>) -> Option<Range<usize>> {
    const SHAPES: &[Shape] = &[
        Shape::named(&[15], &[]),
        Shape::named(&[13, 2], &[b" ", b"-"]),
        Shape::plain(&[1, 2, 2, 2, 3, 3, 2], &[b" ", b"-", b"."]),
    ];
    shaped(text, run, SHAPES, FR, check_digits::fr)
}

pub(super) fn nl(text: &str, run: Range<usize>) -> Option<Range<usize>> {
    const SHAPES: &[Shape] = &[Shape::named(&[9], &[]), Shape::plain(&[4, 2, 3], &[b"."])];
    shaped(text, run, SHAPES, NL, check_digits::nl)
}

pub(super) fn be(text: &str, run: Range<usize>) -> Option<Range<usize>> {
    const SHAPES: &[Shape] =
        &[Shape::named(&[11], &[]), Shape::plain(&[2, 2, 2, 3, 2], &[b"..-."])];
    shaped(text, run, SHAPES, BE, check_digits::be)
}

pub(super) fn ch(text: &str, run: Range<usize>) -> Option<Range<usize>> {
    const SHAPES: &[Shape] =
        &[Shape::named(&[13], &[]), Shape::plain(&[3, 4, 4, 2], &[b".", b" "])];
    shaped(text, run, SHAPES, CH, check_digits::ch)
}

pub(super) fn pl(text: &str, run: Range<usize>) -> Option<Range<usize>> {
    shaped(text, run, &[Shape::named(&[11], &[])], PL, check_digits::pl)
}

pub(super) fn se(text: &str, run: Range<usize>) -> Option<Range<usize>> {
    const SHAPES: &[Shape] = &[
        Shape::plain(&[6, 4], &[b"-"]),
        Shape::named(&[8, 4], &[b"-"]),
        Shape::named(&[10], &[]),
        Shape::named(&[12], &[]),
    ];
    shaped(text, run, SHAPES, SE, check_digits::se)
}

pub(super) fn no(text: &str, run: Range<usize>) -> Option<Range<usize>> {
    const SHAPES: &[Shape] = &[Shape::named(&[11], &[]), Shape::named(&[6, 5], &[b" "])];
    shaped(text, run, SHAPES, NO, check_digits::no)
}

pub(super) fn gb(text: &str, run: Range<usize>) -> Option<Range<usize>> {
    const SHAPES: &[Shape] = &[Shape::named(&[10], &[]), Shape::named(&[3, 3, 4], &[b" ", b"-"])];
    shaped(text, run, SHAPES, GB, check_digits::gb)
}

pub(super) fn us(text: &str, run: Range<usize>) -> Option<Range<usize>> {
    const SHAPES: &[Shape] = &[
        Shape::plain(&[3, 2, 4], &[b"-"]),
        Shape::named(&[3, 2, 4], &[b" ", b"."]),
        Shape::named(&[9], &[]),
    ];
    shaped(text, run, SHAPES, US, check_digits::us)
}

pub(super) fn br(text: &str, run: Range<usize>) -> Option<Range<usize>> {
    const SHAPES: &[Shape] = &[Shape::plain(&[3, 3, 3, 2], &[b"..-"]), Shape::named(&[11], &[])];
    shaped(text, run, SHAPES, BR, check_digits::br)
}

pub(super) fn ind(text: &str, run: Range<usize>) -> Option<Range<usize>> {
    const SHAPES: &[Shape] = &[Shape::plain(&[4, 4, 4], &[b" ", b"-"]), Shape::named(&[12], &[])];
    shaped(text, run, SHAPES, IND, check_digits::ind)
}

/// Seventeen digits and a digit or `X`.
pub(super) fn cn(text: &str, run: Range<usize>) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    with_sign(bytes, run, &[17, 18], |digits, sign| {
        let (body, last) = match (digits.split_last(), sign) {
            (Some((last, body)), None) => (body, last + b'0'),
            (Some(_), Some(sign)) => (digits, sign),
            (None, _) => return false,
        };
        check_digits::cn(body, last)
    })
    .map(|found| found.span)
}

/// Eight digits and a letter (DNI), or X, Y or Z, seven digits and a letter (NIE), the letters joined by a hyphen or not.
pub(super) fn es(text: &str, run: Range<usize>) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let dni = with_sign(bytes, run.clone(), &[8], |digits, sign| {
        sign.is_some_and(|sign| check_digits::es(value(digits)) == sign.to_ascii_uppercase())
    });
    if let Some(found) = dni.filter(|found| beside(text, found.span.clone(), ES)) {
        return Some(found.span);
    }
    nie(bytes, run)
}

fn nie(bytes: &[u8], run: Range<usize>) -> Option<Range<usize>> {
    let hyphen = usize::from(run.start.checked_sub(1).and_then(|i| bytes.get(i)) == Some(&b'-'));
    let first = run.start.checked_sub(1 + hyphen)?;
    let leading = match bytes.get(first)?.to_ascii_uppercase() {
        b'X' => 0,
        b'Y' => 1,
        b'Z' => 2,
        _ => return None,
    };
    let (sign, end) = sign_behind(bytes, run.end)?;
    let number = Number::of(bytes.get(run.start..run.end)?)?;
    if run.len() != 7 || number.digits().len() != 7 || !stands_alone(bytes, first, end) {
        return None;
    }
    let wanted = check_digits::es(leading * 10_000_000 + value(number.digits()));
    (wanted == sign.to_ascii_uppercase()).then_some(first..end)
}

/// Six digits of a date, a hyphen, three digits, a sign; where the sign is a digit, only beside a word.
pub(super) fn fi(text: &str, run: Range<usize>) -> Option<Range<usize>> {
    const SHAPES: &[Shape] = &[Shape::named(&[6, 4], &[b"-"])];
    let bytes = text.as_bytes();
    let last = bytes.get(run.end).copied().unwrap_or(b' ');
    // The run may begin earlier, with other numbers.
    let start = run.end.checked_sub(10).filter(|start| *start >= run.start);
    let number = start.and_then(|start| bytes.get(start..run.end)).and_then(Number::of);
    if let (Some(start), Some(number)) = (start, number)
        && bytes.get(start + 6) == Some(&b'-')
        && number.digits().len() == 9
        && stands_alone(bytes, start, run.end + 1)
        && check_digits::fi(number.digits()) == Some(last.to_ascii_uppercase())
    {
        return Some(start..run.end + 1);
    }
    shaped(text, run, SHAPES, FI, |digits| {
        let (body, last) = digits.split_at(digits.len().min(9));
        last.first().is_some_and(|last| check_digits::fi(body) == Some(last + b'0'))
    })
}

struct Signed {
    span: Range<usize>,
}

/// The last group of a run, with a letter behind it if there is one, when its digits are of one of the lengths.
fn with_sign(
    bytes: &[u8],
    run: Range<usize>,
    lengths: &[usize],
    accept: fn(&[u8], Option<u8>) -> bool,
) -> Option<Signed> {
    const LONGEST: usize = 24;
    let window = bytes.get(run.end.saturating_sub(LONGEST).max(run.start)..run.end)?;
    let length = window.iter().rev().take_while(|b| b.is_ascii_digit()).count();
    let start = run.end - length;
    let (sign, end) =
        sign_behind(bytes, run.end).map_or((None, run.end), |(sign, end)| (Some(sign), end));
    let number = bytes.get(start..run.end).and_then(Number::of)?;
    (lengths.contains(&length) && accept(number.digits(), sign) && stands_alone(bytes, start, end))
        .then_some(Signed { span: start..end })
}

/// A letter right behind, or behind a hyphen, and where it ends.
fn sign_behind(bytes: &[u8], end: usize) -> Option<(u8, usize)> {
    let hyphen = usize::from(bytes.get(end) == Some(&b'-'));
    let sign = *bytes.get(end + hyphen)?;
    sign.is_ascii_alphabetic().then_some((sign, end + hyphen + 1))
}

fn value(digits: &[u8]) -> u32 {
    digits.iter().fold(0, |value, digit| value * 10 + u32::from(*digit))
}
