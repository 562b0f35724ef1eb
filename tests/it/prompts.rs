//! What people ask the Runlayer MCP in their own words, answered as a model answers it: with the tools alone, in
//! an organisation where things went well, went wrong and were refused.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gateway_tests::rig::{POLICIES, Rig, Setup};
use gateway_tests::upstream::{Answer, Upstream};
use gateway_tests::wait::eventually;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(20);
const WIKI: &str = r#"
[[policies]]
name = "everybody reads the wiki"
effect = "allow"
principals = ["everyone"]
server = "wiki"
tools = ["search", "read_page"]
"#;

/// The calls of a morning: 4 echoes of Bob's, 2 searches that fail for one reason and 1 for another, 1 page
/// that times out behind the gateway, and 3 refusals.
async fn morning() -> Rig {
    let wiki = Upstream::start().await;
    let broken = |text: &str| {
        let content = json!([{"type": "text", "text": text}]);
        Answer::Result(json!({"content": content, "isError": true}).to_string())
    };
    for tool in ["search", "read_page", "edit_page"] {
        wiki.tool(tool, json!({}));
    }
    let server =
        format!("[[servers]]\nslug = \"wiki\"\ntitle = \"Wiki\"\nurl = \"{}\"\n", wiki.url());
    let setup = Setup { state: server, policies: format!("{POLICIES}{WIKI}"), ..Setup::default() };
    let mut rig = Rig::start(setup).await;
    let (bob, carol) = (rig.client("bob"), rig.client("carol"));
    for _ in 0..4 {
        assert_eq!(bob.call("echo", json!({"text": "hello"})).await.status, 200);
    }
    let at_wiki = rig.client_of("carol", "wiki");
    wiki.answer("search", broken("index is being rebuilt"));
    for _ in 0..2 {
        at_wiki.call("search", json!({"query": "holidays"})).await;
    }
    wiki.answer("search", broken("query too long"));
    at_wiki.call("search", json!({"query": "x"})).await;
    wiki.answer("read_page", Answer::error(500, -32000, "storage is down"));
    at_wiki.call("read_page", json!({"page": "1"})).await;
    for (client, tool, text) in
        [(&bob, "echo", "forbidden"), (&carol, "delete_item", "x"), (&carol, "list_items", "x")]
    {
        let refused = client.call(tool, json!({"text": text})).await;
        assert!(refused.refusal().is_some(), "{tool}");
    }
    rig.upstreams.push(wiki);
    let rig = rig;
    eventually("the morning is in the trail", PATIENCE, async || {
        let rows = failures(&rig).await;
        let denied = rig.ask("alice", "list_audit_logs", json!({"action_type": ["access_denied"]}));
        (rows.len() == 4 && denied.await["data"].as_array()?.len() == 3).then_some(())
    })
    .await;
    rig
}

async fn failures(rig: &Rig) -> Vec<Value> {
    let asked = json!({"action_type": ["tool_call_failure"], "limit": 200});
    rows(&rig.ask("alice", "list_audit_logs", asked).await)
}

