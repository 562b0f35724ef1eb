//! The compiled policies: the answers to "may this person do that".
//!
//! Cedar decides. This file puts the question (with the conditions that hold) and reads the answer:
//! which policies it rests on, whether people must agree first, whether the target must stay unseen.

use cedar_policy::{AuthorizationError, Decision, Response, RestrictedExpression};
use gateway_core::caller::User;
use gateway_core::decision::{Circumstances, Demand, Denial, FLOW_RULE, Question, Target, Verdict};
use gateway_core::ids::PolicyId;
use gateway_core::server::Server;

use crate::answer::{Decided, Explanation, Listed};
use crate::check::{self, Effect};
use crate::compile::{Compiled, compile};
use crate::condition::{About, Side, View};
use crate::explain;
use crate::glob::hidden_character;
use crate::path::Arguments;
use crate::platform::{Platform, Stance};
use crate::request::{Asked, Engine};
use crate::slice::{Covered, Slice, Slices};
use crate::spec::{Problem, Source};
use crate::statement::{ARGUMENTS, Body, CIRCUMSTANCES, Statement, TargetKind};

/// Longer names of targets are denied unread.
const MAX_TARGET: usize = 8192;

/// All policies, checked and compiled. Immutable but for a memory of slices made so far.
#[derive(Debug)]
pub struct PolicySet {
    pub(crate) compiled: Compiled,
    pub(crate) slices: Slices,
    engine: Engine,
    pub(crate) platform: &'static Platform,
}

/// How much of a call is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Everything.
    Call,
    /// Not the arguments: those that would pass are assumed.
    Listing,
}

/// What is left of a slice at one question.
struct Left {
    /// Statements, ascending.
    numbers: Vec<usize>,
    /// Their conditions, all of which hold.
    held: Vec<usize>,
}

/// Cedar's answer, by statements.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    Allowed(Vec<usize>),
    Forbidden(Vec<usize>),
    /// No permit holds.
    Unpermitted,
    /// These could not be evaluated.
    Failed(Vec<usize>),
}

impl PolicySet {
    /// Checks and compiles `sources`; the default policies are always added. All problems at once.
    pub fn compile(sources: &[Source]) -> Result<PolicySet, Vec<Problem>> {
        let compiled = compile(sources)?;
        let broken =
            |expected| vec![Problem { policy: "default".into(), field: "cedar".into(), expected }];
        let engine = Engine::new().map_err(broken)?;
        let platform = Platform::get().map_err(broken)?;
        Ok(PolicySet { slices: Slices::of(&compiled), compiled, engine, platform })
    }

    /// The verdict. Never errs: what cannot be evaluated is denied.
    pub fn decide(&self, question: &Question<'_>) -> Decided {
        if !is_readable(question.target) {
            let denial = Denial { invisible: true, policies: vec![], message: None };
            return Decided { verdict: Verdict::Deny(denial), cacheable: false };
        }
        let slice = self.slice(question.user, question.server, question.target);
        let arguments = arguments_of(question);
        let view = View {
            server: question.server,
            target: question.target,
            arguments: &arguments,
            circumstances: question.circumstances,
        };
        let verdict = self.verdict(question.user, &slice, &view, question.confirmed);
        let varies = |s: &Statement| self.reads(s, &[About::Arguments, About::Circumstances]);
        let varies = |s: &Statement| matches!(s.effect, Effect::Confirm(_)) || varies(s);
        Decided { verdict, cacheable: !self.any_covering(&slice, question.target, varies) }
    }

    /// Whether a listing shows the target: if and only if some call of it could pass.
    pub fn listed(
        &self,
        user: &User,
        server: &Server,
        target: Target<'_>,
        circumstances: &Circumstances,
    ) -> Listed {
        if !is_readable(target) {
            return Listed { listed: false, cacheable: false };
        }
        let slice = self.slice(user, server, target);
        let arguments = Arguments::new(None);
        let view = View { server, target, arguments: &arguments, circumstances };
        let outcome = self.outcome(user, &slice, &view, Mode::Listing, true);
        let varies = |s: &Statement| self.reads(s, &[About::Circumstances]);
        Listed {
            listed: matches!(outcome, Outcome::Allowed(_)),
            cacheable: !self.any_covering(&slice, target, varies),
        }
    }

    /// Whether the person's roles allow a platform operation; `owns`: the thing is the person's own.
    pub fn authorize(&self, user: &User, operation: &str, owns: bool) -> bool {
        self.authorize_as(user, operation, Stance { owns, about_self: false })
    }

    /// The same, of somebody who stands like that to the thing.
    pub fn authorize_as(&self, user: &User, operation: &str, stance: Stance) -> bool {
        self.platform.authorize(user, operation, stance)
    }

    /// How the verdict comes about.
    pub fn explain(&self, question: &Question<'_>) -> Explanation {
        explain::explain(self, question)
    }

