//! Raw Cedar: what an operator's own text says, found in its syntax tree.
//!
//! Where arguments or circumstances are not known yet (listings, "is there anything here for me"), a
//! permit loses the clauses that read them and a forbid that reads them is left out: too much may be
//! shown, never too little.

use std::str::FromStr;

use cedar_policy::{
    ActionConstraint, EntityUid, Policy, PolicyId, PrincipalConstraint, ResourceConstraint,
};
use gateway_core::decision::Approver;
use serde_json::Value;

use crate::check::{Effect, Principal, Problems};
use crate::glob::{WITNESS, code, hidden_character};
use crate::spec::PolicySpec;
use crate::statement::{ARGUMENTS, Body, CIRCUMSTANCES, Raw, Statement, TargetKind};

const MAX_CEDAR: usize = 64 * 1024;

/// Reads the statements of a raw policy; `first` is the number of the first one.
pub(crate) fn statements(
    spec: &PolicySpec,
    policy: usize,
    first: usize,
    problems: &mut Problems<'_>,
) -> Option<Vec<Statement>> {
    let text = spec.cedar.as_deref().unwrap_or_default();
    no_other_fields(spec, problems)?;
    if text.len() > MAX_CEDAR {
        return problems.expect("cedar", format!("at most {MAX_CEDAR} bytes"));
    }
    if let Some(c) = hidden_character(&text.replace(['\n', '\r', '\t'], " ")) {
        return problems.expect("cedar", format!("no invisible character ({})", code(c)));
    }
    let set = match cedar_policy::PolicySet::from_str(text) {
        Ok(set) => set,
        Err(error) => return problems.expect("cedar", format!("Cedar policies ({error})")),
    };
    if set.num_of_templates() > 0 || set.is_empty() {
        return problems.expect("cedar", "at least one policy and no templates");
    }
    let read = set.policies().enumerate().map(|(i, parsed)| {
        let parsed = parsed.new_id(PolicyId::new((first + i).to_string()));
        statement(spec, policy, parsed, problems)
    });
    read.collect::<Vec<_>>().into_iter().collect()
}

fn no_other_fields(spec: &PolicySpec, problems: &mut Problems<'_>) -> Option<()> {
    let others = [
        ("effect", spec.effect.is_some()),
        ("by", spec.by.is_some()),
        ("principals", spec.principals.is_some()),
        ("server", spec.server.is_some()),
        ("tools", spec.tools.is_some()),
        ("resources", spec.resources.is_some()),
        ("prompts", spec.prompts.is_some()),
        ("when", !spec.when.is_empty()),
        ("until", spec.until.is_some()),
    ];
    match others.into_iter().find(|(_, written)| *written) {
        Some((field, _)) => problems.expect(field, "nothing: cedar says it all"),
        None => Some(()),
    }
}

fn statement(
    spec: &PolicySpec,
    policy: usize,
    parsed: Policy,
    problems: &mut Problems<'_>,
) -> Option<Statement> {
    let json = match parsed.to_json() {
        Ok(json) => json,
        Err(error) => return problems.expect("cedar", format!("Cedar policies ({error})")),
    };
    let mut reads = Reads::default();
    reads.walk(&json);
    if let Some(why) = reads.wrong.first() {
        return problems.expect("cedar", why.clone());
    }
    literals_fit(&parsed, problems)?;
    let effect = effect(&parsed, &reads, problems)?;
    let body = Raw {
        listing: looser(&parsed, &json, &ARGUMENTS),
        loose: looser(&parsed, &json, &[&ARGUMENTS[..], &CIRCUMSTANCES[..]].concat()),
        reads: reads.context,
        paths: reads.paths,
        names: reads.names,
    };
    let message = spec.message.clone().or_else(|| annotation(&parsed, "message"));
    let message = match &effect {
        Effect::Confirm(_) => spec.message.clone().or_else(|| annotation(&parsed, "confirm")),
        Effect::Allow | Effect::Deny => message,
    };
    Some(Statement {
        policy,
        effect,
        message,
        who: who(&parsed),
        server: server(&parsed),
        kinds: kinds(&parsed),
        cedar: parsed,
        body: Body::Raw(Box::new(body)),
    })
}

