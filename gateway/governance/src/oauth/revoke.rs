//! Ending sessions: a client gives back a token (RFC 7009), or something was presented that must not exist.

use gateway_core::ids::SessionId;
use gateway_core::record::ActionType;

use super::AuthorizationServer;
use super::error::OauthError;
use super::record::Note;
use super::token::TokenRequest;
use crate::perform::Origin;

impl AuthorizationServer {
    /// Answers the revocation endpoint: whatever token of the client's it is, its session ends. Tokens that are
    /// not the client's, or none at all, change nothing and are not told apart.
    pub async fn revoke(&self, request: TokenRequest<'_>) -> Result<(), OauthError> {
        let note = Note::new("POST /api/v1/oauth/revoke", request.origin);
        match self.try_revoke(request, note.clone()).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.failed(note, error)),
        }
    }

    async fn try_revoke(&self, request: TokenRequest<'_>, note: Note) -> Result<(), OauthError> {
        self.ready()?;
        let form = request.form;
        let client = self.proven_client(form, request.authorization).await?;
        let token = form.required("token")?;
        let hash = self.hash("refresh", token);
        let by_refresh = self.store.session_of_refresh(&hash, &client.id).await;
        let session = match by_refresh.map_err(OauthError::store)? {
            Some(session) => Some(session.id),
            None => self.session_of_access(token, &client.id),
        };
        let Some(session) = session else { return Ok(()) };
        if self.end_quietly(session).await? {
            let note = note.client(&client.id, "");
            let note = note.session(session, gateway_core::caller::AuthMethod::OauthToken);
            self.succeeded(note, ActionType::OauthSessionRevoked);
        }
        Ok(())
    }

    fn session_of_access(&self, token: &str, client_id: &str) -> Option<SessionId> {
        let own = self.own.read(&self.current.snapshot(), token, self.clock.now()).ok()?;
        (own.client_id == client_id).then_some(own.session)
    }

    /// Ends a session for good, on every replica; `reuse` tells of what gave a thief away.
    pub(crate) async fn end(&self, session: SessionId, origin: &Origin, reuse: Option<&str>) {
        match self.end_quietly(session).await {
            Ok(true) => {
                let note = Note::new("POST /api/v1/oauth/token", origin);
                let note = note.session(session, gateway_core::caller::AuthMethod::OauthToken);
                let action = match reuse {
                    Some(what) => {
                        tracing::warn!(%session, what, "a session was ended");
                        ActionType::OauthReuseDetected
                    }
                    None => ActionType::OauthSessionRevoked,
                };
                self.succeeded(note, action);
            }
            Ok(false) => {}
            // Nothing is refreshed with it: the token or code that told of the theft is used up.
            Err(error) => tracing::error!(%session, %error, "a session could not be ended"),
        }
    }

    /// Ends a session; true when it had not ended before. This replica knows at once, others by their notice.
    pub(crate) async fn end_quietly(&self, session: SessionId) -> Result<bool, OauthError> {
        let now = self.clock.now();
        let ended = self.store.end_session(session, now, self.tokens_gone(now)).await;
        let ended = ended.map_err(OauthError::store)?;
        if let Err(error) = self.current.refresh().await {
            tracing::error!(%error, "the end of a session could not be read back");
        }
        Ok(ended)
    }
}
