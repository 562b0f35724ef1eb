//! Pages lose and repeat nothing, filters hold, and one's own entries are all that one may be limited to.

use std::collections::HashSet;

use super::*;
use crate::audit::{EventCursor, EventFilter};

async fn fill(store: &Store, dir: &Dir, count: usize) -> Vec<Event> {
    let trail = start(store, dir).await;
    let mut events = Vec::new();
    for n in 0..count {
        let mut subject = subject(&format!("tool_{}", n % 3));
        subject.actor_id = Some(user(n as u128 % 2));
        if n % 3 == 0 {
            subject.agent_id = Some(user(50));
            (subject.actor_kind, subject.agent_name) = (Some("person"), Some("indexer".into()));
        }
        subject.client_name = Some(["Cursor", "VS Code"][n % 2].into());
        let intent = intent(subject);
        let _durable = trail.record(intent.clone()).await.unwrap();
        let mut event = outcome(&intent);
        if n % 4 == 0 {
            (event.action, event.outcome) = (ActionType::ToolCallFailure, Outcome::Error);
        }
        trail.conclude(event.clone());
        events.push(event);
    }
    assert!(trail.flush(PATIENCE).await);
    trail.stop().await;
    events
}

async fn count(store: &Store, filter: EventFilter) -> usize {
    let (mut seen, mut cursor) = (HashSet::new(), None::<EventCursor>);
    for _ in 0..1000 {
        // Through its text, as clients carry it.
        let after = cursor.map(|cursor| cursor.to_string().parse().unwrap());
        let page = store.list_events(&filter, after, 7).await.unwrap();
        let sorted =
            page.events.is_sorted_by_key(|event| std::cmp::Reverse((event.timestamp, event.id)));
        assert!(sorted && page.events.len() <= 7);
        for event in page.events {
            assert!(seen.insert(event.id), "{} twice", event.id);
        }
        cursor = page.next;
        if cursor.is_none() {
            return seen.len();
        }
    }
    panic!("pages without end");
}

#[tokio::test]
async fn filters_and_pages() {
    let (store, dir) = (testing::store().await, Dir::new());
    let events = fill(&store, &dir, 60).await;
    let all = EventFilter::default;
    assert_eq!(count(&store, all()).await, 60);
    let some = |text: &str| Some(text.to_owned());
    let cases = [
        (EventFilter { actor_id: Some(user(1)), ..all() }, 30),
        (EventFilter { actor_id: Some(user(9)), ..all() }, 0),
        (EventFilter { action_types: vec!["tool_call_failure".into()], ..all() }, 15),
        (
            EventFilter {
                action_types: vec!["tool_call_failure".into(), "tool_call_success".into()],
                ..all()
            },
            60,
        ),
        (EventFilter { outcome: some("error"), ..all() }, 15),
        (EventFilter { outcome: some("error"), actor_id: Some(user(1)), ..all() }, 0),
        (EventFilter { resource_type: some("tool"), resource_id: some("tool_0"), ..all() }, 20),
        (EventFilter { resource_type: some("prompt"), ..all() }, 0),
        (EventFilter { client_name: some("Cursor"), ..all() }, 30),
        (EventFilter { server_id: Some(ServerId(Uuid::from_u128(7))), ..all() }, 60),
        (EventFilter { server_id: Some(ServerId(Uuid::from_u128(8))), ..all() }, 0),
        (EventFilter { correlation_id: Some(events[5].call), ..all() }, 1),
        (EventFilter { agent_id: Some(user(50)), ..all() }, 20),
        (EventFilter { agent_id: Some(user(50)), actor_id: Some(user(1)), ..all() }, 10),
        (EventFilter { agent_id: Some(UserId(Uuid::nil())), ..all() }, 0),
        (EventFilter { agent_id: Some(user(1)), ..all() }, 0),
        (EventFilter { start: Some(SystemClock.now() + PATIENCE), ..all() }, 0),
        (EventFilter { end: Some(SystemClock.now() + PATIENCE), ..all() }, 60),
    ];
    for (filter, expected) in cases {
        assert_eq!(count(&store, filter.clone()).await, expected, "{filter:?}");
    }
    let export = store.export_events(&all(), None, usize::MAX).await.unwrap();
    assert_eq!((export.events.len(), export.next), (60, None));
    for bad in ["", "1", "x.y", "1.zz", "99999999999999999999.00000000000000000000000000000000"] {
        assert!(bad.parse::<EventCursor>().is_err(), "{bad}");
    }
}

#[tokio::test]
async fn one_entry_with_its_bodies_and_neighbours() {
    let (store, dir) = (testing::store().await, Dir::new());
    let trail = start(&store, &dir).await;
    let (intent, event) = call(&trail, "list").await;
    let mut asked = Event { concludes_intent: false, ..outcome(&intent) };
    (asked.id, asked.action) = (EventId(Uuid::now_v7()), ActionType::ConfirmationRequested);
    (asked.arguments, asked.result) = (Some(Bytes::from_static(b"[2]")), None);
    trail.conclude(asked.clone());
    let (_, _) = call(&trail, "other").await;
    assert!(trail.flush(PATIENCE).await);

    let full = store.get_event(event.id, only(1)).await.unwrap().unwrap();
    assert_eq!(&full.arguments.unwrap().bytes[..], b"{\"id\":1}");
    assert_eq!(&full.result.unwrap().bytes[..], b"{\"content\":[]}");
    assert!(full.intended_at.is_some());
    let neighbours: Vec<EventId> = full.neighbours.iter().map(|event| event.id).collect();
    assert_eq!(neighbours, [asked.id]);

    let other = store.get_event(asked.id, Only::default()).await.unwrap().unwrap();
    assert_eq!(&other.arguments.unwrap().bytes[..], b"[2]");
    assert_eq!((other.result, other.intended_at), (None, None));
    // Somebody else's looks like one that does not exist.
    assert_eq!(store.get_event(event.id, only(2)).await.unwrap(), None);
    let by_agent = Only { agent: Some(user(50)), ..only(1) };
    assert_eq!(store.get_event(event.id, by_agent).await.unwrap(), None);
    assert_eq!(store.get_event(EventId(Uuid::now_v7()), only(1)).await.unwrap(), None);
    trail.stop().await;
}
