//! The promises of the private Postgres, on real servers.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use sqlx::{Connection, Executor, PgConnection};

use super::account::Account;
use super::error::PrivatePostgresError;
use super::install::Installation;
use super::*;

async fn throwaway() -> PrivatePostgres {
    PrivatePostgres::throwaway(&std::env::temp_dir()).await.expect("a private Postgres")
}

async fn run_sql(server: &PrivatePostgres, sql: &'static str) -> Result<(), sqlx::Error> {
    let mut connection = PgConnection::connect_with(&server.connect_options()).await?;
    connection.execute(sql).await?;
    connection.close().await
}

#[tokio::test]
async fn a_killed_gateway_finds_its_server_running() {
    let first = throwaway().await;
    run_sql(&first, "create table kept (id int)").await.unwrap();
    // A killed process leaves without a word: only its locks go.
    first.using.lock().unwrap().take();
    let second = PrivatePostgres::start(&first.cluster.data_dir).await.unwrap();
    assert!(first.pid().is_some());
    assert_eq!(first.pid(), second.pid());
    run_sql(&second, "insert into kept values (1)").await.unwrap();
}

#[tokio::test]
async fn the_last_to_leave_stops_it() {
    let first = throwaway().await;
    let second = PrivatePostgres::start(&first.cluster.data_dir).await.unwrap();
    first.leave().await;
    first.leave().await;
    run_sql(&second, "select 1").await.unwrap();
    second.leave().await;
    assert_eq!(second.pid(), None);
    assert!(run_sql(&second, "select 1").await.is_err());
}

#[tokio::test]
async fn several_that_start_together_share_one() {
    let first = throwaway().await;
    first.leave().await;
    let dir = &first.cluster.data_dir;
    let (a, b, c) = tokio::join!(
        PrivatePostgres::start(dir),
        PrivatePostgres::start(dir),
        PrivatePostgres::start(dir)
    );
    let pids = [a.unwrap().pid(), b.unwrap().pid(), c.unwrap().pid()];
    assert!(pids[0].is_some() && pids.iter().all(|pid| *pid == pids[0]), "{pids:?}");
}

#[tokio::test]
async fn a_killed_server_is_started_again_with_all_it_promised() {
    let server = throwaway().await;
    run_sql(&server, "create table kept as select 1 as id").await.unwrap();
    let pid = server.pid().unwrap().to_string();
    assert!(
        std::process::Command::new("sh")
            .args(["-c", "kill -9 $0", &pid])
            .status()
            .unwrap()
            .success()
    );
    let again = PrivatePostgres::start(&server.cluster.data_dir).await.unwrap();
    assert_ne!(again.pid().unwrap().to_string(), pid);
    run_sql(&again, "select 1 / count(*) from kept").await.unwrap();
}

#[tokio::test]
async fn a_pid_that_now_belongs_to_somebody_else_is_stale() {
    let server = throwaway().await;
    let pid_file = server.cluster.data.join("postmaster.pid");
    let old = std::fs::read_to_string(&pid_file).unwrap();
    server.leave().await;
    // As the account itself: Postgres on its own would take this one for a running server.
    let account = &server.cluster.account();
    let mut stranger = account.command(&PathBuf::from("/bin/sleep"), &std::env::temp_dir());
    let stranger = stranger.arg("300").spawn().unwrap();
    let pid = stranger.id().unwrap().to_string();
    let (_, rest) = old.split_once('\n').unwrap();
    std::fs::write(&pid_file, format!("{pid}\n{rest}")).unwrap();
    let again = PrivatePostgres::start(&server.cluster.data_dir).await.unwrap();
    assert_ne!(again.pid().unwrap().to_string(), pid);
    run_sql(&again, "select 1").await.unwrap();
}

