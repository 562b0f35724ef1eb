//! The data plane: one MCP exchange from bytes in to bytes out. Read [`line`] first; each stage is the file
//! of its name. It knows nothing of the control plane; what both need is in `gateway_governance`.

mod accept;
mod answer;
mod confirm;
mod connect;
mod decide;
#[doc(hidden)]
pub mod doors;
mod fail;
mod filter;
mod forward;
mod identify;
mod intent;
mod limit;
mod line;
mod listing;
mod outcome;
mod outgoing;
mod outside;
mod parse;
pub mod plumbing;
mod receipt;
mod refusal;
mod resolve;
mod returned;
mod scan;
mod screen;
mod session;
mod shown;
mod stream;
mod task;
mod whole;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gateway_core::keys::{Purpose, RootKey};
use gateway_core::seal::Sealer;
use gateway_governance::Governance;
use tokio::sync::Semaphore;

use crate::edge::Edge;
use crate::upstream::Leg;

/// What the stages work with. One per process, shared by all exchanges.
pub struct Proxy {
    governance: Arc<Governance>,
    leg: Arc<Leg>,
    edge: Arc<Edge>,
    sessions: Sealer,
    request_states: Sealer,
    finding_key: [u8; 32],
    tasks: Arc<task::TaskIds>,
    settings: Settings,
    /// Room for answers that are read whole, in units of 1 KiB.
    answers: Arc<Semaphore>,
    draining: Arc<AtomicBool>,
}

/// What the operator may set.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How many bytes of arguments and of results the audit trail keeps; 0 keeps none.
    pub payload_limit: usize,
    /// The longest listing, and the longest server-sent event, in bytes.
    pub listing_limit: usize,
    /// Bytes of all answers that are read whole and that clients do not have yet; at least one of the longest.
    pub all_answers: usize,
    /// How long an answer's body may pause.
    pub idle: Duration,
    /// How long a stream of events may pause.
    pub stream_idle: Duration,
    /// How long a JSON answer may take in all.
    pub total: Duration,
    /// How long people have to agree to a call.
    pub confirm_expires: Duration,
    /// How long a session handle works.
    pub session_expires: Duration,
}

impl Proxy {
    /// Binds the stages to what they work with.
    pub fn new(
        governance: Arc<Governance>,
        leg: Arc<Leg>,
        edge: Arc<Edge>,
        root: &RootKey,
        settings: Settings,
    ) -> Proxy {
        Proxy {
            governance,
            leg,
            edge,
            sessions: Sealer::new(&root.derive(Purpose::Session)),
            request_states: Sealer::new(&root.derive(Purpose::RequestState)),
            finding_key: root.derive(Purpose::Finding),
            tasks: Arc::new(task::TaskIds::new(root)),
            answers: Arc::new(Semaphore::new(settings.all_answers.div_ceil(1 << 10))),
            settings,
            draining: Arc::default(),
        }
    }

    /// The gateway is about to stop: streams that clients keep open end within a second, so that they
    /// come back to another replica.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }
}
