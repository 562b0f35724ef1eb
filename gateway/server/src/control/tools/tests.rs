//! The Runlayer MCP over a real governance, in both eras, as the line hands its calls over.

use gateway_core::decision::Approver;
use gateway_governance::Face;
use http::Method;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::super::rest::routes::{Access, Does, ROUTES};
use super::super::testing::{Organisation, Person, a_policy};
use super::*;

const MODERN: &str = "2026-07-28";

struct Server {
    organisation: Organisation,
    local: Arc<dyn Local>,
}

impl Server {
    async fn start() -> Server {
        let organisation = Organisation::start().await;
        let local = local(organisation.governance.clone());
        Server { organisation, local }
    }

    /// One JSON-RPC request as the line sends it; `None`: without a caller.
    async fn send(&self, person: Option<Person>, mut message: Value, modern: bool) -> Value {
        let mut request = Request::new(Bytes::new());
        *request.method_mut() = Method::POST;
        let headers = request.headers_mut();
        let version = if modern { MODERN } else { "2025-11-25" };
        headers.insert("mcp-protocol-version", HeaderValue::from_static(version));
        if modern {
            let method = message["method"].as_str().unwrap().parse().unwrap();
            headers.insert("mcp-method", method);
            if let Some(name) = message["params"]["name"].as_str() {
                headers.insert("mcp-name", name.parse().unwrap());
            }
            message["params"]["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": MODERN,
                "io.modelcontextprotocol/clientCapabilities": {},
            });
        }
        if let Some(person) = person {
            request.extensions_mut().insert(self.organisation.caller(person));
            request.extensions_mut().insert(self.organisation.origin(Face::Tools));
        }
        *request.body_mut() = message.to_string().into();
        let body = self.local.handle(request).await.into_body().collect().await.unwrap();
        serde_json::from_slice(&body.to_bytes()).unwrap()
    }

    async fn call(&self, person: Person, tool: &str, arguments: Value) -> Value {
        let params = json!({"name": tool, "arguments": arguments});
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
        let answer = self.send(Some(person), message, true).await;
        let result = answer["result"].clone();
        assert!(result.is_object(), "{tool}: {answer}");
        assert_eq!(result["resultType"], "complete");
        result
    }

    async fn refusal(&self, person: Person, tool: &str, arguments: Value) -> String {
        let result = self.call(person, tool, arguments).await;
        assert_eq!(result["isError"], true, "{tool}: {result}");
        let refusal = &result["_meta"]["com.runlayer/refusal"];
        assert!(refusal["correlation_id"].is_string() && refusal["reason"].is_string(), "{result}");
        result["content"][0]["text"].as_str().unwrap().to_owned()
    }
}

fn request(method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
}

#[tokio::test(flavor = "multi_thread")]
async fn both_eras_are_spoken_without_sessions() {
    let server = Server::start().await;
    let hello = json!({
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}
    });
    let answer = server.send(None, request("initialize", hello), false).await;
    assert_eq!(answer["result"]["protocolVersion"], "2025-11-25", "{answer}");
    let answer = server.send(None, request("server/discover", json!({})), true).await;
    let versions = answer["result"]["supportedVersions"].as_array().expect("versions");
    assert!(versions.contains(&json!(MODERN)), "{answer}");
    for modern in [false, true] {
        let answer = server.send(None, request("tools/list", json!({})), modern).await;
        assert_eq!(
            answer["result"]["tools"].as_array().map(Vec::len),
            Some(TOOLS.len()),
            "{answer}"
        );
        assert_eq!(answer["result"]["resultType"].is_string(), modern);
        let call = json!({"name": "list_servers", "arguments": {}});
        let answer = server.send(Some(Person::User), request("tools/call", call), modern).await;
        assert_eq!(answer["result"]["isError"], false, "{answer}");
        let unknown = json!({"name": "drop_tables", "arguments": {}});
        let answer = server.send(Some(Person::Admin), request("tools/call", unknown), modern).await;
        assert_eq!(answer["error"]["code"], -32602, "{answer}");
    }
    let call = json!({"name": "list_servers", "arguments": {}});
    let answer = server.send(None, request("tools/call", call), true).await;
    assert_eq!(answer["error"]["code"], -32603, "a call without a caller: {answer}");
}

