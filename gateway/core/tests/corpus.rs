//! What SCANNERS.md promises about structured kinds, held on a sample of the corpus that its figures come from.
#![expect(clippy::unwrap_used, reason = "the corpus makes its own inputs")]

#[path = "../examples/corpus/mod.rs"]
mod corpus;

use std::collections::HashSet;

use corpus::measure::{self, Scores};
use gateway_core::scan::{self, Class, Guard};

const SCANNERS: &str = include_str!("../../../SCANNERS.md");

/// Of every kind 99 % and more are found, whole and by its own rule.
#[test]
fn recall_of_every_kind() {
    let count = 30 * corpus::kinds().len();
    let mut scores = Scores::new();
    measure::recall(&corpus::positives(7, count), &mut scores);
    for (rule, score) in &scores {
        assert_eq!(score.positives, 30, "{rule}");
        assert!(100 * score.found >= 99 * score.positives, "{rule}: {:?}", score.examples);
    }
}

/// No rule finds something in more than one of a thousand lines in which there is nothing.
#[test]
fn false_alarms_of_every_kind() {
    const LINES: usize = 8_000;
    let mut scores = Scores::new();
    measure::false_alarms(8, LINES, &mut scores);
    for (rule, score) in &scores {
        assert!(1000 * score.false_alarms <= LINES, "{rule}: {:?}", score.examples);
    }
}

#[test]
fn every_rule_is_named_and_every_structured_one_measured() {
    let measured: HashSet<&str> = corpus::kinds().iter().map(|kind| kind.rule).collect();
    let mut tokens = 0;
    for (name, class) in scan::built_in() {
        assert!(SCANNERS.contains(&format!("| `{name}` |")), "SCANNERS.md does not name {name}");
        match class {
            Class::Secrets | Class::PersonalData => {
                assert!(measured.contains(name), "no positives are made for {name}");
                tokens += usize::from(class == Class::Secrets);
            }
            Class::HiddenCharacters | Class::Injection | Class::DangerousActions => {}
        }
    }
    assert!(tokens >= 40, "{tokens}");
}

/// The figures of injection are those of these rules.
#[test]
fn figures_of_injection_are_up_to_date() {
    for (guard, name) in [(Guard::ToolCall, "tool_call"), (Guard::ToolList, "tool_list")] {
        let figures = format!("{name}: {}", measure::held_out(guard));
        assert!(SCANNERS.contains(&figures), "SCANNERS.md should say {figures}");
    }
}
