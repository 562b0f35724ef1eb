//! Orphans are closed once, by whoever may; calls that still run are left alone.

use super::*;

fn eager(dir: &Dir) -> TrailSettings {
    TrailSettings {
        sweep_after: Duration::ZERO,
        dead_after: Duration::from_secs(1),
        ..settings(dir)
    }
}

/// Intents of a gateway that died: recorded, never concluded, heartbeat long ago.
async fn leave_orphans(store: &Store, dir: &Dir, count: usize) {
    let dead = settings(dir);
    let replica = dead.replica;
    let trail =
        Trail::start(store, TrailSettings { upkeep_every: PATIENCE, ..dead }).await.unwrap();
    for _ in 0..count {
        let _never_concluded = trail.record(intent(subject("list"))).await.unwrap();
    }
    trail.stop().await;
    let text = "update audit_replica set seen_at = now() - interval '1 hour' where replica = ";
    sql(store, &format!("{text} '{replica}'")).await;
}

#[tokio::test]
async fn two_sweepers_close_every_orphan_once() {
    let (store, dir) = (testing::store().await, Dir::new());
    leave_orphans(&store, &dir, 300).await;
    let one = Trail::start(&store, eager(&dir)).await.unwrap();
    let two = Trail::start(&store, eager(&dir)).await.unwrap();
    let closed = "select count(*) from audit_event where outcome = 'unknown'";
    eventually("all are closed", || async { number(&store, closed).await >= 300 }).await;
    assert!(one.flush(PATIENCE).await && two.flush(PATIENCE).await);
    assert_eq!(number(&store, "select count(*) from audit_event").await, 300);
    assert_eq!(number(&store, "select sum(calls)::bigint from audit_calls_quarter").await, 300);
    assert_closed(&store).await;
    let filter =
        super::super::EventFilter { outcome: Some("unknown".into()), ..Default::default() };
    let page = store.list_events(&filter, None, 1).await.unwrap();
    let event = &page.events[0];
    assert_eq!(event.action_type, "tool_call_failure");
    assert_eq!(event.actor_email.as_deref(), Some("bob@example.com"));
    assert_eq!(event.policy_ids.len(), 1);
    verified(&store).await;
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn running_calls_are_left_alone_and_end_as_they_did() {
    let (store, dir) = (testing::store().await, Dir::new());
    let ours = Trail::start(&store, eager(&dir)).await.unwrap();
    let other = Trail::start(&store, eager(&dir)).await.unwrap();
    let long = intent(subject("long"));
    let _durable = ours.record(long.clone()).await.unwrap();
    // Orphans that appear later and are closed prove that sweeps have come by.
    leave_orphans(&store, &dir, 3).await;
    let closed = "select count(*) from audit_event where outcome = 'unknown'";
    eventually("the orphans are closed", || async { number(&store, closed).await == 3 }).await;
    let event = outcome(&long);
    ours.conclude(event.clone());
    assert!(ours.flush(PATIENCE).await);
    let kept = store.get_event(event.id, Only::default()).await.unwrap().unwrap();
    assert_eq!(kept.event.outcome, "ok");
    assert_closed(&store).await;
    ours.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn an_intent_whose_caller_went_away_is_closed() {
    let (store, dir) = (testing::store().await, Dir::new());
    let trail = Trail::start(&store, eager(&dir)).await.unwrap();
    for _ in 0..20 {
        // Dropped after the intent is queued, before anybody could hear the answer.
        let recording = trail.record(intent(subject("gone")));
        tokio::select! {
            biased;
            _ = recording => {}
            () = tokio::task::yield_now() => {}
        }
    }
    eventually("what landed is closed", || async {
        let open = "select count(*) from audit_intent i where not exists (
            select from audit_event e where e.call_id = i.id)";
        number(&store, open).await == 0
    })
    .await;
    assert!(trail.flush(PATIENCE).await);
    assert_eq!(trail.health().running, 0);
    assert_closed(&store).await;
    trail.stop().await;
}
