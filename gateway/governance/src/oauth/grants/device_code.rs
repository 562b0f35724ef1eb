//! `urn:ietf:params:oauth:grant-type:device_code` (RFC 8628): a device asks until its person has decided.

use gateway_store::oauth_device::{Poll, Polled};

use super::super::AuthorizationServer;
use super::super::device::INTERVAL;
use super::super::error::{ErrorCode, OauthError};
use super::super::token::{Given, TokenRequest};
use super::{give, new_refresh};

/// Its `grant_type`.
pub(crate) const NAME: &str = "urn:ietf:params:oauth:grant-type:device_code";

pub(crate) async fn exchange(
    server: &AuthorizationServer,
    request: TokenRequest<'_>,
) -> Result<Given, OauthError> {
    let form = request.form;
    let client = server.proven_client(form, request.authorization).await?;
    let code = form.required("device_code")?;
    let refresh = client.refreshes.then(|| new_refresh(server));
    let now = server.clock.now();
    let poll = Poll {
        hash: server.hash("device", code),
        client_id: &client.id,
        // A second less than asked for: networks hurry some requests along.
        not_since: now - (INTERVAL - time::Duration::SECOND),
        refresh: refresh.as_ref().map(|(_, stored)| *stored),
        lives_until: now + server.settings.oauth.access_token,
        now,
    };
    let polled = server.store.poll_device(&poll).await.map_err(OauthError::store)?;
    let error = |code, description: &str| Err(OauthError::new(code, description));
    match polled {
        Polled::Granted(session) => {
            give(server, session, form, refresh.map(|(token, _)| token)).await
        }
        Polled::Pending => error(ErrorCode::AuthorizationPending, "nobody has decided yet"),
        Polled::TooSoon => error(ErrorCode::SlowDown, "ask less often"),
        Polled::Declined => error(ErrorCode::AccessDenied, "the person did not agree"),
        Polled::Expired => error(ErrorCode::ExpiredToken, "the device's code is too old"),
        Polled::Refused => Err(OauthError::grant("the device code is unknown or was used")),
    }
}
