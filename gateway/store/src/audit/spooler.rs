//! The way to the disk: one task appends what the writer cannot take, many entries with one sync.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use uuid::Uuid;

use super::shared::{Item, Queued, Shared};
use super::trail::TrailError;

/// Most entries of one append.
const GROUP: usize = 500;
/// Pause after the disk failed.
const RETRY: Duration = Duration::from_millis(200);
/// Longest wait for room in the queue, for what the disk did not take.
const ROOM_WITHIN: Duration = Duration::from_secs(2);

/// The task that takes entries to the disk: what queued during the last sync goes with the next.
pub(super) async fn spooler(shared: Arc<Shared>, mut entries: mpsc::Receiver<Queued>) {
    let mut group = Vec::new();
    let stopped = async {
        shared.stopping.cancelled().await;
        // The writers hand over what they have left before the tracker is empty but for us.
        while shared.tasks.len() > 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::pin!(stopped);
    loop {
        tokio::select! {
            biased;
            count = entries.recv_many(&mut group, GROUP) => if count == 0 { break },
            () = &mut stopped => break,
        }
        to_disk(&shared, std::mem::take(&mut group)).await;
    }
    shared.spool.seal();
}

async fn to_disk(shared: &Arc<Shared>, mut group: Vec<Queued>) {
    let count = group.len() as u64;
    let concluded: Vec<Option<Uuid>> = group.iter().map(|q| q.entry.concluded()).collect();
    let mut told = false;
    loop {
        let disk = shared.clone();
        let appended = tokio::task::spawn_blocking(move || {
            let done = disk.spool.append(group.iter().map(|queued| &queued.entry));
            let done = done.map(|left_out| left_out.iter().map(|e| e.concluded()).collect());
            (group, done)
        });
        let (back, done): (_, io::Result<Vec<_>>) = match appended.await {
            Ok(result) => result,
            Err(_) => {
                shared.lose(concluded);
                break;
            }
        };
        group = back;
        match done {
            Ok(left_out) => {
                answer(group, left_out.is_empty());
                shared.lose(left_out);
                break;
            }
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::error!(%error, "the audit spool cannot be written: its records wait in memory");
                }
                if !shared.is_down() || shared.stopping.is_cancelled() {
                    back_to_queue(shared, group).await;
                    break;
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    }
    shared.on_the_way.fetch_sub(count, Ordering::SeqCst);
}

/// With something left out nobody can be told that theirs is safe.
fn answer(group: Vec<Queued>, all: bool) {
    for waiter in group.into_iter().filter_map(|queued| queued.waiter) {
        let told = match all {
            true => Ok(()),
            false => Err(TrailError::Unavailable("the spool is full".into())),
        };
        // Nobody may be waiting any more.
        let _ = waiter.send(told);
    }
}

/// Postgres is there again, and the disk is not: the writer takes them after all.
async fn back_to_queue(shared: &Shared, group: Vec<Queued>) {
    for queued in group {
        let concluded = queued.entry.concluded();
        let lane = shared.lane_of(&queued.entry);
        let room = lane.queue.send_timeout(Item::Entry(queued), ROOM_WITHIN);
        if room.await.is_err() {
            shared.lose([concluded]);
        }
    }
}
