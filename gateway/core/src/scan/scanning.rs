//! What is looked for on the way to and from one server, and what is done about it: the organisation's settings with
//! the server's own laid over them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Class, Detectors, Guard, Mode};

/// The settings that hold for one server.
#[derive(Debug, Clone)]
pub struct Scanning {
    /// What is done about a finding.
    pub modes: Modes,
    /// Longest text that is scanned, bytes.
    pub limit: usize,
    /// What becomes of a longer one.
    pub over_limit: OverLimit,
    /// What becomes of tools whose definition is not the approved one.
    pub changed_definitions: ChangedDefinitions,
    /// Whether a blocked message ends the session that it came in.
    pub end_session: bool,
    /// Whether the external scanner is asked too.
    pub external: External,
    /// What is looked for: the built-in rules and the organisation's patterns.
    pub detectors: Arc<Detectors>,
}

/// What is done about a finding, by guard and class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Modes([[Mode; Class::ALL.len()]; Guard::ALL.len()]);

impl Modes {
    /// What `guard` does about a finding of that class.
    pub fn of(&self, guard: Guard, class: Class) -> Mode {
        self.0[guard as usize][class as usize]
    }

    /// Sets it.
    pub fn set(&mut self, guard: Guard, class: Class, mode: Mode) {
        self.0[guard as usize][class as usize] = mode;
    }

    /// True when `guard` looks for nothing.
    pub fn is_off(&self, guard: Guard) -> bool {
        self.0[guard as usize].iter().all(|mode| *mode == Mode::Off)
    }
}

/// What becomes of a text that is longer than what is scanned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OverLimit {
    /// It does not pass.
    #[default]
    Refuse,
    /// It passes unread, and that is recorded.
    Pass,
}

/// What becomes of a tool whose definition is not the one that was approved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangedDefinitions {
    /// It is shown, and the change recorded.
    #[default]
    Record,
    /// It is neither shown nor callable until somebody approves it.
    Quarantine,
}

/// Whether the organisation's external scanner is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum External {
    /// Never.
    #[default]
    Off,
    /// Yes; where it does not answer the message passes, and that is recorded.
    FailOpen,
    /// Yes; where it does not answer the message does not pass.
    FailClosed,
}

impl Scanning {
    /// Longest text that is scanned unless somebody says otherwise, bytes.
    pub const LIMIT: usize = 1 << 20;
}

impl Default for Scanning {
    fn default() -> Scanning {
        Scanning {
            modes: Modes::default(),
            limit: Scanning::LIMIT,
            over_limit: OverLimit::default(),
            changed_definitions: ChangedDefinitions::default(),
            end_session: false,
            external: External::default(),
            detectors: Detectors::built_in(),
        }
    }
}
