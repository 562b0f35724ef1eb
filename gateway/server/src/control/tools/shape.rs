//! What of an operation's schemas a model is shown. The whole list is read at the start of every chat, so it
//! must stay cheap: REST's OpenAPI document keeps what is left out here.

use serde_json::{Map, Value, json};

/// What many tools share: words for it are in the server's instructions.
const SHARED: [(&str, Option<&str>); 3] =
    [("confirm", Some("without it: a preview")), ("limit", None), ("cursor", None)];

/// Members of an answer that are named; what has more is a record whose names speak for themselves.
const NAMED: usize = 6;

/// The arguments, as they are checked; of each description the first clause.
pub(super) fn arguments(schema: &Value) -> Map<String, Value> {
    let mut schema = schema.clone();
    first_clauses(&mut schema, 0);
    let mut members = schema.as_object().cloned().unwrap_or_default();
    if let Some(Value::Object(properties)) = members.get_mut("properties") {
        for (name, words) in SHARED {
            if let Some(property) = properties.get_mut(name) {
                *property = match words {
                    Some(words) => json!({"type": property["type"], "description": words}),
                    None => json!({"type": property["type"]}),
                };
            }
        }
    }
    members
}

fn first_clauses(schema: &mut Value, depth: usize) {
    match schema {
        Value::Object(members) => {
            if let Some(Value::String(text)) = members.get_mut("description") {
                *text = first_clause(text);
            }
            // Said once, at the top; what is inside is checked as strictly.
            if depth > 0 && members.get("additionalProperties") == Some(&Value::Bool(false)) {
                members.remove("additionalProperties");
            }
            members.values_mut().for_each(|member| first_clauses(member, depth + 1));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| first_clauses(item, depth + 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn first_clause(text: &str) -> String {
    let plain = text.replace('\n', " ").replace('`', "");
    let first = plain.split(". ").next().unwrap_or_default().split("; ").next().unwrap_or_default();
    let first = first.trim_end_matches('.');
    match first.rsplit_once(" (") {
        Some((before, _)) if first.ends_with(')') => before.to_owned(),
        Some(_) | None => first.to_owned(),
    }
}

/// The answer: the names of its members. What is no plain value says what it is; rows speak for themselves.
pub(super) fn answer(schema: &Value) -> Map<String, Value> {
    let properties = schema.get("properties").and_then(Value::as_object);
    // Any answer may carry a note; a model needs no schema to read one.
    let members = properties.into_iter().flatten().filter(|(name, _)| *name != "note");
    let named: Map<String, Value> =
        members.map(|(name, member)| (name.clone(), plain(member))).collect();
    let mut answer = Map::from_iter([("type".to_owned(), json!("object"))]);
    // Every list comes in the same pages, which the server's instructions name.
    let page = named.keys().eq(["data", "next_cursor"]);
    if named.len() <= NAMED && !page {
        answer.insert("properties".to_owned(), Value::Object(named));
    }
    answer
}

fn plain(member: &Value) -> Value {
    match member.get("type") {
        Some(Value::String(kind)) if kind == "array" || kind == "object" => json!({"type": kind}),
        Some(_) | None => json!({}),
    }
}
