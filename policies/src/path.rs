//! Where a condition looks in a call's arguments: dotted paths, `*` for any element of an array.
//!
//! A path ends in values, in nothing, or in front of a value of the wrong type (a text where an object
//! would have to be). The last is told apart from nothing, so that a rule cannot be slipped by putting
//! something else in its way. A name that differs in case only is in the way too: some upstreams take it
//! for the same.

use std::cell::OnceCell;

use gateway_core::json::{Json, Kind, Member};
use gateway_core::names::twins;

/// A dotted path, cut into its segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Path {
    segments: Vec<String>,
}

/// Where a path ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaf<'a> {
    /// At a value.
    Value(Json<'a>),
    /// At a place where nothing is.
    Absent,
    /// In front of a value that has no such inside.
    Obstructed,
    /// Beside a member whose name differs in case only.
    Twin,
}

/// A call's arguments, their top level read at most once however many conditions look at them.
#[derive(Debug)]
pub(crate) struct Arguments<'a> {
    root: Option<Json<'a>>,
    members: OnceCell<Vec<Member<'a>>>,
}

impl<'a> Arguments<'a> {
    pub(crate) fn new(root: Option<Json<'a>>) -> Arguments<'a> {
        Arguments { root, members: OnceCell::new() }
    }

    fn members(&self, root: Json<'a>) -> &[Member<'a>] {
        self.members.get_or_init(|| root.members().collect())
    }
}

impl Path {
    /// Cuts `text`; `None` when a segment is empty.
    pub(crate) fn parse(text: &str) -> Option<Path> {
        let segments: Vec<String> = text.split('.').map(str::to_owned).collect();
        segments.iter().all(|segment| !segment.is_empty()).then_some(Path { segments })
    }

    /// Calls `visit` with every end of the path, at least one; stops when it returns true.
    pub(crate) fn any<'a>(
        &self,
        arguments: &Arguments<'a>,
        visit: &mut dyn FnMut(Leaf<'a>) -> bool,
    ) -> bool {
        let (Some(root), Some((first, rest))) = (arguments.root, self.segments.split_first())
        else {
            return visit(Leaf::Absent);
        };
        if root.kind() != Kind::Object {
            return visit(Leaf::Obstructed);
        }
        let members = arguments.members(root).iter().map(|m| (&*m.key, m.value));
        enter(members, first, rest, visit)
    }
}

/// Follows the member of that name, and then stands in front of its twin if it has one.
fn enter<'k, 'a>(
    members: impl Iterator<Item = (&'k str, Json<'a>)>,
    name: &str,
    rest: &[String],
    visit: &mut dyn FnMut(Leaf<'a>) -> bool,
) -> bool {
    let (mut found, mut has_twin) = (None, false);
    for (key, value) in members {
        if key == name {
            found = Some(value);
        }
        has_twin |= twins(key, name);
    }
    let stop = match found {
        Some(value) => descend(value, rest, visit),
        None => visit(Leaf::Absent),
    };
    stop || (has_twin && visit(Leaf::Twin))
}

fn descend<'a>(
    value: Json<'a>,
    segments: &[String],
    visit: &mut dyn FnMut(Leaf<'a>) -> bool,
) -> bool {
    let Some((segment, rest)) = segments.split_first() else {
        return visit(Leaf::Value(value));
    };
    match (value.kind(), segment.as_str()) {
        (Kind::Array, "*") => {
            let mut elements = value.elements().peekable();
            if elements.peek().is_none() {
                return visit(Leaf::Absent);
            }
            elements.any(|element| descend(element, rest, visit))
        }
        (Kind::Array, segment) => match index(segment) {
            Some(index) => match value.elements().nth(index) {
                Some(element) => descend(element, rest, visit),
                None => visit(Leaf::Absent),
            },
            None => visit(Leaf::Obstructed),
        },
        (Kind::Object, "*") => visit(Leaf::Obstructed),
        (Kind::Object, segment) => {
            let members: Vec<Member<'a>> = value.members().collect();
            enter(members.iter().map(|m| (&*m.key, m.value)), segment, rest, visit)
        }
        (Kind::Null | Kind::Bool | Kind::Number | Kind::String, _) => visit(Leaf::Obstructed),
    }
}

/// An array index in its one spelling, without leading zeros or signs.
fn index(segment: &str) -> Option<usize> {
    let plain = segment.bytes().all(|b| b.is_ascii_digit())
        && (segment.len() == 1 || !segment.starts_with('0'));
    if plain { segment.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(json: &str, path: &str) -> Vec<String> {
        let root = Json::parse(json.as_bytes()).unwrap();
        let arguments = Arguments::new(Some(root));
        let mut ends = vec![];
        Path::parse(path).unwrap().any(&arguments, &mut |leaf| {
            ends.push(match leaf {
                Leaf::Value(value) => value.raw().to_owned(),
                Leaf::Absent => "absent".into(),
                Leaf::Obstructed => "obstructed".into(),
                Leaf::Twin => "twin".into(),
            });
            false
        });
        ends
    }

    #[test]
    fn where_paths_end() {
        let order = r#"{"order":{"items":[{"sku":"a"},{"n":1},"x"],"0":7,"none":[]},"t":"{}"}"#;
        let cases: &[(&str, &[&str])] = &[
            ("order.items.0.sku", &["\"a\""]),
            ("order.items.*.sku", &["\"a\"", "absent", "obstructed"]),
            ("order.items.9", &["absent"]),
            ("order.items.00", &["obstructed"]),
            ("order.items.sku", &["obstructed"]),
            ("order.0", &["7"]),
            ("order.none.*", &["absent"]),
            ("order.*", &["obstructed"]),
            ("t.a", &["obstructed"]),
            ("missing.a", &["absent"]),
        ];
        for (path, expected) in cases {
            assert_eq!(ends(order, path), *expected, "{path}");
        }
        assert_eq!(ends("[1]", "a"), ["obstructed"]);
        let twins = r#"{"Amount":1,"sku":2,"ſku":3,"in":{"N":4,"n":5}}"#;
        assert_eq!(ends(twins, "amount"), ["absent", "twin"]);
        assert_eq!(ends(twins, "in.x"), ["absent"]);
        assert_eq!(ends(twins, "sku"), ["2", "twin"]);
        assert_eq!(ends(twins, "in.n"), ["5", "twin"]);
        assert_eq!(Path::parse("a..b"), None);
    }
}
