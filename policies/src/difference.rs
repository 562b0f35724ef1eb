//! What a change of one policy does to people's access: who gains and who loses what, whatever the
//! arguments and the circumstances; and which verdicts may change only for some of them.
//!
//! Access is judged in the best of circumstances: what could be allowed with some arguments, from somewhere,
//! at some time, is allowed. Where neither set has a condition on such, the judgement is the verdict.

use gateway_core::caller::User;
use gateway_core::decision::Target;
use gateway_core::ids::PolicyId;
use gateway_core::server::Server;

use crate::condition::{About, View};
use crate::glob::WITNESS;
use crate::path::Arguments;
use crate::set::{Mode, Outcome, PolicySet, is_readable};
use crate::slice::Slice;
use crate::statement::{Body, Statement, TargetKind};
use crate::visible::nowhere;

/// Two sets of policies that differ in one policy: written, written anew or removed.
#[derive(Debug, Clone, Copy)]
pub struct Difference<'a> {
    /// As it is.
    pub before: &'a PolicySet,
    /// As it would be.
    pub after: &'a PolicySet,
    /// The policy.
    pub policy: PolicyId,
}

/// Something on a server whose access is compared: a tool by name, or all that a pattern stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thing {
    kind: TargetKind,
    /// As people wrote it.
    shown: String,
    /// What is asked about.
    asked: String,
}

/// What happens to somebody's access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shift {
    /// Nothing of it could be called; now it can.
    Gained,
    /// It could be called; nothing of it can now.
    Lost,
    /// It can be called only once people agree.
    NowConfirmed,
    /// Nobody needs to agree any more.
    NoLongerConfirmed,
    /// It can be called before and after, perhaps with other arguments or in other circumstances.
    Conditions,
}

/// A shift, and whether conditions on arguments or circumstances decide about single calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shifted {
    /// What happens.
    pub shift: Shift,
    /// True when not every call shares that.
    pub conditional: bool,
}

/// Which principals the policies treat alike on a server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Class {
    /// The change does not concern them.
    Untouched,
    /// As everybody else of the same class.
    Shared(Vec<Vec<usize>>),
    /// Cedar text may look at the principal itself.
    Alone,
}

/// How much somebody can do with a thing at best.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Nothing,
    Confirmed,
    Allowed,
}

impl Thing {
    /// A tool.
    pub fn tool(name: &str) -> Thing {
        Thing { kind: TargetKind::Tool, shown: name.to_owned(), asked: name.to_owned() }
    }

    fn pattern(kind: TargetKind, pattern: &str) -> Thing {
        Thing { kind, shown: pattern.to_owned(), asked: pattern.replace('*', WITNESS) }
    }

    /// The tool's name; of a pattern `tool:PATTERN`, `resource:PATTERN`, `prompt:PATTERN`.
    pub fn shown(&self) -> String {
        match self.kind {
            TargetKind::Tool if self.shown == self.asked => self.shown.clone(),
            TargetKind::Tool | TargetKind::Resource | TargetKind::Prompt => {
                format!("{}:{}", self.target().kind(), self.shown)
            }
        }
    }

    fn target(&self) -> Target<'_> {
        self.kind.target(&self.asked)
    }

    fn is_readable(&self) -> bool {
        is_readable(self.kind.target(&self.shown))
    }
}

impl Difference<'_> {
    /// What there is to compare on a server: its tools, and what the policy names of resources, prompts and
    /// tools that are not known.
    pub fn things(&self, server: &Server) -> Vec<Thing> {
        let mut things: Vec<Thing> = server.tools.iter().map(|t| Thing::tool(&t.name)).collect();
        for kind in TargetKind::ALL {
            if kind == TargetKind::Tool && !server.tools.is_empty() {
                continue;
            }
            for set in [self.before, self.after] {
                for pattern in set.named(self.policy, server, kind) {
                    let thing = Thing::pattern(kind, &pattern);
                    if !things.contains(&thing) {
                        things.push(thing);
                    }
                }
            }
        }
        things
    }

    /// Whose shifts on this server are the same.
    pub fn class(&self, user: &User, server: &Server) -> Class {
        let (mut touched, mut raw, mut statements) = (false, false, vec![]);
        for set in [self.before, self.after] {
            for kind in TargetKind::ALL {
                let slice = set.slices.get(&set.compiled, user, server, kind);
                touched |= slice.statements.iter().any(|n| set.is_of(*n, self.policy));
                raw |= slice.raw;
                statements.push(slice.statements.clone());
            }
        }
        match (touched, raw) {
            (false, _) => Class::Untouched,
            (true, true) => Class::Alone,
            (true, false) => Class::Shared(statements),
        }
    }

    /// What the change does to the principal's access; `None`: nothing, whatever the call.
    pub fn shift(&self, user: &User, server: &Server, thing: &Thing) -> Option<Shifted> {
        if !thing.is_readable() {
            return None;
        }
        let sides = [self.before, self.after].map(|set| Side::of(set, user, server, thing));
        let [before, after] = &sides;
        if before.part(self.policy) == after.part(self.policy) {
            return None;
        }
        let conditional = before.conditional || after.conditional;
        let (was, is) = (before.level, after.level);
        let (shift, conditional) = match (was, is) {
            (Level::Nothing, Level::Nothing) => return None,
            (Level::Nothing, Level::Confirmed | Level::Allowed) => {
                (Shift::Gained, after.conditional)
            }
            (Level::Confirmed | Level::Allowed, Level::Nothing) => {
                (Shift::Lost, before.conditional)
            }
            (Level::Allowed, Level::Confirmed) => (Shift::NowConfirmed, conditional),
            (Level::Confirmed, Level::Allowed) => (Shift::NoLongerConfirmed, conditional),
            (Level::Confirmed, Level::Confirmed) | (Level::Allowed, Level::Allowed) => {
                if !conditional {
                    return None;
                }
                (Shift::Conditions, true)
            }
        };
        Some(Shifted { shift, conditional })
    }
}

