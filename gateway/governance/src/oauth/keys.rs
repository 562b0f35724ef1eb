//! The keys that sign access tokens. One is made when it is first needed; its successor is published a day
//! before it signs, and a key stays published until the last token that it signed has expired.
//!
//! ```text
//! created ---- published ----> signs_from ---- signs ----> signs_until ---- verifies ----> gone_at
//! ```

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_core::keys::{Purpose, RootKey};
use gateway_core::seal::Sealer;
use gateway_core::{Clock, Timestamp};
use gateway_store::Store;
use gateway_store::signing_key::StoredSigningKey;
use ring::digest::{SHA256, digest};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use time::Duration;

use super::error::{ErrorCode, OauthError};
use crate::ports::Random;
use crate::refresh::Current;

/// How long a key signs.
const SIGNS: Duration = Duration::days(30);
/// How long before its end its successor is published.
const LEAD: Duration = Duration::days(1);
/// Longer than any token of ours lives.
const OUTLIVES: Duration = Duration::hours(25);

/// Signs, with the key whose turn it is.
pub(crate) struct Signer {
    store: Store,
    current: Arc<Current>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    sealer: Sealer,
    opened: ArcSwapOption<Opened>,
}

struct Opened {
    kid: String,
    pair: Ed25519KeyPair,
}

impl Signer {
    pub(crate) fn new(
        root: &RootKey,
        store: Store,
        current: Arc<Current>,
        (clock, random): (Arc<dyn Clock>, Arc<dyn Random>),
    ) -> Signer {
        let sealer = Sealer::new(&root.derive(Purpose::SigningKey));
        Signer { store, current, clock, random, sealer, opened: ArcSwapOption::empty() }
    }

    /// A JWT of these claims; `typ` tells what it is.
    pub(crate) async fn sign(&self, typ: &str, claims: &Value) -> Result<String, OauthError> {
        let opened = self.opened().await?;
        let header = json!({"alg": "EdDSA", "typ": typ, "kid": opened.kid}).to_string();
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let message = format!("{}.{}", encode(&header), encode(&claims.to_string()));
        let signature = opened.pair.sign(message.as_bytes());
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref())))
    }

    /// Makes the key that will be needed next, if it is time.
    pub(crate) async fn prepare(&self) -> Result<(), OauthError> {
        let now = self.clock.now();
        let keys = Arc::clone(&self.current.snapshot().signing_keys);
        let covered = keys.iter().map(|key| key.signs_until).max();
        if covered.is_some_and(|until| until > now + LEAD) {
            return Ok(());
        }
        let from = covered.filter(|until| *until > now).unwrap_or(now);
        let key = self.new_key(now, from);
        let made = self.store.add_signing_key(&key, now + LEAD).await.map_err(OauthError::store)?;
        if made {
            tracing::info!(kid = key.kid, signs_from = %key.signs_from, "a signing key was made");
        }
        // Also when another replica was first: its key is the one.
        self.current.refresh().await.map(drop).map_err(|error| {
            tracing::error!(%error, "a new signing key could not be read");
            OauthError::stale()
        })
    }

    fn new_key(&self, now: Timestamp, from: Timestamp) -> StoredSigningKey {
        let mut seed = [0; 32];
        self.random.fill(&mut seed);
        #[expect(clippy::expect_used, reason = "every 32 bytes are a seed")]
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("32 bytes are a seed");
        let public_key = pair.public_key().as_ref().to_vec();
        let kid = thumbprint(&public_key);
        let mut nonce = [0; 12];
        self.random.fill(&mut nonce);
        let until = from + SIGNS;
        StoredSigningKey {
            sealed: self.sealer.seal(nonce, kid.as_bytes(), &seed),
            algorithm: "EdDSA".into(),
            created_at: now,
            signs_from: from,
            signs_until: until,
            gone_at: until + OUTLIVES,
            kid,
            public_key,
        }
    }

    async fn opened(&self) -> Result<Arc<Opened>, OauthError> {
        if let Some(key) = self.whose_turn() {
            return self.open(&key);
        }
        self.prepare().await?;
        let none = || {
            OauthError::new(ErrorCode::ServerError, "no token can be signed now")
                .because("there is no signing key")
        };
        self.open(&self.whose_turn().ok_or_else(none)?)
    }

    fn whose_turn(&self) -> Option<StoredSigningKey> {
        let now = self.clock.now();
        let snapshot = self.current.snapshot();
        let signs = |key: &&StoredSigningKey| {
            key.algorithm == "EdDSA" && key.signs_from <= now && now < key.signs_until
        };
        snapshot.signing_keys.iter().filter(signs).max_by_key(|key| key.signs_from).cloned()
    }

    fn open(&self, key: &StoredSigningKey) -> Result<Arc<Opened>, OauthError> {
        if let Some(opened) = self.opened.load_full().filter(|opened| opened.kid == key.kid) {
            return Ok(opened);
        }
        let sealed = self.sealer.open(key.kid.as_bytes(), &key.sealed).ok();
        let pair = sealed
            .and_then(|seed| Ed25519KeyPair::from_seed_and_public_key(&seed, &key.public_key).ok());
        let Some(pair) = pair else {
            tracing::error!(
                kid = key.kid,
                "a signing key does not open: was keys.root_file changed?"
            );
            let error = OauthError::new(ErrorCode::ServerError, "no token can be signed now");
            return Err(error.because("the signing key does not open with this root key"));
        };
        let opened = Arc::new(Opened { kid: key.kid.clone(), pair });
        self.opened.store(Some(Arc::clone(&opened)));
        Ok(opened)
    }
}

/// The public keys as a JWK set (RFC 7517): those that sign, will sign, or signed tokens that still live.
pub(crate) fn jwks(keys: &[StoredSigningKey], now: Timestamp) -> Value {
    let living = keys.iter().filter(|key| key.algorithm == "EdDSA" && key.gone_at > now);
    let jwk = |key: &StoredSigningKey| {
        json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": key.kid,
            "x": URL_SAFE_NO_PAD.encode(&key.public_key)})
    };
    json!({"keys": living.map(jwk).collect::<Vec<_>>()})
}

/// RFC 7638.
fn thumbprint(public_key: &[u8]) -> String {
    let x = URL_SAFE_NO_PAD.encode(public_key);
    let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    URL_SAFE_NO_PAD.encode(digest(&SHA256, canonical.as_bytes()))
}
