//! Access that is asked for, granted by somebody else, and ends by itself.

use gateway_core::caller::Caller;
use gateway_core::decision::{Circumstances, Target, Verdict};
use gateway_core::reason::Reason;
use gateway_core::{Clock, Timestamp};
use gateway_store::audit::{EventEntry, EventFilter};
use gateway_store::notice::Channel;
use serde_json::{Value, json};

use super::agents::enters;
use super::house::{House, circumstances, eventually};
use super::world::World;
use crate::settings::WebhookSettings;
use crate::testing::settings;
use crate::{Attempt, Face, Governance, GovernanceSettings, Snapshot};

const HOUR: i64 = 3600;

fn at(now: Timestamp) -> Circumstances {
    Circumstances { now, ..circumstances() }
}

/// What policy says now to `caller` about a tool of `tickets`, and whether it is listed.
fn access(
    governance: &Governance,
    snapshot: &Snapshot,
    caller: &Caller,
    tool: &str,
) -> (Verdict, bool) {
    let server = snapshot.server("tickets").unwrap();
    let circumstances = at(governance.clock().now());
    let target = Target::Tool(tool);
    let attempt = Attempt {
        server,
        target,
        arguments: None,
        circumstances: &circumstances,
        confirmed: false,
    };
    let verdict = governance.decide(snapshot, caller, &attempt);
    (verdict, governance.listed(snapshot, caller, server, target, &circumstances))
}

fn allowed(governance: &Governance, caller: &Caller, tool: &str) -> bool {
    let (verdict, listed) = access(governance, &governance.snapshot(), caller, tool);
    let allowed = matches!(verdict, Verdict::Allow { .. });
    assert_eq!(allowed, listed, "listed if and only if callable");
    allowed
}

async fn ask(house: &House, name: &str, arguments: Value) -> String {
    let row = house.perform(name, Face::Rest, "request_access", arguments).await.unwrap();
    row["id"].as_str().unwrap().to_owned()
}

