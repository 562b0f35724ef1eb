//! Scopes: `mcp:proxy` for every server, `mcp:proxy:<server id>` for one, `offline_access` for clients that ask
//! for it out of habit.

use gateway_core::ids::ServerId;

use super::error::{ErrorCode, OauthError};

/// What a request without a scope asks for.
pub(crate) const PROXY: &str = "mcp:proxy";
/// Taken, and changes nothing.
pub(crate) const OFFLINE: &str = "offline_access";
/// Most scopes of one request.
const MOST: usize = 32;

/// The scope that is asked for, in its normal form.
pub(crate) fn requested(scope: Option<&str>) -> Result<String, OauthError> {
    let mut scopes: Vec<String> = Vec::new();
    for name in scope.unwrap_or(PROXY).split(' ').filter(|name| !name.is_empty()) {
        let normal = match (name, server(name)) {
            (PROXY | OFFLINE, _) => name.to_owned(),
            (_, Some(id)) => format!("{PROXY}:{id}"),
            (_, None) => {
                let expected = "scope: expected mcp:proxy, mcp:proxy:<server id> or offline_access";
                return Err(OauthError::new(ErrorCode::InvalidScope, expected));
            }
        };
        if !scopes.contains(&normal) {
            scopes.push(normal);
        }
    }
    if scopes.len() > MOST {
        return Err(OauthError::new(ErrorCode::InvalidScope, "scope: too many"));
    }
    if scopes.iter().all(|name| name == OFFLINE) {
        scopes.insert(0, PROXY.to_owned());
    }
    Ok(scopes.join(" "))
}

/// What is given of the `granted` scope when `asked` for less.
pub(crate) fn narrowed(granted: &str, asked: Option<&str>) -> Result<String, OauthError> {
    let Some(asked) = asked else { return Ok(granted.to_owned()) };
    let asked = requested(Some(asked))?;
    let held = |name: &str| {
        granted.split(' ').any(|had| had == name)
            || (server(name).is_some() && granted.split(' ').any(|had| had == PROXY))
    };
    match asked.split(' ').all(held) {
        true => Ok(asked),
        false => Err(OauthError::new(ErrorCode::InvalidScope, "scope: more than what was granted")),
    }
}

/// Whether a token of that scope is good at the server (`None`: at the gateway's own interfaces).
pub(crate) fn covers(scope: &str, at: Option<ServerId>) -> bool {
    scope.split(' ').any(|name| name == PROXY || (at.is_some() && server(name) == at))
}

fn server(name: &str) -> Option<ServerId> {
    name.strip_prefix("mcp:proxy:")?.parse().ok()
}
