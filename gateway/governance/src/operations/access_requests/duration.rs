//! Spans of time as people write them: a number and one of m, h, d, w.

use time::Duration;

use crate::perform::Refused;

/// Longest grant.
pub(super) const LONGEST: Duration = Duration::days(366);

const UNITS: [(char, i64); 4] = [('w', 7 * 86_400), ('d', 86_400), ('h', 3600), ('m', 60)];

/// Reads a span that is called `name`: at least a minute, at most [`LONGEST`].
pub(super) fn read(name: &'static str) -> impl Fn(&str) -> Result<Duration, Refused> {
    move |text| {
        let expected = || {
            Refused::params(format!(
                "{name}: expected 1m to 366d, a number and m, h, d or w, as 8h"
            ))
        };
        let unit = text.chars().next_back().and_then(|unit| UNITS.iter().find(|u| u.0 == unit));
        let (unit, seconds) = unit.ok_or_else(expected)?;
        let number = text.strip_suffix(*unit).unwrap_or_default();
        let plain = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
        let number = number.parse::<i64>().ok().filter(|_| plain);
        let whole = number.and_then(|number| number.checked_mul(*seconds));
        let span = whole.map(Duration::seconds).filter(|s| !s.is_zero() && *s <= LONGEST);
        span.ok_or_else(expected)
    }
}

/// The shortest way to write that many seconds.
pub(super) fn written(seconds: i64) -> String {
    let unit = UNITS.iter().find(|(_, each)| seconds % each == 0);
    unit.map_or_else(|| format!("{seconds}s"), |(unit, each)| format!("{}{unit}", seconds / each))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_strictly() {
        let read = read("duration");
        for (text, seconds) in
            [("1m", 60), ("90m", 5400), ("8h", 28_800), ("7d", 604_800), ("366d", 31_622_400)]
        {
            assert_eq!(read(text).unwrap().whole_seconds(), seconds, "{text}");
        }
        for text in [
            "",
            "h",
            "8",
            "8H",
            "0h",
            "-1h",
            "+1h",
            " 8h",
            "8 h",
            "1.5h",
            "367d",
            "53w",
            "9999999999999999h",
            "8s",
            "1h30m",
            "८h",
        ] {
            let refused = read(text).unwrap_err();
            assert!(refused.detail.starts_with("duration: expected 1m to 366d"), "{text}");
        }
        assert_eq!(
            [60, 5400, 28_800, 604_800, 86_400 * 3, 61].map(written),
            ["1m", "90m", "8h", "1w", "3d", "61s"]
        );
    }
}
