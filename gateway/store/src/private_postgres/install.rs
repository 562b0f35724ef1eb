//! Finds Postgres on this machine.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::error::PrivatePostgresError;

/// Oldest major version that will do.
const OLDEST: u32 = crate::pool::OLDEST_POSTGRES;

/// The programs of one installed Postgres.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Installation {
    pub(super) bin: PathBuf,
    pub(super) major: u32,
}

impl Installation {
    /// Every usable installation, the preferred one first: `GATEWAY_PG_BIN` (then nothing else counts),
    /// `PATH`, the places where packages put it, newest first.
    pub(super) async fn find_all() -> Result<Vec<Installation>, PrivatePostgresError> {
        Installation::find_in(&places()).await
    }

    pub(super) async fn find_in(
        places: &[PathBuf],
    ) -> Result<Vec<Installation>, PrivatePostgresError> {
        let mut found: Vec<Installation> = Vec::new();
        for place in places {
            if let Some(installation) = examine(place).await
                && !found.contains(&installation)
            {
                found.push(installation);
            }
        }
        if found.is_empty() {
            let searched: Vec<_> = places.iter().map(|place| place.display().to_string()).collect();
            return Err(PrivatePostgresError::NotInstalled { searched: searched.join(", ") });
        }
        Ok(found)
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }
}

fn places() -> Vec<PathBuf> {
    if let Some(named) = std::env::var_os("GATEWAY_PG_BIN").filter(|named| !named.is_empty()) {
        return vec![named.into()];
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> =
        std::env::split_paths(&path).filter(|place| place.is_absolute()).collect();
    let mut packaged = Vec::new();
    for (parent, prefix) in [
        ("/usr/lib/postgresql", ""),
        ("/usr", "pgsql-"),
        ("/opt/homebrew/opt", "postgresql"),
        ("/usr/local/opt", "postgresql"),
    ] {
        packaged.extend(children(Path::new(parent), prefix));
    }
    packaged.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    places.extend(packaged.into_iter().map(|(_, child)| child.join("bin")));
    places
}

/// Directories below `parent` whose name is `prefix` and a version.
fn children(parent: &Path, prefix: &str) -> Vec<(u32, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(parent) else { return Vec::new() };
    entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let version = name.strip_prefix(prefix)?.trim_start_matches('@').parse().ok()?;
            Some((version, entry.path()))
        })
        .collect()
}

async fn examine(place: &Path) -> Option<Installation> {
    // Links lead to the directory where all the programs are, and Postgres finds its own files from there.
    let postgres = place.join("postgres").canonicalize().ok()?;
    let bin = postgres.parent()?.to_owned();
    if !bin.join("initdb").exists() || !bin.join("pg_ctl").exists() {
        return None;
    }
    let said = Command::new(&postgres).arg("--version").output().await.ok()?;
    let major = major(&String::from_utf8_lossy(&said.stdout))?;
    (major >= OLDEST).then_some(Installation { bin, major })
}

/// `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`, `postgres (PostgreSQL) 18beta1`
fn major(said: &str) -> Option<u32> {
    let version = said.split_whitespace().nth(2)?;
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (said, expected) in [
            ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n", Some(15)),
            ("postgres (PostgreSQL) 18beta1\n", Some(18)),
            ("postgres (PostgreSQL)", None),
            ("", None),
        ] {
            assert_eq!(major(said), expected, "{said}");
        }
    }
}
