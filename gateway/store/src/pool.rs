//! [`Store`]: the pool of connections, opened, migrated and closed in one place.
//!
//! Whoever signs in, the pool works as the role `gateway_app`, which may not alter audit rows and owns
//! nothing. Migrations run on a connection of their own, as the role that signed in.

use std::future::Future;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, Executor, PgConnection, Postgres, Transaction};

use crate::error::StoreError;
use crate::private_postgres::PrivatePostgres;

/// Every migration, inside the binary.
fn migrator() -> Migrator {
    let mut migrator = sqlx::migrate!("../../migrations");
    // During a rolling update an older replica finds migrations that it does not know: they only add.
    migrator.set_ignore_missing(true);
    migrator
}

/// The oldest major version of Postgres that is supported.
pub const OLDEST_POSTGRES: u32 = 14;

/// Longest time that one catalogue operation may take, waiting for a connection included.
const OPERATION_DEADLINE: Duration = Duration::from_secs(10);
/// Longest wait for connections that are still in use when the store is closed.
const CLOSE_DEADLINE: Duration = Duration::from_secs(5);
/// The advisory lock that whoever migrates holds.
const MIGRATING: i64 = 0x6761_7465_7761_7901;
/// Longest time for an operation that somebody's call waits for: it is refused instead.
const PROMPT_DEADLINE: Duration = Duration::from_secs(2);
/// Longest time for signing in to a Postgres that should be there.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// How to reach Postgres.
#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// `postgres://...`; `None` starts a private Postgres in `data_dir`.
    pub url: Option<SecretString>,
    /// Another sign-in for migrations, where `url`'s role does not own the tables.
    pub migrate_url: Option<SecretString>,
    /// Where the private Postgres lives.
    pub data_dir: PathBuf,
    /// Migrate when opening.
    pub migrate: bool,
    /// Most connections that the pool holds.
    pub max_connections: u32,
    /// Longest wait for a connection.
    pub acquire_timeout: Duration,
}

/// The connected database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    pool: PgPool,
    private: Option<Arc<PrivatePostgres>>,
}

impl Store {
    /// Connects (starting the private Postgres without a URL), checks the server, migrates if asked to.
    pub async fn open(settings: &StoreSettings) -> Result<Store, StoreError> {
        let private = match &settings.url {
            Some(_) => None,
            None => Some(Arc::new(PrivatePostgres::start(&settings.data_dir).await?)),
        };
        match open_pool(settings, private.as_deref()).await {
            Ok(pool) => Ok(Store { pool, private }),
            Err(error) => {
                if let Some(private) = private {
                    private.leave().await;
                }
                Err(error)
            }
        }
    }

    /// Applies the missing migrations and nothing else; safe while replicas run or do the same.
    pub async fn migrate(settings: &StoreSettings) -> Result<(), StoreError> {
        let private = match &settings.url {
            Some(_) => None,
            None => Some(PrivatePostgres::start(&settings.data_dir).await?),
        };
        let done = match Target::of(settings, private.as_ref()) {
            Ok(target) => migrate(&target).await,
            Err(error) => Err(error),
        };
        if let Some(private) = private {
            private.leave().await;
        }
        done
    }

    /// The pool; its connections act as `gateway_app`.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// How many connections are in use, and how many may be.
    pub fn pool_use(&self) -> (usize, usize) {
        let open = usize::try_from(self.pool.size()).unwrap_or(usize::MAX);
        let all = usize::try_from(self.pool.options().get_max_connections()).unwrap_or(usize::MAX);
        (open.saturating_sub(self.pool.num_idle()), all)
    }

    /// Is Postgres there and answering?
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.promptly("ping", async {
            self.pool.acquire().await?.ping().await?;
            Ok(())
        })
        .await
    }

    /// Closes every connection, of all clones; the last user of a private Postgres stops it.
    pub async fn close(self) {
        if tokio::time::timeout(CLOSE_DEADLINE, self.pool.close()).await.is_err() {
            tracing::warn!("some database connections were still in use when the store was closed");
        }
        if let Some(private) = &self.private {
            private.leave().await;
        }
    }

    /// Runs `work` with the deadline that every catalogue operation has.
    pub(crate) fn within<'a, T: 'a>(
        &'a self,
        tried: &'static str,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'a,
    ) -> impl Future<Output = Result<T, StoreError>> + Send + 'a {
        bounded(OPERATION_DEADLINE, tried, work)
    }

    /// Runs `work` with the deadline of what somebody's call waits for.
    pub(crate) fn promptly<'a, T: 'a>(
        &'a self,
        tried: &'static str,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'a,
    ) -> impl Future<Output = Result<T, StoreError>> + Send + 'a {
        bounded(PROMPT_DEADLINE, tried, work)
    }

    /// A transaction that changes the catalogue. It holds the catalogue's counter from its start, so that
    /// such transactions run one after the other and cannot deadlock.
    pub(crate) async fn change(&self) -> Result<Transaction<'static, Postgres>, StoreError> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query!("select version from catalogue_version for update")
            .fetch_one(&mut *transaction)
            .await?;
        Ok(transaction)
    }
}

