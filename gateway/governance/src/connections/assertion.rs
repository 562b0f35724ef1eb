//! A client that proves itself by a signature instead of a secret: `private_key_jwt` (RFC 7523, section 2.2). The key is
//! the operator's and stays here; what leaves is a JWT for one issuer, for two minutes. Token requests in [`super::tokens`]
//! carry it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_core::reason::Reason;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    RSA_PKCS1_SHA256, RsaKeyPair,
};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::Connections;
use super::tokens::{Client, Proof, TokenEndpoint};
use super::trouble::Trouble;
use crate::ports::uuid7;

/// How long an assertion counts.
const LIFETIME: i64 = 120;

impl Connections {
    /// An issuer's token endpoint, as `client` comes to it for `resource`.
    pub(super) fn token_endpoint<'a>(
        &'a self,
        (issuer, url): (&str, &'a str),
        client: &'a Client,
        resource: &'a str,
    ) -> Result<TokenEndpoint<'a>, Trouble> {
        let assertion = self.assertion(client, issuer)?;
        Ok(TokenEndpoint { fetcher: &self.fetcher, url, client, resource, assertion })
    }

    /// What a client that signs proves itself with at `issuer`; `None` for any other.
    pub(super) fn assertion(
        &self,
        client: &Client,
        issuer: &str,
    ) -> Result<Option<SecretString>, Trouble> {
        if client.proof != Proof::PrivateKeyJwt {
            return Ok(None);
        }
        let pem = client.secret.as_ref();
        let pem = pem.ok_or_else(|| unusable("its source is missing on this replica"))?;
        let key = Key::read(pem)?;
        let now = self.clock.now();
        let claims = json!({
            "iss": client.id,
            "sub": client.id,
            "aud": issuer,
            "jti": uuid7(now, &*self.random).to_string(),
            "iat": now.unix_timestamp(),
            "exp": now.unix_timestamp() + LIFETIME,
        });
        key.sign(client.key_id.as_deref(), &claims).map(Some)
    }
}

/// A private key of a kind that issuers know.
enum Key {
    Ed25519(Box<Ed25519KeyPair>),
    P256(Box<EcdsaKeyPair>),
    P384(Box<EcdsaKeyPair>),
    Rsa(Box<RsaKeyPair>),
}

impl Key {
    fn read(pem: &SecretString) -> Result<Key, Trouble> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.expose_secret().as_bytes());
        let der = der.map_err(|_| unusable("expected a PRIVATE KEY (PKCS#8) in PEM"))?;
        let der = der.secret_pkcs8_der();
        let random = SystemRandom::new();
        let ec = |algorithm| EcdsaKeyPair::from_pkcs8(algorithm, der, &random).map(Box::new);
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(der)
            .map(|pair| Key::Ed25519(Box::new(pair)))
            .or_else(|_| ec(&ECDSA_P256_SHA256_FIXED_SIGNING).map(Key::P256))
            .or_else(|_| ec(&ECDSA_P384_SHA384_FIXED_SIGNING).map(Key::P384))
            .or_else(|_| RsaKeyPair::from_pkcs8(der).map(|pair| Key::Rsa(Box::new(pair))))
            .map_err(|_| {
                unusable("expected a key for RSA (2048 bits or more), P-256, P-384 or Ed25519")
            })
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Key::Ed25519(_) => "EdDSA",
            Key::P256(_) => "ES256",
            Key::P384(_) => "ES384",
            Key::Rsa(_) => "RS256",
        }
    }

    fn sign(&self, key_id: Option<&str>, claims: &Value) -> Result<SecretString, Trouble> {
        let mut header = json!({"alg": self.algorithm(), "typ": "JWT"});
        if let Some(key_id) = key_id {
            header["kid"] = key_id.into();
        }
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&header), part(claims));
        // Nonces of signatures are no random choice of ours: the library draws them.
        let random = SystemRandom::new();
        let bytes = message.as_bytes();
        let signed = match self {
            Key::Ed25519(pair) => Ok(pair.sign(bytes).as_ref().to_vec()),
            Key::P256(pair) | Key::P384(pair) => {
                pair.sign(&random, bytes).map(|signature| signature.as_ref().to_vec())
            }
            Key::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, bytes, &mut signature).map(|()| signature)
            }
        };
        let signed = signed.map_err(|_| unusable("it does not sign"))?;
        Ok(SecretString::from(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signed))))
    }
}

fn unusable(what: &str) -> Trouble {
    Trouble::new(Reason::UpstreamCredentialMissing, format!("auth.private_key: {what}"))
}
