//! A private Postgres for this test process, a fresh database for every test, and what a test may do to
//! it: kill it, start it again, freeze it. Real files, fsync on.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use sqlx::postgres::PgPoolOptions;
use sqlx::{PgPool, Row};
use uuid::Uuid;

use crate::process::{Tied, children, free_port, signal};
use crate::wait::eventually;

/// A running Postgres of our own.
#[derive(Debug)]
pub struct Postgres {
    bin: PathBuf,
    dir: PathBuf,
    port: u16,
    owner: Option<(u32, u32)>,
    server: Mutex<Option<Tied>>,
}

/// One test's database.
#[derive(Debug, Clone)]
pub struct Database {
    /// Its name.
    pub name: String,
    /// How the gateway connects: as the superuser, over TCP.
    pub url: String,
    /// The test's own connections.
    pub pool: PgPool,
}

impl Postgres {
    /// The one that the tests of this process share; nobody may harm it.
    pub fn shared() -> &'static Postgres {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(Postgres::start)
    }

    /// The postmaster's process id, while it runs.
    pub fn process_id(&self) -> Option<u32> {
        let server = self.server.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        server.as_ref().map(Tied::id)
    }

    /// A Postgres of one's own, to be killed.
    pub fn start() -> Postgres {
        let postgres = Postgres::prepare();
        postgres.initialise();
        postgres.start_again();
        postgres
    }

    /// A folder and a port.
    fn prepare() -> Postgres {
        let bin = find_bin();
        // Postgres refuses to run as root.
        let owner = (whoami() == "0").then(|| account("postgres"));
        let dir = std::env::temp_dir().join(format!("gateway-tests-{}", Uuid::new_v4().simple()));
        fs::create_dir(&dir).expect("the temporary folder can be written");
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).expect("the folder is ours");
        if let Some((user, group)) = owner {
            chown(&dir, Some(user), Some(group)).expect("root may give a folder away");
        }
        Postgres { bin, dir, port: free_port(), owner, server: Mutex::new(None) }
    }

    /// A copy of this one that follows it. From here on this one acknowledges what is on both disks only.
    pub async fn standby(&self) -> Postgres {
        let standby = Postgres::prepare();
        let mut copy = standby.command("pg_basebackup");
        copy.args(["-h", "127.0.0.1", "-U", "postgres", "-R", "-X", "stream", "-c", "fast"]);
        copy.args(["-p", &self.port.to_string()]).arg("-D").arg(standby.data());
        let output = copy.output().expect("pg_basebackup runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "pg_basebackup: {said}");
        standby.start_again();
        let admin = self.connect("postgres", 1).await;
        let run = async |sql: &'static str| sqlx::query(sql).execute(&admin).await;
        run("alter system set synchronous_standby_names = '*'").await.expect("it is ours");
        run("select pg_reload_conf()").await.expect("it is ours");
        let follows = "select count(*) from pg_stat_replication where sync_state = 'sync'";
        eventually("the standby follows", Duration::from_secs(30), async || {
            let row = sqlx::query(follows).fetch_one(&admin).await.ok()?;
            (row.get::<i64, _>(0) == 1).then_some(())
        })
        .await;
        admin.close().await;
        standby
    }

    /// Makes a standby the primary; returns once it takes writes.
    pub fn promote(&self) {
        let mut promote = self.command("pg_ctl");
        let output = promote.args(["promote", "-w", "-D"]).arg(self.data()).output();
        let output = output.expect("pg_ctl runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "pg_ctl promote: {said}{}", self.log());
    }

    /// A database that is there already.
    pub async fn open(&self, name: &str) -> Database {
        let pool = self.connect(name, 4).await;
        Database { url: self.url(name), name: name.into(), pool }
    }

    fn initialise(&self) {
        let mut initdb = self.command("initdb");
        initdb.arg("-D").arg(self.data());
        initdb.args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"]);
        let output = initdb.output().expect("initdb runs");
        assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Starts it, also after it was killed; returns once it accepts connections.
    pub fn start_again(&self) {
        let mut server = self.server.lock().expect("no test panics in here");
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let running = server.get_or_insert_with(|| self.launch());
            if self.answers() {
                return;
            }
            // After a kill, what is left of the old server may still hold its shared memory: again.
            if !running.running() {
                *server = None;
            }
            assert!(Instant::now() < end, "Postgres does not start: {}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn launch(&self) -> Tied {
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).args(["-p", &self.port.to_string()]);
        let socket = self.dir.display().to_string();
        let settings = [
            ("listen_addresses", "127.0.0.1"),
            ("unix_socket_directories", socket.as_str()),
            ("max_connections", "400"),
            ("fsync", "on"),
            ("max_wal_size", "256MB"),
            ("shared_buffers", "128MB"),
        ];
        for (name, value) in settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        let log = self.dir.join("log");
        Tied::start(command, &log, "QUIT", Some(&self.dir)).expect("postgres starts")
    }

    fn answers(&self) -> bool {
        let mut ready = self.command("pg_isready");
        ready.args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
        ready.status().is_ok_and(|status| status.success())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command.current_dir(&self.dir).env_remove("PGDATA").env("LC_ALL", "C");
        if let Some((user, group)) = self.owner {
            command.uid(user).gid(group);
        }
        command
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Kills it with all its processes, as when the machine loses it.
    pub fn kill(&self) {
        let Some(mut server) = self.server.lock().expect("no test panics in here").take() else {
            return;
        };
        let backends = children(server.id());
        server.kill();
        for backend in backends {
            signal(backend, "KILL");
        }
    }

    /// Stops all its processes without ending them: connections stay open, nothing answers.
    pub fn freeze(&self) {
        self.signal_all("STOP");
    }

    /// Undoes [`Postgres::freeze`].
    pub fn thaw(&self) {
        self.signal_all("CONT");
    }

    fn signal_all(&self, name: &str) {
        if let Some(server) = self.server.lock().expect("no test panics in here").as_mut() {
            server.signal(name);
            for backend in children(server.id()) {
                signal(backend, name);
            }
        }
    }

    /// A new, empty database.
    pub async fn database(&self) -> Database {
        let name = format!("t_{}", Uuid::new_v4().simple());
        let admin = self.connect("postgres", 1).await;
        let create = sqlx::AssertSqlSafe(format!("create database {name}"));
        sqlx::query(create).execute(&admin).await.expect("a database can be made");
        admin.close().await;
        self.open(&name).await
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    async fn connect(&self, database: &str, connections: u32) -> PgPool {
        PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(Duration::from_secs(30))
            .connect(&self.url(database))
            .await
            .expect("our Postgres accepts connections")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.thaw();
        // Ended before its folder is removed.
        self.server.lock().expect("no test panics in here").take();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Database {
    /// The same database through another port of this machine.
    pub fn url_through(&self, port: u16) -> String {
        format!("postgres://postgres@127.0.0.1:{port}/{}", self.name)
    }

    /// The single value of a query.
    pub async fn count(&self, sql: &'static str) -> i64 {
        let row = sqlx::query(sql).fetch_one(&self.pool).await.expect("the query runs");
        row.get(0)
    }
}

fn find_bin() -> PathBuf {
    let given = std::env::var_os("GATEWAY_PG_BIN").map(PathBuf::from);
    let packaged = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut packaged: Vec<PathBuf> = packaged.map(|entry| entry.path().join("bin")).collect();
    packaged.sort_by_key(|path| {
        let version = path.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        std::cmp::Reverse(version.and_then(|text| text.parse::<u32>().ok()))
    });
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = given.into_iter().chain(packaged).chain(std::env::split_paths(&path));
    all.into_iter()
        .find(|bin| bin.join("initdb").is_file() && bin.join("postgres").is_file())
        .expect("no Postgres found: install the package postgresql")
}

fn whoami() -> String {
    let output = Command::new("id").arg("-u").output().expect("the command id runs");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// User and group id of an account.
fn account(name: &str) -> (u32, u32) {
    let accounts = fs::read_to_string("/etc/passwd").expect("/etc/passwd can be read");
    let mut lines = accounts.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let fields = lines.find(|fields| fields.first() == Some(&name));
    let fields =
        fields.unwrap_or_else(|| panic!("root needs an account {name} to run Postgres as"));
    let id = |index: usize| fields[index].parse().expect("ids in /etc/passwd are numbers");
    (id(2), id(3))
}
