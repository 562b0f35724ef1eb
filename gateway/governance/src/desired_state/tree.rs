//! The parsed file with the places of its keys: from a path to its line, from a byte to its path.

use gateway_core::located::{Problem, line_of};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A TOML file and where everything in it stands.
pub(super) struct Tree<'a> {
    place: &'a str,
    text: &'a str,
    root: Spanned<DeTable<'a>>,
}

impl<'a> Tree<'a> {
    pub(super) fn parse(place: &'a str, text: &'a str) -> Result<Tree<'a>, Problem> {
        let root = DeTable::parse(text).map_err(|error| Problem {
            place: place.to_owned(),
            line: error.span().map(|span| line_of(text, span.start)),
            key: String::new(),
            message: error.message().to_owned(),
        })?;
        Ok(Tree { place, text, root })
    }

    pub(super) fn root(&self) -> &DeTable<'a> {
        self.root.get_ref()
    }

    /// A problem at `path`, for instance `policies[2].when[0].op`: with the line of the deepest part of
    /// the path that is there.
    pub(super) fn problem(&self, path: &str, message: impl Into<String>) -> Problem {
        Problem {
            place: self.place.to_owned(),
            line: self.offset(path).map(|offset| line_of(self.text, offset)),
            key: path.to_owned(),
            message: message.into(),
        }
    }

    /// A problem that serde found below `path`.
    pub(super) fn misread(&self, path: &str, error: &toml::de::Error) -> Problem {
        let at = error.span().map(|span| span.start);
        let exact = at.and_then(|offset| path_at(self.root.get_ref(), offset));
        let key = exact.filter(|exact| exact.starts_with(path)).unwrap_or_else(|| path.to_owned());
        let line = at.map(|offset| line_of(self.text, offset));
        let message = unknown_field(error.message()).unwrap_or_else(|| error.message().to_owned());
        let fallback = self.problem(path, message);
        Problem { key, line: line.or(fallback.line), ..fallback }
    }

    fn offset(&self, path: &str) -> Option<usize> {
        let mut parts = steps(path);
        let name = parts.next()?;
        let (key, mut value) = entry(self.root.get_ref(), name)?;
        let mut offset = key;
        for part in parts {
            let (start, next) = match value.get_ref() {
                DeValue::Table(table) => match entry(table, part) {
                    Some(found) => found,
                    None => break,
                },
                DeValue::Array(items) => {
                    match part.parse().ok().and_then(|i: usize| items.get(i)) {
                        Some(item) => (item.span().start, item),
                        None => break,
                    }
                }
                DeValue::String(_)
                | DeValue::Integer(_)
                | DeValue::Float(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_) => break,
            };
            (offset, value) = (start, next);
        }
        Some(offset)
    }
}

/// `a[2].b` is `a`, `2`, `b`.
fn steps(path: &str) -> impl Iterator<Item = &str> {
    path.split(['.', '[']).map(|part| part.trim_end_matches(']')).filter(|part| !part.is_empty())
}

/// Where a key of a table stands, and its value.
fn entry<'t, 'a>(table: &'t DeTable<'a>, name: &str) -> Option<(usize, &'t Spanned<DeValue<'a>>)> {
    let found = table.iter().find(|(key, _)| key.get_ref() == name);
    found.map(|(key, value)| (key.span().start, value))
}

/// The path of the key or value in which the byte at `offset` stands.
fn path_at(table: &DeTable<'_>, offset: usize) -> Option<String> {
    for (key, value) in table.iter() {
        if key.span().contains(&offset) {
            return Some(key.get_ref().to_string());
        }
        if let Some(below) = path_in(value, offset) {
            return Some(format!("{}{below}", key.get_ref()));
        }
    }
    None
}

fn path_in(value: &Spanned<DeValue<'_>>, offset: usize) -> Option<String> {
    match value.get_ref() {
        // A [[table]]'s own span is its header: what is in it lies outside.
        DeValue::Table(table) => {
            let below = path_at(table, offset).map(|below| format!(".{below}"));
            below.or_else(|| value.span().contains(&offset).then(String::new))
        }
        DeValue::Array(items) => {
            // Those of one name are one array, with anything between them.
            let tables = items.iter().any(|item| matches!(item.get_ref(), DeValue::Table(_)));
            let mut items = items.iter().enumerate();
            let below =
                items.find_map(|(i, item)| Some(format!("[{i}]{}", path_in(item, offset)?)));
            below.or_else(|| (!tables && value.span().contains(&offset)).then(String::new))
        }
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => value.span().contains(&offset).then(String::new),
    }
}

/// serde's "unknown field `x`, expected one of `a`, `b`", with a suggestion.
fn unknown_field(message: &str) -> Option<String> {
    let words: Vec<&str> = message.strip_prefix("unknown field ")?.split('`').collect();
    let words: Vec<&str> = words.into_iter().skip(1).step_by(2).collect();
    let (name, known) = words.split_first()?;
    Some(gateway_core::located::unknown_key(name, known))
}
