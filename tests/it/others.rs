//! No sequence of calls of the Runlayer MCP by somebody without a role reads what belongs to somebody else. The
//! calls are random, made from the input schemas of whatever tools there are; ids, names and cursors of
//! others are among the values.

use gateway_tests::rig::{Rig, Setup, check};
use gateway_tests::wait::eventually;
use serde_json::{Map, Value, json};
use std::time::Duration;

use crate::faults::Dice;

const ROUNDS: usize = 250;
/// Stands in everything that is Bob's: what he calls with, what he makes, what he asks for.
const MARK: &str = "bobs-own-5d02e7";
/// What nobody without a role may read of others, but for what they said themselves.
const ADDRESSES: [&str; 2] = ["alice@example.com", "bob@example.com"];

/// Bob leaves a trace of every kind behind.
async fn leave_traces(rig: &Rig) {
    let bob = rig.client("bob");
    for text in [MARK.to_owned(), format!("forbidden {MARK}")] {
        bob.call("echo", json!({"text": text})).await;
    }
    bob.call("hidden", json!({"text": MARK})).await;
    bob.call("delete_item", json!({"item": MARK})).await;
    let runlayer = rig.client_of("bob", "runlayer");
    let listed = runlayer.modern("tools/list", json!({})).await.names("tools");
    let makes = [
        ("create_agent_account", json!({"name": MARK, "confirm": true})),
        ("create_delegation", json!({"agent": MARK, "servers": ["fake"], "confirm": true})),
        (
            "request_access",
            json!({"server_id": "fake", "tools": ["hidden"], "reason": MARK, "confirm": true}),
        ),
    ];
    for (tool, arguments) in makes.into_iter().filter(|(tool, _)| listed.iter().any(|t| t == tool))
    {
        let reply = runlayer.call(tool, arguments).await.result();
        assert_ne!(reply["isError"], true, "{tool}: {reply}");
    }
    let found = eventually("Bob's rows are there", Duration::from_secs(20), async || {
        let rows = rig.ask("bob", "list_audit_logs", json!({})).await;
        (rows["data"].as_array()?.len() > 6).then_some(rows)
    });
    found.await;
}

/// Every id, name and address that others have, as an administrator and Bob see them; and their cursors.
async fn values(rig: &Rig) -> Vec<String> {
    let mut found: Vec<String> =
        ["fake", "runlayer", "*", "", "x", "2026-01-01T00:00:00Z", "bob", MARK]
            .map(Into::into)
            .into();
    for (who, tool) in [
        ("alice", "list_audit_logs"),
        ("bob", "list_audit_logs"),
        ("bob", "list_confirmations"),
        ("alice", "list_agent_accounts"),
        ("alice", "list_delegations"),
        ("alice", "list_policies"),
        ("bob", "list_access_requests"),
        ("alice", "list_users"),
        ("alice", "list_api_keys"),
    ] {
        let client = rig.client_of(who, "runlayer");
        let reply = client.call(tool, json!({"limit": 5})).await;
        collect(&reply.json()["result"]["structuredContent"], &mut found);
    }
    found.extend(ADDRESSES.map(Into::into));
    found.sort();
    found.dedup();
    found
}

/// The short texts in a value.
fn collect(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) if text.len() < 300 => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Object(members) => members.values().for_each(|member| collect(member, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Arguments that may fit the schema.
fn arguments(schema: &Value, values: &[String], dice: &mut Dice) -> Value {
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut given = Map::new();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        if required.contains(&name.as_str()) || dice.below(4) == 0 {
            given.insert(name.clone(), value(property, values, dice));
        }
    }
    Value::Object(given)
}

fn value(schema: &Value, values: &[String], dice: &mut Dice) -> Value {
    // Now and then what exists for everybody, so that more than the first check is reached.
    let any = |dice: &mut Dice| match dice.below(3) {
        0 => json!("fake"),
        _ => json!(values[dice.below(values.len() as u64) as usize]),
    };
    if let Some(choices) = schema["enum"].as_array() {
        return choices[dice.below(choices.len() as u64) as usize].clone();
    }
    match schema["type"].as_str() {
        Some("boolean") => json!(dice.below(4) != 0),
        Some("integer" | "number") => json!([1, 2, 50, 200][dice.below(4) as usize]),
        Some("array") => json!([value(&schema["items"], values, dice)]),
        Some("object") => arguments(schema, values, dice),
        Some(_) | None => any(dice),
    }
}

/// What of others stands in `seen` that the caller did not say.
fn leaked<'a>(seen: &str, said: &str, marks: &[&'a str]) -> Vec<&'a str> {
    marks.iter().filter(|mark| seen.contains(**mark) && !said.contains(**mark)).copied().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_without_a_role_reads_a_row_of_somebody_else() {
    let mut dice = Dice::new("others");
    check(Setup::default(), async |rig| {
        leave_traces(rig).await;
        let values = values(rig).await;
        let marks = [MARK, ADDRESSES[0], ADDRESSES[1]];
        let all = rig.ask("alice", "list_audit_logs", json!({"limit": 200})).await.to_string();
        assert!(!leaked(&all, "", &marks).is_empty(), "the check would see nothing: {all}");

        let carol = rig.client_of("carol", "runlayer");
        let tools = carol.modern("tools/list", json!({})).await.result()["tools"].clone();
        let tools = tools.as_array().unwrap();
        assert!(tools.len() > 20);
        let mut answered = 0;
        for _ in 0..ROUNDS {
            let tool = &tools[dice.below(tools.len() as u64) as usize];
            let name = tool["name"].as_str().unwrap();
            let arguments = arguments(&tool["inputSchema"], &values, &mut dice);
            let reply = carol.call(name, arguments.clone()).await;
            assert!(reply.status < 500, "{name} {arguments}: {}", reply.status);
            let seen = String::from_utf8_lossy(&reply.body).into_owned();
            let leaked = leaked(&seen, &arguments.to_string(), &marks);
            assert!(leaked.is_empty(), "{name} {arguments}\nshows {leaked:?} in\n{seen}");
            answered += usize::from(seen.contains("\"isError\":false"));
        }
        assert!(answered > ROUNDS / 25, "only {answered} calls were answered");
    })
    .await;
}
