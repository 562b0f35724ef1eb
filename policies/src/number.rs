//! Numbers compared exactly as they are spelled in JSON: no rounding, whatever their size.
//!
//! `1e2`, `100` and `100.0` are equal; `0.1` is not `0.1000000000000000055`. Exponents beyond any that a
//! policy can name are clamped, which keeps every comparison with a policy's number right.

use std::cmp::Ordering;

/// Larger exponents are clamped; far beyond f64 and beyond the digits of any body that is read.
const CLAMP: i64 = 1 << 60;

/// A decimal number: 0.d1d2d3... times ten to the `point`, without leading or trailing zeros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decimal {
    negative: bool,
    digits: Vec<u8>,
    point: i64,
}

impl Decimal {
    /// Reads the source spelling of a JSON number, which must be well formed.
    pub(crate) fn parse(text: &str) -> Decimal {
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = || whole.bytes().chain(fraction.bytes());
        let leading = all().take_while(|d| *d == b'0').count();
        let mut digits: Vec<u8> = all().skip(leading).collect();
        while digits.last() == Some(&b'0') {
            digits.pop();
        }
        if digits.is_empty() {
            return Decimal { negative: false, digits, point: 0 };
        }
        let point = clamped(exponent) + length(whole) - i64::try_from(leading).unwrap_or(CLAMP);
        Decimal { negative, digits, point }
    }

    /// The number as an integer, when it is one and fits.
    pub(crate) fn to_i64(&self) -> Option<i64> {
        if self.digits.is_empty() {
            return Some(0);
        }
        let places = usize::try_from(self.point).ok().filter(|p| *p <= 19)?;
        if self.digits.len() > places {
            return None;
        }
        let digits = self.digits.iter().copied().chain(std::iter::repeat(b'0')).take(places);
        let size = digits.fold(0i128, |n, d| n * 10 + i128::from(d - b'0'));
        i64::try_from(if self.negative { -size } else { size }).ok()
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Decimal) -> Ordering {
        let sign = |n: &Decimal| match (n.digits.is_empty(), n.negative) {
            (true, _) => 0,
            (false, false) => 1,
            (false, true) => -1,
        };
        let size = || self.point.cmp(&other.point).then_with(|| self.digits.cmp(&other.digits));
        sign(self).cmp(&sign(other)).then_with(|| match sign(self) {
            0 => Ordering::Equal,
            1 => size(),
            _ => size().reverse(),
        })
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Decimal) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn length(text: &str) -> i64 {
    i64::try_from(text.len()).unwrap_or(CLAMP)
}

fn clamped(exponent: &str) -> i64 {
    let limit = if exponent.starts_with('-') { -CLAMP } else { CLAMP };
    exponent.parse::<i64>().unwrap_or(limit).clamp(-CLAMP, CLAMP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_exact() {
        let ascending = [
            "-1e400",
            "-100.5",
            "-100",
            "-1e-400",
            "0",
            "1e-99999999999999999999",
            "0.1",
            "0.1000000000000000055",
            "0.11",
            "1",
            "9007199254740992",
            "9007199254740993",
            "1e308",
            "1e309",
            "1e99999999999999999999",
        ];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(Decimal::parse(a).cmp(&Decimal::parse(b)), i.cmp(&j), "{a} {b}");
            }
        }
    }

    #[test]
    fn spellings_of_the_same_number_are_equal() {
        for group in [
            &["100", "1e2", "100.0", "1.00E+2", "10000e-2", "0.1e3"][..],
            &["0", "-0", "0.0", "0e999", "-0.0e-99999999999999999999"],
            &["-0.05", "-5e-2", "-0.50e-1"],
        ] {
            for text in group {
                assert_eq!(Decimal::parse(text), Decimal::parse(group[0]), "{text}");
            }
        }
    }

    #[test]
    fn integers() {
        let cases = [
            ("0", Some(0)),
            ("-12", Some(-12)),
            ("1.2e1", Some(12)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("1.5", None),
            ("1e30", None),
            ("1e-1", None),
        ];
        for (text, expected) in cases {
            assert_eq!(Decimal::parse(text).to_i64(), expected, "{text}");
        }
    }
}
