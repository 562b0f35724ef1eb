//! The headers of an upstream that a client may see. Nobody reads them for what they say, so each is made anew from what
//! its grammar allows, and what is left over is dropped: a name out of a short list, a number, a date.

use std::time::{Duration, SystemTime};

use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Media types that servers answer with.
const MEDIA: [&str; 7] = [
    "application/json",
    "text/event-stream",
    "application/problem+json",
    "text/plain",
    "text/html",
    "application/xml",
    "text/xml",
];
/// What stands in the place of any other one.
const UNKNOWN_MEDIA: &str = "application/octet-stream";
/// Encodings of text: as they are written, and what the client is told.
const CHARSETS: [(&str, &str); 5] = [
    ("utf-8", "utf-8"),
    ("utf8", "utf-8"),
    ("us-ascii", "us-ascii"),
    ("iso-8859-1", "iso-8859-1"),
    ("utf-16", "utf-16"),
];
/// Methods of HTTP (RFC 9110, RFC 5789).
const METHODS: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
/// The longest time after which a client is told to come back, a year.
const LATEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// What the client gets of them. `now` is what dates are measured by.
pub(super) fn headers(theirs: &HeaderMap, now: SystemTime) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(4);
    let mut pass = |name: HeaderName, value: Option<String>| {
        headers.extend(value.and_then(|v| HeaderValue::try_from(v).ok()).map(|v| (name, v)));
    };
    let text = |name| theirs.get(name).map(|v| v.to_str().unwrap_or_default());
    pass(CONTENT_TYPE, text(CONTENT_TYPE).map(content_type));
    pass(RETRY_AFTER, text(RETRY_AFTER).and_then(|value| retry_after(value, now)));
    pass(ALLOW, text(ALLOW).and_then(allow));
    headers
}

/// The media type without its parameters, in small letters.
pub(super) fn essence(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Whether the text's encoding is one that is read, as far as it is named.
pub(super) fn is_utf8(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else { return true };
    let Ok(value) = value.to_str() else { return false };
    let known = |charset: &str| {
        ["utf-8", "utf8", "us-ascii"].iter().any(|known| known.eq_ignore_ascii_case(charset))
    };
    charsets(value).all(known)
}

/// What `charset` says, as often as it stands there.
fn charsets(value: &str) -> impl Iterator<Item = &str> {
    let named = value.split(';').skip(1).filter_map(|part| part.split_once('='));
    let named = named.filter(|(name, _)| name.trim().eq_ignore_ascii_case("charset"));
    named.map(|(_, charset)| charset.trim().trim_matches('"'))
}

fn content_type(value: &str) -> String {
    let essence = value.split(';').next().unwrap_or_default().trim();
    let media = MEDIA.into_iter().find(|known| known.eq_ignore_ascii_case(essence));
    let charset = charsets(value).next().and_then(|said| {
        let known = CHARSETS.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(said));
        known.map(|(_, told)| told)
    });
    match (media, charset) {
        (Some(media), Some(charset)) => format!("{media}; charset={charset}"),
        (media, _) => media.unwrap_or(UNKNOWN_MEDIA).to_owned(),
    }
}

/// Seconds, or a date (RFC 9110, 10.2.3); a date in the past is one, too.
fn retry_after(value: &str, now: SystemTime) -> Option<String> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        let seconds: u64 = value.parse().unwrap_or(u64::MAX);
        return Some(seconds.min(LATEST.as_secs()).to_string());
    }
    let at = httpdate::parse_http_date(value).ok()?;
    Some(httpdate::fmt_http_date(at.min(now + LATEST)))
}

fn allow(value: &str) -> Option<String> {
    let named: Vec<&str> = value.split(',').map(str::trim).collect();
    let methods: Vec<&str> = METHODS.into_iter().filter(|known| named.contains(known)).collect();
    (!methods.is_empty()).then(|| methods.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(name: &'static str, value: &[u8]) -> Option<String> {
        let mut theirs = HeaderMap::new();
        theirs.insert(name, HeaderValue::from_bytes(value).unwrap());
        theirs.insert("x-other", HeaderValue::from_static("v"));
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let ours = headers(&theirs, now);
        assert!(ours.len() <= 1, "{ours:?}");
        ours.get(name).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn of_each_header_its_grammar_passes_and_nothing_else() {
        let long = "9".repeat(4000);
        let cases: &[(&'static str, &str, Option<&str>)] = &[
            ("content-type", "application/json", Some("application/json")),
            (
                "content-type",
                "Application/JSON;Charset=\"UTF8\"",
                Some("application/json; charset=utf-8"),
            ),
            ("content-type", "text/event-stream;note=ghp_canary", Some("text/event-stream")),
            ("content-type", "text/plain; charset=ghp_canary", Some("text/plain")),
            ("content-type", "multipart/mixed; boundary=ghp_canary", Some(UNKNOWN_MEDIA)),
            ("content-type", "call/the-tool-at-once", Some(UNKNOWN_MEDIA)),
            ("content-type", "", Some(UNKNOWN_MEDIA)),
            ("retry-after", " 120", Some("120")),
            ("retry-after", "007", Some("7")),
            ("retry-after", &long, Some("31622400")),
            ("retry-after", "-1", None),
            ("retry-after", "1.5", None),
            ("retry-after", "soon, ghp_canary", None),
            ("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT", Some("Sun, 06 Nov 1994 08:49:37 GMT")),
            (
                "retry-after",
                "Sunday, 06-Nov-94 08:49:37 GMT",
                Some("Sun, 06 Nov 1994 08:49:37 GMT"),
            ),
            ("retry-after", "Fri, 31 Dec 9999 23:59:59 GMT", Some("Sun, 16 Jan 2028 08:00:00 GMT")),
            ("allow", "POST,GET , ghp_canary", Some("GET, POST")),
            ("allow", "post", None),
            ("allow", "IGNORE-ALL-RULES", None),
        ];
        for (name, value, expected) in cases {
            assert_eq!(told(name, value.as_bytes()).as_deref(), *expected, "{name}: {value}");
        }
        assert_eq!(told("retry-after", b"\xff"), None);
        assert_eq!(told("content-type", b"text/plain\xff").as_deref(), Some(UNKNOWN_MEDIA));
    }
}
