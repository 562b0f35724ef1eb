//! What deploy/ tells operators, held to the code: a heading per reason and per alert and none left over, what clients
//! are told, and only figures, settings and log lines that there are.
#![expect(clippy::unwrap_used, reason = "the files are the repository's own")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use gateway_core::reason::Reason;
use gateway_core::record::ActionType;

const RUNBOOK: &str = include_str!("../../../deploy/RUNBOOK.md");
const ALERTS: &str = include_str!("../../../deploy/alerts.yaml");
const DASHBOARD: &str = include_str!("../../../deploy/dashboard.json");
const SETTINGS: &str = include_str!("../../../config/gateway.toml");

/// The headings of a part with the text below them, on one line.
fn sections(part: &str) -> Vec<(String, String)> {
    let (_, rest) = RUNBOOK.split_once(&format!("\n## {part}\n")).unwrap();
    let text = rest.split("\n## ").next().unwrap();
    let section = |text: &str| {
        let (heading, below) = text.split_once('\n').unwrap();
        (heading.to_owned(), flat(below))
    };
    text.split("\n### ").skip(1).map(section).collect()
}

fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Every Rust file below gateway/ but tests, in one text.
fn source(folder: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut folders: Vec<PathBuf> = vec![root.join(folder)];
    let mut text = String::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("tests") {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                text.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
    text
}

/// What stands between two marks, wherever it does.
fn between<'a>(text: &'a str, begin: &str, end: char) -> BTreeSet<&'a str> {
    text.split(begin).skip(1).filter_map(|rest| rest.split(end).next()).collect()
}

/// Words of lower-case letters and underscores that begin so.
fn words<'a>(text: &'a str, begin: &str) -> BTreeSet<&'a str> {
    let parts = text.split(|c: char| !c.is_ascii_lowercase() && c != '_');
    parts.filter(|word| word.starts_with(begin)).collect()
}

#[test]
fn every_reason_has_its_heading_and_what_clients_are_told() {
    let sections = sections("Reasons");
    let reasons: Vec<Reason> = Reason::ALL.into_iter().chain([Reason::Internal]).collect();
    let headings: Vec<&str> = sections.iter().map(|(heading, _)| heading.as_str()).collect();
    assert_eq!(headings, reasons.iter().map(|reason| reason.as_str()).collect::<Vec<_>>());
    for (reason, (_, below)) in reasons.into_iter().zip(&sections) {
        let recorded = match ActionType::of_refusal(reason) {
            Some(action) => format!("as `{}`", action.as_str()),
            None => "as the call's own event".to_owned(),
        };
        let (status, code, message) = (reason.status(), reason.code(), reason.message());
        let told = format!(
            "- **Client:** {status}, {code}, \"{message}\"; recorded {recorded} - **Means:**"
        );
        assert!(below.starts_with(&told), "{reason}: expected {told}\nfound {below}");
    }
}

#[test]
fn every_alert_has_its_heading() {
    let headings: Vec<String> =
        sections("Alerts").into_iter().map(|(heading, _)| heading).collect();
    let alerts: Vec<&str> =
        ALERTS.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 10, "{alerts:?}");
    assert_eq!(headings, alerts);
}

#[test]
fn every_heading_says_what_it_means_where_to_look_and_what_to_do() {
    for (heading, below) in sections("Alerts").into_iter().chain(sections("Reasons")) {
        for part in ["- **Means:** ", " - **Look:** ", " - **Do:** "] {
            assert_eq!(below.matches(part).count(), 1, "{heading}: {part}");
        }
    }
}

#[test]
fn figures_settings_and_log_lines_are_those_of_the_code() {
    let telemetry = source("gateway/server/src/telemetry");
    for text in [RUNBOOK, ALERTS, DASHBOARD] {
        let figures = words(text, "gateway_");
        assert!(figures.len() > 5, "{figures:?}");
        for figure in figures {
            let name = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| figure.strip_suffix(end))
                .unwrap_or(figure);
            assert!(telemetry.contains(&format!("\"{name}\"")), "there is no figure {figure}");
        }
    }
    let (runbook, code) = (flat(RUNBOOK), source("gateway"));
    let said = between(&runbook, "og: \"", '"');
    assert!(said.len() > 5, "{said:?}");
    for line in said {
        assert!(code.contains(line), "nothing logs \"{line}\"");
    }
    let mut section = "";
    let mut settings = BTreeSet::new();
    for line in SETTINGS.lines() {
        let line = line.trim_start_matches("# ");
        match line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            Some(name) => section = name,
            None => drop(settings.insert(format!("{section}.{}", line.split(' ').next().unwrap()))),
        }
    }
    let named = between(&runbook, "`", '`').into_iter().filter(|word| {
        let known = word
            .split_once('.')
            .is_some_and(|(section, _)| SETTINGS.contains(&format!("\n[{section}]\n")));
        known && words(word, "").len() == 2
    });
    let mut checked = 0;
    for setting in named {
        assert!(settings.contains(setting), "there is no setting {setting}");
        checked += 1;
    }
    assert!(checked > 5, "only {checked} settings were found");
}
