//! JSON Schemas as clients like them: no references, no `null` for an argument that may simply be left out, no
//! number formats that only Rust knows.

use serde_json::{Map, Value, json};

/// A generated schema as plain JSON. `strict` drops `null` where a value is optional: right for what is asked,
/// wrong for what is answered.
pub(super) fn plain(schema: schemars::Schema, strict: bool) -> Value {
    let mut schema = schema.to_value();
    let definitions = match schema.as_object_mut() {
        Some(members) => {
            for name in ["$schema", "title", "description"] {
                members.remove(name);
            }
            members.remove("$defs").unwrap_or(Value::Null)
        }
        None => Value::Null,
    };
    simplify(&mut schema, &definitions, strict, 0);
    if let Some(members) = schema.as_object_mut() {
        members.remove("description");
        members.insert("type".into(), "object".into());
        members.entry("properties").or_insert_with(|| json!({}));
    }
    schema
}

fn simplify(schema: &mut Value, definitions: &Value, strict: bool, depth: usize) {
    if let Value::Array(items) = schema {
        items.iter_mut().for_each(|item| simplify(item, definitions, strict, depth));
    }
    let Value::Object(members) = schema else { return };
    if strict {
        drop_null(members);
    }
    // Types that hold themselves are written out to this depth, then anything goes.
    if let Some(Value::String(reference)) = members.remove("$ref")
        && depth < 8
    {
        let name = reference.rsplit('/').next().unwrap_or_default();
        for (name, value) in definitions.get(name).and_then(Value::as_object).into_iter().flatten()
        {
            members.entry(name.clone()).or_insert_with(|| value.clone());
        }
        return simplify(schema, definitions, strict, depth + 1);
    }
    drop_format(members);
    for (name, member) in members.iter_mut() {
        if !matches!(name.as_str(), "enum" | "const" | "default" | "examples" | "required") {
            simplify(member, definitions, strict, depth);
        }
    }
    choices_to_enum(members);
}

fn drop_format(members: &mut Map<String, Value>) {
    let format = members.get("format").and_then(Value::as_str).unwrap_or_default();
    if format.starts_with("uint") || format.starts_with("int") {
        members.remove("format");
    }
}

/// `[X, null]` becomes X, as a type, in an enumeration and among alternatives.
fn drop_null(members: &mut Map<String, Value>) {
    if members.get("default") == Some(&Value::Null) {
        members.remove("default");
    }
    if let Some(Value::Array(kinds)) = members.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [only] = kinds.as_slice() {
            let only = only.clone();
            members.insert("type".into(), only);
        }
    }
    if let Some(Value::Array(choices)) = members.get_mut("enum") {
        choices.retain(|choice| !choice.is_null());
    }
    let Some(Value::Array(choices)) = members.get_mut("anyOf") else { return };
    choices.retain(|choice| *choice != json!({"type": "null"}));
    if let [Value::Object(only)] = choices.as_slice() {
        let only = only.clone();
        members.remove("anyOf");
        for (name, value) in only {
            members.entry(name).or_insert(value);
        }
    }
}

/// An enumeration whose choices have descriptions comes as `oneOf` of constants.
fn choices_to_enum(members: &mut Map<String, Value>) {
    let Some(Value::Array(choices)) = members.get("oneOf") else { return };
    let constants: Option<Vec<Value>> = choices
        .iter()
        .flat_map(|choice| match choice.get("enum").and_then(Value::as_array) {
            Some(several) => several.iter().cloned().map(Some).collect(),
            None => vec![choice.get("const").cloned()],
        })
        .collect();
    if let Some(constants) = constants.filter(|all| all.iter().all(Value::is_string)) {
        members.remove("oneOf");
        members.insert("type".into(), "string".into());
        members.insert("enum".into(), Value::Array(constants));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemars::{JsonSchema, schema_for};

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is read")]
    struct Sample {
        /// How many.
        #[schemars(range(min = 1, max = 9))]
        limit: Option<u32>,
        /// Which.
        which: Option<Which>,
        others: Vec<Which>,
    }

    #[derive(JsonSchema)]
    #[schemars(rename_all = "snake_case")]
    #[expect(dead_code, reason = "only its schema is read")]
    enum Which {
        /// The first.
        One,
        /// The second.
        Two,
    }

    #[test]
    fn schemas_are_plain() {
        let schema = plain(schema_for!(Sample), true);
        let which = json!({"type": "string", "enum": ["one", "two"]});
        let expected = json!({
            "type": "object",
            "properties": {
                "limit": {"description": "How many.", "type": "integer", "minimum": 1, "maximum": 9},
                "which": {"description": "Which.", "type": "string", "enum": ["one", "two"]},
                "others": {"type": "array", "items": which}
            },
            "required": ["others"]
        });
        assert_eq!(schema, expected);
        let answer = plain(schema_for!(Sample), false);
        assert_eq!(answer["properties"]["limit"]["type"], json!(["integer", "null"]));
    }
}
