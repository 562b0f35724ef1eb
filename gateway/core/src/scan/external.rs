//! What the organisation's own scanner is sent of a message, and what its answer means. The scanner itself is asked by
//! `server/src/upstream/scanner.rs`; what is done about what it finds, `proxy/scan.rs` decides as for built-in rules.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::rule::Name;
use super::{Class, Found};
use crate::json::{Json, Kind};

/// Findings of one answer at most; more is no answer.
pub const MOST_FINDINGS: usize = 200;
/// The rule of a finding that says that the scanner was not there.
pub const UNAVAILABLE: &str = "external_unavailable";
/// The rule of a finding that says that the scanner wants the message blocked, without a finding of its own.
pub const VERDICT: &str = "external_verdict";
/// Longest name of a rule.
const LONGEST_RULE: usize = 64;

/// One string of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Text {
    /// Where it stands, as a JSON Pointer (RFC 6901).
    pub path: String,
    /// What it says, decoded.
    pub text: String,
    /// Its bytes in the message, quotes and all.
    #[serde(skip)]
    span: Range<usize>,
}

/// What the scanner says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Answer {
    /// What it found; members that are not known are skipped.
    #[serde(default)]
    pub findings: Vec<Told>,
    /// What it would do.
    #[serde(default)]
    pub verdict: Verdict,
}

/// Whether the scanner lets the message pass.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The modes of the findings' classes decide.
    #[default]
    Pass,
    /// It must not pass, whatever the modes say.
    Block,
}

/// One finding as the scanner tells it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Told {
    /// Of which class: what is done about it.
    pub class: Class,
    /// Its name: at most 64 of a-z, A-Z, 0-9, `_`, `-` and `.`.
    pub rule: String,
    /// The `path` of one of the texts.
    pub path: String,
    /// Where it begins in the text, in characters (code points); absent: the whole text.
    #[serde(default)]
    pub offset: Option<usize>,
    /// How many characters; absent: to the end.
    #[serde(default)]
    pub length: Option<usize>,
}

impl Answer {
    /// Reads one. What is wrong with it is told without its text, which may quote what was sent.
    pub fn read(bytes: &[u8]) -> Result<Answer, String> {
        let wrong = |error: serde_json::Error| {
            format!("not an answer: line {}, column {}", error.line(), error.column())
        };
        // An array could be taken for the members in their order.
        let members: Map<String, Value> = serde_json::from_slice(bytes).map_err(wrong)?;
        let answer = Answer::deserialize(Value::Object(members));
        answer.map_err(|_| "not an answer: findings or verdict".to_owned())
    }
}

/// Every string of a checked JSON text but the names of members, which stand in the paths.
pub fn texts(message: &str) -> Vec<Text> {
    let mut texts = Vec::new();
    walk(message, Json::checked_before(message), &mut String::new(), &mut texts);
    texts
}

fn walk(message: &str, json: Json<'_>, path: &mut String, texts: &mut Vec<Text>) {
    let back = path.len();
    match json.kind() {
        Kind::Object => {
            for member in json.members() {
                path.push('/');
                path.push_str(&member.key.replace('~', "~0").replace('/', "~1"));
                walk(message, member.value, path, texts);
                path.truncate(back);
            }
        }
        Kind::Array => {
            for (at, item) in json.elements().enumerate() {
                path.push_str(&format!("/{at}"));
                walk(message, item, path, texts);
                path.truncate(back);
            }
        }
        Kind::String => {
            if let (Some(text), Some(span)) = (json.as_str(), json.span_in(message)) {
                texts.push(Text { path: path.clone(), text: text.into_owned(), span });
            }
        }
        Kind::Number | Kind::Bool | Kind::Null => {}
    }
}

/// What the scanner says of a message, checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judged {
    /// What it found, in order of place; some may overlap.
    pub found: Vec<Found>,
    /// It does not let the message pass.
    pub blocks: bool,
}

/// The answer checked against what was sent. The error says why it makes no sense.
pub fn judged(message: &str, texts: &[Text], answer: &Answer) -> Result<Judged, String> {
    if answer.findings.len() > MOST_FINDINGS {
        return Err(format!("findings: expected at most {MOST_FINDINGS}"));
    }
    let by_path: HashMap<&str, &Text> = texts.iter().map(|t| (t.path.as_str(), t)).collect();
    let mut found = Vec::with_capacity(answer.findings.len());
    for (at, told) in answer.findings.iter().enumerate() {
        let wrong = |field: &str, expected: &str| format!("findings[{at}].{field}: {expected}");
        if !is_name(&told.rule) {
            return Err(wrong("rule", "expected 1 to 64 of a-z, A-Z, 0-9, _, - and ."));
        }
        let text = by_path.get(told.path.as_str()).copied();
        let text =
            text.ok_or_else(|| wrong("path", "expected the path of a text that was sent"))?;
        let place = place(text, told).ok_or_else(|| wrong("offset", "outside its text"))?;
        let span = bytes(message, text, &place).ok_or_else(|| wrong("offset", "no place"))?;
        found.push(Found {
            class: told.class,
            rule: Name::Given(Arc::from(told.rule.as_str())),
            path: told.path.clone(),
            span,
            plain: text.text.chars().skip(place.start).take(place.len()).collect(),
        });
    }
    found.sort_by_key(|one| (one.span.start, one.span.end));
    Ok(Judged { found, blocks: answer.verdict == Verdict::Block })
}

