//! The REST face over a real governance: who gets through at which address, made from the table of addresses.

use std::net::IpAddr;

use gateway_core::decision::Approver;
use http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::super::metadata::Metadata;
use super::super::testing::{Organisation, Person, a_policy};
use super::routes::{Access, Does, ROUTES, Route};
use super::*;
use crate::exchange::Early;

struct Face {
    organisation: Organisation,
    rest: Rest,
    keys: [(Person, String); 3],
}

/// What came back.
#[derive(Debug)]
struct Seen {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

impl Face {
    async fn start() -> Face {
        let organisation = Organisation::start().await;
        let metadata = Metadata {
            public_url: "https://mcp.example.com".into(),
            issuers: vec!["https://idp.example.com".into()],
        };
        let mut keys = Vec::new();
        for person in [Person::Admin, Person::User, Person::Other] {
            keys.push((person, organisation.key(person).await));
        }
        let rest = Rest::new(organisation.governance.clone(), metadata);
        Face { organisation, rest, keys: keys.try_into().unwrap() }
    }

    fn credential(&self, person: Option<Person>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some((_, key)) = self.keys.iter().find(|(who, _)| Some(*who) == person) {
            headers.insert(AUTHORIZATION, format!("Bearer {key}").parse().unwrap());
        }
        headers
    }

