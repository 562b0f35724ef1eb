//! For the tests of this crate: one throwaway Postgres for all tests of a process, a database for each.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use secrecy::SecretString;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tokio::sync::OnceCell;

use crate::private_postgres::PrivatePostgres;
use crate::{Store, StoreSettings};

static SERVER: OnceCell<PrivatePostgres> = OnceCell::const_new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// The Postgres that the tests of this process share.
pub(crate) async fn server() -> &'static PrivatePostgres {
    SERVER
        .get_or_init(|| async {
            PrivatePostgres::throwaway(&std::env::temp_dir())
                .await
                .expect("a Postgres for the tests")
        })
        .await
}

/// The URL of an empty database that nobody else uses.
pub(crate) async fn empty_database() -> String {
    let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    superuser(&format!("create database {name}")).await;
    server().await.url(Some(&name))
}

/// Runs one statement as superuser.
pub(crate) async fn superuser(sql: &str) {
    let options = server().await.connect_options();
    let mut connection = PgConnection::connect_with(&options).await.unwrap();
    connection.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await.unwrap();
    connection.close().await.unwrap();
}

/// How to open that database.
pub(crate) fn settings(url: &str) -> StoreSettings {
    StoreSettings {
        url: Some(SecretString::from(url.to_owned())),
        migrate_url: None,
        data_dir: std::env::temp_dir(),
        migrate: true,
        max_connections: 5,
        acquire_timeout: Duration::from_secs(5),
    }
}

/// A store on a database of its own.
pub(crate) async fn store() -> Store {
    let url = empty_database().await;
    Store::open(&settings(&url)).await.expect("a migrated store")
}
