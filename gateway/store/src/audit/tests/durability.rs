//! No record, no call; at most one event for an intent; what a row holds never stands in the way.

use super::*;
use crate::audit::TrailError;

#[tokio::test(flavor = "multi_thread")]
async fn an_intent_is_in_the_database_when_record_returns() {
    let (store, dir) = (testing::store().await, Dir::new());
    let trail = start(&store, &dir).await;
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..300 {
        let (trail, store) = (trail.clone(), store.clone());
        calls.spawn(async move {
            let intent = intent(subject(&format!("tool_{}", n % 7)));
            let _durable = trail.record(intent.clone()).await.unwrap();
            let found: bool =
                sqlx::query_scalar("select exists (select from audit_intent where id = $1)")
                    .bind(intent.id.0)
                    .fetch_one(store.pool())
                    .await
                    .unwrap();
            assert!(found, "recorded but not there");
            trail.conclude(outcome(&intent));
        });
    }
    while let Some(done) = calls.join_next().await {
        done.unwrap();
    }
    assert!(trail.flush(PATIENCE).await);
    assert_eq!(number(&store, "select count(*) from audit_event").await, 300);
    assert_eq!(trail.health().running, 0);
    assert_closed(&store).await;
    let verified = verified(&store).await;
    assert_eq!((verified.rows, verified.payloads), (600, 600));
    assert!(verified.batches < 400, "{verified:?}: nothing was grouped");
    trail.stop().await;
}

#[tokio::test]
async fn a_second_event_for_an_intent_changes_nothing() {
    let (store, dir) = (testing::store().await, Dir::new());
    let trail = start(&store, &dir).await;
    let (intent, first) = call(&trail, "list").await;
    assert!(trail.flush(PATIENCE).await);
    let second = Event { outcome: Outcome::Error, ..outcome(&intent) };
    // Alone in its batch, with others, and twice in one batch.
    trail.conclude(second.clone());
    assert!(trail.flush(PATIENCE).await);
    trail.conclude(Event { id: EventId(Uuid::now_v7()), ..second.clone() });
    trail.conclude(Event { id: EventId(Uuid::now_v7()), ..second });
    let (_, _) = call(&trail, "list").await;
    assert!(trail.flush(PATIENCE).await);
    assert_eq!(number(&store, "select count(*) from audit_event").await, 2);
    assert_eq!(number(&store, "select sum(calls)::bigint from audit_tool_day").await, 2);
    assert_eq!(number(&store, "select count(*) from audit_payload").await, 4);
    let kept = store.get_event(first.id, Only::default()).await.unwrap().unwrap();
    assert_eq!(kept.event.outcome, "ok");
    assert_eq!(verified(&store).await.rows, 4);
    trail.stop().await;
}

#[tokio::test]
async fn odd_bytes_survive_in_payloads_and_never_break_a_row() {
    let (store, dir) = (testing::store().await, Dir::new());
    let trail = start(&store, &dir).await;
    let odd: Vec<Vec<u8>> = vec![
        b"{\"a\":\"\\u0000\",\"\\ud83d\\ude00\":1e999}".to_vec(),
        b"\0\xff\xfe{".to_vec(),
        Vec::new(),
        format!("{{\"long\":\"{}\"}}", "ü\0".repeat(50_000)).into_bytes(),
    ];
    for bytes in odd {
        let mut subject = subject("a\0b");
        subject.client_name = Some("\0\u{202e}x".repeat(5000));
        let intent = Intent { arguments: Some(bytes.clone().into()), ..intent(subject) };
        let _durable = trail.record(intent.clone()).await.unwrap();
        let event = Event { result: Some(bytes.clone().into()), ..outcome(&intent) };
        trail.conclude(event.clone());
        assert!(trail.flush(PATIENCE).await);
        let read = store.get_event(event.id, Only::default()).await.unwrap().unwrap();
        assert_eq!(read.arguments.unwrap().bytes, bytes);
        assert_eq!(read.result.unwrap().bytes, bytes);
        assert_eq!(read.event.resource_name.as_deref(), Some("ab"));
    }
    verified(&store).await;
    trail.stop().await;
}

