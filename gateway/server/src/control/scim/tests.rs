//! Provisioning over HTTP: who gets in, what comes back, what identity providers send.

use std::net::IpAddr;

use http::header::AUTHORIZATION;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::super::metadata::Metadata;
use super::super::testing::{Organisation, Person, SCIM_TOKEN};
use super::routes::{Does, ROUTES};
use super::*;
use crate::exchange::Early;

struct Face {
    organisation: Organisation,
    scim: Scim,
    rest: Rest,
}

struct Seen {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

impl Face {
    async fn start() -> Face {
        let organisation = Organisation::start().await;
        let url = "https://mcp.example.com";
        let scim = Scim::new(organisation.governance.clone(), url);
        let metadata = Metadata { public_url: url.into(), issuers: vec![] };
        let rest = Rest::new(organisation.governance.clone(), metadata);
        Face { organisation, scim, rest }
    }

    async fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Seen {
        let (path, query) = target.split_once('?').map_or((target, None), |(p, q)| (p, Some(q)));
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: http::HeaderName = name.parse().unwrap();
            map.append(name, value.parse().unwrap());
        }
        let exchange = Exchange {
            method: method.parse().unwrap(),
            path: path.into(),
            query: query.map(Into::into),
            headers: map,
            peer: IpAddr::from([127, 0, 0, 1]),
            body: body.to_owned().into(),
            early: Early::closed(),
            turn: Default::default(),
        };
        let (parts, body) = self.scim.handle(exchange, &self.rest).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Seen { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    /// As the provisioning system.
    async fn ask(&self, method: &str, target: &str, body: Value) -> Seen {
        let bearer = format!("Bearer {SCIM_TOKEN}");
        let headers =
            [("authorization", bearer.as_str()), ("content-type", "application/scim+json")];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send(method, &format!("/scim/v2/{target}"), &headers, &body).await
    }

    fn user(&self, email: &str) -> Option<std::sync::Arc<gateway_core::caller::User>> {
        self.organisation.governance.snapshot().user_by_email(email).cloned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_provisioning_system_gets_in_at_any_address() {
    let face = Face::start().await;
    let key = face.organisation.key(Person::Admin).await;
    let bearer = |token: &str| vec![("authorization", format!("Bearer {token}"))];
    let mut cases = vec![
        vec![],
        bearer(""),
        bearer(&key),
        bearer(&SCIM_TOKEN[1..]),
        bearer(&SCIM_TOKEN.to_uppercase()),
        vec![("authorization", SCIM_TOKEN.to_owned())],
        vec![("authorization", format!("Basic {SCIM_TOKEN}"))],
        vec![("x-runlayer-api-key", key.clone())],
        vec![("cookie", format!("token={SCIM_TOKEN}"))],
    ];
    let twice = format!("Bearer {SCIM_TOKEN}");
    cases.push(vec![("authorization", twice.clone()), ("authorization", twice)]);
    for route in ROUTES {
        let path = route.path.replace("{id}", "0197f000-0000-7000-8000-000000000001");
        for case in &cases {
            let headers: Vec<(&str, &str)> = case.iter().map(|(n, v)| (*n, v.as_str())).collect();
            let seen = face.send(route.method, &path, &headers, "{}").await;
            assert_eq!(seen.status, 401, "{} {path} {case:?}", route.method);
            assert_eq!(seen.headers["www-authenticate"], "Bearer realm=\"scim\"");
            assert_eq!(seen.body["status"], "401");
        }
    }
    let trail = face.organisation.governance.trail();
    assert!(trail.flush(std::time::Duration::from_secs(10)).await);
    for (method, target) in
        [("GET", "Nothing"), ("GET", "Users/a/b"), ("GET", ""), ("POST", "Bulk")]
    {
        assert_eq!(face.ask(method, target, Value::Null).await.status, 404, "{target}");
    }
    for (method, target) in [("DELETE", "Users"), ("PUT", "Groups"), ("POST", "Schemas")] {
        assert_eq!(face.ask(method, target, Value::Null).await.status, 405, "{target}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_describe_what_is_there() {
    let face = Face::start().await;
    for route in ROUTES.iter().filter(|route| matches!(route.does, Does::Document(_))) {
        let target = route.path.trim_start_matches("/scim/v2/").replace("/{id}", "");
        let seen = face.ask("GET", &target, Value::Null).await;
        assert_eq!(
            (seen.status, &seen.headers[CONTENT_TYPE]),
            (200, &HeaderValue::from_static("application/scim+json"))
        );
    }
    let config = face.ask("GET", "ServiceProviderConfig", Value::Null).await.body;
    assert_eq!(
        (&config["patch"]["supported"], &config["bulk"]["supported"]),
        (&json!(true), &json!(false))
    );
    let schema = "Schemas/urn:ietf:params:scim:schemas:core:2.0:User";
    assert_eq!(face.ask("GET", schema, Value::Null).await.body["name"], "User");
    assert_eq!(
        face.ask("GET", "ResourceTypes/Group", Value::Null).await.body["endpoint"],
        "/Groups"
    );
    for absent in ["Schemas/urn:x", "ResourceTypes/Device"] {
        assert_eq!(face.ask("GET", absent, Value::Null).await.status, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_come_change_and_go() {
    let face = Face::start().await;
    let entra = json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User",
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"],
        "externalId": "0a21f0f2", "userName": "Dana@Example.com", "active": "True",
        "displayName": "Dana D", "emails": [{"primary": true, "type": "work", "value": "dana@example.com"}],
        "name": {"formatted": "Dana Doe", "familyName": "Doe", "givenName": "Dana"}, "title": "Lead",
        "meta": {"resourceType": "User"},
    });
    let made = face.ask("POST", "Users", entra.clone()).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let id = made.body["id"].as_str().unwrap().to_owned();
    let location = format!("https://mcp.example.com/scim/v2/Users/{id}");
    assert_eq!(made.headers[LOCATION], location);
    assert_eq!(made.body["meta"]["location"], json!(location));
    let user = face.user("dana@example.com").unwrap();
    assert_eq!((user.name.as_str(), user.active, user.roles.len()), ("Dana D", true, 0));
    assert_eq!(face.ask("POST", "Users", entra).await.body["scimType"], "uniqueness");

    for (filter, found) in [
        ("userName eq \"DANA@example.com\"", 1),
        ("externalId eq \"0a21f0f2\"", 1),
        ("id eq \"nonsense\"", 0),
        ("userName eq \"nobody@example.com\"", 0),
    ] {
        let query: String = url::form_urlencoded::byte_serialize(filter.as_bytes()).collect();
        let listed = face.ask("GET", &format!("Users?filter={query}"), Value::Null).await;
        assert_eq!((listed.status, &listed.body["totalResults"]), (200, &json!(found)), "{filter}");
    }
    let page = face.ask("GET", "Users?startIndex=2&count=1", Value::Null).await.body;
    assert_eq!(
        (&page["startIndex"], &page["itemsPerPage"], &page["totalResults"]),
        (&json!(2), &json!(1), &json!(4))
    );
    let bad = face.ask("GET", "Users?filter=userName+co+%22a%22", Value::Null).await;
    assert_eq!((bad.status, &bad.body["scimType"]), (400, &json!("invalidFilter")));

    let target = format!("Users/{id}");
    let patch = |operations: Value| json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": operations});
    let cases = [
        (
            json!([{"op": "Replace", "path": "active", "value": "False"}]),
            "dana@example.com",
            "Dana D",
            false,
        ),
        (json!([{"op": "replace", "value": {"active": true}}]), "dana@example.com", "Dana D", true),
        (
            json!([{"op": "Add", "path": "displayName", "value": "D."}, {"op": "Add", "path": "title", "value": "x"}]),
            "dana@example.com",
            "D.",
            true,
        ),
        (
            json!([{"op": "Replace", "value": {"name.givenName": "Di", "name.familyName": "Ray"}}]),
            "dana@example.com",
            "Di Ray",
            true,
        ),
        (
            json!([{"op": "Replace", "path": "userName", "value": "di@example.com"}]),
            "di@example.com",
            "Di Ray",
            true,
        ),
        (json!([{"op": "Remove", "path": "externalId"}]), "di@example.com", "Di Ray", true),
    ];
    for (operations, email, name, active) in cases {
        let seen = face.ask("PATCH", &target, patch(operations.clone())).await;
        assert_eq!((seen.status, &seen.body["active"]), (200, &json!(active)), "{operations}");
        let user = face.user(email).unwrap();
        assert_eq!((user.name.as_str(), user.active), (name, active), "{operations}");
    }
    let whole = json!({"userName": "di@example.com", "externalId": "n-1", "active": false});
    let seen = face.ask("PUT", &target, whole).await;
    assert_eq!(
        (seen.status, &seen.body["externalId"], &seen.body["displayName"]),
        (200, &json!("n-1"), &json!(""))
    );
    assert!(!face.user("di@example.com").unwrap().active);

    let refused = [
        ("POST", "Users", json!({"displayName": "x"}), 400),
        ("POST", "Users", json!({"userName": "x"}), 400),
        ("POST", "Users", json!({"userName": "x@example.com", "active": "yes"}), 400),
        ("POST", "Users", json!({"userName": "x@example.com", "displayName": "a\u{200b}b"}), 400),
        ("POST", "Users", json!({"userName": "x@example.com", "externalId": "n-1"}), 409),
        ("POST", "Users", json!([]), 400),
        ("PUT", target.as_str(), json!({}), 400),
        ("PUT", target.as_str(), json!({"userName": "bob@example.com"}), 409),
        ("PATCH", target.as_str(), json!({}), 400),
        (
            "PATCH",
            target.as_str(),
            patch(json!([{"op": "replace", "path": "userName", "value": "bob@example.com"}])),
            409,
        ),
        (
            "PATCH",
            target.as_str(),
            patch(json!([{"op": "replace", "path": "active", "value": 1}])),
            400,
        ),
        ("PATCH", target.as_str(), patch(json!([{"op": "remove", "path": "active"}])), 400),
        ("PATCH", target.as_str(), patch(json!([{"op": "remove", "path": "userName"}])), 400),
        (
            "PATCH",
            "Users/0197f000-0000-7000-8000-000000000001",
            patch(json!([{"op": "replace", "path": "active", "value": true}])),
            404,
        ),
        ("GET", "Users/x", Value::Null, 404),
        ("DELETE", "Users/x", Value::Null, 404),
    ];
    for (method, target, body, status) in refused {
        let seen = face.ask(method, target, body.clone()).await;
        assert_eq!(seen.status, status, "{method} {target} {body}: {}", seen.body);
        assert_eq!(seen.body["status"], status.to_string());
    }
    assert!(face.user("x@example.com").is_none());
    let gone = face.ask("DELETE", &target, Value::Null).await;
    assert_eq!((gone.status, gone.body), (204, Value::Null));
    for method in ["GET", "DELETE"] {
        assert_eq!(face.ask(method, &target, Value::Null).await.status, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_be_read_in_two_ways_is_refused() {
    let face = Face::start().await;
    let bearer = format!("Bearer {SCIM_TOKEN}");
    let json_type = "application/json";
    for (kind, body, status) in [
        (json_type, r#"{"userName":"a@example.com","userName":"b@example.com"}"#, 400),
        (json_type, "{", 400),
        (json_type, "", 400),
        (json_type, "\u{feff}{}", 400),
        (json_type, "{} {}", 400),
        ("text/plain", r#"{"userName":"a@example.com"}"#, 400),
        ("", r#"{"userName":"a@example.com"}"#, 400),
        ("application/scim+json; charset=utf-8", r#"{"userName":"a@example.com"}"#, 201),
    ] {
        let headers = [(AUTHORIZATION.as_str(), bearer.as_str()), ("content-type", kind)];
        let seen = face.send("POST", "/scim/v2/Users", &headers, body).await;
        assert_eq!(seen.status, status, "{kind} {body}: {}", seen.body);
    }
}
