//! Detectors: what is looked for in what flows, and where it was found. No IO, no clock.
//!
//! [`rule`] says what a rule is; one file each holds the rules of one kind as data. [`Detectors`] holds them and the
//! organisation's own; `plan` looks for all of a guard's in one pass, `pattern` tries one at its place. [`message`]
//! walks a JSON text (`tokens`), reads each string in every form (`forms`, `decode`, `base64_runs`) as long as that is worth
//! it (`budget`), and says where in its bytes what was found stands; `mask` replaces it; `found` is what the trail keeps. Who asks: `proxy/scan.rs`
//! (arguments), `proxy/filter.rs` (results, definitions).

mod actions;
mod automaton;
mod base64_runs;
mod budget;
mod decode;
mod detectors;
pub mod external;
mod fold;
mod forms;
mod found;
mod hidden;
mod injection;
pub mod lookalike;
mod mask;
pub mod message;
mod own;
mod path;
mod pattern;
mod personal;
mod plan;
pub mod rule;
mod scanning;
mod secrets;
mod tables;
#[cfg(test)]
mod tests;
mod tokens;

pub use detectors::{BadPattern, Detectors, Pattern};
pub use found::findings;
pub use message::Found;
pub use scanning::{ChangedDefinitions, External, Modes, OverLimit, Scanning};
pub use tables::built_in;

use serde::{Deserialize, Serialize};

/// What a detector looks for. Modes are set per class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Tokens, private keys, connection strings, passwords.
    Secrets,
    /// E-mail addresses, phone, card, account and national id numbers, IP addresses.
    PersonalData,
    /// Characters that a model reads and a person does not see.
    HiddenCharacters,
    /// Text that speaks to the model instead of informing it.
    Injection,
    /// Arguments that destroy or carry data away.
    DangerousActions,
}

/// Where something flows: the three guards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Guard {
    /// Definitions of tools, resources and prompts, and a server's instructions.
    ToolList,
    /// What a client sends: arguments, URIs, answers to a server's questions.
    ToolIntent,
    /// What a server sends: results, errors, contents, questions.
    ToolCall,
}

/// What is done about a finding. A later one is stricter.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Nothing is looked for.
    Off,
    /// It is recorded.
    #[default]
    Monitor,
    /// It is replaced, and recorded: a warning.
    Mask,
    /// The message does not pass: a violation.
    Block,
}

impl Class {
    /// Every class.
    pub const ALL: [Class; 5] = [
        Class::Secrets,
        Class::PersonalData,
        Class::HiddenCharacters,
        Class::Injection,
        Class::DangerousActions,
    ];

    /// The name in settings and rows.
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Secrets => "secrets",
            Class::PersonalData => "personal_data",
            Class::HiddenCharacters => "hidden_characters",
            Class::Injection => "injection",
            Class::DangerousActions => "dangerous_actions",
        }
    }
}

impl Guard {
    /// Every guard.
    pub const ALL: [Guard; 3] = [Guard::ToolList, Guard::ToolIntent, Guard::ToolCall];

    /// The name in settings and rows.
    pub fn as_str(self) -> &'static str {
        match self {
            Guard::ToolList => "tool_list",
            Guard::ToolIntent => "tool_intent",
            Guard::ToolCall => "tool_call",
        }
    }
}

impl Mode {
    /// The name in settings and rows.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Off => "off",
            Mode::Monitor => "monitor",
            Mode::Mask => "mask",
            Mode::Block => "block",
        }
    }
}
