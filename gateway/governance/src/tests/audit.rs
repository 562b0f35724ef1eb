//! What operations leave in the trail, and who may read it.

use gateway_core::Clock;
use gateway_core::ids::{CallId, EventId};
use gateway_core::reason::Reason;
use gateway_core::record::{ActionType, Event, Outcome, Subject};
use gateway_store::audit::{EventFilter, Only};
use serde_json::{Value, json};

use super::house::House;
use crate::Face;

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_leaves_its_records() {
    let house = House::open().await;
    let off = json!({"server_id": "tickets", "status": "disabled", "confirm": true});
    // face, person, operation, arguments: the rows of the exchange
    type Case = (Face, &'static str, &'static str, Value, &'static [(&'static str, &'static str)]);
    let cases: &[Case] = &[
        (Face::Rest, "bob", "list_servers", json!({}), &[("operation_read", "ok")]),
        (Face::Tools, "bob", "list_servers", json!({}), &[]),
        (Face::Rest, "bob", "list_policies", json!({}), &[("access_denied", "denied")]),
        (Face::Tools, "bob", "list_policies", json!({}), &[]),
        (Face::Rest, "bob", "set_server_status", off.clone(), &[("access_denied", "denied")]),
        (Face::Tools, "bob", "set_server_status", off.clone(), &[]),
        (Face::Tools, "it", "set_server_status", off.clone(), &[("server_disabled", "ok")]),
        (Face::Rest, "it", "set_server_status", off, &[("server_disabled", "ok")]),
        (
            Face::Tools,
            "it",
            "set_server_status",
            json!({"server_id": "tickets", "status": "active"}),
            &[],
        ),
        (
            Face::Rest,
            "it",
            "set_server_status",
            json!({"server_id": "tickets", "status": "active"}),
            &[("server_enabled", "ok")],
        ),
        (
            Face::Rest,
            "it",
            "set_server_status",
            json!({"server_id": "absent", "status": "active"}),
            &[("access_denied", "denied")],
        ),
    ];
    for (face, person, operation, arguments, expected) in cases {
        let origin = house.origin(*face);
        let _ = house.perform_from(person, &origin, operation, arguments.clone()).await;
        let rows = house.rows(origin.call).await;
        let got: Vec<(&str, &str)> =
            rows.iter().map(|row| (row.action_type.as_str(), row.outcome.as_str())).collect();
        assert_eq!(&got, expected, "{face:?} {person} {operation} {arguments}");
        for row in &rows {
            assert_eq!(row.actor_email, Some(format!("{person}@example.com")));
            assert_eq!(row.method.as_deref(), Some(*operation));
            // A change was recorded before it was made; in the tools' face the line has done that.
            let detail = house.a.store.get_event(row.id, Only::default()).await.unwrap().unwrap();
            let changed = row.outcome == "ok" && row.action_type.starts_with("server_");
            assert_eq!(detail.intended_at.is_some(), changed && *face == Face::Rest);
            if changed {
                let result: Value = serde_json::from_slice(&detail.result.unwrap().bytes).unwrap();
                assert!(
                    result["before"]["status"].is_string() && result["after"]["status"].is_string()
                );
                assert_eq!(row.server_slug.as_deref(), Some("tickets"));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_read_their_own_entries_and_auditors_everybodys() {
    let house = House::open().await;
    let mut calls = Vec::new();
    for person in ["bob", "carol", "sec"] {
        let origin = house.origin(Face::Rest);
        house.perform_from(person, &origin, "list_servers", json!({})).await.unwrap();
        calls.push(origin.call);
    }
    let rows = house.all_rows(&EventFilter::default()).await;
    let id_of = |call: CallId| rows.iter().find(|row| row.correlation_id == call).unwrap().id;
    let logs = |person: &'static str, arguments: Value| {
        house.perform(person, Face::Tools, "list_audit_logs", arguments)
    };
    let actors = |value: &Value| {
        let rows = value["data"].as_array().unwrap().iter();
        let mut actors: Vec<_> =
            rows.map(|row| row["actor_email"].as_str().unwrap_or("-").to_owned()).collect();
        actors.sort();
        actors.dedup();
        actors
    };
    let bob = house.caller("bob").user.id.to_string();
    let carol = house.caller("carol").user.id.to_string();
    assert_eq!(actors(&logs("bob", json!({})).await.unwrap()), ["bob@example.com"]);
    assert_eq!(actors(&logs("it", json!({})).await.unwrap()), [""; 0], "it_admin is no auditor");
    let none = Vec::<String>::new();
    for foreign in
        [json!({"actor_id": carol}), json!({"correlation_id": calls[1]}), json!({"actor_id": "x"})]
    {
        assert_eq!(actors(&logs("bob", foreign.clone()).await.unwrap()), none, "{foreign}");
    }
    let everybody = actors(&logs("sec", json!({})).await.unwrap());
    assert!(everybody.len() >= 3, "{everybody:?}");
    let only_bob = logs("sec", json!({"actor_id": bob})).await.unwrap();
    assert_eq!(actors(&only_bob), ["bob@example.com"]);
    let by_mail = logs("sec", json!({"actor_id": "bob@example.com"})).await.unwrap();
    assert_eq!(by_mail["data"], only_bob["data"]);

    // One entry: a foreign one answers like an absent one.
    let get = |person: &'static str, id: String| {
        house.perform(person, Face::Tools, "get_audit_log", json!({"id": id}))
    };
    let own = get("bob", id_of(calls[0]).to_string()).await.unwrap();
    assert_eq!(own["method"], "list_servers");
    assert!(get("sec", id_of(calls[1]).to_string()).await.is_ok());
    let foreign = get("bob", id_of(calls[1]).to_string()).await.unwrap_err();
    let absent = get("bob", uuid::Uuid::now_v7().to_string()).await.unwrap_err();
    let nonsense = get("bob", "x".into()).await.unwrap_err();
    assert_eq!((&foreign, &foreign), (&absent, &nonsense));

    // Pages: every entry once.
    let mut seen = Vec::new();
    let mut arguments = json!({"limit": 1});
    loop {
        let page = logs("sec", arguments.clone()).await.unwrap();
        seen.extend(page["data"].as_array().unwrap().iter().map(|row| row["id"].clone()));
        match page["next_cursor"].as_str() {
            Some(cursor) => arguments["cursor"] = json!(cursor),
            None => break,
        }
    }
    let mut unique = seen.clone();
    unique.sort_by_key(Value::to_string);
    unique.dedup();
    assert_eq!(unique.len(), seen.len());
    assert!(seen.len() >= 3);

    for (wrong, field) in [
        (json!({"action_type": ["nonsense"]}), "action_type"),
        (json!({"start": "yesterday"}), "start"),
        (json!({"end": "2026-01-01"}), "end"),
        (json!({"correlation_id": "x"}), "correlation_id"),
        (json!({"limit": 0}), "limit"),
        (json!({"limit": 201}), "limit"),
        (json!({"cursor": "x"}), "cursor"),
        (json!({"outcome": "good"}), "outcome"),
        (json!({"nonsense": 1}), "nonsense"),
    ] {
        let refused = logs("sec", wrong.clone()).await.unwrap_err();
        assert_eq!(refused.reason, Reason::InvalidParams, "{wrong}");
        assert!(
            refused.detail.contains(field) || field == "outcome",
            "{wrong}: {}",
            refused.detail
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_shown_once_and_recorded_nowhere() {
    let house = House::open().await;
    let (key, id) = house.key("bob").await;
    assert!(key.starts_with("rl_") && key.len() == 46);
    let rows = house.all_rows(&EventFilter::default()).await;
    let created = rows.iter().find(|row| row.action_type == "api_key_created").unwrap();
    assert_eq!(created.resource_name.as_deref(), Some(&*id));
    assert_eq!((created.actor_id, created.auth_method.as_deref()), (None, Some("command_line")));
    for row in &rows {
        let detail = house.a.store.get_event(row.id, Only::default()).await.unwrap().unwrap();
        let text = format!("{detail:?}");
        assert!(!text.contains(&key) && !text.contains(&key[3..]), "{text}");
        for payload in [detail.arguments, detail.result].into_iter().flatten() {
            assert!(!String::from_utf8_lossy(&payload.bytes).contains(&key[3..]));
        }
    }
    let keys = (crate::operations::spec("list_api_keys").unwrap().read)(json!({})).unwrap();
    let listed = house.operate(keys).await.unwrap().value.to_string();
    assert!(listed.contains(&id) && !listed.contains(&key[3..40]));
}

/// What was sent to a server that one may not enter looks like what was sent to none: in one's own entries, in
/// filters, in exports. Auditors see which it was.
#[tokio::test(flavor = "multi_thread")]
async fn ones_own_entries_do_not_tell_which_servers_there_are() {
    let house = House::open().await;
    let vault = house.a.governance.snapshot().server("vault").unwrap().id;
    let mut ids = Vec::new();
    for server in [Some(vault), None] {
        let mut subject = Subject {
            server_id: server,
            server_slug: Some("asked-for".into()),
            client_ip: Some("127.0.0.1".into()),
            method: Some("tools/call".into()),
            resource_type: Some("tool"),
            resource_name: Some("pay".into()),
            ..Subject::default()
        };
        subject.identified(&house.caller("carol"));
        let now = house.clock.now();
        let [id, call] = [(); 2].map(|()| house.a.governance.next_id(now));
        ids.push(id.to_string());
        let detail = if server.is_some() { "no policy allows anything on it" } else { "" };
        house.a.governance.trail().conclude(Event {
            reason: Some(Reason::ServerNotFound),
            detail: Some(detail.to_owned()).filter(|text| !text.is_empty()),
            arguments: Some("{\"a\":\"canary-4e\"}".into()),
            ..Event::new(
                EventId(id),
                now,
                CallId(call),
                subject,
                ActionType::AccessDenied,
                Outcome::Denied,
            )
        });
    }
    house.all_rows(&EventFilter::default()).await;
    let blank = |mut row: Value| {
        for member in ["id", "timestamp", "finished_at", "correlation_id"] {
            row[member] = Value::Null;
        }
        row
    };
    let own = |operation: &'static str, arguments: Value| {
        house.perform("carol", Face::Tools, operation, arguments)
    };
    let denied = json!({"action_type": ["access_denied"]});
    let rows = own("list_audit_logs", denied.clone()).await.unwrap()["data"].clone();
    assert_eq!(rows.as_array().unwrap().len(), 2);
    assert_eq!(blank(rows[0].clone()), blank(rows[1].clone()));
    let mut export = denied;
    export["format"] = json!("json");
    let rows = own("export_audit_logs", export).await.unwrap()["data"].clone();
    assert_eq!(rows.as_array().unwrap().len(), 2);
    assert_eq!(blank(rows[0].clone()), blank(rows[1].clone()));
    let mut details = Vec::new();
    for id in &ids {
        details.push(own("get_audit_log", json!({"id": id})).await.unwrap());
        let all =
            house.perform("sec", Face::Tools, "get_audit_log", json!({"id": id})).await.unwrap();
        assert!(all["arguments"]["text"].as_str().unwrap().contains("canary-4e"), "{all}");
    }
    assert_eq!(blank(details[0].clone()), blank(details[1].clone()));
    assert!(!details[0].to_string().contains("canary-4e"), "{}", details[0]);
    for server in ["vault".to_owned(), vault.to_string()] {
        let filter = json!({"server_id": server, "limit": 1});
        let found = own("list_audit_logs", filter.clone()).await.unwrap();
        assert_eq!(found, json!({"data": [], "next_cursor": null}), "{server}");
        let all = house.perform("sec", Face::Tools, "list_audit_logs", filter).await.unwrap();
        assert_eq!(all["data"][0]["server_id"], json!(vault));
    }
}
