//! From policies as written to one schema-validated set of Cedar statements.

use std::collections::{HashMap, HashSet};
use std::str::FromStr;
use std::sync::LazyLock;

use cedar_policy::{PolicyId as CedarId, Schema, ValidationMode, ValidationWarning, Validator};
use gateway_core::ids::PolicyId;
use uuid::uuid;

use crate::check::{Effect, Principal, Problems, Rule, check_labels, check_rule};
use crate::condition::{Condition, Side};
use crate::raw;
use crate::render::{cedar_text, held_key, kinds};
use crate::spec::{PolicySpec, Problem, Source};
use crate::statement::{Body, Statement, Structured};

/// The id of the default policy that lets everyone reach the Runlayer MCP.
pub const RUNLAYER_POLICY: PolicyId = PolicyId(uuid!("d0b2d0c6-5d87-4f87-a2e1-7f0a60a6c001"));

/// Read once a process.
static VALIDATOR: LazyLock<Result<Validator, String>> = LazyLock::new(|| {
    let schema = Schema::from_str(include_str!("../schema.cedarschema"));
    schema.map(Validator::new).map_err(|error| error.to_string())
});

const RUNLAYER: &str = include_str!("../default/runlayer.cedar");

/// A policy as people know it.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) id: PolicyId,
    pub(crate) name: String,
    /// The Cedar text.
    pub(crate) cedar: String,
}

/// A condition that statements share, under the name by which Cedar knows it.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) condition: Condition,
    pub(crate) side: Side,
    pub(crate) key: String,
}

/// Everything compiled.
#[derive(Debug, Default)]
pub(crate) struct Compiled {
    pub(crate) policies: Vec<Policy>,
    pub(crate) statements: Vec<Statement>,
    pub(crate) conditions: Vec<Held>,
    by_key: HashMap<String, usize>,
}

/// Compiles the defaults and `sources`, or says everything that is wrong.
pub(crate) fn compile(sources: &[Source]) -> Result<Compiled, Vec<Problem>> {
    let mut problems = vec![];
    let mut compiled = Compiled::default();
    let defaults = [default_policy()];
    let (mut names, mut ids) = (HashSet::new(), HashSet::new());
    for source in defaults.iter().chain(sources) {
        let mut of = Problems::of(&source.spec.name, &mut problems);
        if !names.insert(source.spec.name.as_str()) {
            let _: Option<()> = of.expect("name", "a name that no other policy has");
        }
        if !ids.insert(source.id) {
            let _: Option<()> = of.expect("id", "an id that no other policy has");
        }
        check_labels(&source.spec, &mut of);
        let _ = compiled.add(source, &mut of);
    }
    if problems.is_empty() {
        validate(&compiled, &mut problems);
    }
    if problems.is_empty() { Ok(compiled) } else { Err(problems) }
}

fn default_policy() -> Source {
    let spec = PolicySpec {
        name: "default: everyone reaches runlayer".into(),
        cedar: Some(RUNLAYER.into()),
        ..PolicySpec::default()
    };
    Source { id: RUNLAYER_POLICY, spec }
}

impl Compiled {
    fn add(&mut self, source: &Source, problems: &mut Problems<'_>) -> Option<()> {
        let spec = &source.spec;
        let (policy, first) = (self.policies.len(), self.statements.len());
        let (cedar, statements) = match &spec.cedar {
            Some(text) => (text.clone(), raw::statements(spec, policy, first, problems)?),
            None => {
                let rule = check_rule(spec, problems)?;
                let message = spec.message.clone().or_else(|| default_message(spec, &rule.effect));
                let text = cedar_text(&spec.name, message.as_deref(), &rule);
                let id = CedarId::new(first.to_string());
                let cedar = match cedar_policy::Policy::parse(Some(id), &text) {
                    Ok(cedar) => cedar,
                    Err(error) => return problems.expect("cedar", error.to_string()),
                };
                (text, vec![self.statement(rule, policy, message, cedar)])
            }
        };
        self.policies.push(Policy { id: source.id, name: spec.name.clone(), cedar });
        self.statements.extend(statements);
        Some(())
    }

