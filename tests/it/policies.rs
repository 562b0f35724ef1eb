//! Policies written through the Runlayer MCP reach clients that are connected, on every replica; and a replay
//! reads what really passed.

use std::time::Duration;

use gateway_tests::auditor::events_of;
use gateway_tests::gateway::{Gateway, Options};
use gateway_tests::rig::{Setup, check};
use gateway_tests::wait::eventually;
use serde_json::{Value, json};

/// Carol may list items, too.
fn draft() -> Value {
    json!({
        "name": "contractors list", "effect": "allow", "principals": ["group:contractors"],
        "server": "fake", "tools": ["list_items"]
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_policy_changes_what_connected_clients_list_and_may_call() {
    check(Setup::default(), async |rig| {
        let session = rig.client("carol").legacy().await;
        assert_eq!(session.ask("tools/list", json!({})).await.names("tools"), ["echo"]);
        assert_eq!(session.call("list_items", json!({})).await.reason(), "target_not_found");
        // Another replica on the same database, with a client of its own.
        let options = Options { state: None, ..rig.gateway.options.clone() };
        let mut other = Gateway::start(options).await;
        let elsewhere = rig.client("carol").at(&other.proxy_url("fake"));
        assert_eq!(elsewhere.modern("tools/list", json!({})).await.names("tools"), ["echo"]);

        let alice = rig.client_of("alice", "runlayer");
        let refused = alice.call("create_policy", json!({"spec": draft()})).await.result();
        let text = refused["content"].to_string();
        assert!(text.contains("confirm_missing") && text.contains("carol@example.com"), "{text}");
        assert_eq!(session.ask("tools/list", json!({})).await.names("tools"), ["echo"]);

        let confirmed = json!({"spec": draft(), "confirm": true});
        let made = rig.ask("alice", "create_policy", confirmed).await;
        assert_eq!(made["effects"]["gained"], 1, "{made}");
        assert_eq!(made["effects"]["rows"][0]["gained"], json!(["list_items"]));
        let both = ["echo", "list_items"];
        assert_eq!(session.ask("tools/list", json!({})).await.names("tools"), both);
        assert_ne!(session.call("list_items", json!({})).await.result()["isError"], true);
        assert_eq!(rig.upstream.calls("list_items").len(), 1);
        eventually("the other replica lists it", Duration::from_secs(10), async || {
            let listed = elsewhere.modern("tools/list", json!({})).await.names("tools");
            (listed == both).then_some(())
        })
        .await;

        // What passed, and what was denied before there was the policy, asked again without it.
        let without = json!({"policy_id": made["id"], "delete": true});
        let replayed = eventually("the calls are recorded", Duration::from_secs(20), async || {
            let replayed = rig.ask("alice", "replay_policy", without.clone()).await;
            (replayed["changed"] == json!(2)).then_some(replayed)
        })
        .await;
        assert_eq!(replayed["changes"], json!({"allow_to_deny": 2}), "{replayed}");
        let row = &replayed["data"][0];
        assert_eq!(
            (&row["actor"], &row["target"]),
            (&json!("carol@example.com"), &json!("tool:list_items"))
        );
        assert_eq!(row["policies_before"], json!(["contractors list"]));

        let gone = json!({"policy_id": made["id"], "confirm": true});
        assert_eq!(rig.ask("alice", "delete_policy", gone).await["deleted"], true);
        assert_eq!(session.ask("tools/list", json!({})).await.names("tools"), ["echo"]);
        let back = json!({"policy_id": "contractors list", "version": 1, "confirm": true});
        assert_eq!(rig.ask("alice", "restore_policy", back).await["id"], made["id"]);
        assert_eq!(session.ask("tools/list", json!({})).await.names("tools"), both);
        assert!(other.terminate().success());
    })
    .await;
}

/// Denied calls keep what they were to do, so a draft is asked about exactly those.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_says_which_denials_would_pass() {
    let limit = "[[limits]]\nname = \"few\"\nprincipals = [\"user:carol@example.com\"]\nserver = \"fake\"\n\
                 budget = { calls = 1 }\n";
    check(Setup { state: limit.into(), ..Setup::default() }, async |rig| {
        let (bob, carol) = (rig.client("bob"), rig.client("carol"));
        for (client, text, reason) in [
            (&bob, "fine", ""),
            (&bob, "forbidden by mistake", "policy_denied"),
            (&bob, "really forbidden", "policy_denied"),
            (&carol, "forbidden by mistake", "policy_denied"),
            (&carol, "fine", ""),
            (&carol, "also fine", "budget_exhausted"),
        ] {
            assert_eq!(client.call("echo", json!({"text": text})).await.reason(), reason, "{text}");
        }
        // Waits, and is no verdict yet.
        assert_eq!(bob.call("delete_item", json!({"id": 1})).await.reason(), "confirmation_required");
        let rows = events_of(&rig.database, 6, |row| row.resource_name == "echo").await;
        assert_eq!(rows.len(), 6, "{rows:?}");
        let narrower = json!({
            "name": "nothing forbidden", "effect": "deny", "principals": ["everyone"], "server": "fake",
            "tools": ["echo"], "when": [{"arg": "text", "op": "contains", "value": "really"}]
        });
        let wider = json!({
            "name": "nothing fine", "effect": "deny", "principals": ["everyone"], "server": "fake",
            "tools": ["echo"], "when": [{"arg": "text", "op": "contains", "value": "fine"}]
        });
        for (draft, changes) in [
            (json!({"policy_id": "nothing forbidden", "spec": narrower}), json!({"deny_to_allow": 2})),
            (json!({"policy_id": "nothing forbidden", "delete": true}), json!({"deny_to_allow": 3})),
            (json!({"spec": wider}), json!({"allow_to_deny": 3})),
        ] {
            let replayed = rig.ask("alice", "replay_policy", draft.clone()).await;
            assert_eq!(replayed["undecidable"], json!({}), "{replayed}");
            assert_eq!(replayed["changes"], changes, "{draft}: {replayed}");
        }
    })
    .await;
}