#[test]
fn definitions_follow_the_tool_design_rules() {
    for tool in DEFINITIONS.iter() {
        let tool = serde_json::to_value(tool).unwrap();
        let name = tool["name"].as_str().unwrap();
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
        for text in ["title", "description"] {
            assert!(tool[text].as_str().is_some_and(|text| text.len() > 5), "{name}: {text}");
        }
        for schema in ["inputSchema", "outputSchema"] {
            assert_eq!(tool[schema]["type"], "object", "{name}: {schema}");
            assert!(!tool[schema].to_string().contains("$ref"), "{name}: {schema}");
        }
        assert_eq!(tool["inputSchema"]["additionalProperties"], false, "{name}");
        assert!(!tool["inputSchema"].to_string().contains("null"), "{name}: {tool}");
        for hint in ["readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"] {
            assert!(tool["annotations"][hint].is_boolean(), "{name}: {hint}");
        }
    }
}

/// Every change of what a model reads shows in review; `INSTA_UPDATE=always` accepts it.
#[test]
fn the_list_of_tools_is_as_it_was_reviewed() {
    let lines = DEFINITIONS.iter().map(|tool| serde_json::to_string(tool).unwrap());
    insta::assert_snapshot!("tools", lines.collect::<Vec<_>>().join("\n"));
}

/// What every chat pays for the list: 12,000 tokens at about four characters each.
const MOST_CHARACTERS: usize = 48_000;