    fn statement(
        &mut self,
        rule: Rule,
        policy: usize,
        message: Option<String>,
        cedar: cedar_policy::Policy,
    ) -> Statement {
        let kinds = kinds(&rule);
        let side = rule.effect.side();
        let when = rule.when.into_iter().map(|condition| self.intern(condition, side)).collect();
        Statement {
            policy,
            effect: rule.effect,
            message,
            who: rule.principals,
            server: rule.server.map(String::from),
            kinds,
            cedar,
            body: Body::Structured(Structured { patterns: rule.patterns, when, until: rule.until }),
        }
    }

    /// The condition's place in the table, the same for the same condition on the same side.
    fn intern(&mut self, condition: Condition, side: Side) -> usize {
        let key = held_key(side, &condition.text());
        *self.by_key.entry(key.clone()).or_insert_with(|| {
            self.conditions.push(Held { condition, side, key });
            self.conditions.len() - 1
        })
    }

    /// Groups and roles that some statement speaks of, wherever in its text.
    pub(crate) fn mentioned(&self) -> HashSet<Principal> {
        let written = self.statements.iter().flat_map(|s| s.who.iter().cloned());
        let literals = self.statements.iter().flat_map(|s| s.cedar.entity_literals());
        let literals = literals.filter_map(|uid| raw::principal(&uid));
        written.chain(literals).collect()
    }
}

fn default_message(spec: &PolicySpec, effect: &Effect) -> Option<String> {
    match effect {
        Effect::Confirm(_) => Some(format!("The policy \"{}\" asks for agreement.", spec.name)),
        Effect::Allow | Effect::Deny => None,
    }
}

/// Checks all statements against the schema.
fn validate(compiled: &Compiled, problems: &mut Vec<Problem>) {
    let broken =
        |expected: String| Problem { policy: "default".into(), field: "schema".into(), expected };
    let validator = match &*VALIDATOR {
        Ok(validator) => validator,
        Err(error) => return problems.push(broken(error.clone())),
    };
    let all = compiled.statements.iter().map(|statement| statement.cedar.clone());
    let set = match cedar_policy::PolicySet::from_policies(all) {
        Ok(set) => set,
        Err(error) => return problems.push(broken(error.to_string())),
    };
    let result = validator.validate(&set, ValidationMode::Strict);
    let errors = result.validation_errors().map(|e| (e.policy_id(), e.to_string()));
    let warnings = result.validation_warnings().filter(|w| is_fatal(w, compiled));
    let warnings = warnings.map(|w| (w.policy_id(), w.to_string()));
    for (id, what) in errors.chain(warnings) {
        let policy = of_cedar(compiled, id).map(|s| &compiled.policies[s.policy].name);
        problems.push(Problem {
            policy: policy.cloned().unwrap_or_default(),
            field: "cedar".into(),
            expected: format!("what policies/schema.cedarschema allows ({what})"),
        });
    }
}

/// The statement with that Cedar id.
fn of_cedar<'a>(compiled: &'a Compiled, id: &CedarId) -> Option<&'a Statement> {
    let number: usize = AsRef::<str>::as_ref(id).parse().ok()?;
    compiled.statements.get(number)
}

/// Raw Cedar that can never apply is a mistake. Of structured policies it is harmless.
fn is_fatal(warning: &ValidationWarning, compiled: &Compiled) -> bool {
    let raw = of_cedar(compiled, warning.policy_id())
        .is_some_and(|statement| matches!(statement.body, Body::Raw(_)));
    raw && matches!(
        warning,
        ValidationWarning::ImpossiblePolicy(_)
            | ValidationWarning::BidiCharsInString(_)
            | ValidationWarning::BidiCharsInIdentifier(_)
            | ValidationWarning::InvalidActionApplication(_)
    )
}
