//! Headers that must say what the body says: what passes repeats the body's values, once each.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gateway_core::json::Json;
use gateway_core::mcp::{Call, Method, headers, understand};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use super::Target;

pub(super) const TARGET: Target = Target {
    name: "headers",
    run,
    inputs: 40_000,
    words: &[
        b"mcp-name: ",
        b"mcp-method: ",
        b"mcp-protocol-version: ",
        b"mcp-param-n: ",
        b"mcp-param-region: ",
        b"=?base64?",
        b"?=",
        b"\n",
        b"2026-07-28",
        b"tools/call",
        b"42.0",
        b"\"n\":",
        b"\"region\":",
        b"cQ==",
        b"null",
        b"NaN",
        b"inf",
        b" 42",
        b"4.2e1",
    ],
};

const DEFINITION: &str = r#"{"inputSchema":{"properties":{"region":{"type":"string","x-mcp-header":"Region"},
    "n":{"type":"number","x-mcp-header":"N"}}}}"#;

/// Lines `name: value`, an empty line, a body.
fn run(input: &[u8]) {
    let Some(split) = input.windows(2).position(|pair| pair == b"\n\n") else { return };
    let (head, body) = (&input[..split], &input[split + 2..]);
    let mut map = HeaderMap::new();
    for line in head.split(|byte| *byte == b'\n') {
        let Some(colon) = line.windows(2).position(|pair| pair == b": ") else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(&line[colon + 2..])) {
            map.append(name, value);
        }
    }
    let Ok(call) = understand(body, None) else { return };
    let said: Value = match serde_json::from_slice(body) {
        Ok(said) => said,
        Err(_) => return,
    };
    if headers::compare(&map, &call).is_ok() {
        standard_headers(&map, &call, &said);
    }
    let text = std::str::from_utf8(body).unwrap();
    let arguments = call.arguments.clone().map(|span| Json::checked_before(&text[span]));
    if headers::compare_params(&map, arguments, Some(Json::checked_before(DEFINITION))).is_ok() {
        let arguments = &said["params"]["arguments"];
        if call.arguments.is_some() {
            annotated(&map, "mcp-param-region", &arguments["region"]);
            annotated(&map, "mcp-param-n", &arguments["n"]);
        }
    }
}

fn standard_headers(map: &HeaderMap, call: &Call, said: &Value) {
    let method = said["method"].as_str().unwrap_or_default();
    repeats(map, "mcp-method", method);
    let version = &said["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"];
    repeats(map, "mcp-protocol-version", version.as_str().unwrap_or_default());
    let member = match call.method {
        Some(Method::CallTool | Method::GetPrompt) => "name",
        Some(Method::ReadResource) => "uri",
        Some(Method::Task) => "taskId",
        _ => return,
    };
    repeats(map, "mcp-name", said["params"][member].as_str().unwrap());
}

fn only<'a>(map: &'a HeaderMap, name: &str) -> &'a [u8] {
    let values: Vec<_> = map.get_all(name).iter().collect();
    assert_eq!(values.len(), 1, "{name}: {values:?}");
    values[0].as_bytes()
}

/// Once, plain or as base64 of exactly that.
fn repeats(map: &HeaderMap, name: &str, wanted: &str) {
    let sent = only(map, name);
    let coded = format!("{}?=", STANDARD.encode(wanted));
    let is_coded = sent.split_at_checked("=?base64?".len()).is_some_and(|(prefix, rest)| {
        prefix.eq_ignore_ascii_case(b"=?base64?") && rest == coded.as_bytes()
    });
    let same = sent == wanted.as_bytes() || is_coded;
    assert!(same, "{name}: {:?} for {wanted:?}", sent.escape_ascii().to_string());
}

fn annotated(map: &HeaderMap, name: &str, value: &Value) {
    match value {
        Value::Null => assert!(!map.contains_key(name), "{name} repeats nothing"),
        Value::String(text) => repeats(map, name, text),
        Value::Number(number) => {
            let sent = headers::decode(std::str::from_utf8(only(map, name)).unwrap()).unwrap();
            let sent: f64 = sent.trim().parse().unwrap();
            assert!(
                (sent - number.as_f64().unwrap()).abs() <= sent.abs() * f64::EPSILON,
                "{sent} for {number}"
            );
        }
        Value::Bool(truth) => repeats(map, name, &truth.to_string()),
        Value::Array(_) | Value::Object(_) => panic!("{name} cannot repeat {value}"),
    }
}