#[test]
fn the_whole_list_is_cheap_to_read() {
    let sizes: Vec<(usize, &str)> = DEFINITIONS
        .iter()
        .map(|tool| (serde_json::to_string(tool).unwrap().chars().count(), tool.name.as_ref()))
        .collect();
    let total: usize = sizes.iter().map(|(size, _)| size).sum();
    assert!(total < MOST_CHARACTERS, "{total} characters: {sizes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_text_and_structure_alike_and_fit_their_schema() {
    let server = Server::start().await;
    let on_tickets = json!({"server_id": "tickets"});
    let calls = [
        ("list_servers", json!({})),
        ("get_server", on_tickets.clone()),
        ("list_server_tools", on_tickets.clone()),
        ("list_server_resources", on_tickets.clone()),
        ("list_server_prompts", on_tickets.clone()),
        ("list_audit_logs", json!({})),
        ("list_policies", json!({})),
        ("list_server_policies", on_tickets),
        ("explain_access", json!({"server": "tickets", "tool": "close_ticket"})),
        ("list_confirmations", json!({})),
    ];
    for (tool, arguments) in calls {
        let result = server.call(Person::Admin, tool, arguments).await;
        assert_eq!(result["isError"], false, "{tool}: {result}");
        let text = result["content"][0]["text"].as_str().unwrap();
        assert_eq!(serde_json::from_str::<Value>(text).unwrap(), result["structuredContent"]);
        let schema = arguments::of(tool).unwrap().answer();
        let answer = result["structuredContent"].as_object().unwrap();
        assert_eq!(arguments::check(schema, answer), Ok(()), "{tool}: {result}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_need_the_role_first_and_then_the_boolean_true() {
    let server = Server::start().await;
    let set = |confirm: Value| {
        let mut arguments = json!({"server_id": "tickets", "status": "disabled"});
        if !confirm.is_null() {
            arguments["confirm"] = confirm;
        }
        arguments
    };
    let tool = "set_server_status";
    let text = server.refusal(Person::User, tool, set(json!(true))).await;
    assert!(text.contains("role_missing"), "{text}");
    for loose in [json!("true"), json!(1), json!([true]), json!({})] {
        let text = server.refusal(Person::Admin, tool, set(loose)).await;
        assert!(text.contains("confirm: expected a boolean"), "{text}");
    }
    for unconfirmed in [Value::Null, json!(false)] {
        let result = server.call(Person::Admin, tool, set(unconfirmed)).await;
        let text = result["content"].to_string();
        assert!(text.contains("confirm_missing") && text.contains("It would change"), "{text}");
    }
    let before = server.call(Person::Admin, "get_server", json!({"server_id": "tickets"})).await;
    assert_eq!(before["structuredContent"]["status"], "active");
    let done = server.call(Person::Admin, tool, set(json!(true))).await;
    assert_eq!(done["structuredContent"]["after"], "disabled", "{done}");
}

/// The same matrix as for the addresses, made from the same table.
#[tokio::test(flavor = "multi_thread")]
async fn each_tool_lets_through_whom_its_address_declares() {
    let server = Server::start().await;
    for entry in TOOLS {
        let operation = Does::Operation(entry.operation);
        let route = ROUTES.iter().find(|route| route.does == operation).unwrap();
        let (other, admin, user) = match route.access {
            Access::Anonymous => unreachable!("operations are for people"),
            Access::User => ("", "", ""),
            Access::Concerned => ("not_found", "", ""),
            // The call is the user's own: they may look, but a model must not agree for them.
            Access::Asked if entry.effect == Effect::Changes => ("not_found", "", "role_missing"),
            Access::Asked => ("not_found", "", ""),
            Access::Owner => ("not_found", "not_found", ""),
            Access::OthersDecide => ("not_found", "", "role_missing"),
            Access::Admin => ("role_missing", "", "role_missing"),
        };
        let people = [(Person::Other, other), (Person::User, user), (Person::Admin, admin)];
        for (person, refusal) in people {
            let arguments = example(&server, entry.operation).await;
            let result = server.call(person, entry.operation, arguments).await;
            assert_eq!(result["isError"], !refusal.is_empty(), "{person:?} {result}");
            let reason = result["_meta"]["com.runlayer/refusal"]["reason"].as_str();
            assert!(reason.unwrap_or_default().ends_with(refusal), "{person:?} {result}");
        }
    }
}

/// Good arguments, about something that concerns the user and not the other user; a confirmation that is the
/// administrator's to decide.
async fn example(server: &Server, operation: &str) -> Value {
    let properties = arguments::of(operation).unwrap().schema();
    let has = |name: &str| properties.pointer(&format!("/properties/{name}")).is_some();
    let mut example = json!({});
    if has("server_id") && !operation.ends_with("_audit_logs") {
        example["server_id"] = json!("tickets");
    }
    match operation {
        "explain_access" => example = json!({"server": "tickets", "tool": "close_ticket"}),
        "export_analytics_dataset" => example["dataset"] = json!("top_tools"),
        "export_server_analytics" => example["dataset"] = json!("usage"),
        "set_server_status" => example["status"] = json!("active"),
        "create_server" => {
            let slug = format!("server-{}", uuid::Uuid::new_v4());
            example = json!({"slug": slug, "url": "http://127.0.0.1:9/mcp"});
        }
        "update_server" => example["title"] = json!("Tickets"),
        "approve_tool_definitions" => {
            example["hashes"] = json!([server.organisation.definition().await]);
        }
        "set_limit" | "delete_limit" => {
            example = json!({"name": "some limit"});
            if operation == "set_limit" {
                example["principals"] = json!(["everyone"]);
                example["server"] = json!("*");
                example["budget"] = json!({"calls": 10_000});
            }
        }
        // Of the organisation: without a server.
        "get_security_scanner_settings" | "list_security_scanner_changes" => example = json!({}),
        "update_security_scanner_settings" => example = json!({"settings": {"limit": 65_536}}),
        "test_scanner" => example = json!({"text": "some text"}),
        "decide_confirmation" => example["approve"] = json!(true),
        "request_access" => {
            example = json!({"server_id": "vault", "reason": "on call"});
        }
        "decide_access_request" | "cancel_access_request" => {
            example["id"] = json!(server.organisation.access_request().await);
            if operation == "decide_access_request" {
                example["decision"] = json!("approve");
            }
        }
        "create_policy" | "replay_policy" => example["spec"] = a_policy(),
        "get_policy" | "update_policy" | "delete_policy" | "restore_policy" => {
            example["policy_id"] = json!(server.organisation.policy(a_policy()).await);
            match operation {
                "update_policy" => example["spec"] = a_policy(),
                "restore_policy" => example["version"] = json!(1),
                _ => {}
            }
        }
        "create_agent_account" => {
            example["name"] = json!(format!("agent-{}", uuid::Uuid::new_v4()));
        }
        "get_agent_account" | "set_agent_account_status" | "create_delegation" => {
            example["agent"] = json!(server.organisation.agent().await);
            if operation == "set_agent_account_status" {
                example["enabled"] = json!(true);
            }
        }
        "revoke_oauth_session" => example["id"] = json!(server.organisation.session().await),
        "revoke_delegation" => example["id"] = json!(server.organisation.delegation().await),
        "get_audit_log" => {
            let call = server.organisation.origin(Face::Rest);
            let user = server.organisation.caller(Person::User);
            let governance = &server.organisation.governance;
            let list = arguments::of("list_servers").unwrap().read(JsonObject::new()).unwrap();
            governance.perform(&user, &call, list).await.unwrap();
            assert!(governance.trail().flush(std::time::Duration::from_secs(10)).await);
            let listed = server.call(Person::User, "list_audit_logs", json!({})).await;
            example["id"] = listed["structuredContent"]["data"][0]["id"].clone();
        }
        _ => {}
    }
    people_example(server, operation, &mut example).await;
    if operation == "disconnect_server" {
        server.organisation.connected().await;
    }
    if operation.ends_with("_confirmation") {
        let alice = Approver::User("alice@example.com".into());
        let id = server.organisation.waiting(operation, alice).await;
        example["id"] = json!(id.to_string());
    }
    if has("confirm") {
        example["confirm"] = json!(true);
    }
    example
}

/// The same of operations on people, groups and keys.
async fn people_example(server: &Server, operation: &str, example: &mut Value) {
    let organisation = &server.organisation;
    let fresh = uuid::Uuid::new_v4();
    match operation {
        "get_user" => example["user"] = json!("bob@example.com"),
        "update_user" => *example = json!({"user": "bob@example.com", "name": "Bob"}),
        "create_user" => example["email"] = json!(format!("{fresh}@example.com")),
        "get_group" | "delete_group" => example["group"] = json!(organisation.group().await),
        "create_group" => example["name"] = json!(fresh.to_string()),
        "update_group" => {
            let group = organisation.group().await;
            *example = json!({"group": group, "remove": ["carol@example.com"]});
        }
        "update_agent_account" => {
            let agent = organisation.agent().await;
            *example = json!({"agent": agent, "owner": "carol@example.com"});
        }
        "revoke_api_key" => example["id"] = json!(organisation.key_id(Person::User).await),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_cannot_agree_for_its_own_person_and_strangers_see_nothing() {
    let server = Server::start().await;
    let own = server.organisation.waiting("{}", Approver::Caller).await;
    let decide = json!({"id": own.to_string(), "approve": true, "confirm": true});
    let text = server.refusal(Person::User, "decide_confirmation", decide.clone()).await;
    assert!(text.contains("role_missing"), "{text}");
    let text = server.refusal(Person::Other, "decide_confirmation", decide).await;
    assert!(text.contains("entity_not_found"), "{text}");
    let alice = Approver::User("alice@example.com".into());
    let asked = server.organisation.waiting("{\"a\":1}", alice).await;
    let decide = json!({"id": asked.to_string(), "approve": true, "confirm": true});
    let done = server.call(Person::Admin, "decide_confirmation", decide).await;
    assert_eq!(done["structuredContent"]["status"], "agreed", "{done}");
}

#[tokio::test(flavor = "multi_thread")]
async fn long_pages_get_shorter_and_their_cursor_goes_on() {
    let server = Server::start().await;
    let filler = format!("{{\"text\":\"{}\"}}", "x".repeat(3_000));
    for n in 0..12 {
        let arguments = filler.replacen("{", &format!("{{\"n\":{n},"), 1);
        server.organisation.waiting(&arguments, Approver::Caller).await;
    }
    let first = server.call(Person::User, "list_confirmations", json!({})).await;
    let page = &first["structuredContent"];
    assert!(page.to_string().chars().count() <= cap::LIMIT, "{}", page.to_string().len());
    assert!(page["note"].as_str().is_some_and(|note| note.contains("next_cursor")), "{page}");
    let shown = page["data"].as_array().unwrap().len();
    let next = json!({"cursor": page["next_cursor"].as_str().unwrap()});
    let second = server.call(Person::User, "list_confirmations", next).await;
    let more = second["structuredContent"]["data"].as_array().unwrap().len();
    assert!(shown + more == 12 && more > 0, "{shown} and {more} rows");
}

/// A table that is too long for a model ends at a record, and its cursor leads on.
#[tokio::test(flavor = "multi_thread")]
async fn long_tables_are_cut_between_records() {
    let server = Server::start().await;
    let week = json!({"dataset": "tool_calls_hourly", "start": "2026-10-01", "end": "2026-11-01"});
    let (mut arguments, mut hours) = (week.clone(), Vec::new());
    for page in 0.. {
        assert!(page < 20, "the cursor leads nowhere");
        let result =
            server.call(Person::Admin, "export_analytics_dataset", arguments.clone()).await;
        assert_eq!(result["isError"], false, "{result}");
        let answer = &result["structuredContent"];
        assert!(answer.to_string().chars().count() <= 25_000);
        let table = answer["csv"].as_str().unwrap();
        assert!(table.starts_with("hour,calls,") && table.ends_with("\r\n"), "{table}");
        hours.extend(table.lines().skip(1).map(|line| line.split(',').next().unwrap().to_owned()));
        match answer["next_cursor"].as_str() {
            Some(cursor) => {
                assert!(answer["note"].as_str().unwrap().contains("next_cursor"), "{answer}");
                arguments = week.clone();
                arguments["cursor"] = json!(cursor);
            }
            None => break,
        }
    }
    assert_eq!(hours.len(), 31 * 24);
    assert!(hours.is_sorted());
    let refusal = server.refusal(Person::User, "export_analytics_dataset", week).await;
    assert!(refusal.contains("role_missing"), "{refusal}");
}
