//! Server-sent events, cut out of a byte stream without changing them.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

const BYTE_ORDER_MARK: char = '\u{FEFF}';
/// The fields besides `data` that mean something.
const KEPT: [&str; 3] = ["id", "event", "retry"];

/// Cuts a stream into events. Line ends may be `\n`, `\r\n` or `\r`, as the HTML standard has it.
#[derive(Debug)]
pub struct Splitter {
    buffer: BytesMut,
    scanned: usize,
    limit: usize,
}

/// One event grew beyond the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a server-sent event is longer than {limit} bytes")]
pub struct TooLong {
    /// The limit in bytes.
    pub limit: usize,
}

impl Splitter {
    /// A splitter that holds at most `limit` bytes of one event.
    pub fn new(limit: usize) -> Splitter {
        Splitter { buffer: BytesMut::new(), scanned: 0, limit }
    }

    /// Adds bytes as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole event with its closing blank line, byte for byte.
    pub fn next_event(&mut self) -> Result<Option<Bytes>, TooLong> {
        match self.find_end() {
            Some(end) => {
                self.scanned = 0;
                Ok(Some(self.buffer.split_to(end).freeze()))
            }
            None if self.buffer.len() > self.limit => Err(TooLong { limit: self.limit }),
            None => Ok(None),
        }
    }

    /// What is left when the stream has ended: no whole event.
    pub fn rest(&mut self) -> Bytes {
        self.scanned = 0;
        self.buffer.split().freeze()
    }

    /// The offset behind the next blank line.
    fn find_end(&mut self) -> Option<usize> {
        let bytes = &self.buffer[..];
        let mut at = self.scanned;
        while at < bytes.len() {
            let Some(first) = line_end(bytes, at) else {
                at += 1;
                continue;
            };
            match line_end(bytes, first) {
                Some(second) => return Some(second),
                None => at = first,
            }
        }
        // Two line ends are at most four bytes: look at those again next time.
        self.scanned = bytes.len().saturating_sub(4);
        None
    }
}

/// If a line end starts at `at`, the offset behind it. A `\r` at the very end may become `\r\n`: it
/// counts only once the next byte is there.
fn line_end(bytes: &[u8], at: usize) -> Option<usize> {
    match (bytes.get(at)?, bytes.get(at + 1)) {
        (b'\r', Some(b'\n')) => Some(at + 2),
        (b'\r', None) => None,
        (b'\r' | b'\n', _) => Some(at + 1),
        _ => None,
    }
}

/// The `data` of an event: its data lines joined by line feeds; `None` without a data line.
pub fn data(event: &str) -> Option<Cow<'_, str>> {
    let mut lines = fields(event).filter(|(name, _)| *name == "data").map(|(_, value)| value);
    let first = lines.next()?;
    let Some(second) = lines.next() else {
        return Some(Cow::Borrowed(first));
    };
    let mut joined = format!("{first}\n{second}");
    for line in lines {
        joined.push('\n');
        joined.push_str(line);
    }
    Some(Cow::Owned(joined))
}

/// The type of an event; `None`: a message like any other, which is all that MCP has.
pub fn kind(event: &str) -> Option<&str> {
    let named = fields(event).filter(|(name, _)| *name == "event").last();
    named.map(|(_, kind)| kind).filter(|kind| !kind.is_empty() && *kind != "message")
}

/// What else stands in an event: its other fields and its comments, line by line.
pub fn beside_data(event: &str) -> String {
    let mut out = String::new();
    for line in lines(event).filter(|line| field(line).0 != "data" && *line != "event: message") {
        out.push_str(line);
        out.push('\n');
    }
    out
}

/// The same event with other data. Where that has as many lines as the old, everything else stays byte for byte;
/// else `id`, `event` and `retry` stay.
pub fn with_data(event: &str, data: &str) -> String {
    let old = lines(event).filter(|line| field(line).0 == "data").count();
    let mut out = String::with_capacity(event.len().max(data.len()) + 32);
    if data.split('\n').count() != old {
        // Nothing else: what is a field of no meaning in one place is one of another behind a byte order mark.
        for (name, value) in fields(event).filter(|(name, _)| KEPT.contains(name)) {
            out.push_str(&format!("{name}: {value}\n"));
        }
        out.push_str(&message(data));
        return out;
    }
    let mut new = data.split('\n');
    let begins = if event.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len_utf8() } else { 0 };
    let (mark, rest) = event.split_at(begins);
    out.push_str(mark);
    for line in rest.split_inclusive(['\n', '\r']) {
        let text = line.trim_end_matches(['\n', '\r']);
        let (name, value) = field(text);
        match (name == "data").then(|| new.next()).flatten() {
            None => out.push_str(line),
            Some(replacement) => {
                out.push_str(&text[..text.len() - value.len()]);
                if !(text.contains(':') || replacement.is_empty()) {
                    out.push(':');
                }
                out.push_str(replacement);
                out.push_str(&line[text.len()..]);
            }
        }
    }
    out
}