/// One principal's access to one thing by one set.
struct Side<'a> {
    set: &'a PolicySet,
    slice: std::sync::Arc<Slice>,
    thing: &'a Thing,
    level: Level,
    conditional: bool,
}

impl<'a> Side<'a> {
    fn of(set: &'a PolicySet, user: &User, server: &Server, thing: &'a Thing) -> Side<'a> {
        let slice = set.slices.get(&set.compiled, user, server, thing.kind);
        // Nothing is known of the tools of a server that has not been read.
        let open = [About::Arguments, About::Circumstances, About::Definition];
        let open = if server.tools.is_empty() { &open[..] } else { &open[..2] };
        let varies = |s: &Statement| set.reads(s, open);
        let covering = |n: &usize| set.statement(*n).covers(thing.target());
        let conditional =
            slice.statements.iter().filter(|n| covering(n)).any(|n| varies(set.statement(*n)));
        let level = if !set.is_open(user, &slice, server, thing.target()) {
            Level::Nothing
        } else if set.always_asks(user, &slice, server, thing.target()) {
            Level::Confirmed
        } else {
            Level::Allowed
        };
        Side { set, slice, thing, level, conditional }
    }

    /// What a policy says here, so that equal parts mean equal verdicts.
    fn part(&self, policy: PolicyId) -> Vec<String> {
        let covering = self.slice.statements.iter().filter(|n| {
            self.set.is_of(**n, policy) && self.set.statement(**n).covers(self.thing.target())
        });
        covering.map(|n| self.set.meaning(*n)).collect()
    }
}

impl PolicySet {
    /// True when arguments may decide whether the principal may use the target.
    pub fn reads_arguments(&self, user: &User, server: &Server, target: Target<'_>) -> bool {
        let slice = self.slice(user, server, target);
        TargetKind::of(target) != TargetKind::Resource
            && slice.statements.iter().map(|n| self.statement(*n)).any(|statement| {
                statement.covers(target) && self.reads(statement, &[About::Arguments])
            })
    }

    /// The slugs of the servers that a policy speaks of; `None`: all.
    pub fn servers_of(&self, policy: PolicyId) -> Option<Vec<&str>> {
        let statements = self.compiled.statements.iter().enumerate();
        let own = statements.filter(|(number, _)| self.is_of(*number, policy));
        let mut slugs = own.map(|(_, s)| s.server.as_deref()).collect::<Option<Vec<&str>>>()?;
        slugs.sort_unstable();
        slugs.dedup();
        Some(slugs)
    }

    fn is_of(&self, statement: usize, policy: PolicyId) -> bool {
        let number = self.statement(statement).policy;
        self.compiled.policies.get(number).is_some_and(|known| known.id == policy)
    }

    /// Of a structured statement its effect and conditions, of raw Cedar its text.
    fn meaning(&self, number: usize) -> String {
        let statement = self.statement(number);
        match &statement.body {
            Body::Structured(structured) => {
                let when =
                    structured.when.iter().map(|n| self.compiled.conditions[*n].key.as_str());
                let (effect, until) = (&statement.effect, structured.until);
                format!("{effect:?} {:?} {until:?}", when.collect::<Vec<_>>())
            }
            Body::Raw(_) => statement.cedar.to_string(),
        }
    }

    /// Patterns of one kind that a policy names on a server.
    fn named(&self, policy: PolicyId, server: &Server, kind: TargetKind) -> Vec<String> {
        let slug = server.slug.as_str();
        let statements = self.compiled.statements.iter().enumerate();
        let about = statements.filter(|(number, statement)| {
            self.is_of(*number, policy)
                && statement.kinds[kind as usize]
                && statement.server.as_deref().is_none_or(|named| named == slug)
        });
        about.flat_map(|(_, statement)| patterns(statement, slug, kind)).collect()
    }

    /// True when every call that could pass waits for people's agreement.
    fn always_asks(&self, user: &User, slice: &Slice, server: &Server, target: Target<'_>) -> bool {
        let (arguments, circumstances) = (Arguments::new(None), nowhere());
        let view = View { server, target, arguments: &arguments, circumstances: &circumstances };
        slice.statements.iter().any(|number| {
            let statement = self.statement(*number);
            statement.effect.approver().is_some()
                && match &statement.body {
                    Body::Structured(_) => self.may_hold(statement, &view),
                    Body::Raw(raw) => {
                        let alone = slice.only(*number);
                        let asked = || self.outcome(user, &alone, &view, Mode::Call, false);
                        raw.loose.is_some() && matches!(asked(), Outcome::Forbidden(_))
                    }
                }
        })
    }
}

fn patterns(statement: &Statement, slug: &str, kind: TargetKind) -> Vec<String> {
    let all = || vec!["*".to_owned()];
    match &statement.body {
        Body::Structured(structured) => match &structured.patterns[kind as usize] {
            Some(globs) => globs.iter().map(|glob| glob.as_str().to_owned()).collect(),
            None => all(),
        },
        Body::Raw(_) => {
            let literals = statement.cedar.entity_literals();
            let own =
                literals.iter().filter(|uid| uid.type_name().basename() == kind.entity_type());
            let named: Vec<String> = own
                .filter_map(|uid| uid.id().unescaped().split_once('/'))
                .filter(|(server, _)| *server == slug)
                .map(|(_, name)| name.to_owned())
                .collect();
            if named.is_empty() { all() } else { named }
        }
    }
}
