//! What can go wrong in the store: either Postgres could not be reached in time, or it refused, or what
//! was asked for makes no sense. Callers fail closed on all of them; only the first is worth a retry.

use crate::private_postgres::PrivatePostgresError;

/// A store operation failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Postgres could not be reached, or did not answer in time. Worth a retry later.
    #[error("the database is not available: {0}")]
    Unavailable(#[source] sqlx::Error),
    /// An operation did not finish within its deadline.
    #[error("the database did not answer in time ({0})")]
    TimedOut(&'static str),
    /// Postgres refused a statement.
    #[error("the database refused: {0}")]
    Refused(#[source] sqlx::Error),
    /// The connection settings are not usable.
    #[error("{0}")]
    Setup(String),
    /// The migrations could not be applied.
    #[error("migrating the database failed: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// The private Postgres could not be started.
    #[error(transparent)]
    PrivatePostgres(#[from] PrivatePostgresError),
    /// What was asked for cannot be stored.
    #[error("{0}")]
    Invalid(String),
    /// A stored row is not what this version writes.
    #[error("unreadable row: {0}")]
    Corrupt(String),
}

impl StoreError {
    /// True when the same operation may succeed once Postgres is back.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, StoreError::Unavailable(_) | StoreError::TimedOut(_))
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> StoreError {
        if is_connection_trouble(&error) {
            StoreError::Unavailable(error)
        } else {
            StoreError::Refused(error)
        }
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "a foreign, growing enum")]
fn is_connection_trouble(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        // 08 connection, 53 out of resources, 57 shut down or cancelled by an operator, 25006 read only
        // (a failover left us on a standby), 40 serialisation or deadlock.
        sqlx::Error::Database(refusal) => refusal.code().is_some_and(|code| {
            ["08", "53", "57", "25006", "40"].iter().any(|class| code.starts_with(class))
        }),
        _ => false,
    }
}
