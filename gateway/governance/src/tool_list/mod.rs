//! The Tool List Guard: every definition is looked at before it is shown, on the very bytes that are about to be shown.
//!
//! ```text
//! item of a listing -> pin (SHA-256 of its bytes) -> verdict of this snapshot, remembered
//!     not approved?  shown or kept back, as the server's settings say      (tools: pinning)
//!     findings?      recorded, masked or kept back, as the settings say    (all: scanning, names, what [`heard`] knows)
//!     anything new?  told to `follow`, which stores it and makes the record, once for all replicas
//! ```
//!
//! What was shown has been checked. A call rests on the definition that was last seen, by whomever, on whichever
//! replica: what a listing shows here counts here at once and elsewhere as soon as it is stored. The names of other
//! servers' tools are in [`names`]. It knows nothing of listings' wire formats; those are cut by whoever asks.

mod follow;
mod heard;
mod names;
mod record;
mod verdict;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use gateway_core::ids::ServerId;
use gateway_core::reason::Reason;
use gateway_core::scan::{ChangedDefinitions, Mode};
use gateway_core::server::{Endpoint, Server, Tool};
use gateway_store::definition::{LONGEST_NAME, Newcomers, Sighting};
use moka::sync::Cache;
use ring::digest::{SHA256, digest};
use tokio::sync::mpsc;

use crate::learn::read_tool;
use crate::snapshot::Snapshot;
use heard::{Heard, HeardKey};
use names::Names;
use verdict::{Key, Scan, Verdict};

pub use gateway_store::definition::DefinitionKind;

pub use heard::{Silence, Unheard};

pub(crate) use follow::Follower;
pub(crate) use record::{Redefined, appeared, redefined};

/// Most verdicts that are remembered.
const REMEMBERED: u64 = 100_000;
/// Verdicts that nobody asked for in this time are forgotten.
const IDLE: Duration = Duration::from_secs(300);
/// Sightings that may wait to be stored.
const WAITING: usize = 1024;
/// Bytes of definitions that may wait to be stored.
const WAITING_BYTES: usize = 16 << 20;
/// How long it is remembered that something was told.
const TOLD_FOR: Duration = Duration::from_secs(3600);

/// The member of an introduction that may as well be missing.
pub const INSTRUCTIONS: &str = "instructions";

/// What becomes of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// It passes as it is.
    Whole,
    /// It passes with these bytes.
    Masked(String),
    /// It does not pass.
    Cut,
}

/// How a tool stands, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Approved, shown and callable.
    Approved,
    /// Shown and callable, though nobody has approved what it is now.
    Changed,
    /// Neither shown nor callable until somebody approves it.
    Quarantined,
    /// Neither shown nor callable: somebody has rejected it.
    Rejected,
    /// Neither shown nor callable: the scanner stops it.
    Blocked,
}

impl Standing {
    /// The name in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Standing::Approved => "approved",
            Standing::Changed => "changed",
            Standing::Quarantined => "quarantined",
            Standing::Rejected => "rejected",
            Standing::Blocked => "blocked",
        }
    }

    /// Why a call is refused; `None`: it is not.
    pub fn refusal(self) -> Option<Reason> {
        match self {
            Standing::Approved | Standing::Changed => None,
            Standing::Quarantined | Standing::Rejected => Some(Reason::DefinitionNotApproved),
            Standing::Blocked => Some(Reason::ScannerBlocked),
        }
    }

    /// Whether it is shown and may be called.
    pub fn passes(self) -> bool {
        self.refusal().is_none()
    }
}

/// A tool that was seen here and is not stored yet.
#[derive(Debug, Clone, Copy)]
struct Unstored {
    pin: [u8; 32],
    standing: Standing,
}

/// What was told about a definition: never twice the same.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Told {
    server: ServerId,
    kind: DefinitionKind,
    pin: [u8; 32],
    findings: Option<String>,
}

/// Something that [`Follower`] is to store.
#[derive(Debug)]
pub(crate) struct Seen {
    server: Arc<Server>,
    newcomers: Newcomers,
    sighting: Sighting,
    verdict: Arc<Verdict>,
}

