//! Learns how a JSON-RPC answer ended while its bytes stream past, whatever its size and however it is
//! cut: only member names down to the second level are looked at, nothing is kept.

use memchr::memchr2;

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ending {
    /// A `result` member was seen.
    pub result: bool,
    /// An `error` member was seen.
    pub error: bool,
    /// `result.isError` is true.
    pub is_error: bool,
    /// `result.resultType` is `input_required`.
    pub input_required: bool,
    /// An `id` member was seen.
    pub id: bool,
    /// A `method` member was seen: it is a request or a notification, not an answer.
    pub method: bool,
    /// The method ends in `list_changed`.
    pub list_changed: bool,
    /// The text was one complete JSON value.
    pub complete: bool,
}

impl Ending {
    /// True for a complete answer that carries a result which is not an error.
    pub fn is_ok(&self) -> bool {
        self.is_answer() && self.result && !self.error && !self.is_error
    }

    /// True for a complete answer to a request.
    pub fn is_answer(&self) -> bool {
        self.complete && !self.method && (self.result || self.error)
    }
}

/// Feed it the bytes of one JSON-RPC message.
#[derive(Debug, Default)]
pub struct Sniffer {
    depth: u32,
    in_string: bool,
    escaped: bool,
    expect_key: bool,
    /// The last key seen on levels 1 and 2, and the scalar being read there.
    keys: [Word; 2],
    word: Word,
    ending: Ending,
    broken: bool,
}

/// A short text; longer ones are cut, which no word of interest is.
#[derive(Debug, Clone, Copy)]
struct Word {
    bytes: [u8; 64],
    len: usize,
}

impl Default for Word {
    fn default() -> Word {
        Word { bytes: [0; 64], len: 0 }
    }
}

impl Word {
    fn ends_with(&self, text: &str) -> bool {
        self.bytes.get(..self.len).is_some_and(|bytes| bytes.ends_with(text.as_bytes()))
    }

    fn extend(&mut self, bytes: &[u8]) {
        let room = self.bytes.get_mut(self.len..).unwrap_or_default();
        room.iter_mut().zip(bytes).for_each(|(slot, byte)| *slot = *byte);
        self.len += bytes.len();
    }

    fn push(&mut self, b: u8) {
        if let Some(slot) = self.bytes.get_mut(self.len) {
            *slot = b;
        }
        self.len += 1;
    }

    fn is(&self, text: &str) -> bool {
        self.bytes.get(..self.len) == Some(text.as_bytes())
    }
}

impl Sniffer {
    /// Reads the next piece.
    pub fn feed(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        loop {
            if self.in_string && !self.escaped {
                let plain = memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
                let (plain, ending) = rest.split_at(plain);
                self.word.extend(plain);
                rest = ending;
            }
            let Some((byte, behind)) = rest.split_first() else { return };
            self.byte(*byte);
            rest = behind;
        }
    }

    /// What is known so far.
    pub fn ending(&self) -> Ending {
        Ending { complete: self.ending.complete && !self.broken, ..self.ending }
    }

    fn byte(&mut self, b: u8) {
        if self.in_string {
            return self.string_byte(b);
        }
        match b {
            b'"' => {
                self.in_string = true;
                self.word = Word::default();
            }
            b'{' | b'[' => {
                self.broken |= self.ending.complete;
                self.depth += 1;
                self.expect_key = b == b'{';
                self.word = Word::default();
                if self.depth <= 2 && b == b'{' {
                    self.keys[self.depth as usize - 1] = Word::default();
                }
            }
            b'}' | b']' => {
                self.scalar_ends();
                self.broken |= self.depth == 0;
                self.depth = self.depth.saturating_sub(1);
                self.ending.complete |= self.depth == 0;
            }
            b',' => {
                self.scalar_ends();
                self.expect_key = true;
            }
            b':' => {
                if self.depth == 1 || self.depth == 2 {
                    self.keys[self.depth as usize - 1] = self.word;
                    self.key_seen();
                }
                self.word = Word::default();
                self.expect_key = false;
            }
            b' ' | b'\t' | b'\r' | b'\n' => {}
            b => self.word.push(b),
        }
    }

    /// A quote or a backslash, or any byte behind a backslash.
    fn string_byte(&mut self, b: u8) {
        if self.escaped {
            self.escaped = false;
            // An escaped key or value is none of the words that matter.
            self.word.push(0);
        } else if b == b'\\' {
            self.escaped = true;
        } else {
            self.in_string = false;
        }
    }

    fn key_seen(&mut self) {
        if self.depth == 1 {
            self.ending.result |= self.keys[0].is("result");
            self.ending.error |= self.keys[0].is("error");
            self.ending.id |= self.keys[0].is("id");
            self.ending.method |= self.keys[0].is("method");
        }
    }

    fn scalar_ends(&mut self) {
        if self.depth == 1 && self.keys[0].is("method") && !self.expect_key {
            self.ending.list_changed |= self.word.ends_with("/list_changed");
        }
        if self.depth == 2 && self.keys[0].is("result") && !self.expect_key {
            self.ending.is_error |= self.keys[1].is("isError") && self.word.is("true");
            self.ending.input_required |=
                self.keys[1].is("resultType") && self.word.is("input_required");
        }
        self.word = Word::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sniff(text: &str, cut: usize) -> Ending {
        let mut sniffer = Sniffer::default();
        for piece in text.as_bytes().chunks(cut) {
            sniffer.feed(piece);
        }
        sniffer.ending()
    }

    #[test]
    fn endings_at_every_cut() {
        let ok = Ending { result: true, complete: true, ..Ending::default() };
        let with_id = Ending { id: true, ..ok };
        let changed = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
        let cases = [
            (r#"{"jsonrpc":"2.0","id":1,"result":{"content":[],"isError":false}}"#, with_id),
            (
                changed,
                Ending { method: true, list_changed: true, complete: true, ..Ending::default() },
            ),
            (
                r#"{"id":1,"method":"ping"}"#,
                Ending { method: true, id: true, complete: true, ..Ending::default() },
            ),
            (
                r#"{"result":{"isError": true ,"content":[{"isError":false}]},"id":1}"#,
                Ending { is_error: true, ..with_id },
            ),
            (
                r#"{"result":{"structuredContent":{"isError":true,"error":1},"content":[{"error":"\"}"}]}}"#,
                ok,
            ),
            (
                r#"{"id":1,"error":{"code":-1,"message":"result"}}"#,
                Ending { error: true, id: true, complete: true, ..Ending::default() },
            ),
            (
                r#"{"result":{"resultType":"input_required","inputRequests":{}}}"#,
                Ending { input_required: true, ..ok },
            ),
            (r#"{"result":{"a":"\\","isError":true}}"#, Ending { is_error: true, ..ok }),
            (r#"{"result":{}"#, Ending { result: true, ..Ending::default() }),
            (r#"{"result":[["isError",true]]}"#, ok),
        ];
        for (text, expected) in cases {
            for cut in 1..=text.len() {
                assert_eq!(sniff(text, cut), expected, "{text} cut at {cut}");
            }
        }
    }
}
