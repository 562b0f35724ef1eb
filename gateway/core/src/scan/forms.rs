//! One text in all the forms in which it can be read: as it is, with its encoded characters undone, and what its runs
//! of base64 say. One level deep: what is encoded twice is read once.

use std::ops::Range;

use super::base64_runs::{self, Room};
use super::budget::{CALL, LOOK};
use super::decode::{self, Decoded};
use super::detectors::{Look, drop_from, settle};
use super::plan::Mark;
use super::{Class, hidden};

/// No built-in rule finds anything shorter, other than characters that do not show.
const SHORTEST: usize = 4;

/// So far about an encoded character its decoded text is looked at, bytes either way; the rest was looked at as it is.
const AROUND: usize = 1024;

/// Words that the protocol itself writes into most messages, where a third of the strings of a short one are such: no
/// built-in rule finds anything in them.
macro_rules! protocols_words {
    ($($word:literal)*) => {
        fn is_protocols(text: &str) -> bool {
            matches!(text, $($word)|*)
        }

        #[cfg(test)]
        const WORDS: &[&str] = &[$($word),*];
    };
}

protocols_words! {
    "jsonrpc" "2.0" "id" "method" "params" "_meta" "name" "title" "version" "description" "arguments" "result" "error"
    "code" "message" "data" "content" "structuredContent" "isError" "type" "text" "resource" "uri" "mimeType"
    "annotations" "resultType" "complete" "tools/call" "prompts/get" "resources/read" "capabilities" "clientInfo"
    "protocolVersion" "io.modelcontextprotocol/protocolVersion" "io.modelcontextprotocol/clientInfo"
    "io.modelcontextprotocol/clientCapabilities" "2026-07-28" "2025-11-25"
}

/// Looks at text after text with the same room.
pub(super) struct Forms<'a> {
    look: Look<'a>,
    plain: Decoded,
    loose: Decoded,
    room: Room,
    marks: Vec<Mark<'a>>,
    /// A key and its value as they are read together.
    assigned: String,
}