fn rows(answer: &Value) -> Vec<Value> {
    answer["data"].as_array().unwrap_or_else(|| panic!("no page: {answer}")).clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn group_recent_failures_by_server_with_the_most_common_errors() {
    let rig = morning().await;
    let mut by_server: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
    for row in failures(&rig).await {
        assert!(row.get("result").is_none() && row.get("arguments").is_none(), "{row}");
        let entry = rig.ask("alice", "get_audit_log", json!({"id": row["id"]})).await;
        // What the server said; where it said nothing readable, what the gateway met.
        let said = [&entry["result"]["text"], &entry["detail"]];
        let said = said.into_iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ");
        let known = ["index is being rebuilt", "query too long", "status 500"];
        let error = known.into_iter().find(|error| said.contains(error));
        let error = error.unwrap_or_else(|| panic!("no error in {entry}"));
        let server = row["server"].as_str().unwrap().to_owned();
        *by_server.entry(server).or_default().entry(error.to_owned()).or_default() += 1;
    }
    let expected = [("index is being rebuilt", 2), ("query too long", 1), ("status 500", 1)];
    let expected = expected.map(|(error, count)| (error.to_owned(), count)).into();
    assert_eq!(by_server, BTreeMap::from([("wiki".to_owned(), expected)]));
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn show_the_sequence_of_a_correlation_id() {
    let rig = morning().await;
    let asked = rig.client("bob").call("delete_item", json!({"item": "one"})).await;
    let id = asked.refusal().expect("a confirmation is asked for").correlation_id;
    let waiting = rig.ask("bob", "list_confirmations", json!({})).await;
    let confirmation = rows(&waiting)[0]["id"].clone();
    let sequence = eventually("the exchange is in the trail", PATIENCE, async || {
        let found = rig.ask("alice", "list_audit_logs", json!({"correlation_id": id})).await;
        let found = rows(&found);
        (!found.is_empty()).then_some(found)
    })
    .await;
    let kinds: Vec<&str> = sequence.iter().filter_map(|row| row["action_type"].as_str()).collect();
    assert_eq!(kinds, ["confirmation_requested"], "{sequence:?}");
    let entry = rig.ask("alice", "get_audit_log", json!({"id": sequence[0]["id"]})).await;
    assert_eq!(entry["actor_email"], "bob@example.com");
    assert_eq!(entry["confirmation_id"], confirmation, "{entry}");
    assert_eq!(entry["policies"][0]["name"], "deleting needs a person", "{entry}");
    // What the call would do, although it waits.
    assert_eq!(entry["arguments"]["text"], "{\"item\":\"one\"}", "{entry}");
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn list_the_latest_policy_denials_with_actor_server_tool_and_reason() {
    let rig = morning().await;
    let asked = json!({"action_type": ["access_denied"], "server_id": "fake", "limit": 10});
    let denied = rows(&rig.ask("alice", "list_audit_logs", asked.clone()).await);
    let told = |row: &Value| {
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        [text("actor_email"), text("server"), text("resource_id"), text("reason")]
    };
    let told: Vec<[String; 4]> = denied.iter().map(told).collect();
    let expected = [
        ["carol@example.com", "fake", "list_items", "target_not_found"],
        ["carol@example.com", "fake", "delete_item", "target_not_found"],
        ["bob@example.com", "fake", "echo", "policy_denied"],
    ];
    assert_eq!(told, expected.map(|row| row.map(str::to_owned)), "newest first");
    let by_policy = &denied[2];
    let entry = rig.ask("alice", "get_audit_log", json!({"id": by_policy["id"]})).await;
    assert_eq!(entry["policies"][0]["name"], "nothing forbidden", "{entry}");
    // Carol asks the same and sees her own.
    let own = rows(&rig.ask("carol", "list_audit_logs", asked).await);
    assert_eq!(own.len(), 2);
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn which_servers_may_i_use_and_what_is_the_cursor_link() {
    let rig = morning().await;
    let mine = rows(&rig.ask("carol", "list_servers", json!({})).await);
    let mut slugs: Vec<&str> = mine.iter().filter_map(|row| row["slug"].as_str()).collect();
    slugs.sort_unstable();
    assert_eq!(slugs, ["fake", "runlayer", "wiki"]);
    let tools = rows(&rig.ask("carol", "list_server_tools", json!({"server_id": "wiki"})).await);
    let names: Vec<&str> = tools.iter().filter_map(|tool| tool["name"].as_str()).collect();
    assert_eq!(names, ["search", "read_page"]);
    let detail = rig.ask("carol", "get_server", json!({"name": "Wiki"})).await;
    let link = detail["install_links"]["cursor"].as_str().unwrap();
    let link = url::Url::parse(link).unwrap();
    assert_eq!(link.scheme(), "cursor");
    let config = link.query_pairs().find(|(name, _)| name == "config").unwrap().1.into_owned();
    let config: Value = serde_json::from_slice(&STANDARD.decode(config).unwrap()).unwrap();
    assert_eq!(config, json!({"url": detail["proxy_url"]}));
    // The link leads where calls pass.
    let through = rig.client_of("carol", "wiki").at(config["url"].as_str().unwrap());
    assert_eq!(through.modern("tools/list", json!({})).await.names("tools").len(), 2);
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compare_a_servers_tools_with_what_is_withheld_and_why() {
    let rig = morning().await;
    let all = rows(&rig.ask("alice", "list_server_tools", json!({"server_id": "wiki"})).await);
    let names = |allowed: bool| -> Vec<String> {
        let these = all.iter().filter(|tool| tool["allowed"] == allowed);
        these.map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(true), ["search", "read_page"]);
    let withheld = names(false);
    assert!(withheld.contains(&"edit_page".to_owned()), "{withheld:?}");
    let edit = all.iter().find(|tool| tool["name"] == "edit_page").unwrap();
    assert!(edit["why_withheld"].as_str().is_some_and(|why| !why.is_empty()), "{edit}");
    let asked = json!({"principal": "carol@example.com", "server": "wiki", "tool": "edit_page"});
    let why = rig.ask("alice", "explain_access", asked).await;
    assert_eq!(why["verdict"], "deny", "{why}");
    rig.finish().await;
}

/// A report's rows.
async fn report(rig: &Rig, arguments: Value) -> Vec<Value> {
    let mut arguments = arguments;
    arguments["format"] = json!("json");
    rows(&rig.ask("alice", "export_analytics_dataset", arguments).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn top_tools_calls_per_hour_and_clients_ranked() {
    let rig = morning().await;
    // Top tools of the last 30 days with failure rate.
    let top = report(&rig, json!({"dataset": "top_tools", "limit": 10})).await;
    let told = |row: &Value| {
        let (server, tool) = (row["server"].as_str().unwrap(), row["tool"].as_str().unwrap());
        let numbers = ["calls", "failures", "denied"].map(|name| row[name].as_u64().unwrap());
        (format!("{server}/{tool}"), numbers, row["failure_rate"].as_f64())
    };
    let top: Vec<_> = top.iter().map(told).filter(|row| !row.0.starts_with("runlayer/")).collect();
    for expected in [
        ("fake/echo".to_owned(), [4, 0, 1], Some(0.0)),
        ("wiki/search".to_owned(), [3, 3, 0], Some(1.0)),
        ("wiki/read_page".to_owned(), [1, 1, 0], Some(1.0)),
    ] {
        assert!(top.contains(&expected), "{expected:?} in {top:?}");
    }
    // The same as CSV.
    let csv = rig.ask("alice", "export_analytics_dataset", json!({"dataset": "top_tools"})).await;
    let csv = csv["csv"].as_str().unwrap().to_owned();
    let head = csv.lines().next().unwrap();
    assert!(head.starts_with("server,server_id,tool,calls,failures,failure_rate"), "{head}");
    assert!(
        csv.lines().any(|line| line.starts_with("fake,") && line.contains(",echo,4,0,")),
        "{csv}"
    );

    // Calls per hour of the last 7 days: 8 at the two servers, and those of this test at the Runlayer MCP.
    let now = time::OffsetDateTime::now_utc();
    let rfc3339 = |at: time::OffsetDateTime| {
        at.format(&time::format_description::well_known::Rfc3339).unwrap()
    };
    let week = json!({"dataset": "tool_calls_hourly", "start": rfc3339(now - time::Duration::days(7)),
        "end": rfc3339(now + time::Duration::minutes(15))});
    let hours = report(&rig, week).await;
    let calls: u64 = hours.iter().map(|hour| hour["calls"].as_u64().unwrap()).sum();
    assert!(calls >= 8, "{hours:?}");
    assert!(hours.iter().all(|hour| hour["hour"].as_str().unwrap().ends_with("Z")
        || hour["hour"].as_str().unwrap().ends_with("+00:00")));

    // MCP clients ranked.
    let clients = report(&rig, json!({"dataset": "mcp_clients"})).await;
    assert_eq!(clients[0]["client"], "rig", "{clients:?}");
    // Without the role nobody sees any of it.
    let carol = rig.client_of("carol", "runlayer");
    let refused = carol.call("export_analytics_dataset", json!({"dataset": "top_users"})).await;
    assert_eq!(refused.refusal().map(|seen| seen.reason), Some("role_missing".into()));
    rig.finish().await;
}
