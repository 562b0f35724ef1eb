//! The operator's file of groups, people, servers and policies: read, checked as a whole, carried out in
//! one transaction. Nothing is done when anything is wrong, and every error names file, line and key.
//!
//! [`read`] checks what the file alone shows; [`apply`] checks it against the catalogue, compiles every
//! policy that would then be in force, and hands it to the store.

pub(crate) mod auth;
pub(crate) mod check;
mod item;
pub(crate) mod names;
mod read;
mod record;
#[cfg(test)]
mod tests;
mod tree;

use gateway_core::located::Problem;
use gateway_store::desired_state::{Change, ChangeKind};
use gateway_store::{Store, StoreError};

pub use item::AuthItem;
pub use read::{Desired, read};
pub use record::Recorder;

/// How a desired state is applied.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Say what would change, change nothing.
    pub dry_run: bool,
    /// Remove what an earlier apply made and the file no longer has.
    pub prune: bool,
}

/// A desired state was not applied; nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The file is wrong.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Refused(Vec<Problem>),
    /// The database did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It could not be recorded.
    #[error("nothing was changed, because it could not be recorded: {0}")]
    Unrecorded(String),
}

/// Makes the catalogue what `desired` says, and gives every step. What changes is recorded with
/// `recorder` first.
pub async fn apply(
    store: &Store,
    recorder: &Recorder<'_>,
    desired: &Desired,
    options: Options,
) -> Result<Vec<Change>, ApplyError> {
    check::check(store, desired, options.prune).await?;
    let plan = store.plan(desired.state(), options.prune).await?;
    let idle = plan.iter().all(|change| change.kind == ChangeKind::Unchanged);
    if options.dry_run || idle {
        return Ok(plan);
    }
    let recorded = recorder.begin(&plan).await?;
    let applied = store.apply(desired.state(), options.prune).await;
    recorder.conclude(recorded, &applied);
    Ok(applied?)
}