fn decide(id: &str, decision: &str) -> Value {
    json!({"id": id, "decision": decision, "confirm": true})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_counts_on_every_replica_until_its_end_and_no_longer() {
    // Nobody sweeps: what happens at the end is the snapshots' and the policies' own doing.
    let settings = GovernanceSettings { serves: false, ..settings() };
    let house = House::open_with(&settings, std::sync::Arc::new(World::default())).await;
    let [a, b] = [&house.a.governance, &house.b.governance];
    let carol = house.caller("carol");
    let before = a.refresh().await.unwrap();
    assert!(!enters(a, &carol, "tickets") && !allowed(a, &carol, "list"));

    let wanted = json!({"server_id": "tickets", "tools": ["pay", "list", "list"], "reason": "on call", "duration": "1h"});
    let preview = house.perform("carol", Face::Tools, "request_access", wanted.clone()).await;
    assert_eq!(preview.unwrap_err().reason, Reason::ConfirmMissing);
    let none =
        house.perform("carol", Face::Tools, "list_access_requests", json!({})).await.unwrap();
    assert_eq!(none["data"], json!([]));
    let id = ask(&house, "carol", wanted.clone()).await;
    // The same again is the same, whoever counts the tools how often.
    let again = house.perform("carol", Face::Tools, "request_access", wanted).await.unwrap();
    assert_eq!(
        (again["id"].as_str(), &again["tools"]),
        (Some(id.as_str()), &json!(["list", "pay"]))
    );
    assert_eq!(again["status"], "pending");

    // What an approval would make is shown before it is made.
    let unconfirmed = json!({"id": id, "decision": "approve"});
    let preview = house.perform("sec", Face::Tools, "decide_access_request", unconfirmed).await;
    let after = preview.unwrap_err().preview.unwrap()["after"].clone();
    assert_eq!(after["policy"]["principals"], json!(["user:carol@example.com"]));
    assert_eq!(after["policy"]["until"], after["expires_at"]);
    let cedar = after["cedar"].as_str().unwrap();
    assert!(
        cedar.contains("context.now < datetime(") && cedar.contains("Server::\"tickets\""),
        "{cedar}"
    );
    assert_eq!(a.refresh().await.unwrap().version, before.version, "nothing was changed");

    let row =
        house.perform("sec", Face::Tools, "decide_access_request", decide(&id, "approve")).await;
    let row = row.unwrap();
    assert_eq!((&row["status"], &row["in_force"]), (&json!("approved"), &json!(true)));
    assert_eq!((&row["decided_by"], &row["id"]), (&json!("sec@example.com"), &json!(id)));
    b.refresh().await.unwrap();
    for replica in [a, b] {
        assert!(enters(replica, &carol, "tickets"));
        assert!(allowed(replica, &carol, "list") && allowed(replica, &carol, "list"));
        assert!(!allowed(replica, &carol, "drop_all"), "only what was asked for");
    }
    let late =
        house.perform("root", Face::Rest, "decide_access_request", decide(&id, "reject")).await;
    assert_eq!(late.unwrap_err().reason, Reason::Conflict);

    // A second before the end; and at the end, first by a snapshot from before it.
    house.clock.advance(HOUR - 5);
    assert!(allowed(a, &carol, "list") && allowed(b, &carol, "list"));
    let held = b.snapshot();
    let (version, policies) = (held.version, house.b.store.policies().await.unwrap());
    house.clock.advance(10);
    let (verdict, listed) = access(b, &held, &carol, "list");
    assert!(matches!(&verdict, Verdict::Deny(denial) if !denial.invisible), "{verdict:?}");
    assert!(!listed);
    // The new snapshot comes by itself, without any change in Postgres, and knows nothing of the grant.
    for replica in [a, b] {
        eventually("compiled anew", async || replica.snapshot().generation > held.generation).await;
        assert_eq!(replica.snapshot().version, version);
        assert!(!enters(replica, &carol, "tickets") && !allowed(replica, &carol, "list"));
    }
    assert_eq!(house.b.store.policies().await.unwrap(), policies);
    let mine =
        house.perform("carol", Face::Tools, "list_access_requests", json!({})).await.unwrap();
    assert_eq!(
        (&mine["data"][0]["status"], &mine["data"][0]["in_force"]),
        (&json!("expired"), &json!(false))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_is_swept_once_and_the_trail_says_so() {
    let house = House::open().await;
    let id = ask(&house, "carol", json!({"server_id": "tickets", "reason": "x", "duration": "8h"}))
        .await;
    let granted = json!({"id": id, "decision": "approve", "duration": "1m"});
    let row = house.perform("root", Face::Rest, "decide_access_request", granted).await.unwrap();
    assert_eq!(row["tools"], Value::Null);
    let other = ask(&house, "carol", json!({"server_id": "vault", "reason": "x"})).await;
    house
        .perform("root", Face::Rest, "decide_access_request", decide(&other, "reject"))
        .await
        .unwrap();
    let standing = ask(&house, "bob", json!({"server_id": "vault", "reason": "x"})).await;
    house
        .perform("root", Face::Rest, "decide_access_request", decide(&standing, "approve"))
        .await
        .unwrap();
    let policies = async || house.a.store.policies().await.unwrap().len();
    assert_eq!(policies().await, 4);
    house.later(120).await;
    eventually("the grant's policy goes", async || policies().await == 3).await;
    let types =
        |name: &str| EventFilter { action_types: vec![name.into()], ..EventFilter::default() };
    eventually("it is recorded", async || {
        house.all_rows(&types("access_request_expired")).await.len() == 1
    })
    .await;
    let rows = house.all_rows(&types("access_request_expired")).await;
    assert_eq!(rows[0].resource_name.as_deref(), Some(id.as_str()));
    for (name, count) in [
        ("access_request_created", 3),
        ("access_request_approved", 2),
        ("access_request_rejected", 1),
    ] {
        assert_eq!(house.all_rows(&types(name)).await.len(), count, "{name}");
    }
    let all = house.perform("it", Face::Tools, "list_access_requests", json!({})).await.unwrap();
    let statuses = all["data"].as_array().unwrap().iter().map(|row| row["status"].clone());
    assert_eq!(statuses.collect::<Vec<_>>(), ["approved", "rejected", "expired"]);
    let expired = json!({"status": "expired", "server_id": "tickets", "limit": 1});
    let expired = house.perform("it", Face::Tools, "list_access_requests", expired).await.unwrap();
    assert_eq!((&expired["data"][0]["id"], &expired["next_cursor"]), (&json!(id), &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_decides_on_what_they_asked_for() {
    use Reason::{EntityNotFound, RoleMissing};
    let house = House::open().await;
    house.admin_of_tickets("dora").await;
    let robot = house.agent("robot", "sec").await;
    let mighty = house.agent("mighty", "root").await;
    let wanted = |tool: &str| json!({"server_id": "tickets", "tools": [tool], "reason": "r"});
    let refused = async |name: &str, id: &str| {
        let arguments = decide(id, "approve");
        let done = house.perform(name, Face::Rest, "decide_access_request", arguments).await;
        done.err().map(|refused| refused.reason)
    };
    // Whatever their role: by role, and as an admin of the very server.
    for name in ["root", "sec", "dora"] {
        let own = ask(&house, name, wanted("drop_all")).await;
        assert_eq!(refused(name, &own).await, Some(RoleMissing), "{name}");
        let list =
            house.perform(name, Face::Tools, "list_access_requests", json!({})).await.unwrap();
        let rows = list["data"].as_array().unwrap();
        let row = rows.iter().find(|row| row["id"] == json!(own)).unwrap();
        assert_eq!(row["yours_to_decide"], false, "{name}");
    }
    // Nor through an agent account: not on what their program asked for, and no program decides.
    let asked =
        house.as_caller(&robot, Face::Rest, "request_access", wanted("list")).await.unwrap();
    assert_eq!(asked["principal"], "agent:robot");
    let robots = asked["id"].as_str().unwrap();
    assert_eq!(refused("sec", robots).await, Some(RoleMissing));
    let bobs = ask(&house, "bob", wanted("drop_all")).await;
    house.delegate("root", json!({"agent": "mighty"})).await.unwrap();
    house.delegate("bob", json!({"agent": "mighty"})).await.unwrap();
    for caller in [&mighty, &house.for_person(&mighty, "root"), &house.for_person(&mighty, "bob")] {
        let arguments = decide(&bobs, "approve");
        let done = house.as_caller(caller, Face::Rest, "decide_access_request", arguments).await;
        let reason = done.unwrap_err().reason;
        assert!([RoleMissing, EntityNotFound].contains(&reason), "{reason}");
    }
    // Others: who neither administers nor sees it learns nothing, who sees it learns that they may not.
    assert_eq!(refused("carol", &bobs).await, Some(EntityNotFound));
    assert_eq!(refused("bob", &bobs).await, Some(RoleMissing));
    assert_eq!(refused("it", &bobs).await, Some(RoleMissing));
    assert_eq!(refused("desk", &bobs).await, Some(RoleMissing));
    let elsewhere = ask(&house, "bob", json!({"server_id": "vault", "reason": "r"})).await;
    assert_eq!(refused("dora", &elsewhere).await, Some(EntityNotFound), "another server");
    // Who may: the server's admin, and a role.
    assert_eq!(refused("dora", &bobs).await, None);
    assert_eq!(refused("root", robots).await, None);
    assert!(
        allowed(&house.a.governance, &robot, "list"),
        "agent:robot is granted what it asked for"
    );
    assert!(allowed(&house.a.governance, &house.caller("bob"), "drop_all"));

    // Only whoever asked withdraws, and only what is open.
    let cancel = |id: &str| json!({"id": id, "confirm": true});
    for (name, id, expected) in [
        ("root", &elsewhere, Some(EntityNotFound)),
        ("carol", &elsewhere, Some(EntityNotFound)),
        ("bob", &bobs, Some(Reason::Conflict)),
        ("bob", &elsewhere, None),
        ("bob", &elsewhere, Some(Reason::Conflict)),
    ] {
        let done = house.perform(name, Face::Rest, "cancel_access_request", cancel(id)).await;
        assert_eq!(done.err().map(|refused| refused.reason), expected, "{name}");
    }
    assert_eq!(refused("root", &elsewhere).await, Some(Reason::Conflict));
    // Others' rows are not listed.
    let list = async |name: &str| {
        let list =
            house.perform(name, Face::Tools, "list_access_requests", json!({})).await.unwrap();
        list["data"].as_array().unwrap().len()
    };
    assert_eq!((list("carol").await, list("bob").await), (0, 2));
    assert_eq!(list("dora").await, 5, "her own, and everything for her server");
    assert_eq!(list("desk").await, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_tells_nobody_what_exists_and_what_does_not_fit_changes_nothing() {
    let house = House::open().await;
    let vault = house.a.governance.snapshot().server("vault").unwrap().id.to_string();
    let answer = async |server: &str| {
        let arguments = json!({"server_id": server, "reason": "r", "confirm": true});
        let mut row =
            house.perform("carol", Face::Tools, "request_access", arguments).await.unwrap();
        assert_eq!(row["server"], server);
        for member in ["id", "created_at", "server"] {
            row[member] = Value::Null;
        }
        row
    };
    let hidden = answer("vault").await;
    assert_eq!(hidden, answer("no-such-server").await);
    assert_eq!(hidden, answer(&vault).await, "an id is not turned into a slug");
    assert_eq!(hidden, answer("00000000-0000-4000-8000-000000000000").await);
    let filtered = json!({"server_id": vault});
    let found =
        house.perform("carol", Face::Tools, "list_access_requests", filtered).await.unwrap();
    assert_eq!(found["data"].as_array().unwrap().len(), 1, "nor does a filter");
    // Nor do the records of having asked.
    let types = vec!["access_request_created".into()];
    let asked = EventFilter { action_types: types, ..EventFilter::default() };
    let rows = house.all_rows(&asked).await;
    assert_eq!(rows.len(), 4);
    assert!(rows.iter().all(|row| row.server_id.is_none() && row.server_slug.is_none()));
    // What does not exist cannot be granted, and whoever decides is told.
    let all = house
        .perform(
            "root",
            Face::Tools,
            "list_access_requests",
            json!({"server_id": "no-such-server"}),
        )
        .await
        .unwrap();
    let absent = all["data"][0]["id"].as_str().unwrap();
    let refused =
        house.perform("root", Face::Rest, "decide_access_request", decide(absent, "approve")).await;
    let refused = refused.unwrap_err();
    assert!(refused.detail.contains("there is no server \"no-such-server\""), "{refused}");

    let open = all["data"][0]["id"].clone();
    let long = "x".repeat(1001);
    let many: Vec<String> = (0..101).map(|n| format!("t{n}")).collect();
    let ask = |changes: Value| {
        let mut arguments = json!({"server_id": "tickets", "reason": "r", "confirm": true});
        arguments.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        ("request_access", arguments)
    };
    let ruling = |changes: Value| {
        let mut arguments = json!({"id": open, "decision": "approve", "confirm": true});
        arguments.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        ("decide_access_request", arguments)
    };
    let cases = [
        (ask(json!({"server_id": ""})), "server_id: expected"),
        (ask(json!({"server_id": "a b"})), "server_id: expected"),
        (ask(json!({"server_id": "../x"})), "server_id: expected"),
        (ask(json!({"reason": " "})), "reason: expected 1 to 1000"),
        (ask(json!({"reason": long})), "reason: expected 1 to 1000"),
        (ask(json!({"reason": "a\u{202e}b"})), "reason: expected 1 to 1000"),
        (ask(json!({"tools": []})), "tools: expected 1 to 100"),
        (ask(json!({"tools": many})), "tools: expected 1 to 100"),
        (ask(json!({"tools": ["list_*"]})), "tools: expected exact names"),
        (ask(json!({"tools": [""]})), "tools: expected exact names"),
        (ask(json!({"tools": ["a\u{200b}"]})), "tools: expected exact names"),
        (ask(json!({"duration": "forever"})), "duration: expected 1m to 366d"),
        (ask(json!({"duration": "367d"})), "duration: expected 1m to 366d"),
        (ask(json!({"confirm": "true"})), "invalid type: string"),
        (ask(json!({"until": "2030-01-01T00:00:00Z"})), "unknown field `until`"),
        (ruling(json!({"decision": "maybe"})), "unknown variant `maybe`"),
        (ruling(json!({"expires_at": "tomorrow"})), "expires_at: expected RFC 3339"),
        (
            ruling(json!({"expires_at": "2001-01-01T00:00:00Z"})),
            "expires_at: expected an instant in the future",
        ),
        (
            ruling(json!({"expires_at": "9999-01-01T00:00:00Z"})),
            "expires_at: expected an instant in the future",
        ),
        (
            ruling(json!({"expires_at": "2030-01-01T00:00:00Z", "duration": "1h"})),
            "duration: expected nothing beside",
        ),
        (
            ruling(json!({"decision": "reject", "duration": "1h"})),
            "duration: expected nothing with reject",
        ),
        (ruling(json!({"note": ""})), "note: expected 1 to 1000"),
        (("list_access_requests", json!({"status": "open"})), "unknown variant `open`"),
        (("list_access_requests", json!({"server_id": "no server"})), "server_id: expected"),
        (("list_access_requests", json!({"limit": 201})), "limit: expected 1 to 200"),
        (("list_access_requests", json!({"cursor": "x"})), "cursor: expected"),
    ];
    let count = async || {
        let all = house
            .perform("root", Face::Tools, "list_access_requests", json!({"limit": 200}))
            .await
            .unwrap();
        (all["data"].as_array().unwrap().len(), house.a.store.policies().await.unwrap().len())
    };
    let before = count().await;
    for ((operation, arguments), expected) in cases {
        let refused =
            house.perform("root", Face::Tools, operation, arguments.clone()).await.unwrap_err();
        assert_eq!(refused.reason, Reason::InvalidParams, "{arguments}");
        assert!(refused.detail.contains(expected), "{arguments}: {refused}");
    }
    assert_eq!(count().await, before);
    // Too many at once.
    for n in 0..16 {
        answer(&format!("server-{n}")).await;
    }
    let one_more = json!({"server_id": "one-more", "reason": "r"});
    let refused = house.perform("carol", Face::Rest, "request_access", one_more).await.unwrap_err();
    assert_eq!(refused.reason, Reason::TooManyOpen);
    let advice = "20 of your requests are open: withdraw one with cancel_access_request";
    assert!(refused.detail.starts_with(advice), "{refused}");
    // Pages.
    let page = json!({"limit": 15});
    let first = house.perform("carol", Face::Tools, "list_access_requests", page).await.unwrap();
    let next = json!({"limit": 15, "cursor": first["next_cursor"]});
    let second = house.perform("carol", Face::Tools, "list_access_requests", next).await.unwrap();
    assert_eq!(
        (first["data"].as_array().unwrap().len(), second["data"].as_array().unwrap().len()),
        (15, 5)
    );
    assert_eq!(second["next_cursor"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_edits_a_grant_decides_when_it_ends_and_no_death_loses_its_record() {
    // The test sweeps, when it wants to.
    let url = "https://hooks.test/in".parse().unwrap();
    let webhook = Some(WebhookSettings { url, secret: "0123456789abcdef0123456789abcdef".into() });
    let settings = GovernanceSettings { serves: false, webhook, ..settings() };
    let house = House::open_with(&settings, std::sync::Arc::new(World::default())).await;
    let [a, b] = [&house.a.governance, &house.b.governance];
    let mut ids = Vec::new();
    for tool in ["list", "pay", "drop_all"] {
        let wanted = json!({"server_id": "tickets", "tools": [tool], "reason": "x"});
        let id = ask(&house, "carol", wanted).await;
        let granted = json!({"id": id, "decision": "approve", "duration": "10m"});
        house.perform("root", Face::Rest, "decide_access_request", granted).await.unwrap();
        ids.push(id);
    }
    let [narrowed, moved, endless] = [&ids[0], &ids[1], &ids[2]];
    let edit = async |id: &str, change: &dyn Fn(&mut Value)| {
        let policy = house.perform("sec", Face::Rest, "get_policy", json!({"policy_id": id}));
        let mut spec = policy.await.unwrap()["spec"].clone();
        change(&mut spec);
        let update = json!({"policy_id": id, "spec": spec, "confirm": true});
        house.perform("sec", Face::Rest, "update_policy", update).await.unwrap();
    };
    let later = crate::operations::rfc3339(house.clock.now() + time::Duration::minutes(30));
    edit(narrowed, &|spec| spec["message"] = json!("for now")).await;
    edit(moved, &|spec| spec["until"] = json!(later)).await;
    edit(endless, &|spec| drop(spec.as_object_mut().unwrap().remove("until"))).await;
    house.later(0).await;
    let there = async || {
        let policies = house.a.store.policies().await.unwrap();
        ids.iter().map(|id| policies.iter().any(|p| p.id.to_string() == *id)).collect::<Vec<_>>()
    };
    let status = async |id: &str| {
        let listed = house.perform("root", Face::Rest, "list_access_requests", json!({})).await;
        let rows = listed.unwrap()["data"].as_array().unwrap().clone();
        let row = rows.into_iter().find(|row| row["id"] == id).unwrap();
        row["status"].as_str().unwrap().to_owned()
    };
    let ended = EventFilter {
        action_types: vec!["access_request_expired".into()],
        ..EventFilter::default()
    };
    let told = async || {
        let (mut told, now) = (Vec::new(), house.clock.now() + time::Duration::HOUR);
        while let Some(notice) =
            house.a.store.claim_notice(Channel::Webhook, now, now).await.unwrap()
        {
            house.a.store.notice_sent(notice.id, now).await.unwrap();
            told.push(notice.kind);
        }
        told.retain(|kind| kind == "access_request.expired");
        told.len()
    };
    a.grants().sweep().await.unwrap();
    assert_eq!((there().await, told().await), (vec![true; 3], 0), "nothing is over");

    // A replica whose records do not get through ends nothing.
    house.later(601).await;
    b.trail().clone().stop().await;
    b.grants().sweep().await.unwrap();
    assert_eq!((there().await, told().await), (vec![true; 3], 0), "no record, no end");
    // One that died right after the record leaves the rest to the next one, which makes the same record.
    let due = house.a.store.due_grants(house.clock.now(), &[]).await.unwrap();
    let first = due.iter().find(|request| request.id.to_string() == *narrowed).unwrap();
    a.grants().record(first, first.expires_at.unwrap(), "access is over".into());
    // Another does, once, and whoever looks again finds nothing to do.
    for replica in [a, a, b] {
        replica.grants().sweep().await.unwrap();
    }
    assert_eq!(there().await, [false, true, true]);
    assert_eq!(told().await, 2);
    let rows = expired_rows(&house, &ended).await;
    assert_eq!(rows.len(), 2, "{rows:?}");
    let of = |id: &str| rows.iter().find(|row| row.resource_name.as_deref() == Some(id)).unwrap();
    assert!(of(narrowed).detail.as_deref().unwrap().ends_with("is over"), "{rows:?}");
    let kept = of(endless).detail.clone().unwrap();
    assert!(kept.contains("sec@example.com") && kept.contains("stays"), "{kept}");
    let statuses = [status(narrowed).await, status(moved).await, status(endless).await];
    assert_eq!(statuses, ["expired", "approved", "expired"]);
    house.later(0).await;
    let carol = house.caller("carol");
    let may = ["list", "pay", "drop_all"].map(|tool| allowed(b, &carol, tool));
    assert_eq!(may, [false, true, true]);

    // The moved end is the end; and who gives the endless one an end again gets it tidied up.
    edit(endless, &|spec| spec["until"] = json!(later)).await;
    house.later(1200).await;
    for _ in 0..2 {
        a.grants().sweep().await.unwrap();
        house.later(0).await;
    }
    assert_eq!((there().await, told().await), (vec![false; 3], 1));
    assert_eq!(status(moved).await, "expired");
    assert_eq!(expired_rows(&house, &ended).await.len(), 3);
}

/// By the replica whose trail still runs.
async fn expired_rows(house: &House, filter: &EventFilter) -> Vec<EventEntry> {
    assert!(house.a.governance.trail().flush(std::time::Duration::from_secs(10)).await);
    house.a.store.list_events(filter, None, 200).await.unwrap().events
}
