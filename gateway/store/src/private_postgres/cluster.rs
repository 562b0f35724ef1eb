//! The files and the process of the private Postgres: made once, started, looked at, stopped.
//!
//! ```text
//! DATA_DIR/postgres/         0700, owned by the account that Postgres runs as
//!     data/                  the cluster; data.new-* while it is being made
//!     run/                   the socket (below /tmp where the path would be too long for one)
//!     log                    what the server says
//! ```

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ring::digest::{SHA256, digest};
use tokio::process::Command;

use super::NAME;
use super::account::Account;
use super::error::{PrivatePostgresError, trouble};
use super::install::Installation;

/// A socket's whole path may have 103 bytes on every system; its file name takes 15 of them.
const LONGEST_SOCKET_DIR: usize = 103 - "/.s.PGSQL.5432".len();
const PROGRAM_DEADLINE: Duration = Duration::from_secs(120);
const LONGEST_LOG: u64 = 4 << 20;

#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) data_dir: PathBuf,
    pub(super) data: PathBuf,
    pub(super) socket_dir: PathBuf,
    pub(super) log: PathBuf,
    home: PathBuf,
    account: Account,
    installation: Installation,
}

impl Cluster {
    /// The cluster below `data_dir` (absolute), made if it is not there. Its lock must be held.
    pub(super) async fn open(
        data_dir: &Path,
        account: Account,
        installed: Vec<Installation>,
    ) -> Result<Cluster, PrivatePostgresError> {
        let home = data_dir.join("postgres");
        account.reach(data_dir)?;
        account.own(&home)?;
        let socket_dir = socket_dir(&home);
        if socket_dir.exists() {
            refuse_strangers(&socket_dir, &home)?;
        }
        account.own(&socket_dir)?;
        let data = home.join("data");
        let installation = choose(&data, installed)?;
        let cluster = Cluster {
            data_dir: data_dir.to_owned(),
            log: home.join("log"),
            data,
            socket_dir,
            home,
            account,
            installation,
        };
        if !cluster.data.join("PG_VERSION").exists() {
            cluster.make().await?;
        }
        Ok(cluster)
    }

    /// `initdb` beside the final place, so that what is there is whole.
    async fn make(&self) -> Result<(), PrivatePostgresError> {
        // Under a name of its own: the `initdb` of a gateway that was killed may still be at work.
        for entry in std::fs::read_dir(&self.home).map_err(trouble("list", &self.home))?.flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(b"data.new") {
                std::fs::remove_dir_all(entry.path()).ok();
            }
        }
        let unfinished = self.home.join(format!("data.new-{}", std::process::id()));
        let mut initdb = self.command("initdb");
        initdb.arg("-D").arg(&unfinished).args(["-U", NAME, "-E", "UTF8", "--locale=C"]);
        initdb.args(["--auth-local=trust", "--auth-host=reject"]);
        finish(initdb, &self.installation.program("initdb")).await?;
        std::fs::rename(&unfinished, &self.data).map_err(trouble("rename", &unfinished))
    }

    /// Starts the server and waits until it accepts connections.
    pub(super) async fn start(&self) -> Result<(), PrivatePostgresError> {
        let conf = self.conf();
        std::fs::write(&conf, settings(&self.socket_dir)).map_err(trouble("write", &conf))?;
        self.account.own_file(&conf)?;
        if std::fs::metadata(&self.log).is_ok_and(|log| log.len() > LONGEST_LOG) {
            std::fs::rename(&self.log, self.home.join("log.old"))
                .map_err(trouble("rename", &self.log))?;
        }
        // pg_ctl pastes -D and -l into a shell command unescaped: named from within `home`, they are plain.
        let mut start = self.command("pg_ctl");
        start.args(["start", "-w", "-s", "-t", "110", "-D", "data", "-l", "log", "-o"]);
        start.arg(format!("-c config_file={}", shell(&conf)));
        match finish(start, &self.installation.program("pg_ctl")).await {
            Err(PrivatePostgresError::Program { program, output }) => {
                let output = format!("{output} {}", tail(&self.log)).trim().to_owned();
                Err(PrivatePostgresError::Program { program, output })
            }
            done => done,
        }
    }

    /// Stops the server: sessions are ended, what is committed is on disk.
    pub(super) async fn stop(&self) -> Result<(), PrivatePostgresError> {
        if self.pid().is_none() {
            return Ok(());
        }
        for mode in ["fast", "immediate"] {
            let mut stop = self.command("pg_ctl");
            stop.args(["stop", "-w", "-s", "-t", "20", "-m", mode, "-D", "data"]);
            let stopped = finish(stop, &self.installation.program("pg_ctl")).await;
            if stopped.is_ok() || mode == "immediate" {
                return stopped;
            }
        }
        Ok(())
    }

    /// The process id in `postmaster.pid`, whether or not that process still lives.
    pub(super) fn pid(&self) -> Option<u32> {
        let text = std::fs::read_to_string(self.data.join("postmaster.pid")).ok()?;
        text.lines().next()?.trim().parse().ok()
    }

    /// Does the process of `postmaster.pid` live, and is it the server of these data? After a restart of
    /// the machine or the container its number may belong to anything.
    pub(super) async fn runs(&self) -> bool {
        let Some(pid) = self.pid() else { return false };
        let conf = format!("config_file={}", self.conf().display());
        if Path::new("/proc/self/cmdline").exists() {
            let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            return words.split(|byte| *byte == 0).any(|word| word == conf.as_bytes());
        }
        let listed = Command::new("ps").args(["-o", "command=", "-p", &pid.to_string()]).output();
        listed.await.is_ok_and(|said| String::from_utf8_lossy(&said.stdout).contains(&conf))
    }

    /// Our settings; named on the server's command line, by which it is recognised.
    fn conf(&self) -> PathBuf {
        self.data.join("gateway.conf")
    }

    /// Removes the `postmaster.pid` of a server that is no more. Postgres would refuse to start if the
    /// number in it meanwhile belonged to another process of the same account.
    pub(super) fn clear_stale_pid(&self) -> Result<(), PrivatePostgresError> {
        let path = self.data.join("postmaster.pid");
        match std::fs::remove_file(&path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(trouble("remove", &path)(error)),
        }
    }

    #[cfg(test)]
    pub(super) fn account(&self) -> Account {
        self.account.clone()
    }

    fn command(&self, program: &str) -> Command {
        self.account.command(&self.installation.program(program), &self.home)
    }
}

