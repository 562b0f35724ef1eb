//! What a modern request's headers claim must be what its body says: proxies and policies in front of us
//! may have decided on the headers.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName};

use crate::json::{Json, Kind};

use super::{Call, Method};

/// `MCP-Protocol-Version`
pub const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// `Mcp-Method`
pub const METHOD: HeaderName = HeaderName::from_static("mcp-method");
/// `Mcp-Name`
pub const NAME: HeaderName = HeaderName::from_static("mcp-name");
/// `Mcp-Session-Id`
pub const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
/// `Last-Event-ID`
pub const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// The prefix of `Mcp-Param-*`.
pub const PARAM_PREFIX: &str = "mcp-param-";

/// A header that is missing, doubled, malformed or differs; says which and what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Mismatch(pub String);

/// Compares a modern request's standard headers with its body.
pub fn compare(headers: &HeaderMap, call: &Call) -> Result<(), Mismatch> {
    expect(headers, &PROTOCOL_VERSION, call.version.as_deref().unwrap_or_default())?;
    expect(headers, &METHOD, &call.method_name)?;
    let named = matches!(
        call.method,
        Some(Method::CallTool | Method::GetPrompt | Method::ReadResource | Method::Task)
    );
    match &call.target {
        Some(target) if named => expect(headers, &NAME, target),
        _ => Ok(()),
    }
}

/// Compares `Mcp-Param-*` with a tool call's arguments: the definition's `x-mcp-header` members say which
/// of them a header must repeat, with the same value.
pub fn compare_params(
    headers: &HeaderMap,
    arguments: Option<Json<'_>>,
    definition: Option<Json<'_>>,
) -> Result<(), Mismatch> {
    let Some(schema) = definition.and_then(|d| d.get("inputSchema")) else { return Ok(()) };
    let mut annotated = Vec::new();
    collect_annotated(schema, &mut Vec::new(), &mut annotated);
    for (suffix, path) in annotated {
        let name = format!("{PARAM_PREFIX}{}", suffix.to_ascii_lowercase());
        let Ok(name) = HeaderName::try_from(name) else { continue };
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let value = arguments.and_then(|a| a.at(&path)).filter(|v| v.kind() != Kind::Null);
        match (single(headers, &name)?, value) {
            (None, None) => {}
            (Some(_), None) => {
                return Err(Mismatch(format!("{name}: the body has no such argument")));
            }
            (None, Some(_)) => return Err(Mismatch(format!("{name}: missing"))),
            (Some(found), Some(value)) if same(&found, value) => {}
            (Some(_), Some(_)) => {
                return Err(Mismatch(format!("{name}: differs from the argument")));
            }
        }
    }
    Ok(())
}

/// The single value of a header, decoded.
fn single(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>, Mismatch> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Mismatch(format!("{name}: sent twice, expected once")));
    }
    let text = value
        .to_str()
        .map_err(|_| Mismatch(format!("{name}: expected visible ASCII or =?base64?...?=")))?;
    decode(text).map(Some).ok_or_else(|| Mismatch(format!("{name}: malformed =?base64?...?=")))
}

/// Undoes `=?base64?...?=`; other text stays as it is. `None`: malformed.
pub fn decode(text: &str) -> Option<String> {
    let prefix = "=?base64?";
    let coded = text.get(..prefix.len()).is_some_and(|p| p.eq_ignore_ascii_case(prefix));
    match text.get(prefix.len()..).filter(|_| coded).and_then(|rest| rest.strip_suffix("?=")) {
        None => Some(text.to_owned()),
        Some(inner) => String::from_utf8(STANDARD.decode(inner).ok()?).ok(),
    }
}

