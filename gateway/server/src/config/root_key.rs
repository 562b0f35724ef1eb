//! The root key's file: 32 random bytes that only the gateway may read.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use gateway_core::keys::RootKey;
use gateway_core::located::Problem;

/// Reads the root key; refuses one that is absent or weak.
pub fn read_root_key(path: &Path) -> Result<RootKey, Problem> {
    let problem = |message: String| Problem {
        place: path.display().to_string(),
        line: None,
        key: "keys.root_file".into(),
        message,
    };
    let bytes = fs::read(path).map_err(|error| {
        if error.kind() != io::ErrorKind::NotFound {
            return problem(format!("cannot be read: {error}"));
        }
        let path = path.display();
        problem(format!(
            "there is no root key; make one with: (umask 077; head -c 32 /dev/urandom > {path})"
        ))
    })?;
    let mode = fs::metadata(path).map_err(|error| problem(error.to_string()))?.permissions().mode();
    // A mounted secret's mode is not always the operator's to choose: said, not refused.
    if mode & 0o007 != 0 {
        tracing::warn!(file = %path.display(), "everybody on this machine may read the root key");
    }
    RootKey::new(&bytes).map_err(|weak| problem(weak.to_string()))
}

/// Makes a root key with mode 0600 where none is; an existing one is left alone.
pub fn make_root_key(path: &Path, random: &dyn Fn(&mut [u8])) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut bytes = [0; 32];
    random(&mut bytes);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(&bytes)?;
    file.sync_all()
}
