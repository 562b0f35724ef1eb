//! The scanners' settings as they are written: of the organisation, or of one server, laid over it. What is absent is
//! as it is above: a server's as the organisation's, the organisation's as the gateway comes.

use std::collections::BTreeMap;

use gateway_core::scan::{
    ChangedDefinitions, Class, External, Guard, Mode, OverLimit, Pattern, Scanning,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The shortest and the longest text that can be chosen to be scanned, bytes.
pub const LIMITS: std::ops::RangeInclusive<usize> = 1 << 10..=8 << 20;

/// Settings as written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScannerSettings {
    /// What is done about a finding, by guard and class.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub modes: BTreeMap<Guard, BTreeMap<Class, Mode>>,
    /// Longest text that is scanned, bytes; within [`LIMITS`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// What becomes of a longer one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over_limit: Option<OverLimit>,
    /// What becomes of tools whose definition is not the approved one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_definitions: Option<ChangedDefinitions>,
    /// Whether a blocked message ends the session that it came in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_session: Option<bool>,
    /// Whether the external scanner is asked too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<External>,
    /// What is looked for besides the built-in rules. Of the organisation alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patterns: Option<Vec<Pattern>>,
}

/// One guard's modes by class.
type PatchOfGuard = BTreeMap<String, Option<Mode>>;

/// What a change says: the same, and null for what is to be as it is above. It only says whether a change can be
/// read; the change itself is made on the JSON text.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "that they can be read is what most are for")]
struct Patch {
    modes: Option<BTreeMap<String, Option<PatchOfGuard>>>,
    limit: Option<usize>,
    over_limit: Option<OverLimit>,
    changed_definitions: Option<ChangedDefinitions>,
    end_session: Option<bool>,
    external: Option<External>,
    patterns: Option<Vec<Pattern>>,
}

/// What is wrong with settings: the field, and what is wrong and expected there.
pub type Wrong = (String, String);

impl ScannerSettings {
    /// Everything that holds there, spelled out.
    pub fn of(scanning: &Scanning) -> ScannerSettings {
        let row = |guard| Class::ALL.map(|class| (class, scanning.modes.of(guard, class))).into();
        ScannerSettings {
            modes: Guard::ALL.map(|guard| (guard, row(guard))).into(),
            limit: Some(scanning.limit),
            over_limit: Some(scanning.over_limit),
            changed_definitions: Some(scanning.changed_definitions),
            end_session: Some(scanning.end_session),
            external: Some(scanning.external),
            patterns: None,
        }
    }

    /// Lays these settings over what holds above. What is looked for is not part of it.
    pub fn lay_over(&self, scanning: &mut Scanning) {
        for (guard, row) in &self.modes {
            for (class, mode) in row {
                scanning.modes.set(*guard, *class, *mode);
            }
        }
        scanning.limit = self.limit.unwrap_or(scanning.limit);
        scanning.over_limit = self.over_limit.unwrap_or(scanning.over_limit);
        scanning.changed_definitions =
            self.changed_definitions.unwrap_or(scanning.changed_definitions);
        scanning.end_session = self.end_session.unwrap_or(scanning.end_session);
        scanning.external = self.external.unwrap_or(scanning.external);
    }

    /// True when nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == ScannerSettings::default()
    }

    /// These settings with a change made: what it does not name stays, null takes away (RFC 7396).
    pub fn changed(&self, patch: &Map<String, Value>) -> Result<ScannerSettings, Wrong> {
        let patch = Value::Object(patch.clone());
        read::<Patch>(&patch)?.check_names()?;
        let unwritable = |error: serde_json::Error| (String::new(), error.to_string());
        let mut settings = serde_json::to_value(self).map_err(unwritable)?;
        merge(&mut settings, patch);
        let mut changed: ScannerSettings = read(&settings)?;
        changed.modes.retain(|_, row| !row.is_empty());
        Ok(changed)
    }

    /// Whether they make sense, but for whether patterns can be looked for. `server`: a server's.
    pub fn check(&self, server: bool) -> Result<(), Wrong> {
        let wrong = |field: &str, expected: String| Err((field.to_owned(), expected));
        if self.limit.is_some_and(|limit| !LIMITS.contains(&limit)) {
            return wrong(
                "limit",
                format!("expected {} to {} bytes", LIMITS.start(), LIMITS.end()),
            );
        }
        if server && self.patterns.is_some() {
            return wrong("patterns", "expected none: they are the organisation's".into());
        }
        Ok(())
    }
}

impl Patch {
    /// A name that nothing has is no place: whoever reads by type alone cannot say where it stands.
    fn check_names(&self) -> Result<(), Wrong> {
        let guards = Guard::ALL.map(Guard::as_str);
        let classes = Class::ALL.map(Class::as_str);
        for (guard, row) in self.modes.iter().flatten() {
            known("modes", guard, "guard", &guards)?;
            for class in row.iter().flatten().map(|(class, _)| class) {
                known(&format!("modes.{guard}"), class, "class", &classes)?;
            }
        }
        Ok(())
    }
}

fn known(above: &str, name: &str, noun: &str, all: &[&str]) -> Result<(), Wrong> {
    if all.contains(&name) {
        return Ok(());
    }
    Err((format!("{above}.{name}"), format!("no such {noun}; expected one of {}", all.join(", "))))
}

/// Reads, and names the place that cannot be read.
fn read<'de, T: Deserialize<'de>>(value: &'de Value) -> Result<T, Wrong> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let place = error.path().to_string();
        let place = if place == "." { String::new() } else { place };
        (place, error.into_inner().to_string())
    })
}

