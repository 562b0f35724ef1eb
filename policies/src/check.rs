//! From what was written to what is meant: every field of a structured policy is checked here, and all
//! that is wrong is said at once.

use gateway_core::Timestamp;
use gateway_core::decision::Approver;
use gateway_core::ids::Slug;
use ipnet::IpNet;

use crate::condition::Condition;
use crate::glob::{Glob, code, hidden_character};
use crate::operators;
use crate::spec::{ConditionSpec, PolicySpec, Problem};
use crate::times;

const MAX_NAME: usize = 200;
const MAX_MESSAGE: usize = 2000;
const MAX_PATTERNS: usize = 1000;
const MAX_CONDITIONS: usize = 50;
const PRINCIPALS: &str =
    "user:EMAIL, group:NAME, role:NAME, agent:NAME, attribute:NAME=VALUE or everyone";

/// A structured policy, checked.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) effect: Effect,
    pub(crate) principals: Vec<Principal>,
    /// `None`: every server.
    pub(crate) server: Option<Slug>,
    /// Patterns for tools, resources and prompts; all three `None`: everything.
    pub(crate) patterns: [Option<Vec<Glob>>; 3],
    pub(crate) when: Vec<Condition>,
    /// From then on it counts for nothing.
    pub(crate) until: Option<Timestamp>,
}

/// What a statement does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    Allow,
    Deny,
    Confirm(Approver),
}

/// Whom a policy is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Principal {
    Everyone,
    User(String),
    Group(String),
    Role(String),
    Agent(String),
    /// A person's attribute, and a value that is among its own.
    Attribute(String, String),
}

/// Collects what is wrong with one policy.
pub(crate) struct Problems<'a> {
    policy: &'a str,
    found: &'a mut Vec<Problem>,
}

impl<'a> Problems<'a> {
    pub(crate) fn of(policy: &'a str, found: &'a mut Vec<Problem>) -> Problems<'a> {
        Problems { policy, found }
    }

    /// Notes a problem; gives `None` so that it can end an expression.
    pub(crate) fn expect<T>(
        &mut self,
        field: impl Into<String>,
        expected: impl Into<String>,
    ) -> Option<T> {
        let problem =
            Problem { policy: self.policy.into(), field: field.into(), expected: expected.into() };
        self.found.push(problem);
        None
    }
}

/// Checks name and message, which both kinds of policy have.
pub(crate) fn check_labels(spec: &PolicySpec, problems: &mut Problems<'_>) {
    let visible = |text: &str, max: usize| {
        !text.trim().is_empty() && text.chars().count() <= max && hidden_character(text).is_none()
    };
    if !visible(&spec.name, MAX_NAME) {
        let _: Option<()> =
            problems.expect("name", format!("1 to {MAX_NAME} characters, none of them invisible"));
    }
    let flat = |text: &String| text.replace('\n', " ");
    if spec.message.as_ref().is_some_and(|message| !visible(&flat(message), MAX_MESSAGE)) {
        let _: Option<()> = problems
            .expect("message", format!("1 to {MAX_MESSAGE} characters, none of them invisible"));
    }
}

/// Checks a structured policy. `None` when there is a problem.
pub(crate) fn check_rule(spec: &PolicySpec, problems: &mut Problems<'_>) -> Option<Rule> {
    let effect = effect(spec, problems);
    let principals = principals(spec, problems);
    let server = server(spec, problems);
    let tools = patterns("tools", spec.tools.as_deref(), problems);
    let resources = patterns("resources", spec.resources.as_deref(), problems);
    let prompts = patterns("prompts", spec.prompts.as_deref(), problems);
    let until = until(spec, problems);
    if spec.when.len() > MAX_CONDITIONS {
        return problems.expect("when", format!("at most {MAX_CONDITIONS} conditions"));
    }
    let when: Vec<Option<Condition>> = spec
        .when
        .iter()
        .enumerate()
        .map(|(i, written)| condition(&format!("when[{i}]"), written, problems))
        .collect();
    Some(Rule {
        effect: effect?,
        principals: principals?,
        server: server?,
        patterns: [tools?, resources?, prompts?],
        when: when.into_iter().collect::<Option<_>>()?,
        until: until?,
    })
}

fn effect(spec: &PolicySpec, problems: &mut Problems<'_>) -> Option<Effect> {
    let by = match &spec.by {
        None => Approver::Caller,
        Some(text) => match Approver::try_from(text.clone()) {
            Ok(by) if hidden_character(text).is_none() => by,
            _ => return problems.expect("by", "caller, group:NAME or user:EMAIL"),
        },
    };
    match spec.effect.as_deref() {
        Some("confirm") => Some(Effect::Confirm(by)),
        Some("allow" | "deny") if spec.by.is_some() => {
            problems.expect("by", "nothing: only effect = \"confirm\" has it")
        }
        Some("allow") => Some(Effect::Allow),
        Some("deny") => Some(Effect::Deny),
        _ => problems.expect("effect", "allow, deny or confirm (or the whole policy in cedar)"),
    }
}

fn principals(spec: &PolicySpec, problems: &mut Problems<'_>) -> Option<Vec<Principal>> {
    let written = spec.principals.as_deref().unwrap_or_default();
    if written.is_empty() || written.len() > MAX_PATTERNS {
        return problems.expect("principals", format!("a list of {PRINCIPALS}"));
    }
    let read: Vec<Option<Principal>> = written
        .iter()
        .enumerate()
        .map(|(i, text)| match principal(text) {
            Ok(principal) => Some(principal),
            Err(expected) => problems.expect(format!("principals[{i}]"), expected),
        })
        .collect();
    let mut read = read.into_iter().collect::<Option<Vec<_>>>()?;
    read.sort();
    read.dedup();
    if read.contains(&Principal::Everyone) {
        read = vec![Principal::Everyone];
    }
    Some(read)
}