    /// The policies that name a principal, in whatever place: `group:NAME`, `user:EMAIL` and so on.
    pub fn naming(&self, principal: &str) -> Vec<PolicyId> {
        let Ok(named) = check::principal(principal) else { return vec![] };
        let statements = self.compiled.statements.iter().enumerate();
        let naming = statements.filter(|(_, statement)| statement.names(&named));
        self.policies(&naming.map(|(number, _)| number).collect::<Vec<_>>())
    }

    /// The Cedar text that a policy was compiled to.
    pub fn cedar(&self, id: PolicyId) -> Option<String> {
        self.compiled.policies.iter().find(|policy| policy.id == id).map(|p| p.cedar.clone())
    }

    /// The name of a policy, also of the default ones and of the flow rule.
    pub fn name(&self, id: PolicyId) -> Option<&str> {
        if id == FLOW_RULE {
            return Some("flow rule");
        }
        self.compiled.policies.iter().find(|policy| policy.id == id).map(|p| p.name.as_str())
    }

    pub(crate) fn slice(
        &self,
        user: &User,
        server: &Server,
        target: Target<'_>,
    ) -> std::sync::Arc<Slice> {
        self.slices.get(&self.compiled, user, server, TargetKind::of(target))
    }

    fn verdict(&self, user: &User, slice: &Slice, view: &View<'_>, confirmed: bool) -> Verdict {
        match self.outcome(user, slice, view, Mode::Call, confirmed) {
            Outcome::Allowed(permits) => Verdict::Allow { policies: self.policies(&permits) },
            Outcome::Forbidden(forbids) => {
                let (confirms, denies): (Vec<usize>, Vec<usize>) = forbids
                    .into_iter()
                    .partition(|n| self.statement(*n).effect.approver().is_some());
                if !denies.is_empty() || confirmed {
                    let denying = if denies.is_empty() { confirms } else { denies };
                    return self.denial(user, slice, view, &denying);
                }
                match self.outcome(user, slice, view, Mode::Call, true) {
                    Outcome::Allowed(_) => Verdict::Confirm(self.demand(&confirms)),
                    Outcome::Unpermitted => self.unpermitted(user, slice, view),
                    Outcome::Forbidden(denying) | Outcome::Failed(denying) => {
                        self.denial(user, slice, view, &denying)
                    }
                }
            }
            Outcome::Unpermitted => self.unpermitted(user, slice, view),
            Outcome::Failed(failed) => self.denial(user, slice, view, &failed),
        }
    }

    /// Asks Cedar.
    pub(crate) fn outcome(
        &self,
        user: &User,
        slice: &Slice,
        view: &View<'_>,
        mode: Mode,
        confirmed: bool,
    ) -> Outcome {
        let covered = slice.covered(&self.compiled, view.target);
        let Left { numbers, held } = self.left(&covered, view, mode, confirmed);
        let ask = || {
            let set = slice.some(&self.compiled, mode, &numbers);
            let key = |n: &usize| self.compiled.conditions[*n].key.clone();
            let held = held.iter().map(|n| RestrictedExpression::new_string(key(n))).collect();
            let asked = Asked { user, slices: &self.slices, slice, view, held, confirmed };
            match self.engine.ask(&set, asked) {
                Some(response) => read(&response),
                None => Outcome::Failed(vec![]),
            }
        };
        let is_fixed = |n: &usize| {
            let statement = self.statement(*n);
            matches!(statement.body, Body::Structured(_)) && !statement.ends()
        };
        match numbers.iter().all(is_fixed) {
            true => covered.outcome(&numbers, confirmed, ask),
            false => ask(),
        }
    }

    /// The statements that Cedar has to look at. Of structured ones the gateway itself tests targets and conditions:
    /// one that fails there could not be satisfied, and evaluating it is what takes the time.
    fn left(&self, covered: &Covered, view: &View<'_>, mode: Mode, confirmed: bool) -> Left {
        let (mut numbers, mut held) = (vec![], vec![]);
        // By condition, for several statements may have the same.
        let mut tested: Vec<Option<bool>> = vec![None; self.compiled.conditions.len()];
        for number in covered.statements.iter().copied() {
            let statement = self.statement(number);
            let Body::Structured(structured) = &statement.body else {
                numbers.push(number);
                continue;
            };
            if confirmed && matches!(statement.effect, Effect::Confirm(_)) {
                continue;
            }
            let all = structured.when.iter().all(|condition| {
                *tested[*condition].get_or_insert_with(|| self.holds(*condition, view, mode))
            });
            if all {
                numbers.push(number);
                held.extend_from_slice(&structured.when);
            }
        }
        held.sort_unstable();
        held.dedup();
        Left { numbers, held }
    }

    fn holds(&self, condition: usize, view: &View<'_>, mode: Mode) -> bool {
        let held = &self.compiled.conditions[condition];
        let open = mode == Mode::Listing
            && held.condition.about() == About::Arguments
            && TargetKind::of(view.target) != TargetKind::Resource;
        if open { held.side == Side::Allow } else { held.condition.holds(held.side, view) }
    }