/// On the heap, for the work is large.
fn bounded<'a, T: 'a>(
    deadline: Duration,
    tried: &'static str,
    work: impl Future<Output = Result<T, StoreError>> + Send + 'a,
) -> impl Future<Output = Result<T, StoreError>> + Send + 'a {
    let bounded = tokio::time::timeout(deadline, Box::pin(work));
    async move { bounded.await.unwrap_or(Err(StoreError::TimedOut(tried))) }
}

async fn open_pool(
    settings: &StoreSettings,
    private: Option<&PrivatePostgres>,
) -> Result<PgPool, StoreError> {
    let target = Target::of(settings, private)?;
    if settings.migrate {
        migrate(&target).await?;
    }
    check(&target.app).await?;
    let pool = PgPoolOptions::new()
        .max_connections(settings.max_connections)
        .acquire_timeout(settings.acquire_timeout)
        .after_connect(|connection, _| {
            Box::pin(async move { connection.execute("set role gateway_app").await.map(drop) })
        })
        .connect_with(target.app)
        .await?;
    Ok(pool)
}

/// Where to sign in.
struct Target {
    app: PgConnectOptions,
    owner: PgConnectOptions,
}

impl Target {
    fn of(
        settings: &StoreSettings,
        private: Option<&PrivatePostgres>,
    ) -> Result<Target, StoreError> {
        let app = match (&settings.url, private) {
            (Some(url), _) => options("database.url", url)?,
            (None, Some(private)) => private.connect_options(),
            (None, None) => return Err(StoreError::Setup("no database to connect to".into())),
        };
        let owner = match &settings.migrate_url {
            Some(url) => options("database.migrate_url", url)?,
            None => app.clone(),
        };
        Ok(Target { app: ours(app), owner: ours(owner) })
    }
}

/// The URL holds a password: the error names the key, never the value.
fn options(key: &str, url: &SecretString) -> Result<PgConnectOptions, StoreError> {
    let url = url.expose_secret();
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(StoreError::Setup(format!("{key}: expected postgres://...")));
    }
    PgConnectOptions::from_str(url)
        .map_err(|_| StoreError::Setup(format!("{key}: not a usable postgres:// URL")))
}

fn ours(options: PgConnectOptions) -> PgConnectOptions {
    options.application_name("gateway").disable_statement_logging()
}

async fn connect(options: &PgConnectOptions) -> Result<PgConnection, StoreError> {
    match tokio::time::timeout(CONNECT_DEADLINE, PgConnection::connect_with(options)).await {
        Ok(connected) => Ok(connected?),
        Err(_) => Err(StoreError::TimedOut("connect")),
    }
}

async fn migrate(target: &Target) -> Result<(), StoreError> {
    let mut connection = connect(&target.owner).await?;
    refuse_old(&mut connection).await?;
    // Replicas that start together migrate one after the other. Ends with the connection.
    sqlx::query("select pg_advisory_lock($1)").bind(MIGRATING).execute(&mut connection).await?;
    migrator().run_direct(None, &mut connection, false).await?;
    connection.execute("grant select on _sqlx_migrations to gateway_app").await?;
    let (app, owner) = (target.app.get_username(), target.owner.get_username());
    if app != owner {
        let grant = format!("grant gateway_app to \"{}\"", app.replace('"', "\"\""));
        connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(grant))).await?;
    }
    connection.close().await?;
    Ok(())
}

async fn check(app: &PgConnectOptions) -> Result<(), StoreError> {
    let mut connection = connect(app).await?;
    refuse_old(&mut connection).await?;
    if let Err(refusal) = connection.execute("set role gateway_app").await {
        return Err(StoreError::Setup(format!(
            "the sign-in role \"{user}\" cannot become gateway_app ({refusal}); run `gateway migrate` \
             first, and if it goes on: GRANT gateway_app TO \"{user}\"",
            user = app.get_username(),
        )));
    }
    if let Some(missing) = missing_migration(&mut connection).await? {
        return Err(StoreError::Setup(format!(
            "the database lacks migration {missing}; run `gateway migrate`"
        )));
    }
    let fsync: String = sqlx::query_scalar("show fsync").fetch_one(&mut connection).await?;
    if fsync != "on" {
        tracing::warn!("Postgres runs with fsync off: a power loss can take audit records with it");
    }
    connection.close().await?;
    Ok(())
}

/// Number and description of the first migration that was not applied.
async fn missing_migration(connection: &mut PgConnection) -> Result<Option<String>, StoreError> {
    let begun: bool = sqlx::query_scalar("select to_regclass('_sqlx_migrations') is not null")
        .fetch_one(&mut *connection)
        .await?;
    let applied: Vec<i64> = if begun {
        sqlx::query_scalar("select version from _sqlx_migrations where success")
            .fetch_all(connection)
            .await?
    } else {
        Vec::new()
    };
    Ok(migrator()
        .iter()
        .find(|migration| !applied.contains(&migration.version))
        .map(|migration| format!("{} ({})", migration.version, migration.description)))
}

async fn refuse_old(connection: &mut PgConnection) -> Result<(), StoreError> {
    let version: String =
        sqlx::query_scalar("show server_version_num").fetch_one(&mut *connection).await?;
    let major = version.parse::<u32>().unwrap_or(0) / 10_000;
    if major < OLDEST_POSTGRES {
        return Err(StoreError::Setup(format!(
            "Postgres {major} is too old, {OLDEST_POSTGRES} or newer is needed"
        )));
    }
    Ok(())
}
