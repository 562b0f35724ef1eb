//! Settings of the scanners: each write is a version, whoever writes; nobody writes over a version that they have not
//! seen; and the gateway itself cannot rewrite what was.

use gateway_core::ids::{ServerId, UserId};
use gateway_core::server::UpstreamAuth;
use uuid::Uuid;

use crate::Store;
use crate::desired_state::{Change, DesiredScanners, DesiredServer, DesiredState, Noun};
use crate::scanner::ScannersWrite::{Changed, ServerAbsent, Written};
use crate::scanner::StoredScanners;
use crate::testing::store;

fn server(slug: &str) -> DesiredServer {
    DesiredServer {
        slug: slug.parse().unwrap(),
        title: None,
        description: None,
        url: Some("http://127.0.0.1:9/mcp".into()),
        auth: UpstreamAuth::None,
        status: None,
        icon: None,
        sensitive: None,
        labels: None,
        admins: None,
    }
}

/// A file with these servers and these settings; the empty name is the organisation.
fn file(servers: &[&str], scanners: &[(&str, Option<&str>)]) -> DesiredState {
    let scanners = scanners.iter().map(|(slug, settings)| DesiredScanners {
        server: (!slug.is_empty()).then(|| slug.parse().unwrap()),
        settings_json: settings.map(Into::into),
    });
    DesiredState {
        servers: servers.iter().map(|slug| server(slug)).collect(),
        scanners: scanners.collect(),
        ..DesiredState::default()
    }
}

fn somebody() -> Option<UserId> {
    Some(UserId(Uuid::from_u128(77)))
}

async fn id(store: &Store, slug: &str) -> Option<ServerId> {
    let servers = store.load_catalogue().await.unwrap().servers;
    servers.iter().find(|server| server.slug.as_str() == slug).map(|server| server.id)
}

async fn stored(store: &Store) -> Vec<StoredScanners> {
    store.load_catalogue().await.unwrap().scanners
}

/// `2 tickets 1 -> 2 api 77`, newest first.
async fn told(store: &Store, of: Option<ServerId>) -> Vec<String> {
    let changes = store.scanner_changes(of, None, 100).await.unwrap();
    let text = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    let told = changes.into_iter().map(|one| {
        let by = one.actor.map_or("-".to_owned(), |id| id.0.as_u128().to_string());
        let whose = text(one.server_slug);
        let (before, after) = (text(one.before), text(one.after));
        format!("{} {whose} {before} -> {after} {} {by}", one.version, one.source)
    });
    told.collect()
}

#[tokio::test]
async fn every_write_is_a_version_and_counts_in_the_catalogue() {
    let store = store().await;
    store.apply(&file(&["tickets"], &[]), false).await.unwrap();
    let tickets = id(&store, "tickets").await;
    let write = async |server, settings, expected| {
        let before = store.catalogue_version().await.unwrap();
        let ended = store.write_scanners(server, settings, expected, somebody()).await.unwrap();
        let counted = store.catalogue_version().await.unwrap() - before;
        assert_eq!(counted == 1, ended == Written, "{settings:?}");
        ended
    };
    assert_eq!(write(None, Some("1"), Some(1)).await, Changed, "they are not there");
    assert_eq!(write(None, Some("1"), None).await, Written);
    assert_eq!(write(None, Some("2"), None).await, Changed, "they are there");
    assert_eq!(write(None, Some("2"), Some(1)).await, Written);
    assert_eq!(write(None, Some("3"), Some(1)).await, Changed, "somebody was faster");
    assert_eq!(write(tickets, Some("a"), None).await, Written);
    let nobody = Some(ServerId(Uuid::new_v4()));
    assert_eq!(write(nobody, Some("a"), None).await, ServerAbsent);
    let seen: Vec<_> =
        stored(&store).await.into_iter().map(|one| (one.server, one.version)).collect();
    assert_eq!(seen, [(None, 2), (tickets, 1)]);
    assert_eq!(write(None, None, Some(2)).await, Written);
    assert_eq!(write(None, None, Some(2)).await, Changed, "they are gone");
    // They come back and count on.
    assert_eq!(write(None, Some("4"), None).await, Written);
    let expected = [
        "4 - - -> 4 api 77",
        "3 - 2 -> - api 77",
        "1 tickets - -> a api 77",
        "2 - 1 -> 2 api 77",
        "1 - - -> 1 api 77",
    ];
    assert_eq!(told(&store, None).await, expected);
    assert_eq!(told(&store, tickets).await, expected[2..3]);
    let page = store.scanner_changes(None, None, 2).await.unwrap();
    let rest = store.scanner_changes(None, page.last().map(|one| one.change), 9).await.unwrap();
    assert_eq!((page.len(), rest.len()), (2, 3));
    // Writers that come together: one gets through.
    let (a, b) = tokio::join!(
        store.write_scanners(None, Some("5"), Some(4), somebody()),
        store.write_scanners(None, Some("6"), Some(4), None)
    );
    let mut ended = [a.unwrap(), b.unwrap()];
    ended.sort_by_key(|ended| *ended == Changed);
    assert_eq!(ended, [Written, Changed]);
}

