//! Definitions: what is new about a sighting, what was decided, what is left when a server says much.

use std::collections::HashMap;

use gateway_core::ids::ServerId;
use gateway_core::server::{Approval, Eras, RUNLAYER_ID, Tool};
use time::Duration;
use time::macros::datetime;

use crate::Store;
use crate::definition::{
    Asked, Decided, DefinitionKind, Newcomers, Pins, Sighting, StoredDefinition, Told,
};
use crate::testing::store;

const ERAS: Eras = Eras { legacy: true, modern: true };
const START: gateway_core::Timestamp = datetime!(2026-08-01 12:00 UTC);

fn hash(text: &str) -> [u8; 32] {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    digest.as_ref().try_into().unwrap()
}

fn tool(name: &str, definition: &str) -> Tool {
    let (pin, hash) = (hash(definition), hash(&definition.replace(' ', "")));
    Tool { name: name.into(), definition: definition.into(), hash, pin, annotations: vec![] }
}

fn sighting(name: &str, definition: &str) -> Sighting {
    Sighting { kind: DefinitionKind::Tool, item: tool(name, definition), findings: None }
}

struct House(Store);

impl House {
    async fn learn(&self, tools: &[Tool], minute: i64, newcomers: Newcomers) {
        let when = (START + Duration::minutes(minute), newcomers);
        self.0.learn(RUNLAYER_ID, ERAS, tools, when).await.unwrap().unwrap();
    }

    async fn saw(&self, sightings: &[Sighting], minute: i64, newcomers: Newcomers) -> Vec<Told> {
        let now = START + Duration::minutes(minute);
        self.0.saw(RUNLAYER_ID, sightings, newcomers, now).await.unwrap()
    }

    async fn pins(&self) -> HashMap<[u8; 32], Option<Approval>> {
        let mut pins = self.0.load_catalogue().await.unwrap().pins;
        pins.remove(&RUNLAYER_ID).unwrap_or(Pins::default()).known
    }

    async fn listed(&self, undecided: bool) -> Vec<StoredDefinition> {
        let asked =
            Asked { servers: &[RUNLAYER_ID], undecided, pins: None, after: None, limit: 100 };
        self.0.definitions(asked).await.unwrap()
    }

    async fn decide(&self, definitions: &[&str], decision: Approval) -> Decided {
        let pins: Vec<_> = definitions.iter().map(|text| hash(text)).collect();
        let by = (decision, "alice@example.com");
        self.0.decide_definitions(RUNLAYER_ID, &pins, by, START).await.unwrap()
    }
}

#[tokio::test]
async fn the_first_look_approves_and_what_comes_later_does_as_it_is_told() {
    let house = House(store().await);
    let version = house.0.catalogue_version().await.unwrap();
    // Nothing was listed: it was no look.
    house.learn(&[], 0, Newcomers::Wait).await;
    house.learn(&[tool("a", "{}"), tool("b", "[]")], 0, Newcomers::Wait).await;
    let approved = Some(Approval::Approved);
    assert_eq!(house.pins().await, [(hash("{}"), approved), (hash("[]"), approved)].into());
    assert_eq!(house.listed(false).await, []);
    assert!(house.0.catalogue_version().await.unwrap() > version);

    let version = house.0.catalogue_version().await.unwrap();
    house.learn(&[tool("a", "{}"), tool("b", "[]")], 1, Newcomers::Wait).await;
    assert_eq!(house.0.catalogue_version().await.unwrap(), version);

    house.learn(&[tool("a", "{ }"), tool("b", "[]"), tool("c", "3")], 2, Newcomers::Wait).await;
    house.learn(&[tool("a", "{ }"), tool("c", "3"), tool("d", "4")], 3, Newcomers::Pass).await;
    let pins = house.pins().await;
    assert_eq!((pins[&hash("{ }")], pins[&hash("3")], pins[&hash("4")]), (None, None, approved));

    let listed = house.listed(false).await;
    let by_name = |name: &str| listed.iter().find(|d| d.name == name).unwrap();
    assert_eq!(by_name("d").decided_by.as_deref(), Some("first sight"));
    assert!(by_name("b").gone_at.is_some() && by_name("c").before.is_none());
    let a = by_name("a");
    assert_eq!(a.before, Some((Some("{}".into()), Some(a.hash))), "only its spelling differs");
    let names: Vec<String> = house.listed(true).await.into_iter().map(|d| d.name).collect();
    assert!(names == ["a", "c"] || names == ["c", "a"], "{names:?}");

    // What comes back is there again.
    house.learn(&[tool("b", "[]")], 4, Newcomers::Wait).await;
    assert!(house.listed(false).await.iter().all(|d| (d.name == "b") != d.gone_at.is_some()));
}

