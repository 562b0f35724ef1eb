//! Detectors: what is looked for in requests, one file each.

mod hidden;

pub use hidden::{HIDDEN_CHARACTERS, hidden_characters};
