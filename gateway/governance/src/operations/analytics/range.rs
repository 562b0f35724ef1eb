//! A range in somebody's time zone, and how it is cut into that zone's hours, days and weeks. Days when clocks
//! are changed have 23 or 25 hours, and an hour that comes twice is two hours.

use gateway_core::Timestamp;
use gateway_store::analytics::Span;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp as Instant, ToSpan, Zoned};
use time::format_description::well_known::Rfc3339;

use crate::perform::Refused;

/// Longest range.
const DAYS: i64 = 400;
/// How far back a range begins when nobody says.
const USUAL_DAYS: i64 = 30;
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// What is reported on: whole quarters of an hour, in a zone.
#[derive(Debug, Clone)]
pub(super) struct Range {
    pub(super) span: Span,
    pub(super) zone: TimeZone,
}

/// Pieces of a range: where each begins, and where the last is over.
#[derive(Debug)]
pub(super) struct Pieces(pub(super) Vec<Timestamp>);

/// The zone of that IANA name.
pub(super) fn zone(name: &str) -> Result<TimeZone, Refused> {
    let found = TimeZone::get(name).ok().filter(|zone| !zone.is_unknown());
    found.ok_or_else(|| {
        Refused::params(
            "timezone: expected a name of the IANA time zone database, as UTC, Europe/Berlin or \
             Asia/Kathmandu",
        )
    })
}

impl Range {
    /// From `start` until before `end`, by default the 30 days before now.
    pub(super) fn read(
        zone: TimeZone,
        start: Option<&str>,
        end: Option<&str>,
        now: Timestamp,
    ) -> Result<Range, Refused> {
        let past = end.map_or(Ok(now), |text| instant("end", text, &zone))?;
        let first = match start {
            Some(text) => instant("start", text, &zone)?,
            None => past - time::Duration::days(USUAL_DAYS),
        };
        if past - first > time::Duration::days(DAYS) {
            return Err(Refused::params(format!("start: expected at most {DAYS} days before end")));
        }
        Range::of(zone, first, past)
            .ok_or_else(|| Refused::params("start: expected an instant before end"))
    }

    /// The whole quarters around these instants, if there are any.
    pub(super) fn of(zone: TimeZone, first: Timestamp, past: Timestamp) -> Option<Range> {
        Some(Range { span: Span::around(first, past)?, zone })
    }

    /// The zone's name.
    pub(super) fn zone_name(&self) -> String {
        self.zone.iana_name().unwrap_or("UTC").to_owned()
    }

    /// An instant as clocks of the zone show it: RFC 3339 with their offset.
    pub(super) fn shown(&self, at: Timestamp) -> String {
        self.zoned(at).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
    }

    /// The day of an instant, `YYYY-MM-DD`.
    pub(super) fn day(&self, at: Timestamp) -> String {
        self.zoned(at).date().to_string()
    }

    /// Cut where an hour begins on clocks of the zone.
    pub(super) fn hours(&self) -> Pieces {
        self.cut(|at| {
            let offset = i64::from(self.zone.to_offset(instant_of(at)).seconds());
            let next = at + HOUR - (at + offset).rem_euclid(HOUR);
            // Where clocks are changed another hour begins, even if it is no full one.
            let changed = self.zone.following(instant_of(at)).next();
            let changed = changed.map_or(i64::MAX, |change| change.timestamp().as_second());
            next.min(changed)
        })
    }

    /// Cut at the zone's midnights.
    pub(super) fn days(&self) -> Pieces {
        self.cut(|at| self.midnight_after(at, 1))
    }

    /// Cut where the zone's Mondays begin.
    pub(super) fn weeks(&self) -> Pieces {
        self.cut(|at| {
            let weekday = self.zoned(timestamp(at)).weekday();
            self.midnight_after(at, 7 - i64::from(weekday.to_monday_zero_offset()))
        })
    }

