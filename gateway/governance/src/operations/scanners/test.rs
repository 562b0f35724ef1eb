//! Trying the scanners on a text: what they find in it, and what they would do. Neither the text nor what was found is
//! kept anywhere.

use gateway_core::json::Json;
use gateway_core::scan::message::{self, Found};
use gateway_core::scan::{Class, Guard, Mode, Modes, OverLimit, Scanning};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Run, allowed, answer};
use crate::perform::{Answer, Refused};

/// The longest text that can be tried, bytes.
const LONGEST: usize = 64 * 1024;
/// Most findings that an answer names.
const MOST: usize = 100;

/// Of `test_scanner`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestScanner {
    /// Plain, or a JSON object or array; at most 64 KiB.
    pub text: String,
    /// Whose rules and modes; tool_call if absent.
    #[serde(default)]
    pub guard: Option<GuardName>,
    /// Id or slug: with its settings; absent: the organisation's.
    #[serde(default)]
    pub server_id: Option<String>,
}

/// The three guards: definitions, arguments, results.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, clippy::allow_attributes, reason = "the names say it")]
#[expect(clippy::enum_variant_names, reason = "they are called so")]
pub enum GuardName {
    ToolList,
    ToolIntent,
    #[default]
    ToolCall,
}

/// What the scanners make of a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ScannerTested {
    /// `json` or `text`.
    pub read_as: String,
    /// `pass`, `mask`, `block`, or where it is longer than what is scanned `refuse_unread` or `pass_unread`.
    pub verdict: String,
    /// What was found, in order of place, at most 100; classes that are off, too.
    pub findings: Vec<ScannerFinding>,
    /// How many there are.
    pub found: usize,
    /// The text as it would go on, unless it would not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub masked: Option<String>,
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ScannerFinding {
    /// Of which class.
    pub class: String,
    /// By which rule.
    pub rule: String,
    /// Where, as a JSON Pointer; empty in plain text.
    pub path: String,
    /// Its first byte in the text, from 0.
    pub offset: usize,
    /// How many bytes of the text it takes.
    pub length: usize,
    /// A few of its characters.
    pub excerpt: String,
    /// What would be done: `off` (it would not be looked for), `monitor`, `mask` or `block`.
    pub mode: String,
}

impl TestScanner {
    pub(crate) fn answer(self, run: &Run<'_>) -> Result<Answer, Refused> {
        let server = allowed(run, self.server_id.as_deref())?;
        if self.text.len() > LONGEST {
            return Err(Refused::params(format!("text: expected at most {LONGEST} bytes")));
        }
        let guard = match self.guard.unwrap_or_default() {
            GuardName::ToolList => Guard::ToolList,
            GuardName::ToolIntent => Guard::ToolIntent,
            GuardName::ToolCall => Guard::ToolCall,
        };
        let scanning = run.snapshot.scanners.scanning(server.map(|server| server.id));
        answer(&tested(scanning, guard, &self.text))
    }
}

fn tested(scanning: &Scanning, guard: Guard, text: &str) -> ScannerTested {
    let structured = text.trim_start().starts_with(['{', '[']);
    let is_json = structured && Json::parse(text.as_bytes()).is_ok();
    let modes = all_on(&scanning.modes);
    let read = if is_json { message::read } else { message::read_text };
    let found = read(&scanning.detectors, guard, &modes, text);
    let mode = |one: &Found| scanning.modes.of(guard, one.class);
    let strictest = found.iter().map(mode).max().unwrap_or(Mode::Off);
    let verdict = match (text.len() > scanning.limit, scanning.over_limit, strictest) {
        (true, OverLimit::Refuse, _) => "refuse_unread",
        (true, OverLimit::Pass, _) => "pass_unread",
        (false, _, Mode::Block) => "block",
        (false, _, Mode::Mask) => "mask",
        (false, _, Mode::Monitor | Mode::Off) => "pass",
    };
    let findings = found.iter().take(MOST).map(|one| finding(guard, one, mode(one))).collect();
    let count = found.len();
    let masked: Vec<Found> = found.into_iter().filter(|one| mode(one) == Mode::Mask).collect();
    let mask = if is_json { message::mask } else { message::mask_text };
    ScannerTested {
        read_as: if is_json { "json" } else { "text" }.to_owned(),
        verdict: verdict.to_owned(),
        findings,
        found: count,
        masked: matches!(verdict, "pass" | "mask").then(|| mask(text, &masked)),
    }
}

/// What is off is looked for here, too: whoever tries wants to know what they would see.
fn all_on(modes: &Modes) -> Modes {
    let mut on = *modes;
    for guard in Guard::ALL {
        for class in Class::ALL {
            on.set(guard, class, modes.of(guard, class).max(Mode::Monitor));
        }
    }
    on
}

fn finding(guard: Guard, one: &Found, mode: Mode) -> ScannerFinding {
    // Nothing is kept, so nothing has to be recognised again.
    let shown = one.finding(guard, mode, &[0; 32], 0);
    ScannerFinding {
        class: shown.class.as_str().to_owned(),
        rule: shown.rule.to_string(),
        path: shown.path,
        offset: shown.offset,
        length: shown.length,
        excerpt: shown.excerpt,
        mode: mode.as_str().to_owned(),
    }
}