    async fn send(&self, method: &str, target: &str, mut headers: HeaderMap, body: &str) -> Seen {
        let (path, query) = target.split_once('?').map_or((target, None), |(p, q)| (p, Some(q)));
        headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
        let exchange = Exchange {
            method: method.parse().unwrap(),
            path: path.into(),
            query: query.map(Into::into),
            headers,
            peer: IpAddr::from([127, 0, 0, 1]),
            body: body.to_owned().into(),
            early: Early::closed(),
            turn: Default::default(),
        };
        let (parts, body) = self.rest.handle(exchange).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Seen { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    async fn get(&self, person: Person, target: &str) -> Seen {
        self.send("GET", target, self.credential(Some(person)), "").await
    }

    /// A good request for a route, about something that concerns the user and not the other user.
    async fn example(&self, route: &Route) -> (String, String) {
        let Does::Operation(name) = route.does else {
            return (route.path.replace("{server_id}", "tickets"), String::new());
        };
        let body = match name {
            "set_server_status" => json!({"status": "active"}),
            "create_server" => {
                let slug = format!("server-{}", uuid::Uuid::new_v4());
                json!({"slug": slug, "url": "http://127.0.0.1:9/mcp"})
            }
            "update_server" => json!({"title": "Tickets"}),
            "explain_access" => json!({"server": "tickets", "tool": "close_ticket"}),
            "decide_confirmation" => json!({"approve": true}),
            "create_agent_account" => json!({"name": format!("agent-{}", uuid::Uuid::new_v4())}),
            "set_agent_account_status" => json!({"enabled": true}),
            "create_user" => json!({"email": format!("{}@example.com", uuid::Uuid::new_v4())}),
            "update_user" => json!({"name": "Bob"}),
            "create_group" => json!({"name": uuid::Uuid::new_v4().to_string()}),
            "update_group" => json!({"remove": ["carol@example.com"]}),
            "update_agent_account" => json!({"owner": "carol@example.com"}),
            "create_api_key" => json!({"name": "laptop"}),
            "create_delegation" => json!({"agent": self.organisation.agent().await}),
            "disconnect_server" => json!({}),
            "approve_tool_definitions" => {
                json!({"hashes": [self.organisation.definition().await]})
            }
            "set_limit" => {
                json!({"principals": ["everyone"], "server": "*", "budget": {"calls": 10_000}})
            }
            "update_security_scanner_settings" => json!({"settings": {"limit": 65_536}}),
            "test_scanner" => json!({"text": "some text"}),
            "request_access" => json!({"server_id": "vault", "reason": "on call"}),
            "decide_access_request" => json!({"decision": "approve"}),
            "cancel_access_request" => json!({}),
            "create_policy" | "update_policy" | "replay_policy" => json!({"spec": a_policy()}),
            "restore_policy" => json!({"version": 1}),
            _ => Value::Null,
        };
        let id = match name {
            "get_audit_log" => self.entry_of_user().await,
            "get_confirmation" | "decide_confirmation" => {
                self.organisation.waiting("{}", Approver::Caller).await.to_string()
            }
            "revoke_api_key" => self.organisation.key_id(Person::User).await,
            "cancel_access_request" | "decide_access_request" => {
                self.organisation.access_request().await
            }
            "revoke_delegation" => self.organisation.delegation().await,
            "revoke_oauth_session" => self.organisation.session().await,
            "disconnect_server" => {
                self.organisation.connected().await;
                String::new()
            }
            _ => String::new(),
        };
        let mut path = route.path.replace("{server_id}", "tickets").replace("{id}", &id);
        path = path.replace("{name}", "some%20limit");
        path = match name {
            "export_audit_logs" => format!("{path}?format=json"),
            "export_analytics_dataset" => path.replace("{dataset}", "top_tools?format=json"),
            "export_server_analytics" => path.replace("{dataset}", "usage?format=json"),
            _ => path,
        };
        path = path.replace("{user}", "bob@example.com");
        if path.contains("{group}") {
            path = path.replace("{group}", &self.organisation.group().await);
        }
        if path.contains("{agent}") {
            path = path.replace("{agent}", &self.organisation.agent().await);
        }
        if path.contains("{policy_id}") {
            path = path.replace("{policy_id}", &self.organisation.policy(a_policy()).await);
        }
        assert!(!path.contains('{') && !path.contains("//"), "{name}: no example for {path}");
        (path, if body.is_null() { "{}".into() } else { body.to_string() })
    }

    async fn entry_of_user(&self) -> String {
        assert_eq!(self.get(Person::User, "/api/v1/servers").await.status, 200);
        let written =
            self.organisation.governance.trail().flush(std::time::Duration::from_secs(10));
        assert!(written.await, "the audit trail is written");
        let seen = self.get(Person::User, "/api/v1/auditlogs?limit=1").await;
        seen.body["data"][0]["id"].as_str().unwrap().to_owned()
    }
}

/// Who gets which status, as the address declares.
fn expected(access: Access) -> [(Option<Person>, u16); 4] {
    let (anonymous, other, admin, user) = match access {
        Access::Anonymous => (200, 200, 200, 200),
        Access::User => (401, 200, 200, 200),
        Access::Concerned => (401, 404, 200, 200),
        Access::Asked | Access::Owner => (401, 404, 404, 200),
        Access::OthersDecide => (401, 404, 200, 403),
        Access::Admin => (401, 403, 200, 403),
    };
    // Whoever may decide comes last: it can be done once.
    [
        (None, anonymous),
        (Some(Person::Other), other),
        (Some(Person::Admin), admin),
        (Some(Person::User), user),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_address_lets_through_whom_it_declares() {
    let face = Face::start().await;
    for route in ROUTES {
        for (person, status) in expected(route.access) {
            let (path, body) = face.example(route).await;
            let credential = face.credential(person);
            let seen = face.send(route.method, &path, credential, &body).await;
            assert_eq!(seen.status, status, "{person:?} {} {path}: {}", route.method, seen.body);
            if status >= 400 {
                assert_refusal(&seen);
            }
        }
    }
}

fn assert_refusal(seen: &Seen) {
    for name in ["detail", "reason", "correlation_id"] {
        assert!(seen.body[name].as_str().is_some_and(|text| !text.is_empty()), "{name}: {seen:?}");
    }
    let challenge = seen.headers.get(WWW_AUTHENTICATE).map(|value| value.to_str().unwrap());
    match seen.status {
        401 => assert!(challenge.unwrap().starts_with(
            "Bearer resource_metadata=\"https://mcp.example.com/.well-known/oauth-protected-resource\""
        )),
        _ => assert_eq!(challenge, None, "{seen:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_credentials_reach_no_operation() {
    let face = Face::start().await;
    let good = face.keys[0].1.clone();
    let mut forged = good.clone();
    forged.replace_range(good.len() - 4.., "AAAA");
    let bearer = |text: &str| vec![("authorization", format!("Bearer {text}"))];
    let cases = [
        bearer(""),
        bearer("rl_"),
        bearer(&forged),
        bearer(&good[..good.len() - 1]),
        bearer(&good.to_uppercase()),
        bearer("eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0."),
        vec![("authorization", format!("Basic {good}"))],
        vec![("authorization", good.clone())],
        vec![("x-runlayer-api-key", String::new())],
        vec![("x-runlayer-api-key", format!("Bearer {good}"))],
        vec![("x-runlayer-api-key", good.clone()), ("authorization", format!("Bearer {good}"))],
        vec![("x-runlayer-api-key", good.clone()), ("x-runlayer-api-key", good.clone())],
        vec![("cookie", format!("api_key={good}"))],
    ];
    let operations = ROUTES.iter().filter(|route| route.access != Access::Anonymous);
    for route in operations {
        let path = route
            .path
            .replace("{server_id}", "tickets")
            .replace("{id}", "x")
            .replace("{dataset}", "usage")
            .replace("{user}", "x")
            .replace("{group}", "x")
            .replace("{agent}", "x")
            .replace("{policy_id}", "x");
        for case in &cases {
            let mut headers = HeaderMap::new();
            for (name, value) in case {
                let name: HeaderName = name.parse().unwrap();
                headers.append(name, value.parse().unwrap());
            }
            let seen = face.send(route.method, &path, headers, "{}").await;
            assert_eq!(seen.status, 401, "{} {path} with {case:?}: {}", route.method, seen.body);
            assert_refusal(&seen);
        }
    }
    let written = face.organisation.governance.trail().flush(std::time::Duration::from_secs(10));
    assert!(written.await);
    let misplaced = format!("/api/v1/{good}?key={good}");
    assert_eq!(face.send("GET", &misplaced, HeaderMap::new(), &good).await.status, 404);
    assert!(face.organisation.governance.trail().flush(std::time::Duration::from_secs(10)).await);
    let everything = face.get(Person::Admin, "/api/v1/auditlogs?limit=200").await;
    assert!(!everything.body.to_string().contains(&good), "a key in the audit trail");
    let failed = face.get(Person::Admin, "/api/v1/auditlogs?action_type=auth_failed&limit=1").await;
    assert_eq!(failed.body["data"][0]["action_type"], "auth_failed", "{failed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_do_not_fit_change_nothing_and_say_why() {
    let face = Face::start().await;
    let status = "/api/v1/servers/tickets/status";
    let cases = [
        ("GET", "/api/v1/nothing", "", 404, "not_found"),
        ("DELETE", "/api/v1/servers", "", 405, "http_method_not_allowed"),
        ("GET", "/api/v1/servers?limit=0", "", 400, "invalid_params"),
        ("GET", "/api/v1/servers?limit=many", "", 400, "invalid_params"),
        ("GET", "/api/v1/servers?colour=red", "", 400, "invalid_params"),
        ("GET", "/api/v1/servers?cursor=abc", "", 400, "invalid_params"),
        ("PUT", status, "{", 400, "invalid_json"),
        ("PUT", status, r#"{"status":"disabled","status":"active"}"#, 400, "invalid_json"),
        ("PUT", status, r#"{"status":"gone"}"#, 400, "invalid_params"),
        ("PUT", status, r#"{"status":"disabled","confirm":"true"}"#, 400, "invalid_params"),
        ("PUT", status, r#"{"status":"disabled","confirm":1}"#, 400, "invalid_params"),
        ("PUT", status, r#"{"status":"disabled","confirm":false}"#, 409, "confirm_missing"),
        ("GET", "/api/v1/servers/nobody", "", 404, "server_not_found"),
        ("GET", "/api/v1/auditlogs/nothing", "", 404, "entity_not_found"),
    ];
    for (method, target, body, code, reason) in cases {
        let credential = face.credential(Some(Person::Admin));
        let seen = face.send(method, target, credential, body).await;
        assert_eq!(
            (seen.status, &seen.body["reason"]),
            (code, &json!(reason)),
            "{target} {seen:?}"
        );
        assert_refusal(&seen);
    }
    let server = face.get(Person::Admin, "/api/v1/servers/tickets").await;
    assert_eq!(server.body["status"], "active");
    let body = r#"{"status":"disabled"}"#;
    let done = face.send("PUT", status, face.credential(Some(Person::Admin)), body).await;
    assert_eq!((done.status, &done.body["after"]), (200, &json!("disabled")), "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_in_pages_and_answers_fit_their_schema() {
    let face = Face::start().await;
    let first = face.get(Person::Admin, "/api/v1/servers?scope=all&limit=1").await;
    let cursor = first.body["next_cursor"].as_str().expect("more than one server");
    let next = format!("/api/v1/servers?scope=all&limit=1&cursor={cursor}");
    let second = face.get(Person::Admin, &next).await;
    assert_ne!(first.body["data"][0]["slug"], second.body["data"][0]["slug"]);
    assert_eq!(face.get(Person::Other, &next).await.status, 403, "a role comes first");
    for route in ROUTES.iter().filter(|route| route.method == "GET") {
        let Does::Operation(name) = route.does else { continue };
        let (path, _) = face.example(route).await;
        let person = if route.access == Access::Asked { Person::User } else { Person::Admin };
        let seen = face.get(person, &path).await;
        let schema = arguments::of(name).unwrap().answer();
        let answer = seen.body.as_object().unwrap();
        assert_eq!(arguments::check(schema, answer), Ok(()), "{name}: {}", seen.body);
    }
}

#[test]
fn the_openapi_document_describes_every_address_and_no_other() {
    let document = openapi::document("https://mcp.example.com");
    let paths = document["paths"].as_object().unwrap();
    let described: usize = paths.values().map(|item| item.as_object().unwrap().len()).sum();
    assert_eq!(described, ROUTES.len());
    let text = document.to_string();
    assert!(!text.contains("#/$defs/"), "schemas stand alone");
    let list = &document["paths"]["/api/v1/auditlogs"]["get"];
    let names: Vec<&str> = list["parameters"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|parameter| parameter["name"].as_str())
        .collect();
    for name in ["action_type", "correlation_id", "limit", "cursor"] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    let decision = &document["paths"]["/api/v1/confirmations/{id}/decision"]["post"];
    let body = &decision["requestBody"]["content"]["application/json"]["schema"];
    assert_eq!(body["required"], json!(["approve"]));
    assert_eq!(decision["parameters"][0]["in"], "path");
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_come_as_files() {
    let face = Face::start().await;
    for _ in 0..3 {
        assert_eq!(face.get(Person::User, "/api/v1/servers").await.status, 200);
    }
    let trail = face.organisation.governance.trail();
    assert!(trail.flush(std::time::Duration::from_secs(10)).await);
    let header = |seen: &Seen, name: &str| {
        seen.headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    };
    let exchange = |target: &str| {
        let (path, query) = target.split_once('?').unwrap();
        Exchange {
            method: http::Method::GET,
            path: path.into(),
            query: Some(query.into()),
            headers: face.credential(Some(Person::Admin)),
            peer: IpAddr::from([127, 0, 0, 1]),
            body: bytes::Bytes::new(),
            early: Early::closed(),
            turn: Default::default(),
        }
    };
    let target =
        "/api/v1/auditlogs/export?actor_id=bob@example.com&action_type=operation_read&limit=2";
    let (parts, body) = face.rest.handle(exchange(target)).await.into_parts();
    let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    assert_eq!(text.matches("\r\n").count(), 3, "{text}");
    assert!(text.starts_with("id,timestamp,") && text.contains("bob@example.com"), "{text}");
    let seen = Seen { status: parts.status.as_u16(), headers: parts.headers, body: Value::Null };
    assert_eq!(header(&seen, "content-type"), "text/csv; charset=utf-8; header=present");
    assert!(header(&seen, "content-disposition").starts_with("attachment; filename=\"audit_logs_"));
    assert!(header(&seen, "content-disposition").ends_with(".csv\""));
    assert_eq!(header(&seen, "cache-control"), "no-store");
    // The rest.
    let cursor = header(&seen, "x-next-cursor");
    let more = face.get(Person::Admin, &format!("{target}&format=json&cursor={cursor}")).await;
    assert_eq!(more.body["data"].as_array().unwrap().len(), 1, "{more:?}");
    assert_eq!(more.body["next_cursor"], Value::Null);
    assert_eq!(header(&more, "content-type"), "application/json");
    assert!(header(&more, "content-disposition").ends_with(".json\""));

    let target =
        "/api/v1/analytics/tool_calls_daily?start=2026-10-25&end=2026-10-26&timezone=Europe/Berlin";
    let (parts, _) = face.rest.handle(exchange(target)).await.into_parts();
    let seen = Seen { status: parts.status.as_u16(), headers: parts.headers, body: Value::Null };
    assert_eq!(header(&seen, "x-range-start"), "2026-10-25T00:00:00+02:00");
    assert_eq!(header(&seen, "x-range-end"), "2026-10-26T00:00:00+01:00");
    assert_eq!(header(&seen, "x-timezone"), "Europe/Berlin");
    assert_eq!(
        header(&seen, "content-disposition"),
        "attachment; filename=\"tool_calls_daily_2026-10-25_2026-10-26.csv\""
    );
    for (wrong, field) in [
        ("/api/v1/analytics/top_toys", "dataset: expected one of top_tools, top_users"),
        ("/api/v1/analytics/top_tools?format=xml", "format: expected one of csv, json"),
        ("/api/v1/analytics/top_tools?timezone=CET%2B9", "timezone: expected a name of the IANA"),
        ("/api/v1/analytics/top_tools?limit=10001", "limit: expected 1 to 10000"),
        (
            "/api/v1/servers/tickets/analytics/top_tools",
            "dataset: expected one of tool_health, usage",
        ),
    ] {
        let seen = face.get(Person::Admin, wrong).await;
        assert_eq!((seen.status, &seen.body["reason"]), (400, &json!("invalid_params")), "{wrong}");
        assert!(seen.body["detail"].as_str().unwrap().contains(field), "{wrong}: {}", seen.body);
    }
}
