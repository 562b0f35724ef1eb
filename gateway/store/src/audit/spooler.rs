//! The way to the disk: one task appends what the writer cannot take, many entries with one sync.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;

use super::shared::{Item, Queued, Shared};
use super::trail::TrailError;

/// Most entries of one append.
const GROUP: usize = 500;
/// Pause after the disk failed.
const RETRY: Duration = Duration::from_millis(200);

/// The task that takes entries to the disk: what queued during the last sync goes with the next.
pub(super) async fn spooler(shared: Arc<Shared>, mut entries: mpsc::Receiver<Queued>) {
    let mut group = Vec::new();
    let stopped = async {
        shared.stopping.cancelled().await;
        // The writers hand over what it has left before the tracker is empty but for us.
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
        group = to_disk(&shared, std::mem::take(&mut group)).await;
    }
    shared.spool.seal();
}

async fn to_disk(shared: &Arc<Shared>, mut group: Vec<Queued>) -> Vec<Queued> {
    let count = group.len() as u64;
    loop {
        let disk = shared.clone();
        let appended = tokio::task::spawn_blocking(move || {
            let done = disk.spool.append(group.iter().map(|queued| &queued.entry));
            (group, done)
        });
        let (back, done) = match appended.await {
            Ok(result) => result,
            Err(_) => {
                shared.lose(count);
                break;
            }
        };
        group = back;
        match done {
            Ok(left_out) => {
                shared.lose(left_out as u64);
                // With something left out nobody can be told that theirs is safe.
                for waiter in group.drain(..).filter_map(|queued| queued.waiter) {
                    let told = match left_out {
                        0 => Ok(()),
                        _ => Err(TrailError::Unavailable("the spool is full".into())),
                    };
                    let _ = waiter.send(told);
                }
                break;
            }
            Err(error) => {
                tracing::error!(%error, "the audit spool cannot be written");
                if !shared.is_down() || shared.stopping.is_cancelled() {
                    for queued in group.drain(..) {
                        let lane = shared.lane_of(&queued.entry);
                        if lane.queue.try_send(Item::Entry(queued)).is_err() {
                            shared.lose(1);
                        }
                    }
                    break;
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    }
    shared.on_the_way.fetch_sub(count, Ordering::SeqCst);
    Vec::new()
}
