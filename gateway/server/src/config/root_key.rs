//! The files of keys: 32 random bytes each, that only the gateway may read.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use gateway_core::keys::{Purpose, RootKey};
use gateway_core::located::Problem;
use gateway_governance::WrappingKeys;

use super::sections::Keys;

/// Reads the root key; refuses one that is absent or weak.
pub fn read_root_key(path: &Path) -> Result<RootKey, Problem> {
    read_key("keys.root_file", path)
}

/// What wraps the vault's keys; refuses keys that are absent, weak, or in use for something else.
pub fn read_vault_keys(keys: &Keys, root: &RootKey) -> Result<WrappingKeys, Problem> {
    let derived = root.derive(Purpose::Vault);
    let current = read_named("keys.vault_file", keys.vault_file.as_deref())?;
    let previous = read_named("keys.vault_file_previous", keys.vault_file_previous.as_deref())?;
    let reused = |key: &str, path: &Path, as_what: &str| Problem {
        place: path.display().to_string(),
        line: None,
        key: key.into(),
        message: format!("the same key as {as_what}: make one of its own"),
    };
    if let Some((path, _)) = current.as_ref().filter(|(_, key)| key.is(root)) {
        return Err(reused("keys.vault_file", path, "keys.root_file"));
    }
    if let Some((path, previous)) = &previous {
        if previous.is(root) {
            return Err(reused("keys.vault_file_previous", path, "keys.root_file"));
        }
        if current.as_ref().is_some_and(|(_, current)| previous.is(current)) {
            return Err(reused("keys.vault_file_previous", path, "keys.vault_file"));
        }
    }
    let wrapping = |(_, key): (_, RootKey)| key.derive(Purpose::Vault);
    Ok(match (current.map(wrapping), previous.map(wrapping)) {
        (None, previous) => WrappingKeys { current: derived, previous },
        (Some(current), previous) => {
            WrappingKeys { current, previous: Some(previous.unwrap_or(derived)) }
        }
    })
}

fn read_named<'a>(
    key: &str,
    path: Option<&'a Path>,
) -> Result<Option<(&'a Path, RootKey)>, Problem> {
    path.map(|path| Ok((path, read_key(key, path)?))).transpose()
}

fn read_key(key: &str, path: &Path) -> Result<RootKey, Problem> {
    let problem = |message: String| Problem {
        place: path.display().to_string(),
        line: None,
        key: key.into(),
        message,
    };
    let bytes = fs::read(path).map_err(|error| {
        if error.kind() != io::ErrorKind::NotFound {
            return problem(format!("cannot be read: {error}"));
        }
        let path = path.display();
        problem(format!(
            "there is no key; make one with: (umask 077; head -c 32 /dev/urandom > {path})"
        ))
    })?;
    let mode = fs::metadata(path).map_err(|error| problem(error.to_string()))?.permissions().mode();
    // A mounted secret's mode is not always the operator's to choose: said, not refused.
    if mode & 0o007 != 0 {
        tracing::warn!(file = %path.display(), key, "everybody on this machine may read this key");
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
