//! What the authorization server answers instead of what was asked for: an error of RFC 6749 and its
//! relatives for the client, a [`Reason`] and a detail for the record.

use gateway_core::reason::Reason;
use gateway_store::StoreError;
use serde_json::{Value, json};

macro_rules! codes {
    ($($(#[$doc:meta])+ $name:ident = $text:literal, $status:literal, $reason:ident;)+) => {
        /// An error's name as the RFCs write it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode { $($(#[$doc])+ $name),+ }

        impl ErrorCode {
            /// The value of `error`.
            pub fn as_str(self) -> &'static str {
                match self { $(ErrorCode::$name => $text),+ }
            }

            /// The HTTP status where it is the answer of an endpoint.
            pub fn status(self) -> u16 {
                match self { $(ErrorCode::$name => $status),+ }
            }

            /// The reason in the record.
            pub fn reason(self) -> Reason {
                match self { $(ErrorCode::$name => Reason::$reason),+ }
            }
        }
    };
}

codes! {
    /// RFC 6749: a parameter is missing, doubled or malformed.
    InvalidRequest = "invalid_request", 400, InvalidParams;
    /// RFC 6749: the client is unknown or did not prove itself.
    InvalidClient = "invalid_client", 401, CredentialInvalid;
    /// RFC 6749: the code, token or assertion is not good.
    InvalidGrant = "invalid_grant", 400, CredentialInvalid;
    /// RFC 6749: not for this client.
    UnauthorizedClient = "unauthorized_client", 400, CredentialInvalid;
    /// RFC 6749: no such grant here.
    UnsupportedGrantType = "unsupported_grant_type", 400, InvalidParams;
    /// RFC 6749: only `code`.
    UnsupportedResponseType = "unsupported_response_type", 400, InvalidParams;
    /// RFC 6749: a scope that does not exist or was not granted.
    InvalidScope = "invalid_scope", 400, InvalidParams;
    /// RFC 8707: a resource that is not ours.
    InvalidTarget = "invalid_target", 400, InvalidParams;
    /// RFC 6749: the person, or a rule, said no.
    AccessDenied = "access_denied", 400, CredentialInvalid;
    /// RFC 6749: our fault.
    ServerError = "server_error", 500, Internal;
    /// RFC 6749: not now.
    TemporarilyUnavailable = "temporarily_unavailable", 503, CatalogueStale;
    /// Too much from one address.
    TooMuch = "temporarily_unavailable", 429, Overloaded;
    /// RFC 8628: nobody has answered yet.
    AuthorizationPending = "authorization_pending", 400, CredentialInvalid;
    /// RFC 8628: ask less often.
    SlowDown = "slow_down", 400, Overloaded;
    /// RFC 8628: the device's code is too old.
    ExpiredToken = "expired_token", 400, CredentialExpired;
    /// RFC 7591: a redirect URI that is not taken.
    InvalidRedirectUri = "invalid_redirect_uri", 400, InvalidParams;
    /// RFC 7591: other metadata that is not taken.
    InvalidClientMetadata = "invalid_client_metadata", 400, InvalidParams;
    /// RFC 7009: no such kind of token.
    UnsupportedTokenType = "unsupported_token_type", 400, InvalidParams;
    /// OpenID Connect: `request` is not taken.
    RequestNotSupported = "request_not_supported", 400, InvalidParams;
    /// OpenID Connect: `request_uri` is not taken.
    RequestUriNotSupported = "request_uri_not_supported", 400, InvalidParams;
}

/// An error for a client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {description}", code.as_str())]
pub struct OauthError {
    /// Its name.
    pub code: ErrorCode,
    /// What was expected; never holds what was sent.
    pub description: String,
    /// For the record alone, where it says more.
    pub detail: Option<String>,
}

impl OauthError {
    /// Of this name, with this explanation.
    pub fn new(code: ErrorCode, description: impl Into<String>) -> OauthError {
        OauthError { code, description: description.into(), detail: None }
    }

    pub(crate) fn request(description: impl Into<String>) -> OauthError {
        OauthError::new(ErrorCode::InvalidRequest, description)
    }

    /// The same words for every client that is not let in; `detail` tells operators why.
    pub(crate) fn client(detail: impl Into<String>) -> OauthError {
        OauthError::new(ErrorCode::InvalidClient, "the client is unknown or did not prove itself")
            .because(detail)
    }

    /// The same words for everything that was to be exchanged and is no good.
    pub(crate) fn grant(detail: impl Into<String>) -> OauthError {
        let description = "what was to be exchanged is not valid, was used before, or has expired";
        OauthError::new(ErrorCode::InvalidGrant, description).because(detail)
    }

    pub(crate) fn because(mut self, detail: impl Into<String>) -> OauthError {
        self.detail = Some(detail.into());
        self
    }

    pub(crate) fn store(error: StoreError) -> OauthError {
        tracing::error!(%error, "the authorization server's database operation failed");
        if error.is_unavailable() {
            OauthError::new(ErrorCode::TemporarilyUnavailable, "try again later")
        } else {
            OauthError::new(ErrorCode::ServerError, "the request could not be completed")
        }
    }

    pub(crate) fn stale() -> OauthError {
        OauthError::new(ErrorCode::TemporarilyUnavailable, "try again later")
            .because("the catalogue could not be refreshed in time")
    }

    /// The body of an endpoint's answer.
    pub fn json(&self) -> Value {
        json!({"error": self.code.as_str(), "error_description": self.told()})
    }

    /// The description in the characters that RFC 6749 lets it have.
    pub fn told(&self) -> String {
        let legal = |c: char| c == ' ' || (c.is_ascii_graphic() && c != '"' && c != '\\');
        self.description.chars().map(|c| if legal(c) { c } else { '\'' }).collect()
    }
}
