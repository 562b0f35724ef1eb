//! `refresh_token`, rotating (OAuth 2.1, section 4.3.1): each token leads to one successor.
//!
//! The successor is computed from the token, so that a client that asks twice in the same moment, on whatever
//! replicas, gets the same one, and no second line of tokens begins. A token that comes back later than the
//! grace was stolen from somebody, or by them: the session ends.

use gateway_core::keys::keyed_hash;
use gateway_store::oauth_refresh::{Rotated, Rotation};
use secrecy::SecretString;
use time::Duration;

use super::super::AuthorizationServer;
use super::super::error::{ErrorCode, OauthError};
use super::super::token::{Given, TokenRequest};
use super::{give, stored_refresh, within};

/// Its `grant_type`.
pub(crate) const NAME: &str = "refresh_token";
/// How long after its first use a token may be used again.
const GRACE: Duration = Duration::seconds(10);

pub(crate) async fn exchange(
    server: &AuthorizationServer,
    request: TokenRequest<'_>,
) -> Result<Given, OauthError> {
    let form = request.form;
    let client = server.proven_client(form, request.authorization).await?;
    if !client.refreshes {
        let description = "the client did not register for refresh tokens";
        return Err(OauthError::new(ErrorCode::UnauthorizedClient, description));
    }
    let token = form.required("refresh_token")?;
    let hash = server.hash("refresh", token);
    if form.get("scope").is_some() || form.get("resource").is_some() {
        // Before the token is used up: asking for too much must not cost the session.
        let session = server.store.session_of_refresh(&hash, &client.id).await;
        if let Some(session) = session.map_err(OauthError::store)? {
            within(server, &session, form)?;
        }
    }
    let next = successor(server, token);
    let now = server.clock.now();
    let rotation = Rotation {
        hash,
        client_id: &client.id,
        next: stored_refresh(server, &next),
        grace_from: now - GRACE,
        now,
    };
    let rotated = server.store.rotate_refresh(&rotation).await.map_err(OauthError::store)?;
    match rotated {
        Rotated::Granted(session) => give(server, session, form, Some(next)).await,
        Rotated::Reused(session) => {
            server.end(session, request.origin, Some("a refresh token was used again")).await;
            Err(OauthError::grant("the refresh token was used before; its session was ended"))
        }
        Rotated::Refused => Err(OauthError::grant(
            "the refresh token is unknown, too old, or its session has ended",
        )),
    }
}

fn successor(server: &AuthorizationServer, token: &str) -> SecretString {
    let bytes = keyed_hash(&server.hashing, format!("next refresh/{token}").as_bytes());
    server.encoded(&bytes)
}
