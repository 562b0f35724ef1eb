//! What sensitive servers say is for roles that may read it, wherever it would show; and exports of the trail.

use std::sync::Arc;

use bytes::Bytes;
use gateway_core::ids::{CallId, EventId};
use gateway_core::reason::Reason;
use gateway_core::record::{ActionType, Event, Intent, Outcome, Subject};
use gateway_store::audit::EventFilter;
use serde_json::{Value, json};
use uuid::Uuid;

use super::house::{House, STATE};
use crate::Face;

const SECRET: &str = "canary-5d1f";

/// A failed call of that person's, with bodies and an error text that nobody else should read.
async fn call(house: &House, person: &str, server: &str) -> String {
    let snapshot = house.a.governance.snapshot();
    let server = snapshot.server(server).unwrap();
    let mut subject = Subject {
        server_id: Some(server.id),
        server_slug: Some(server.slug.to_string()),
        client_name: Some("Cursor".into()),
        client_ip: Some("127.0.0.1".into()),
        resource_type: Some("tool"),
        resource_name: Some("pay".into()),
        policy_ids: vec![policy(house, "engineers use tickets")],
        ..Subject::default()
    };
    subject.identified(&house.caller(person));
    let (subject, at) = (Arc::new(subject), house.a.governance.clock().now());
    let id = CallId(Uuid::now_v7());
    let text = |member: &str| Some(Bytes::from(json!({member: SECRET, "amount": 7}).to_string()));
    let trail = house.a.governance.trail();
    let intent =
        Intent { id, at, subject: subject.clone(), arguments: text("a"), request_bytes: 1 };
    let _durable = trail.record(intent).await.unwrap();
    let event = Event {
        id: EventId(Uuid::now_v7()),
        at,
        call: id,
        concludes_intent: true,
        subject,
        action: ActionType::ToolCallFailure,
        outcome: Outcome::Error,
        reason: Some(Reason::UpstreamInvalid),
        detail: Some(format!("it said {SECRET}")),
        latency_us: Some(1),
        upstream_us: None,
        request_bytes: None,
        response_bytes: None,
        arguments: None,
        result: text("r"),
        count: 1,
    };
    let id = event.id.to_string();
    trail.conclude(event);
    assert!(trail.flush(std::time::Duration::from_secs(10)).await);
    id
}

fn policy(house: &House, name: &str) -> String {
    let snapshot = house.a.governance.snapshot();
    snapshot.sources.iter().find(|source| source.spec.name == name).unwrap().id.to_string()
}