fn socket_dir(home: &Path) -> PathBuf {
    let inside = home.join("run");
    if inside.as_os_str().len() <= LONGEST_SOCKET_DIR {
        return inside;
    }
    let hash = digest(&SHA256, home.as_os_str().as_encoded_bytes());
    let short: String = hash.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    PathBuf::from(format!("/tmp/gateway-postgres-{short}"))
}

/// Below /tmp somebody else may have made the directory before us.
fn refuse_strangers(socket_dir: &Path, home: &Path) -> Result<(), PrivatePostgresError> {
    let owner = |dir: &Path| std::fs::symlink_metadata(dir).map(|found| found.uid());
    let (theirs, ours) = (owner(socket_dir), owner(home));
    if theirs.map_err(trouble("examine", socket_dir))? != ours.map_err(trouble("examine", home))? {
        return Err(trouble("use", socket_dir)(std::io::Error::other(
            "it belongs to another user",
        )));
    }
    Ok(())
}

/// The installation that fits the data; the preferred one where there are none yet.
fn choose(data: &Path, installed: Vec<Installation>) -> Result<Installation, PrivatePostgresError> {
    let found = std::fs::read_to_string(data.join("PG_VERSION")).ok();
    let found = found.as_deref().map(str::trim);
    let majors: Vec<String> = installed.iter().map(|one| one.major.to_string()).collect();
    installed
        .into_iter()
        .find(|one| found.is_none_or(|found| one.major.to_string() == found))
        .ok_or_else(|| PrivatePostgresError::OtherVersion {
            path: data.to_owned(),
            found: found.unwrap_or_default().to_owned(),
            installed: majors.join(", "),
        })
}

fn settings(socket_dir: &Path) -> String {
    let socket_dir = socket_dir.to_string_lossy().replace('"', "\"\"");
    let socket_dir = socket_dir.replace('\\', "\\\\").replace('\'', "''");
    format!(
        "# Written by the gateway at every start.
include_if_exists 'postgresql.conf'
listen_addresses = ''
port = 5432
unix_socket_directories = '\"{socket_dir}\"'
unix_socket_permissions = 0700
max_connections = 200
shared_buffers = 64MB
# COMMIT means on disk.
fsync = on
full_page_writes = on
synchronous_commit = on
# Little to replay after a kill.
max_wal_size = 256MB
min_wal_size = 64MB
logging_collector = off
log_destination = 'stderr'
log_min_messages = warning
"
    )
}

/// pg_ctl hands `-o` to a shell.
fn shell(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', "'\\''"))
}

async fn finish(mut command: Command, program: &Path) -> Result<(), PrivatePostgresError> {
    let failed = |output: String| PrivatePostgresError::Program { program: program.into(), output };
    match tokio::time::timeout(PROGRAM_DEADLINE, command.output()).await {
        Err(_) => Err(failed(format!("not done within {PROGRAM_DEADLINE:?}"))),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Ok(Ok(done)) if done.status.success() => Ok(()),
        Ok(Ok(done)) => Err(failed(String::from_utf8_lossy(&done.stderr).trim().to_owned())),
    }
}

/// The last lines of the log, where Postgres says why.
fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("; ")
}