fn expect(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> Result<(), Mismatch> {
    match single(headers, name)? {
        None => Err(Mismatch(format!("{name}: missing"))),
        Some(found) if found == wanted => Ok(()),
        Some(_) => Err(Mismatch(format!("{name}: differs from the body"))),
    }
}

/// Finds `x-mcp-header` in a schema's properties, however deep.
fn collect_annotated(
    schema: Json<'_>,
    path: &mut Vec<String>,
    out: &mut Vec<(String, Vec<String>)>,
) {
    let Some(properties) = schema.get("properties") else { return };
    for property in properties.members() {
        path.push(property.key.into_owned());
        if let Some(suffix) = property.value.get("x-mcp-header").and_then(|h| h.as_str()) {
            out.push((suffix.into_owned(), path.clone()));
        }
        collect_annotated(property.value, path, out);
        path.pop();
    }
}

/// Numbers compare as numbers (42.0 = 42), everything else as text.
fn same(header: &str, value: Json<'_>) -> bool {
    match value.kind() {
        Kind::String => value.as_str().is_some_and(|text| text == header),
        Kind::Number => {
            header == value.raw()
                || match (header.trim().parse::<f64>(), value.raw().parse::<f64>()) {
                    (Ok(a), Ok(b)) => a == b && a.abs() < 9_007_199_254_740_992.0,
                    _ => false,
                }
        }
        Kind::Bool => header == value.raw(),
        Kind::Null | Kind::Array | Kind::Object => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::{meta, understand};

    const DEFINITION: &str = r#"{"name":"q","inputSchema":{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"},"n":{"type":"number","x-mcp-header":"N"}}}}"#;

    fn check(headers: &[(&str, &str)], arguments: &str) -> Result<(), Mismatch> {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"_meta":{{"{}":"2026-07-28","{}":{{}}}},"name":"q","arguments":{arguments}}}}}"#,
            meta::PROTOCOL_VERSION,
            meta::CLIENT_CAPABILITIES
        );
        let call = understand(body.as_bytes(), None).unwrap();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        let arguments = call.arguments.clone().map(|span| Json::checked_before(&body[span]));
        compare(&map, &call)?;
        compare_params(&map, arguments, Some(Json::checked_before(DEFINITION)))
    }

    #[test]
    fn headers_must_say_what_the_body_says() {
        let base = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call")];
        let with = |more: &[(&'static str, &'static str)]| [&base[..], more].concat();
        let ok: &[(Vec<_>, &str)] = &[
            (with(&[("mcp-name", "q")]), "{}"),
            (with(&[("mcp-name", "=?base64?cQ==?=")]), "{}"),
            (with(&[("mcp-name", "q"), ("mcp-param-n", "42.0")]), r#"{"n":42}"#),
            (with(&[("mcp-name", "q"), ("mcp-param-region", "eu")]), r#"{"region":"eu"}"#),
            (with(&[("mcp-name", "q"), ("mcp-param-other", "x")]), "{}"),
        ];
        for (headers, arguments) in ok {
            assert_eq!(check(headers, arguments), Ok(()), "{headers:?} {arguments}");
        }
        let bad: &[(Vec<_>, &str, &str)] = &[
            (with(&[]), "{}", "mcp-name: missing"),
            (with(&[("mcp-name", "Q")]), "{}", "mcp-name: differs"),
            (with(&[("mcp-name", "q"), ("mcp-name", "q")]), "{}", "twice"),
            (with(&[("mcp-name", "=?base64?%%?=")]), "{}", "malformed"),
            (vec![("mcp-method", "tools/call")], "{}", "mcp-protocol-version: missing"),
            (
                vec![("mcp-protocol-version", "2026-07-28"), ("mcp-method", "Tools/Call")],
                "{}",
                "mcp-method: differs",
            ),
            (with(&[("mcp-name", "q")]), r#"{"region":"eu"}"#, "mcp-param-region: missing"),
            (
                with(&[("mcp-name", "q"), ("mcp-param-region", "us")]),
                r#"{"region":"eu"}"#,
                "differs",
            ),
            (with(&[("mcp-name", "q"), ("mcp-param-region", "us")]), "{}", "no such argument"),
            (with(&[("mcp-name", "q"), ("mcp-param-n", "42.5")]), r#"{"n":42}"#, "differs"),
        ];
        for (headers, arguments, part) in bad {
            let error = check(headers, arguments).unwrap_err();
            assert!(error.0.contains(part), "{headers:?}: {error}");
        }
    }
}
