//! Check digits, each as its issuer defines it. Digits are numbers from 0 to 9.

/// ISO/IEC 7812: payment cards, Swedish personal numbers.
pub(super) fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits.iter().rev().enumerate().map(|(i, d)| luhn_term(i, *d)).sum();
    sum.is_multiple_of(10)
}

fn luhn_term(from_right: usize, digit: u8) -> u32 {
    let doubled = u32::from(digit) * if from_right % 2 == 1 { 2 } else { 1 };
    if doubled > 9 { doubled - 9 } else { doubled }
}

/// ISO 7064 MOD 97-10 over an IBAN without separators: country, check digits, account.
pub(super) fn iban(plain: &[u8]) -> bool {
    let turned = plain.iter().skip(4).chain(plain.iter().take(4));
    let rest = turned.fold(0u32, |rest, byte| match byte {
        b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
        b'A'..=b'Z' => (rest * 100 + u32::from(byte - b'A') + 10) % 97,
        _ => 0,
    });
    rest == 1
}

/// German tax id (§ 139b AO): ISO 7064 MOD 11,10, and one of the first ten digits stands there twice or thrice.
pub(super) fn de(digits: &[u8]) -> bool {
    let Some((check, body)) = digits.split_last() else { return false };
    let mut counts = [0u8; 10];
    for digit in body {
        counts[usize::from(*digit) % 10] += 1;
    }
    let repeated = counts.iter().filter(|n| **n > 1).count() == 1 && counts.iter().all(|n| *n <= 3);
    let product = body.iter().fold(10u32, |product, digit| {
        let sum = (u32::from(*digit) + product) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    let wanted = match 11 - product {
        10 => 0,
        other => other,
    };
    body.first() != Some(&0) && repeated && wanted == u32::from(*check)
}

/// French NIR: sex, year, month, department and order in 13 digits; 97 less their rest by 97.
pub(super) fn fr(digits: &[u8]) -> bool {
    let (Some(body), Some(key)) = (digits.get(..13), digits.get(13..15)) else { return false };
    let month = number(digits.get(3..5).unwrap_or_default());
    matches!(body.first(), Some(1..=4 | 7 | 8))
        && (matches!(month, 1..=12 | 20..=42) || month >= 50)
        && number(key) == 97 - number(body) % 97
}

/// Spanish DNI and NIE: the letter that belongs to a number's rest by 23.
pub(super) fn es(number: u32) -> u8 {
    const LETTERS: &[u8; 23] = b"TRWAGMYFPDXBNJZSQVHLCKE";
    LETTERS[(number % 23) as usize]
}

/// Dutch BSN: the test of eleven, the last digit counting minus one.
pub(super) fn nl(digits: &[u8]) -> bool {
    let Some((last, body)) = digits.split_last() else { return false };
    let sum = weighted(body, &[9, 8, 7, 6, 5, 4, 3, 2]);
    digits.len() == 9 && sum > 0 && sum % 11 == u32::from(*last) % 11
}

/// Belgian national number: 97 less the rest of nine digits, with a 2 before them from the year 2000 on.
pub(super) fn be(digits: &[u8]) -> bool {
    let (Some(body), Some(key)) = (digits.get(..9), digits.get(9..11)) else { return false };
    let (body, key) = (number(body), number(key));
    is_day(digits.get(2..6).unwrap_or_default(), true)
        && (key == 97 - body % 97 || key == 97 - (2_000_000_000 + body) % 97)
}

/// Swiss AHV number: EAN-13 with Switzerland's country number.
pub(super) fn ch(digits: &[u8]) -> bool {
    let sum = weighted(digits, &[1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1]);
    digits.len() == 13 && digits.starts_with(&[7, 5, 6]) && sum.is_multiple_of(10)
}

/// Polish PESEL: a date with the century in its month, and a weighted sum.
pub(super) fn pl(digits: &[u8]) -> bool {
    let sum = weighted(digits, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1]);
    let (month, day) = (pair(digits, 2) % 20, pair(digits, 4));
    digits.len() == 11
        && sum.is_multiple_of(10)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
}

/// Swedish personal number: a date (the day 60 later for coordination numbers), Luhn over the last ten digits.
pub(super) fn se(digits: &[u8]) -> bool {
    let Some(ten) = digits.len().checked_sub(10).and_then(|skip| digits.get(skip..)) else {
        return false;
    };
    let century = digits.len() == 10 || matches!(pair(digits, 0), 18..=20);
    let (month, day) = (pair(ten, 2), pair(ten, 4));
    century && (1..=12).contains(&month) && (matches!(day, 1..=31 | 61..=91)) && luhn(ten)
}

/// Norwegian national identity number: a date and two weighted sums by eleven.
pub(super) fn no(digits: &[u8]) -> bool {
    let (day, month) = (pair(digits, 0) % 40, pair(digits, 2) % 40);
    digits.len() == 11
        && (1..=31).contains(&day)
        && (1..=12).contains(&month)
        && weighted(digits, &[3, 7, 6, 1, 8, 9, 4, 5, 2, 1]).is_multiple_of(11)
        && weighted(digits, &[5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1]).is_multiple_of(11)
}

/// Finnish personal identity code: the sign that belongs to date and number's rest by 31.
pub(super) fn fi(digits: &[u8]) -> Option<u8> {
    const SIGNS: &[u8; 31] = b"0123456789ABCDEFHJKLMNPRSTUVWXY";
    let is_date = (1..=31).contains(&pair(digits, 0)) && (1..=12).contains(&pair(digits, 2));
    is_date.then(|| SIGNS[(number(digits) % 31) as usize])
}

/// British NHS number: eleven less the rest of a weighted sum by eleven.
pub(super) fn gb(digits: &[u8]) -> bool {
    let sum = weighted(digits, &[10, 9, 8, 7, 6, 5, 4, 3, 2, 1]);
    digits.len() == 10 && sum > 0 && sum.is_multiple_of(11)
}

/// US social security number: no check digit, but ranges that are never issued, and two that were printed on specimens.
pub(super) fn us(digits: &[u8]) -> bool {
    let (area, group) = (number(digits.get(..3).unwrap_or_default()), pair(digits, 3));
    let serial = number(digits.get(5..).unwrap_or_default());
    let specimen = matches!((area, group, serial), (78, 5, 1120) | (219, 9, 9999));
    digits.len() == 9 && !matches!(area, 0 | 666 | 900..) && group > 0 && serial > 0 && !specimen
}

/// Brazilian CPF: two weighted sums by eleven; not eleven times the same digit.
pub(super) fn br(digits: &[u8]) -> bool {
    let check = |count: usize| {
        let sum: u32 = digits
            .iter()
            .take(count)
            .zip((2..=count + 1).rev())
            .map(|(d, w)| u32::from(*d) * w as u32)
            .sum();
        let wanted = (sum * 10) % 11 % 10;
        digits.get(count).is_some_and(|d| u32::from(*d) == wanted)
    };
    let same = digits.iter().all(|d| Some(d) == digits.first());
    digits.len() == 11 && !same && check(9) && check(10)
}

/// Indian Aadhaar number: Verhoeff's check over the dihedral group of ten; never begins with 0 or 1.
pub(super) fn ind(digits: &[u8]) -> bool {
    let sum =
        || digits.iter().rev().enumerate().fold(0, |sum, (i, d)| dihedral(sum, turned(*d, i)));
    digits.len() == 12 && digits.first().is_some_and(|d| *d > 1) && sum() == 0
}

/// The product in the dihedral group of ten.
fn dihedral(a: u8, b: u8) -> u8 {
    const PRODUCTS: [[u8; 10]; 10] = {
        let mut products = [[0; 10]; 10];
        let mut at = 0;
        while at < 100 {
            let (a, b) = (at / 10, at % 10);
            let product = match (a < 5, b < 5) {
                (true, true) => (a + b) % 5,
                (true, false) => (a + b - 5) % 5 + 5,
                (false, true) => (a - 5 + 5 - b) % 5 + 5,
                (false, false) => (a + 5 - b) % 5,
            };
            products[a][b] = product as u8;
            at += 1;
        }
        products
    };
    PRODUCTS[usize::from(a) % 10][usize::from(b) % 10]
}

/// Verhoeff's permutation, as often as the digit's place says.
fn turned(digit: u8, place: usize) -> u8 {
    const TURN: [u8; 10] = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];
    /// By how often: it comes back to where it began after eight times.
    const TURNED: [[u8; 10]; 8] = {
        let mut turned = [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]; 8];
        let mut at = 10;
        while at < 80 {
            turned[at / 10][at % 10] = TURN[turned[at / 10 - 1][at % 10] as usize];
            at += 1;
        }
        turned
    };
    TURNED[place % 8][usize::from(digit) % 10]
}

