//! Postgres dies, hangs and comes back: calls are refused in time, outcomes survive, and afterwards
//! everything is there once.

use super::*;
use crate::StoreSettings;
use crate::audit::TrailError;
use crate::private_postgres::PrivatePostgres;

/// A Postgres that a test may kill. Its processes end with the test's.
struct Server {
    postgres: PrivatePostgres,
    home: PathBuf,
    _dir: Dir,
}

impl Server {
    async fn start() -> (Server, Store) {
        let dir = Dir::new();
        let postgres = PrivatePostgres::throwaway(&dir.0).await.unwrap();
        let home = std::fs::read_dir(&dir.0).unwrap().next().unwrap().unwrap().path();
        let settings = StoreSettings {
            acquire_timeout: Duration::from_secs(2),
            ..testing::settings(&postgres.url(None))
        };
        let store = Store::open(&settings).await.unwrap();
        (Server { postgres, home, _dir: dir }, store)
    }

    /// The postmaster and everything that it started.
    fn signal(&self, signal: &str) {
        let pid = self.postgres.pid().expect("a running server");
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        let send = |to: &str| {
            std::process::Command::new("kill").args([signal, to]).status().unwrap().success()
        };
        assert!(send(&pid.to_string()), "the postmaster");
        for child in children.split_whitespace() {
            // One that has ended by itself meanwhile is as good as reached.
            let _ = send(child);
        }
    }

    async fn restart(&self) {
        PrivatePostgres::start(&self.home).await.unwrap();
    }
}

/// Refused, and in time: well under the patience of these tests.
async fn assert_refused(trail: &Trail) {
    let told = tokio::time::timeout(PATIENCE, trail.record(intent(subject("refused")))).await;
    assert!(matches!(told, Ok(Err(TrailError::Unavailable(_)))), "{told:?}");
}

