//! What a body says as serde reads it, which is what a Rust server has, against what the gateway decided on.

use gateway_core::json::{Json, Kind};
use gateway_core::mcp::{Call, Method};
use serde_json::Value;

/// Whether serde, which decides what a Rust server reads, finds the very call that was decided on. It refuses numbers
/// beyond a double, which is no other reading.
pub(crate) fn agrees_with_serde(call: &Call, body: &[u8]) -> Result<(), String> {
    let message: Value = match serde_json::from_slice(body) {
        Ok(message) => message,
        Err(error) if error.to_string().starts_with("number out of range") => return Ok(()),
        Err(error) => return Err(format!("serde refuses it: {error}")),
    };
    let source = std::str::from_utf8(body).unwrap();
    let params = message.get("params");
    let params_are = match (call.params.clone(), params) {
        (None, None) => true,
        (Some(span), Some(params)) => same(Json::checked_before(&source[span]), params),
        (Some(_), None) | (None, Some(_)) => false,
    };
    let member = |name: &str| params.and_then(|params| params.get(name));
    let target = call.method.and_then(Method::target_member).and_then(member);
    let arguments = call.arguments.clone().map(|span| Json::checked_before(&source[span]));
    let arguments_are = match (arguments, member("arguments")) {
        (Some(ours), Some(theirs)) => same(ours, theirs),
        (None, Some(_)) => call.method.and_then(Method::target_member).is_none(),
        (ours, None) => ours.is_none(),
    };
    let checks = [
        (
            "method",
            message.get("method").and_then(Value::as_str).unwrap_or_default() == call.method_name,
        ),
        ("params", params_are),
        ("target", target.and_then(Value::as_str) == call.target.as_deref()),
        ("arguments", arguments_are),
        ("twins", !has_twins(&message)),
    ];
    match checks.iter().find(|(_, holds)| !holds) {
        None => Ok(()),
        Some((what, _)) => Err(format!("serde reads other {what}: {message}")),
    }
}

/// Equal values. serde's numbers may be off by the last bits.
fn same(ours: Json<'_>, theirs: &Value) -> bool {
    match theirs {
        Value::Null => ours.kind() == Kind::Null,
        Value::Bool(truth) => ours.as_bool() == Some(*truth),
        Value::String(text) => ours.as_str().as_deref() == Some(text),
        Value::Number(number) => {
            let near = |a: f64, b: f64| a == b || a.to_bits().abs_diff(b.to_bits()) <= 4;
            let ours = ours.as_number().and_then(|source| source.parse().ok());
            ours.is_some_and(|ours| near(ours, number.as_f64().unwrap_or(f64::NAN)))
        }
        Value::Array(items) => {
            let elements: Vec<_> = ours.elements().collect();
            ours.kind() == Kind::Array
                && elements.len() == items.len()
                && elements.iter().zip(items).all(|(ours, theirs)| same(*ours, theirs))
        }
        Value::Object(members) => {
            ours.kind() == Kind::Object
                && ours.members().count() == members.len()
                && ours.members().all(|m| members.get(&*m.key).is_some_and(|v| same(m.value, v)))
        }
    }
}

/// Whether a reader that ignores case, as Go's, could take another member for one that was decided on.
fn has_twins(message: &Value) -> bool {
    let fold = |key: &str| key.to_lowercase().replace('ſ', "s");
    let twins = |object: Option<&Value>, names: &[&str]| {
        let keys = object.and_then(Value::as_object).into_iter().flat_map(|object| object.keys());
        keys.into_iter().any(|key| {
            !names.contains(&key.as_str()) && names.iter().any(|name| fold(key) == fold(name))
        })
    };
    twins(Some(message), &["jsonrpc", "id", "method", "params"])
        || (message.get("method").is_some()
            && twins(message.get("params"), &["name", "uri", "taskId", "arguments", "_meta"]))
}
