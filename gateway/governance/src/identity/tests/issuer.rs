//! An issuer that signs whatever a test wants, with ring: another implementation than the one that checks.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use serde_json::{Value, json};
use std::sync::LazyLock;

use super::{AUDIENCE, ISSUER, JWKS};
use crate::testing::{FakeNet, START};

pub(super) static KEYS: LazyLock<Keys> = LazyLock::new(Keys::new);
/// Keys that the issuer does not publish.
pub(super) static FOREIGN: LazyLock<Keys> = LazyLock::new(Keys::new);

pub(super) struct Keys {
    ed: Ed25519KeyPair,
    ec: EcdsaKeyPair,
    rsa: RsaKeyPair,
}

impl Keys {
    fn new() -> Keys {
        let random = SystemRandom::new();
        let ed = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        let curve = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let ec = EcdsaKeyPair::generate_pkcs8(curve, &random).unwrap();
        let rsa: String =
            include_str!("../testdata/rsa2048.pkcs8.base64").split_whitespace().collect();
        Keys {
            ed: Ed25519KeyPair::from_pkcs8(ed.as_ref()).unwrap(),
            ec: EcdsaKeyPair::from_pkcs8(curve, ec.as_ref(), &random).unwrap(),
            rsa: RsaKeyPair::from_pkcs8(&STANDARD.decode(rsa).unwrap()).unwrap(),
        }
    }

    /// Signs with the key that belongs to `alg`; other names are signed as EdDSA.
    pub(super) fn signature(&self, alg: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match alg {
            "RS256" => {
                let mut out = vec![0; self.rsa.public().modulus_len()];
                self.rsa.sign(&RSA_PKCS1_SHA256, &random, message, &mut out).unwrap();
                out
            }
            "ES256" => self.ec.sign(&random, message).unwrap().as_ref().to_vec(),
            _ => self.ed.sign(message).as_ref().to_vec(),
        }
    }

    pub(super) fn ed_public(&self) -> Vec<u8> {
        self.ed.public_key().as_ref().to_vec()
    }

    pub(super) fn ed_x(&self) -> String {
        encode(self.ed.public_key().as_ref())
    }

    pub(super) fn rsa_n(&self) -> String {
        encode(&ring::rsa::PublicKeyComponents::<Vec<u8>>::from(self.rsa.public()).n)
    }

    pub(super) fn jwk(&self, alg: &str) -> Value {
        match alg {
            "RS256" => {
                json!({"kty": "RSA", "kid": "rsa", "alg": "RS256", "use": "sig", "e": "AQAB",
                "n": self.rsa_n()})
            }
            "ES256" => {
                let point = self.ec.public_key().as_ref();
                json!({"kty": "EC", "kid": "ec", "crv": "P-256", "alg": "ES256", "use": "sig",
                    "x": encode(&point[1..33]), "y": encode(&point[33..])})
            }
            _ => json!({"kty": "OKP", "kid": "ed", "crv": "Ed25519", "alg": "EdDSA", "use": "sig",
                "x": self.ed_x()}),
        }
    }

    pub(super) fn jwks(&self) -> Value {
        json!({"keys": [self.jwk("EdDSA"), self.jwk("ES256"), self.jwk("RS256")]})
    }
}

/// Puts discovery and keys where they belong.
pub(super) fn publish(net: &FakeNet) {
    net.put(
        &format!("{ISSUER}/.well-known/openid-configuration"),
        json!({"issuer": ISSUER, "jwks_uri": JWKS}).to_string(),
    );
    net.put(JWKS, KEYS.jwks().to_string());
}

/// A header and claims that are good; tests spoil one thing.
pub(super) fn header(alg: &str) -> Value {
    let kid = match alg {
        "RS256" => "rsa",
        "ES256" => "ec",
        _ => "ed",
    };
    json!({"alg": alg, "kid": kid, "typ": "at+jwt"})
}

pub(super) fn claims() -> Value {
    json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "bob@example.com", "iat": START - 10,
        "exp": START + 300})
}

/// Signs these values with the issuer's key for the algorithm that the header names.
pub(super) fn token(header: &Value, claims: &Value) -> String {
    raw_token(&KEYS, &header.to_string(), &claims.to_string())
}

/// Signs these texts.
pub(super) fn raw_token(keys: &Keys, header: &str, claims: &str) -> String {
    let alg = serde_json::from_str::<Value>(header)
        .ok()
        .and_then(|header| header.get("alg")?.as_str().map(str::to_owned));
    let message = format!("{}.{}", encode(header.as_bytes()), encode(claims.as_bytes()));
    let signature = keys.signature(alg.as_deref().unwrap_or("EdDSA"), message.as_bytes());
    format!("{message}.{}", encode(&signature))
}

pub(super) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
