//! Scanners and people: nobody is asked to agree to what would be stopped, and nobody is shown a secret.

use gateway_tests::rig::check;
use serde_json::{Value, json};
use sqlx::Row;

use super::{MASKED, SECRET, hide, text, world};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_asked_about_what_would_be_stopped() {
    check(world("tool_intent", "block"), async |rig| {
        hide(rig, "block");
        let mut bob = rig.client("bob");
        for capabilities in [json!({}), json!({"elicitation": {}})] {
            bob.capabilities = capabilities;
            let reply = bob.call("delete_item", json!({"item": SECRET})).await;
            assert_eq!(reply.reason(), "scanner_blocked", "{}", text(&reply));
        }
        assert_eq!(rig.database.count("select count(*) from confirmation").await, 0);
        assert!(rig.upstream.calls("delete_item").is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_agreed_to_leaves_masked() {
    check(world("tool_intent", "mask"), async |rig| {
        hide(rig, "mask");
        let mut bob = rig.client("bob");
        bob.capabilities = json!({"elicitation": {}});
        let params = json!({"name": "delete_item", "arguments": {"item": format!("x {SECRET}")}});
        let asked = bob.modern("tools/call", params.clone()).await;
        let result = asked.result();
        assert_eq!(result["resultType"], "input_required", "{}", text(&asked));
        let shown =
            sqlx::query("select arguments from confirmation").fetch_one(&rig.database.pool).await;
        let shown: String = shown.expect("it waits").get(0);
        assert_eq!(shown, json!({"item": format!("x {MASKED}")}).to_string());
        let answered = |params: &Value| {
            let mut params = params.clone();
            params["requestState"] = result["requestState"].clone();
            params["inputResponses"] =
                json!({"rl-confirm": {"action": "accept", "content": {"confirm": true}}});
            params
        };
        // The agreement is to the arguments as they were sent.
        let mut other = answered(&params);
        other["arguments"]["item"] = json!(format!("x {MASKED}"));
        assert_eq!(bob.modern("tools/call", other).await.reason(), "confirmation_expired");
        let done = bob.modern("tools/call", answered(&params)).await;
        assert_eq!(done.result()["isError"], false, "{}", text(&done));
        let arrived = rig.upstream.calls("delete_item");
        assert_eq!(arrived.len(), 1);
        assert_eq!(arrived[0].json["params"]["arguments"], json!({"item": format!("x {MASKED}")}));
    })
    .await;
}
