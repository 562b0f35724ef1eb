//! `authorization_code` with PKCE (RFC 6749, RFC 7636, OAuth 2.1): a code for tokens, once. Whoever comes with a
//! code that was used, or with the wrong verifier, ends everything that hangs on it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_store::oauth_session::{Redeemed, Redemption};
use ring::digest::{SHA256, digest};

use super::super::AuthorizationServer;
use super::super::error::OauthError;
use super::super::token::{Given, TokenRequest};
use super::{give, new_refresh};

/// Its `grant_type`.
pub(crate) const NAME: &str = "authorization_code";

pub(crate) async fn exchange(
    server: &AuthorizationServer,
    request: TokenRequest<'_>,
) -> Result<Given, OauthError> {
    let form = request.form;
    let client = server.proven_client(form, request.authorization).await?;
    let code = form.required("code")?;
    let challenge = challenge(form.required("code_verifier")?)?;
    let refresh = client.refreshes.then(|| new_refresh(server));
    let now = server.clock.now();
    let redemption = Redemption {
        hash: server.hash("code", code),
        client_id: &client.id,
        challenge: &challenge,
        redirect_uri: form.get("redirect_uri"),
        refresh: refresh.as_ref().map(|(_, stored)| *stored),
        lives_until: now + server.settings.oauth.access_token,
        now,
    };
    let redeemed = server.store.redeem_code(&redemption).await.map_err(OauthError::store)?;
    match redeemed {
        Redeemed::Granted(session) => {
            let id = session.id;
            let given = give(server, session, form, refresh.map(|(token, _)| token)).await;
            if given.is_err() {
                // The code is gone; nobody will come back for this session.
                server.end(id, request.origin, None).await;
            }
            given
        }
        Redeemed::Misfit(session) => {
            server.end(session, request.origin, None).await;
            let detail = "the code was presented by another client, or with the wrong \
                          code_verifier or redirect_uri; its session was ended";
            Err(OauthError::grant(detail))
        }
        Redeemed::Replayed(session) => {
            server.end(session, request.origin, Some("a code was presented again")).await;
            Err(OauthError::grant("the code was used before; its session was ended"))
        }
        Redeemed::Refused => Err(OauthError::grant("the code is unknown or came too late")),
    }
}

/// The S256 challenge of a verifier of 43 to 128 unreserved characters.
fn challenge(verifier: &str) -> Result<String, OauthError> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    if !(43..=128).contains(&verifier.len()) || !verifier.bytes().all(legal) {
        return Err(OauthError::request("code_verifier: expected 43 to 128 unreserved characters"));
    }
    Ok(URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes())))
}
