//! Servers made and changed one by one; how they were when somebody looked.

use std::sync::Arc;

use gateway_core::caller::Role;
use gateway_core::ids::{ServerId, UserId};
use gateway_core::label::Label;
use gateway_core::server::{
    Endpoint, Eras, Health, HealthStatus, RUNLAYER_ID, SecretSource, Server, ServerStatus, Tool,
    UpstreamAuth,
};
use time::macros::datetime;
use uuid::Uuid;

use crate::definition::Newcomers;
use crate::desired_state::{DesiredPolicy, DesiredState, DesiredUser};
use crate::server::{RenamedPolicy, ServerChange, ServerPatch};
use crate::testing::store;
use crate::{Store, StoreError};

fn server(slug: &str) -> Server {
    Server {
        id: ServerId(Uuid::new_v4()),
        slug: slug.parse().unwrap(),
        title: "Tickets".into(),
        description: "Where tickets are".into(),
        endpoint: Endpoint::Http("https://tickets.example.com/mcp".into()),
        auth: UpstreamAuth::Header {
            name: "authorization".into(),
            from: SecretSource::Env("TOKEN".into()),
            value: Some("never stored".into()),
        },
        status: ServerStatus::Draft,
        eras: None,
        sensitive: true,
        labels: vec![Label::Untrusted, Label::Private],
        icon: Some("https://example.com/i.png".into()),
        catalog_entry: Some("com.example/tickets".into()),
        admins: vec![],
        tools: Arc::default(),
    }
}

async fn stored(store: &Store, id: ServerId) -> Server {
    store.servers().await.unwrap().into_iter().find(|server| server.id == id).unwrap()
}