/// Looks at definitions. Shared; asked on the way of every listing and every call.
pub struct ToolListGuard {
    verdicts: Cache<Key, Arc<Verdict>>,
    /// What the scanners found, as long as the settings are the same: snapshots come and go more often.
    scans: Cache<[u8; 32], Arc<Scan>>,
    /// What the organisation's own scanner said.
    heard: Cache<HeardKey, Arc<Heard>>,
    heard_count: AtomicU64,
    told: Cache<Told, ()>,
    /// What the database does not take.
    unstorable: Cache<(ServerId, [u8; 32]), ()>,
    names: ArcSwapOption<Names>,
    /// By server and tool.
    unstored: Mutex<HashMap<(ServerId, String), Unstored>>,
    /// How many there are: almost always none, and then nobody has to look.
    unstored_count: AtomicUsize,
    waiting_bytes: AtomicUsize,
    sightings: mpsc::Sender<Seen>,
    finding_key: [u8; 32],
}

impl ToolListGuard {
    pub(crate) fn new(finding_key: [u8; 32]) -> (Arc<ToolListGuard>, mpsc::Receiver<Seen>) {
        let (sightings, received) = mpsc::channel(WAITING);
        let remembered = || Cache::builder().max_capacity(REMEMBERED).time_to_idle(IDLE);
        let guard = ToolListGuard {
            verdicts: remembered().build(),
            scans: Cache::builder().max_capacity(REMEMBERED).time_to_idle(TOLD_FOR).build(),
            heard: Cache::builder().max_capacity(REMEMBERED).time_to_live(TOLD_FOR).build(),
            heard_count: AtomicU64::new(0),
            told: Cache::builder().max_capacity(REMEMBERED).time_to_live(TOLD_FOR).build(),
            unstorable: Cache::builder().max_capacity(REMEMBERED).time_to_live(TOLD_FOR).build(),
            names: ArcSwapOption::empty(),
            unstored: Mutex::default(),
            unstored_count: AtomicUsize::new(0),
            waiting_bytes: AtomicUsize::new(0),
            sightings,
            finding_key,
        };
        (Arc::new(guard), received)
    }

    /// What of an item of a listing may be shown: `raw` is its exact JSON text, `name` its name or URI.
    pub fn item(
        &self,
        snapshot: &Snapshot,
        server: &Arc<Server>,
        kind: DefinitionKind,
        (name, raw): (&str, &str),
    ) -> Shown {
        if server.endpoint == Endpoint::InProcess {
            // Our own.
            return Shown::Whole;
        }
        let pin = sha256(raw);
        let verdict = self.verdict(snapshot, server, kind, (name, raw, pin));
        let told = self.tell(snapshot, server, (kind, name, raw, pin), &verdict);
        match (&verdict.masked, verdict.standing.passes() && told) {
            (_, false) => Shown::Cut,
            (Some(masked), true) => Shown::Masked(masked.clone()),
            (None, true) => Shown::Whole,
        }
    }

    /// What may be shown of a member in which a server introduces itself: of instructions the whole or nothing,
    /// where something in them is blocked.
    pub fn said(
        &self,
        snapshot: &Snapshot,
        server: &Arc<Server>,
        name: &'static str,
        raw: &str,
    ) -> Shown {
        self.item(snapshot, server, DefinitionKind::Instructions, (name, raw))
    }

    /// How a tool stands by what was last seen of it: what a call rests on.
    pub fn standing(&self, snapshot: &Snapshot, server: &Arc<Server>, tool: &str) -> Standing {
        if server.endpoint == Endpoint::InProcess {
            return Standing::Approved;
        }
        if let Some(seen) = self.unstored_of(server.id, tool) {
            return seen.standing;
        }
        match server.tool(tool) {
            Some(Tool { name, definition, pin, .. }) => {
                let item = (name.as_str(), definition.as_str(), *pin);
                self.verdict(snapshot, server, DefinitionKind::Tool, item).standing
            }
            // What is not known cannot be called; there is nothing to hold against it.
            None => Standing::Approved,
        }
    }

