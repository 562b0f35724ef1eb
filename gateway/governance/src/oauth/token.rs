//! The token endpoint: one grant, one file under [`super::grants`]; and the tokens that they end in.
//!
//! An access token is a JWT (RFC 9068) that names its session: ending the session ends it on every replica.

use std::sync::Arc;

use gateway_core::caller::{AuthMethod, User};
use gateway_core::ids::{SessionId, UserId};
use gateway_core::record::ActionType;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use time::Duration;
use uuid::Uuid;

use super::error::{ErrorCode, OauthError};
use super::form::Form;
use super::record::Note;
use super::{AuthorizationServer, grants};
use crate::perform::Origin;

/// What an access token will say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// The principal: a person, or an agent account that acts for itself.
    pub subject: UserId,
    /// The agent account that acts on the person's behalf.
    pub actor: Option<UserId>,
    /// The client that gets it.
    pub client_id: String,
    /// The gateway's public URL, or a server's proxy URL with its id.
    pub audience: String,
    /// What it is good for: `mcp:proxy`, ...
    pub scope: String,
    /// What it hangs on; a new id where there is no session in the store.
    pub session: SessionId,
    /// How long it lives, at most an hour.
    pub lifetime: Duration,
}

/// A signed access token.
#[derive(Debug)]
pub struct IssuedToken {
    /// The token.
    pub token: SecretString,
    /// Its id.
    pub id: Uuid,
    /// How long it lives.
    pub lifetime: Duration,
}

/// What a grant gives.
#[derive(Debug)]
pub struct Given {
    /// The access token.
    pub issued: IssuedToken,
    /// The refresh token, if there is one.
    pub refresh_token: Option<SecretString>,
    /// What was granted.
    pub scope: String,
    /// Further members of the answer (`issued_token_type`).
    pub more: Vec<(&'static str, Value)>,
    /// Whose it is, for the record.
    pub user: Arc<User>,
    /// Who acts on their behalf, for the record.
    pub actor: Option<Arc<User>>,
    /// The session, for the record.
    pub session: SessionId,
    /// The client and its name, for the record.
    pub client: (String, String),
}

impl Given {
    /// The body of the answer (RFC 6749, section 5.1). Holds secrets: for the client alone.
    pub fn json(&self) -> String {
        let mut body = json!({
            "access_token": self.issued.token.expose_secret(),
            "token_type": "Bearer",
            "expires_in": self.issued.lifetime.whole_seconds(),
            "scope": self.scope,
        });
        if let Some(refresh) = &self.refresh_token {
            body["refresh_token"] = json!(refresh.expose_secret());
        }
        for (name, value) in &self.more {
            body[*name] = value.clone();
        }
        body.to_string()
    }
}

/// A request for a token.
#[derive(Clone, Copy)]
pub struct TokenRequest<'a> {
    /// Its parameters.
    pub form: &'a Form,
    /// The `Authorization` header.
    pub authorization: Option<&'a str>,
    /// Where it comes from.
    pub origin: &'a Origin,
}

impl AuthorizationServer {
    /// Answers the token endpoint, and records how it went.
    pub async fn token(&self, request: TokenRequest<'_>) -> Result<Given, OauthError> {
        let note = Note::new("POST /api/v1/oauth/token", request.origin);
        match self.dispatch(request).await {
            Ok(given) => {
                let (id, name) = &given.client;
                let note = note
                    .client(id, name)
                    .by(&given.user, given.actor.as_deref())
                    .session(given.session, AuthMethod::OauthToken);
                self.succeeded_often(note, ActionType::AuthSuccess);
                Ok(given)
            }
            Err(error) => {
                // What the client calls itself is worth noting although nothing is proven.
                let id = request.form.get("client_id").unwrap_or_default();
                let note = if id.is_empty() { note } else { note.client(id, "") };
                Err(self.failed(note, error))
            }
        }
    }

    async fn dispatch(&self, request: TokenRequest<'_>) -> Result<Given, OauthError> {
        self.ready()?;
        match request.form.required("grant_type")? {
            grants::authorization_code::NAME => {
                grants::authorization_code::exchange(self, request).await
            }
            grants::refresh_token::NAME => grants::refresh_token::exchange(self, request).await,
            grants::device_code::NAME => grants::device_code::exchange(self, request).await,
            grants::client_credentials::NAME => {
                grants::client_credentials::exchange(self, request).await
            }
            grants::token_exchange::NAME => grants::token_exchange::exchange(self, request).await,
            grants::jwt_bearer::NAME => grants::jwt_bearer::exchange(self, request).await,
            _ => {
                let expected = format!("grant_type: expected {}", grants::ALL.join(", "));
                Err(OauthError::new(ErrorCode::UnsupportedGrantType, expected))
            }
        }
    }

    /// Signs an access token, for principals that are there and active.
    pub async fn issue(&self, granted: Granted) -> Result<IssuedToken, OauthError> {
        let snapshot = self.current.snapshot();
        let active = |id| snapshot.principal(id).is_some_and(|principal| principal.active);
        if !active(granted.subject) || granted.actor.is_some_and(|actor| !active(actor)) {
            return Err(OauthError::grant("the person or the agent is not active"));
        }
        if snapshot.is_revoked(granted.session) {
            return Err(OauthError::grant("the session was ended"));
        }
        if self.addresses.audience(&granted.audience).is_none() {
            let error =
                OauthError::new(ErrorCode::ServerError, "the request could not be completed");
            return Err(error.because("the audience is none of ours"));
        }
        let lifetime = granted.lifetime.min(super::LONGEST_TOKEN);
        let now = self.clock.now();
        let id = self.next_id();
        let mut claims = json!({
            "iss": self.addresses.issuer(),
            "sub": granted.subject,
            "aud": granted.audience,
            "iat": now.unix_timestamp(),
            "exp": (now + lifetime).unix_timestamp(),
            "jti": id,
            "client_id": granted.client_id,
            "scope": granted.scope,
            "sid": granted.session,
        });
        if let Some(actor) = granted.actor {
            claims["act"] = json!({"sub": actor});
        }
        let token = self.signer.sign("at+jwt", &claims).await?;
        Ok(IssuedToken { token: token.into(), id, lifetime })
    }
}
