//! What differs between settings that hold, and whether it lets more pass.

use gateway_core::scan::{
    ChangedDefinitions, Class, External, Guard, OverLimit, Pattern, Scanning,
};
use serde::Serialize;
use serde_json::{Value, json};

/// One setting that becomes another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Difference {
    /// Its path, as in a change.
    pub(crate) setting: String,
    pub(crate) before: Value,
    pub(crate) after: Value,
    /// More passes, or passes unseen.
    pub(crate) loosens: bool,
}

/// What differs, but for patterns.
pub(crate) fn of(before: &Scanning, after: &Scanning) -> Vec<Difference> {
    let mut all = Vec::new();
    for guard in Guard::ALL {
        for class in Class::ALL {
            let setting = format!("modes.{}.{}", guard.as_str(), class.as_str());
            let (was, is) = (before.modes.of(guard, class), after.modes.of(guard, class));
            all.push(one(setting, (was, is), is < was));
        }
    }
    // What is longer passes unread, or not at all.
    let unread = after.over_limit == OverLimit::Pass;
    let limit = (before.limit, after.limit);
    all.push(one("limit", limit, unread && after.limit < before.limit));
    all.push(one("over_limit", (before.over_limit, after.over_limit), unread));
    let recorded = after.changed_definitions == ChangedDefinitions::Record;
    let definitions = (before.changed_definitions, after.changed_definitions);
    all.push(one("changed_definitions", definitions, recorded));
    all.push(one("end_session", (before.end_session, after.end_session), !after.end_session));
    let rank = |external| match external {
        External::Off => 0,
        External::FailOpen => 1,
        External::FailClosed => 2,
    };
    let external = (before.external, after.external);
    all.push(one("external", external, rank(after.external) < rank(before.external)));
    all.retain(|one| one.before != one.after);
    all
}

/// What differs in what is looked for besides the built-in rules.
pub(crate) fn of_patterns(before: &[Pattern], after: &[Pattern]) -> Option<Difference> {
    let lost = before.iter().any(|pattern| !after.contains(pattern));
    (before != after).then(|| one("patterns", (before, after), lost))
}

fn one<T: Serialize>(setting: impl Into<String>, (was, is): (T, T), loosens: bool) -> Difference {
    let (before, after) = (json!(was), json!(is));
    Difference { setting: setting.into(), loosens: loosens && before != after, before, after }
}

#[cfg(test)]
mod tests {
    use super::super::settings::ScannerSettings;
    use super::*;

    fn scanning(settings: Value) -> Scanning {
        let settings: ScannerSettings = serde_json::from_value(settings).unwrap();
        let mut scanning = Scanning::default();
        settings.lay_over(&mut scanning);
        scanning
    }

    #[test]
    fn what_lets_more_pass_is_said() {
        let mode = |mode: &str| json!({"modes": {"tool_call": {"secrets": mode}}});
        let cases = [
            (mode("block"), mode("mask"), "modes.tool_call.secrets", true),
            (mode("mask"), mode("off"), "modes.tool_call.secrets", true),
            (mode("off"), mode("monitor"), "modes.tool_call.secrets", false),
            (json!({}), mode("block"), "modes.tool_call.secrets", false),
            (json!({}), json!({"over_limit": "pass"}), "over_limit", true),
            (json!({"over_limit": "pass"}), json!({}), "over_limit", false),
            (json!({"limit": 4096}), json!({"limit": 2048}), "limit", false),
            (
                json!({"limit": 4096, "over_limit": "pass"}),
                json!({"limit": 2048, "over_limit": "pass"}),
                "limit",
                true,
            ),
            (
                json!({"limit": 2048, "over_limit": "pass"}),
                json!({"limit": 4096, "over_limit": "pass"}),
                "limit",
                false,
            ),
            (json!({"changed_definitions": "quarantine"}), json!({}), "changed_definitions", true),
            (json!({}), json!({"changed_definitions": "quarantine"}), "changed_definitions", false),
            (json!({"end_session": true}), json!({}), "end_session", true),
            (json!({}), json!({"end_session": true}), "end_session", false),
            (
                json!({"external": "fail_closed"}),
                json!({"external": "fail_open"}),
                "external",
                true,
            ),
            (json!({"external": "fail_open"}), json!({}), "external", true),
            (
                json!({"external": "fail_open"}),
                json!({"external": "fail_closed"}),
                "external",
                false,
            ),
        ];
        for (before, after, setting, loosens) in cases {
            let found = of(&scanning(before.clone()), &scanning(after.clone()));
            let [one] = found.as_slice() else { panic!("{before} {after}: {found:?}") };
            assert_eq!((one.setting.as_str(), one.loosens), (setting, loosens), "{before} {after}");
        }
        assert_eq!(of(&Scanning::default(), &Scanning::default()), []);
        let pattern = |text: &str| Pattern {
            name: "ticket".into(),
            class: Class::Secrets,
            pattern: text.into(),
        };
        let loosens = |before: &[&str], after: &[&str]| {
            let all = |texts: &[&str]| texts.iter().map(|text| pattern(text)).collect::<Vec<_>>();
            of_patterns(&all(before), &all(after)).map(|one| one.loosens)
        };
        assert_eq!(loosens(&["a"], &["a"]), None);
        assert_eq!(loosens(&["a"], &["a", "b"]), Some(false));
        assert_eq!(loosens(&["a", "b"], &["a"]), Some(true));
        assert_eq!(loosens(&["a"], &["b"]), Some(true));
    }
}
