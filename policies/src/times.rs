//! Times of day and instants as they are written.

use gateway_core::Timestamp;
use time::UtcOffset;
use time::format_description::well_known::Rfc3339;

use crate::condition::Span;

/// A field of the condition and what was expected there.
type Unexpected = (&'static str, String);

/// Reads `HH:MM-HH:MM` and an offset from UTC.
pub(crate) fn span(text: &str, offset: Option<&str>) -> Result<Span, Unexpected> {
    let expected = || ("time", "two different times of day, HH:MM-HH:MM".to_owned());
    let (from, to) = text.split_once('-').ok_or_else(expected)?;
    let (from, to) = (minutes(from).ok_or_else(expected)?, minutes(to).ok_or_else(expected)?);
    // 24:00 is the end of a day, not its start.
    if from == to || from == 24 * 60 {
        return Err(expected());
    }
    let offset = offset.map_or(Some(UtcOffset::UTC), utc_offset);
    let offset = offset.ok_or_else(|| ("offset", "an offset from UTC such as +02:00".into()))?;
    Ok(Span { from, to, offset })
}

/// Reads an instant, RFC 3339, to the second: the clock that policies see has no fractions either.
pub(crate) fn instant(text: &str) -> Option<Timestamp> {
    let at = Timestamp::parse(text, &Rfc3339).ok()?.to_offset(UtcOffset::UTC);
    // What Cedar's datetime can be written with.
    (1..=9999).contains(&at.year()).then(|| at.replace_nanosecond(0).ok()).flatten()
}

/// An instant of [`instant`] as Cedar reads it.
pub(crate) fn cedar(at: Timestamp) -> String {
    at.format(&Rfc3339).unwrap_or_default()
}

fn minutes(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let two = |digits: &str, below: u16| {
        let plain = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit());
        digits.parse::<u16>().ok().filter(|n| plain && *n < below)
    };
    if text == "24:00" { Some(24 * 60) } else { Some(two(hours, 24)? * 60 + two(minutes, 60)?) }
}

fn utc_offset(text: &str) -> Option<UtcOffset> {
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let minutes = sign * i32::from(minutes(text.get(1..)?)?);
    UtcOffset::from_whole_seconds(minutes * 60).ok().filter(|_| minutes.abs() <= 14 * 60)
}
