//! What a request holds, read as loosely as RFC 7643 wants (names of attributes in any case) and as identity
//! providers need (booleans as text), and no looser.

use serde_json::{Map, Value};
use uuid::Uuid;

use super::error::ScimError;

/// Resources of a page when nobody says otherwise.
const USUAL: u32 = 100;
/// Most resources of a page.
const MOST: u32 = 200;
/// The longest name or id.
const LONGEST: usize = 254;

/// Which resources, and how many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    pub(super) filter: Option<Filter>,
    pub(super) start_index: u32,
    pub(super) count: u32,
    pub(super) without_members: bool,
}

/// `ATTRIBUTE eq VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Filter {
    UserName(String),
    DisplayName(String),
    ExternalId(String),
    Id(String),
}

impl Default for Query {
    fn default() -> Query {
        Query { filter: None, start_index: 1, count: USUAL, without_members: false }
    }
}

impl Query {
    /// Reads the parameters; unknown ones are ignored, as the RFC wants.
    pub fn read<'a>(
        parameters: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<Query, ScimError> {
        let mut query = Query::default();
        for (name, value) in parameters {
            let number = || {
                let wrong = || ScimError::value(format!("{name}: expected a whole number"));
                value.trim().parse::<i64>().map_err(|_| wrong())
            };
            match name.to_ascii_lowercase().as_str() {
                "filter" => query.filter = Some(Filter::parse(value)?),
                "startindex" => {
                    query.start_index = u32::try_from(number()?.max(1)).unwrap_or(u32::MAX);
                }
                "count" => {
                    let count = number()?.clamp(0, i64::from(MOST));
                    query.count = u32::try_from(count).unwrap_or(MOST);
                }
                "excludedattributes" => {
                    let mut names = value.split(',');
                    query.without_members =
                        names.any(|name| name.trim().eq_ignore_ascii_case("members"));
                }
                _ => {}
            }
        }
        Ok(query)
    }
}

impl Filter {
    fn parse(text: &str) -> Result<Filter, ScimError> {
        let mut words = text.trim().splitn(3, ' ');
        let (Some(name), Some(operator), Some(value)) = (words.next(), words.next(), words.next())
        else {
            return Err(ScimError::filter());
        };
        if !operator.eq_ignore_ascii_case("eq") {
            return Err(ScimError::filter());
        }
        let value: String = serde_json::from_str(value.trim()).map_err(|_| ScimError::filter())?;
        match attribute(name).to_ascii_lowercase().as_str() {
            "username" => Ok(Filter::UserName(value)),
            "displayname" => Ok(Filter::DisplayName(value)),
            "externalid" => Ok(Filter::ExternalId(value)),
            "id" => Ok(Filter::Id(value)),
            _ => Err(ScimError::filter()),
        }
    }
}

/// An attribute's name without its schema.
pub(super) fn attribute(name: &str) -> &str {
    let core = "urn:ietf:params:scim:schemas:core:2.0:";
    let known = [format!("{core}User:"), format!("{core}Group:")];
    known.iter().find_map(|urn| cut_prefix(name, urn)).unwrap_or(name)
}

fn cut_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

/// A member of that name, in any case.
pub(super) fn member<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    object.iter().find(|(key, _)| attribute(key).eq_ignore_ascii_case(name)).map(|(_, v)| v)
}

/// The body must be an object.
pub(super) fn object(body: Option<&Value>) -> Result<&Map<String, Value>, ScimError> {
    let object = body.and_then(Value::as_object);
    object.ok_or_else(|| ScimError::syntax("expected a JSON object"))
}

/// true, false, or the same as text.
pub(super) fn truth(name: &str, value: &Value) -> Result<bool, ScimError> {
    let wrong = || ScimError::value(format!("{name}: expected true or false"));
    match value {
        Value::Bool(truth) => Ok(*truth),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Ok(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Ok(false),
        Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            Err(wrong())
        }
    }
}

/// Text that people can read, of sensible length.
pub(super) fn text(name: &str, value: &Value) -> Result<String, ScimError> {
    let wrong =
        || ScimError::value(format!("{name}: expected 1 to {LONGEST} characters, none invisible"));
    let text = value.as_str().map(str::trim).ok_or_else(wrong)?;
    let hidden = policies::hidden_character(text).is_some();
    if text.is_empty() || text.chars().count() > LONGEST || hidden {
        return Err(wrong());
    }
    Ok(text.to_owned())
}

/// The same, or nothing: null and the empty text mean that there is none.
pub(super) fn optional(name: &str, value: &Value) -> Result<Option<String>, ScimError> {
    match value {
        Value::Null => Ok(None),
        Value::String(empty) if empty.is_empty() => Ok(None),
        Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => text(name, value).map(Some),
    }
}

/// `userName`: people are known by their e-mail addresses here.
pub(super) fn email(value: &Value) -> Result<String, ScimError> {
    let wrong = || ScimError::value("userName: expected an e-mail address");
    let text = text("userName", value).map_err(|_| wrong())?.to_lowercase();
    let (local, domain) = text.split_once('@').ok_or_else(wrong)?;
    let plain = |part: &str| {
        !part.is_empty() && !part.contains(|c: char| c.is_whitespace() || "@<>\"(),:;".contains(c))
    };
    if plain(local) && plain(domain) { Ok(text) } else { Err(wrong()) }
}

/// The ids in a `members` value: `[{"value": "..."}, ...]`, or one of them.
pub(super) fn members(value: &Value) -> Result<Vec<Uuid>, ScimError> {
    let wrong = || ScimError::value("members: expected a list of {\"value\": \"<id of a user>\"}");
    let items = match value {
        Value::Array(items) => items.as_slice(),
        Value::Object(_) => std::slice::from_ref(value),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            return Err(wrong());
        }
    };
    let id = |item: &Value| {
        let id = member(item.as_object()?, "value")?.as_str()?;
        Uuid::parse_str(id).ok()
    };
    items.iter().map(|item| id(item).ok_or_else(wrong)).collect()
}
