//! Walks a JSON text, undoes its escapes and maps what was found back to its bytes.

use std::ops::Range;
use std::sync::Arc;

use super::{Class, Detectors, Guard, Mode, Modes};
use crate::json::{Json, Kind};
use crate::keys::keyed_hash;
use crate::record::Finding;

/// Something that stands in a JSON text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Of which class.
    pub class: Class,
    /// By which rule.
    pub rule: Arc<str>,
    /// Where, as a JSON Pointer (RFC 6901).
    pub path: String,
    /// Its bytes in the text, escapes and all.
    pub span: Range<usize>,
    /// What it says, decoded.
    pub plain: String,
}

/// Looks through a checked JSON text for what `guard` does anything about. In order of place, not overlapping.
pub fn read(detectors: &Detectors, guard: Guard, modes: &Modes, text: &str) -> Vec<Found> {
    let mut found = Vec::new();
    if !modes.is_off(guard) {
        let wanted = |class| modes.of(guard, class) != Mode::Off;
        walk(detectors, guard, &wanted, text, Json::checked_before(text), "", &mut found);
    }
    found
}

fn walk(
    detectors: &Detectors,
    guard: Guard,
    wanted: &dyn Fn(Class) -> bool,
    text: &str,
    json: Json<'_>,
    path: &str,
    found: &mut Vec<Found>,
) {
    match json.kind() {
        Kind::Object => {
            for member in json.members() {
                let path = format!("{path}/{}", member.key);
                walk(detectors, guard, wanted, text, member.value, &path, found);
            }
        }
        Kind::Array => {
            for (i, item) in json.elements().enumerate() {
                walk(detectors, guard, wanted, text, item, &format!("{path}/{i}"), found);
            }
        }
        Kind::String => {
            let (Some(plain), Some(span)) = (json.as_str(), json.span_in(text)) else { return };
            for hit in detectors.find(guard, wanted, &plain) {
                found.push(Found {
                    class: hit.class,
                    rule: hit.rule,
                    path: path.to_owned(),
                    span: span.clone(),
                    plain: plain.get(hit.span).unwrap_or_default().to_owned(),
                });
            }
        }
        Kind::Number | Kind::Bool | Kind::Null => {}
    }
}

/// The text with every one of `found` replaced; the rest stays byte for byte, and JSON stays JSON.
pub fn mask(text: &str, found: &[Found]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for one in found.iter().filter(|one| !one.span.is_empty()) {
        if let Some(before) = text.get(at..one.span.start) {
            out.push_str(before);
            out.push_str(&format!("\"[masked:{}]\"", one.rule));
            at = one.span.end;
        }
    }
    out.push_str(text.get(at..).unwrap_or_default());
    out
}

impl Found {
    /// What the trail keeps of it: never the thing itself. `key` makes the same secret recognisable.
    pub fn finding(&self, guard: Guard, mode: Mode, key: &[u8; 32], scan_us: u64) -> Finding {
        let hash = keyed_hash(key, self.plain.as_bytes());
        Finding {
            guard,
            class: self.class,
            rule: self.rule.clone(),
            mode,
            path: self.path.clone(),
            offset: self.span.start,
            length: self.span.len(),
            excerpt: excerpt(&self.plain),
            fingerprint: hash.iter().take(8).map(|b| format!("{b:02x}")).collect(),
            scan_us,
        }
    }
}

/// A few characters, never more than a quarter of it.
fn excerpt(plain: &str) -> String {
    let shown = (plain.chars().count() / 4).min(4);
    plain.chars().take(shown).filter(|c| !c.is_control()).chain(['…']).collect()
}