fn is_name(rule: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    (1..=LONGEST_RULE).contains(&rule.len()) && rule.bytes().all(legal)
}

/// The characters that are meant.
fn place(text: &Text, told: &Told) -> Option<Range<usize>> {
    let all = text.text.chars().count();
    let start = told.offset.unwrap_or(0);
    let end = match told.length {
        Some(length) => start.checked_add(length)?,
        None => all,
    };
    (start < end && end <= all).then_some(start..end)
}

/// Their bytes in the message: an escape is one character, and so is a pair of surrogates.
fn bytes(message: &str, text: &Text, place: &Range<usize>) -> Option<Range<usize>> {
    let inner = text.span.start + 1..text.span.end.checked_sub(1)?;
    let raw = message.get(inner.clone())?;
    let mut at = 0;
    let (mut start, mut count) = (None, 0);
    loop {
        if count == place.start && start.is_none() {
            start = Some(at);
        }
        if count == place.end {
            return Some(inner.start + start?..inner.start + at);
        }
        at += character(raw.get(at..)?)?;
        count += 1;
    }
}

/// How many bytes the first character of a JSON string's inside takes.
fn character(raw: &str) -> Option<usize> {
    let mut chars = raw.chars();
    match (chars.next()?, chars.next()) {
        ('\\', Some('u')) => {
            let unit = u16::from_str_radix(raw.get(2..6)?, 16).ok()?;
            Some(if (0xD800..0xDC00).contains(&unit) { 12 } else { 6 })
        }
        ('\\', _) => Some(2),
        (c, _) => Some(c.len_utf8()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &str =
        r#"{"id":1,"params":{"a/b":"a\u00e9\ud83d\ude00\"z","list":["plain ä",true,{"~":""}]}}"#;

    fn told(path: &str, place: (Option<usize>, Option<usize>)) -> Told {
        let (offset, length) = place;
        Told { class: Class::Injection, rule: "model.v1".into(), path: path.into(), offset, length }
    }

    fn find(told: Vec<Told>) -> Result<Vec<Found>, String> {
        let answer = Answer { findings: told, ..Answer::default() };
        judged(MESSAGE, &texts(MESSAGE), &answer).map(|judged| judged.found)
    }

    #[test]
    fn every_string_is_sent_decoded_with_its_place() {
        let texts = texts(MESSAGE);
        let seen: Vec<_> = texts.iter().map(|t| (t.path.as_str(), t.text.as_str())).collect();
        let expected = [
            ("/params/a~1b", "aé\u{1f600}\"z"),
            ("/params/list/0", "plain ä"),
            ("/params/list/2/~0", ""),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_place_in_a_text_is_its_bytes_in_the_message() {
        let cases = [
            ("/params/a~1b", (None, None), r#"a\u00e9\ud83d\ude00\"z"#, "aé\u{1f600}\"z"),
            ("/params/a~1b", (Some(1), Some(1)), r"\u00e9", "é"),
            ("/params/a~1b", (Some(2), Some(2)), r#"\ud83d\ude00\""#, "\u{1f600}\""),
            ("/params/a~1b", (Some(4), None), "z", "z"),
            ("/params/list/0", (Some(6), Some(1)), "ä", "ä"),
        ];
        for (path, place, raw, plain) in cases {
            let found = find(vec![told(path, place)]).unwrap().remove(0);
            assert_eq!(&MESSAGE[found.span], raw, "{path} {place:?}");
            assert_eq!(found.plain, plain);
        }
    }

    #[test]
    fn what_makes_no_sense_is_no_answer() {
        let whole = || told("/params/list/0", (None, None));
        let cases = [
            (told("/params/list/0", (Some(7), None)), "findings[1].offset: outside its text"),
            (told("/params/list/0", (Some(3), Some(0))), "findings[1].offset: outside its text"),
            (told("/params/list/2/~0", (None, None)), "findings[1].offset: outside its text"),
            (told("/params/list/0", (Some(0), Some(8))), "findings[1].offset: outside its text"),
            (told("/params/list/0", (Some(1), Some(usize::MAX))), "findings[1].offset: outside"),
            (told("/params/list", (None, None)), "findings[1].path: expected"),
            (told("/params/a/b", (None, None)), "findings[1].path: expected"),
            (Told { rule: String::new(), ..whole() }, "findings[1].rule: expected"),
            (Told { rule: "a b".into(), ..whole() }, "findings[1].rule: expected"),
            (Told { rule: "a".repeat(65), ..whole() }, "findings[1].rule: expected"),
        ];
        for (wrong, expected) in cases {
            let error = find(vec![whole(), wrong]).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
        assert!(find(vec![whole(); MOST_FINDINGS]).is_ok());
        assert!(find(vec![whole(); MOST_FINDINGS + 1]).is_err());
        for text in [
            r#"{"findings":[{"class":"love","rule":"r","path":""}]}"#,
            "[]",
            "{",
            r#"{"verdict":"maybe"}"#,
        ] {
            assert!(Answer::read(text.as_bytes()).is_err(), "{text}");
        }
        let blocks = Answer::read(br#"{"verdict":"block","score":0.9}"#).unwrap();
        assert_eq!(blocks, Answer { findings: vec![], verdict: Verdict::Block });
    }
}
