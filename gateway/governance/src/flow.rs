//! The flow rule: who has read from a server labelled `untrusted` and from one labelled `private` within a window of
//! time may not call one labelled `outward` without a human's agreement. It is no policy: policies look at one call.
//!
//! ```text
//! a read        marks[Postgres] ---- intent ---- leaves ---- its result reaches the client
//! an outward    ...............................................  asks Postgres -> agreement
//! ```
//! So whoever can know what was read has been noted before, whichever replica is asked. What a person reads themself and
//! what agents read on their behalf counts for the person; what an agent reads for itself or for somebody counts for what
//! it does for itself. Who asks: `proxy/decide.rs`; who marks: `proxy/intent.rs`.

use std::sync::Arc;
use std::time::Duration;

use gateway_core::caller::{Caller, PrincipalKind};
use gateway_core::decision::{Approver, Demand, Denial, FLOW_RULE};
use gateway_core::ids::{ServerId, UserId};
use gateway_core::label::Label;
use gateway_core::server::Server;
use gateway_core::{Clock, Timestamp};
use gateway_store::flow::{FlowMark, FlowReaders};
use gateway_store::{Store, StoreError};
use moka::sync::Cache;
use time::macros::format_description;
use tokio_util::sync::CancellationToken;

use crate::settings::FlowSettings;
use crate::snapshot::Snapshot;

/// Marks that are remembered as written.
const REMEMBERED: u64 = 100_000;
/// A mark is written again once it is this part of the window old: the window ends that much later.
const PART: u32 = 60;
/// Servers of each kind that a question names at most.
const NAMED: usize = 5;
/// How often marks outside the window are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(600);

/// What the caller has read, and from when on it counts.
pub struct Flow {
    store: Store,
    clock: Arc<dyn Clock>,
    settings: FlowSettings,
    written: Cache<Reading, Timestamp>,
}

/// One reader's reads of one server under one set of labels.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Reading {
    reader: (UserId, Option<UserId>),
    server: ServerId,
    labels: Vec<Label>,
}

impl Flow {
    pub(crate) fn new(store: Store, clock: Arc<dyn Clock>, settings: FlowSettings) -> Flow {
        let written = Cache::builder().max_capacity(REMEMBERED).build();
        Flow { store, clock, settings, written }
    }

    /// Notes that what the server gives is about to reach the caller; durable when it returns. An error: nobody would
    /// know of it, so the call must not leave.
    pub async fn mark(&self, caller: &Caller, server: &Server) -> Result<(), StoreError> {
        let labels: Vec<Label> = server.labels.iter().copied().filter(|l| l.marks()).collect();
        if labels.is_empty() || !self.settings.enabled {
            return Ok(());
        }
        let now = self.clock.now();
        let reading = Reading { reader: reader(caller), server: server.id, labels };
        let fresh = |at: Timestamp| now - at < self.settings.window / PART;
        if self.written.get(&reading).is_some_and(fresh) {
            return Ok(());
        }
        self.store.mark_flow(reading.reader, server.id, &reading.labels, now).await?;
        self.written.insert(reading, now);
        Ok(())
    }

    /// What has to be agreed to before the caller calls the server; `None`: nothing. An error: nobody knows.
    pub async fn demand(
        &self,
        snapshot: &Snapshot,
        caller: &Caller,
        server: &Server,
    ) -> Result<Option<Demand>, StoreError> {
        let Some(read) = self.read(snapshot, caller, server).await? else { return Ok(None) };
        let message = format!(
            "This call can carry data out, by the server \"{}\". {read}. Agree only if this call is what you want.",
            server.slug
        );
        Ok(Some(Demand { policies: vec![FLOW_RULE], message, approvers: vec![Approver::Caller] }))
    }

    /// The same of what leaves without a call about which people could be asked: why it may not; `None`: it may.
    pub async fn denial(
        &self,
        snapshot: &Snapshot,
        caller: &Caller,
        server: &Server,
    ) -> Result<Option<Denial>, StoreError> {
        let Some(read) = self.read(snapshot, caller, server).await? else { return Ok(None) };
        let message = format!(
            "What is sent to the server \"{}\" here can carry data out, and there is no call to agree to. {read}. \
             Send it as the argument of a tool, about which you are asked",
            server.slug
        );
        Ok(Some(Denial { invisible: false, policies: vec![FLOW_RULE], message: Some(message) }))
    }

