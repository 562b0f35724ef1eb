//! The arguments of a REST request: parameters of the path, then of the query, then the members of a JSON
//! body. Each may be given in one place only.

use gateway_core::json::{Json, Kind};
use gateway_core::reason::Reason;
use http::header::CONTENT_TYPE;
use serde_json::{Map, Value};

use super::super::arguments::Misfit;
use crate::exchange::Exchange;

/// Why the arguments cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable {
    pub(super) reason: Reason,
    pub(super) detail: String,
}

impl From<Misfit> for Unreadable {
    fn from(misfit: Misfit) -> Unreadable {
        Unreadable { reason: Reason::InvalidParams, detail: misfit.to_string() }
    }
}

/// Reads the arguments; `schema` says what the text of a query parameter means.
pub(super) fn read(
    exchange: &Exchange,
    parameters: &[(&'static str, &str)],
    schema: &Value,
) -> Result<Map<String, Value>, Unreadable> {
    let mut arguments = Map::new();
    for (name, value) in parameters {
        let decoded = percent_encoding::percent_decode_str(value).decode_utf8();
        let decoded = decoded.map_err(|_| Misfit::new(*name, "expected UTF-8, percent-encoded"))?;
        arguments.insert((*name).into(), Value::String(decoded.into_owned()));
    }
    query(exchange.query.as_deref().unwrap_or_default(), schema, &mut arguments)?;
    if exchange.method != http::Method::GET {
        for (name, value) in body(exchange)? {
            insert(&mut arguments, name, value)?;
        }
    }
    Ok(arguments)
}

fn query(text: &str, schema: &Value, arguments: &mut Map<String, Value>) -> Result<(), Misfit> {
    for (name, text) in url::form_urlencoded::parse(text.as_bytes()) {
        let property = schema.pointer(&format!("/properties/{}", name.replace('/', "~1")));
        let kind = property.and_then(|p| p.get("type")).and_then(Value::as_str);
        if kind == Some("array") {
            let more = text.split(',').filter(|item| !item.is_empty()).map(Value::from);
            match arguments.entry(name.into_owned()).or_insert_with(|| Value::Array(Vec::new())) {
                Value::Array(items) => items.extend(more),
                Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::String(_)
                | Value::Object(_) => {}
            }
            continue;
        }
        let value = match kind {
            Some("integer") => {
                text.parse::<i64>().map_or_else(|_| text.as_ref().into(), Value::from)
            }
            Some("boolean") => {
                text.parse::<bool>().map_or_else(|_| text.as_ref().into(), Value::from)
            }
            Some(_) | None => Value::from(text.as_ref()),
        };
        insert(arguments, name.into_owned(), value)?;
    }
    Ok(())
}

fn insert(arguments: &mut Map<String, Value>, name: String, value: Value) -> Result<(), Misfit> {
    if arguments.contains_key(&name) {
        return Err(Misfit::new(name, "given twice; once is expected"));
    }
    arguments.insert(name, value);
    Ok(())
}

fn body(exchange: &Exchange) -> Result<Map<String, Value>, Unreadable> {
    // A deletion says all in its address. No page of another origin can send one unasked.
    if exchange.method == http::Method::DELETE && exchange.body.is_empty() {
        return Ok(Map::new());
    }
    let kind = exchange.header(CONTENT_TYPE.as_str()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        let detail = "Content-Type: expected application/json".to_owned();
        return Err(Unreadable { reason: Reason::UnsupportedMediaType, detail });
    }
    let invalid = |detail: String| Unreadable { reason: Reason::InvalidJson, detail };
    let json = Json::parse(&exchange.body).map_err(|error| invalid(format!("body: {error}")))?;
    if json.kind() != Kind::Object {
        let detail = "body: expected a JSON object".to_owned();
        return Err(Unreadable { reason: Reason::InvalidParams, detail });
    }
    serde_json::from_str(json.raw()).map_err(|error| invalid(format!("body: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::Early;
    use serde_json::json;

    fn read_from(method: &str, query: &str, kind: &str, body: &str) -> Result<Value, String> {
        let mut headers = http::HeaderMap::new();
        headers.insert(CONTENT_TYPE, kind.parse().unwrap());
        let exchange = Exchange {
            method: method.parse().unwrap(),
            path: String::new(),
            query: Some(query.into()),
            headers,
            peer: std::net::IpAddr::from([127, 0, 0, 1]),
            body: body.to_owned().into(),
            early: Early::closed(),
            turn: Default::default(),
        };
        let schema = json!({"properties": {
            "limit": {"type": "integer"}, "kinds": {"type": "array"}, "confirm": {"type": "boolean"}
        }});
        read(&exchange, &[("server_id", "tickets")], &schema)
            .map(Value::Object)
            .map_err(|unreadable| format!("{} {}", unreadable.reason, unreadable.detail))
    }

    #[test]
    fn arguments_come_from_path_query_and_body() {
        let get = |query| read_from("GET", query, "text/plain", "ignored");
        let read = get("limit=5&kinds=a,b&kinds=c&q=a%20b").unwrap();
        let expected =
            json!({"server_id": "tickets", "limit": 5, "kinds": ["a", "b", "c"], "q": "a b"});
        assert_eq!(read, expected);
        assert_eq!(get("limit=x").unwrap()["limit"], "x");
        assert_eq!(get("q=1&q=2").unwrap_err(), "invalid_params q: given twice; once is expected");
        assert!(get("server_id=other").unwrap_err().contains("given twice"));
    }

    #[test]
    fn a_name_in_the_path_may_be_encoded() {
        let named = |value: &str| {
            let mut exchange = Exchange {
                method: http::Method::GET,
                path: String::new(),
                query: None,
                headers: http::HeaderMap::new(),
                peer: std::net::IpAddr::from([127, 0, 0, 1]),
                body: bytes::Bytes::new(),
                early: Early::closed(),
                turn: Default::default(),
            };
            exchange.path.push('/');
            read(&exchange, &[("name", value)], &json!({})).map(|read| read["name"].clone())
        };
        assert_eq!(named("a%20b%2Fc+d%25"), Ok(json!("a b/c+d%")));
        assert_eq!(named("%zz"), Ok(json!("%zz")));
        assert_eq!(named("%FF").unwrap_err().reason, Reason::InvalidParams);
    }

    #[test]
    fn bodies_are_strict_json_objects() {
        let put = |kind, body| read_from("PUT", "", kind, body);
        let kind = "application/json";
        assert_eq!(put(kind, r#"{"confirm":true}"#).unwrap()["confirm"], true);
        let long = "application/json; charset=utf-8";
        assert_eq!(put(long, r#"{"confirm":"true"}"#).unwrap()["confirm"], "true");
        let cases = [
            (kind, r#"{"a":1,"a":2}"#, "invalid_json body: duplicate key"),
            (kind, "", "invalid_json body"),
            (kind, "[]", "invalid_params body: expected a JSON object"),
            (kind, r#"{"server_id":"other"}"#, "invalid_params server_id: given twice"),
            ("text/plain", "{}", "unsupported_media_type Content-Type"),
        ];
        let delete = |kind, body| read_from("DELETE", "", kind, body);
        assert_eq!(delete("text/plain", "").unwrap(), json!({"server_id": "tickets"}));
        assert!(delete("text/plain", "{}").is_err());
        for (kind, body, expected) in cases {
            let error = put(kind, body).unwrap_err();
            assert!(error.starts_with(expected), "{body}: {error}");
        }
    }
}
