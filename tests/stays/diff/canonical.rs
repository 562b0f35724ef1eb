//! What the gateway read when it decided, in the spelling of `reader.py`.

use gateway_core::json::{Json, Kind};
use gateway_core::mcp::Call;
use serde_json::Value;

/// Id, method and params: members sorted, numbers as the bits of a double.
pub(super) fn of_call(call: &Call, body: &str) -> String {
    let mut parts = Vec::new();
    if let Some(id) = &call.id {
        parts.push(format!("\"id\":{}", of(Json::checked_before(id))));
    }
    if !call.method_name.is_empty() {
        parts.push(format!("\"method\":{}", text(&call.method_name)));
    }
    if let Some(params) = call.params.clone() {
        parts.push(format!("\"params\":{}", of(Json::checked_before(&body[params]))));
    }
    format!("{{{}}}", parts.join(","))
}

fn of(json: Json<'_>) -> String {
    match json.kind() {
        Kind::Null | Kind::Bool => json.raw().to_owned(),
        Kind::Number => format!("#{:016x}", json.raw().parse::<f64>().unwrap().to_bits()),
        Kind::String => text(&json.as_str().unwrap()),
        Kind::Array => {
            let items: Vec<String> = json.elements().map(of).collect();
            format!("[{}]", items.join(","))
        }
        Kind::Object => {
            let mut members: Vec<_> = json.members().collect();
            members.sort_by(|a, b| a.key.cmp(&b.key));
            let members = members.iter().map(|m| format!("{}:{}", text(&m.key), of(m.value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
    }
}

fn text(text: &str) -> String {
    Value::from(text).to_string()
}
