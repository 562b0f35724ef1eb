//! Puts the file and the environment together; every problem names file and line, or the variable.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use gateway_core::located::{Problem, line_of, nearest, unknown_key};
use secrecy::SecretString;
use toml::de::{DeTable, DeValue};

use super::section::{Section, names};
use super::setting::Fault;
use super::validate::validate;
use super::{Config, Refused, each_section};

const PREFIX: &str = "GATEWAY__";

macro_rules! section_names {
    ($($section:ident),+) => { &[$(stringify!($section)),+] };
}
const SECTIONS: &[&str] = each_section!(section_names);

/// Where each key that was given stands: file or variable, and line.
pub(super) struct Places {
    file: String,
    known: HashMap<String, (String, Option<usize>)>,
}

impl Places {
    pub(super) fn problem(&self, key: &str, message: impl Into<String>) -> Problem {
        let (place, line) =
            self.known.get(key).cloned().unwrap_or_else(|| (self.file.clone(), None));
        Problem { place, line, key: key.to_owned(), message: message.into() }
    }
}

pub(super) fn load(
    path: &Path,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Config, Refused> {
    let file = path.display().to_string();
    let whole = |line, message: String| {
        Refused(vec![Problem { place: file.clone(), line, key: String::new(), message }])
    };
    let text = std::fs::read_to_string(path)
        .map_err(|error| whole(None, format!("cannot be read: {error}")))?;
    let table = DeTable::parse(&text).map_err(|error| {
        let line = error.span().map(|span| line_of(&text, span.start));
        whole(line, error.message().to_owned())
    })?;
    let mut loading = Loading {
        config: Config::default(),
        places: Places { file, known: HashMap::new() },
        problems: Vec::new(),
        text: &text,
    };
    loading.read_file(table.get_ref());
    let mut variables: Vec<_> =
        environment.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
    variables.sort();
    for (name, value) in variables {
        loading.read_variable(&name, &value);
    }
    loading.read_secrets();
    loading.problems.extend(validate(&loading.config, &loading.places));
    if loading.problems.is_empty() {
        return Ok(loading.config);
    }
    loading.problems.sort_by_key(|problem| problem.line);
    Err(Refused(loading.problems))
}

struct Loading<'a> {
    config: Config,
    places: Places,
    problems: Vec<Problem>,
    text: &'a str,
}

