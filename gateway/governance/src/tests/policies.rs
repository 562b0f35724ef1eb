//! Policies written by operations: previewed, versioned, brought back; by whom; and what two writers do to
//! each other.

use gateway_core::decision::Target;
use gateway_core::reason::Reason;
use serde_json::{Value, json};

use super::house::{House, STATE, circumstances, eventually};
use crate::operations::spec;
use crate::{Face, Governance, Refused};

/// Carol, who is no engineer, may do everything on `tickets`.
fn carols() -> Value {
    json!({
        "name": "carol helps", "effect": "allow", "principals": ["user:carol@example.com"],
        "server": "tickets", "tools": ["*"]
    })
}

fn sees(governance: &Governance, house: &House, person: &str, tool: &str) -> bool {
    let snapshot = governance.snapshot();
    let server = snapshot.server("tickets").unwrap();
    governance.listed(
        &snapshot,
        &house.caller(person),
        server,
        Target::Tool(tool),
        &circumstances(),
    )
}

/// The server's tools are known, as they are once anybody has used it.
async fn learned() -> House {
    let house = House::open().await;
    let a = &house.a.governance;
    let tickets = a.snapshot().server("tickets").unwrap().clone();
    a.learn(&tickets, None, &house.caller("bob")).await.unwrap();
    house.later(0).await;
    house
}

async fn tool(house: &House, operation: &str, arguments: Value) -> Result<Value, Refused> {
    house.perform("sec", Face::Tools, operation, arguments).await
}

async fn versions(house: &House, policy: &str) -> Vec<Value> {
    let page = tool(house, "list_policy_versions", json!({"policy_id": policy})).await.unwrap();
    page["data"].as_array().unwrap().clone()
}

/// version, what, by, of each, newest first.
fn told(versions: &[Value]) -> Vec<(i64, String, Option<String>)> {
    let row = |v: &Value| {
        let text = |member: &str| v[member].as_str().map(str::to_owned);
        (v["version"].as_i64().unwrap(), text("what").unwrap(), text("by"))
    };
    versions.iter().map(row).collect()
}