async fn recovers(trail: &Trail) {
    eventually("a call is recorded again", || async {
        let intent = intent(subject("again"));
        match trail.record(intent.clone()).await {
            Ok(_) => {
                trail.conclude(outcome(&intent));
                true
            }
            Err(_) => false,
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_and_started_again() {
    let (server, store) = Server::start().await;
    let dir = Dir::new();
    let trail = start(&store, &dir).await;
    let mut left = Vec::new();
    for n in 0..50 {
        let intent = intent(subject(&format!("tool_{n}")));
        let _durable = trail.record(intent.clone()).await.unwrap();
        left.push(outcome(&intent));
    }
    server.signal("-KILL");
    for event in &left {
        trail.conclude(event.clone());
    }
    for _ in 0..3 {
        assert_refused(&trail).await;
    }
    eventually("outcomes are on disk", || async { trail.health().spooled_bytes > 0 }).await;
    assert!(!trail.health().writable);
    assert!(!trail.flush(Duration::from_millis(100)).await, "nothing is in the database yet");
    server.restart().await;
    recovers(&trail).await;
    assert!(trail.flush(PATIENCE).await);
    assert!(trail.health().writable);
    assert_eq!(trail.health().spooled_bytes, 0);
    for event in &left {
        let kept = store.get_event(event.id, Only::default()).await.unwrap().expect("an outcome");
        assert_eq!(kept.event.outcome, "ok");
        assert!(kept.result.is_some());
    }
    assert_closed(&store).await;
    assert_eq!(trail.health().lost, 0);
    verified(&store).await;
    trail.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_in_the_middle_of_a_load() {
    let (server, store) = Server::start().await;
    let dir = Dir::new();
    let patient = settings(&dir);
    let trail =
        Trail::start(&store, TrailSettings { sweep_after: Duration::from_secs(1), ..patient })
            .await
            .unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (trail, stop) = (trail.clone(), stop.clone());
        callers.spawn(async move {
            let (mut made, mut refused) = (Vec::new(), 0);
            while !stop.is_cancelled() {
                let intent = intent(subject("load"));
                match trail.record(intent.clone()).await {
                    Ok(_) => {
                        made.push(intent.id);
                        trail.conclude(outcome(&intent));
                    }
                    Err(_) => refused += 1,
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            (made, refused)
        });
    }
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        server.signal("-STOP");
        eventually("the trail notices", || async { !trail.health().writable }).await;
        assert_refused(&trail).await;
        server.signal("-CONT");
        recovers(&trail).await;
    }
    stop.cancel();
    let (mut made, mut refused) = (Vec::new(), 0);
    while let Some(done) = callers.join_next().await {
        let (ids, count) = done.unwrap();
        made.extend(ids);
        refused += count;
    }
    assert!(!made.is_empty() && refused > 0, "{} made, {refused} refused", made.len());
    assert!(trail.flush(PATIENCE).await);
    // Every call that was allowed has its intent and its own outcome.
    let ids: Vec<Uuid> = made.iter().map(|id| id.0).collect();
    let whole: i64 = sqlx::query_scalar(
        "select count(*) from audit_intent i join audit_event e on e.call_id = i.id and e.outcome = 'ok'
         where i.id = any($1)",
    )
    .bind(&ids)
    .fetch_one(store.pool())
    .await
    .unwrap();
    assert_eq!(whole as usize, ids.len());
    // What landed although its caller was told no is closed as such, never as made.
    eventually("orphans are closed", || async {
        let open = "select count(*) from audit_intent i where not exists (
            select from audit_event e where e.call_id = i.id and e.concludes)";
        number(&store, open).await == 0
    })
    .await;
    assert!(trail.flush(PATIENCE).await);
    assert_closed(&store).await;
    verified(&store).await;
    trail.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_spool_for_intents_calls_go_on() {
    let (server, store) = Server::start().await;
    let dir = Dir::new();
    let trail = Trail::start(&store, TrailSettings { spool_intents: true, ..settings(&dir) })
        .await
        .unwrap();
    server.signal("-KILL");
    eventually("the trail notices", || async { !trail.health().writable }).await;
    let (one, event) = call(&trail, "meanwhile").await;
    server.restart().await;
    recovers(&trail).await;
    assert!(trail.flush(PATIENCE).await);
    let kept = store.get_event(event.id, Only::default()).await.unwrap().expect("an outcome");
    assert_eq!(kept.event.correlation_id, one.id);
    assert!(kept.intended_at.is_some());
    assert_closed(&store).await;
    verified(&store).await;
    trail.stop().await;
}

#[tokio::test]
async fn without_postgres_the_trail_does_not_start() {
    let (server, store) = Server::start().await;
    server.signal("-KILL");
    let dir = Dir::new();
    assert!(Trail::start(&store, settings(&dir)).await.is_err());
}

/// The spool's folder, in place of which there is something that nothing can be written into.
fn break_disk(dir: &Dir) {
    std::fs::rename(dir.0.join("spool"), dir.0.join("aside")).unwrap();
    std::fs::write(dir.0.join("spool"), "").unwrap();
}

fn mend_disk(dir: &Dir) {
    std::fs::remove_file(dir.0.join("spool")).unwrap();
    std::fs::rename(dir.0.join("aside"), dir.0.join("spool")).unwrap();
}

async fn made(trail: &Trail, count: usize) -> Vec<Event> {
    let mut made = Vec::new();
    for n in 0..count {
        let intent = intent(subject(&format!("tool_{n}")));
        let _durable = trail.record(intent.clone()).await.unwrap();
        made.push(outcome(&intent));
    }
    made
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_takes_nothing_is_waited_for() {
    let (server, store) = Server::start().await;
    let dir = Dir::new();
    let trail = start(&store, &dir).await;
    let events = made(&trail, 60).await;
    assert!(trail.health().spool_writable);
    break_disk(&dir);
    server.signal("-KILL");
    events.iter().for_each(|event| trail.conclude(event.clone()));
    assert_refused(&trail).await;
    eventually("the disk is noticed", || async { !trail.health().spool_writable }).await;
    mend_disk(&dir);
    eventually("all is on disk", || async { trail.health().spooled_bytes > 0 }).await;
    assert!(trail.health().spool_writable);
    server.restart().await;
    recovers(&trail).await;
    assert!(trail.flush(PATIENCE).await);
    assert_eq!((trail.health().lost, trail.health().running), (0, 0));
    let ok =
        "select count(*) from audit_event where outcome = 'ok' and resource_name like 'tool_%'";
    assert_eq!(number(&store, ok).await, 60);
    assert_closed(&store).await;
    verified(&store).await;
    trail.stop().await;
}

/// Neither Postgres nor the disk takes them, and memory is full: lost, counted, and closed as unknown.
#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_room_anywhere_is_closed_as_unknown() {
    let (server, store) = Server::start().await;
    let dir = Dir::new();
    let narrow = TrailSettings { queue: 4, sweep_after: Duration::from_secs(1), ..settings(&dir) };
    let trail = Trail::start(&store, narrow).await.unwrap();
    let events = made(&trail, 120).await;
    break_disk(&dir);
    server.signal("-KILL");
    assert_refused(&trail).await;
    events.iter().for_each(|event| trail.conclude(event.clone()));
    let lost = trail.health().lost;
    assert!(lost > 0 && lost < 120, "{lost} were lost");
    server.restart().await;
    eventually("every intent is closed", || async {
        let open = "select count(*) from audit_intent i where not exists (
            select from audit_event e where e.call_id = i.id and e.concludes)";
        number(&store, open).await == 0
    })
    .await;
    let unknown = "select count(*) from audit_event where outcome = 'unknown'";
    assert_eq!(number(&store, unknown).await, i64::try_from(trail.health().lost).unwrap());
    let ok = "select count(*) from audit_event where outcome = 'ok'";
    assert!(number(&store, ok).await > 0);
    assert_closed(&store).await;
    verified(&store).await;
    trail.stop().await;
}
