//! Server-sent events as the plumbing needs them: where an event ends, comments between events, and a JSON
//! body as one event.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_TYPE;

/// Keeps load balancers from cutting a silent stream.
pub(super) const COMMENT: Bytes = Bytes::from_static(b": keep-alive\n\n");

/// True for `text/event-stream`.
pub(super) fn is_stream(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(|text| {
        let essence = text.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case("text/event-stream")
    })
}

/// The last bytes that were sent: a comment inside an event would end that event early.
#[derive(Debug, Default)]
pub(super) struct Tail {
    last: [u8; 4],
    seen: usize,
}

impl Tail {
    /// Takes note of what goes out.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.seen = self.seen.saturating_add(bytes.len());
        for byte in &bytes[bytes.len().saturating_sub(4)..] {
            self.last.rotate_left(1);
            self.last[3] = *byte;
        }
    }

    /// True before the first event and behind a blank line.
    pub(super) fn is_between_events(&self) -> bool {
        self.seen == 0
            || self.last.ends_with(b"\n\n")
            || self.last.ends_with(b"\r\n\r\n")
            || self.last.ends_with(b"\r\r")
    }
}

/// Writes a JSON text as the data of one event, piece by piece: a line break inside the text starts a new
/// data line, which a reader joins with a line feed again.
#[derive(Debug, Default)]
pub(super) struct AsEvent {
    begun: bool,
}

impl AsEvent {
    /// The next piece of the text.
    pub(super) fn piece(&mut self, text: &[u8]) -> Bytes {
        let mut out = BytesMut::with_capacity(text.len() + 16);
        if !std::mem::replace(&mut self.begun, true) {
            out.extend_from_slice(b"data: ");
        }
        for (number, line) in text.split(|b| *b == b'\n').enumerate() {
            if number > 0 {
                out.extend_from_slice(b"\ndata: ");
            }
            // A carriage return can only be white space in JSON, but ends a line here.
            for part in line.split(|b| *b == b'\r') {
                out.extend_from_slice(part);
            }
        }
        out.freeze()
    }

    /// What closes the event; empty when there was no text.
    pub(super) fn end(&self) -> Bytes {
        if self.begun { Bytes::from_static(b"\n\n") } else { Bytes::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_ends_are_seen_across_pieces() {
        let cases: &[(&[&str], bool)] = &[
            (&[], true),
            (&["data: 1\n\n"], true),
            (&["data: 1\n", "\n"], true),
            (&["data: 1\r\n\r", "\n"], true),
            (&["data: 1\r\r"], true),
            (&["data: 1\r\n\r"], false),
            (&["data: 1\n"], false),
            (&["data: 1\n\n", "d"], false),
            (&[": keep-alive\n\n", "data: {\"a\":", "1}"], false),
        ];
        for (pieces, expected) in cases {
            let mut tail = Tail::default();
            pieces.iter().for_each(|piece| tail.push(piece.as_bytes()));
            assert_eq!(tail.is_between_events(), *expected, "{pieces:?}");
        }
    }

    #[test]
    fn json_becomes_one_event_however_it_is_cut() {
        let text = "{\r\n \"a\": [1,\n2]}";
        for cut in 1..=text.len() {
            let mut event = AsEvent::default();
            let mut out = Vec::new();
            for piece in text.as_bytes().chunks(cut) {
                out.extend_from_slice(&event.piece(piece));
            }
            out.extend_from_slice(&event.end());
            let out = String::from_utf8(out).unwrap();
            assert!(out.starts_with("data: ") && out.ends_with("\n\n"), "{out:?}");
            let data = gateway_core::sse::data(&out).unwrap();
            assert_eq!(data, text.replace('\r', ""), "cut at {cut}");
        }
        assert!(AsEvent::default().end().is_empty());
    }
}
