//! What waited on disk comes back once, whatever happened in between, and only what we put there.

use super::super::chain::ChainKey;
use super::super::row::{Entry, EventRow};
use super::super::spool::Spool;
use super::*;

fn entry(event: &Event) -> Entry {
    Entry::Event { row: Box::new(EventRow::of(event)), arguments: None, result: None }
}

fn open(dir: &Dir, limit: u64) -> Spool {
    Spool::open(&dir.0.join("spool"), Uuid::new_v4(), ChainKey::new(&KEY), limit).unwrap()
}

fn free(n: usize) -> Vec<Event> {
    (0..n)
        .map(|_| Event {
            concludes_intent: false,
            result: None,
            ..outcome(&intent(subject("spooled")))
        })
        .collect()
}

/// What another process left, as files.
fn leave(dir: &Dir, events: &[Event]) -> Vec<(PathBuf, Vec<u8>)> {
    let spool = open(dir, u64::MAX);
    for event in events {
        spool.append([&entry(event)]).unwrap();
    }
    spool.seal();
    let segments = spool.segments().unwrap();
    segments.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

#[tokio::test]
async fn a_spool_comes_back_once_even_when_it_was_not_cleared_away() {
    let (store, dir) = (testing::store().await, Dir::new());
    let files = leave(&dir, &free(900));
    for round in 0..3 {
        // A crash between the commit and the removal leaves the file where it was.
        for (path, bytes) in &files {
            std::fs::write(path, bytes).unwrap();
        }
        let trail = start(&store, &dir).await;
        assert!(trail.flush(PATIENCE).await);
        assert_eq!(trail.health().spooled_bytes, 0);
        let (_, _) = call(&trail, "meanwhile").await;
        trail.stop().await;
        let rows = "select count(*) from audit_event where resource_name = 'spooled'";
        assert_eq!(number(&store, rows).await, 900, "round {round}");
        let counted = "select sum(calls)::bigint from audit_tool_day where tool = 'spooled'";
        assert_eq!(number(&store, counted).await, 900, "round {round}");
        verified(&store).await;
    }
}

#[tokio::test]
async fn a_torn_line_ends_a_segment_and_a_changed_one_is_kept_aside() {
    let (store, dir) = (testing::store().await, Dir::new());
    let events = free(10);
    let (path, mut bytes) = leave(&dir, &events).remove(0);
    // Somebody edits the fourth line; the crash tore the last one.
    let text = String::from_utf8(bytes.clone()).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines[3] = lines[3].replace("bob@", "eve@");
    bytes = lines.join("\n").into_bytes();
    bytes.truncate(bytes.len() - 10);
    std::fs::write(&path, &bytes).unwrap();
    let trail = start(&store, &dir).await;
    assert!(trail.flush(PATIENCE).await);
    trail.stop().await;
    assert_eq!(number(&store, "select count(*) from audit_event").await, 8);
    assert!(store.get_event(events[3].id, Only::default()).await.unwrap().is_none());
    assert_eq!(std::fs::read(path.with_extension("damaged")).unwrap(), bytes);
}

#[test]
fn a_segment_that_is_being_written_is_left_to_its_writer() {
    let dir = Dir::new();
    let (writer, reader) = (open(&dir, u64::MAX), open(&dir, u64::MAX));
    let events = free(2);
    writer.append([&entry(&events[0])]).unwrap();
    let path = reader.segments().unwrap().remove(0);
    assert!(reader.read(&path).unwrap().is_none());
    writer.append([&entry(&events[1])]).unwrap();
    writer.seal();
    let segment = reader.read(&path).unwrap().unwrap();
    assert_eq!(segment.entries, [entry(&events[0]), entry(&events[1])]);
    assert!(writer.read(&path).unwrap().is_none(), "two would replay it at once");
    reader.done(segment).unwrap();
    assert!(writer.read(&path).unwrap().is_none());
    assert_eq!(reader.segments().unwrap().len(), 0);
}

#[test]
fn a_full_spool_keeps_room_for_outcomes_of_calls() {
    let dir = Dir::new();
    let spool = open(&dir, 40_000);
    let refusals = free(200);
    let mut left_out = 0;
    for event in &refusals {
        left_out += spool.append([&entry(event)]).unwrap().len();
    }
    assert!(left_out > 0 && spool.bytes() < 35_000, "{} bytes", spool.bytes());
    assert!(spool.append([&entry(&outcome(&intent(subject("list"))))]).unwrap().is_empty());
    for _ in 0..200 {
        spool.append([&entry(&outcome(&intent(subject("list"))))]).unwrap();
    }
    assert!(spool.bytes() < 45_000, "{} bytes", spool.bytes());
}

#[test]
fn nobody_else_may_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let dir = Dir::new();
    let (path, _) = leave(&dir, &free(1)).remove(0);
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
}
