//! The OpenAPI document, made from the routes, the tools' texts and the schemas of arguments and answers, so that
//! it cannot say anything else than what the gateway does.

use serde_json::{Map, Value, json};

use super::super::arguments::{self, Arguments};
use super::super::tools::table;
use super::routes::{Access, Does, ROUTES, Route, name_of};

/// The document.
pub fn document(public_url: &str) -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let item = paths.entry(route.path).or_insert_with(|| json!({}));
        item[route.method.to_lowercase()] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Runlayer gateway",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "One route per operation. Lists take limit and cursor and answer {data, next_cursor}; times are RFC 3339 UTC; errors are {detail, reason, correlation_id}.",
        },
        "servers": [{"url": public_url}],
        "security": [{"api_key": []}, {"bearer": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "api_key": {"type": "apiKey", "in": "header", "name": "x-runlayer-api-key"},
                "bearer": {"type": "http", "scheme": "bearer", "description": "An rl_ key or a JWT of a configured issuer."},
            },
            "schemas": {"Error": error_schema()},
            "responses": {"Error": {
                "description": "Refused or failed: `reason` is stable, `detail` says what to do.",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
            }},
        },
    })
}

fn operation(route: &Route) -> Value {
    let parameters: Vec<Value> = names(route).iter().map(|name| path_parameter(name)).collect();
    let error = json!({"$ref": "#/components/responses/Error"});
    let Does::Operation(name) = route.does else {
        return json!({
            "summary": "A public document", "security": [], "parameters": parameters,
            "responses": {"200": {"description": "The document.", "content": {"application/json": {}}}},
        });
    };
    let entry = table::find(name);
    let title = entry.map_or(name, |entry| entry.title);
    let mut operation = json!({
        "operationId": name, "summary": title,
        "description": entry.map_or("", |entry| entry.description),
        "x-access": access(route.access),
        "parameters": parameters,
        "responses": {
            "200": {"description": "Done.", "content": contents(name)},
            "default": error,
        },
    });
    if let Some(arguments) = arguments::of(name) {
        add_arguments(&mut operation, route, arguments);
    }
    operation
}

/// What is not in the path is in the query of a GET, else in the body.
fn add_arguments(operation: &mut Value, route: &Route, arguments: &Arguments) {
    let mut schema = arguments.schema().clone();
    let required: Vec<Value> =
        schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    let in_path = names(route);
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.retain(|name, _| !in_path.contains(&name.as_str()));
    }
    if route.method == "GET" {
        let query =
            schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
        if let Some(Value::Array(parameters)) = operation.get_mut("parameters") {
            parameters.extend(query.into_iter().map(|(name, property)| {
                let required = required.contains(&Value::from(name.as_str()));
                json!({"name": name, "in": "query", "required": required, "schema": property})
            }));
        }
        return;
    }
    let required: Vec<Value> = required
        .into_iter()
        .filter(|name| name.as_str().is_some_and(|name| !in_path.contains(&name)))
        .collect();
    schema["required"] = Value::Array(required);
    operation["requestBody"] =
        json!({"required": true, "content": {"application/json": {"schema": schema}}});
}

fn answer_schema(operation: &str) -> Value {
    arguments::of(operation).map_or(Value::Bool(true), |arguments| arguments.answer().clone())
}

/// What is exported comes as CSV, too: the member `csv` alone.
fn contents(operation: &str) -> Value {
    let schema = answer_schema(operation);
    let table = schema.pointer("/properties/csv").map(|_| json!({"schema": {"type": "string"}}));
    let mut contents = json!({"application/json": {"schema": schema}});
    if let Some(table) = table {
        contents["text/csv"] = table;
    }
    contents
}

fn names(route: &Route) -> Vec<&'static str> {
    route.path.split('/').filter_map(name_of).collect()
}

fn path_parameter(name: &str) -> Value {
    json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}})
}

fn access(access: Access) -> &'static str {
    match access {
        Access::Anonymous => "anonymous",
        Access::User => "user",
        Access::Concerned => "concerned",
        Access::Asked => "asked",
        Access::Owner => "owner",
        Access::OthersDecide => "others_decide",
        Access::Admin => "admin",
    }
}

fn error_schema() -> Value {
    let text = json!({"type": "string"});
    json!({
        "type": "object",
        "properties": {"detail": text, "reason": text, "correlation_id": text},
        "required": ["detail", "reason", "correlation_id"],
    })
}
