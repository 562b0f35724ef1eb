//! Runs of base64 in a text and the texts in them, one level deep.

use std::ops::Range;

use memchr::{memchr, memchr_iter};

/// Shorter runs are words; their padding counts.
const SHORTEST: usize = 16;
/// Shorter texts hold nothing that is looked for.
const SHORTEST_TEXT: usize = 8;
/// A line of at least so many characters goes on in the next one.
const LINE: usize = 60;

/// Not a character of base64.
const NONE: u8 = 0xFF;

/// The values of the standard and of the URL-safe alphabet.
const VALUES: [u8; 256] = {
    let mut table = [NONE; 256];
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut i = 0;
    while i < alphabet.len() {
        table[alphabet[i] as usize] = i as u8;
        i += 1;
    }
    table[b'-' as usize] = 62;
    table[b'_' as usize] = 63;
    table
};

fn is_base64(b: u8) -> bool {
    VALUES[usize::from(b)] != NONE
}

/// The next run from `from` on, its padding included.
pub(super) fn next(text: &str, from: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let mut start = from;
    loop {
        let window = bytes.get(start..start + SHORTEST - 2)?;
        if let Some(other) = window.iter().rposition(|b| !is_base64(*b)) {
            start += other + 1;
            continue;
        }
        let end = padded(bytes, end(bytes, start));
        if end - start >= SHORTEST {
            return Some(start..end);
        }
        start = end;
    }
}

/// Where a run ends; long lines go on in the next one.
fn end(bytes: &[u8], start: usize) -> usize {
    let (mut at, mut line) = (start, start);
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        at += rest.iter().position(|b| !is_base64(*b)).unwrap_or(rest.len());
        let next = match bytes.get(at..) {
            Some([b'\r', b'\n', ..]) => at + 2,
            Some([b'\n', ..]) => at + 1,
            Some(_) | None => return at,
        };
        if at - line < LINE || !bytes.get(next).is_some_and(|b| is_base64(*b)) {
            return at;
        }
        (at, line) = (next, next);
    }
}

fn padded(bytes: &[u8], end: usize) -> usize {
    let rest = bytes.get(end..).unwrap_or_default();
    end + rest.iter().take(2).take_while(|b| **b == b'=').count()
}

/// Room for decoding, used run after run.
#[derive(Debug, Default)]
pub(super) struct Room {
    values: Vec<u8>,
    bytes: Vec<u8>,
    wide: String,
}

impl Room {
    /// Shows every text that a run holds: from its first character on, as UTF-8 and as UTF-16; from the three
    /// characters after it on, as ASCII, for where something stands before the run that looks like part of it.
    pub(super) fn texts(&mut self, run: &str, mut show: impl FnMut(&str)) {
        self.values.clear();
        let run = run.trim_end_matches('=');
        let mut add = |line: &str| self.values.extend(line.bytes().map(|b| VALUES[usize::from(b)]));
        match run.len() {
            ..=LINE => add(run),
            _ => run.split('\n').for_each(|line| add(line.strip_suffix('\r').unwrap_or(line))),
        }
        decode(&self.values, &mut self.bytes);
        utf8(&self.bytes, &mut show);
        utf16(&self.bytes, &mut self.wide, &mut show);
        for skip in 1..4 {
            let values = self.values.get(skip..).unwrap_or_default();
            maybe_ascii(values, |stretch| {
                decode(stretch, &mut self.bytes);
                ascii(&self.bytes, &mut show);
            });
        }
    }
}