#[tokio::test]
async fn it_is_reached_by_its_socket_only_and_syncs() {
    let server = throwaway().await;
    let mut connection = PgConnection::connect_with(&server.connect_options()).await.unwrap();
    for (setting, expected) in [
        ("listen_addresses", ""),
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
        ("max_wal_size", "256MB"),
    ] {
        let found: String = sqlx::query_scalar("select current_setting($1)")
            .bind(setting)
            .fetch_one(&mut connection)
            .await
            .unwrap();
        assert_eq!(found, expected, "{setting}");
    }
    for dir in [&server.cluster.socket_dir, &server.cluster.data] {
        let mode = std::fs::metadata(dir).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{}", dir.display());
    }
    let url = server.url(None);
    PgConnection::connect(&url).await.unwrap_or_else(|error| panic!("{url}: {error}"));
}

#[tokio::test]
async fn odd_and_long_paths() {
    let outer = throwaway().await;
    outer.leave().await;
    let odd = outer.cluster.data_dir.join("it's a \"place\"");
    let long = outer.cluster.data_dir.join("x".repeat(120));
    for dir in [odd, long] {
        let server = PrivatePostgres::start(&dir).await.unwrap();
        run_sql(&server, "select 1").await.unwrap();
        PgConnection::connect(&server.url(None)).await.unwrap();
        server.leave().await;
        assert_eq!(server.pid(), None, "{}", dir.display());
        if !server.cluster.socket_dir.starts_with(&dir) {
            std::fs::remove_dir_all(&server.cluster.socket_dir).unwrap();
        }
    }
}

#[tokio::test]
async fn data_of_another_major_version_are_refused() {
    let server = throwaway().await;
    server.leave().await;
    let version = server.cluster.data.join("PG_VERSION");
    std::fs::write(&version, "12\n").unwrap();
    let refused = PrivatePostgres::start(&server.cluster.data_dir).await.unwrap_err().to_string();
    assert!(refused.contains("belong to PostgreSQL 12, installed is"), "{refused}");
    assert!(refused.contains(&server.cluster.data.display().to_string()), "{refused}");
    assert_eq!(server.pid(), None);
}

#[tokio::test]
async fn an_unfinished_cluster_is_made_anew() {
    let server = throwaway().await;
    server.leave().await;
    let half = server.cluster.data.with_file_name("data.new-1");
    std::fs::rename(&server.cluster.data, &half).unwrap();
    std::fs::remove_file(half.join("PG_VERSION")).unwrap();
    let again = PrivatePostgres::start(&server.cluster.data_dir).await.unwrap();
    run_sql(&again, "select 1").await.unwrap();
    assert!(!half.exists());
}

#[tokio::test]
async fn without_postgres_the_error_names_the_package() {
    let empty = vec![PathBuf::from("/nonexistent/bin")];
    let refused = Installation::find_in(&empty).await.unwrap_err().to_string();
    assert!(refused.contains("install the package `postgresql`"), "{refused}");
    assert!(refused.contains("/nonexistent/bin"), "{refused}");
}

#[test]
fn a_closed_directory_above_the_data_is_named() {
    let account = Account::Other { name: "nobody", uid: 65_534, gid: 65_534 };
    let parent = std::env::temp_dir().join(format!("gateway-closed-{}", std::process::id()));
    let data_dir = parent.join("data");
    std::fs::create_dir_all(&data_dir).unwrap();
    let mode = |path: &PathBuf, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(&parent, 0o700);
    let refused = account.reach(&data_dir);
    mode(&parent, 0o711);
    mode(&data_dir, 0o700);
    account.reach(&data_dir).expect("the data directory itself is opened");
    let opened = std::fs::metadata(&data_dir).unwrap().permissions().mode();
    std::fs::remove_dir_all(&parent).unwrap();
    assert_eq!(opened & 0o777, 0o711);
    match refused {
        Err(error @ PrivatePostgresError::Unreachable { .. }) => {
            let text = error.to_string();
            assert!(text.contains(&format!("chmod o+x {}", parent.display())), "{text}");
        }
        other => panic!("{other:?}"),
    }
}
