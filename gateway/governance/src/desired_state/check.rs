//! Checks a desired state against what is there: every name that it mentions must exist afterwards, and
//! every policy that would then be in force must compile together with the others.

use std::collections::HashSet;

use gateway_core::ids::PolicyId;
use gateway_core::located::nearest;
use gateway_core::server::RUNLAYER_SLUG;
use gateway_store::Store;
use gateway_store::catalogue::Catalogue;
use policies::{PolicySet, PolicySpec, Source};
use uuid::Uuid;

use super::{ApplyError, Desired};
use crate::limits::spec::LimitSpec;

/// Where something is wrong, and what.
pub(crate) type Wrong = Vec<(String, String)>;

/// Reads what is there and checks against it.
pub(super) async fn check(store: &Store, desired: &Desired, prune: bool) -> Result<(), ApplyError> {
    against(desired, &store.load_catalogue().await?, prune)
}

/// Everything that is wrong beside `there`.
pub(super) fn against(desired: &Desired, there: &Catalogue, prune: bool) -> Result<(), ApplyError> {
    let known = Known::after(desired, there, prune);
    let mut wrong = Wrong::new();
    for (index, user) in desired.state().users.iter().enumerate() {
        for (at, group) in user.groups.iter().enumerate() {
            known.group(group, format!("users[{index}].groups[{at}]"), &mut wrong);
        }
    }
    for (index, server) in desired.state().servers.iter().enumerate() {
        for (at, email) in server.admins.iter().flatten().enumerate() {
            let path = format!("servers[{index}].admins[{at}]");
            expect(&known.users, "user", email, path, &mut wrong);
        }
    }
    for (index, spec) in desired.policies().iter().enumerate() {
        known.policy(spec, &format!("policies[{index}]"), &mut wrong);
    }
    for (index, spec) in desired.limits().iter().enumerate() {
        known.limit(spec, &format!("limits[{index}]"), &mut wrong);
    }
    compile(desired, there, prune, &mut wrong)?;
    if wrong.is_empty() { Ok(()) } else { Err(ApplyError::Refused(desired.problems(wrong))) }
}

/// What exists, of all that policies may name: once a file is applied, or now.
pub(crate) struct Known {
    pub(crate) groups: HashSet<String>,
    pub(crate) users: HashSet<String>,
    pub(crate) servers: HashSet<String>,
}

impl Known {
    /// With `prune`, only what the file has counts: the rest may go.
    fn after(desired: &Desired, there: &Catalogue, prune: bool) -> Known {
        let state = desired.state();
        let mut known = Known {
            groups: state.groups.iter().map(|group| group.name.clone()).collect(),
            users: state.users.iter().map(|user| user.email.clone()).collect(),
            servers: state.servers.iter().map(|server| server.slug.to_string()).collect(),
        };
        known.servers.insert(RUNLAYER_SLUG.to_owned());
        if !prune {
            known.groups.extend(there.users.iter().flat_map(|user| user.groups.iter().cloned()));
            known.users.extend(there.users.iter().map(|user| user.email.clone()));
            known.servers.extend(there.servers.iter().map(|server| server.slug.to_string()));
        }
        known
    }

    fn group(&self, name: &str, path: String, wrong: &mut Wrong) {
        expect(&self.groups, "group", name, path, wrong);
    }

    /// Notes every name in `spec`, which stands at `path`, of something that does not exist.
    pub(crate) fn policy(&self, spec: &PolicySpec, path: &str, wrong: &mut Wrong) {
        if let Some(server) = spec.server.as_deref().filter(|server| *server != "*") {
            expect(&self.servers, "server", server, format!("{path}.server"), wrong);
        }
        for (at, text) in spec.principals.iter().flatten().enumerate() {
            self.principal(text, format!("{path}.principals[{at}]"), wrong);
        }
        if let Some(by) = &spec.by {
            self.principal(by, format!("{path}.by"), wrong);
        }
    }

    fn limit(&self, spec: &LimitSpec, path: &str, wrong: &mut Wrong) {
        if spec.server != "*" {
            expect(&self.servers, "server", &spec.server, format!("{path}.server"), wrong);
        }
        for (at, text) in spec.principals.iter().enumerate() {
            self.principal(text, format!("{path}.principals[{at}]"), wrong);
        }
    }

    /// Other forms than these two are the compiler's business.
    fn principal(&self, text: &str, path: String, wrong: &mut Wrong) {
        match text.split_once(':') {
            Some(("group", name)) => self.group(name, path, wrong),
            Some(("user", email)) => {
                expect(&self.users, "user", &email.to_lowercase(), path, wrong);
            }
            Some(_) | None => {}
        }
    }
}

fn expect(known: &HashSet<String>, noun: &str, name: &str, path: String, wrong: &mut Wrong) {
    if known.contains(name) {
        return;
    }
    let all: Vec<&str> = known.iter().map(String::as_str).collect();
    let hint = nearest(name, &all).map(|near| format!("; did you mean \"{near}\"?"));
    let hint = hint.unwrap_or_default();
    wrong.push((path, format!("there is no {noun} \"{name}\"{hint}")));
}

/// Compiles the file's policies with those that stay.
fn compile(
    desired: &Desired,
    there: &Catalogue,
    prune: bool,
    wrong: &mut Wrong,
) -> Result<(), ApplyError> {
    let specs = desired.policies();
    let id = |at: usize| PolicyId(Uuid::from_u128(at as u128 + 1));
    let sources = specs.iter().cloned().enumerate();
    let mut sources: Vec<Source> = sources.map(|(at, spec)| Source { id: id(at), spec }).collect();
    let stays = |name: &str| !prune && specs.iter().all(|spec| spec.name != name);
    for stored in there.policies.iter().filter(|stored| stays(&stored.name)) {
        let spec = serde_json::from_str(&stored.spec_json).map_err(|error| {
            let message = format!("policy {}: {error}", stored.id);
            ApplyError::Store(gateway_store::StoreError::Corrupt(message))
        })?;
        sources.push(Source { id: stored.id, spec });
    }
    let Err(problems) = PolicySet::compile(&sources) else { return Ok(()) };
    for problem in problems {
        let message = format!("expected {}", problem.expected);
        match specs.iter().position(|spec| spec.name == problem.policy) {
            Some(at) => wrong.push((format!("policies[{at}].{}", problem.field), message)),
            None => {
                let stored = format!("stored policy \"{}\".{}", problem.policy, problem.field);
                wrong.push((stored, message));
            }
        }
    }
    Ok(())
}