    /// Asks Cedar about raw statements alone, of which `loose` holds some; true when any is satisfied or
    /// cannot be evaluated.
    pub(crate) fn any_raw(
        &self,
        loose: &cedar_policy::PolicySet,
        user: &User,
        slice: &Slice,
        view: &View<'_>,
    ) -> Vec<usize> {
        if loose.is_empty() {
            return vec![];
        }
        // The looser forms do not ask for arguments; odd ones must not hide what could be allowed.
        let blank = Arguments::new(None);
        let view = &View { arguments: &blank, ..*view };
        let asked =
            Asked { user, slices: &self.slices, slice, view, held: vec![], confirmed: true };
        match self.engine.ask(loose, asked).as_ref().map(read) {
            Some(Outcome::Allowed(which) | Outcome::Forbidden(which) | Outcome::Failed(which)) => {
                which
            }
            Some(Outcome::Unpermitted) | None => vec![],
        }
    }

    fn unpermitted(&self, user: &User, slice: &Slice, view: &View<'_>) -> Verdict {
        let permits = self.possible_permits(user, slice, view);
        Verdict::Deny(Denial {
            invisible: permits.is_empty(),
            policies: self.policies(&permits),
            message: self.message(&permits),
        })
    }

    fn denial(&self, user: &User, slice: &Slice, view: &View<'_>, denying: &[usize]) -> Verdict {
        Verdict::Deny(Denial {
            invisible: self.possible_permits(user, slice, view).is_empty(),
            policies: self.policies(denying),
            message: self.message(denying),
        })
    }

    fn demand(&self, confirms: &[usize]) -> Demand {
        let mut messages: Vec<&str> = vec![];
        let mut approvers = vec![];
        for statement in confirms.iter().map(|n| self.statement(*n)) {
            let message = statement.message.as_deref().unwrap_or("A policy asks for agreement.");
            if !messages.contains(&message) {
                messages.push(message);
            }
            approvers.extend(statement.effect.approver().cloned());
        }
        approvers.sort();
        approvers.dedup();
        Demand { policies: self.policies(confirms), message: messages.join("\n"), approvers }
    }

    pub(crate) fn statement(&self, number: usize) -> &Statement {
        &self.compiled.statements[number]
    }

    fn policies(&self, statements: &[usize]) -> Vec<PolicyId> {
        let mut numbers: Vec<usize> =
            statements.iter().map(|number| self.statement(*number).policy).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers.into_iter().map(|number| self.compiled.policies[number].id).collect()
    }

    fn message(&self, statements: &[usize]) -> Option<String> {
        statements.iter().find_map(|number| self.statement(*number).message.clone())
    }

    fn any_covering(
        &self,
        slice: &Slice,
        target: Target<'_>,
        test: impl Fn(&Statement) -> bool,
    ) -> bool {
        let covered = slice.covered(&self.compiled, target);
        covered.statements.iter().any(|number| test(self.statement(*number)))
    }

    /// True when the statement's end may depend on one of `about`.
    pub(crate) fn reads(&self, statement: &Statement, about: &[About]) -> bool {
        match &statement.body {
            Body::Structured(structured) => {
                let whens = structured.when.iter();
                let mut abouts = whens.map(|n| self.compiled.conditions[*n].condition.about());
                abouts.any(|one| about.contains(&one))
                    || (structured.until.is_some() && about.contains(&About::Circumstances))
            }
            Body::Raw(raw) => {
                (about.contains(&About::Arguments) && raw.reads_any(&ARGUMENTS))
                    || (about.contains(&About::Circumstances) && raw.reads_any(&CIRCUMSTANCES))
            }
        }
    }
}

/// What invisible characters or absurd length hide is nobody's to call.
pub(crate) fn is_readable(target: Target<'_>) -> bool {
    target.name().len() <= MAX_TARGET && hidden_character(target.name()).is_none()
}

/// Reading a resource has no arguments.
pub(crate) fn arguments_of<'a>(question: &Question<'a>) -> Arguments<'a> {
    Arguments::new(match question.target {
        Target::Tool(_) | Target::Prompt(_) => question.arguments,
        Target::Resource(_) => None,
    })
}

fn read(response: &Response) -> Outcome {
    let number = |id: &cedar_policy::PolicyId| AsRef::<str>::as_ref(id).parse::<usize>().ok();
    let diagnostics = response.diagnostics();
    let mut failed = diagnostics.errors().peekable();
    if failed.peek().is_some() {
        let which =
            failed.map(|AuthorizationError::PolicyEvaluationError(error)| error.policy_id());
        return Outcome::Failed(which.filter_map(number).collect());
    }
    let mut reasons: Vec<usize> = diagnostics.reason().filter_map(number).collect();
    reasons.sort_unstable();
    match response.decision() {
        Decision::Allow => Outcome::Allowed(reasons),
        Decision::Deny if reasons.is_empty() => Outcome::Unpermitted,
        Decision::Deny => Outcome::Forbidden(reasons),
    }
}
