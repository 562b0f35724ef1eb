//! One Cedar statement with what the gateway knows about it: whom and what it can concern, what it
//! reads, and how it looks while only part of a call is known.

use gateway_core::Timestamp;
use gateway_core::decision::{Approver, Target};

use crate::check::{Effect, Principal};
use crate::glob::Glob;
use crate::raw;

/// The three kinds of targets; the value is their place in arrays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum TargetKind {
    Tool = 0,
    Resource = 1,
    Prompt = 2,
}

impl TargetKind {
    pub(crate) const ALL: [TargetKind; 3] =
        [TargetKind::Tool, TargetKind::Resource, TargetKind::Prompt];

    pub(crate) fn of(target: Target<'_>) -> TargetKind {
        match target {
            Target::Tool(_) => TargetKind::Tool,
            Target::Resource(_) => TargetKind::Resource,
            Target::Prompt(_) => TargetKind::Prompt,
        }
    }

    pub(crate) fn target(self, name: &str) -> Target<'_> {
        match self {
            TargetKind::Tool => Target::Tool(name),
            TargetKind::Resource => Target::Resource(name),
            TargetKind::Prompt => Target::Prompt(name),
        }
    }

    /// The Cedar entity type.
    pub(crate) fn entity_type(self) -> &'static str {
        match self {
            TargetKind::Tool => "Tool",
            TargetKind::Resource => "Resource",
            TargetKind::Prompt => "Prompt",
        }
    }

    /// The Cedar action's id.
    pub(crate) fn action(self) -> &'static str {
        match self {
            TargetKind::Tool => "call_tool",
            TargetKind::Resource => "read_resource",
            TargetKind::Prompt => "get_prompt",
        }
    }
}

/// A compiled statement.
#[derive(Debug)]
pub(crate) struct Statement {
    /// Which of the operator's policies it belongs to.
    pub(crate) policy: usize,
    pub(crate) effect: Effect,
    pub(crate) message: Option<String>,
    /// Whom it can concern: any of these.
    pub(crate) who: Vec<Principal>,
    /// The server that it can concern; `None`: any.
    pub(crate) server: Option<String>,
    /// Which kinds of targets it can concern.
    pub(crate) kinds: [bool; 3],
    pub(crate) cedar: cedar_policy::Policy,
    pub(crate) body: Body,
}

/// Where a statement comes from.
#[derive(Debug)]
pub(crate) enum Body {
    /// A structured policy.
    Structured(Structured),
    /// Raw Cedar.
    Raw(Box<Raw>),
}

/// What a structured policy asks for beyond person and server.
#[derive(Debug)]
pub(crate) struct Structured {
    /// Patterns for tools, resources and prompts; all three `None`: everything.
    pub(crate) patterns: [Option<Vec<Glob>>; 3],
    /// Places in the table of conditions.
    pub(crate) when: Vec<usize>,
    /// From then on it counts for nothing. Cedar itself looks at the time.
    pub(crate) until: Option<Timestamp>,
}

/// What raw Cedar reads, and its looser forms.
#[derive(Debug)]
pub(crate) struct Raw {
    /// Attributes of the context.
    pub(crate) reads: Vec<String>,
    /// As it counts for a listing, where no arguments are known; `None`: it does not.
    pub(crate) listing: Option<cedar_policy::Policy>,
    /// As it counts where circumstances are open too; `None`: it does not.
    pub(crate) loose: Option<cedar_policy::Policy>,
    /// Argument paths that it names.
    pub(crate) paths: Vec<String>,
    /// Names of targets that it speaks of, stars as witnesses.
    pub(crate) names: Vec<String>,
}

/// Attributes of the context that hold the arguments, and that hold the circumstances.
pub(crate) const ARGUMENTS: [&str; 4] = ["text", "number", "truth", "kind"];
pub(crate) const CIRCUMSTANCES: [&str; 3] = ["client", "ip", "now"];

impl Raw {
    /// True when it reads one of these attributes.
    pub(crate) fn reads_any(&self, attributes: &[&str]) -> bool {
        self.reads.iter().any(|read| attributes.contains(&read.as_str()))
    }
}

impl Statement {
    /// True when it speaks of the principal: in its scope, in its conditions, or as who must agree.
    pub(crate) fn names(&self, principal: &Principal) -> bool {
        let asked = self.effect.approver().and_then(|approver| match approver {
            Approver::Caller => None,
            Approver::Group(name) => Some(Principal::Group(name.clone())),
            Approver::User(email) => Some(Principal::User(email.clone())),
        });
        let literals = self.cedar.entity_literals();
        self.who.contains(principal)
            || asked.as_ref() == Some(principal)
            || literals.iter().any(|uid| raw::principal(uid).as_ref() == Some(principal))
    }

    /// True when it is about people with some attribute.
    pub(crate) fn tests_attributes(&self) -> bool {
        self.who.iter().any(|who| matches!(who, Principal::Attribute(..)))
    }

    /// True when it is over some day.
    pub(crate) fn ends(&self) -> bool {
        matches!(&self.body, Body::Structured(Structured { until: Some(_), .. }))
    }

    /// True when the statement's patterns cover the target. Of raw Cedar: perhaps.
    pub(crate) fn covers(&self, target: Target<'_>) -> bool {
        match &self.body {
            Body::Structured(structured) => structured.covers(target),
            Body::Raw(_) => true,
        }
    }
}

impl Structured {
    /// True when the patterns cover the target.
    pub(crate) fn covers(&self, target: Target<'_>) -> bool {
        if self.patterns.iter().all(Option::is_none) {
            return true;
        }
        let patterns = &self.patterns[TargetKind::of(target) as usize];
        patterns.as_ref().is_some_and(|globs| globs.iter().any(|g| g.matches(target.name())))
    }
}