    /// Has whatever is new about a definition stored and recorded; false where it cannot be: what nobody can
    /// record is not shown.
    fn tell(
        &self,
        snapshot: &Snapshot,
        server: &Arc<Server>,
        (kind, name, raw, pin): (DefinitionKind, &str, &str, [u8; 32]),
        verdict: &Arc<Verdict>,
    ) -> bool {
        if verdict.settled && self.unstored_count.load(Ordering::Relaxed) == 0 {
            return true;
        }
        let is_tool = kind == DefinitionKind::Tool;
        let is_known = !is_tool || snapshot.approval(server.id, &pin).is_some();
        let flips = is_tool
            && is_known
            && (server.tool(name).is_some_and(|tool| tool.pin != pin)
                || self.unstored_of(server.id, name).is_some())
            && self.standing(snapshot, server, name).passes() != verdict.standing.passes();
        let notes = !verdict.findings.is_empty() || verdict.unread.is_some();
        if is_known && !flips && !notes {
            return true;
        }
        if is_tool && (name.len() > LONGEST_NAME || name.contains('\0')) {
            return false;
        }
        let findings =
            notes.then(|| record::findings_json(&verdict.findings, verdict.unread.as_deref()));
        let told = Told { server: server.id, kind, pin, findings: findings.clone() };
        if !flips && self.told.contains_key(&told) {
            return true;
        }
        let newcomers = newcomers(snapshot, server);
        let item = match read_tool(raw.to_owned()) {
            Some(tool) if is_tool => tool,
            Some(_) | None => other(name, raw, pin),
        };
        let sighting = Sighting { kind, item, findings };
        let seen =
            Seen { server: Arc::clone(server), newcomers, sighting, verdict: Arc::clone(verdict) };
        if !self.queue(seen) {
            return is_known && !verdict.findings.iter().any(|one| one.mode >= Mode::Mask);
        }
        self.told.insert(told, ());
        if (flips || !is_known) && server.tool(name).is_some() {
            let seen = Unstored { pin, standing: verdict.standing };
            let mut unstored = self.unstored();
            unstored.insert((server.id, name.to_owned()), seen);
            self.unstored_count.store(unstored.len(), Ordering::Relaxed);
        }
        true
    }

    /// What was seen cannot be stored, so it is not shown again.
    fn unstorable(&self, server: ServerId, item: &Tool) {
        self.unstorable.insert((server, item.pin), ());
        self.stored(server, item);
    }

    /// What was seen is stored, or will not be.
    fn stored(&self, server: ServerId, item: &Tool) {
        self.waiting_bytes.fetch_sub(item.definition.len(), Ordering::Relaxed);
        let mut unstored = self.unstored();
        let key = (server, item.name.clone());
        if unstored.get(&key).is_some_and(|seen| seen.pin == item.pin) {
            unstored.remove(&key);
        }
        self.unstored_count.store(unstored.len(), Ordering::Relaxed);
    }

    fn queue(&self, seen: Seen) -> bool {
        let bytes = seen.sighting.item.definition.len();
        if self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes <= WAITING_BYTES
            && self.sightings.try_send(seen).is_ok()
        {
            return true;
        }
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        false
    }

    fn names(&self, snapshot: &Snapshot) -> Arc<Names> {
        let known = self.names.load_full();
        match known {
            Some(known) if known.generation == snapshot.generation => known,
            before => {
                let names = Arc::new(Names::of(snapshot, before.as_deref()));
                self.names.store(Some(Arc::clone(&names)));
                names
            }
        }
    }

    /// Other servers on which a tool has the same name, by slug.
    pub(crate) fn namesakes(
        &self,
        snapshot: &Snapshot,
        server: ServerId,
        tool: &str,
    ) -> Vec<String> {
        self.names(snapshot).namesakes(server, tool)
    }

    fn unstored_of(&self, server: ServerId, tool: &str) -> Option<Unstored> {
        if self.unstored_count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.unstored().get(&(server, tool.to_owned())).copied()
    }

    fn unstored(&self) -> MutexGuard<'_, HashMap<(ServerId, String), Unstored>> {
        self.unstored.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What becomes of tools that appear on a server later.
pub(crate) fn newcomers(snapshot: &Snapshot, server: &Server) -> Newcomers {
    match snapshot.scanning(server.id).changed_definitions {
        _ if server.endpoint == Endpoint::InProcess => Newcomers::Pass,
        ChangedDefinitions::Record => Newcomers::Pass,
        ChangedDefinitions::Quarantine => Newcomers::Wait,
    }
}

/// A definition that is no tool's, or no object.
fn other(name: &str, raw: &str, pin: [u8; 32]) -> Tool {
    let name: String = name.chars().filter(|c| *c != '\0').take(200).collect();
    Tool { name, definition: raw.to_owned(), hash: pin, pin, annotations: vec![] }
}

pub(crate) fn sha256(text: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    hash
}
