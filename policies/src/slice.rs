//! The few statements that can concern one class of people on one server, ready to be evaluated.
//!
//! Cedar evaluates every statement that it is given, so what cannot apply is left out once, not on every
//! call. People and agents whom the policies cannot tell apart share their slices. Nothing is lost: a
//! statement is left out only when its scope names somebody or something else. Of what is left a question takes
//! those that cover its target and, of structured ones, whose conditions hold (`set.rs`): their sets are remembered.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use cedar_policy::PolicySet;
use gateway_core::caller::{PrincipalKind, User};
use gateway_core::decision::Target;
use gateway_core::server::Server;

use crate::check::{Effect, Principal};
use crate::compile::Compiled;
use crate::set::{Mode, Outcome};
use crate::statement::{Body, Statement, TargetKind};

/// Slices kept at most, and statements in all of them together; then memory is freed and filled anew.
const MAX_SLICES: usize = 4096;
const MAX_STATEMENTS: usize = 100_000;
/// Targets, and sets of what was left of a slice, that one slice remembers; then it begins anew.
const MAX_REMEMBERED: usize = 1024;
/// Longer names of targets are not remembered.
const MAX_NAME: usize = 256;
/// Outcomes that one target remembers.
const MAX_OUTCOMES: usize = 32;

/// Statements that can concern a class of people, a server and a kind of target.
#[derive(Debug)]
pub(crate) struct Slice {
    /// Their numbers, ascending.
    pub(crate) statements: Vec<usize>,
    /// Raw permits without what reads the context.
    pub(crate) loose_permits: PolicySet,
    /// Raw forbids that don't read the context.
    pub(crate) loose_forbids: PolicySet,
    /// True when raw Cedar is among them: then entities have all their attributes.
    pub(crate) raw: bool,
    /// True when a structured policy among them tests attributes: then entities have those.
    pub(crate) attributes: bool,
    /// Attributes of the context that Cedar itself reads.
    pub(crate) reads: HashSet<String>,
    /// Argument paths that raw Cedar names.
    pub(crate) paths: HashSet<String>,
    remembered: RwLock<Remembered>,
}

/// What was worked out for earlier questions.
#[derive(Debug, Default)]
struct Remembered {
    /// By the target's name.
    targets: HashMap<String, Arc<Covered>>,
    /// Some of the statements as Cedar takes them, as they are and for listings.
    sets: [HashMap<Vec<usize>, Arc<PolicySet>>; 2],
}

/// What is known of one target.
#[derive(Debug, Default)]
pub(crate) struct Covered {
    /// The statements that cover it: of raw Cedar all.
    pub(crate) statements: Vec<usize>,
    /// By the statements that were left, and whether people had agreed.
    outcomes: RwLock<Vec<(Vec<usize>, bool, Outcome)>>,
}

impl Covered {
    /// The outcome where only structured statements without an end are `left`, asked for once. Cedar's answer hangs on
    /// nothing else: the class of people, the server and the target are those of the memory, and of the conditions just
    /// those of the statements hold.
    pub(crate) fn outcome(
        &self,
        left: &[usize],
        confirmed: bool,
        ask: impl FnOnce() -> Outcome,
    ) -> Outcome {
        let outcomes = self.outcomes.read().unwrap_or_else(PoisonError::into_inner);
        let known =
            outcomes.iter().find(|(earlier, agreed, _)| earlier == left && *agreed == confirmed);
        if let Some((_, _, outcome)) = known {
            return outcome.clone();
        }
        drop(outcomes);
        let outcome = ask();
        let mut outcomes = self.outcomes.write().unwrap_or_else(PoisonError::into_inner);
        if outcomes.len() < MAX_OUTCOMES {
            outcomes.push((left.to_vec(), confirmed, outcome.clone()));
        }
        outcome
    }
}

impl Slice {
    /// What is known of the target.
    pub(crate) fn covered(&self, compiled: &Compiled, target: Target<'_>) -> Arc<Covered> {
        let remembered = self.remembered.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(covered) = remembered.targets.get(target.name()) {
            return Arc::clone(covered);
        }
        drop(remembered);
        let covers = |n: &usize| compiled.statements.get(*n).is_some_and(|s| s.covers(target));
        let statements = self.statements.iter().copied().filter(covers).collect();
        let covered = Arc::new(Covered { statements, ..Covered::default() });
        if target.name().len() <= MAX_NAME {
            let mut remembered = self.remembered.write().unwrap_or_else(PoisonError::into_inner);
            if remembered.targets.len() >= MAX_REMEMBERED {
                remembered.targets.clear();
            }
            remembered.targets.insert(target.name().to_owned(), Arc::clone(&covered));
        }
        covered
    }

