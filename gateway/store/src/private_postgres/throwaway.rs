//! A Postgres for one test process: in a temporary directory, gone when the process ends, however it ends.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use std::os::unix::process::CommandExt;

use super::PrivatePostgres;
use super::error::{PrivatePostgresError, trouble};

/// Reads from a pipe that our process holds. When that ends it stops the server and removes its files.
#[derive(Debug)]
pub(super) struct Watcher {
    _process: Child,
}

const WATCH: &str = r#"
cat > /dev/null
pid=$(head -n 1 "$1/postgres/data/postmaster.pid" 2> /dev/null)
if [ -n "$pid" ]; then
    kill -QUIT "$pid" 2> /dev/null
    for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$pid" 2> /dev/null || break; sleep 0.2; done
fi
rm -rf "$1"
"#;

impl PrivatePostgres {
    /// Starts a server in a new directory below `parent`; both end with this process.
    pub async fn throwaway(parent: &Path) -> Result<PrivatePostgres, PrivatePostgresError> {
        let data_dir = new_directory(parent)?;
        let watcher = Watcher::start(&data_dir)?;
        let mut started = PrivatePostgres::start(&data_dir).await?;
        started._watcher = Some(watcher);
        Ok(started)
    }
}

fn new_directory(parent: &Path) -> Result<PathBuf, PrivatePostgresError> {
    let pid = std::process::id();
    let mut number = 0;
    loop {
        let path = parent.join(format!("gateway-test-{pid}-{number}"));
        match std::fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(trouble("create", &path)(error)),
        }
    }
}

impl Watcher {
    fn start(data_dir: &Path) -> Result<Watcher, PrivatePostgresError> {
        let process = Command::new("sh")
            .args(["-c", WATCH, "sh"])
            .arg(data_dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Out of the terminal's process group: Ctrl-C must not end it before its work is done.
            .process_group(0)
            .spawn()
            .map_err(trouble("watch", data_dir))?;
        Ok(Watcher { _process: process })
    }
}
