//! A range as the rollups can answer it: in whole quarters, with the whole UTC days inside it known.

use std::time::Duration;

use gateway_core::Timestamp;
use time::OffsetDateTime;

/// The grain of the finest rollups.
pub const QUARTER: Duration = Duration::from_secs(900);
const DAY: i64 = 86_400;

/// From an instant until before another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    first: i64,
    past: i64,
}

impl Span {
    /// The smallest span of whole quarters that holds both and all between; `None` unless `first` comes
    /// before `past`.
    pub fn around(first: Timestamp, past: Timestamp) -> Option<Span> {
        let quarter = i64::try_from(QUARTER.as_secs()).ok()?;
        let begun = i64::from(past.nanosecond() > 0);
        let (first, past) = (first.unix_timestamp(), past.unix_timestamp() + begun);
        let span = Span {
            first: first.div_euclid(quarter) * quarter,
            past: (past + quarter - 1).div_euclid(quarter) * quarter,
        };
        (first < past).then_some(span)
    }

    /// Where it begins.
    pub fn first(self) -> Timestamp {
        instant(self.first)
    }

    /// Where it is over.
    pub fn past(self) -> Timestamp {
        instant(self.past)
    }

    /// Where its first whole day begins; where it is over if it has none.
    pub(super) fn day_first(self) -> Timestamp {
        instant(self.days().0)
    }

    /// Where its last whole day is over; where it is over itself if it has none.
    pub(super) fn day_past(self) -> Timestamp {
        instant(self.days().1)
    }

    fn days(self) -> (i64, i64) {
        let from = (self.first + DAY - 1).div_euclid(DAY) * DAY;
        let until = self.past.div_euclid(DAY) * DAY;
        if from < until { (from, until) } else { (self.past, self.past) }
    }
}

fn instant(seconds: i64) -> Timestamp {
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::format_description::well_known::Rfc3339;

    fn at(text: &str) -> Timestamp {
        OffsetDateTime::parse(text, &Rfc3339).unwrap()
    }

    #[test]
    fn spans_are_whole_quarters_and_know_their_days() {
        // from, until; first, day first, day past, past
        let cases = [
            ("01T00:00:00", "02T00:00:00", "01T00:00", "01T00:00", "02T00:00", "02T00:00"),
            ("01T00:00:01", "02T00:00:01", "01T00:00", "01T00:00", "02T00:00", "02T00:15"),
            ("01T18:15:00", "04T18:15:00", "01T18:15", "02T00:00", "04T00:00", "04T18:15"),
            ("01T18:14:59.9", "02T18:15:00.1", "01T18:00", "02T18:30", "02T18:30", "02T18:30"),
            ("01T10:00:00", "01T10:00:00.1", "01T10:00", "01T10:15", "01T10:15", "01T10:15"),
            ("01T23:59:59", "02T00:00:00", "01T23:45", "02T00:00", "02T00:00", "02T00:00"),
        ];
        for (from, until, first, day_first, day_past, past) in cases {
            let instant = |text: &str| at(&format!("2026-03-{text}Z"));
            let span = Span::around(instant(from), instant(until)).unwrap();
            let got = [span.first(), span.day_first(), span.day_past(), span.past()];
            let expected = [first, day_first, day_past, past];
            assert_eq!(got, expected.map(|text| instant(&format!("{text}:00"))), "{from} {until}");
        }
        let at = at("2026-03-01T00:00:00Z");
        assert_eq!(Span::around(at, at), None);
        assert_eq!(Span::around(at + QUARTER, at), None);
    }
}