    /// Some of its statements, ascending, for Cedar.
    pub(crate) fn some(
        &self,
        compiled: &Compiled,
        mode: Mode,
        numbers: &[usize],
    ) -> Arc<PolicySet> {
        let remembered = self.remembered.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(set) = remembered.sets[mode as usize].get(numbers) {
            return Arc::clone(set);
        }
        drop(remembered);
        let statements = numbers.iter().filter_map(|n| compiled.statements.get(*n));
        let made = Arc::new(match mode {
            Mode::Call => set(statements.map(|statement| &statement.cedar)),
            Mode::Listing => set(statements.filter_map(|statement| match &statement.body {
                Body::Raw(raw) => raw.listing.as_ref(),
                Body::Structured(_) => Some(&statement.cedar),
            })),
        });
        let mut remembered = self.remembered.write().unwrap_or_else(PoisonError::into_inner);
        let sets = &mut remembered.sets[mode as usize];
        if sets.len() >= MAX_REMEMBERED {
            sets.clear();
        }
        sets.insert(numbers.to_vec(), Arc::clone(&made));
        made
    }

    /// One statement of it alone.
    pub(crate) fn only(&self, number: usize) -> Slice {
        Slice {
            statements: vec![number],
            loose_permits: PolicySet::new(),
            loose_forbids: PolicySet::new(),
            raw: self.raw,
            attributes: self.attributes,
            reads: self.reads.clone(),
            paths: self.paths.clone(),
            remembered: RwLock::default(),
        }
    }
}

/// Groups, roles, attributes, people and agents that the policies tell apart, and the slices made so far.
#[derive(Debug)]
pub(crate) struct Slices {
    users: HashMap<String, u32>,
    agents: HashMap<String, u32>,
    groups: HashMap<String, u32>,
    roles: HashMap<String, u32>,
    /// By name, then by value.
    attributes: HashMap<String, HashMap<String, u32>>,
    servers: HashMap<String, u32>,
    made: RwLock<Made>,
}

#[derive(Debug, Default)]
struct Made {
    slices: HashMap<Key, Arc<Slice>>,
    statements: usize,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    /// Which of the people, agents, groups, roles and attributes that policies name this principal is.
    class: Vec<u32>,
    /// `None`: one that no policy names.
    server: Option<u32>,
    kind: TargetKind,
}

impl Slices {
    pub(crate) fn of(compiled: &Compiled) -> Slices {
        let (mut users, mut agents) = (HashMap::new(), HashMap::new());
        let (mut groups, mut roles) = (HashMap::new(), HashMap::new());
        let mut attributes: HashMap<String, HashMap<String, u32>> = HashMap::new();
        let mentioned: HashSet<Principal> = compiled.mentioned();
        for (number, principal) in (0u32..).zip(mentioned) {
            match principal {
                Principal::User(email) => users.insert(email, number),
                Principal::Group(name) => groups.insert(name, number),
                Principal::Role(name) => roles.insert(name, number),
                Principal::Agent(name) => agents.insert(name, number),
                Principal::Attribute(name, value) => {
                    attributes.entry(name).or_default().insert(value, number)
                }
                Principal::Everyone => None,
            };
        }
        let servers: HashSet<String> =
            compiled.statements.iter().filter_map(|s| s.server.clone()).collect();
        let servers = servers.into_iter().zip(0..).collect();
        Slices { users, agents, groups, roles, attributes, servers, made: RwLock::default() }
    }