/// Reads one entry of `principals`, or says what was expected.
pub(crate) fn principal(text: &str) -> Result<Principal, String> {
    use gateway_core::caller::Role;
    if let Some(c) = hidden_character(text) {
        return Err(format!("a name without the invisible character {}", code(c)));
    }
    match text.split_once(':') {
        None if text == "everyone" => Ok(Principal::Everyone),
        Some(("user", email)) if email.contains('@') => Ok(Principal::User(email.to_lowercase())),
        Some(("group", name)) if !name.is_empty() => Ok(Principal::Group(name.into())),
        Some(("role", name)) if Role::parse(name).is_some() => Ok(Principal::Role(name.into())),
        Some(("role", _)) => {
            Err(format!("role: and one of {}", Role::ALL.map(Role::as_str).join(", ")))
        }
        Some(("agent", name)) if !name.is_empty() => Ok(Principal::Agent(name.into())),
        Some(("attribute", test)) => attribute(test),
        _ => Err(PRINCIPALS.into()),
    }
}

/// The first `=` parts name and value: names have none.
fn attribute(test: &str) -> Result<Principal, String> {
    match test.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() && !value.trim().is_empty() => {
            Ok(Principal::Attribute(name.into(), value.into()))
        }
        _ => Err("attribute:NAME=VALUE, for instance attribute:department=finance".into()),
    }
}

fn server(spec: &PolicySpec, problems: &mut Problems<'_>) -> Option<Option<Slug>> {
    match spec.server.as_deref() {
        Some("*") => Some(None),
        Some(text) => match text.parse() {
            Ok(slug) => Some(Some(slug)),
            Err(_) => problems.expect("server", "a server's slug, or \"*\" for every server"),
        },
        None => problems.expect("server", "a server's slug, or \"*\" for every server"),
    }
}

fn until(spec: &PolicySpec, problems: &mut Problems<'_>) -> Option<Option<Timestamp>> {
    let Some(text) = &spec.until else { return Some(None) };
    match times::instant(text) {
        Some(at) => Some(Some(at)),
        None => problems.expect("until", "an instant, RFC 3339, as 2026-01-31T12:00:00Z"),
    }
}

fn patterns(
    field: &str,
    written: Option<&[String]>,
    problems: &mut Problems<'_>,
) -> Option<Option<Vec<Glob>>> {
    let Some(written) = written else { return Some(None) };
    if written.is_empty() || written.len() > MAX_PATTERNS {
        return problems.expect(field, format!("1 to {MAX_PATTERNS} patterns"));
    }
    let read: Vec<Option<Glob>> = written
        .iter()
        .enumerate()
        .map(|(i, text)| match Glob::parse(text) {
            Ok(glob) => Some(glob),
            Err(expected) => problems.expect(format!("{field}[{i}]"), expected),
        })
        .collect();
    read.into_iter().collect::<Option<_>>().map(Some)
}

fn condition(
    field: &str,
    written: &ConditionSpec,
    problems: &mut Problems<'_>,
) -> Option<Condition> {
    let ConditionSpec { arg, op, value, client, ip, annotation, is, time, offset } = written;
    let subjects = [arg, client, ip, annotation, time];
    if subjects.iter().filter(|subject| subject.is_some()).count() != 1 {
        return problems.expect(field, "exactly one of arg, client, ip, annotation and time");
    }
    let companions = [
        ("op", op.is_some(), "arg", arg.is_some()),
        ("value", value.is_some(), "arg", arg.is_some()),
        ("is", is.is_some(), "annotation", annotation.is_some()),
        ("offset", offset.is_some(), "time", time.is_some()),
    ];
    for (companion, written, subject, there) in companions {
        if written && !there {
            let expected = format!("nothing: it goes with {subject}");
            return problems.expect(format!("{field}.{companion}"), expected);
        }
    }
    let read = if arg.is_some() {
        operators::argument(written)
    } else if let Some(text) = client {
        Glob::parse(text).map(Condition::Client).map_err(|expected| ("client", expected))
    } else if let Some(text) = ip {
        network(text).map(Condition::Ip).map_err(|expected| ("ip", expected))
    } else if let Some(text) = annotation {
        annotation_of(text, is.unwrap_or(true))
    } else {
        times::span(time.as_deref().unwrap_or_default(), offset.as_deref()).map(Condition::Time)
    };
    match read {
        Ok(condition) => Some(condition),
        Err((companion, expected)) => problems.expect(format!("{field}.{companion}"), expected),
    }
}

fn network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse().map(|ip: std::net::IpAddr| IpNet::from(ip.to_canonical()));
    text.parse::<IpNet>()
        .map(|net| net.trunc())
        .or_else(|_| address())
        .map_err(|_| "an address or a range such as 10.0.0.0/8".into())
}

fn annotation_of(text: &str, is: bool) -> Result<Condition, (&'static str, String)> {
    let plain = !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_graphic());
    if plain {
        Ok(Condition::Annotation { name: text.into(), is })
    } else {
        Err(("annotation", "an annotation's name, for instance destructiveHint".into()))
    }
}
