//! A policy as it might be, compiled with all others as they are: what a change is checked, previewed and
//! replayed with. Nothing is written here.

use std::collections::HashSet;
use std::sync::Arc;

use gateway_core::ids::PolicyId;
use gateway_core::reason::Reason;
use gateway_store::policy::StoredPolicy;
use policies::{PolicySet, PolicySpec, Problem, Source};

use super::Run;
use super::absent;
use crate::desired_state::check::{Known, Wrong};
use crate::perform::Refused;
use crate::snapshot::Snapshot;

/// The longest policy, as JSON text.
const LONGEST: usize = 256 * 1024;

/// A change of one policy.
pub(crate) struct Draft {
    /// What it was compiled against.
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) id: PolicyId,
    /// As it is; `None`: it is not there.
    pub(super) before: Option<StoredPolicy>,
    /// As it would be; `None`: removed.
    pub(super) after: Option<PolicySpec>,
    /// All policies as they would be.
    pub(super) set: Arc<PolicySet>,
}

impl Draft {
    /// Makes `id` what `after` says, beside the policies of `snapshot`.
    pub(super) async fn compile(
        run: &Run<'_>,
        snapshot: Arc<Snapshot>,
        id: PolicyId,
        after: Option<PolicySpec>,
    ) -> Result<Draft, Refused> {
        let now = run.governance.clock().now();
        if let Some(spec) = &after {
            check_size(spec)?;
            if spec.is_over(now) {
                return Err(Refused::params("spec.until: expected an instant to come"));
            }
            check_name(&snapshot, id, spec)?;
            check_names(run, &snapshot, spec).await?;
        }
        // What is over counts for nothing, here as in the snapshot.
        let others = snapshot.sources.iter().filter(|source| !source.spec.is_over(now));
        let sources = with(others, id, after.as_ref());
        let compiling = tokio::task::spawn_blocking(move || PolicySet::compile(&sources)).await;
        let compiled = compiling.map_err(|_| {
            Refused::new(Reason::Internal, "compiling the policies was interrupted")
        })?;
        let set = compiled.map_err(|problems| refused(&problems))?;
        let before = snapshot.stored_policy(&id.to_string()).cloned();
        Ok(Draft { snapshot, id, before, after, set: Arc::new(set) })
    }
}

/// The catalogue as Postgres has it now: another replica may have written a moment ago.
pub(super) async fn latest(run: &Run<'_>) -> Result<Arc<Snapshot>, Refused> {
    run.governance.refresh().await.map_err(|error| {
        tracing::error!(%error, "the catalogue could not be read");
        Refused::new(Reason::CatalogueStale, "the database is not available; try again later")
    })
}

/// The policy of that id or name, if it is still the version that the caller knows.
pub(super) fn found(
    snapshot: &Snapshot,
    id_or_name: &str,
    expected: Option<i32>,
) -> Result<StoredPolicy, Refused> {
    let stored = snapshot.stored_policy(id_or_name).ok_or_else(absent)?;
    expect_version(stored.version, expected)?;
    Ok(stored.clone())
}

/// Refuses when `expected` is another version than `is`.
pub(super) fn expect_version(is: i32, expected: Option<i32>) -> Result<(), Refused> {
    match expected {
        Some(expected) if expected != is => {
            let detail = format!("expected_version: it is at version {is} by now, not {expected}");
            Err(Refused::new(Reason::Conflict, detail))
        }
        Some(_) | None => Ok(()),
    }
}

/// What is wrong with policies, as an answer: policy, field, what was expected.
fn refused(problems: &[Problem]) -> Refused {
    let all: Vec<String> = problems
        .iter()
        .map(|p| format!("spec.{}: expected {} (policy \"{}\")", p.field, p.expected, p.policy))
        .collect();
    Refused::params(all.join("; "))
}

/// The policy in its place, or at the end.
fn with<'a>(
    sources: impl Iterator<Item = &'a Source>,
    id: PolicyId,
    after: Option<&PolicySpec>,
) -> Vec<Source> {
    let (mut all, mut written) = (Vec::new(), false);
    for source in sources {
        if source.id != id {
            all.push(source.clone());
        } else if let Some(spec) = after {
            all.push(Source { id, spec: spec.clone() });
            written = true;
        }
    }
    if let (false, Some(spec)) = (written, after) {
        all.push(Source { id, spec: spec.clone() });
    }
    all
}

fn check_size(spec: &PolicySpec) -> Result<(), Refused> {
    let bytes = serde_json::to_string(spec).map_or(usize::MAX, |text| text.len());
    if bytes <= LONGEST {
        return Ok(());
    }
    Err(Refused::params(format!("spec: expected at most {LONGEST} bytes")))
}

fn check_name(snapshot: &Snapshot, id: PolicyId, spec: &PolicySpec) -> Result<(), Refused> {
    let taken = snapshot.sources.iter().any(|s| s.id != id && s.spec.name == spec.name);
    if taken { Err(name_taken()) } else { Ok(()) }
}

pub(super) fn name_taken() -> Refused {
    Refused::new(Reason::Conflict, "spec.name: another policy is called so")
}

/// Every name that it mentions must be of something that exists.
async fn check_names(run: &Run<'_>, snapshot: &Snapshot, spec: &PolicySpec) -> Result<(), Refused> {
    let named = spec.principals.iter().flatten().chain(&spec.by);
    let groups: Vec<String> =
        named.filter_map(|text| text.strip_prefix("group:")).map(str::to_owned).collect();
    let there = run.governance.store.groups_named(&groups).await.map_err(Refused::store)?;
    let mut known = Known {
        groups: there.into_iter().collect(),
        users: snapshot.users.iter().map(|user| user.email.clone()).collect(),
        servers: snapshot.servers.iter().map(|server| server.slug.to_string()).collect(),
    };
    let joined = snapshot.users.iter().flat_map(|user| user.groups.iter().cloned());
    known.groups.extend(joined.collect::<HashSet<_>>());
    let mut wrong = Wrong::new();
    known.policy(spec, "spec", &mut wrong);
    if wrong.is_empty() {
        return Ok(());
    }
    let all: Vec<String> = wrong.iter().map(|(path, what)| format!("{path}: {what}")).collect();
    Err(Refused::params(all.join("; ")))
}
