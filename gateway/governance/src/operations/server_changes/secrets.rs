//! Which secrets may be sent to a server that an administrator names. An administrator of the gateway is not the
//! operator of its host: naming a source must not be a way to read any variable or file of the host by sending it
//! to a server of one's own. So the operator says in the configuration how such names begin and where such files
//! lie, and no secret follows a server to another place unasked.

use std::path::{Component, Path};

use gateway_core::server::{Endpoint, SecretSource, Server, TokenExchange, UpstreamAuth};
use gateway_store::server::ServerPatch;
use url::Url;

use super::super::run::Run;
use crate::perform::Refused;

/// Refuses sources that the configuration does not give away.
pub(super) fn may_be_sent(run: &Run<'_>, auth: &UpstreamAuth) -> Result<(), Refused> {
    let Some((from, _)) = auth.secret() else { return Ok(()) };
    let what = match auth {
        UpstreamAuth::Header { .. } | UpstreamAuth::None | UpstreamAuth::IdentityForward => "value",
        UpstreamAuth::OauthUser(client)
        | UpstreamAuth::OauthShared(client)
        | UpstreamAuth::TokenExchange(TokenExchange { client, .. }) => {
            if client.private_key.is_some() { "private_key" } else { "client_secret" }
        }
    };
    let settings = &run.governance.settings.servers;
    let prefix = settings.secret_env_prefix.as_str();
    let detail = match (from, &settings.secret_dir) {
        (SecretSource::Env(name), _) if !prefix.is_empty() && name.starts_with(prefix) => {
            return Ok(());
        }
        (SecretSource::File(path), Some(dir)) if is_within(Path::new(path), dir) => return Ok(()),
        (SecretSource::Env(_), _) if prefix.is_empty() => {
            format!("auth.{what}_env: not allowed here (servers.secret_env_prefix is empty)")
        }
        (SecretSource::Env(_), _) => format!(
            "auth.{what}_env: expected a variable whose name begins with {prefix} \
             (servers.secret_env_prefix)"
        ),
        (SecretSource::File(_), Some(dir)) => format!(
            "auth.{what}_file: expected a file below {} (servers.secret_dir)",
            dir.display()
        ),
        (SecretSource::File(_), None) => {
            format!("auth.{what}_file: not allowed here (servers.secret_dir is not set)")
        }
    };
    Err(Refused::params(detail))
}

/// A server that moves to another origin takes no secret along.
pub(super) fn stay_where_they_are(server: &Server, patch: &ServerPatch) -> Result<(), Refused> {
    let (Some(url), None, Endpoint::Http(before)) = (&patch.url, &patch.auth, &server.endpoint)
    else {
        return Ok(());
    };
    let origin = |text: &str| Url::parse(text).map(|url| url.origin()).ok();
    if server.auth.secret().is_some() && origin(url) != origin(before) {
        let detail = "url: another host would get the secret of auth; give auth in the same call";
        return Err(Refused::params(detail));
    }
    Ok(())
}

fn is_within(path: &Path, dir: &Path) -> bool {
    let plain = path.components().all(|part| {
        matches!(part, Component::RootDir | Component::Prefix(_) | Component::Normal(_))
    });
    plain && path.is_absolute() && path != dir && path.starts_with(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_below_the_folder_are_within() {
        let dir = Path::new("/run/secrets/upstream");
        for good in ["/run/secrets/upstream/a", "/run/secrets/upstream/b/c"] {
            assert!(is_within(Path::new(good), dir), "{good}");
        }
        for bad in [
            "/run/secrets/upstream",
            "/run/secrets/upstream/../root.key",
            "/run/secrets/upstream-other/a",
            "/run/secrets/root.key",
            "run/secrets/upstream/a",
            "../run/secrets/upstream/a",
            "",
        ] {
            assert!(!is_within(Path::new(bad), dir), "{bad}");
        }
    }
}
