//! What servers told about themselves.

use gateway_core::ids::ServerId;
use gateway_core::server::{Eras, RUNLAYER_ID, Tool};
use time::macros::datetime;
use uuid::Uuid;

use crate::Store;
use crate::definition::Newcomers;
use crate::testing::store;
use crate::tool::{ChangedTool, Learned};

const BOTH: Eras = Eras { legacy: true, modern: true };

fn tool(name: &str, definition: &str) -> Tool {
    Tool {
        name: name.into(),
        definition: definition.into(),
        hash: [definition.len() as u8; 32],
        pin: pin(definition),
        annotations: vec!["destructiveHint".into()],
    }
}

fn pin(definition: &str) -> [u8; 32] {
    let digest = ring::digest::digest(&ring::digest::SHA256, definition.as_bytes());
    digest.as_ref().try_into().unwrap()
}

async fn learn(store: &Store, eras: Eras, tools: &[Tool]) -> Learned {
    let now = datetime!(2026-08-01 12:00 UTC);
    store.learn(RUNLAYER_ID, eras, tools, (now, Newcomers::Pass)).await.unwrap().unwrap()
}

async fn known(store: &Store) -> Vec<(String, String)> {
    let servers = store.load_catalogue().await.unwrap().servers;
    let tools = servers.iter().find(|server| server.id == RUNLAYER_ID).unwrap().tools.clone();
    tools.iter().map(|tool| (tool.name.clone(), tool.definition.clone())).collect()
}

#[tokio::test]
async fn definitions_are_kept_byte_for_byte_in_their_order() {
    let store = store().await;
    let odd = r#"{"name":"b","x":1.0e+400, "description":"\u0000 \ud83d\ude00 ü"}"#;
    let tools = [tool("b", odd), tool("a", "{}"), tool("B", "{ }"), tool("", "{  }")];
    let learned = learn(&store, BOTH, &tools).await;
    assert_eq!(learned.added, ["b", "a", "B", ""]);
    assert!(learned.eras);
    let servers = store.load_catalogue().await.unwrap().servers;
    let server = servers.iter().find(|server| server.id == RUNLAYER_ID).unwrap();
    assert_eq!(server.eras, Some(BOTH));
    for (stored, given) in server.tools.iter().zip(&tools) {
        assert_eq!(
            (&stored.name, &stored.definition, stored.hash, stored.pin, &stored.annotations),
            (&given.name, &given.definition, given.hash, given.pin, &given.annotations)
        );
    }
    assert_eq!(server.tools.len(), tools.len());
}

#[tokio::test]
async fn only_what_differs_is_written() {
    let store = store().await;
    let first = [tool("a", "{}"), tool("b", "{}"), tool("c", "{}")];
    learn(&store, BOTH, &first).await;
    let version = store.catalogue_version().await.unwrap();
    assert!(learn(&store, BOTH, &first).await.is_nothing());
    assert_eq!(store.catalogue_version().await.unwrap(), version);

    let second = [tool("b", "{ }"), tool("a", "{}"), tool("d", "{}")];
    let learned = learn(&store, Eras { legacy: true, modern: false }, &second).await;
    assert_eq!(
        learned,
        Learned {
            eras: true,
            added: vec!["d".into()],
            changed: vec![ChangedTool {
                name: "b".into(),
                before: first[1].definition.clone(),
                after: second[0].definition.clone(),
                hashes: [first[1].hash, second[0].hash],
                pin: first[1].pin,
            }],
            removed: vec!["c".into()],
            waiting: vec![],
        }
    );
    assert_eq!(store.catalogue_version().await.unwrap(), version + 1);
    let names: Vec<String> = known(&store).await.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["b", "a", "d"]);
}

#[tokio::test]
async fn of_two_replicas_that_see_a_change_one_is_told_of_it() {
    let store = store().await;
    let name: String =
        sqlx::query_scalar("select current_database()").fetch_one(store.pool()).await.unwrap();
    let url = crate::testing::server().await.url(Some(&name));
    let replica = Store::open(&crate::testing::settings(&url)).await.unwrap();
    let defined = |round: usize| [tool("a", &format!("{{{}}}", " ".repeat(round)))];
    learn(&store, BOTH, &defined(0)).await;
    for round in 1..=10 {
        let mut looking = tokio::task::JoinSet::new();
        for looker in 0..8 {
            let store = if looker % 2 == 0 { store.clone() } else { replica.clone() };
            looking.spawn(async move { learn(&store, BOTH, &defined(round)).await });
        }
        let told: Vec<ChangedTool> =
            looking.join_all().await.into_iter().flat_map(|learned| learned.changed).collect();
        let [before, after] = [defined(round - 1), defined(round)].map(|[tool]| tool);
        let expected = ChangedTool {
            name: "a".into(),
            before: before.definition,
            after: after.definition,
            hashes: [before.hash, after.hash],
            pin: before.pin,
        };
        assert_eq!(told, [expected], "round {round}");
    }
}

#[tokio::test]
async fn what_cannot_be_stored_stays_unknown() {
    let store = store().await;
    let tools = [tool("a", "{}"), tool("a", "{ }"), tool("n\0l", "{}"), tool("z", "{}")];
    learn(&store, BOTH, &tools).await;
    let expected = [("a", "{}"), ("z", "{}")].map(|(n, d)| (n.to_owned(), d.to_owned()));
    assert_eq!(known(&store).await, expected);
}

#[tokio::test]
async fn an_unknown_server_learns_nothing() {
    let store = store().await;
    let nowhere = ServerId(Uuid::from_u128(1));
    let now = datetime!(2026-08-01 12:00 UTC);
    let when = (now, Newcomers::Pass);
    assert_eq!(store.learn(nowhere, BOTH, &[tool("a", "{}")], when).await.unwrap(), None);
}
