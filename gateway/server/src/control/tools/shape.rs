//! What of an operation's schemas a model is shown. The whole list is read at the start of every chat, so it
//! must stay cheap: REST's OpenAPI document keeps what is left out here.

use serde_json::{Map, Value, json};

/// One short sentence for what many tools share, instead of each one's own.
const SHARED: [(&str, &str); 3] = [
    ("confirm", "true makes the change; without it: a preview"),
    ("limit", "rows per page"),
    ("cursor", "next_cursor of the page before"),
];

/// The arguments, as they are checked.
pub(super) fn arguments(schema: &Value) -> Map<String, Value> {
    let mut members = schema.as_object().cloned().unwrap_or_default();
    if let Some(Value::Object(properties)) = members.get_mut("properties") {
        for (name, words) in SHARED {
            if let Some(property) = properties.get_mut(name) {
                *property = json!({"type": property["type"], "description": words});
            }
        }
    }
    members
}

/// The answer: the names of its members, and of a list's rows. What is no plain value says what it is; the
/// rest is left to the names.
pub(super) fn answer(schema: &Value) -> Map<String, Value> {
    let properties = schema.get("properties").and_then(Value::as_object);
    // Any answer may carry a note; a model needs no schema to read one.
    let members = properties.into_iter().flatten().filter(|(name, _)| *name != "note");
    let named = members.map(|(name, member)| match member.pointer("/items/properties") {
        Some(Value::Object(row)) if name == "data" => (name.clone(), rows(row)),
        Some(_) | None => (name.clone(), plain(member)),
    });
    let named: Map<String, Value> = named.collect();
    Map::from_iter([
        ("type".to_owned(), json!("object")),
        ("properties".to_owned(), Value::Object(named)),
    ])
}

fn rows(row: &Map<String, Value>) -> Value {
    let names: Map<String, Value> = row.keys().map(|name| (name.clone(), json!({}))).collect();
    json!({"type": "array", "items": {"type": "object", "properties": names}})
}

fn plain(member: &Value) -> Value {
    match member.get("type") {
        Some(Value::String(kind)) if kind == "array" || kind == "object" => json!({"type": kind}),
        Some(_) | None => json!({}),
    }
}