fn merge(there: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *there = patch;
        return;
    };
    if !there.is_object() {
        *there = Value::Object(Map::new());
    }
    let Some(members) = there.as_object_mut() else { return };
    for (name, value) in patch {
        if value.is_null() {
            members.remove(&name);
        } else {
            merge(members.entry(name).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn written(value: Value) -> ScannerSettings {
        serde_json::from_value(value).unwrap()
    }

    fn changed(there: Value, patch: Value) -> Result<Value, String> {
        let changed = written(there).changed(patch.as_object().unwrap());
        let changed = changed.and_then(|settings| settings.check(false).map(|()| settings));
        changed
            .map(|settings| serde_json::to_value(settings).unwrap())
            .map_err(|(field, expected)| format!("{field}: {expected}"))
    }

    #[test]
    fn a_change_changes_what_it_names_alone() {
        let there = json!({"modes": {"tool_call": {"secrets": "mask", "injection": "off"}},
            "limit": 4096, "end_session": true});
        let cases = [
            (json!({}), there.clone()),
            (
                json!({"modes": {"tool_call": {"secrets": "block"}, "tool_intent": {"secrets": "block"}}}),
                json!({"modes": {"tool_intent": {"secrets": "block"},
                    "tool_call": {"secrets": "block", "injection": "off"}}, "limit": 4096, "end_session": true}),
            ),
            (
                json!({"modes": {"tool_call": {"secrets": null}}, "limit": null}),
                json!({"modes": {"tool_call": {"injection": "off"}}, "end_session": true}),
            ),
            (
                json!({"modes": {"tool_call": null}, "end_session": false}),
                json!({"limit": 4096, "end_session": false}),
            ),
            (json!({"modes": null, "limit": null, "end_session": null}), json!({})),
            (json!({"modes": {"tool_list": {"secrets": null}}}), there.clone()),
            (json!({"modes": {"tool_list": {}}, "external": null}), there.clone()),
        ];
        for (patch, expected) in cases {
            assert_eq!(changed(there.clone(), patch.clone()), Ok(expected), "{patch}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            (json!({"mode": {}}), "mode: unknown field `mode`"),
            (
                json!({"modes": {"tool_cal": null}}),
                "modes.tool_cal: no such guard; expected one of tool_list, tool_intent, tool_call",
            ),
            (
                json!({"modes": {"tool_call": {"secret": "off"}}}),
                "modes.tool_call.secret: no such class; expected one of secrets, ",
            ),
            (
                json!({"modes": {"tool_call": {"secrets": "redact"}}}),
                "modes.tool_call.secrets: unknown variant `redact`, expected one of `off`, `monitor`, `mask`, `block`",
            ),
            (json!({"modes": {"tool_call": {"secrets": true}}}), "modes.tool_call.secrets: "),
            (json!({"modes": {"tool_call": "off"}}), "modes.tool_call: "),
            (json!({"modes": []}), "modes: "),
            (json!({"limit": 1023}), "limit: expected 1024 to 8388608 bytes"),
            (json!({"limit": 8_388_609}), "limit: expected 1024 to 8388608 bytes"),
            (json!({"limit": -1}), "limit: "),
            (json!({"limit": 1e30}), "limit: "),
            (json!({"limit": "4096"}), "limit: "),
            (json!({"end_session": "true"}), "end_session: "),
            (json!({"over_limit": "ignore"}), "over_limit: unknown variant `ignore`"),
            (json!({"external": "on"}), "external: unknown variant `on`"),
            (
                json!({"changed_definitions": "allow"}),
                "changed_definitions: unknown variant `allow`",
            ),
            (json!({"patterns": {}}), "patterns: "),
            (
                json!({"patterns": [{"name": "x", "class": "secrets"}]}),
                "patterns[0]: missing field `pattern`",
            ),
        ];
        for (patch, expected) in cases {
            let got = changed(json!({}), patch.clone()).unwrap_err();
            assert!(got.starts_with(expected), "{patch}: {got}");
        }
        let own = written(json!({"patterns": []}));
        assert_eq!(own.check(true).unwrap_err().0, "patterns");
        assert!(own.check(false).is_ok());
    }

    #[test]
    fn what_holds_is_the_server_s_then_the_organisation_s_then_the_default() {
        let mut scanning = Scanning::default();
        let organisation = json!({"modes": {"tool_call": {"secrets": "block", "injection": "mask"}},
            "limit": 2048, "external": "fail_closed"});
        written(organisation).lay_over(&mut scanning);
        let own = json!({"modes": {"tool_call": {"secrets": "off"}}, "over_limit": "pass", "limit": 4096});
        written(own).lay_over(&mut scanning);
        let of = |class| scanning.modes.of(Guard::ToolCall, class);
        assert_eq!(of(Class::Secrets), Mode::Off);
        assert_eq!(of(Class::Injection), Mode::Mask);
        assert_eq!(of(Class::PersonalData), Mode::Monitor);
        assert_eq!((scanning.limit, scanning.over_limit), (4096, OverLimit::Pass));
        assert_eq!((scanning.external, scanning.end_session), (External::FailClosed, false));
        let all = serde_json::to_value(ScannerSettings::of(&scanning)).unwrap();
        assert_eq!(all["modes"]["tool_call"]["secrets"], "off");
        assert_eq!(all["modes"]["tool_list"].as_object().unwrap().len(), 5);
        let mut again = Scanning::default();
        written(all).lay_over(&mut again);
        assert_eq!(ScannerSettings::of(&again), ScannerSettings::of(&scanning));
    }
}
