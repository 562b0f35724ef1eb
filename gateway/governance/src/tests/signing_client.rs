//! The gateway as a client that signs: what it proves itself with, for whom, and what never leaves.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use gateway_core::reason::Reason;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED,
    ECDSA_P384_SHA384_FIXED_SIGNING, ED25519, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair,
    KeyPair, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey, VerificationAlgorithm,
};
use serde_json::{Value, json};

use super::house::{House, STATE};
use super::world::{ISSUER, SERVER};

/// A key in PEM, the `alg` that it signs with, and how that is checked.
struct Key {
    alg: &'static str,
    pem: String,
    public: Vec<u8>,
    check: &'static dyn VerificationAlgorithm,
}

fn keys() -> Vec<Key> {
    let random = SystemRandom::new();
    let ed = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
    let ed_public = Ed25519KeyPair::from_pkcs8(ed.as_ref()).unwrap();
    let ec = |alg, curve: &'static EcdsaSigningAlgorithm, check| {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(curve, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(curve, pkcs8.as_ref(), &SystemRandom::new()).unwrap();
        let public = pair.public_key().as_ref().to_vec();
        Key { alg, pem: pem(pkcs8.as_ref()), public, check }
    };
    let rsa: String =
        include_str!("../identity/testdata/rsa2048.pkcs8.base64").split_whitespace().collect();
    let rsa = STANDARD.decode(rsa).unwrap();
    let rsa_public = RsaKeyPair::from_pkcs8(&rsa).unwrap().public_key().as_ref().to_vec();
    vec![
        Key {
            alg: "EdDSA",
            pem: pem(ed.as_ref()),
            public: ed_public.public_key().as_ref().to_vec(),
            check: &ED25519,
        },
        ec("ES256", &ECDSA_P256_SHA256_FIXED_SIGNING, &ECDSA_P256_SHA256_FIXED),
        ec("ES384", &ECDSA_P384_SHA384_FIXED_SIGNING, &ECDSA_P384_SHA384_FIXED),
        Key {
            alg: "RS256",
            pem: pem(&rsa),
            public: rsa_public,
            check: &RSA_PKCS1_2048_8192_SHA256,
        },
    ]
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
}

/// A house whose server is signed in to with the key in a file.
struct Signing {
    house: House,
    file: std::path::PathBuf,
}

impl Signing {
    async fn open() -> Signing {
        let name = format!("gateway-key-{}.pem", uuid::Uuid::new_v4().simple());
        Signing { house: House::open().await, file: std::env::temp_dir().join(name) }
    }

    /// Asks for the gateway's own token with that key.
    async fn ask(&self, key: &str, more: &str) -> Result<(), (Reason, String)> {
        std::fs::write(&self.file, key).unwrap();
        let server = format!(
            "\n[[servers]]\nslug = \"wiki\"\nurl = \"{SERVER}\"\nauth = {{ mode = \"oauth_shared\", \
             client_id = \"gw\", private_key_file = \"{}\"{more} }}\n",
            self.file.display()
        );
        self.house.apply(&format!("{STATE}{server}")).await;
        let governance = &self.house.a.governance;
        governance.refresh().await.unwrap();
        let server = governance.snapshot().server("wiki").unwrap().clone();
        let asked = governance.connections().credential(None, &server).await;
        asked.map(drop).map_err(|unconnected| (unconnected.reason, unconnected.detail))
    }
}

impl Drop for Signing {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

fn part(assertion: &str, at: usize) -> Value {
    let part = assertion.split('.').nth(at).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_proves_itself_by_a_signature_for_one_issuer_and_keeps_its_key() {
    let s = Signing::open().await;
    let mut seen = std::collections::HashSet::new();
    // Another scope for each: what failed or succeeded before stands for nobody else.
    for (at, key) in keys().into_iter().enumerate() {
        s.ask(&key.pem, &format!(", key_id = \"k{at}\", scopes = [\"s{at}\"]")).await.unwrap();
        let asked = s.house.world.bend().asked.clone();
        let (place, form) =
            asked.iter().rfind(|(_, form)| form.contains_key("grant_type")).unwrap();
        assert_eq!(place, "POST https://as.test/token");
        assert_eq!(form["grant_type"], "client_credentials");
        assert_eq!(form["client_id"], "gw");
        assert_eq!(form["resource"], SERVER);
        assert_eq!(
            form["client_assertion_type"],
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        );
        assert!(!form.contains_key("client_secret"), "{form:?}");
        let assertion = &form["client_assertion"];
        let header = part(assertion, 0);
        assert_eq!(header, json!({"alg": key.alg, "typ": "JWT", "kid": format!("k{at}")}));
        let claims = part(assertion, 1);
        assert_eq!((&claims["iss"], &claims["sub"]), (&json!("gw"), &json!("gw")));
        assert_eq!(claims["aud"], ISSUER, "for this issuer and nobody else");
        assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 120);
        assert!(
            seen.insert(claims["jti"].as_str().unwrap().to_owned()),
            "an assertion is used once"
        );
        let (message, signature) = assertion.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        UnparsedPublicKey::new(key.check, &key.public)
            .verify(message.as_bytes(), &signature)
            .unwrap_or_else(|_| panic!("{}: the signature does not verify", key.alg));
        let secret: Vec<&str> = key.pem.lines().filter(|line| line.len() > 20).collect();
        assert!(!secret.iter().any(|line| format!("{asked:?}").contains(line)), "{}", key.alg);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_none_and_an_issuer_that_takes_none_end_before_anything_is_sent() {
    let s = Signing::open().await;
    let good = keys().remove(0).pem;
    let begun = good.replace("PRIVATE KEY", "EC PRIVATE KEY");
    let cases = [
        ("", "its source is missing"),
        ("secret", "expected a PRIVATE KEY"),
        (begun.as_str(), "expected a PRIVATE KEY"),
        (&good[..60], "expected a PRIVATE KEY"),
        (&pem(b"not a key"), "expected a key for RSA"),
    ];
    for (at, (key, expected)) in cases.into_iter().enumerate() {
        let (reason, detail) = s.ask(key, &format!(", scopes = [\"s{at}\"]")).await.unwrap_err();
        assert_eq!(reason, Reason::UpstreamCredentialMissing, "case {at}: {detail}");
        assert!(detail.starts_with("auth.private_key: ") && detail.contains(expected), "{detail}");
    }
    let methods = json!(["client_secret_basic"]);
    s.house.world.bend().metadata["token_endpoint_auth_methods_supported"] = methods;
    let (reason, detail) = s.ask(&good, ", scopes = [\"other\"]").await.unwrap_err();
    assert_eq!(reason, Reason::UpstreamInvalid, "{detail}");
    assert!(detail.ends_with("no private_key_jwt"), "{detail}");
    assert_eq!(s.house.world.times("POST https://as.test/token"), 0);
}
