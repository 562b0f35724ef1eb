//! What things are: the nouns of the gateway as plain values.
//!
//! This crate knows nothing of files, sockets, clocks or databases and has no async code; time and
//! randomness reach it as arguments. Every other package builds on it. Start with [`mcp`] for the
//! envelope of a call, [`json`] for how bytes are read, [`reason`] for why something was refused.

pub mod caller;
pub mod credential;
pub mod decision;
pub mod ids;
pub mod json;
pub mod keys;
pub mod label;
pub mod located;
pub mod mcp;
pub mod names;
pub mod reason;
pub mod record;
pub mod scan;
pub mod seal;
pub mod server;
pub mod sniff;
pub mod sse;

/// An instant in UTC, microsecond precision where it is stored.
pub type Timestamp = time::OffsetDateTime;

/// Where the present comes from, so that tests and replays decide it.
pub trait Clock: Send + Sync + 'static {
    /// The present instant in UTC.
    fn now(&self) -> Timestamp;
}