async fn entry(house: &House, person: &str, id: &str) -> Value {
    house.perform(person, Face::Rest, "get_audit_log", json!({"id": id})).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_sensitive_servers_are_for_roles_that_may_read_them() {
    let house = House::open().await;
    let open = call(&house, "bob", "tickets").await;
    let own = entry(&house, "bob", &open).await;
    assert!(own["arguments"]["text"].as_str().unwrap().contains(SECRET), "{own}");
    assert_eq!((&own["withheld"], &own["why_withheld"]), (&json!(false), &Value::Null));

    house
        .apply(&STATE.replace("title = \"Tickets\"", "title = \"Tickets\"\nsensitive = true"))
        .await;
    house.later(0).await;
    let vault = call(&house, "bob", "vault").await;
    // The switch counts for what is there already; who has the role, and who has it not: own calls, too.
    for (person, id, shown) in [
        ("sec", &open, true),
        ("root", &open, true),
        ("bob", &open, false),
        ("bob", &vault, true),
        ("sec", &vault, true),
    ] {
        let seen = entry(&house, person, id).await;
        assert_eq!(seen.to_string().contains(SECRET), shown, "{person} {seen}");
        assert_eq!(seen["withheld"], !shown);
        assert_eq!(seen["why_withheld"].is_string(), !shown);
        assert_eq!(
            (&seen["reason"], &seen["resource_id"]),
            (&json!("upstream_invalid"), &json!("pay"))
        );
        for format in ["csv", "json"] {
            let arguments = json!({"format": format, "server_id": seen["server_id"]});
            let all =
                house.perform(person, Face::Rest, "export_audit_logs", arguments).await.unwrap();
            assert_eq!(all.to_string().contains(SECRET), shown, "{person} {format} {all}");
        }
    }
    confirmations(&house).await;
    // Of a server that is gone nobody knows what it was; an answer that showed bodies is one itself.
    let state = STATE.replace("[[servers]]\nslug = \"vault\"", "[[servers]]\nslug = \"other\"");
    house
        .apply(&state.replace("title = \"Tickets\"", "title = \"Tickets\"\nsensitive = true"))
        .await;
    house.later(0).await;
    assert!(!entry(&house, "bob", &vault).await.to_string().contains(SECRET));
    assert!(entry(&house, "sec", &vault).await.to_string().contains(SECRET));
}

/// Whoever is asked sees what they agree to; whoever only made the call does not.
async fn confirmations(house: &House) {
    let mut waiting = house.waiting("bob", &["group:security"]);
    waiting.arguments = Some(json!({"a": SECRET}).to_string());
    let id = house.a.governance.confirmations().request(waiting).await.unwrap().id.to_string();
    for (person, shown) in [("dora", true), ("sec", true), ("root", true), ("bob", false)] {
        let one = house
            .perform(person, Face::Tools, "get_confirmation", json!({"id": id}))
            .await
            .unwrap();
        assert_eq!(one.to_string().contains(SECRET), shown, "{person} {one}");
        assert_eq!(one["withheld"], !shown);
        let all =
            house.perform(person, Face::Tools, "list_confirmations", json!({})).await.unwrap();
        assert_eq!(all.to_string().contains(SECRET), shown, "{person} {all}");
    }
    let mut asked = house.waiting("bob", &["caller"]);
    asked.arguments = Some(json!({"b": SECRET}).to_string());
    let id = house.a.governance.confirmations().request(asked).await.unwrap().id.to_string();
    let own =
        house.perform("bob", Face::Rest, "get_confirmation", json!({"id": id})).await.unwrap();
    assert!(own.to_string().contains(SECRET), "the person behind the call is asked: {own}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_says_how_it_was_decided() {
    let house = House::open().await;
    let a = &house.a.governance;
    let tickets = a.snapshot().server("tickets").unwrap().clone();
    a.learn(&tickets, None, &house.caller("bob")).await.unwrap();
    let id = call(&house, "bob", "tickets").await;
    for person in ["bob", "sec"] {
        let seen = entry(&house, person, &id).await;
        let policies = seen["policies"].as_array().unwrap();
        let told: Vec<_> = policies
            .iter()
            .map(|p| {
                (p["name"].as_str().unwrap(), p["effect"].as_str().unwrap(), p["deciding"] == true)
            })
            .collect();
        let expected =
            [("engineers use tickets", "allow", true), ("not much at once", "deny", false)];
        assert_eq!(told, expected, "{seen}");
        assert!(policies[1]["why"].as_str().unwrap().contains("does not hold"), "{seen}");
        assert_eq!(seen["findings"], json!([]));
    }
    // What is gone keeps its id.
    house.apply(&STATE[..STATE.find("[[policies]]").unwrap()]).await;
    house.later(0).await;
    let seen = entry(&house, "sec", &id).await;
    assert_eq!(
        (&seen["policies"][0]["name"], &seen["policies"][0]["deciding"]),
        (&Value::Null, &json!(true))
    );
    assert!(seen["policies"][0]["id"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_hold_every_row_that_may_be_seen_once() {
    let house = House::open().await;
    for n in 0..25 {
        call(&house, ["bob", "dora"][n % 2], "tickets").await;
    }
    let export = |person: &'static str, arguments: Value| {
        house.perform(person, Face::Tools, "export_audit_logs", arguments)
    };
    let filter =
        EventFilter { action_types: vec!["tool_call_failure".into()], ..EventFilter::default() };
    let rows = house.all_rows(&filter).await;
    assert_eq!(rows.len(), 25);
    let mut arguments = json!({"action_type": ["tool_call_failure"], "format": "json", "limit": 7});
    let mut seen = Vec::new();
    loop {
        let page = export("sec", arguments.clone()).await.unwrap();
        let data = page["data"].as_array().unwrap();
        assert!(data.len() <= 7 && page.get("csv").is_none());
        seen.extend(data.iter().map(|row| row["id"].as_str().unwrap().to_owned()));
        match page["next_cursor"].as_str() {
            Some(cursor) => arguments["cursor"] = json!(cursor),
            None => break,
        }
    }
    let expected: Vec<String> = rows.iter().map(|row| row.id.to_string()).collect();
    assert_eq!(seen, expected);
    // One's own, whatever is asked; others' filters find nothing.
    let of = |person: &str| {
        let person = format!("{person}@example.com");
        rows.iter().filter(|row| row.actor_email.as_deref() == Some(&*person)).count()
    };
    for (person, filter, count) in [
        ("sec", json!({}), 25),
        ("bob", json!({}), of("bob")),
        ("it", json!({}), 0),
        ("carol", json!({"actor_id": "bob@example.com"}), 0),
        ("bob", json!({"actor_id": "dora@example.com"}), 0),
        ("sec", json!({"actor_id": "dora@example.com"}), of("dora")),
        ("sec", json!({"client_name": "Cursor", "server_id": "tickets", "outcome": "error"}), 25),
        ("sec", json!({"resource_type": "tool", "resource_id": "list"}), 0),
        ("sec", json!({"end": "2020-01-01T00:00:00Z"}), 0),
    ] {
        let mut arguments = json!({"action_type": ["tool_call_failure"]});
        arguments.as_object_mut().unwrap().extend(filter.as_object().unwrap().clone());
        let answer = export(person, arguments).await.unwrap();
        let text = answer["csv"].as_str().unwrap();
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        assert_eq!(&reader.headers().unwrap()[0], "id");
        assert_eq!(reader.records().map(Result::unwrap).count(), count, "{person} {filter}");
    }
    for (wrong, field) in [
        (
            json!({"action_type": ["tool_call_failur"]}),
            "action_type: there is no \"tool_call_failur\"; did you mean",
        ),
        (
            json!({"action_type": ["x"]}),
            "action_type: there is no \"x\"; expected any of auth_success",
        ),
        (
            json!({"start": "2026-01-02T00:00:00Z", "end": "2026-01-01T00:00:00Z"}),
            "start: expected an instant before",
        ),
        (json!({"limit": 10_001}), "limit: expected 1 to 10000"),
        (json!({"limit": 0}), "limit: expected 1 to 10000"),
        (json!({"cursor": "x"}), "cursor: expected"),
        (json!({"correlation_id": "x"}), "correlation_id: expected a UUID"),
    ] {
        let refused = export("sec", wrong.clone()).await.unwrap_err();
        assert_eq!(refused.reason, Reason::InvalidParams);
        assert!(refused.detail.starts_with(field), "{wrong}: {}", refused.detail);
    }
}