impl<'a> Forms<'a> {
    pub(super) fn new(look: Look<'a>) -> Forms<'a> {
        let (plain, loose, room) = (Decoded::default(), Decoded::default(), Room::default());
        Forms { look, plain, loose, room, marks: vec![], assigned: String::new() }
    }

    pub(super) fn has_own(&self) -> bool {
        self.look.has_own()
    }

    /// Too short for any rule, and all of it shows.
    fn says_nothing(&self, text: &str) -> bool {
        let shows = |b: u8| matches!(b, b' '..=b'~') && b != b'\\';
        text.len() < SHORTEST && !self.has_own() && text.bytes().all(shows)
    }

    /// Gives what stands in the inside of a JSON string: spans in its bytes, and what each says.
    pub(super) fn json(&mut self, raw: &str, give: impl FnMut(Mark<'a>, &str)) {
        self.look.budget().begin(raw.len());
        if self.says_nothing(raw) || (is_protocols(raw) && !self.has_own()) {
            return;
        }
        if memchr::memchr(b'\\', raw.as_bytes()).is_none() {
            return self.forms(raw, &Range::clone, give);
        }
        let mut plain = std::mem::take(&mut self.plain);
        decode::json(raw, &mut plain);
        self.forms(&plain.text, &|span| plain.source(span), give);
        self.plain = plain;
    }

    /// Gives what stands in a text without escapes.
    pub(super) fn text(&mut self, text: &str, give: impl FnMut(Mark<'a>, &str)) {
        self.look.budget().begin(text.len());
        self.forms(text, &Range::clone, give);
    }

    /// Gives what stands in a JSON number, which is encoded in no way.
    pub(super) fn number(&mut self, text: &str, give: impl FnMut(Mark<'a>, &str)) {
        self.look.budget().begin(text.len());
        self.look.text(text, &mut self.marks);
        self.give(text, &Range::clone, give);
    }

    /// Gives what stands in `value`, a string's inside or a number, only because it is the value of `key`, for instance
    /// of `password`.
    pub(super) fn member(&mut self, key: &str, value: &str, mut give: impl FnMut(Mark<'a>, &str)) {
        let key = decode::plain(key);
        let mut plain = std::mem::take(&mut self.plain);
        let mut assigned = std::mem::take(&mut self.assigned);
        assigned.clear();
        decode::json(value, &mut plain);
        let quote = ["\"", "'", "`"].into_iter().find(|quote| !plain.text.contains(quote));
        let quote = quote.unwrap_or("\"");
        assigned.extend([&key, "=", quote, &plain.text, quote]);
        let begin = key.len() + 2;
        self.look.assignment(&assigned, key.len(), &mut self.marks);
        if self.look.budget().is_used_up() {
            self.marks.clear();
            self.look.too_dense(&(begin..begin + plain.text.len()), &mut self.marks);
        }
        settle(&mut self.marks, &assigned);
        for mut mark in self.marks.drain(..) {
            let span = mark.span.start.max(begin) - begin..mark.span.end.saturating_sub(begin);
            let Some(says) = plain.text.get(span.clone()).filter(|says| !says.is_empty()) else {
                continue;
            };
            mark.span = plain.source(&span);
            give(mark, says);
        }
        (self.plain, self.assigned) = (plain, assigned);
    }

    fn forms(
        &mut self,
        plain: &str,
        source: &dyn Fn(&Range<usize>) -> Range<usize>,
        give: impl FnMut(Mark<'a>, &str),
    ) {
        self.look.text(plain, &mut self.marks);
        self.loosened(plain);
        self.base64(plain);
        self.give(plain, source, give);
    }

    /// Gives all that was found in `plain`, or that it was too dense to be read.
    fn give(
        &mut self,
        plain: &str,
        source: &dyn Fn(&Range<usize>) -> Range<usize>,
        mut give: impl FnMut(Mark<'a>, &str),
    ) {
        if self.look.budget().is_used_up() {
            // All of it: what is encoded in what was read so far has not been read either.
            self.marks.clear();
            self.look.too_dense(&(0..plain.len()), &mut self.marks);
        }
        settle(&mut self.marks, plain);
        for mut mark in self.marks.drain(..) {
            let says = mark.says.take();
            let says = says.as_deref().or(plain.get(mark.span.clone())).unwrap_or_default();
            mark.span = source(&mark.span);
            give(mark, says);
        }
    }

    fn loosened(&mut self, plain: &str) {
        if self.look.budget().is_used_up() || !decode::loosened(plain, &mut self.loose) {
            return;
        }
        for stretch in self.loose.changed(AROUND) {
            let first = self.marks.len();
            let text = self.loose.text.get(stretch.clone()).unwrap_or_default();
            if self.says_nothing(text) {
                continue;
            }
            if !self.look.budget().afford(CALL + LOOK * text.len()) {
                return;
            }
            self.look.text(text, &mut self.marks);
            drop_from(first, &mut self.marks, |mark| hidden::is_control(mark.rule));
            for mark in self.marks.iter_mut().skip(first) {
                let says = text.get(mark.span.clone()).unwrap_or_default();
                let span = stretch.start + mark.span.start..stretch.start + mark.span.end;
                let span = self.loose.source(&span);
                if plain.get(span.clone()) != Some(says) {
                    mark.says = Some(says.into());
                }
                mark.span = span;
            }
        }
    }

    fn base64(&mut self, plain: &str) {
        let (look, marks, mut at) = (&mut self.look, &mut self.marks, 0);
        while let Some(run) = base64_runs::next(plain, at) {
            if look.budget().is_used_up() {
                return;
            }
            at = run.end;
            self.room.texts(plain.get(run.clone()).unwrap_or_default(), |text| {
                let first = marks.len();
                if !look.budget().afford(CALL + LOOK * text.len()) {
                    return;
                }
                if is_data(text) {
                    look.rules(text, marks);
                    drop_from(first, marks, |mark| mark.class == Class::HiddenCharacters);
                } else {
                    look.text(text, marks);
                }
                for mark in marks.iter_mut().skip(first) {
                    mark.says = Some(text.get(mark.span.clone()).unwrap_or_default().into());
                    mark.span = run.clone();
                }
            });
        }
    }
}

/// In data some bytes happen to be characters that do not show: those are nobody's.
fn is_data(text: &str) -> bool {
    text.bytes().any(|b| b.is_ascii_control() && !b"\t\r\n".contains(&b))
        || (!text.is_ascii() && text.chars().any(|c| matches!(c, '\u{80}'..='\u{9f}')))
}

#[cfg(test)]
mod tests {
    use super::super::{Detectors, Guard, Modes, Pattern, message};
    use super::*;

    /// However short a text becomes once it is decoded, what does not show is found in it.
    #[test]
    fn a_hidden_character_that_is_all_a_text_says_is_found() {
        for text in ["%E2%80%8B", "a%C2%AD", "&#8203;", "&#x200b;b", r"\\u200b"] {
            let text = format!("[\"{text}\"]");
            let (detectors, modes) = (Detectors::built_in(), Modes::default());
            let found = message::read(&detectors, Guard::ToolCall, &modes, &text);
            let classes: Vec<Class> = found.iter().map(|one| one.class).collect();
            assert_eq!(classes, [Class::HiddenCharacters], "{text}");
        }
    }

    /// They are passed by unread; written with an escape they are read, and nothing is found. An organisation's own
    /// pattern finds them.
    #[test]
    fn nothing_is_in_the_protocols_own_words() {
        let own = Pattern { name: "own".into(), class: Class::Secrets, pattern: ".+".into() };
        let own = Detectors::with(&[own]).unwrap();
        for word in WORDS {
            let (first, rest) = word.split_at(1);
            let escaped = format!("\\u{:04x}{rest}", first.as_bytes()[0]);
            for (detectors, finds) in [(&Detectors::built_in(), 0), (&own, 2)] {
                for guard in Guard::ALL {
                    for text in [word, &*escaped] {
                        let text = format!(r#"{{"{text}":["{text}"]}}"#);
                        let found = message::read(detectors, guard, &Modes::default(), &text);
                        assert_eq!(found.len(), finds, "{text} {found:?}");
                    }
                }
            }
        }
    }
}
