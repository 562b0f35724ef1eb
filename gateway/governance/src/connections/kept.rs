//! What is sealed of a connection and of an attempt. The texts are secret as a whole.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::tokens::{Client, Issued, Proof};

/// The tokens of a connection, and where they may go.
#[derive(Serialize, Deserialize)]
pub(super) struct KeptTokens {
    pub(super) access: String,
    pub(super) refresh: Option<String>,
    /// The server's address when the person connected: nowhere else are the tokens sent.
    pub(super) url: String,
    pub(super) resource: String,
    pub(super) token_endpoint: String,
    pub(super) revocation_endpoint: Option<String>,
    pub(super) client: KeptClient,
}

/// The client that the tokens were issued to.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct KeptClient {
    pub(super) id: String,
    /// Where the operator keeps it, it is not kept here.
    pub(super) secret: Option<String>,
    pub(super) proof: Proof,
}

/// What ends an attempt.
#[derive(Serialize, Deserialize)]
pub(super) struct KeptAttempt {
    /// The browser that began it.
    pub(super) browser: String,
    pub(super) verifier: String,
    pub(super) url: String,
    pub(super) resource: String,
    pub(super) token_endpoint: String,
    pub(super) revocation_endpoint: Option<String>,
    pub(super) client: KeptClient,
    pub(super) scope: String,
    /// The issuer said that it names itself in its answers.
    pub(super) names_itself: bool,
}

impl KeptClient {
    pub(super) fn of(client: &Client, configured: bool) -> KeptClient {
        let secret = client.secret.as_ref().filter(|_| !configured);
        KeptClient {
            id: client.id.clone(),
            secret: secret.map(|secret| secret.expose_secret().to_owned()),
            proof: client.proof,
        }
    }

    /// The client, with the operator's secret where that is the one.
    pub(super) fn client(&self, configured: &gateway_core::server::OauthClient) -> Client {
        let theirs = configured.client_id.as_deref() == Some(&self.id);
        let operators = configured.client_secret.as_ref().and_then(|secret| secret.value.clone());
        let own = self.secret.clone().map(SecretString::from);
        Client {
            id: self.id.clone(),
            secret: own.or(operators.filter(|_| theirs)),
            proof: self.proof,
        }
    }
}

impl KeptTokens {
    /// The same connection with what the issuer gave now; a refresh token that did not come anew stays.
    pub(super) fn with(self, issued: &Issued) -> KeptTokens {
        let fresh = issued.refresh.as_ref().map(|token| token.expose_secret().to_owned());
        KeptTokens {
            access: issued.access.expose_secret().to_owned(),
            refresh: fresh.or(self.refresh),
            ..self
        }
    }
}
