//! A Postgres of our own, for laptops, demos and tests: made on the first start, reached by a socket in a
//! directory that nobody else may enter, with fsync on.
//!
//! It is its own process and outlives a gateway that is killed; the next one finds it running. Several
//! processes may share it (`gateway serve`, and `gateway key create` beside it): each holds a shared lock
//! on `postgres.users` while it does, and the last to leave stops the server. Locks end with their
//! process, however it ends. Starting and stopping happen under the lock `postgres.lock`.

mod account;
mod cluster;
mod error;
mod install;
#[cfg(test)]
mod tests;
mod throwaway;

use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection};
use tokio::time::Instant;

pub use error::PrivatePostgresError;

use account::Account;
use cluster::Cluster;
use error::trouble;
use install::Installation;
use throwaway::Watcher;

/// The superuser of the private Postgres, and its database.
const NAME: &str = "gateway";
/// Crash recovery included; after a kill it took seconds with the WAL limit that is set here.
const START_DEADLINE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(25);

/// A private Postgres in use.
#[derive(Debug)]
pub struct PrivatePostgres {
    cluster: Cluster,
    /// Held shared as long as this process uses the server.
    using: Mutex<Option<File>>,
    _watcher: Option<Watcher>,
}

impl PrivatePostgres {
    /// Starts the private Postgres of `data_dir`, or joins it when it is up.
    pub async fn start(data_dir: &Path) -> Result<PrivatePostgres, PrivatePostgresError> {
        std::fs::create_dir_all(data_dir).map_err(trouble("create", data_dir))?;
        let data_dir = data_dir.canonicalize().map_err(trouble("find", data_dir))?;
        let account = Account::choose().await?;
        let starting = lock(&data_dir).await?;
        let cluster = Cluster::open(&data_dir, account, Installation::find_all().await?).await?;
        let using = open_lock(&data_dir.join("postgres.users"))?;
        using.lock_shared().map_err(trouble("lock", &data_dir.join("postgres.users")))?;
        run(&cluster).await?;
        make_database(&cluster).await?;
        drop(starting);
        Ok(PrivatePostgres { cluster, using: Mutex::new(Some(using)), _watcher: None })
    }

    /// How to sign in to its database.
    pub fn connect_options(&self) -> PgConnectOptions {
        options(&self.cluster, NAME)
    }

    /// The same as a URL, for another database of it where one is named.
    pub fn url(&self, database: Option<&str>) -> String {
        let database = database.unwrap_or(NAME);
        let socket = percent_encoded(&self.cluster.socket_dir.to_string_lossy());
        format!("postgres://{NAME}@localhost/{database}?host={socket}")
    }

    /// The server's process id, for tests that kill it.
    pub fn pid(&self) -> Option<u32> {
        self.cluster.pid()
    }

    /// Stops using it; stops the server if nobody else does. Harmless when repeated.
    pub async fn leave(&self) {
        let using = match self.using.lock() {
            Ok(mut using) => using.take(),
            Err(poisoned) => poisoned.into_inner().take(),
        };
        let Some(using) = using else { return };
        // Under the lock nobody starts to use the server between our look and its end.
        let starting = match lock(&self.cluster.data_dir).await {
            Ok(starting) => starting,
            Err(error) => {
                tracing::warn!(%error, "the private Postgres keeps running");
                return;
            }
        };
        drop(using);
        match open_lock(&self.cluster.data_dir.join("postgres.users")).map(|file| file.try_lock()) {
            Ok(Ok(())) => {
                if let Err(error) = self.cluster.stop().await {
                    tracing::warn!(%error, "the private Postgres did not stop");
                }
            }
            Ok(Err(_)) => tracing::debug!("others use the private Postgres: it keeps running"),
            Err(error) => tracing::warn!(%error, "the private Postgres keeps running"),
        }
        drop(starting);
    }
}

fn open_lock(path: &Path) -> Result<File, PrivatePostgresError> {
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(trouble("open", path))
}

/// The lock for starting and stopping.
async fn lock(data_dir: &Path) -> Result<File, PrivatePostgresError> {
    let path = data_dir.join("postgres.lock");
    let file = open_lock(&path)?;
    let deadline = Instant::now() + START_DEADLINE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                tokio::time::sleep(POLL).await;
            }
            Err(TryLockError::WouldBlock) => {
                return Err(PrivatePostgresError::NotReady(format!(
                    "another process holds {} for longer than {START_DEADLINE:?}",
                    path.display()
                )));
            }
            Err(TryLockError::Error(source)) => return Err(trouble("lock", &path)(source)),
        }
    }
}

/// Until it answers: join what runs, clear away what is stale, start what is missing.
async fn run(cluster: &Cluster) -> Result<(), PrivatePostgresError> {
    let deadline = Instant::now() + START_DEADLINE;
    let mut failed_starts = 0;
    loop {
        // A server that is starting up, in recovery or going down has its process but does not answer.
        let answer = match connect(cluster, "postgres").await {
            Ok(connection) => {
                connection.close().await.ok();
                return Ok(());
            }
            Err(error) => error,
        };
        if Instant::now() > deadline {
            return Err(PrivatePostgresError::NotReady(format!(
                "it runs in {} but does not answer: {answer}; see {}",
                cluster.data.display(),
                cluster.log.display()
            )));
        }
        if cluster.runs().await {
            tokio::time::sleep(POLL).await;
            continue;
        }
        cluster.clear_stale_pid()?;
        match cluster.start().await {
            Ok(()) => {}
            // Backends of a killed server may still be on their way out and hold its shared memory.
            Err(error) if failed_starts >= 10 => return Err(error),
            Err(_) => {
                failed_starts += 1;
                tokio::time::sleep(POLL * 10).await;
            }
        }
    }
}

fn options(cluster: &Cluster, database: &str) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .host("localhost")
        .port(5432)
        .socket(&cluster.socket_dir)
        .username(NAME)
        .database(database)
        .disable_statement_logging()
}

async fn connect(cluster: &Cluster, database: &str) -> Result<PgConnection, sqlx::Error> {
    let options = options(cluster, database);
    let connecting = PgConnection::connect_with(&options);
    match tokio::time::timeout(Duration::from_secs(5), connecting).await {
        Ok(connected) => connected,
        Err(_) => Err(sqlx::Error::PoolTimedOut),
    }
}

async fn make_database(cluster: &Cluster) -> Result<(), PrivatePostgresError> {
    let failed = |source| PrivatePostgresError::Database { source };
    let mut connection = connect(cluster, "postgres").await.map_err(failed)?;
    let there: bool =
        sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
            .bind(NAME)
            .fetch_one(&mut connection)
            .await
            .map_err(failed)?;
    if !there {
        let create = AssertSqlSafe(format!("create database {NAME}"));
        connection.execute(sqlx::raw_sql(create)).await.map_err(failed)?;
    }
    connection.close().await.map_err(failed)
}

fn percent_encoded(path: &str) -> String {
    path.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' => {
                char::from(byte).to_string()
            }
            byte => format!("%{byte:02X}"),
        })
        .collect()
}
