//! Structured policies as Cedar text, the form that is validated, evaluated and shown to people.

use std::fmt::Write;

use gateway_core::decision::Approver;

use crate::check::{Effect, Principal, Rule};
use crate::condition::Side;
use crate::glob::Glob;
use crate::statement::TargetKind;
use crate::times;

/// The Cedar text of a rule.
pub(crate) fn cedar_text(name: &str, message: Option<&str>, rule: &Rule) -> String {
    let mut text = format!("@name({})\n", literal(name));
    let keyword = match &rule.effect {
        Effect::Allow => "permit",
        Effect::Deny => "forbid",
        Effect::Confirm(by) => {
            let message = message.unwrap_or_default();
            let by = String::from(by.clone());
            push(
                &mut text,
                format_args!("@confirm({})\n@by({})\n", literal(message), literal(&by)),
            );
            "forbid"
        }
    };
    if let (Some(message), Effect::Allow | Effect::Deny) = (message, &rule.effect) {
        push(&mut text, format_args!("@message({})\n", literal(message)));
    }
    push(
        &mut text,
        format_args!(
            "{keyword} (\n  {},\n  {},\n  {}\n)",
            principal(rule),
            action(rule),
            resource(rule)
        ),
    );
    if !fits_scope(&rule.principals) {
        let any: Vec<_> = rule.principals.iter().map(principal_test).collect();
        push(&mut text, format_args!("\nwhen {{ {} }}", any.join(" || ")));
    }
    if let Some(names) = names(rule) {
        push(&mut text, format_args!("\nwhen {{ {names} }}"));
    }
    for condition in &rule.when {
        let key = literal(&held_key(rule.effect.side(), &condition.text()));
        push(&mut text, format_args!("\nwhen {{ context.held.contains({key}) }}"));
    }
    if let Some(until) = rule.until {
        let until = literal(&times::cedar(until));
        push(&mut text, format_args!("\nwhen {{ context.now < datetime({until}) }}"));
    }
    if matches!(rule.effect, Effect::Confirm(_)) {
        text.push_str("\nunless { context.confirmed }");
    }
    text.push(';');
    text
}

/// The name under which a condition that holds is found in `context.held`. It differs by side, because
/// a value of the wrong type counts for one and not for the other.
pub(crate) fn held_key(side: Side, condition: &str) -> String {
    match side {
        Side::Allow => condition.to_owned(),
        Side::Deny => format!("{condition}, or in doubt"),
    }
}

impl Effect {
    /// What counts in doubt.
    pub(crate) fn side(&self) -> Side {
        match self {
            Effect::Allow => Side::Allow,
            Effect::Deny | Effect::Confirm(_) => Side::Deny,
        }
    }

    /// `allow`, `deny` or `confirm`.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Effect::Allow => "allow",
            Effect::Deny => "deny",
            Effect::Confirm(_) => "confirm",
        }
    }

    /// Who must agree.
    pub(crate) fn approver(&self) -> Option<&Approver> {
        match self {
            Effect::Confirm(by) => Some(by),
            Effect::Allow | Effect::Deny => None,
        }
    }
}

/// Writing to a `String` cannot fail.
fn push(text: &mut String, piece: std::fmt::Arguments<'_>) {
    let _ = text.write_fmt(piece);
}

fn principal(rule: &Rule) -> String {
    match rule.principals.as_slice() {
        [Principal::Everyone] => "principal".into(),
        [one] if fits_scope(&rule.principals) => principal_test(one),
        _ => "principal".into(),
    }
}

/// A scope holds one name; several, and attributes, are tested for.
fn fits_scope(principals: &[Principal]) -> bool {
    matches!(principals, [one] if !matches!(one, Principal::Attribute(..)))
}

fn principal_test(principal: &Principal) -> String {
    match principal {
        Principal::Everyone => "true".into(),
        Principal::User(email) => format!("principal == User::{}", literal(email)),
        Principal::Group(name) => format!("principal in Group::{}", literal(name)),
        Principal::Role(name) => format!("principal in Role::{}", literal(name)),
        Principal::Agent(name) => format!("principal == Agent::{}", literal(name)),
        Principal::Attribute(name, value) => {
            let (name, value) = (literal(name), literal(value));
            format!(
                "(principal.attributes.hasTag({name}) && \
                 principal.attributes.getTag({name}).contains({value}))"
            )
        }
    }
}

/// The kinds of targets that a rule speaks of.
pub(crate) fn kinds(rule: &Rule) -> [bool; 3] {
    let [tools, resources, prompts] = &rule.patterns;
    let named = [tools.is_some(), resources.is_some(), prompts.is_some()];
    if named.contains(&true) { named } else { [true; 3] }
}

fn action(rule: &Rule) -> String {
    let kinds = kinds(rule);
    let named = TargetKind::ALL.into_iter().filter(|kind| kinds[*kind as usize]);
    let actions: Vec<_> = named.map(|kind| format!("Action::\"{}\"", kind.action())).collect();
    match actions.as_slice() {
        [one] => format!("action == {one}"),
        [_, _] => format!("action in [{}]", actions.join(", ")),
        _ if rule.patterns.iter().all(Option::is_none) => "action".into(),
        _ => format!("action in [{}]", actions.join(", ")),
    }
}

fn resource(rule: &Rule) -> String {
    match &rule.server {
        Some(slug) => format!("resource in Server::{}", literal(slug.as_str())),
        None => "resource".into(),
    }
}

fn names(rule: &Rule) -> Option<String> {
    let kinds = TargetKind::ALL.into_iter().zip(&rule.patterns);
    let named: Vec<_> = kinds.filter_map(|(k, p)| p.as_deref().map(|p| (k, p))).collect();
    match named.as_slice() {
        [] => None,
        [(_, patterns)] => Some(any_name(patterns)),
        several => {
            let tests = several.iter().map(|(kind, patterns)| {
                format!("(resource is {} && ({}))", kind.entity_type(), any_name(patterns))
            });
            Some(tests.collect::<Vec<_>>().join(" || "))
        }
    }
}

fn any_name(patterns: &[Glob]) -> String {
    let tests = patterns.iter().map(|glob| {
        let operator = if glob.has_star() { "like" } else { "==" };
        format!("resource.name {operator} {}", literal(glob.as_str()))
    });
    tests.collect::<Vec<_>>().join(" || ")
}

/// A Cedar string literal; a `*` in it is a wildcard where Cedar expects a pattern.
pub(crate) fn literal(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => push(&mut out, format_args!("\\u{{{:x}}}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