#[tokio::test]
async fn payloads_are_cut_or_left_out_as_configured() {
    let (store, dir) = (testing::store().await, Dir::new());
    let trail =
        Trail::start(&store, TrailSettings { payload_limit: 5, ..settings(&dir) }).await.unwrap();
    let (_, event) = call(&trail, "list").await;
    assert!(trail.flush(PATIENCE).await);
    let read = store.get_event(event.id, Only::default()).await.unwrap().unwrap();
    let arguments = read.arguments.unwrap();
    assert_eq!(
        (&arguments.bytes[..], arguments.size, arguments.is_cut()),
        (&b"{\"id\""[..], 8, true)
    );
    trail.stop().await;
    let trail = Trail::start(&store, TrailSettings { keep_payloads: false, ..settings(&dir) })
        .await
        .unwrap();
    let (_, event) = call(&trail, "list").await;
    assert!(trail.flush(PATIENCE).await);
    let read = store.get_event(event.id, Only::default()).await.unwrap().unwrap();
    assert_eq!((read.arguments, read.result), (None, None));
    trail.stop().await;
}

/// A database in an encoding that lacks most characters refuses such rows with SQLSTATE 22P05.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_postgres_refuses_blocks_nobody() {
    let name = "audit_latin1";
    testing::superuser(&format!(
        "create database {name} encoding 'LATIN1' lc_collate 'C' lc_ctype 'C' template template0"
    ))
    .await;
    let url = testing::server().await.url(Some(name));
    let store = Store::open(&testing::settings(&url)).await.unwrap();
    let dir = Dir::new();
    let trail = start(&store, &dir).await;
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..200 {
        let trail = trail.clone();
        calls.spawn(async move {
            let bad = n % 67 == 13;
            let intent = intent(subject(if bad { "日本" } else { "café" }));
            match trail.record(intent.clone()).await {
                Ok(_) if !bad => trail.conclude(outcome(&intent)),
                Err(TrailError::Rejected(_)) if bad => {}
                other => panic!("bad: {bad}, got {other:?}"),
            }
        });
    }
    while let Some(done) = calls.join_next().await {
        done.unwrap();
    }
    let mut event = outcome(&call(&trail, "café").await.0);
    (event.concludes_intent, event.detail) = (false, Some("日本".into()));
    trail.conclude(event.clone());
    assert!(trail.flush(PATIENCE).await);
    assert_eq!(number(&store, "select count(*) from audit_intent").await, 198);
    assert_eq!(number(&store, "select count(*) from audit_event").await, 199);
    let aside = "select count(*) from audit_quarantine where sqlstate = '22P05'";
    assert_eq!(number(&store, aside).await, 4);
    let bare = store.get_event(event.id, Only::default()).await.unwrap().unwrap().event;
    assert_eq!((bare.outcome.as_str(), bare.actor_id), ("ok", Some(user(1))));
    verified(&store).await;
    trail.stop().await;
    store.close().await;
}

#[tokio::test]
async fn a_call_without_a_time_ordered_id_is_refused() {
    let (store, dir) = (testing::store().await, Dir::new());
    let trail = start(&store, &dir).await;
    let intent = Intent { id: CallId(Uuid::new_v4()), ..intent(subject("list")) };
    assert!(matches!(trail.record(intent).await, Err(TrailError::Rejected(_))));
    trail.stop().await;
}

