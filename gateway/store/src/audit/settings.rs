//! How a [`Trail`](super::Trail) is set up.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use gateway_core::Clock;
use uuid::Uuid;

/// How the trail is set up. [`TrailSettings::new`] gives the defaults.
#[derive(Clone)]
pub struct TrailSettings {
    /// This process: a fresh id for every start. Names its heartbeat and its hash chains.
    pub replica: Uuid,
    /// Where outcomes wait while Postgres is away. Replicas may share it.
    pub spool_dir: PathBuf,
    /// Key of the hash chain, derived for that purpose.
    pub chain_key: [u8; 32],
    /// Rows that may wait for the writer; beyond that new calls are refused at once.
    pub queue: usize,
    /// Bytes that may wait for the writer; beyond that new calls are refused and events lose their bodies.
    pub queue_bytes: usize,
    /// Keep arguments and results.
    pub keep_payloads: bool,
    /// Bytes kept of one payload.
    pub payload_limit: usize,
    /// How long an event that nobody waits for waits for others to be written with.
    pub company: Duration,
    /// Longest wait for a durable intent.
    pub deadline: Duration,
    /// While Postgres is away, take a call's intent on disk as its record. Needs a persistent volume.
    pub spool_intents: bool,
    /// Bytes that the spool may take on disk.
    pub spool_limit: u64,
    /// An intent of this age without an event is closed as `unknown`, unless its call still runs.
    pub sweep_after: Duration,
    /// A call that runs longer than this is taken for lost.
    pub longest_call: Duration,
    /// A replica that was not seen for this long is taken for dead.
    pub dead_after: Duration,
    /// How often the sweeper looks, and a replica says that it lives.
    pub upkeep_every: Duration,
    /// The present.
    pub clock: Arc<dyn Clock>,
}

impl TrailSettings {
    /// The defaults, around what only the caller can know.
    pub fn new(
        replica: Uuid,
        spool_dir: PathBuf,
        chain_key: [u8; 32],
        clock: Arc<dyn Clock>,
    ) -> TrailSettings {
        TrailSettings {
            replica,
            spool_dir,
            chain_key,
            queue: 8192,
            queue_bytes: 64 << 20,
            keep_payloads: true,
            payload_limit: 1 << 20,
            company: Duration::from_millis(20),
            deadline: Duration::from_secs(2),
            spool_intents: false,
            spool_limit: 256 << 20,
            sweep_after: Duration::from_secs(45),
            longest_call: Duration::from_secs(24 * 3600),
            dead_after: Duration::from_secs(30),
            upkeep_every: Duration::from_secs(5),
            clock,
        }
    }
}

/// Without the key.
impl std::fmt::Debug for TrailSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrailSettings")
            .field("replica", &self.replica)
            .field("spool_dir", &self.spool_dir)
            .field("queue", &self.queue)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}