#[tokio::test]
async fn a_file_says_what_the_settings_are_and_a_server_takes_its_own_along() {
    let store = store().await;
    let lines = async |state: DesiredState, prune| {
        let plan = store.plan(&state, prune).await.unwrap();
        let done = store.apply(&state, prune).await.unwrap();
        let lines = |changes: &[Change]| -> Vec<String> {
            let ours = changes.iter().filter(|change| change.noun == Noun::Scanners);
            let line = |change: &Change| change.to_string().replace("\n    settings", "");
            ours.map(line).collect()
        };
        assert_eq!(lines(&plan), lines(&done));
        lines(&done)
    };
    let both = || file(&["tickets"], &[("", Some("1")), ("tickets", Some("a"))]);
    assert_eq!(
        lines(both(), false).await,
        ["+ scanners organisation: none -> 1", "+ scanners tickets: none -> a"]
    );
    assert_eq!(lines(both(), true).await, ["= scanners organisation", "= scanners tickets"]);
    let other = file(&["tickets"], &[("", Some("2")), ("tickets", None)]);
    let expected = ["~ scanners organisation: 1 -> 2", "- scanners tickets: a -> none"];
    assert_eq!(lines(other, false).await, expected);
    // What is not in the file stays, unless it is pruned and was made by a file.
    assert_eq!(lines(file(&["tickets"], &[]), false).await, [""; 0]);
    let tickets = id(&store, "tickets").await;
    store.write_scanners(tickets, Some("b"), None, somebody()).await.unwrap();
    assert_eq!(lines(file(&["tickets"], &[]), true).await, ["- scanners organisation: 2 -> none"]);
    assert_eq!(stored(&store).await.len(), 1, "what an administrator made stays");
    let state = file(&["tickets"], &[("tickets", None)]);
    assert_eq!(lines(state, false).await, ["- scanners tickets: b -> none"]);
    assert_eq!(
        lines(both(), false).await,
        ["+ scanners organisation: none -> 1", "+ scanners tickets: none -> a"]
    );
    // The server goes, and its settings with it; what they were stays.
    let version = store.catalogue_version().await.unwrap();
    lines(file(&[], &[("", Some("1"))]), true).await;
    assert_eq!(store.catalogue_version().await.unwrap(), version + 1);
    assert_eq!(stored(&store).await.len(), 1);
    assert_eq!(told(&store, tickets).await[0], "6 tickets a -> - apply -");
    let nowhere = store.apply(&file(&[], &[("tickets", Some("1"))]), false).await.unwrap_err();
    assert!(nowhere.to_string().contains("there is no such server"), "{nowhere}");
}

#[tokio::test]
async fn what_was_cannot_be_rewritten() {
    let store = store().await;
    store.write_scanners(None, Some("1"), None, somebody()).await.unwrap();
    for forgery in [
        "update scanner_settings_version set after = '{}'",
        "delete from scanner_settings_version",
        "truncate scanner_settings_version",
        "alter table scanner_settings disable trigger scanner_settings_versioned",
        "drop trigger scanner_settings_versioned on scanner_settings",
    ] {
        let refused = sqlx::query(forgery).execute(store.pool()).await.unwrap_err();
        let text = refused.to_string();
        assert!(text.contains("permission denied") || text.contains("must be owner"), "{text}");
    }
    assert_eq!(told(&store, None).await, ["1 - - -> 1 api 77"]);
}