#[tokio::test]
async fn days_without_a_partition_are_made_when_needed() {
    let (store, dir) = (testing::store().await, Dir::new());
    let trail = start(&store, &dir).await;
    let days_ago = |days: u64| {
        let at = uuid::Timestamp::now(uuid::NoContext).to_unix().0 - days * 86_400;
        Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, at, 0))
    };
    let old = Intent { id: CallId(days_ago(20)), ..intent(subject("list")) };
    let _durable = trail.record(old.clone()).await.unwrap();
    trail.conclude(outcome(&old));
    // Nobody makes days of another decade; such an id is not ours.
    let ancient = Intent { id: CallId(days_ago(5000)), ..intent(subject("list")) };
    assert!(matches!(trail.record(ancient).await, Err(TrailError::Rejected(_))));
    let (_, _) = call(&trail, "list").await;
    assert!(trail.flush(PATIENCE).await);
    assert_closed(&store).await;
    assert_eq!(verified(&store).await.rows, 4);
    trail.stop().await;
}

#[tokio::test]
async fn a_flood_stays_small_and_counts_everything() {
    let (store, dir) = (testing::store().await, Dir::new());
    let trail = start(&store, &dir).await;
    for _ in 0..100_000 {
        let mut event = outcome(&intent(Subject::default()));
        (event.concludes_intent, event.result) = (false, None);
        (event.action, event.outcome) = (ActionType::AuthFailed, Outcome::Denied);
        event.reason = Some(gateway_core::reason::Reason::CredentialInvalid);
        trail.conclude_flood("10.1.2.3", event);
    }
    assert!(trail.flush(PATIENCE).await);
    assert_eq!(number(&store, "select sum(count)::bigint from audit_event").await, 100_000);
    assert_eq!(
        number(&store, "select sum(events)::bigint from audit_verdict_quarter").await,
        100_000
    );
    assert!(number(&store, "select count(*) from audit_event").await < 100);
    trail.stop().await;
}

#[tokio::test]
async fn without_room_calls_are_refused_and_events_lose_their_bodies_only() {
    let (store, dir) = (testing::store().await, Dir::new());
    let trail = Trail::start(&store, TrailSettings { queue_bytes: 8 << 10, ..settings(&dir) })
        .await
        .unwrap();
    // Bytes that do not compress.
    let large = |seed: u64| -> Bytes {
        let step = |n: u64| (n + seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 17;
        (0..20_000).map(|n| (step(n).wrapping_mul(step(n)) >> 13) as u8).collect()
    };
    let (small, event) = call(&trail, "small").await;
    let refused =
        trail.record(Intent { arguments: Some(large(1)), ..intent(subject("large")) }).await;
    assert!(matches!(refused, Err(TrailError::Unavailable(_))), "{refused:?}");
    let mut noted = Event { result: Some(large(2)), concludes_intent: false, ..outcome(&small) };
    noted.id = EventId(Uuid::now_v7());
    trail.conclude(noted.clone());
    assert!(trail.flush(PATIENCE).await);
    let read = store.get_event(noted.id, Only::default()).await.unwrap().unwrap();
    assert_eq!(read.result, None);
    assert!(read.event.detail.unwrap().contains("bodies left out"));
    assert!(store.get_event(event.id, Only::default()).await.unwrap().unwrap().result.is_some());
    verified(&store).await;
    trail.stop().await;
}

#[tokio::test]
async fn after_stop_nothing_is_taken_for_recorded() {
    let (store, dir) = (testing::store().await, Dir::new());
    let trail = start(&store, &dir).await;
    let (_, event) = call(&trail, "list").await;
    trail.clone().stop().await;
    assert!(store.get_event(event.id, Only::default()).await.unwrap().is_some());
    assert!(matches!(trail.record(intent(subject("list"))).await, Err(TrailError::Unavailable(_))));
    // Late events go to the disk, and from there to the next start.
    let late = Event { concludes_intent: false, ..outcome(&intent(subject("late"))) };
    trail.conclude(late.clone());
    let next = start(&store, &dir).await;
    assert!(next.flush(PATIENCE).await);
    assert!(store.get_event(late.id, Only::default()).await.unwrap().is_some());
    next.stop().await;
}