fn annotation(policy: &Policy, key: &str) -> Option<String> {
    policy.annotation(key).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn effect(policy: &Policy, reads: &Reads, problems: &mut Problems<'_>) -> Option<Effect> {
    let confirm = policy.annotation("confirm").is_some();
    let permit = policy.effect() == cedar_policy::Effect::Permit;
    let reads_confirmed = reads.any_of(&["confirmed"]);
    if !confirm {
        if reads_confirmed {
            let expected = "@confirm(\"message\") on a forbid that reads context.confirmed";
            return problems.expect("cedar", expected);
        }
        if policy.annotation("by").is_some() {
            return problems.expect("cedar", "@by only together with @confirm");
        }
        return Some(if permit { Effect::Allow } else { Effect::Deny });
    }
    if permit || !reads_confirmed {
        let expected = "@confirm only on forbid (...) unless { context.confirmed };";
        return problems.expect("cedar", expected);
    }
    match policy.annotation("by").map(|by| Approver::try_from(by.to_owned())) {
        None => Some(Effect::Confirm(Approver::Caller)),
        Some(Ok(by)) => Some(Effect::Confirm(by)),
        Some(Err(_)) => problems.expect("cedar", "@by(\"caller\"), group:NAME or user:EMAIL"),
    }
}

/// Names in entity literals have the form that entities have here; else they would match nothing.
fn literals_fit(policy: &Policy, problems: &mut Problems<'_>) -> Option<()> {
    for literal in policy.entity_literals() {
        let id: &str = literal.id().unescaped();
        let expected = match literal.type_name().basename() {
            "User" if id != id.to_lowercase() => "the e-mail address in lower case in User",
            "Tool" | "Resource" | "Prompt" if !id.contains('/') => {
                "\"SLUG/NAME\" in Tool, Resource and Prompt"
            }
            _ => continue,
        };
        return problems.expect("cedar", format!("{expected} (not {id:?})"));
    }
    Some(())
}

/// The policy without the clauses that read one of `unknown`; of a forbid nothing is left then.
fn looser(policy: &Policy, json: &Value, unknown: &[&str]) -> Option<Policy> {
    let clauses = json.get("conditions")?.as_array()?;
    let known = |clause: &&Value| {
        let mut reads = Reads::default();
        reads.walk(clause);
        !reads.any_of(unknown)
    };
    let kept: Vec<Value> = clauses.iter().filter(known).cloned().collect();
    if kept.len() == clauses.len() {
        return Some(policy.clone());
    }
    if policy.effect() == cedar_policy::Effect::Forbid {
        return None;
    }
    let mut json = json.clone();
    *json.get_mut("conditions")? = Value::Array(kept);
    Policy::from_json(Some(policy.id().clone()), json).ok()
}

fn who(policy: &Policy) -> Vec<Principal> {
    let named = match policy.principal_constraint() {
        PrincipalConstraint::Any | PrincipalConstraint::Is(_) => None,
        PrincipalConstraint::In(uid)
        | PrincipalConstraint::Eq(uid)
        | PrincipalConstraint::IsIn(_, uid) => principal(&uid),
    };
    vec![named.unwrap_or(Principal::Everyone)]
}

pub(crate) fn principal(uid: &EntityUid) -> Option<Principal> {
    let id: &str = uid.id().unescaped();
    match uid.type_name().basename() {
        "User" => Some(Principal::User(id.into())),
        "Group" => Some(Principal::Group(id.into())),
        "Role" => Some(Principal::Role(id.into())),
        "Agent" => Some(Principal::Agent(id.into())),
        _ => None,
    }
}

fn server(policy: &Policy) -> Option<String> {
    let uid = match policy.resource_constraint() {
        ResourceConstraint::Any | ResourceConstraint::Is(_) => return None,
        ResourceConstraint::In(uid)
        | ResourceConstraint::Eq(uid)
        | ResourceConstraint::IsIn(_, uid) => uid,
    };
    let id: &str = uid.id().unescaped();
    match uid.type_name().basename() {
        "Server" => Some(id.into()),
        "Tool" | "Resource" | "Prompt" => id.split_once('/').map(|(slug, _)| slug.into()),
        _ => None,
    }
}

fn kinds(policy: &Policy) -> [bool; 3] {
    let has = |uids: &[EntityUid], kind: TargetKind| {
        uids.iter().any(|uid| uid.id().unescaped() == kind.action())
    };
    match policy.action_constraint() {
        ActionConstraint::Any => [true; 3],
        ActionConstraint::Eq(uid) => {
            TargetKind::ALL.map(|kind| has(std::slice::from_ref(&uid), kind))
        }
        ActionConstraint::In(uids) => TargetKind::ALL.map(|kind| has(&uids, kind)),
    }
}

/// What a syntax tree reads and names.
#[derive(Debug, Default)]
struct Reads {
    context: Vec<String>,
    paths: Vec<String>,
    names: Vec<String>,
    wrong: Vec<String>,
}

impl Reads {
    fn any_of(&self, attributes: &[&str]) -> bool {
        self.context.iter().any(|read| attributes.contains(&read.as_str()))
    }

    fn walk(&mut self, node: &Value) {
        match node {
            Value::Array(items) => items.iter().for_each(|item| self.walk(item)),
            Value::Object(members) => {
                for (key, value) in members {
                    self.member(key, value);
                }
            }
            Value::String(text) => self.text(text),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn member(&mut self, key: &str, value: &Value) {
        let context = value.get("left").is_some_and(|left| left["Var"] == "context");
        let attribute = value.get("attr").and_then(Value::as_str);
        match (key, attribute) {
            ("." | "has", Some(attribute)) if context => {
                if attribute == "held" {
                    self.wrong.push("no context.held: it belongs to structured policies".into());
                }
                self.context.push(attribute.into());
            }
            ("Var", _) if value == "context" => {
                self.wrong.push("one attribute of the context, not the whole of it".into());
            }
            ("hasTag" | "getTag", _) => {
                let of_person = value["left"]["."]["attr"] == "attributes";
                let what = if of_person { "an attribute's name" } else { "an argument path" };
                match value["right"]["Value"].as_str() {
                    Some(_) if of_person => {}
                    Some(path) => self.paths.push(path.into()),
                    None => self.wrong.push(format!("{what} as a plain text in hasTag, getTag")),
                }
                self.walk(value);
            }
            ("pattern", _) if value.is_array() => self.pattern(value),
            ("annotations", _) => {}
            _ => self.walk(value),
        }
    }

    fn pattern(&mut self, parts: &Value) {
        let parts = parts.as_array().into_iter().flatten();
        let name = parts.map(|part| part["Literal"].as_str().unwrap_or(WITNESS));
        let name: String = name.collect();
        self.check(&name.replace(WITNESS, "*"));
        self.names.push(name);
    }

    fn text(&mut self, text: &str) {
        self.check(text);
        self.names.push(text.into());
        // Tool::"slug/name" speaks of the name.
        self.names.extend(text.split_once('/').map(|(_, name)| name.to_owned()));
    }

    fn check(&mut self, text: &str) {
        if let Some(c) = hidden_character(text) {
            self.wrong.push(format!("no invisible character ({})", code(c)));
        }
    }
}