/// One person and two policies that name `tickets` and everything.
async fn organisation(store: &Store) -> UserId {
    let policy = |name: &str, spec_json: &str| DesiredPolicy {
        name: name.into(),
        spec_json: spec_json.into(),
    };
    let state = DesiredState {
        users: vec![DesiredUser {
            email: "alice@x.test".into(),
            name: "Alice".into(),
            roles: vec![Role::User],
            groups: vec![],
            active: true,
            attributes: None,
        }],
        policies: vec![
            policy("on tickets", r#"{"name":"on tickets","server":"tickets"}"#),
            policy("on all", r#"{"name":"on all","server":"*"}"#),
        ],
        ..DesiredState::default()
    };
    store.apply(&state, false).await.unwrap();
    store.load_catalogue().await.unwrap().users[0].id
}

#[tokio::test]
async fn a_server_is_stored_as_it_is_said_and_never_its_secret() {
    let store = store().await;
    let alice = organisation(&store).await;
    let version = store.catalogue_version().await.unwrap();
    let tickets = Server { admins: vec![alice, UserId(Uuid::new_v4())], ..server("tickets") };
    assert_eq!(store.create_server(&tickets).await.unwrap(), ServerChange::Made);
    assert_eq!(store.catalogue_version().await.unwrap(), version + 1, "one transaction");
    let is = stored(&store, tickets.id).await;
    assert_eq!((&is.slug, &is.title), (&tickets.slug, &tickets.title));
    assert_eq!((&is.endpoint, is.status), (&tickets.endpoint, ServerStatus::Draft));
    assert_eq!((&is.icon, &is.catalog_entry), (&tickets.icon, &tickets.catalog_entry));
    assert_eq!(is.labels, [Label::Untrusted, Label::Private]);
    assert_eq!((is.sensitive, is.admins), (true, vec![alice]), "who is gone is left out");
    let row: String = sqlx::query_scalar("select s::text from server s where slug = 'tickets'")
        .fetch_one(store.pool())
        .await
        .unwrap();
    assert!(row.contains("TOKEN") && !row.contains("never stored"), "{row}");
    // The same slug again, and one that is nowhere: nothing is done.
    assert_eq!(store.create_server(&server("tickets")).await.unwrap(), ServerChange::SlugTaken);
    let nowhere = Server { endpoint: Endpoint::InProcess, ..server("nowhere") };
    assert!(matches!(store.create_server(&nowhere).await, Err(StoreError::Invalid(_))));
    assert_eq!(store.servers().await.unwrap().len(), 2);
    // What was made so is not the file's to remove.
    store.apply(&DesiredState::default(), true).await.unwrap();
    assert_eq!(stored(&store, tickets.id).await.admins, [], "the person was the file's");
}

#[tokio::test]
async fn a_change_touches_what_it_names_only() {
    let store = store().await;
    let alice = organisation(&store).await;
    let made = server("tickets");
    store.create_server(&made).await.unwrap();
    let tool = Tool {
        name: "t".into(),
        definition: "{}".into(),
        hash: [1; 32],
        pin: [2; 32],
        annotations: vec![],
    };
    let eras = Eras { legacy: true, modern: false };
    let learn = async || {
        let now = datetime!(2026-08-01 0:00 UTC);
        store
            .learn(made.id, eras, std::slice::from_ref(&tool), (now, Newcomers::Pass))
            .await
            .unwrap();
    };
    learn().await;
    let update =
        async |patch: ServerPatch| store.update_server(made.id, &patch, (&[], None)).await.unwrap();
    let shown = ServerPatch {
        title: Some("New".into()),
        sensitive: Some(false),
        labels: Some(vec![Label::Outward]),
        ..patch()
    };
    assert_eq!(update(shown).await, ServerChange::Made);
    let is = stored(&store, made.id).await;
    assert_eq!((is.title.as_str(), is.sensitive, is.tools.len()), ("New", false, 1));
    assert_eq!(is.labels, [Label::Outward]);
    assert_eq!((is.description, is.icon), (made.description.clone(), made.icon.clone()));
    update(ServerPatch { icon: Some(String::new()), admins: Some(vec![alice]), ..patch() }).await;
    update(ServerPatch { auth: Some(UpstreamAuth::IdentityForward), ..patch() }).await;
    update(ServerPatch { status: Some(ServerStatus::Active), ..patch() }).await;
    let is = stored(&store, made.id).await;
    assert_eq!(
        (is.icon, is.admins.as_slice(), is.status),
        (None, &[alice][..], ServerStatus::Active)
    );
    assert_eq!((is.auth.mode(), is.tools.len()), ("identity_forward", 1));
    // The same address is no move; another is, and what was known goes with it.
    let Endpoint::Http(url) = &made.endpoint else { unreachable!() };
    update(ServerPatch { url: Some(url.clone()), ..patch() }).await;
    assert_eq!(stored(&store, made.id).await.tools.len(), 1);
    store.set_server_health(made.id, &health(HealthStatus::Ok)).await.unwrap();
    update(ServerPatch { url: Some("https://other.example.com/".into()), ..patch() }).await;
    let is = stored(&store, made.id).await;
    assert_eq!((is.eras, is.tools.len()), (None, 0));
    assert_eq!(store.server_health().await.unwrap(), []);
    // Nobody's server, and the one in this process.
    let nobody =
        store.update_server(ServerId(Uuid::new_v4()), &patch(), (&[], None)).await.unwrap();
    assert_eq!(nobody, ServerChange::Absent);
    let moved = ServerPatch { url: Some("https://evil.example.com/".into()), ..patch() };
    assert!(matches!(
        store.update_server(RUNLAYER_ID, &moved, (&[], None)).await,
        Err(StoreError::Invalid(_))
    ));
    assert_eq!(stored(&store, RUNLAYER_ID).await.endpoint, Endpoint::InProcess);
}

fn patch() -> ServerPatch {
    ServerPatch::default()
}

#[tokio::test]
async fn policies_follow_a_new_slug_or_nothing_is_renamed() {
    let store = store().await;
    organisation(&store).await;
    let made = server("tickets");
    store.create_server(&made).await.unwrap();
    store.create_server(&server("other")).await.unwrap();
    let catalogue = store.load_catalogue().await.unwrap();
    let stale = catalogue.policies.iter().find(|p| p.name == "on tickets").unwrap().clone();
    let rename = |slug: &str| ServerPatch { slug: Some(slug.parse().unwrap()), ..patch() };
    let text = |before: &str| RenamedPolicy {
        id: stale.id,
        before: before.into(),
        after: stale.spec_json.replace("tickets\"}", "issues\"}"),
    };
    let good = text(&stale.spec_json);
    let cases = [
        ("other", vec![good.clone()], ServerChange::SlugTaken),
        ("issues", vec![], ServerChange::PoliciesMoved),
        ("issues", vec![text("{}")], ServerChange::PoliciesMoved),
        ("tickets", vec![], ServerChange::Made),
    ];
    for (slug, policies, expected) in cases {
        let got = store.update_server(made.id, &rename(slug), (&policies, None)).await.unwrap();
        assert_eq!(got, expected, "{slug} {policies:?}");
        let left = store.load_catalogue().await.unwrap();
        assert_eq!(left.policies, catalogue.policies, "{slug}");
        assert!(left.servers.iter().any(|s| s.slug.as_str() == "tickets"));
    }
    let done = store.update_server(made.id, &rename("issues"), (&[good], None)).await.unwrap();
    assert_eq!(done, ServerChange::Made);
    let left = store.load_catalogue().await.unwrap();
    let specs: Vec<&str> = left.policies.iter().map(|p| p.spec_json.as_str()).collect();
    assert!(specs.contains(&r#"{"name":"on tickets","server":"issues"}"#), "{specs:?}");
    assert_eq!(stored(&store, made.id).await.slug.as_str(), "issues");
}

fn health(status: HealthStatus) -> Health {
    let at = datetime!(2026-08-01 12:00 UTC);
    Health {
        status,
        since: at,
        checked_at: at,
        last_ok: Some(at),
        reason: Some("upstream_timeout".into()),
        detail: Some("no answer".into()),
        latency_us: Some(1_500),
        failures: 2,
    }
}

#[tokio::test]
async fn what_is_measured_is_kept_and_the_catalogue_stays_as_it_is() {
    let store = store().await;
    let version = store.catalogue_version().await.unwrap();
    assert_eq!(store.server_health().await.unwrap(), []);
    for status in [HealthStatus::Ok, HealthStatus::Failing] {
        let health = health(status);
        store.set_server_health(RUNLAYER_ID, &health).await.unwrap();
        assert_eq!(store.server_health().await.unwrap(), [(RUNLAYER_ID, health)]);
    }
    store.set_server_health(ServerId(Uuid::new_v4()), &health(HealthStatus::Ok)).await.unwrap();
    assert_eq!(store.server_health().await.unwrap().len(), 1, "of no server nothing is kept");
    assert_eq!(store.catalogue_version().await.unwrap(), version);
    // Nobody looks at it any more: what was measured is no health, also when it comes back.
    store.set_server_status(RUNLAYER_ID, ServerStatus::Disabled).await.unwrap();
    store.set_server_health(RUNLAYER_ID, &health(HealthStatus::Ok)).await.unwrap();
    assert_eq!(store.server_health().await.unwrap(), []);
    store.set_server_status(RUNLAYER_ID, ServerStatus::Active).await.unwrap();
    assert_eq!(store.server_health().await.unwrap(), []);
}

#[tokio::test]
async fn one_replica_looks_after_servers_until_it_leaves_or_dies() {
    let store = store().await;
    let mut first = store.watch_servers().await.unwrap().expect("nobody does");
    assert!(first.holds().await);
    // Who stands by asks with the connections that it has.
    let before = backends(&store).await;
    for _ in 0..10 {
        assert!(store.watch_servers().await.unwrap().is_none());
    }
    assert_eq!(backends(&store).await, before);
    first.leave().await;
    // The backend ends a moment after its client said so.
    let mut second = None;
    for _ in 0..100 {
        second = store.watch_servers().await.unwrap();
        if second.is_some() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let mut second = second.expect("nobody does any more");
    crate::testing::superuser(
        "select pg_terminate_backend(pid) from pg_locks
          where locktype = 'advisory' and objid::bigint = x'77617902'::bigint",
    )
    .await;
    assert!(!second.holds().await, "its connection is gone");
}

/// The processes of the database's connections.
async fn backends(store: &Store) -> Vec<i32> {
    let pids = sqlx::query_scalar(
        "select pid from pg_stat_activity
          where datname = current_database() and usename = current_user order by pid",
    );
    pids.fetch_all(store.pool()).await.unwrap()
}
