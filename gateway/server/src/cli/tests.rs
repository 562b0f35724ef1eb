//! What the command line says of itself.

use clap::{CommandFactory, Parser};

use super::arguments::Arguments;

/// Every command that does something, with its path.
fn leaves(command: &clap::Command, path: String, found: &mut Vec<(String, clap::Command)>) {
    let mut below = command.get_subcommands().filter(|sub| sub.get_name() != "help").peekable();
    if below.peek().is_none() {
        found.push((path, command.clone()));
        return;
    }
    for sub in below {
        leaves(sub, format!("{path} {}", sub.get_name()), found);
    }
}

#[test]
fn every_command_is_there_and_shows_an_example_that_parses() {
    let mut found = Vec::new();
    leaves(&Arguments::command(), "gateway".into(), &mut found);
    let names: Vec<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(
        names,
        [
            "gateway serve",
            "gateway migrate",
            "gateway check-config",
            "gateway apply",
            "gateway key create",
            "gateway key list",
            "gateway key revoke",
            "gateway user password",
            "gateway user link",
            "gateway policy test",
            "gateway audit verify",
            "gateway vault rotate",
            "gateway demo",
        ]
    );
    for (path, command) in found {
        let help = command.clone().render_long_help().to_string();
        let example =
            help.split("Example:\n").nth(1).unwrap_or_else(|| panic!("{path}: no example"));
        let words: Vec<&str> = example.split_whitespace().collect();
        assert!(words.join(" ").starts_with(&path), "{path}: {example}");
        Arguments::try_parse_from(words).unwrap_or_else(|error| panic!("{path}: {error}"));
    }
}

#[test]
fn wrong_use_is_exit_code_2() {
    let wrong: [&[&str]; 6] = [
        &["gateway"],
        &["gateway", "fly"],
        &["gateway", "key", "create"],
        &["gateway", "key", "revoke"],
        &["gateway", "apply"],
        &["gateway", "serve", "--config"],
    ];
    for words in wrong {
        let error = Arguments::try_parse_from(words).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{words:?}");
    }
    assert_eq!(Arguments::try_parse_from(["gateway", "--help"]).unwrap_err().exit_code(), 0);
}

#[test]
fn every_cause_is_said_once() {
    let error = anyhow::anyhow!("refused").context("no: refused").context("database");
    assert_eq!(super::explain(&error), "database: no: refused");
}
