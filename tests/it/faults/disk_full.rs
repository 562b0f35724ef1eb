//! The disk is full while outcomes have to wait there, because Postgres is away: they wait in memory, the figures say
//! so, nothing crashes, nothing piles up, and whichever comes back first gets them. The rig makes the disk full by a
//! bound on the size of files (`RLIMIT_FSIZE`): a write is cut short and then fails, as on a full disk.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use gateway_tests::breaker::Mode;
use gateway_tests::rig::Rig;
use gateway_tests::wait::eventually;
use serde_json::json;

use super::load::{Caller, End, Seen};
use super::postgres_gone::{Outage, World};
use super::{RECOVERY, Told, all_closed, chains_are_whole};

/// Without this the bound would end the process by a signal, which a full disk does not.
const IGNORES_THE_SIGNAL: &str = r#"trap '' XFSZ; exec "$0" "$@""#;

/// Less than one record.
const FULL: &str = "300";

async fn start() -> World {
    World::launched(["sh", "-c", IGNORES_THE_SIGNAL].map(str::to_owned).into()).await
}

/// Bounds the files that the gateway writes, its log among them.
fn bound(rig: &Rig, bytes: &str) {
    let process = rig.gateway.process_id().unwrap().to_string();
    let bound = format!("--fsize={bytes}:unlimited");
    let done = Command::new("prlimit").args(["--pid", &process, &bound]).status();
    assert!(done.expect("prlimit runs").success(), "prlimit {bound}");
}

async fn figure(rig: &Rig, name: &str) -> u64 {
    let metrics = rig.gateway.metrics().await;
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {name}")).parse().expect("it is a number")
}

async fn disk_is_noticed(rig: &Rig) {
    eventually("the figures say that the disk takes nothing", RECOVERY, async || {
        (figure(rig, "gateway_audit_spool_writable").await == 0).then_some(())
    })
    .await;
}

fn spool(rig: &Rig) -> Vec<PathBuf> {
    let folder = std::fs::read_dir(rig.gateway.dir().join("data/spool")).unwrap();
    folder.map(|entry| entry.unwrap().path()).collect()
}

/// The call has been answered, its outcome has nowhere to go, and who calls now is refused.
async fn stranded(world: &World) -> String {
    let call = world.sent().await;
    world.begin(Outage::Network(Mode::Reset));
    bound(&world.rig, FULL);
    world.refuses(&[Caller::Modern(world.client("carol"), "echo")]).await;
    let Seen { id, end } = call.await.unwrap();
    assert!(matches!(end, End::Answered), "{end:?}");
    disk_is_noticed(&world.rig).await;
    // Many attempts later there are still no more files than one.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(spool(&world.rig).len() <= 1, "{:?}", spool(&world.rig));
    world.refuses(&[Caller::Modern(world.client("bob"), "echo")]).await;
    id
}

async fn is_told(mut world: World, id: &str) {
    assert!(world.rig.gateway.running(), "the gateway has ended");
    assert_eq!(figure(&world.rig, "gateway_audit_lost").await, 0);
    all_closed(&world.rig.database).await;
    assert_eq!(Told::by(&world.rig.database).await.outcome(id), "ok");
    assert_eq!(world.client("bob").call("echo", json!({})).await.status, 200);
    chains_are_whole(&world.rig);
    world.rig.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_disk_full_outcomes_wait_for_the_disk() {
    let world = start().await;
    let id = stranded(&world).await;
    bound(&world.rig, "unlimited");
    eventually("they are on disk", RECOVERY, async || (world.spooled().await > 0).then_some(()))
        .await;
    assert_eq!(figure(&world.rig, "gateway_audit_spool_writable").await, 1);
    world.end();
    world.recovers().await;
    is_told(world, &id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_disk_full_outcomes_wait_for_postgres() {
    let world = start().await;
    let id = stranded(&world).await;
    world.end();
    world.recovers().await;
    is_told(world, &id).await;
}
