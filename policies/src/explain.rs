//! How a verdict comes about: every policy about the person and the server, and why it counts or not.

use std::collections::HashSet;

use gateway_core::decision::{Question, Verdict};
use gateway_core::ids::PolicyId;

use crate::answer::{Considered, Explanation};
use crate::condition::View;
use crate::set::{Mode, Outcome, PolicySet, arguments_of, is_readable};
use crate::slice::Slice;
use crate::statement::{Body, Structured};
use crate::times;

/// Decides and tells how.
pub(crate) fn explain(set: &PolicySet, question: &Question<'_>) -> Explanation {
    let verdict = set.decide(question).verdict;
    let deciding = match &verdict {
        Verdict::Allow { policies } => policies,
        Verdict::Deny(denial) => &denial.policies,
        Verdict::Confirm(demand) => &demand.policies,
    };
    let deciding: HashSet<PolicyId> = deciding.iter().copied().collect();
    let policies = considered(set, question, &deciding);
    let reason = reason(&verdict, &policies, question);
    let (verdict, invisible, message, approvers) = match verdict {
        Verdict::Allow { .. } => ("allow", false, None, vec![]),
        Verdict::Deny(denial) => ("deny", denial.invisible, denial.message, vec![]),
        Verdict::Confirm(demand) => ("confirm", false, Some(demand.message), demand.approvers),
    };
    Explanation { verdict, invisible, message, approvers, reason, policies }
}

fn considered(
    set: &PolicySet,
    question: &Question<'_>,
    deciding: &HashSet<PolicyId>,
) -> Vec<Considered> {
    if !is_readable(question.target) {
        return vec![];
    }
    let arguments = arguments_of(question);
    let view = View {
        server: question.server,
        target: question.target,
        arguments: &arguments,
        circumstances: question.circumstances,
    };
    let slice = set.slice(question.user, question.server, question.target);
    let one = |number: &usize| {
        let statement = set.statement(*number);
        let policy = &set.compiled.policies[statement.policy];
        let (holds, why) = match &statement.body {
            Body::Structured(structured) => structured_part(set, structured, &view),
            Body::Raw(_) => raw_part(set, *number, question, &slice, &view),
        };
        Considered {
            id: policy.id,
            name: policy.name.clone(),
            effect: statement.effect.as_str(),
            deciding: deciding.contains(&policy.id),
            holds,
            why,
        }
    };
    slice.statements.iter().map(one).collect()
}

fn structured_part(set: &PolicySet, structured: &Structured, view: &View<'_>) -> (bool, String) {
    if !structured.covers(view.target) {
        return (false, format!("is not about this {}", view.target.kind()));
    }
    if let Some(until) = structured.until.filter(|until| *until <= view.circumstances.now) {
        return (false, format!("is over since {}", times::cedar(until)));
    }
    let conditions = structured.when.iter().map(|number| &set.compiled.conditions[*number]);
    let failed: Vec<&str> = conditions
        .filter(|held| !held.condition.holds(held.side, view))
        .map(|held| held.key.as_str())
        .collect();
    match (failed.as_slice(), structured.when.is_empty()) {
        ([], true) => (true, "applies without conditions".into()),
        ([], false) => (true, "all its conditions hold".into()),
        (failed, _) => (false, format!("does not hold: {}", failed.join("; "))),
    }
}

/// Raw Cedar is asked on its own, as if nobody had agreed yet.
fn raw_part(
    set: &PolicySet,
    number: usize,
    question: &Question<'_>,
    slice: &Slice,
    view: &View<'_>,
) -> (bool, String) {
    let alone = slice.only(number);
    match set.outcome(question.user, &alone, view, Mode::Call, question.confirmed) {
        Outcome::Allowed(_) | Outcome::Forbidden(_) => (true, "its Cedar text is satisfied".into()),
        Outcome::Unpermitted => (false, "its Cedar text is not satisfied".into()),
        Outcome::Failed(_) => (false, "its Cedar text cannot be evaluated here".into()),
    }
}

fn reason(verdict: &Verdict, policies: &[Considered], question: &Question<'_>) -> String {
    let names = policies.iter().filter(|policy| policy.deciding).map(|p| p.name.as_str());
    let mut names: Vec<String> = names.map(|name| format!("\"{name}\"")).collect();
    names.dedup();
    let names = names.join(", ");
    let kind = question.target.kind();
    match verdict {
        Verdict::Allow { .. } => format!("Allowed by {names}; nothing denies it."),
        Verdict::Confirm(_) => format!("Allowed once people agree, as {names} asks."),
        Verdict::Deny(denial) if denial.invisible => {
            format!("No policy allows this {kind} to this person: it looks as if it did not exist.")
        }
        Verdict::Deny(_) if policies.iter().any(|p| p.deciding && p.effect != "allow") => {
            format!("Denied by {names}.")
        }
        Verdict::Deny(_) => {
            format!("Conditions of {names} do not hold, and nothing else allows it.")
        }
    }
}