    /// What the caller has read of both kinds, where that counts against the server.
    async fn read(
        &self,
        snapshot: &Snapshot,
        caller: &Caller,
        server: &Server,
    ) -> Result<Option<String>, StoreError> {
        if !self.concerns(server) {
            return Ok(None);
        }
        let window = self.settings.window;
        let since = self.clock.now() - window - window / PART;
        let marks = self.store.flow_marks(&readers(caller), since).await?;
        let of = |label: Label| {
            let counts = |mark: &&FlowMark| mark.label == label && still(snapshot, mark);
            marks.iter().filter(counts).collect::<Vec<_>>()
        };
        let (untrusted, private) = (of(Label::Untrusted), of(Label::Private));
        if untrusted.is_empty() || private.is_empty() {
            return Ok(None);
        }
        let told = |marks: &[&FlowMark]| told(snapshot, caller, marks);
        Ok(Some(format!(
            "In the last {} minutes there were reads of untrusted content ({}) and of private data ({})",
            window.whole_minutes(),
            told(&untrusted),
            told(&private)
        )))
    }

    /// Whether calls of that server may have to be agreed to.
    pub fn concerns(&self, server: &Server) -> bool {
        self.settings.enabled && server.labels.contains(&Label::Outward)
    }

    /// How long what was read counts.
    pub fn window(&self) -> time::Duration {
        self.settings.window
    }

    /// Forgets what counts no more, until `shutdown`.
    pub(crate) async fn follow(&self, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(FORGET_EVERY) => {}
            }
            // Twice as long as it counts: the clocks of replicas differ.
            let until = self.clock.now() - self.settings.window * 2;
            if let Err(error) = self.store.forget_flow_marks(until).await {
                tracing::warn!(%error, "old marks of the flow rule could not be removed");
            }
        }
    }
}

/// For whom the caller reads, and through which agent.
fn reader(caller: &Caller) -> (UserId, Option<UserId>) {
    (caller.user.id, caller.actor.as_ref().map(|agent| agent.id))
}

/// What the caller may know of: everything that was read for the person, and by the agent on its own account. What
/// it read for others counts only where nobody stands behind its call: else each person would answer for all.
fn readers(caller: &Caller) -> FlowReaders {
    let for_itself = caller.user.kind == PrincipalKind::Agent;
    FlowReaders {
        principals: caller.principals().map(|principal| principal.id).collect(),
        agent: for_itself.then_some(caller.user.id),
    }
}

/// A label that was taken away counts no more; that of a server that is gone does.
fn still(snapshot: &Snapshot, mark: &FlowMark) -> bool {
    snapshot.server_by_id(mark.server).is_none_or(|server| server.labels.contains(&mark.label))
}

/// `"mail" at 14:03, "web" at 13:50 UTC`: of servers that the person who is asked may know of.
fn told(snapshot: &Snapshot, caller: &Caller, marks: &[&FlowMark]) -> String {
    let person = snapshot.person_behind(caller).and_then(|id| snapshot.user(id));
    let mut known: Vec<String> = Vec::new();
    for mark in marks {
        let server = snapshot.server_by_id(mark.server);
        let enters = |server: &&Arc<Server>| {
            person.is_some_and(|person| snapshot.policies.may_enter(person, server))
        };
        let at = mark.at.format(format_description!("[hour]:[minute]")).unwrap_or_default();
        known.extend(server.filter(enters).map(|server| format!("\"{}\" at {at}", server.slug)));
    }
    let unnamed = marks.len() - known.len().min(NAMED);
    known.truncate(NAMED);
    match (known.is_empty(), unnamed) {
        (true, _) => "servers that are not yours to know".to_owned(),
        (false, 0) => format!("{} UTC", known.join(", ")),
        (false, more) => format!("{} UTC, and {more} more", known.join(", ")),
    }
}
