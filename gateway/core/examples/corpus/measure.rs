//! What is found of a corpus, rule by rule.

use std::collections::BTreeMap;

use gateway_core::json::write_string;
use gateway_core::scan::{Class, Detectors, Found, Guard, Mode, Modes, message};

use super::random::Random;
use super::{Positive, benign};

/// What came of one rule.
#[derive(Debug, Default, Clone)]
pub(crate) struct Score {
    pub(crate) positives: usize,
    pub(crate) found: usize,
    /// Lines in which it found something that is not there.
    pub(crate) false_alarms: usize,
    /// A few of what was missed, and of the false alarms.
    pub(crate) examples: Vec<String>,
}

pub(crate) type Scores = BTreeMap<String, Score>;

/// What a guard finds in a text, all classes.
pub(crate) fn look(guard: Guard, text: &str) -> Vec<Found> {
    let mut message = String::from("{\"content\":[{\"type\":\"text\",\"text\":");
    write_string(text, &mut message);
    message.push_str("}]}");
    let mut modes = Modes::default();
    for class in Class::ALL {
        modes.set(guard, class, Mode::Mask);
    }
    message::read(&Detectors::built_in(), guard, &modes, &message)
}

/// Found is what its own rule finds, from the first character to the last.
pub(crate) fn recall(positives: &[Positive], scores: &mut Scores) {
    for positive in positives {
        let found = look(Guard::ToolCall, &positive.text);
        let is_it = |found: &Found| {
            *found.rule == *positive.rule && trimmed(&found.plain) == trimmed(&positive.value)
        };
        let score = scores.entry(positive.rule.to_owned()).or_default();
        score.positives += 1;
        if found.iter().any(is_it) {
            score.found += 1;
        } else if score.examples.len() < 4 {
            let instead: Vec<_> =
                found.iter().map(|f| format!("{}={:?}", f.rule, f.plain)).collect();
            score.examples.push(format!("missed in {:?}, found {instead:?}", positive.text));
        }
    }
}

/// A full stop and ends of lines may be the sentence's.
fn trimmed(text: &str) -> &str {
    text.trim_end_matches(['.', '\n'])
}

/// Every line is looked at as what a client sends and as what a server sends.
pub(crate) fn false_alarms(seed: u64, lines: usize, scores: &mut Scores) {
    let mut r = Random::new(seed);
    for _ in 0..lines {
        let line = benign::line(&mut r);
        let mut alarms: Vec<(String, String)> = [Guard::ToolIntent, Guard::ToolCall]
            .into_iter()
            .flat_map(|guard| look(guard, &line))
            .map(|found| (found.rule.to_string(), found.plain))
            .collect();
        alarms.sort();
        alarms.dedup_by(|a, b| a.0 == b.0);
        for (rule, what) in alarms {
            let score = scores.entry(rule).or_default();
            score.false_alarms += 1;
            if score.examples.len() < 8 {
                score.examples.push(format!("false alarm {what:?} in {line:?}"));
            }
        }
    }
}

/// How rules for injection did.
pub(crate) struct HeldOut {
    attacks: usize,
    harmless: usize,
    /// Attacks in which nothing was found.
    pub(crate) missed: Vec<String>,
    /// Harmless texts in which something was, and by which rule.
    pub(crate) alarms: Vec<String>,
}

/// Looks at texts that were written by hand, in other words than the rules, and that no rule was changed for.
pub(crate) fn held_out(guard: Guard) -> HeldOut {
    let texts = |file: &str| -> Vec<String> {
        let lines = file.lines().filter(|line| !line.starts_with("# "));
        lines.map(|line| line.replace("\\n", "\n")).collect()
    };
    let (attacks, harmless) =
        (texts(include_str!("attacks.txt")), texts(include_str!("harmless.txt")));
    let rule = |text: &String| {
        let found = look(guard, text).into_iter().find(|found| found.class == Class::Injection);
        found.map(|found| found.rule.to_string())
    };
    HeldOut {
        attacks: attacks.len(),
        harmless: harmless.len(),
        missed: attacks.iter().filter(|text| rule(text).is_none()).cloned().collect(),
        alarms: harmless
            .iter()
            .filter_map(|text| Some(format!("{}: {text}", rule(text)?)))
            .collect(),
    }
}

impl std::fmt::Display for HeldOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (found, alarms) = (self.attacks - self.missed.len(), self.alarms.len());
        let share = |part: usize, whole: usize| 100.0 * part as f64 / whole.max(1) as f64;
        write!(
            f,
            "{found} of {} attacks found (recall {:.1} %), {alarms} false alarms in {} harmless texts (precision {:.1} %)",
            self.attacks,
            share(found, self.attacks),
            self.harmless,
            share(found, found + alarms),
        )
    }
}
