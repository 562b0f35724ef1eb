//! Why there is no private Postgres, in words that say what to do.

use std::path::{Path, PathBuf};

/// The private Postgres could not be started.
#[derive(Debug, thiserror::Error)]
pub enum PrivatePostgresError {
    /// No usable installation.
    #[error(
        "no PostgreSQL 14 or newer found (looked in {searched}): install the package `postgresql` \
         (apt-get install postgresql, dnf install postgresql-server, brew install postgresql@17), name \
         the directory of its programs in GATEWAY_PG_BIN, or set database.url"
    )]
    NotInstalled {
        /// Where was looked.
        searched: String,
    },
    /// The data were written by a major version that is not installed.
    #[error(
        "the data in {path} belong to PostgreSQL {found}, installed is {installed}: install \
         PostgreSQL {found}, or move the directory away to start afresh"
    )]
    OtherVersion {
        /// The data directory.
        path: PathBuf,
        /// Its major version.
        found: String,
        /// What is installed.
        installed: String,
    },
    /// Started by root, and the account that Postgres runs as cannot come to the data.
    #[error(
        "Postgres refuses to run as root and runs as `{account}`, who may not enter {path}: choose \
         another database.data_dir (for instance /var/lib/gateway), or run: chmod o+x {path}"
    )]
    Unreachable {
        /// The directory that is closed.
        path: PathBuf,
        /// The account.
        account: String,
    },
    /// Started by root on a machine that has no account for Postgres.
    #[error(
        "Postgres refuses to run as root, and there is neither an account `postgres` nor `nobody` to \
         run it as: create one, start the gateway as another user, or set database.url"
    )]
    NoAccount,
    /// A file or directory could not be used.
    #[error("cannot {tried} {path}: {source}")]
    Files {
        /// What was tried.
        tried: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A program of Postgres failed.
    #[error("{program} failed: {output}")]
    Program {
        /// Its path.
        program: PathBuf,
        /// What it said, or the end of the server's log.
        output: String,
    },
    /// It did not answer in time.
    #[error("the private Postgres is not ready: {0}")]
    NotReady(String),
    /// It answered but its database could not be made.
    #[error("the private Postgres refused: {source}")]
    Database {
        /// Why.
        source: sqlx::Error,
    },
}

/// For `map_err`: names what was tried on what.
pub(super) fn trouble(
    tried: &'static str,
    path: &Path,
) -> impl FnOnce(std::io::Error) -> PrivatePostgresError {
    let path = path.to_owned();
    move |source| PrivatePostgresError::Files { tried, path, source }
}
