//! Reading servers' tools: shared, not too often, and again when they are said to have changed.

use std::sync::atomic::Ordering;

use gateway_store::audit::EventFilter;

use super::house::{House, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn tools_are_read_once_for_all_who_ask() {
    let house = House::open().await;
    let a = &house.a.governance;
    let server = a.snapshot().server("tickets").unwrap().clone();
    let bob = house.caller("bob");
    assert!(server.eras.is_none() && server.tools.is_empty());
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (governance, server, bob) = (a.clone(), server.clone(), bob.clone());
        asking.spawn(async move { governance.learn(&server, Some("pay"), &bob).await.unwrap() });
    }
    while let Some(snapshot) = asking.join_next().await {
        let learned = snapshot.unwrap();
        let learned = learned.server("tickets").unwrap();
        assert!(learned.tool("pay").is_some());
        assert!(learned.eras.is_some_and(|eras| eras.legacy && !eras.modern));
    }
    assert_eq!(house.upstreams.probes.load(Ordering::SeqCst), 1);
    // A tool that does not exist causes one read a second, not one a call.
    for _ in 0..20 {
        a.learn(&server, Some("absent"), &bob).await.unwrap();
    }
    assert_eq!(house.upstreams.probes.load(Ordering::SeqCst), 1);
    house.clock.advance(1);
    a.learn(&server, Some("absent"), &bob).await.unwrap();
    assert_eq!(house.upstreams.probes.load(Ordering::SeqCst), 2);
    // The other replica learns from the first one.
    let b = &house.b.governance;
    let knows = |tool: &str| b.snapshot().server("tickets").unwrap().tool(tool).is_some();
    eventually("b knows the tools", async || knows("drop_all")).await;

    // list_changed: both the new tool and the changed annotation are seen soon.
    let version = a.snapshot().version;
    *house.upstreams.tools.lock().unwrap() = vec![
        r#"{"name":"pay","annotations":{"destructiveHint":true},"inputSchema":{}}"#.into(),
        r#"{"name":"new","inputSchema":{}}"#.into(),
    ];
    a.suspect(server.id, &bob);
    eventually("the change is seen", async || knows("new") && !knows("drop_all")).await;
    // The one that read them may hear of it after the other.
    eventually("both know", async || a.snapshot().version > version).await;
    let snapshot = a.snapshot();
    let pay = snapshot.server("tickets").unwrap().tool("pay").unwrap().clone();
    assert_eq!(pay.annotations, ["destructiveHint"]);

    // What was defined anew is in the trail, once although two replicas look; what is new or gone is not.
    b.learn(&server, None, &bob).await.unwrap();
    let mut rows = house.all_rows(&EventFilter::default()).await;
    rows.retain(|row| row.action_type == "tool_definition_changed");
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(rows[0].resource_name.as_deref(), Some("pay"));
    assert!(rows[0].detail.as_deref().unwrap().starts_with("definition hash "));

    // Nothing new: the version stays, and so do remembered verdicts.
    house.clock.advance(2);
    let generation = a.snapshot().generation;
    assert_eq!(a.learn(&server, None, &bob).await.unwrap().generation, generation);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_credential_is_missing_is_not_asked() {
    let house = House::open().await;
    let a = &house.a.governance;
    let vault = a.snapshot().server("vault").unwrap().clone();
    let refused = a.learn(&vault, Some("open"), &house.caller("bob")).await.unwrap_err();
    assert_eq!(refused.reason, gateway_core::reason::Reason::UpstreamCredentialMissing);
    assert_eq!(house.upstreams.probes.load(Ordering::SeqCst), 0);
    assert!(a.snapshot().server("vault").unwrap().eras.is_none());
}
