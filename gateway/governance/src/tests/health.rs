//! Servers are looked after by one replica; what it sees is there for all and makes no snapshot anew.

use std::sync::Arc;
use std::time::Duration;

use gateway_core::reason::Reason;
use gateway_core::server::HealthStatus;
use gateway_store::audit::{EventEntry, EventFilter};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::house::{House, STATE, eventually};
use super::world::World;
use crate::testing::settings;
use crate::{Face, GovernanceSettings, Unread};

impl House {
    fn break_server(&self, slug: &str, refused: Option<StatusCode>) {
        let refused = refused.map(|status| Box::new((status, HeaderMap::new())));
        let detail = "connecting to 127.0.0.1:9: refused".to_owned();
        let unread = Unread { reason: Reason::UpstreamUnreachable, detail, refused };
        self.upstreams.broken.lock().unwrap().insert(slug.into(), unread);
    }

    fn mend(&self, slug: &str) {
        self.upstreams.broken.lock().unwrap().remove(slug);
    }

    fn pings(&self) -> Vec<String> {
        std::mem::take(&mut self.upstreams.pings.lock().unwrap())
    }

    async fn round(&self, seconds: i64) {
        self.later(seconds).await;
        self.a.governance.watcher.round().await;
    }

    async fn health_rows(&self) -> Vec<EventEntry> {
        let mut rows = self.all_rows(&EventFilter::default()).await;
        rows.retain(|row| row.action_type == "server_health_changed");
        rows
    }

    async fn detail(&self, person: &str, server: &str) -> Value {
        let arguments = json!({"server_id": server});
        self.perform(person, Face::Rest, "get_server", arguments).await.unwrap()
    }
}

