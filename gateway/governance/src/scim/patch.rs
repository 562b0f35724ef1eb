//! PATCH (RFC 7644 section 3.5.2): its operations in order, each as an attribute, perhaps a filter on its
//! values, and what to do with it.

use serde_json::{Map, Value};

use super::error::ScimError;
use super::read::{attribute, member};

/// Most operations of one request.
const MOST: usize = 1000;

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Add,
    Replace,
    Remove,
}

/// One operation on one attribute.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Step {
    pub(super) op: Op,
    /// In lower case, without its schema: `active`, `name.givenname`, `members`.
    pub(super) attribute: String,
    /// Of `members[value eq "..."]`: that value.
    pub(super) chosen: Option<String>,
    pub(super) value: Value,
}

/// Reads the operations.
pub(super) fn steps(body: &Map<String, Value>) -> Result<Vec<Step>, ScimError> {
    let operations = member(body, "Operations").and_then(Value::as_array);
    let operations = operations.filter(|list| !list.is_empty() && list.len() <= MOST);
    let expected = || ScimError::syntax(format!("Operations: expected 1 to {MOST} operations"));
    let mut steps = Vec::new();
    for operation in operations.ok_or_else(expected)? {
        let operation = operation.as_object().ok_or_else(expected)?;
        let op = match member(operation, "op").and_then(Value::as_str) {
            Some(op) if op.eq_ignore_ascii_case("add") => Op::Add,
            Some(op) if op.eq_ignore_ascii_case("replace") => Op::Replace,
            Some(op) if op.eq_ignore_ascii_case("remove") => Op::Remove,
            _ => return Err(ScimError::syntax("op: expected add, replace or remove")),
        };
        let value = member(operation, "value").cloned().unwrap_or(Value::Null);
        match member(operation, "path") {
            None | Some(Value::Null) => without_path(op, &value, &mut steps)?,
            Some(path) => {
                let path = path.as_str().ok_or_else(|| ScimError::path("path: expected a text"))?;
                let (attribute, chosen) = parse(path)?;
                steps.push(Step { op, attribute, chosen, value });
            }
        }
    }
    Ok(steps)
}

/// Without a path the value says it all: each of its members is an attribute, nested ones too.
fn without_path(op: Op, value: &Value, steps: &mut Vec<Step>) -> Result<(), ScimError> {
    if op == Op::Remove {
        let detail = "path: missing; remove needs one";
        return Err(ScimError { kind: Some("noTarget"), ..ScimError::path(detail) });
    }
    let members = value.as_object();
    let members = members.ok_or_else(|| ScimError::value("value: expected an object"))?;
    for (name, value) in members {
        match (parse(name), value) {
            // {"name": {"givenName": ...}} is the same as {"name.givenName": ...}.
            (Ok((outer, None)), Value::Object(inner)) if outer == "name" => {
                let nested = inner.iter().map(|(name, value)| Step {
                    op,
                    attribute: format!("name.{}", name.to_ascii_lowercase()),
                    chosen: None,
                    value: value.clone(),
                });
                steps.extend(nested);
            }
            (Ok((attribute, chosen)), value) => {
                steps.push(Step { op, attribute, chosen, value: value.clone() });
            }
            // Attributes of extensions, which nobody here keeps.
            (Err(_), _) if name.starts_with("urn:") => {}
            (Err(error), _) => return Err(error),
        }
    }
    Ok(())
}

/// `active`, `name.givenName`, `emails[type eq "work"].value`, `members[value eq "..."]`.
fn parse(path: &str) -> Result<(String, Option<String>), ScimError> {
    let wrong = || {
        let detail = "path: expected an attribute, or members[value eq \"<id>\"]";
        ScimError::path(detail)
    };
    let path = attribute(path.trim());
    let plain = |text: &str| {
        let legal = |c: char| c.is_ascii_alphanumeric() || "_-$.:".contains(c);
        !text.is_empty() && text.chars().all(legal)
    };
    let Some((outer, rest)) = path.split_once('[') else {
        return if plain(path) { Ok((path.to_ascii_lowercase(), None)) } else { Err(wrong()) };
    };
    let (filter, below) = rest.rsplit_once(']').ok_or_else(wrong)?;
    if !plain(outer) || !(below.is_empty() || below.strip_prefix('.').is_some_and(plain)) {
        return Err(wrong());
    }
    let mut words = filter.trim().splitn(3, ' ');
    let (name, operator) = (words.next(), words.next());
    let value = words.next().and_then(|text| serde_json::from_str::<Value>(text.trim()).ok());
    let eq = operator.is_some_and(|operator| operator.eq_ignore_ascii_case("eq"));
    let (Some(name), true, Some(value)) = (name, eq, value) else { return Err(wrong()) };
    let outer = outer.to_ascii_lowercase();
    if outer != "members" {
        // Addresses, phones and roles by type: kept by nobody here.
        return Ok((format!("{outer}{}", below.to_ascii_lowercase()), None));
    }
    let by_value = name.eq_ignore_ascii_case("value") && below.is_empty();
    let chosen = value.as_str().filter(|_| by_value).ok_or_else(wrong)?;
    Ok((outer, Some(chosen.to_owned())))
}
