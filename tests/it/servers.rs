//! An administrator adds a server from an AI client, and people use it at once: no restart, no file.

use std::time::Duration;

use gateway_tests::rig::{POLICIES, Setup, check};
use gateway_tests::upstream::Upstream;
use gateway_tests::wait::eventually;
use serde_json::{Value, json};

const EVERYWHERE: &str = r#"
[[policies]]
name = "engineers echo everywhere"
effect = "allow"
principals = ["group:engineering"]
server = "*"
tools = ["echo", "fresh"]
"#;

#[tokio::test]
async fn a_server_that_was_just_added_serves_and_is_looked_after() {
    let setup = Setup {
        config: "servers.probe = \"1s\"".into(),
        policies: format!("{POLICIES}{EVERYWHERE}"),
        ..Setup::default()
    };
    check(setup, async |rig| {
        let added = Upstream::start().await;
        added.tool("fresh", json!({}));
        let new = json!({"slug": "added", "title": "Added", "url": added.url()});
        let admin = rig.client_of("alice", "runlayer");
        let create = async |arguments: Value| {
            let params = json!({"name": "create_server", "arguments": arguments});
            admin.modern("tools/call", params).await.result()
        };
        let previewed = create(new.clone()).await;
        assert_eq!(previewed["isError"], true, "{previewed}");
        assert!(previewed["content"].to_string().contains("It would change"), "{previewed}");
        let bob = rig.client_of("bob", "added");
        assert_eq!(bob.modern("tools/list", json!({})).await.status, 404, "nothing was changed");

        let mut confirmed = new;
        confirmed["confirm"] = json!(true);
        let made = create(confirmed).await["structuredContent"].clone();
        assert_eq!(made["slug"], "added", "{made}");
        let listed = bob.modern("tools/list", json!({})).await;
        assert_eq!(listed.names("tools"), ["echo", "fresh"]);
        let reply = bob.call("fresh", json!({})).await;
        assert_eq!(reply.result()["isError"], false, "{:?}", reply.body);
        assert_eq!(added.calls("fresh").len(), 1);
        let by_id = bob.at(made["proxy_url"].as_str().unwrap());
        assert_eq!(by_id.modern("tools/list", json!({})).await.names("tools"), ["echo", "fresh"]);
        let hidden = bob.call("delete_item", json!({})).await;
        assert_eq!(hidden.reason(), "target_not_found", "{:?}", hidden.body);
        rig.upstreams.push(added);

        // One that goes away is seen, by people and in the figures.
        let going = Upstream::start().await;
        let gone = json!({"slug": "going", "url": going.url(), "confirm": true});
        assert_eq!(create(gone).await["structuredContent"]["slug"], "going");
        let health = async |server: &str| {
            let detail = rig.ask("alice", "get_server", json!({"server_id": server})).await;
            detail["health"].as_str().map(str::to_owned)
        };
        let patience = Duration::from_secs(30);
        eventually("it answers", patience, async || (health("going").await? == "ok").then_some(()))
            .await;
        drop(going);
        eventually("it fails", patience, async || {
            (health("going").await? == "failing").then_some(())
        })
        .await;
        assert_eq!(health("added").await.as_deref(), Some("ok"));
        let metrics = rig.gateway.metrics().await;
        assert!(metrics.contains("gateway_servers{health=\"failing\"} 1"), "{metrics}");
        let told = json!({"action_type": ["server_health_changed"]});
        eventually("it is told", patience, async || {
            let rows = rig.ask("alice", "list_audit_logs", told.clone()).await;
            rows["data"].to_string().contains("\"going\"").then_some(())
        })
        .await;
    })
    .await;
}