    /// Those of the person's groups that any policy speaks of. An agent has none.
    pub(crate) fn groups<'a>(&self, user: &'a User) -> impl Iterator<Item = &'a str> {
        groups(user).iter().map(String::as_str).filter(|name| self.groups.contains_key(*name))
    }

    /// Those of the person's roles that any policy speaks of.
    pub(crate) fn roles(&self, user: &User) -> impl Iterator<Item = &'static str> {
        user.roles.iter().map(|role| role.as_str()).filter(|name| self.roles.contains_key(*name))
    }

    /// The slice for a principal, a server and a kind of target.
    pub(crate) fn get(
        &self,
        compiled: &Compiled,
        user: &User,
        server: &Server,
        kind: TargetKind,
    ) -> Arc<Slice> {
        let named = match user.kind {
            PrincipalKind::Person => self.users.get(email(user).as_ref()),
            PrincipalKind::Agent => self.agents.get(&user.name),
        };
        let mut class: Vec<u32> = named.into_iter().copied().collect();
        class.extend(groups(user).iter().filter_map(|name| self.groups.get(name)));
        class.extend(user.roles.iter().filter_map(|role| self.roles.get(role.as_str())));
        for (name, values) in attributes(user) {
            let known = self.attributes.get(name);
            class.extend(values.iter().filter_map(|value| known?.get(value)));
        }
        class.sort_unstable();
        let key = Key { class, server: self.servers.get(server.slug.as_str()).copied(), kind };
        let made = self.made.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(slice) = made.slices.get(&key) {
            return Arc::clone(slice);
        }
        drop(made);
        let slice = Arc::new(slice(compiled, user, server, kind));
        let mut made = self.made.write().unwrap_or_else(PoisonError::into_inner);
        if made.slices.len() >= MAX_SLICES || made.statements >= MAX_STATEMENTS {
            *made = Made::default();
        }
        made.statements += slice.statements.len();
        made.slices.insert(key, Arc::clone(&slice));
        slice
    }
}

/// The person's e-mail address as entities spell it.
pub(crate) fn email(user: &User) -> Cow<'_, str> {
    if user.email.chars().any(char::is_uppercase) {
        Cow::Owned(user.email.to_lowercase())
    } else {
        Cow::Borrowed(&user.email)
    }
}

/// Groups are of people only, whatever an agent account may be said to be in.
fn groups(user: &User) -> &[String] {
    match user.kind {
        PrincipalKind::Person => &user.groups,
        PrincipalKind::Agent => &[],
    }
}

/// Neither has an agent account attributes.
pub(crate) fn attributes(user: &User) -> impl Iterator<Item = (&String, &Vec<String>)> {
    let of_person = (user.kind == PrincipalKind::Person).then_some(&user.attributes);
    of_person.into_iter().flatten()
}

/// Whether a principal means that user.
pub(crate) fn meant(user: &User) -> impl Fn(&Principal) -> bool {
    let is = |kind: PrincipalKind| user.kind == kind;
    move |principal: &Principal| match principal {
        Principal::Everyone => true,
        Principal::User(name) => is(PrincipalKind::Person) && *name == *email(user),
        Principal::Group(name) => groups(user).contains(name),
        Principal::Role(name) => user.roles.iter().any(|role| role.as_str() == name),
        Principal::Agent(name) => is(PrincipalKind::Agent) && *name == user.name,
        Principal::Attribute(name, value) => {
            attributes(user).any(|(known, values)| known == name && values.contains(value))
        }
    }
}

fn slice(compiled: &Compiled, user: &User, server: &Server, kind: TargetKind) -> Slice {
    let concerned = |s: &Statement| {
        s.kinds[kind as usize]
            && s.server.as_deref().is_none_or(|slug| slug == server.slug.as_str())
            && s.who.iter().any(meant(user))
    };
    let all = compiled.statements.iter().enumerate();
    let statements: Vec<(usize, &Statement)> = all.filter(|(_, s)| concerned(s)).collect();
    let raws = || {
        statements.iter().filter_map(|(_, statement)| match &statement.body {
            Body::Raw(raw) => Some((*statement, raw)),
            Body::Structured(_) => None,
        })
    };
    let loose = |permits: bool| {
        let side = move |s: &Statement| (s.effect == Effect::Allow) == permits;
        set(raws().filter(|(s, _)| side(s)).filter_map(|(_, raw)| raw.loose.as_ref()))
    };
    Slice {
        loose_permits: loose(true),
        loose_forbids: loose(false),
        raw: raws().next().is_some(),
        attributes: statements.iter().any(|(_, statement)| statement.tests_attributes()),
        reads: raws()
            .flat_map(|(_, raw)| raw.reads.iter().cloned())
            .chain(statements.iter().any(|(_, s)| s.ends()).then(|| "now".to_owned()))
            .collect(),
        paths: raws().flat_map(|(_, raw)| raw.paths.iter().cloned()).collect(),
        statements: statements.iter().map(|(number, _)| *number).collect(),
        remembered: RwLock::default(),
    }
}

/// Adding cannot fail: the numbers are distinct and none is a template.
fn set<'a>(policies: impl Iterator<Item = &'a cedar_policy::Policy>) -> PolicySet {
    let mut set = PolicySet::new();
    for policy in policies {
        let added = set.add(policy.clone());
        debug_assert!(added.is_ok(), "{added:?}");
    }
    set
}