/// Every stretch that may hold a text in ASCII: two fours and more without a byte's highest bit, and the four beside them.
/// Most data has few, and need not be decoded.
fn maybe_ascii(values: &[u8], mut show: impl FnMut(&[u8])) {
    const HIGHEST: u32 = u32::from_le_bytes([1 << 5, 1 << 3, 1 << 1, 0]);
    let mut give = |first: usize, end: usize| {
        let beside = first.saturating_sub(1) * 4..((end + 1) * 4).min(values.len());
        show(values.get(beside).unwrap_or_default());
    };
    let (mut first, mut fours) = (None, 0);
    for four in values.chunks_exact(4) {
        let four = four.try_into().map_or(0, u32::from_le_bytes);
        if four & HIGHEST == 0 {
            first.get_or_insert(fours);
        } else if let Some(first) = first.take().filter(|first| fours - first >= 2) {
            give(first, fours);
        }
        fours += 1;
    }
    if let Some(first) = first.filter(|first| fours - first >= 2) {
        give(first, fours);
    }
}

/// Six bits each to bytes; bits that are left over are dropped.
fn decode(values: &[u8], out: &mut Vec<u8>) {
    out.resize(values.len() / 4 * 3, 0);
    let four = values.chunks_exact(4);
    let rest = four.remainder();
    for (v, three) in four.zip(out.chunks_exact_mut(3)) {
        if let [a, b, c, d] = *v {
            three.copy_from_slice(&[a << 2 | b >> 4, b << 4 | c >> 2, c << 6 | d]);
        }
    }
    match *rest {
        [a, b] => out.push(a << 2 | b >> 4),
        [a, b, c] => out.extend_from_slice(&[a << 2 | b >> 4, b << 4 | c >> 2]),
        _ => {}
    }
}

fn utf8(bytes: &[u8], show: &mut impl FnMut(&str)) {
    let mut start = 0;
    while let Some(window) = bytes.get(start..start + SHORTEST_TEXT) {
        // Most data is passed in steps of some bytes, as no text goes across what is none.
        if let Some(other) = (0..SHORTEST_TEXT).rev().find(|at| breaks(window, *at)) {
            start += other + 1;
            continue;
        }
        let Some(chunk) = bytes.get(start..).unwrap_or_default().utf8_chunks().next() else {
            return;
        };
        if chunk.valid().len() >= SHORTEST_TEXT {
            show(chunk.valid());
        }
        start += chunk.valid().len() + chunk.invalid().len();
    }
}

/// True when the byte at `at` is seen to be no part of a character in UTF-8 that begins in the window.
fn breaks(window: &[u8], at: usize) -> bool {
    let byte = |at: usize| window.get(at).copied();
    let goes_on = |byte: u8| matches!(byte, 0x80..=0xBF);
    match byte(at) {
        Some(0x80..=0xBF) => at.checked_sub(1).and_then(byte).is_none_or(|before| before < 0x80),
        Some(0xC2..=0xF4) => byte(at + 1).is_some_and(|next| !goes_on(next)),
        Some(0xC0 | 0xC1 | 0xF5..) => true,
        Some(_) | None => false,
    }
}

/// A byte order mark, or four zero bytes at every second place, say that it is UTF-16, and in which order.
fn utf16(bytes: &[u8], wide: &mut String, show: &mut impl FnMut(&str)) {
    let (mut little, mut big) =
        (bytes.starts_with(&[0xFF, 0xFE]), bytes.starts_with(&[0xFE, 0xFF]));
    if memchr(0, bytes).is_some() {
        for at in memchr_iter(0, bytes) {
            let zeros = [2, 4, 6].iter().all(|beyond| bytes.get(at + beyond) == Some(&0));
            little |= zeros && at % 2 == 1;
            big |= zeros && at % 2 == 0;
            if little && big {
                break;
            }
        }
    }
    for (is_so, unit) in
        [(little, u16::from_le_bytes as fn([u8; 2]) -> u16), (big, u16::from_be_bytes)]
    {
        if is_so {
            let units = bytes.chunks_exact(2).map(|pair| match *pair {
                [a, b] => unit([a, b]),
                _ => 0,
            });
            wide.clear();
            let char = |c: Result<char, _>| c.unwrap_or(char::REPLACEMENT_CHARACTER);
            wide.extend(char::decode_utf16(units).map(char));
            show(wide);
        }
    }
}

