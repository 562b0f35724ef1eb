//! Two definitions side by side, for people: which places differ, by JSON Pointer (RFC 6901), a few words each.

use std::collections::BTreeMap;

use gateway_core::json::{Json, Kind};
use schemars::JsonSchema;
use serde::Serialize;

/// Differences that are shown.
const SHOWN: usize = 8;
/// Characters of either side.
const LONGEST: usize = 240;
/// Characters before the first one that differs.
const LEAD: usize = 40;

/// A place where two definitions differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Difference {
    /// JSON Pointer.
    pub path: String,
    /// What stood there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// What stands there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// The first differences, and how many more there are. A text that is missing is one that says nothing.
pub(super) fn differences(before: Option<&str>, after: Option<&str>) -> (Vec<Difference>, usize) {
    let (before, after) = (leaves(before), leaves(after));
    let mut paths: Vec<&String> = before.keys().chain(after.keys()).collect();
    paths.sort_unstable();
    paths.dedup();
    let mut differences = Vec::new();
    let mut more = 0;
    for path in paths {
        let (was, is) = (before.get(path), after.get(path));
        if was == is {
            continue;
        }
        if differences.len() == SHOWN {
            more += 1;
            continue;
        }
        let common = match (was, is) {
            (Some(was), Some(is)) => {
                was.chars().zip(is.chars()).take_while(|(a, b)| a == b).count()
            }
            (None, _) | (_, None) => 0,
        };
        let side = |text: Option<&String>| text.map(|text| piece(text, common));
        differences.push(Difference { path: visible(path), before: side(was), after: side(is) });
    }
    (differences, more)
}

/// What stands at the ends of a JSON text's branches; empty for what cannot be read.
fn leaves(text: Option<&str>) -> BTreeMap<String, String> {
    let mut leaves = BTreeMap::new();
    if let Some(json) = text.and_then(|text| Json::parse(text.as_bytes()).ok()) {
        collect(json, String::new(), &mut leaves);
    }
    leaves
}

fn collect(json: Json<'_>, path: String, leaves: &mut BTreeMap<String, String>) {
    match json.kind() {
        Kind::Object if json.members().next().is_some() => {
            for member in json.members() {
                let key = member.key.replace('~', "~0").replace('/', "~1");
                collect(member.value, format!("{path}/{key}"), leaves);
            }
        }
        Kind::Array if json.elements().next().is_some() => {
            for (i, element) in json.elements().enumerate() {
                collect(element, format!("{path}/{i}"), leaves);
            }
        }
        Kind::String => {
            leaves.insert(path, json.as_str().unwrap_or_default().into_owned());
        }
        Kind::Object | Kind::Array | Kind::Number | Kind::Bool | Kind::Null => {
            leaves.insert(path, json.raw().to_owned());
        }
    }
}

/// A few characters around the place from which on it differs.
fn piece(text: &str, common: usize) -> String {
    let skipped = common.saturating_sub(LEAD);
    let mut piece: String = text.chars().skip(skipped).take(LONGEST).collect();
    if skipped > 0 {
        piece.insert(0, '…');
    }
    if text.chars().count() > skipped + LONGEST {
        piece.push('…');
    }
    visible(&piece)
}

/// The text with everything spelled out that a person would not see, or not see where it stands.
pub(super) fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let hidden = c.is_control()
            || matches!(c as u32,
                0xAD | 0x34F | 0x61C | 0x115F | 0x1160 | 0x17B4 | 0x17B5 | 0x180B..=0x180F | 0x200B..=0x200F
                | 0x2028..=0x202E | 0x2060..=0x206F | 0x3164 | 0xFE00..=0xFE0F | 0xFEFF | 0xFFA0 | 0xFFF0..=0xFFFB
                | 0xE0000..=0xE0FFF);
        if hidden && c != '\n' {
            out.push_str(&format!("\\u{{{:x}}}", c as u32));
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(before: &str, after: &str, expected: &[(&str, Option<&str>, Option<&str>)]) {
        let (found, more) = differences(Some(before), Some(after));
        let found: Vec<_> = found
            .iter()
            .map(|d| (d.path.as_str(), d.before.as_deref(), d.after.as_deref()))
            .collect();
        assert_eq!((found.as_slice(), more), (expected, 0));
    }

    #[test]
    fn what_differs_is_named_and_nothing_else() {
        let before = r#"{"name":"pay","description":"Pays","s":{"a/b":[1,{}]},"old":null}"#;
        let after =
            r#"{ "description":"Pays\u202e all", "name":"pay","s":{"a/b":[1.0,{}]},"new":true}"#;
        check(
            before,
            after,
            &[
                ("/description", Some("Pays"), Some("Pays\\u{202e} all")),
                ("/new", None, Some("true")),
                ("/old", Some("null"), None),
                ("/s/a~1b/0", Some("1"), Some("1.0")),
            ],
        );
        check(before, &before.replace(',', ", "), &[]);
    }

    #[test]
    fn long_texts_are_shown_where_they_differ() {
        let long = "x".repeat(5000);
        let one = format!(r#"{{"d":"{long}end"}}"#);
        let two = format!(r#"{{"d":"{long}END"}}"#);
        let lead = format!("…{}", "x".repeat(LEAD));
        let (was, is) = (format!("{lead}end"), format!("{lead}END"));
        check(&one, &two, &[("/d", Some(&was), Some(&is))]);
    }

    #[test]
    fn much_is_counted() {
        let many = |value: u32| {
            let members: Vec<String> = (0..30).map(|i| format!(r#""m{i}":{value}"#)).collect();
            format!("{{{}}}", members.join(","))
        };
        let (shown, more) = differences(Some(&many(1)), Some(&many(2)));
        assert_eq!((shown.len(), more), (SHOWN, 30 - SHOWN));
        assert_eq!(differences(None, Some("not json")), (vec![], 0));
    }
}
