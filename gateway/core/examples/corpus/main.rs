//! Measures what the scanners find in a corpus of its own making: `cargo run --release -p gateway-core --example corpus`.
//!
//! `measure [POSITIVES [LINES]]` prints the table of SCANNERS.md. `injection` measures the held-out texts. `write DIR
//! [POSITIVES [LINES]]` writes the corpus as files, for scanners of others. `files PATH...` says what is found in files. `rules` names every rule.
#![expect(clippy::unwrap_used, reason = "a program for developers")]
#![expect(clippy::print_stdout, reason = "a program for developers")]

#[path = "mod.rs"]
mod corpus;

use corpus::measure::{self, Scores};
use corpus::random::Random;
use corpus::{benign, positives};
use gateway_core::scan::Guard;

/// The corpus of SCANNERS.md.
const SEED: u64 = 2026;
const POSITIVES: usize = 10_000;
const LINES: usize = 100_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let count = |i: usize, default| words.get(i).map_or(default, |word| word.parse().unwrap());
    match words.first() {
        None | Some(&"measure") => table(count(1, POSITIVES), count(2, LINES)),
        Some(&"write") => write(words[1], count(2, POSITIVES), count(3, LINES)),
        Some(&"injection") => injection(words.contains(&"missed")),
        Some(&"files") => files(&words[1..]),
        Some(&"rules") => rules(),
        Some(other) => panic!("{other}: expected measure, injection, write, files or rules"),
    }
}

fn table(count: usize, lines: usize) {
    let mut scores = Scores::new();
    measure::recall(&positives(SEED, count), &mut scores);
    measure::false_alarms(SEED + 1, lines, &mut scores);
    println!(
        "| rule | positives | found | recall | false alarms | of {lines} lines |\n|---|---|---|---|---|---|"
    );
    for (rule, score) in &scores {
        let recall = 100.0 * score.found as f64 / score.positives.max(1) as f64;
        let recall = if score.positives == 0 { "-".to_owned() } else { format!("{recall:.1} %") };
        let share = 100.0 * score.false_alarms as f64 / lines as f64;
        println!(
            "| {rule} | {} | {} | {recall} | {} | {share:.3} % |",
            score.positives, score.found, score.false_alarms
        );
    }
    for (rule, score) in &scores {
        for example in &score.examples {
            println!("{rule}: {example}");
        }
    }
}

/// How well rules for injection do on texts in other words than theirs, as a definition and as a result.
fn injection(show: bool) {
    for (name, guard) in [("tool_call", Guard::ToolCall), ("tool_list", Guard::ToolList)] {
        let score = measure::held_out(guard);
        println!("{name}: {score}");
        for text in score.missed.iter().chain(&score.alarms).filter(|_| show) {
            println!("    {text}");
        }
    }
}

/// One file a positive, since some have several lines; what must be found where stands in `labels.tsv`.
fn write(dir: &str, count: usize, lines: usize) {
    let dir = std::path::Path::new(dir);
    std::fs::create_dir_all(dir.join("positives")).unwrap();
    let mut labels = String::new();
    for (i, positive) in positives(SEED, count).into_iter().enumerate() {
        std::fs::write(dir.join(format!("positives/{i:05}.txt")), format!("{}\n", positive.text))
            .unwrap();
        let found = measure::look(Guard::ToolCall, &positive.text);
        let ours = found.iter().any(|found| *found.rule == *positive.rule);
        labels.push_str(&format!("{i:05}\t{}\t{}\n", positive.rule, u8::from(ours)));
    }
    std::fs::write(dir.join("labels.tsv"), labels).unwrap();
    let mut r = Random::new(SEED + 1);
    let text: String = (0..lines).map(|_| benign::line(&mut r) + "\n").collect();
    std::fs::write(dir.join("benign.txt"), text).unwrap();
}

fn rules() {
    for (name, class) in gateway_core::scan::built_in() {
        println!("{name}:{}", class.as_str());
    }
}

/// Finds in files line by line, as a count by rule and a few examples.
fn files(paths: &[&str]) {
    let mut scores = Scores::new();
    let mut lines = 0;
    for path in paths {
        let Ok(text) = std::fs::read(path) else { continue };
        for line in String::from_utf8_lossy(&text).lines() {
            lines += 1;
            for found in [Guard::ToolIntent, Guard::ToolCall]
                .into_iter()
                .flat_map(|guard| measure::look(guard, line))
            {
                let score = scores.entry(found.rule.to_string()).or_default();
                score.false_alarms += 1;
                if score.examples.len() < 6 {
                    score.examples.push(found.plain.chars().take(120).collect());
                }
            }
        }
    }
    println!("{lines} lines");
    for (rule, score) in &scores {
        println!("{rule}: {} {:?}", score.false_alarms, score.examples);
    }
}
