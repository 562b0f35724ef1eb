//! The audit trail: no record, no call.
//!
//! A [`Trail`] takes an intent before a call leaves ([`Trail::record`] returns once it is committed) and
//! an event for what came of it ([`Trail::conclude`] never waits). Two writers, one for each, commit
//! what queued in one statement and chain it ([`verify`] walks the chains); what cannot be written while Postgres is away
//! waits in a spool on disk. `read.rs` answers listings, `recorded.rs` gives calls to ask about
//! again. This module decides nothing about calls.

mod batch;
mod chain;
#[doc(hidden)]
pub mod doors;
mod flood;
mod payload;
mod read;
mod recorded;
mod row;
mod session;
mod settings;
mod shared;
mod spool;
mod spooler;
mod stored;
mod sweep;
mod trail;
mod upkeep;
mod verify;
mod writer;

#[cfg(test)]
mod tests;

pub use payload::Payload;
pub use read::{
    EXPORT_LIMIT, EventCursor, EventDetail, EventEntry, EventFilter, EventPage, Only, PAGE_LIMIT,
};
pub use recorded::{KeptArguments, RecordedCall, RecordedPage};
pub use settings::TrailSettings;
pub use trail::{Durable, Trail, TrailError, TrailHealth};
pub use verify::{Broken, Verdict, Verified, verify};
