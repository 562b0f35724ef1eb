//! Child processes that cannot outlive the tests: a watchdog holds a pipe of ours and ends them when it
//! closes, however we died. Signals go to process ids that we started, never to names.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Waits for the pipe to close; then `$1` is the signal, `$2` the process, `$3` a folder to remove.
const WATCHDOG: &str = r#"read -r _; kill -s "$1" "$2"; sleep 1; kill -s KILL "$2" 2>/dev/null; [ -z "$3" ] || rm -rf -- "$3""#;

/// A running child and its watchdog.
#[derive(Debug)]
pub struct Tied {
    child: Child,
    watchdog: Child,
    ended: Option<ExitStatus>,
    end: &'static str,
}

impl Tied {
    /// Starts `command` with its output in `log` (appended). When we die it gets the signal `end` and
    /// `folder`, where given, is removed.
    pub fn start(
        mut command: Command,
        log: &Path,
        end: &'static str,
        folder: Option<&Path>,
    ) -> io::Result<Tied> {
        let out = File::options().create(true).append(true).open(log)?;
        let child = command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out).spawn()?;
        let watchdog = Command::new("sh")
            .args(["-c", WATCHDOG, "watchdog", end])
            .arg(child.id().to_string())
            .arg(folder.unwrap_or(Path::new("")))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Tied { child, watchdog, ended: None, end })
    }

    /// The child's process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal (`TERM`, `KILL`, `STOP`, `CONT`, ...) to the child, if it still runs.
    pub fn signal(&mut self, name: &str) {
        if self.running() {
            signal(self.child.id(), name);
        }
    }

    /// False once the child has ended.
    pub fn running(&mut self) -> bool {
        self.wait(Duration::ZERO).is_none()
    }

    /// The child's exit status, if it ends within `bound`.
    pub fn wait(&mut self, bound: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + bound;
        while self.ended.is_none() {
            match self.child.try_wait() {
                Ok(Some(status)) => {
                    // The id may be given to somebody else from now on: no more signals to it.
                    let _ = self.watchdog.kill();
                    let _ = self.watchdog.wait();
                    self.ended = Some(status);
                }
                _ if Instant::now() >= until => break,
                _ => thread::sleep(Duration::from_millis(5)),
            }
        }
        self.ended
    }

    /// Kills the child with SIGKILL and waits until it is gone.
    pub fn kill(&mut self) {
        self.signal("KILL");
        self.wait(Duration::from_secs(10)).expect("SIGKILL ends a process");
    }
}

impl Drop for Tied {
    fn drop(&mut self) {
        self.signal(self.end);
        if self.wait(Duration::from_secs(5)).is_none() {
            self.signal("KILL");
            self.wait(Duration::from_secs(5));
        }
    }
}

/// Sends a signal to a process that we know to be ours.
pub(crate) fn signal(process: u32, name: &str) {
    let mut kill = Command::new("kill");
    // It may have ended by itself in the meantime.
    let sent = kill.args(["-s", name, &process.to_string()]).stderr(Stdio::null()).status();
    assert!(sent.is_ok(), "the command kill is missing");
}

/// The processes whose parent is `parent`.
pub(crate) fn children(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|id| parent_of(*id) == Some(parent)).collect()
}

fn parent_of(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The second field is the name in parentheses and may hold anything.
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// A TCP port of 127.0.0.1 that nobody listens on, below the range from which the system takes its own.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + (std::process::id() % 1_000) as u16 * 12;
    for _ in 0..12_000 {
        let port = 20_000 + (first - 20_000 + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between 20000 and 32000");
}