/// Chinese resident id (GB 11643): 17 digits with a date, and ISO 7064 MOD 11-2.
pub(super) fn cn(digits: &[u8], last: u8) -> bool {
    const SIGNS: &[u8; 11] = b"10X98765432";
    let sum = weighted(digits, &[7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]);
    digits.len() == 17
        && digits.first().is_some_and(|d| (1..=8).contains(d))
        && (18..=20).contains(&pair(digits, 6))
        && is_day(digits.get(10..14).unwrap_or_default(), false)
        && SIGNS[(sum % 11) as usize] == last.to_ascii_uppercase()
}

/// Italian tax code: a letter from what the others count in odd and even places.
pub(super) fn it(code: &str) -> bool {
    const ODD: [u32; 26] = [
        1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24,
        23,
    ];
    let value = |byte: u8| match byte.to_ascii_uppercase() {
        digit @ b'0'..=b'9' => digit - b'0',
        letter => letter.wrapping_sub(b'A') % 26,
    };
    let bytes = code.as_bytes();
    let Some((last, body)) = bytes.split_last() else { return false };
    let sum: u32 = body
        .iter()
        .enumerate()
        .map(
            |(i, byte)| {
                if i % 2 == 0 { ODD[usize::from(value(*byte))] } else { u32::from(value(*byte)) }
            },
        )
        .sum();
    bytes.len() == 16 && u32::from(value(*last)) == sum % 26
}

/// Month and day; `loose`: months as registers count on when a day is full, or unknown.
fn is_day(digits: &[u8], loose: bool) -> bool {
    let (month, day) = (pair(digits, 0), pair(digits, 2));
    let month = if loose { month % 20 } else { month };
    let least = if loose { 0 } else { 1 };
    (least..=12).contains(&month) && (least..=31).contains(&day)
}

fn pair(digits: &[u8], at: usize) -> u32 {
    number(digits.get(at..at + 2).unwrap_or_default()) as u32
}

fn number(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |number, digit| number * 10 + u64::from(*digit))
}

fn weighted(digits: &[u8], weights: &[u32]) -> u32 {
    digits.iter().zip(weights).map(|(digit, weight)| u32::from(*digit) * weight).sum()
}
