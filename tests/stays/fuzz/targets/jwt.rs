//! Tokens of other issuers: nothing counts but what the issuer signed, and of that nothing whose claims another JSON
//! reader finds wanting.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_core::keys::RootKey;
use gateway_governance::doors::Tokens;
use gateway_governance::{GovernanceSettings, Issuer};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use super::Target;
use super::session::{at, changed, person};

pub(super) const TARGET: Target = Target {
    name: "jwt",
    run,
    inputs: 6_000,
    words: &[
        b".",
        b"=",
        b"eyJ",
        b"\"alg\":\"none\"",
        b"\"alg\":\"HS256\"",
        b"\"alg\":\"EdDSA\"",
        b"\"kid\":\"ed\"",
        b"\"crit\":[]",
        b"\"jwk\":{}",
        b"\"iss\":\"https://idp.example.com\"",
        b"\"aud\":\"https://mcp.example.com\"",
        b"\"aud\":[\"https://mcp.example.com\"]",
        b"\"exp\":",
        b"\"nbf\":",
        b"\"iat\":",
        b"\"sub\":\"2@example.com\"",
        b"\"email\":\"3@example.com\"",
        b"\"email_verified\":true",
        b"\"nonce\":1",
        b"1800000300",
        b"1e99",
        b"-1",
        b"null",
        b"{",
        b"}",
        b",",
    ],
};

const ISSUER: &str = "https://idp.example.com";
const AUDIENCE: &str = "https://mcp.example.com";

struct Ours {
    tokens: Tokens,
    key: Ed25519KeyPair,
    good: String,
    runtime: Runtime,
}

static OURS: LazyLock<Ours> = LazyLock::new(|| {
    let key = Ed25519KeyPair::from_seed_unchecked(&[5; 32]).unwrap();
    let x = URL_SAFE_NO_PAD.encode(key.public_key().as_ref());
    let keys =
        json!({"keys": [{"kty": "OKP", "kid": "ed", "crv": "Ed25519", "use": "sig", "x": x}]});
    let root: Vec<u8> = (0..32u8).map(|i| i.wrapping_mul(37) ^ 0xA5).collect();
    let root = RootKey::new(&root).unwrap();
    let mut settings = GovernanceSettings::new(root, "https://gw.example.com".parse().unwrap());
    let mut issuer = Issuer::new(ISSUER, AUDIENCE);
    issuer.jwks_url = Some("https://idp.example.com/keys".parse().unwrap());
    settings.issuers = vec![issuer];
    let people = vec![person(2), person(3)];
    let tokens = Tokens::new(&settings, people, keys.to_string(), at(0)).unwrap();
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let claims = json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "2@example.com", "exp": at(300).unix_timestamp()});
    let good = signed(&key, br#"{"alg":"EdDSA","kid":"ed"}"#, claims.to_string().as_bytes());
    Ours { tokens, key, good, runtime }
});

fn signed(key: &Ed25519KeyPair, header: &[u8], claims: &[u8]) -> String {
    let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
    let message = format!("{header}.{claims}");
    let signature = URL_SAFE_NO_PAD.encode(key.sign(message.as_bytes()));
    format!("{message}.{signature}")
}

impl Ours {
    /// The address of whom a token stands for.
    fn whose(&self, token: &str) -> Option<String> {
        let value = format!("Bearer {token}");
        let caller = self.runtime.block_on(self.tokens.identify(&value));
        caller.ok().map(|caller| caller.user.email.clone())
    }
}

/// Any text as a token; the bytes as changes to a good one; as the claims, and as the header, of one that the issuer
/// signed.
fn run(input: &[u8]) {
    let ours = &*OURS;
    assert_eq!(ours.whose(&ours.good).as_deref(), Some("2@example.com"));
    let text = String::from_utf8_lossy(input);
    // Spaces around it are the header's, not the token's.
    assert_eq!(ours.whose(&text).is_some(), text.trim() == ours.good, "{text}");
    let forged = changed(&ours.good, input);
    assert_eq!(ours.whose(&forged).is_some(), forged.trim() == ours.good, "{forged}");

    let token = signed(&ours.key, br#"{"alg":"EdDSA","kid":"ed"}"#, input);
    if let Some(email) = ours.whose(&token) {
        claims_say(&serde_json::from_slice(input).unwrap(), &email);
    }
    let claims = ours.good.split('.').nth(1).unwrap();
    let token = signed(&ours.key, input, &URL_SAFE_NO_PAD.decode(claims).unwrap());
    if ours.whose(&token).is_some() {
        let header: Value = serde_json::from_slice(input).unwrap();
        assert_eq!(header["alg"], "EdDSA");
        for brings_keys in ["jwk", "jku", "x5u", "x5c", "crit", "b64"] {
            assert!(header.get(brings_keys).is_none(), "{header}");
        }
    }
}

fn claims_say(claims: &Value, email: &str) {
    assert_eq!(claims["iss"], ISSUER);
    assert!(claims["aud"] == AUDIENCE || claims["aud"] == json!([AUDIENCE]), "{claims}");
    let instant = |name: &str| claims.get(name).map(|value| value.as_f64().unwrap());
    let now = at(0).unix_timestamp() as f64;
    assert!(instant("exp").unwrap() > now, "{claims}");
    assert!(instant("nbf").is_none_or(|from| from <= now + 61.0), "{claims}");
    let verified = claims["email_verified"] == true && claims["email"] == email;
    let subject = &claims["sub"];
    let by_id = person(2).id.to_string();
    assert!(
        verified || subject == email || subject.as_str().is_some_and(|id| id.contains(&by_id[..8])),
        "{claims}"
    );
    assert!(claims.get("nonce").is_none(), "an ID token is no access token: {claims}");
}
