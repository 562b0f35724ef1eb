//! Checks arguments against their schema before they are read, so that every complaint names the argument
//! and says what was expected. Nothing is converted: the text `"true"` is not the boolean `true`.

use serde_json::{Map, Value};

/// An argument that does not fit its schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{argument}: {expected}")]
pub struct Misfit {
    /// Dotted path of the argument.
    pub argument: String,
    /// What was expected there.
    pub expected: String,
}

impl Misfit {
    /// With this complaint.
    pub fn new(argument: impl Into<String>, expected: impl Into<String>) -> Misfit {
        Misfit { argument: argument.into(), expected: expected.into() }
    }
}

/// Checks an object of arguments; the first misfit wins.
pub fn check(schema: &Value, arguments: &Map<String, Value>) -> Result<(), Misfit> {
    object(schema, arguments, "")
}

fn object(schema: &Value, members: &Map<String, Value>, path: &str) -> Result<(), Misfit> {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return Ok(());
    };
    for (name, value) in members {
        let place = join(path, name);
        match properties.get(name) {
            Some(property) => fits(property, value, &place)?,
            None if schema.get("additionalProperties") == Some(&Value::Bool(false)) => {
                let known: Vec<&str> = properties.keys().map(String::as_str).collect();
                let known = match gateway_core::located::nearest(name, &known) {
                    Some(near) => format!("did you mean \"{near}\"?"),
                    None if known.is_empty() => "this takes no arguments".into(),
                    None => format!("known are {}", known.join(", ")),
                };
                return Err(Misfit::new(place, format!("no such argument; {known}")));
            }
            None => {}
        }
    }
    let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
    match required.filter_map(Value::as_str).find(|name| !members.contains_key(*name)) {
        Some(missing) => Err(Misfit::new(join(path, missing), "required, but missing")),
        None => Ok(()),
    }
}

fn fits(schema: &Value, value: &Value, path: &str) -> Result<(), Misfit> {
    if let Some(choices) = schema.get("enum").and_then(Value::as_array) {
        return if choices.contains(value) {
            Ok(())
        } else {
            let names: Vec<&str> = choices.iter().filter_map(Value::as_str).collect();
            Err(Misfit::new(path, format!("expected one of {}", names.join(", "))))
        };
    }
    if let Some(choices) = schema.get("anyOf").and_then(Value::as_array) {
        let mut misfits = choices.iter().filter_map(|choice| fits(choice, value, path).err());
        return match (misfits.next(), misfits.count() + 1 < choices.len()) {
            (Some(misfit), false) => Err(misfit),
            (Some(_), true) | (None, _) => Ok(()),
        };
    }
    let kinds: Vec<&str> = match schema.get("type") {
        Some(Value::String(kind)) => vec![kind],
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
        Some(_) | None => return Ok(()),
    };
    if !kinds.iter().any(|kind| is_a(value, kind)) {
        let kinds: Vec<String> = kinds.into_iter().map(article).collect();
        let expected = format!("expected {}, not {}", kinds.join(" or "), name_of(value));
        return Err(Misfit::new(path, expected));
    }
    within(schema, value, path)?;
    if let (Some(items), Some(elements)) = (schema.get("items"), value.as_array()) {
        for (index, element) in elements.iter().enumerate() {
            fits(items, element, &join(path, &index.to_string()))?;
        }
    }
    match value.as_object() {
        Some(members) => object(schema, members, path),
        None => Ok(()),
    }
}

fn is_a(value: &Value, kind: &str) -> bool {
    match kind {
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        _ => true,
    }
}

fn within(schema: &Value, value: &Value, path: &str) -> Result<(), Misfit> {
    let bound = |name: &str| schema.get(name).and_then(Value::as_i64);
    if value.is_number() {
        let number = value.as_i64().unwrap_or(i64::MAX);
        if bound("minimum").is_some_and(|least| number < least) {
            return Err(Misfit::new(path, format!("at least {}", bound("minimum").unwrap_or(0))));
        }
        if bound("maximum").is_some_and(|most| number > most) {
            return Err(Misfit::new(path, format!("at most {}", bound("maximum").unwrap_or(0))));
        }
    }
    if let (Some(text), Some(most)) = (value.as_str(), bound("maxLength"))
        && i64::try_from(text.chars().count()).unwrap_or(i64::MAX) > most
    {
        return Err(Misfit::new(path, format!("at most {most} characters")));
    }
    Ok(())
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn article(kind: &str) -> String {
    match kind.as_bytes().first() {
        Some(b'a' | b'e' | b'i' | b'o') => format!("an {kind}"),
        Some(_) | None => format!("a {kind}"),
    }
}

fn name_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn misfits_name_the_argument_and_what_was_expected() {
        let schema = json!({
            "type": "object", "additionalProperties": false, "required": ["confirm"],
            "properties": {
                "confirm": {"type": "boolean"},
                "limit": {"type": "integer", "minimum": 1, "maximum": 200},
                "status": {"type": "string", "enum": ["active", "disabled"]},
                "kinds": {"type": "array", "items": {"type": "string", "maxLength": 3}},
                "free": {"type": "object"}
            }
        });
        let cases = [
            (json!({}), "confirm: required, but missing"),
            (json!({"confirm": "true"}), "confirm: expected a boolean, not a string"),
            (json!({"confirm": 1}), "confirm: expected a boolean, not a number"),
            (json!({"confirm": null}), "confirm: expected a boolean, not null"),
            (json!({"confirm": true, "limit": 0}), "limit: at least 1"),
            (json!({"confirm": true, "limit": 1e99}), "limit: expected an integer, not a number"),
            (json!({"confirm": true, "limit": u64::MAX}), "limit: at most 200"),
            (json!({"confirm": true, "status": "on"}), "status: expected one of active, disabled"),
            (json!({"confirm": true, "kinds": "a"}), "kinds: expected an array, not a string"),
            (
                json!({"confirm": true, "kinds": ["a", 1]}),
                "kinds.1: expected a string, not a number",
            ),
            (json!({"confirm": true, "kinds": ["abcd"]}), "kinds.0: at most 3 characters"),
            (
                json!({"confirm": true, "limt": 1}),
                "limt: no such argument; did you mean \"limit\"?",
            ),
        ];
        for (arguments, expected) in cases {
            let misfit = check(&schema, arguments.as_object().unwrap()).unwrap_err();
            assert_eq!(misfit.to_string(), expected, "{arguments}");
        }
        let good = json!({"confirm": false, "limit": 200, "kinds": ["a"], "free": {"x": [1]}});
        assert_eq!(check(&schema, good.as_object().unwrap()), Ok(()));
    }
}
