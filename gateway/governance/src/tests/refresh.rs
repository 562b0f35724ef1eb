//! The snapshot follows the database, on every replica, and is not trusted for ever.

use gateway_core::decision::{Target, Verdict};
use gateway_core::reason::Reason;
use serde_json::json;

use super::house::{House, STATE, circumstances, eventually};
use crate::{Attempt, Face, Presented};

#[tokio::test(flavor = "multi_thread")]
async fn changes_and_revocations_reach_every_replica() {
    let house = House::open().await;
    let (key, id) = house.key("bob").await;
    let present = || Presented { api_key_header: Some(&key), ..Presented::default() };
    let b = &house.b.governance;
    eventually("b knows the key", async || b.identify(present()).await.is_ok()).await;

    // Disabling a server, on a: a knows at once, b soon.
    let arguments = json!({"server_id": "tickets", "status": "disabled"});
    house.perform("it", Face::Rest, "set_server_status", arguments).await.unwrap();
    let status = |governance: &crate::Governance| {
        governance.snapshot().server("tickets").unwrap().status.as_str()
    };
    assert_eq!(status(&house.a.governance), "disabled");
    eventually("b sees it", async || status(b) == "disabled").await;

    // Revoking a key.
    let revoke = (crate::operations::spec("revoke_api_key").unwrap().read)(json!({"id": id}));
    house.operate(revoke.unwrap()).await.unwrap();
    let refused = house.a.governance.identify(present()).await.unwrap_err();
    assert_eq!(refused.reason, Reason::CredentialInvalid);
    eventually("b refuses the key", async || b.identify(present()).await.is_err()).await;

    // A person who was identified before and deactivated since performs nothing.
    let carol = house.caller("carol");
    house.apply(&STATE.replace("[[users]]\nemail = \"carol@example.com\"\n", "")).await;
    house.a.governance.refresh().await.unwrap();
    let operation = (crate::operations::spec("list_servers").unwrap().read)(json!({})).unwrap();
    let origin = house.origin(Face::Rest);
    let refused = house.a.governance.perform(&carol, &origin, operation).await.unwrap_err();
    assert_eq!(refused.reason, Reason::CredentialInvalid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_cannot_be_confirmed_is_not_trusted() {
    let house = House::open().await;
    let (key, _) = house.key("bob").await;
    let present = || Presented { api_key_header: Some(&key), ..Presented::default() };
    let a = &house.a.governance;
    assert!(a.identify(present()).await.is_ok());
    house.a.store.clone().close().await;
    house.clock.advance(50);
    assert!(a.is_fresh(), "a short absence of Postgres is none of the callers' business");
    assert!(a.identify(present()).await.is_ok());
    house.clock.advance(10);
    assert!(!a.is_fresh());
    let refused = a.identify(present()).await.unwrap_err();
    assert_eq!(refused.reason, Reason::CatalogueStale);
    let refused = house.perform("bob", Face::Tools, "list_servers", json!({})).await.unwrap_err();
    assert_eq!(refused.reason, Reason::CatalogueStale);
    let b = &house.b.governance;
    eventually("b goes on", async || b.is_fresh()).await;
    for replica in [&house.a, &house.b] {
        replica.shutdown.cancel();
        replica.governance.stopped().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn remembered_verdicts_do_not_outlive_their_policies() {
    let house = House::open().await;
    let a = &house.a.governance;
    let allowed = || {
        let snapshot = a.snapshot();
        let bob = house.caller("bob");
        let server = snapshot.server("tickets").unwrap().clone();
        let circumstances = circumstances();
        let attempt = Attempt {
            server: &server,
            target: Target::Tool("list"),
            arguments: None,
            circumstances: &circumstances,
            confirmed: false,
        };
        let allowed = matches!(a.decide(&snapshot, &bob, &attempt), Verdict::Allow { .. });
        let target = Target::Tool("list");
        assert_eq!(a.listed(&snapshot, &bob, &server, target, &circumstances), allowed);
        allowed
    };
    for _ in 0..3 {
        assert!(allowed());
    }
    house.apply(&STATE.replace("tools = [\"list\", \"pay\"]", "tools = [\"pay\"]")).await;
    a.refresh().await.unwrap();
    assert!(!allowed());
    house.apply(STATE).await;
    a.refresh().await.unwrap();
    assert!(allowed());
    // Losing the group does it, too.
    house
        .apply(&STATE.replace("bob@example.com\"\ngroups = [\"engineering\"]", "bob@example.com\""))
        .await;
    a.refresh().await.unwrap();
    assert!(!allowed());
}
