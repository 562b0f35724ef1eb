//! Postgres refuses to run as root. Started by root, the gateway runs it as `postgres` or `nobody`, gives
//! that account the data, and makes sure that it can get there.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use tokio::process::Command;

use super::error::{PrivatePostgresError, trouble};

/// Whom Postgres runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Account {
    /// As the gateway itself.
    Ours,
    /// As somebody else, because the gateway runs as root.
    Other { name: &'static str, uid: u32, gid: u32 },
}

impl Account {
    pub(super) async fn choose() -> Result<Account, PrivatePostgresError> {
        if id(&["-u"]).await != Some(0) {
            return Ok(Account::Ours);
        }
        for name in ["postgres", "nobody"] {
            if let (Some(uid), Some(gid)) = (id(&["-u", name]).await, id(&["-g", name]).await) {
                return Ok(Account::Other { name, uid, gid });
            }
        }
        Err(PrivatePostgresError::NoAccount)
    }

    /// A command that runs as this account, with nothing of our environment that Postgres would read.
    pub(super) fn command(&self, program: &Path, home: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("LC_ALL", "C")
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .current_dir(home)
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true);
        if let Account::Other { uid, gid, .. } = self {
            command.uid(*uid).gid(*gid);
        }
        command
    }

    /// Makes `dir` with mode 0700, owned by the account with all that is in it.
    pub(super) fn own(&self, dir: &Path) -> Result<(), PrivatePostgresError> {
        std::fs::create_dir_all(dir).map_err(trouble("create", dir))?;
        let found = std::fs::symlink_metadata(dir).map_err(trouble("examine", dir))?;
        if !found.is_dir() {
            return Err(trouble("use", dir)(std::io::Error::other("not a directory")));
        }
        if let Account::Other { uid, gid, .. } = self
            && found.uid() != *uid
        {
            give(dir, *uid, *gid)?;
        }
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))
            .map_err(trouble("close to others", dir))
    }

    /// Lets the account read a file that we wrote.
    pub(super) fn own_file(&self, file: &Path) -> Result<(), PrivatePostgresError> {
        if let Account::Other { uid, gid, .. } = self {
            chown(file, Some(*uid), Some(*gid)).map_err(trouble("give away", file))?;
        }
        Ok(())
    }

    /// Can the account enter `data_dir`? Opens `data_dir` itself if need be, but nothing above it.
    pub(super) fn reach(&self, data_dir: &Path) -> Result<(), PrivatePostgresError> {
        let Account::Other { name, uid, gid } = self else { return Ok(()) };
        for dir in data_dir.ancestors() {
            let found = std::fs::metadata(dir).map_err(trouble("examine", dir))?;
            let mode = found.mode();
            let enters = if found.uid() == *uid {
                mode & 0o100
            } else if found.gid() == *gid {
                mode & 0o010
            } else {
                mode & 0o001
            };
            if enters != 0 {
                continue;
            }
            if dir != data_dir {
                return Err(PrivatePostgresError::Unreachable {
                    path: dir.to_owned(),
                    account: (*name).to_owned(),
                });
            }
            let opened = std::fs::Permissions::from_mode(mode & 0o7777 | 0o011);
            std::fs::set_permissions(dir, opened).map_err(trouble("let Postgres enter", dir))?;
        }
        Ok(())
    }
}

fn give(path: &Path, uid: u32, gid: u32) -> Result<(), PrivatePostgresError> {
    let found = std::fs::symlink_metadata(path).map_err(trouble("examine", path))?;
    if found.is_symlink() {
        return Ok(());
    }
    chown(path, Some(uid), Some(gid)).map_err(trouble("give away", path))?;
    if found.is_dir() {
        for entry in std::fs::read_dir(path).map_err(trouble("list", path))? {
            give(&entry.map_err(trouble("list", path))?.path(), uid, gid)?;
        }
    }
    Ok(())
}

/// What `id` says; it knows every directory of accounts that the machine uses.
async fn id(arguments: &[&str]) -> Option<u32> {
    let said = Command::new("id").args(arguments).output().await.ok()?;
    String::from_utf8(said.stdout).ok()?.trim().parse().ok()
}
