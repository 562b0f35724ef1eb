//! The grants of the token endpoint, one file each. A new one needs its line in `token.rs` and in [`ALL`], which
//! the metadata shows.

pub(crate) mod authorization_code;
pub(crate) mod client_credentials;
pub(crate) mod device_code;
pub(crate) mod jwt_bearer;
pub(crate) mod refresh_token;
pub(crate) mod token_exchange;

use std::sync::Arc;

use gateway_core::caller::User;
use gateway_store::oauth_session::{NewRefresh, StoredSession};
use secrecy::{ExposeSecret, SecretString};

use super::AuthorizationServer;
use super::audience::Place;
use super::error::{ErrorCode, OauthError};
use super::form::Form;
use super::scope;
use super::token::{Given, Granted};

/// Every grant of the token endpoint, by its `grant_type`.
pub const ALL: &[&str] = &[
    authorization_code::NAME,
    refresh_token::NAME,
    device_code::NAME,
    client_credentials::NAME,
    token_exchange::NAME,
    jwt_bearer::NAME,
];

/// How clients may authenticate at the token endpoint.
pub const AUTH_METHODS: &[&str] =
    &["none", "client_secret_basic", "client_secret_post", "private_key_jwt"];

/// Algorithms of client assertions.
pub const ASSERTION_ALGORITHMS: &[&str] = &["EdDSA", "ES256", "RS256"];

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
    let (scope, audience) = within(server, &session, form)?;
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

impl AuthorizationServer {
    /// The audience that a request without a page asks for. A server that one of the principals may not use
    /// looks like none.
    pub(super) fn audience_for(
        &self,
        form: &Form,
        principals: &[&Arc<User>],
    ) -> Result<String, OauthError> {
        self.audience_of(form.resource()?, principals)
    }

    /// The same of a resource that was named elsewhere; the whole gateway if none was.
    pub(super) fn audience_of(
        &self,
        resource: Option<&str>,
        principals: &[&Arc<User>],
    ) -> Result<String, OauthError> {
        let Some(resource) = resource else { return Ok(self.issuer().to_owned()) };
        let wrong = || {
            let expected = "resource: expected the gateway's public URL or a server's proxy URL";
            OauthError::new(ErrorCode::InvalidTarget, expected)
        };
        let snapshot = self.current.snapshot();
        let place = self.addresses.place(resource).ok_or_else(wrong)?;
        let audience = place.audience(&snapshot).ok_or_else(wrong)?;
        if let Place::Server(named) = &place {
            let server = snapshot.server(named).ok_or_else(wrong)?;
            let enters = |user: &&Arc<User>| snapshot.policies.may_enter(user, server);
            if !principals.iter().all(enters) {
                return Err(wrong());
            }
        }
        Ok(self.addresses.name(audience))
    }
}

/// Scope and audience of the token that is asked for, if the session holds as much.
pub(super) fn within(
    server: &AuthorizationServer,
    session: &StoredSession,
    form: &Form,
) -> Result<(String, String), OauthError> {
    let scope = scope::narrowed(&session.scope, form.get("scope"))?;
    Ok((scope, audience(server, session, form)?))
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
