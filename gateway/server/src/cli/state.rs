//! `gateway apply`.

use gateway_governance::desired_state::{self, Options, Recorder};
use gateway_store::desired_state::{Change, ChangeKind};

use super::arguments::Apply;
use super::{Ended, quiet, read, say};
use crate::app::Base;
use crate::config::{Config, Refused};

/// Reads, checks, plans, and unless it is a dry run, applies.
pub(super) async fn apply(config: Config, arguments: &Apply) -> anyhow::Result<Ended> {
    let _lines = quiet(&config)?;
    let text = read(&arguments.state)?;
    // Before anything is opened: most mistakes need no database to be found.
    let place = arguments.state.display().to_string();
    let desired = desired_state::read(&place, &text).map_err(Refused)?;
    let base = Base::offline(&config).await?;
    let recorder = Recorder {
        trail: &base.trail,
        clock: base.governance.clock(),
        random: base.governance.random(),
    };
    let options = Options { dry_run: arguments.dry_run, prune: arguments.prune };
    let applied = desired_state::apply(&base.store, &recorder, &desired, options).await;
    base.close().await;
    say(&plan(&applied?, arguments.dry_run))?;
    Ok(Ended::Done)
}

fn plan(changes: &[Change], dry_run: bool) -> String {
    let mut text = String::new();
    let mut count = |kind: ChangeKind| changes.iter().filter(|change| change.kind == kind).count();
    let counts =
        [ChangeKind::Created, ChangeKind::Updated, ChangeKind::Deleted, ChangeKind::Unchanged]
            .map(&mut count);
    for change in changes.iter().filter(|change| change.kind != ChangeKind::Unchanged) {
        text.push_str(&format!("{change}\n"));
    }
    let [created, updated, deleted, unchanged] = counts;
    let verb = if dry_run { "would be " } else { "" };
    text.push_str(&format!(
        "{created} {verb}created, {updated} {verb}updated, {deleted} {verb}deleted, {unchanged} unchanged\n"
    ));
    text
}
