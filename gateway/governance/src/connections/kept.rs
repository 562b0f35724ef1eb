//! What is sealed of a connection and of an attempt. The texts are secret as a whole.

use gateway_core::server::OauthClient;
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

    /// The client, with the operator's secret or key where that is the one: as configured now, for a key must never
    /// be sent in the place of a secret that it took.
    pub(super) fn client(&self, configured: &OauthClient) -> Client {
        let theirs = Some(configured).filter(|c| c.client_id.as_deref() == Some(&self.id));
        if let Some(key) = theirs.and_then(|configured| configured.private_key.as_ref()) {
            return Client::signing(self.id.clone(), key);
        }
        let operators = theirs.and_then(|configured| configured.client_secret.as_ref());
        let own = self.secret.clone().map(SecretString::from);
        let secret = own.or(operators.and_then(|secret| secret.value.clone()));
        let proof = match self.proof {
            Proof::PrivateKeyJwt => Proof::ClientSecretBasic,
            same @ (Proof::None | Proof::ClientSecretBasic | Proof::ClientSecretPost) => same,
        };
        Client::new(self.id.clone(), secret, proof)
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

#[cfg(test)]
mod tests {
    use gateway_core::server::{PrivateKey, Secret, SecretSource};

    use super::*;

    fn secret(text: &str) -> Secret {
        let value = Some(SecretString::from(text.to_owned()));
        Secret { from: SecretSource::Env("X".into()), value }
    }

    /// What would be sent in the place of a secret.
    fn sent(kept: &KeptClient, configured: &OauthClient) -> (Proof, String) {
        let client = kept.client(configured);
        let (body, header) = client.form(&[], None);
        (client.proof, format!("{body} {header:?}"))
    }

    #[test]
    fn a_key_is_never_sent_as_a_secret() {
        let kept = |proof| KeptClient { id: "gw".into(), secret: None, proof };
        let with_key = OauthClient {
            client_id: Some("gw".into()),
            private_key: Some(PrivateKey { pem: secret("PEM"), key_id: None }),
            ..OauthClient::default()
        };
        let proofs =
            [Proof::None, Proof::ClientSecretBasic, Proof::ClientSecretPost, Proof::PrivateKeyJwt];
        for proof in proofs {
            let (now, sent) = sent(&kept(proof), &with_key);
            assert_eq!(now, Proof::PrivateKeyJwt, "connected by a secret, renewed by the key");
            assert_eq!(sent, "client_id=gw None");
        }
        // And back again.
        let with_secret = OauthClient {
            client_id: Some("gw".into()),
            client_secret: Some(secret("s")),
            ..OauthClient::default()
        };
        assert_eq!(sent(&kept(Proof::PrivateKeyJwt), &with_secret).0, Proof::ClientSecretBasic);
        // Another client's key is none of this one's.
        let other = OauthClient { client_id: Some("other".into()), ..with_key };
        let (proof, sent) = sent(&kept(Proof::ClientSecretPost), &other);
        assert_eq!((proof, sent.as_str()), (Proof::ClientSecretPost, "client_id=gw None"));
    }
}
