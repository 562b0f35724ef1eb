//! Prints a configuration: the effective one with secrets hidden, and the commented file of defaults.

use super::section::Section;
use super::{Config, each_section};

const HEAD: &str = "\
# Every key of the gateway's configuration with its default. A key that has none is commented out and
# shows an example. Durations: 500ms, 5s, 10m, 2h; sizes: 64KiB, 4MiB. Every key can be overridden by the
# environment as GATEWAY__SECTION__KEY, for instance GATEWAY__SERVER__LISTEN. Unknown keys are refused.
# `gateway check-config FILE` prints what is in force.
";

pub(super) fn describe(config: &Config) -> String {
    let mut text = String::new();
    macro_rules! sections {
        ($($name:ident),+) => { $( describe_section(&mut text, stringify!($name), &config.$name); )+ };
    }
    each_section!(sections);
    text
}

fn describe_section<S: Section>(text: &mut String, name: &str, section: &S) {
    let gap = if text.is_empty() { "" } else { "\n" };
    text.push_str(&format!("{gap}[{name}]\n"));
    for (key, value) in S::KEYS.iter().zip(section.shown()) {
        if let Some(value) = value {
            text.push_str(&format!("{} = {value}\n", key.name));
        }
    }
}

pub(super) fn template() -> String {
    let config = Config::default();
    let mut text = HEAD.to_owned();
    macro_rules! sections {
        ($($name:ident),+) => { $( template_section(&mut text, stringify!($name), &config.$name); )+ };
    }
    each_section!(sections);
    text
}

fn template_section<S: Section>(text: &mut String, name: &str, section: &S) {
    text.push('\n');
    for line in S::ABOUT {
        text.push_str(&format!("#{line}\n"));
    }
    text.push_str(&format!("[{name}]\n"));
    for (key, value) in S::KEYS.iter().zip(section.shown()) {
        for line in key.comment {
            text.push_str(&format!("#{line}\n"));
        }
        match (value, key.like) {
            (Some(value), None) => text.push_str(&format!("{} = {value}\n", key.name)),
            (Some(value), Some(like)) => {
                text.push_str(&format!("{} = {value}\n# {} = {like}\n", key.name, key.name));
            }
            (None, like) => {
                text.push_str(&format!("# {} = {}\n", key.name, like.unwrap_or("...")));
            }
        }
    }
}