fn version(number: i64, what: &str, by: &str) -> (i64, String, Option<String>) {
    (number, what.into(), Some(format!("{by}@example.com")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_previewed_then_made_then_seen_everywhere() {
    let house = learned().await;
    let (a, b) = (&house.a.governance, &house.b.governance);
    let version_before = house.a.store.catalogue_version().await.unwrap();

    // A preview: the Cedar text, and exactly who gains what. Nothing changes.
    let refused = tool(&house, "create_policy", json!({"spec": carols()})).await.unwrap_err();
    assert_eq!(refused.reason, Reason::ConfirmMissing);
    let preview = refused.preview.unwrap();
    assert_eq!(preview["before"], Value::Null);
    let after = &preview["after"];
    assert!(after["cedar"].as_str().unwrap().contains("principal == User::\"carol@example.com\""));
    let effects = &after["effects"];
    let row = json!({
        "principal": "carol@example.com", "server": "tickets",
        "gained": ["list", "pay (conditional)", "drop_all"]
    });
    assert_eq!(effects["rows"], json!([row]));
    assert_eq!((&effects["principals"], &effects["gained"]), (&json!(1), &json!(3)));
    assert_eq!((&effects["lost"], &effects["complete"]), (&json!(0), &json!(true)));
    assert_eq!(house.a.store.catalogue_version().await.unwrap(), version_before);
    assert_eq!(a.snapshot().sources.len(), 2);
    assert!(!sees(a, &house, "carol", "list"));

    // Made: listings change on both replicas, and the trail says before and after.
    let origin = house.origin(Face::Rest);
    let create = json!({"spec": carols(), "confirm": true});
    let made = house.perform_from("sec", &origin, "create_policy", create).await.unwrap();
    let id = made["id"].as_str().unwrap().to_owned();
    assert_eq!((&made["version"], &made["deleted"]), (&json!(1), &json!(false)));
    assert_eq!(made["effects"], *effects);
    assert!(sees(a, &house, "carol", "drop_all"));
    eventually("b shows it", async || sees(b, &house, "carol", "drop_all")).await;
    let rows = house.rows(origin.call).await;
    let kinds: Vec<_> = rows.iter().map(|row| row.action_type.as_str()).collect();
    assert_eq!(kinds, ["policy_created"]);
    assert_eq!(rows[0].resource_name.as_deref(), Some(&*id));

    // Read, by name and id; the one that is there by itself, too.
    let got = tool(&house, "get_policy", json!({"policy_id": "carol helps"})).await.unwrap();
    assert_eq!(got, tool(&house, "get_policy", json!({"policy_id": id})).await.unwrap());
    assert_eq!(got["spec"], carols());
    assert_eq!((&got["version"], &got["source"]), (&json!(1), &json!("api")));
    assert_eq!(got["changed_by"], "sec@example.com");
    assert_eq!(got["servers"], json!(["tickets"]));
    let own = json!({"policy_id": policies::RUNLAYER_POLICY.to_string()});
    assert_eq!(tool(&house, "get_policy", own).await.unwrap()["source"], "built_in");

    // Written anew: what it takes away and what it asks for.
    let narrow = json!({
        "name": "carol helps", "effect": "allow", "principals": ["user:carol@example.com"],
        "server": "tickets", "tools": ["list"]
    });
    let update = json!({"policy_id": id, "spec": narrow, "expected_version": 1});
    let preview = tool(&house, "update_policy", update.clone()).await.unwrap_err().preview.unwrap();
    assert_eq!(preview["before"]["spec"], carols());
    let lost = json!(["pay (conditional)", "drop_all"]);
    assert_eq!(preview["after"]["effects"]["rows"][0]["lost"], lost);
    let mut confirmed = update;
    confirmed["confirm"] = json!(true);
    assert_eq!(tool(&house, "update_policy", confirmed.clone()).await.unwrap()["version"], 2);
    assert!(sees(a, &house, "carol", "list") && !sees(a, &house, "carol", "drop_all"));
    let stale = tool(&house, "update_policy", confirmed).await.unwrap_err();
    assert_eq!(stale.reason, Reason::Conflict);
    assert!(stale.detail.contains("expected_version: it is at version 2"), "{}", stale.detail);

    let asks = json!({
        "name": "asked", "effect": "confirm", "principals": ["everyone"], "server": "tickets",
        "tools": ["list"]
    });
    let refused = tool(&house, "create_policy", json!({"spec": asks})).await.unwrap_err();
    let effects = &refused.preview.unwrap()["after"]["effects"];
    assert_eq!(effects["now_needs_confirmation"], 3, "bob, dora, carol: {effects}");
    let deny = json!({
        "name": "d", "effect": "deny", "principals": ["group:engineering"], "server": "tickets",
        "tools": ["pay"], "when": [{"arg": "amount", "op": "gt", "value": 10}]
    });
    let refused = tool(&house, "create_policy", json!({"spec": deny})).await.unwrap_err();
    let effects = &refused.preview.unwrap()["after"]["effects"];
    assert_eq!((&effects["depends"], &effects["lost"]), (&json!(2), &json!(0)), "{effects}");

    // Removed, and brought back under its id.
    let delete = json!({"policy_id": "carol helps", "confirm": true});
    assert_eq!(tool(&house, "delete_policy", delete).await.unwrap()["deleted"], true);
    assert!(!sees(a, &house, "carol", "list"));
    let gone = tool(&house, "get_policy", json!({"policy_id": id})).await.unwrap_err();
    assert_eq!(gone.reason, Reason::EntityNotFound);
    let restore = json!({"policy_id": "carol helps", "version": 1});
    let preview = tool(&house, "restore_policy", restore.clone()).await.unwrap_err();
    assert_eq!(preview.preview.unwrap()["after"]["effects"]["gained"], 3);
    let mut restore = restore;
    (restore["confirm"], restore["expected_version"]) = (json!(true), json!(3));
    let back = tool(&house, "restore_policy", restore.clone()).await.unwrap();
    assert_eq!((&back["id"], &back["version"]), (&json!(id), &json!(4)));
    assert!(sees(a, &house, "carol", "drop_all"));
    assert_eq!(tool(&house, "restore_policy", restore).await.unwrap_err().reason, Reason::Conflict);
    let all = versions(&house, &id).await;
    let by = "sec";
    let expected = [
        version(4, "created", by),
        version(3, "deleted", by),
        version(2, "updated", by),
        version(1, "created", by),
    ];
    assert_eq!(told(&all), expected);
    assert_eq!((&all[0]["spec"], &all[1]["spec"]), (&carols(), &narrow));
    // Pages end and go on.
    let first = tool(&house, "list_policy_versions", json!({"limit": 4})).await.unwrap();
    let next = json!({"limit": 200, "cursor": first["next_cursor"]});
    let second = tool(&house, "list_policy_versions", next).await.unwrap();
    let names: Vec<_> = second["data"].as_array().unwrap().iter().map(|v| &v["name"]).collect();
    assert_eq!(names, ["not much at once", "engineers use tickets"]);
    assert_eq!((&second["next_cursor"], &second["data"][0]["by"]), (&Value::Null, &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn apply_and_operations_get_along() {
    let house = learned().await;
    let create = json!({"spec": carols(), "confirm": true});
    let made = tool(&house, "create_policy", create).await.unwrap();
    let id = made["id"].as_str().unwrap();
    // Pruning leaves it alone.
    house.apply(STATE).await;
    house.later(0).await;
    assert!(sees(&house.a.governance, &house, "carol", "list"));
    // A file that names it takes it over, as it takes groups over; from then on pruning removes it.
    let file = "[[policies]]\nname = \"carol helps\"\neffect = \"deny\"\nprincipals = [\"everyone\"]\nserver = \"vault\"\n";
    house.apply(&format!("{STATE}{file}")).await;
    house.later(0).await;
    let got = tool(&house, "get_policy", json!({"policy_id": id})).await.unwrap();
    assert_eq!((&got["source"], &got["spec"]["effect"]), (&json!("apply"), &json!("deny")));
    assert_eq!((&got["changed_by"], &got["version"]), (&Value::Null, &json!(2)));
    house.apply(STATE).await;
    let told = told(&versions(&house, id).await);
    let expected =
        [(3, "deleted".into(), None), (2, "updated".into(), None), version(1, "created", "sec")];
    assert_eq!(told, expected);
    // What is brought back is nobody's file's.
    let restore = json!({"policy_id": id, "version": 2, "confirm": true});
    assert_eq!(tool(&house, "restore_policy", restore).await.unwrap()["version"], 4);
    house.apply(STATE).await;
    house.later(0).await;
    assert_eq!(
        tool(&house, "get_policy", json!({"policy_id": id})).await.unwrap()["source"],
        "api"
    );
    // An edit of a file's policy says that the file will win.
    let mut edited = carols();
    edited["name"] = json!("not much at once");
    let update = json!({"policy_id": "not much at once", "spec": edited, "confirm": true});
    let operation = (spec("update_policy").unwrap().read)(update).unwrap();
    let origin = house.origin(Face::Tools);
    let caller = house.caller("root");
    let answer = house.a.governance.perform(&caller, &origin, operation).await.unwrap();
    assert!(answer.note.unwrap().contains("the next apply undoes this"));
    house.apply(STATE).await;
    house.later(0).await;
    let got = tool(&house, "get_policy", json!({"policy_id": "not much at once"})).await.unwrap();
    assert_eq!((&got["spec"]["effect"], &got["version"]), (&json!("deny"), &json!(3)));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_at_once_lose_nothing() {
    let house = learned().await;
    let made = tool(&house, "create_policy", json!({"spec": carols(), "confirm": true})).await;
    let id = made.unwrap()["id"].as_str().unwrap().to_owned();
    house.later(0).await;
    let write = async |governance: &Governance, message: &str, expected: Option<i64>| {
        let mut text = carols();
        text["message"] = json!(message);
        let mut arguments = json!({"policy_id": id, "spec": text, "confirm": true});
        if let Some(expected) = expected {
            arguments["expected_version"] = json!(expected);
        }
        let operation = (spec("update_policy").unwrap().read)(arguments).unwrap();
        let (caller, origin) = (house.caller("sec"), house.origin(Face::Tools));
        governance.perform(&caller, &origin, operation).await
    };
    let (a, b) = (&house.a.governance, &house.b.governance);
    let mut expected = 1;
    for round in 0..5 {
        let words = [format!("a{round}"), format!("b{round}")];
        let both =
            tokio::join!(write(a, &words[0], Some(expected)), write(b, &words[1], Some(expected)));
        let (done, refused) = match both {
            (Ok(done), Err(refused)) | (Err(refused), Ok(done)) => (done, refused),
            other => panic!("{other:?}"),
        };
        assert_eq!(refused.reason, Reason::Conflict, "{refused}");
        expected += 1;
        assert_eq!(done.value["version"], expected);
    }
    // Without a version: whatever is written is a version, and what is refused is not.
    let both = tokio::join!(write(a, "x", None), write(b, "y", None));
    let written = i64::from(both.0.is_ok()) + i64::from(both.1.is_ok());
    assert!(written >= 1);
    for refused in [both.0.err(), both.1.err()].into_iter().flatten() {
        assert_eq!(refused.reason, Reason::Conflict);
    }
    assert_eq!(versions(&house, &id).await.len() as i64, expected + written);
    // Of two of the same name one comes in.
    let create = async |governance: &Governance| {
        let mut text = carols();
        text["name"] = json!("twice");
        let arguments = json!({"spec": text, "confirm": true});
        let operation = (spec("create_policy").unwrap().read)(arguments).unwrap();
        let (caller, origin) = (house.caller("sec"), house.origin(Face::Tools));
        governance.perform(&caller, &origin, operation).await
    };
    let both = tokio::join!(create(a), create(b));
    let refused = match both {
        (Ok(_), Err(refused)) | (Err(refused), Ok(_)) => refused,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused.reason, Reason::Conflict);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused_with_its_field() {
    let house = learned().await;
    let with = |member: &str, value: Value| {
        let mut text = carols();
        text[member] = value;
        json!({"spec": text, "confirm": true})
    };
    let before = house.a.store.policies().await.unwrap();
    let many = "x".repeat(300_000);
    let create = [
        (with("effect", json!("permit")), "spec.effect: expected allow, deny or confirm"),
        (with("principals", json!(["bob"])), "spec.principals"),
        (with("principals", json!(["group:ghosts"])), "spec.principals[0]: there is no group"),
        (with("principals", json!(["user:x@example.com"])), "spec.principals[0]: there is no user"),
        (
            with("server", json!("tikets")),
            "spec.server: there is no server \"tikets\"; did you mean \"tickets\"?",
        ),
        (with("when", json!([{"arg": "a", "op": "about", "value": 1}])), "spec.when[0].op"),
        (with("name", json!("")), "spec.name"),
        (
            with("cedar", json!("permit (principal, action, resource);")),
            "spec.effect: expected nothing",
        ),
        (with("message", json!(many)), "spec: expected at most"),
        (with("until", json!("2026-01-01T00:00:00Z")), "spec.until: expected an instant to come"),
        (with("colour", json!("red")), "unknown field `colour`"),
        (json!({"spec": {"name": "c", "cedar": "permit (principal)"}}), "spec.cedar"),
        (
            json!({"spec": {"name": "c", "cedar": "permit (principal, action, resource) when { context.x };"}}),
            "spec.cedar",
        ),
        (json!({"spec": {"effect": "allow"}}), "missing field `name`"),
    ];
    for (arguments, field) in create {
        for person in ["sec", "root"] {
            let refused =
                house.perform(person, Face::Rest, "create_policy", arguments.clone()).await;
            let refused = refused.unwrap_err();
            assert_eq!(refused.reason, Reason::InvalidParams, "{field}");
            assert!(refused.detail.contains(field), "{field}: {}", refused.detail);
        }
    }
    let taken = with("name", json!("not much at once"));
    let refused = tool(&house, "create_policy", taken).await.unwrap_err();
    assert_eq!(refused.reason, Reason::Conflict);
    assert!(refused.detail.contains("spec.name"), "{}", refused.detail);
    let others = [
        (
            "restore_policy",
            json!({"policy_id": "not much at once", "version": 9}),
            "version: expected 1 to 1",
        ),
        ("list_policy_versions", json!({"limit": 0}), "limit: expected 1 to 200"),
        ("list_policy_versions", json!({"cursor": "x"}), "cursor"),
        ("replay_policy", json!({}), "spec: expected a spec"),
        ("replay_policy", json!({"policy_id": "not much at once"}), "spec: expected a spec"),
        ("replay_policy", json!({"spec": carols(), "delete": true}), "spec: expected a spec"),
        ("replay_policy", json!({"spec": carols(), "limit": 51}), "limit: expected 1 to 50"),
        ("replay_policy", json!({"spec": carols(), "start": "today"}), "start: expected RFC 3339"),
        (
            "replay_policy",
            json!({"spec": carols(), "start": "2026-01-02T00:00:00Z", "end": "2026-01-01T00:00:00Z"}),
            "start: expected before end",
        ),
        ("replay_policy", json!({"spec": carols(), "cursor": "x"}), "cursor"),
    ];
    for (operation, arguments, field) in others {
        let refused = tool(&house, operation, arguments.clone()).await.unwrap_err();
        assert_eq!(refused.reason, Reason::InvalidParams, "{operation} {arguments}");
        assert!(refused.detail.contains(field), "{field}: {}", refused.detail);
    }
    for absent in ["get_policy", "delete_policy"] {
        let refused = tool(&house, absent, json!({"policy_id": "nothing"})).await.unwrap_err();
        assert_eq!(refused.reason, Reason::EntityNotFound);
    }
    assert_eq!(house.a.store.policies().await.unwrap(), before, "nothing was written");
}

/// Whoever administers one server reads what is about it and nothing else, and writes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn server_admins_read_their_servers_policies() {
    let house = learned().await;
    let vaults = json!({
        "name": "the vault's", "effect": "deny", "principals": ["everyone"], "server": "vault"
    });
    tool(&house, "create_policy", json!({"spec": vaults, "confirm": true})).await.unwrap();
    let admins = "title = \"Tickets\"\nadmins = [\"bob@example.com\"]";
    house.apply(&STATE.replace("title = \"Tickets\"", admins)).await;
    house.later(0).await;
    let ask = |operation: &'static str, arguments: Value| {
        house.perform("bob", Face::Rest, operation, arguments)
    };
    let listed = ask("list_server_policies", json!({"server_id": "tickets"})).await.unwrap();
    assert_eq!(listed["data"].as_array().unwrap().len(), 2);
    assert!(ask("get_policy", json!({"policy_id": "not much at once"})).await.is_ok());
    let denied = [
        ("get_policy", json!({"policy_id": "the vault's"})),
        ("get_policy", json!({"policy_id": "nothing"})),
        ("list_policies", json!({})),
        ("list_policy_versions", json!({"policy_id": "not much at once"})),
        ("create_policy", json!({"spec": carols()})),
        ("update_policy", json!({"policy_id": "not much at once", "spec": carols()})),
        ("delete_policy", json!({"policy_id": "not much at once"})),
        ("restore_policy", json!({"policy_id": "not much at once", "version": 1})),
        ("replay_policy", json!({"spec": carols()})),
    ];
    for (operation, arguments) in denied {
        let refused = ask(operation, arguments.clone()).await.unwrap_err();
        assert_eq!(refused.reason, Reason::RoleMissing, "{operation} {arguments}");
    }
}