    fn midnight_after(&self, at: i64, days: i64) -> i64 {
        let date = self.zoned(timestamp(at)).date().checked_add(days.days());
        let next = date.and_then(|date: Date| date.to_zoned(self.zone.clone()));
        next.map_or(at + DAY, |next| next.timestamp().as_second())
    }

    fn cut(&self, next: impl Fn(i64) -> i64) -> Pieces {
        let past = self.span.past().unix_timestamp();
        let mut at = self.span.first().unix_timestamp();
        let mut bounds = Vec::new();
        while at < past {
            bounds.push(timestamp(at));
            at = next(at).max(at + 1).min(past);
        }
        bounds.push(timestamp(past));
        Pieces(bounds)
    }

    fn zoned(&self, at: Timestamp) -> Zoned {
        instant_of(at.unix_timestamp()).to_zoned(self.zone.clone())
    }
}

/// RFC 3339, or a date, which is its midnight in the zone.
fn instant(name: &str, text: &str, zone: &TimeZone) -> Result<Timestamp, Refused> {
    let date = || text.parse::<Date>().ok().filter(|_| text.len() == "2026-01-31".len());
    let midnight = || Some(date()?.to_zoned(zone.clone()).ok()?.timestamp().as_second());
    let read = Timestamp::parse(text, &Rfc3339).map(|at| at.to_offset(time::UtcOffset::UTC));
    read.ok().or_else(|| midnight().map(timestamp)).ok_or_else(|| {
        Refused::params(format!(
            "{name}: expected RFC 3339, as 2026-01-31T12:00:00Z, or a date, as 2026-01-31"
        ))
    })
}