#[tokio::test]
async fn a_sighting_is_told_once_and_is_from_then_on_what_is_known() {
    let house = House(store().await);
    // Before the first look a server that waits for approvals gets none.
    let nothing = Told::default();
    let first = [sighting("a", "{\"x\":1}")];
    assert_eq!(house.saw(&first, 0, Newcomers::Wait).await, [Told::default()]);
    assert!(house.pins().await.is_empty());

    house.learn(&[tool("a", "{}")], 1, Newcomers::Wait).await;
    let told = house.saw(&first, 2, Newcomers::Wait).await;
    let before = Some(("{}".to_owned(), hash("{}")));
    assert_eq!(told, [Told { is_new: true, before, is_flagged: false }]);
    let servers = house.0.load_catalogue().await.unwrap().servers;
    let server = servers.iter().find(|server| server.id == RUNLAYER_ID).unwrap();
    assert_eq!(server.tool("a").unwrap().pin, hash("{\"x\":1}"));
    assert_eq!(house.saw(&first, 3, Newcomers::Wait).await, [Told::default()]);
    // A whole look at the same is no news either, and none makes it approved.
    let when = (START, Newcomers::Wait);
    let looked = house.0.learn(RUNLAYER_ID, ERAS, &[first[0].item.clone()], when).await.unwrap();
    assert!(looked.unwrap().is_nothing());
    assert_eq!(house.pins().await[&hash("{\"x\":1}")], None);

    // Findings are told once, and again when they are others.
    let flagged = |findings: &str| Sighting { findings: Some(findings.into()), ..first[0].clone() };
    for (findings, is_flagged) in [("[1]", true), ("[1]", false), ("[2]", true), ("[2]", false)] {
        let told = house.saw(&[flagged(findings)], 4, Newcomers::Wait).await;
        assert_eq!(told, [Told { is_flagged, ..nothing.clone() }], "{findings}");
    }
    // So are those of what is no tool, which nobody has to approve.
    let kind = DefinitionKind::Instructions;
    let spoken = Sighting { kind, item: tool("", "\"hi\""), findings: Some("[]".into()) };
    let told = house.saw(&[spoken.clone(), spoken], 5, Newcomers::Wait).await;
    assert_eq!(told.iter().filter(|told| told.is_flagged).count(), 1);
    assert!(!house.pins().await.contains_key(&hash("\"hi\"")));
    assert_eq!(house.listed(true).await.len(), 1);

    let nowhere = ServerId(uuid::Uuid::from_u128(1));
    let told = house.0.saw(nowhere, &first, Newcomers::Pass, START).await.unwrap();
    assert_eq!(told, [nothing]);
}

#[tokio::test]
async fn only_what_was_seen_is_approved() {
    let house = House(store().await);
    house.learn(&[tool("a", "{}"), tool("b", "[]")], 0, Newcomers::Wait).await;
    house.saw(&[sighting("a", "1"), sighting("b", "2")], 1, Newcomers::Wait).await;
    assert_eq!(house.decide(&["1", "7"], Approval::Approved).await, Decided::Absent);
    house.saw(&[sighting("a", "3")], 2, Newcomers::Wait).await;
    // One of them changed again: none is approved.
    let changed = Decided::Changed("a".into());
    assert_eq!(house.decide(&["1", "2"], Approval::Approved).await, changed);
    let pins = house.pins().await;
    assert_eq!((pins[&hash("1")], pins[&hash("2")]), (None, None));
    let version = house.0.catalogue_version().await.unwrap();
    assert_eq!(house.decide(&["1"], Approval::Rejected).await, Decided::Done);
    assert_eq!(house.decide(&["3", "2"], Approval::Approved).await, Decided::Done);
    assert!(house.0.catalogue_version().await.unwrap() > version, "replicas hear of it");
    let pins = house.pins().await;
    let approved = Some(Approval::Approved);
    assert_eq!((pins[&hash("1")], pins[&hash("3")]), (Some(Approval::Rejected), approved));
    assert_eq!(house.listed(true).await, []);
    let listed = house.listed(false).await;
    assert!(listed.iter().all(|d| d.decided_by.as_deref() == Some("alice@example.com")));
}

#[tokio::test]
async fn a_server_that_says_something_else_every_time_does_not_fill_the_database() {
    let house = House(store().await);
    house.learn(&[tool("a", "{}")], 0, Newcomers::Wait).await;
    for round in 0..5 {
        let many: Vec<_> =
            (0..20).map(|i| sighting("a", &format!("{{\"x\":{round}{i}}}"))).collect();
        house.saw(&many, round, Newcomers::Wait).await;
    }
    let kept = house.pins().await;
    assert_eq!(kept.len(), 21, "20 of one tool, and the approved one");
    assert!(kept.contains_key(&hash("{}")) && kept.contains_key(&hash("{\"x\":419}")));
    let page =
        |after| Asked { servers: &[RUNLAYER_ID], undecided: true, pins: None, after, limit: 15 };
    let first = house.0.definitions(page(None)).await.unwrap();
    let last = first.last().map(|d| (d.first_seen, d.pin));
    let second = house.0.definitions(page(last)).await.unwrap();
    assert_eq!((first.len(), second.len()), (15, 5));
    assert!(second.iter().all(|d| !first.contains(d)));
    let long = format!("\"{}\"", "x".repeat(300 << 10));
    house.saw(&[sighting("a", &long)], 9, Newcomers::Wait).await;
    let listed = house.listed(true).await;
    assert_eq!(listed.iter().find(|d| d.pin == hash(&long)).unwrap().definition, None);
}
