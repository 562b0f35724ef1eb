//! `gateway policy test`.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};

use super::{Ended, read, say};

/// Runs the `*.case` files of `dir`, in the order of their names.
pub(super) fn test(dir: &Path) -> anyhow::Result<Ended> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "case") {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        bail!("{}: there are no *.case files", dir.display());
    }
    let (mut cases, mut denials, mut failures) = (0, 0, 0);
    for path in files {
        let run = policies::run_cases(&path.display().to_string(), &read(&path)?);
        cases += run.cases;
        denials += run.denials;
        failures += run.failures.len();
        for failure in run.failures {
            say(&format!("FAILED {failure}\n"))?;
        }
    }
    say(&format!("{cases} cases, {denials} of them denials: {failures} failed\n"))?;
    Ok(if failures == 0 { Ended::Done } else { Ended::NotSo })
}
