//! Limits: who may set them, whom they hold, and that a budget is one over all replicas.

use std::time::Duration;

use gateway_core::caller::{AuthMethod, Caller};
use gateway_core::ids::CallId;
use gateway_core::reason::Reason;
use gateway_store::audit::EventFilter;
use serde_json::{Value, json};

use super::house::{House, Replica, STATE};
use crate::{Face, Limits, OverLimit};

/// Counts a call as that replica's line does.
async fn call(
    replica: &Replica,
    caller: &Caller,
    (server, tool): (&str, Option<&str>),
) -> Result<(), OverLimit> {
    let snapshot = replica.governance.snapshot();
    let server = snapshot.server(server).unwrap();
    replica.governance.limits().count(&snapshot, caller, server, tool).await
}

async fn set(house: &House, limit: Value) -> Value {
    let mut limit = limit;
    limit["confirm"] = json!(true);
    let set = house.perform("it", Face::Tools, "set_limit", limit).await.unwrap();
    house.b.governance.refresh().await.unwrap();
    set
}

/// How many of `most` calls pass, alternating between the replicas.
async fn passed(house: &House, caller: &Caller, tool: &str, most: usize) -> usize {
    let mut passed = 0;
    for n in 0..most {
        let replica = if n % 2 == 0 { &house.a } else { &house.b };
        passed += usize::from(call(replica, caller, ("tickets", Some(tool))).await.is_ok());
    }
    passed
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_is_one_over_all_replicas() {
    let house = House::open().await;
    let (bob, carol) = (house.caller("bob"), house.caller("carol"));
    let tickets = ("tickets", Some("list"));
    set(&house, json!({"name": "shared", "principals": ["everyone"], "counts": "together",
        "server": "tickets", "tools": ["list*"], "budget": {"calls": 137, "timezone": "Asia/Tokyo"}}))
    .await;
    // Concurrently, by two people, over two replicas: exactly so many.
    let calls = (0..300).map(|n| {
        let replica = if n % 2 == 0 { &house.a } else { &house.b };
        let caller = if n % 3 == 0 { &bob } else { &carol };
        call(replica, caller, tickets)
    });
    let done = super::agent_tokens::futures_of(calls).await;
    let done = done.iter().filter(|passed| passed.is_ok()).count();
    assert_eq!(done, 137);
    let over = call(&house.a, &bob, tickets).await.unwrap_err();
    assert_eq!((over.reason, over.limit.as_str()), (Reason::BudgetExhausted, "shared"));
    assert!(over.told.contains("137 calls a day of all together"), "{}", over.told);
    assert!((1..=86_400).contains(&over.retry_after), "{over:?}");
    // What it does not name passes.
    call(&house.a, &bob, ("tickets", Some("pay"))).await.unwrap();
    call(&house.a, &bob, ("tickets", None)).await.unwrap();
    call(&house.a, &bob, ("runlayer", Some("list_servers"))).await.unwrap();
    // The use is told, and by whom; midnight there is another day, on both replicas.
    house.b.governance.limits().used(&house.b.governance.snapshot().limits.all).await.unwrap();
    let listed = house.perform("sec", Face::Tools, "list_limits", json!({})).await.unwrap();
    let used = json!([{"who": "together", "calls": 137}]);
    assert_eq!(listed["data"][0]["used_today"], used, "{listed}");
    house.clock.advance(i64::from(over.retry_after) - 60);
    assert!(call(&house.b, &bob, tickets).await.is_err(), "a minute before midnight in Tokyo");
    house.later(60).await;
    call(&house.b, &bob, tickets).await.unwrap();
    assert_eq!(passed(&house, &bob, "list", 200).await, 136);
    // Raised: the rest passes at once. Lowered: nothing does.
    let raised = |calls: u32| {
        json!({"name": "shared", "principals": ["everyone"], "counts": "together",
            "server": "tickets", "budget": {"calls": calls, "timezone": "Asia/Tokyo"}})
    };
    set(&house, raised(147)).await;
    house.clock.advance(2);
    assert_eq!(passed(&house, &carol, "pay", 60).await, 10);
    set(&house, raised(10)).await;
    house.clock.advance(2);
    assert_eq!(passed(&house, &carol, "pay", 10).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_replica_held_is_lost_and_what_a_stopped_one_held_is_not() {
    let house = House::open().await;
    let bob = house.caller("bob");
    set(
        &house,
        json!({"name": "shared", "principals": ["everyone"], "counts": "together",
        "server": "*", "budget": {"calls": 400}}),
    )
    .await;
    let snapshot = house.a.governance.snapshot();
    let server = snapshot.server("tickets").unwrap();
    let replica = || Limits::new(house.a.store.clone(), house.clock.clone());
    // Each holds a block of 20 and uses one of it. The first is killed.
    let killed = replica();
    killed.count(&snapshot, &bob, server, Some("list")).await.unwrap();
    drop(killed);
    let stopped = replica();
    stopped.count(&snapshot, &bob, server, Some("list")).await.unwrap();
    let shutdown = tokio_util::sync::CancellationToken::new();
    shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(20), stopped.follow(shutdown)).await.unwrap();
    // Idle for long: it gives back, too, and still works.
    let idle = replica();
    idle.count(&snapshot, &bob, server, Some("list")).await.unwrap();
    house.clock.advance(31);
    idle.used(&snapshot.limits.all).await.unwrap();
    assert_eq!(passed(&house, &bob, "list", 500).await, 400 - 20 - 1 - 1);
    assert!(idle.count(&snapshot, &bob, server, Some("list")).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn rates_hold_each_or_all_together_and_the_strictest_counts() {
    let house = House::open().await;
    let (bob, carol) = (house.caller("bob"), house.caller("carol"));
    let made = json!({"name": "indexer", "owner": "bob@example.com", "confirm": true});
    house.perform("root", Face::Rest, "create_agent_account", made).await.unwrap();
    set(
        &house,
        json!({"name": "each", "principals": ["group:engineering", "agent:indexer"],
        "server": "tickets", "rate": {"calls": 3, "per": "hour"}}),
    )
    .await;
    assert_eq!(passed(&house, &bob, "list", 9).await, 6, "local: three on each replica");
    assert_eq!(passed(&house, &carol, "list", 9).await, 9, "it is not about her");
    let over = call(&house.a, &bob, ("tickets", None)).await.unwrap_err();
    assert_eq!((over.reason, over.limit.as_str()), (Reason::RateLimited, "each"));
    assert!((1..=1200).contains(&over.retry_after), "{over:?}");
    assert!(over.told.contains("3 calls an hour pass; try again in "), "{}", over.told);
    // An agent on his behalf is counted as both; alone, as itself.
    let snapshot = house.a.governance.snapshot();
    let agent = &snapshot.agents.iter().find(|agent| agent.principal.name == "indexer").unwrap();
    let agent = snapshot.agent(agent.principal.id).unwrap().clone();
    let behalf = Caller { actor: Some(agent.clone()), ..bob.clone() };
    assert_eq!(call(&house.a, &behalf, ("tickets", None)).await.unwrap_err().limit, "each");
    let alone = Caller::new(agent, AuthMethod::OauthToken, "test");
    let alone_passed = passed(&house, &alone, "list", 9).await;
    assert_eq!(alone_passed, 6, "what was refused for Bob did not count for the agent");
    // A second limit that refuses gives a budget back.
    set(
        &house,
        json!({"name": "a budget", "principals": ["user:carol@example.com"],
        "server": "tickets", "budget": {"calls": 5}}),
    )
    .await;
    set(
        &house,
        json!({"name": "none", "principals": ["everyone"], "server": "tickets",
        "tools": ["pay"], "budget": {"calls": 0}}),
    )
    .await;
    assert_eq!(passed(&house, &carol, "pay", 10).await, 0);
    assert_eq!(passed(&house, &carol, "list", 10).await, 5);
    // Without the database nobody knows, and nothing passes that a budget is about.
    let dave = house.caller("desk");
    set(
        &house,
        json!({"name": "all", "principals": ["everyone"], "server": "vault",
        "budget": {"calls": 5}}),
    )
    .await;
    house.b.store.clone().close().await;
    let over = call(&house.b, &dave, ("vault", Some("x"))).await.unwrap_err();
    assert_eq!(over.reason, Reason::AuditUnavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_shown_before_it_is_set_and_kept_with_who_set_it() {
    let house = House::open().await;
    let version = house.a.governance.snapshot().version;
    let draft = json!({"name": "payments", "principals": ["group:engineering"],
        "server": "tickets", "tools": ["pay"], "rate": {"calls": 5, "per": "minute"}});
    let asked = house.perform("it", Face::Tools, "set_limit", draft.clone()).await.unwrap_err();
    assert_eq!(asked.reason, Reason::ConfirmMissing);
    let preview = asked.preview.unwrap();
    assert_eq!(preview["before"], Value::Null);
    let touches = json!({"people": 2, "agents": 0, "among_them": ["bob@example.com", "dora@example.com"], "servers": 1});
    assert_eq!(preview["after"]["touches"], touches, "{preview}");
    let missing = json!({"name": "payments"});
    let absent = house.perform("it", Face::Tools, "delete_limit", missing.clone()).await;
    assert_eq!(absent.unwrap_err().reason, Reason::EntityNotFound, "nothing was set");
    let set_one = set(&house, draft.clone()).await;
    let mut changed = draft.clone();
    changed["rate"]["calls"] = json!(6);
    let asked = house.perform("it", Face::Tools, "set_limit", changed.clone()).await.unwrap_err();
    assert_eq!(asked.preview.unwrap()["before"]["rate"]["calls"], 5);
    let set_two = set(&house, changed).await;
    assert_eq!((&set_two["id"], &set_two["rate"]["calls"]), (&set_one["id"], &json!(6)));
    let origin = house.origin(Face::Rest);
    house.perform_from("root", &origin, "delete_limit", missing).await.unwrap();
    assert!(house.a.governance.snapshot().limits.all.is_empty());
    let rows = house.rows(origin.call).await;
    let row = rows.iter().find(|row| row.action_type == "limit_deleted").expect("a row");
    assert_eq!(row.resource_name.as_deref(), Some("payments"));

    // What is wrong is named; nothing changes.
    let version = house.a.governance.snapshot().version.max(version);
    let wrong = [
        ("name", json!(""), "name: "),
        ("name", json!(" x"), "name: "),
        ("principals", json!([]), "principals: "),
        ("principals", json!(["everyone", "everybody"]), "principals[1]: "),
        ("principals", json!(["user:nobody@example.com"]), "principals[0]: there is no"),
        ("principals", json!(["agent:nobody"]), "principals[0]: there is no"),
        ("server", json!("absent"), "server: there is no server"),
        ("tools", json!([]), "tools: "),
        ("rate", Value::Null, "rate: "),
        ("budget", json!({"calls": 1}), "budget: "),
        ("rate", json!({"calls": 0, "per": "minute"}), "rate.calls: "),
        ("rate", json!({"calls": 1, "per": "minute", "burst": 2}), "rate.burst: "),
    ];
    for (field, value, expected) in wrong {
        let mut bad = draft.clone();
        (bad[field], bad["confirm"]) = (value, json!(true));
        let refused = house.perform("it", Face::Tools, "set_limit", bad).await.unwrap_err();
        assert_eq!(refused.reason, Reason::InvalidParams, "{expected}");
        assert!(refused.detail.starts_with(expected), "{expected}{}", refused.detail);
    }
    for (field, value) in [("rate", json!({"calls": 1, "per": "day"})), ("x", json!(1))] {
        let mut bad = draft.clone();
        bad[field] = value;
        assert!(house.perform("it", Face::Tools, "set_limit", bad).await.is_err(), "{field}");
    }
    assert_eq!(house.a.governance.snapshot().version, version);
    let filter = EventFilter { correlation_id: None::<CallId>, ..EventFilter::default() };
    assert!(house.all_rows(&filter).await.iter().any(|row| row.action_type == "limit_created"));
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_the_desired_state_come_stay_and_go() {
    let house = House::open().await;
    let limit = "[[limits]]\nname = \"burst\"\nprincipals = [\"role:user\"]\nserver = \"tickets\"\n\
                 rate = { calls = 1, per = \"second\" }\n";
    house.apply(&format!("{STATE}{limit}")).await;
    let snapshot = house.a.governance.refresh().await.unwrap();
    let id = snapshot.limits.all[0].id;
    house.apply(&format!("{STATE}{limit}")).await;
    let again = house.a.governance.refresh().await.unwrap();
    assert_eq!(again.version, snapshot.version, "nothing to do");
    house.apply(&format!("{STATE}{}", limit.replace("calls = 1", "calls = 2"))).await;
    let changed = house.a.governance.refresh().await.unwrap();
    assert_eq!(changed.limits.all[0].id, id);
    house.apply(STATE).await;
    assert!(house.a.governance.refresh().await.unwrap().limits.all.is_empty());
}