/// An event that carries only `data`.
pub fn message(data: &str) -> String {
    let mut out = String::with_capacity(data.len() + 16);
    for line in data.split('\n') {
        out.push_str("data: ");
        out.push_str(line);
        out.push('\n');
    }
    out.push('\n');
    out
}

fn fields(event: &str) -> impl Iterator<Item = (&str, &str)> {
    lines(event).filter(|line| !line.starts_with(':')).map(field)
}

/// The lines that say something. A byte order mark before the first is no part of it (it may begin a stream).
fn lines(event: &str) -> impl Iterator<Item = &str> {
    let event = event.strip_prefix(BYTE_ORDER_MARK).unwrap_or(event);
    event.split(['\n', '\r']).filter(|line| !line.is_empty())
}

fn field(line: &str) -> (&str, &str) {
    match line.split_once(':') {
        Some((name, value)) => (name, value.strip_prefix(' ').unwrap_or(value)),
        None => (line, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str, cut: usize) -> Vec<String> {
        let mut splitter = Splitter::new(1 << 20);
        let mut events = Vec::new();
        for piece in text.as_bytes().chunks(cut) {
            splitter.push(piece);
            while let Some(event) = splitter.next_event().unwrap() {
                events.push(String::from_utf8(event.to_vec()).unwrap());
            }
        }
        assert!(splitter.rest().is_empty(), "{text:?} cut at {cut}");
        events
    }

    #[test]
    fn events_are_cut_at_every_offset_and_line_end() {
        let text = "id: 1\ndata: {\"a\":1}\n\n: keep-alive\n\ndata: b\ndata: c\n\n";
        for text in [text.to_owned(), text.replace('\n', "\r\n")] {
            for cut in 1..=text.len() {
                let events = split(&text, cut);
                assert_eq!(events.concat(), text, "cut at {cut}");
                let data: Vec<_> = events.iter().filter_map(|e| data(e)).collect();
                assert_eq!(data, ["{\"a\":1}", "b\nc"], "cut at {cut}");
            }
        }
    }

    #[test]
    fn long_events_are_refused() {
        let mut splitter = Splitter::new(8);
        splitter.push(b"data: 123456789");
        assert_eq!(splitter.next_event(), Err(TooLong { limit: 8 }));
    }

    #[test]
    fn data_is_replaced_and_the_rest_stays() {
        let event = "event: message\nid: 7\ndata: old\nretry: 10\n\n";
        assert_eq!(with_data(event, "new"), event.replace("old", "new"));
        assert_eq!(
            with_data(event, "a\nb"),
            "event: message\nid: 7\nretry: 10\ndata: a\ndata: b\n\n"
        );
        let smuggled = "data: old\n\u{feff}data: secret\nid: 7\n\n";
        assert_eq!(with_data(smuggled, "a\nb"), "id: 7\ndata: a\ndata: b\n\n");
        let odd = "\u{feff}: hi\r\ndata:a\r\nid\r\ndata: b\rdata\n\n";
        assert_eq!(data(odd).as_deref(), Some("a\nb\n"));
        let new = "\u{feff}: hi\r\ndata:c\r\nid\r\ndata: d\rdata\n\n";
        assert_eq!(with_data(odd, "c\nd\n"), new);
        assert_eq!(data("\u{feff}data: x\n\n").as_deref(), Some("x"));
        assert_eq!(beside_data(odd), ": hi\nid\n");
        assert_eq!(beside_data("event: message\ndata: x\n\n"), "");
        assert_eq!(kind("event: message\nevent:ping\ndata: x\n\n"), Some("ping"));
        assert_eq!(kind("event: ping\nevent\ndata: x\n\n"), None);
    }
}