impl Loading<'_> {
    fn read_file(&mut self, table: &DeTable<'_>) {
        for (name, value) in table.iter() {
            let line = line_of(self.text, name.span().start);
            let section = name.get_ref().as_ref();
            let Some(keys) = value.get_ref().as_table() else {
                self.at_line(line, section, "expected a section such as [server]".into());
                continue;
            };
            macro_rules! dispatch {
                ($($name:ident),+) => {
                    match section {
                        $( stringify!($name) => {
                            let mut read = std::mem::take(&mut self.config.$name);
                            self.read_section(section, &mut read, keys);
                            self.config.$name = read;
                        } )+
                        _ => self.at_line(line, section, unknown_section(section)),
                    }
                };
            }
            each_section!(dispatch);
        }
    }

    fn read_section<S: Section>(&mut self, section: &str, into: &mut S, keys: &DeTable<'_>) {
        for (name, value) in keys.iter() {
            let key = format!("{section}.{}", name.get_ref());
            let line = line_of(self.text, name.span().start);
            self.places.known.insert(key.clone(), (self.places.file.clone(), Some(line)));
            match into.set(name.get_ref(), value.get_ref()) {
                Some(Ok(())) => {}
                Some(Err(fault)) => {
                    let line = fault.at.map_or(line, |at| line_of(self.text, at));
                    self.at_line(line, &format!("{key}{}", fault.below), fault.message);
                }
                None => self.at_line(line, &key, unknown_key(name.get_ref(), &names::<S>())),
            }
        }
    }

    fn at_line(&mut self, line: usize, key: &str, message: String) {
        let place = self.places.file.clone();
        self.problems.push(Problem { place, line: Some(line), key: key.into(), message });
    }

    fn read_variable(&mut self, variable: &str, text: &str) {
        let lower = variable[PREFIX.len()..].to_lowercase();
        let (section, key) = lower.split_once("__").unwrap_or((&lower, ""));
        let path = format!("{section}.{key}");
        self.places.known.insert(path.clone(), (format!("environment {variable}"), None));
        macro_rules! dispatch {
            ($($name:ident),+) => {
                match section {
                    $( stringify!($name) => {
                        let set = self.config.$name.set_text(key, text);
                        Some((set, names_of(&self.config.$name)))
                    } )+
                    _ => None,
                }
            };
        }
        let message = match each_section!(dispatch) {
            Some((Some(Ok(())), _)) => return,
            Some((Some(Err(Fault { below, message, .. })), _)) if below.is_empty() => message,
            Some((Some(Err(Fault { below, message, .. })), _)) => format!("{below}: {message}"),
            Some((None, known)) => match nearest(key, &known) {
                Some(near) => format!(
                    "unknown key; did you mean {PREFIX}{}__{}?",
                    section.to_uppercase(),
                    near.to_uppercase()
                ),
                None => unknown_key(key, &known),
            },
            None => unknown_section(section),
        };
        self.problems.push(self.places.problem(&path, message));
    }

    /// Reads the files that `*_file` keys of secrets name.
    fn read_secrets(&mut self) {
        let Config { database, telemetry, sign_in, scim, notices, scanner, .. } = &mut self.config;
        let mut pairs: Vec<(String, &mut Option<SecretString>, &Option<PathBuf>)> = vec![
            ("scim.token".into(), &mut scim.token, &scim.token_file),
            ("scanner.token".into(), &mut scanner.token, &scanner.token_file),
            (
                "notices.webhook_secret".into(),
                &mut notices.webhook_secret,
                &notices.webhook_secret_file,
            ),
            (
                "notices.smtp_password".into(),
                &mut notices.smtp_password,
                &notices.smtp_password_file,
            ),
            ("database.url".into(), &mut database.url, &database.url_file),
            ("database.migrate_url".into(), &mut database.migrate_url, &database.migrate_url_file),
            (
                "telemetry.otlp_authorization".into(),
                &mut telemetry.otlp_authorization,
                &telemetry.otlp_authorization_file,
            ),
        ];
        pairs.extend(sign_in.providers.iter_mut().enumerate().map(|(index, provider)| {
            let key = format!("sign_in.providers[{index}].client_secret");
            (key, &mut provider.client_secret, &provider.client_secret_file)
        }));
        for (key, secret, file) in pairs {
            let Some(path) = file else { continue };
            let file_key = format!("{key}_file");
            if secret.is_some() {
                let message = format!("both this and {key} are set; keep one");
                self.problems.push(self.places.problem(&file_key, message));
                continue;
            }
            match std::fs::read_to_string(path) {
                Ok(text) if !text.trim().is_empty() => *secret = Some(text.trim_end().into()),
                Ok(_) => {
                    let message = format!("{} is empty", path.display());
                    self.problems.push(self.places.problem(&file_key, message));
                }
                Err(error) => {
                    let message = format!("{} cannot be read: {error}", path.display());
                    self.problems.push(self.places.problem(&file_key, message));
                }
            }
        }
    }
}

fn names_of<S: Section>(_section: &S) -> Vec<&'static str> {
    names::<S>()
}

fn unknown_section(section: &str) -> String {
    match nearest(section, SECTIONS) {
        Some(near) => format!("unknown section; did you mean [{near}]?"),
        None => format!("unknown section; known are {}", SECTIONS.join(", ")),
    }
}

/// A section that stands in an array.
macro_rules! table_setting {
    ($($section:ty, $expected:literal;)+) => {$(
        impl super::setting::Setting for $section {
            const EXPECTED: &'static str = $expected;
            fn read(value: &DeValue<'_>) -> Result<Self, Fault> {
                let table = value.as_table();
                let table = table.ok_or_else(|| Fault::new(concat!("expected ", $expected)))?;
                super::section::read_table(table)
            }
            fn show(&self) -> Option<String> {
                let values = self.shown();
                let pairs = Self::KEYS.iter().zip(values);
                let pairs = pairs.filter_map(|(key, value)| Some(format!("{} = {}", key.name, value?)));
                Some(format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", ")))
            }
        }
    )+};
}

table_setting! {
    super::Issuer, "a table with issuer and audience";
    super::AssertionIssuer, "a table with issuer and, where discovery does not find its keys, jwks_url";
    super::Provider, "a table with name, issuer and client_id";
}