fn watched(probe: u64) -> GovernanceSettings {
    let mut settings = settings();
    settings.servers.probe = Duration::from_secs(probe);
    settings.refresh = Duration::from_secs(300);
    settings.serves = false;
    settings
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_breaks_and_comes_back_is_seen_told_and_read_again() {
    let house = House::open_with(&watched(30), Arc::new(World::default())).await;
    let version = house.a.store.catalogue_version().await.unwrap();
    house.a.governance.watcher.resume().await.unwrap();
    house.round(0).await;
    assert_eq!(house.pings(), ["tickets"], "the vault's credential is missing: nothing is sent");
    let rows = house.health_rows().await;
    assert_eq!(rows.len(), 1, "a first answer is nothing new: {rows:?}");
    let vault = house.detail("it", "vault").await;
    assert_eq!(vault["health"], "failing");
    let error = vault["health_error"].as_str().unwrap();
    assert!(error.starts_with("upstream_credential_missing: "), "{error}");
    let tickets = house.detail("bob", "tickets").await;
    assert_eq!(tickets["health"], "ok");
    assert!(tickets["last_ok"].is_string() && tickets["latency_ms"].is_i64(), "{tickets}");

    house.round(0).await;
    assert_eq!(house.pings(), [""; 0], "not due");
    house.break_server("tickets", None);
    house.round(30).await;
    assert_eq!(house.pings(), ["tickets"]);
    let list = house.perform("bob", Face::Rest, "list_servers", json!({"query": "tick"})).await;
    assert_eq!(list.unwrap()["data"][0]["health"], "failing");
    let of_bob = house.detail("bob", "tickets").await;
    assert!(of_bob.get("health_error").is_none(), "addresses are for administrators: {of_bob}");
    let rows = house.health_rows().await;
    assert_eq!(rows[0].server_slug.as_deref(), Some("tickets"));
    let row = &rows[0];
    assert_eq!(
        (row.outcome.as_str(), row.reason.as_deref()),
        ("error", Some("upstream_unreachable"))
    );

    // One more hour of failing, a round every ten seconds: asked seldom, told once, read never.
    house.upstreams.read.lock().unwrap().clear();
    for _ in 0..360 {
        house.round(10).await;
    }
    let asked = house.pings().iter().filter(|slug| *slug == "tickets").count();
    assert!((9..=20).contains(&asked), "{asked} times");
    assert_eq!(house.health_rows().await.len(), 2);
    let read = std::mem::take(&mut *house.upstreams.read.lock().unwrap());
    assert!(read.iter().all(|slug| slug == "runlayer") && read.len() > 10, "{read:?}");

    // It comes back: told, and read at once.
    house.mend("tickets");
    house.round(600).await;
    assert_eq!(house.detail("bob", "tickets").await["health"], "ok");
    let rows = house.health_rows().await;
    assert_eq!((rows.len(), rows[0].outcome.as_str()), (3, "ok"));
    let read = std::mem::take(&mut *house.upstreams.read.lock().unwrap());
    assert_eq!(read.iter().filter(|slug| *slug == "tickets").count(), 1, "{read:?}");
    assert!(house.a.governance.snapshot().server("tickets").unwrap().tool("pay").is_some());
    house.pings();
    house.round(30).await;
    assert_eq!(house.pings(), ["tickets"], "as often as before");

    // The other replica's readers see the same, and only what was read (of it, of the built-in one) made
    // snapshots anew.
    let seen = house.b.store.server_health().await.unwrap();
    assert_eq!(seen.iter().filter(|(_, h)| h.status == HealthStatus::Ok).count(), 1);
    assert_eq!(house.a.store.catalogue_version().await.unwrap(), version + 2);
    // Another replica that takes over neither tells anew nor forgets.
    house.b.governance.watcher.resume().await.unwrap();
    house.later(3_600).await;
    house.b.governance.watcher.round().await;
    assert_eq!(house.health_rows().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_wants_to_know_who_calls_is_there_when_it_says_so() {
    let house = House::open_with(&watched(30), Arc::new(World::default())).await;
    let drive = "[[servers]]\nslug = \"drive\"\nurl = \"http://127.0.0.1:9/drive\"\n\
                 auth = { mode = \"oauth_user\" }\n";
    house.apply(&format!("{STATE}\n{drive}")).await;
    house.a.governance.refresh().await.unwrap();
    house.break_server("drive", Some(StatusCode::UNAUTHORIZED));
    house.break_server("tickets", Some(StatusCode::UNAUTHORIZED));
    house.round(0).await;
    assert_eq!(house.detail("it", "drive").await["health"], "ok");
    assert_eq!(house.detail("it", "tickets").await["health"], "failing", "it got all there is");
    house.break_server("drive", None);
    house.round(600).await;
    assert_eq!(house.detail("it", "drive").await["health"], "failing");
    // Switched off: nobody asks any more, and what was measured is told no more.
    let off = json!({"server_id": "drive", "status": "disabled", "confirm": true});
    house.perform("it", Face::Rest, "set_server_status", off).await.unwrap();
    house.pings();
    house.round(3_600).await;
    assert!(!house.pings().contains(&"drive".to_owned()));
    assert_eq!(house.detail("it", "drive").await["health"], Value::Null);
    assert_eq!(house.detail("it", "tickets").await["status"], "active", "health sets no status");
    // Moved: what was measured counts no more.
    let moved = json!({"server_id": "drive", "url": "http://127.0.0.1:9/other", "confirm": true});
    house.perform("it", Face::Rest, "update_server", moved).await.unwrap();
    assert_eq!(house.detail("it", "drive").await["health"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_replicas_look_by_themselves_and_only_one_of_them() {
    let mut settings = watched(3_600);
    settings.serves = true;
    let house = House::open_with(&settings, Arc::new(World::default())).await;
    eventually("the servers are looked at", async || {
        house.a.store.server_health().await.unwrap().len() == 2
    })
    .await;
    assert!(house.a.store.watch_servers().await.unwrap().is_none(), "the duty is taken");
    assert_eq!(house.pings(), ["tickets"], "one replica asked, once");
    // Once both have gone, it is free.
    for replica in [&house.a, &house.b] {
        replica.shutdown.cancel();
        replica.governance.stopped().await;
    }
    eventually("the duty is free", async || house.a.store.watch_servers().await.unwrap().is_some())
        .await;
}
