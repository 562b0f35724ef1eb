//! The grants of the token endpoint, one file each. A new one needs its line in `token.rs` and in [`ALL`], which
//! the metadata shows.

pub(crate) mod authorization_code;
pub(crate) mod device_code;
pub(crate) mod refresh_token;

use std::sync::Arc;

use gateway_store::oauth_session::{NewRefresh, StoredSession};
use secrecy::{ExposeSecret, SecretString};

use super::AuthorizationServer;
use super::audience::Place;
use super::error::{ErrorCode, OauthError};
use super::form::Form;
use super::scope;
use super::token::{Given, Granted};

/// Every grant of the token endpoint, by its `grant_type`.
pub const ALL: &[&str] = &[authorization_code::NAME, refresh_token::NAME, device_code::NAME];

/// How clients may authenticate at the token endpoint.
pub const AUTH_METHODS: &[&str] = &["none", "client_secret_basic", "client_secret_post"];

/// Those that a client may register for itself.
pub(crate) const FOR_CLIENTS: &[&str] =
    &[authorization_code::NAME, refresh_token::NAME, device_code::NAME];

/// A new refresh token and what is stored of it.
pub(super) fn new_refresh(server: &AuthorizationServer) -> (SecretString, NewRefresh) {
    let token = server.secret();
    let stored = stored_refresh(server, &token);
    (token, stored)
}

pub(super) fn stored_refresh(server: &AuthorizationServer, token: &SecretString) -> NewRefresh {
    NewRefresh {
        hash: server.hash("refresh", token.expose_secret()),
        expires_at: server.clock.now() + server.settings.oauth.refresh_token,
    }
}

/// The tokens of a session that a person agreed to; the request may ask for less than that.
pub(super) async fn give(
    server: &AuthorizationServer,
    session: StoredSession,
    form: &Form,
    refresh_token: Option<SecretString>,
) -> Result<Given, OauthError> {
    let scope = scope::narrowed(&session.scope, form.get("scope"))?;
    let audience = audience(server, &session, form)?;
    let snapshot = server.current.snapshot();
    let user = snapshot.user(session.user).filter(|user| user.active).map(Arc::clone);
    let user = user.ok_or_else(|| OauthError::grant("the person is not active"))?;
    let issued = server
        .issue(Granted {
            subject: session.user,
            actor: None,
            client_id: session.client_id.clone(),
            audience,
            scope: scope.clone(),
            session: session.id,
            lifetime: server.settings.oauth.access_token,
        })
        .await?;
    Ok(Given {
        issued,
        refresh_token,
        scope,
        more: Vec::new(),
        user,
        actor: None,
        session: session.id,
        client: (session.client_id, session.client_name),
    })
}

/// The session's own audience, or one server of a session for all.
fn audience(
    server: &AuthorizationServer,
    session: &StoredSession,
    form: &Form,
) -> Result<String, OauthError> {
    let wrong = || {
        let description = "resource: not what the person agreed to";
        OauthError::new(ErrorCode::InvalidTarget, description)
    };
    let Some(resource) = form.resource()? else { return Ok(session.resource.clone()) };
    let snapshot = server.current.snapshot();
    let granted = server.addresses.audience(&session.resource).ok_or_else(wrong)?;
    let place = server.addresses.place(resource).ok_or_else(wrong)?;
    let asked = place.audience(&snapshot).ok_or_else(wrong)?;
    let within = asked == granted
        || (granted.covers(&place, &snapshot) && matches!(place, Place::Server(_)));
    if within { Ok(server.addresses.name(asked)) } else { Err(wrong()) }
}