fn ascii(bytes: &[u8], show: &mut impl FnMut(&str)) {
    let is_text = |b: u8| matches!(b, b' '..=b'~' | b'\t' | b'\n' | b'\r');
    let mut start = 0;
    while let Some(window) = bytes.get(start..start + SHORTEST_TEXT) {
        match window.iter().rposition(|b| !is_text(*b)) {
            Some(other) => start += other + 1,
            None => {
                let rest = bytes.get(start..).unwrap_or_default();
                let len = rest.iter().position(|b| !is_text(*b)).unwrap_or(rest.len());
                let text = rest.get(..len).and_then(|text| std::str::from_utf8(text).ok());
                show(text.unwrap_or_default());
                start += len;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    use super::*;

    fn texts(run: &str) -> Vec<String> {
        let mut all = vec![];
        Room::default().texts(run, |text| all.push(text.to_owned()));
        all
    }

    #[test]
    fn runs_are_whole() {
        let line = "A".repeat(64);
        for (text, run) in [
            ("x AAAABBBBCCCCDDDD== y".to_owned(), "AAAABBBBCCCCDDDD=="),
            ("AAAABBBBCCCCDDD ".to_owned(), ""),
            ("AAAABBBBCCCCDDD= AAAABBBBCCCCDD==".to_owned(), "AAAABBBBCCCCDDD="),
            ("AAAABBBBCCCCDD= AAAABBBBCCCCDD==".to_owned(), "AAAABBBBCCCCDD=="),
            ("é-AAAA_BBBB+CC/DD=é".to_owned(), "-AAAA_BBBB+CC/DD="),
            (format!("{line}\nBB\n{line}"), &format!("{line}\nBB")),
            (format!("{line}\r\n{line}\r\n--"), &format!("{line}\r\n{line}\r\n--")),
            (format!("{line}\n"), &line),
        ] {
            assert_eq!(next(&text, 0).map(|run| &text[run]).unwrap_or_default(), run);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// Every text of eight bytes and more that stands among others is shown, and nothing else.
        #[test]
        fn all_utf8_is_shown(
            pieces in prop::collection::vec(
                prop_oneof![
                    "[a-zé—😀\u{0}]{0,12}".prop_map(String::into_bytes),
                    prop::collection::vec(any::<u8>(), 0..4),
                ],
                0..12,
            )
        ) {
            let bytes = pieces.concat();
            let chunks = bytes.utf8_chunks().map(|chunk| chunk.valid().to_owned());
            let expected: Vec<_> = chunks.filter(|valid| valid.len() >= SHORTEST_TEXT).collect();
            let mut shown = vec![];
            utf8(&bytes, &mut |text: &str| shown.push(text.to_owned()));
            prop_assert_eq!(shown, expected);
        }
    }

    #[test]
    fn every_spelling_and_alignment_is_read() {
        let word = "AKIAIOSFODNN7EXAMPLE?>~";
        for before in ["", "x", "xy", "xyz", "\u{e9}\u{2014}"] {
            let plain = format!("{before}{word}");
            for engine in [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD] {
                let run = engine.encode(&plain);
                assert!(texts(&run).contains(&plain), "{run}");
                for glued in ["a", "ab", "abc", "path/"] {
                    let all = texts(&format!("{glued}{run}"));
                    assert!(all.iter().any(|text| text.contains(word)), "{glued}{run}");
                }
            }
            for unit in [u16::to_le_bytes, u16::to_be_bytes] {
                let bytes: Vec<u8> = plain.encode_utf16().flat_map(unit).collect();
                assert!(texts(&STANDARD.encode(bytes)).contains(&plain));
            }
        }
        let mut binary = vec![0xFF, 0x00, 0xC3];
        binary.extend(word.bytes());
        binary.push(0x80);
        assert!(texts(&STANDARD.encode(binary)).iter().any(|text| text.contains(word)));
    }
}