fn timestamp(seconds: i64) -> Timestamp {
    Timestamp::from_unix_timestamp(seconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn instant_of(seconds: i64) -> Instant {
    Instant::from_second(seconds).unwrap_or(Instant::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(zone_name: &str, start: &str, end: &str) -> Range {
        Range::read(zone(zone_name).unwrap(), Some(start), Some(end), Timestamp::UNIX_EPOCH)
            .unwrap()
    }

    fn shown(range: &Range, pieces: &Pieces) -> Vec<String> {
        pieces.0.iter().map(|at| range.shown(*at)).collect()
    }

    fn lengths(pieces: &Pieces) -> Vec<i64> {
        pieces.0.windows(2).map(|pair| (pair[1] - pair[0]).whole_minutes()).collect()
    }

    #[test]
    fn days_have_the_hours_that_clocks_give_them() {
        // zone, from, until: hours of each day
        let cases: &[(&str, &str, &str, &[f64])] = &[
            ("UTC", "2026-03-28", "2026-03-31", &[24.0, 24.0, 24.0]),
            ("Europe/Berlin", "2026-03-28", "2026-03-31", &[24.0, 23.0, 24.0]),
            ("Europe/Berlin", "2026-10-24", "2026-10-27", &[24.0, 25.0, 24.0]),
            ("America/St_Johns", "2026-03-07", "2026-03-10", &[24.0, 23.0, 24.0]),
            ("America/St_Johns", "2026-10-31", "2026-11-03", &[24.0, 25.0, 24.0]),
            ("Asia/Kathmandu", "2026-03-28", "2026-03-31", &[24.0, 24.0, 24.0]),
            ("Australia/Lord_Howe", "2026-04-04", "2026-04-07", &[24.0, 24.5, 24.0]),
            ("Australia/Lord_Howe", "2026-10-03", "2026-10-06", &[24.0, 23.5, 24.0]),
            // Clocks go from 00:00 to 01:00: the day begins at one.
            ("Africa/Cairo", "2026-04-23", "2026-04-26", &[24.0, 23.0, 24.0]),
        ];
        for (zone, start, end, hours) in cases {
            let days = range(zone, start, end).days();
            let got: Vec<f64> =
                lengths(&days).iter().map(|minutes| *minutes as f64 / 60.0).collect();
            assert_eq!(got, *hours, "{zone} {start}");
        }
        let kathmandu = range("Asia/Kathmandu", "2026-03-28", "2026-03-29");
        assert_eq!(kathmandu.span.first(), timestamp(1_774_635_300), "18:15 UTC of the day before");
    }

    #[test]
    fn an_hour_that_comes_twice_is_two_hours() {
        let berlin = range("Europe/Berlin", "2026-10-25", "2026-10-26");
        let hours = berlin.hours();
        assert_eq!(lengths(&hours), [60; 25]);
        assert_eq!(
            shown(&berlin, &hours)[1..5],
            [
                "2026-10-25T01:00:00+02:00",
                "2026-10-25T02:00:00+02:00",
                "2026-10-25T02:00:00+01:00",
                "2026-10-25T03:00:00+01:00"
            ]
        );
        let spring = range("Europe/Berlin", "2026-03-29", "2026-03-30");
        assert_eq!(lengths(&spring.hours()), [60; 23]);
        assert_eq!(shown(&spring, &spring.hours())[2], "2026-03-29T03:00:00+02:00");
        let howe = range("Australia/Lord_Howe", "2026-04-05", "2026-04-06");
        assert_eq!(lengths(&howe.hours())[..4], [60, 60, 30, 60]);
        assert_eq!(
            shown(&howe, &howe.hours())[1..4],
            ["2026-04-05T01:00:00+11:00", "2026-04-05T01:30:00+10:30", "2026-04-05T02:00:00+10:30"]
        );
        // What is asked for begins and ends within hours.
        let part = range("Asia/Kathmandu", "2026-03-28T00:20:00Z", "2026-03-28T02:01:00Z");
        assert_eq!(
            shown(&part, &part.hours()),
            ["2026-03-28T06:00:00+05:45", "2026-03-28T07:00:00+05:45", "2026-03-28T08:00:00+05:45"]
        );
    }

    #[test]
    fn weeks_begin_on_mondays() {
        let range = range("America/St_Johns", "2026-10-29", "2026-11-11");
        let days: Vec<String> = range.weeks().0.iter().map(|at| range.day(*at)).collect();
        assert_eq!(days, ["2026-10-29", "2026-11-02", "2026-11-09", "2026-11-11"]);
        assert_eq!(lengths(&range.weeks())[0], 4 * 1440 + 60);
    }

    #[test]
    fn what_is_no_range_is_refused_by_its_field() {
        let now = Timestamp::UNIX_EPOCH;
        let read = |start: &str, end: &str| Range::read(TimeZone::UTC, Some(start), Some(end), now);
        for (start, end, field) in [
            ("yesterday", "2026-01-02", "start: expected RFC 3339"),
            ("2026-01-01", "2026-13-01", "end: expected RFC 3339"),
            ("2026-01-01", "20260102", "end: expected RFC 3339"),
            ("2026-01-01T00:00:00", "2026-01-02", "start: expected RFC 3339"),
            ("2026-01-02", "2026-01-02", "start: expected an instant before end"),
            ("2026-01-03", "2026-01-02", "start: expected an instant before end"),
            ("2024-01-01", "2026-01-02", "start: expected at most 400 days"),
            ("0001-01-01", "9990-12-31", "start: expected at most 400 days"),
        ] {
            let refused = read(start, end).unwrap_err();
            assert!(refused.detail.starts_with(field), "{start} {end}: {}", refused.detail);
        }
        for name in ["", "Mars/Olympus", "../../etc/passwd", "Etc/Unknown", "+05:45", "CEST-2"] {
            assert!(zone(name).unwrap_err().detail.starts_with("timezone: "), "{name}");
        }
        let usual = Range::read(TimeZone::UTC, None, None, timestamp(1_774_635_301)).unwrap();
        assert_eq!(usual.span.past(), timestamp(1_774_636_200));
        assert_eq!(usual.span.past() - usual.span.first(), time::Duration::minutes(30 * 1440 + 15));
    }
}
