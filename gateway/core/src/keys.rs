//! The root key and the keys derived from it: one per purpose, so that a value made for one can never be
//! used for another.

use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use ring::hmac;

/// 32 secret bytes from `keys.root_file`.
#[derive(Clone)]
pub struct RootKey([u8; 32]);

/// What a derived key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Sealing `Mcp-Session-Id`.
    Session,
    /// Sealing `requestState` of our own elicitations.
    RequestState,
    /// Hashing API keys at rest.
    ApiKey,
    /// Chaining audit records.
    AuditChain,
    /// Sealing page cursors.
    Cursor,
    /// Sealing task ids.
    Task,
    /// Hashing codes, refresh tokens and secrets of the authorization server at rest.
    Oauth,
    /// Sealing the private keys that sign access tokens.
    SigningKey,
    /// Hashing cookies at rest, and tokens against forged forms.
    Browser,
    /// Sealing what a page carries to the next one.
    Page,
    /// Wrapping the vault's data keys.
    Vault,
    /// Hashing the `state` of people on the way to an upstream's consent page.
    Connect,
    /// Recognising what scanners found without keeping it.
    Finding,
}

impl Purpose {
    fn label(self) -> &'static [u8] {
        match self {
            Purpose::Session => b"gateway/session/1",
            Purpose::RequestState => b"gateway/request-state/1",
            Purpose::ApiKey => b"gateway/api-key/1",
            Purpose::AuditChain => b"gateway/audit-chain/1",
            Purpose::Cursor => b"gateway/cursor/1",
            Purpose::Task => b"gateway/task/1",
            Purpose::Oauth => b"gateway/oauth/1",
            Purpose::SigningKey => b"gateway/signing-key/1",
            Purpose::Browser => b"gateway/browser/1",
            Purpose::Page => b"gateway/page/1",
            Purpose::Vault => b"gateway/vault/1",
            Purpose::Connect => b"gateway/connect/1",
            Purpose::Finding => b"gateway/finding/1",
        }
    }
}

/// The root key is not usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WeakKey {
    /// Wrong length.
    #[error("the key has {0} bytes, expected exactly 32 random bytes")]
    Length(usize),
    /// Not random: repeated or printable bytes.
    #[error("the key is not random ({0}); make one with: head -c 32 /dev/urandom > FILE")]
    NotRandom(&'static str),
}

impl RootKey {
    /// Takes 32 random bytes; refuses what is obviously not random.
    pub fn new(bytes: &[u8]) -> Result<RootKey, WeakKey> {
        let key: [u8; 32] = bytes.try_into().map_err(|_| WeakKey::Length(bytes.len()))?;
        let mut distinct = key.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        // 32 random bytes have fewer than 16 distinct values once in 10^13.
        if distinct.len() < 16 {
            return Err(WeakKey::NotRandom("few distinct bytes"));
        }
        if key.iter().all(|b| b.is_ascii_graphic() || b.is_ascii_whitespace()) {
            return Err(WeakKey::NotRandom("printable text"));
        }
        if key.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)) {
            return Err(WeakKey::NotRandom("a sequence"));
        }
        Ok(RootKey(key))
    }

    /// The key for one purpose.
    pub fn derive(&self, purpose: Purpose) -> [u8; 32] {
        struct Len;
        impl KeyType for Len {
            fn len(&self) -> usize {
                32
            }
        }
        let mut out = [0; 32];
        let info = [purpose.label()];
        let prk = Salt::new(HKDF_SHA256, b"gateway root").extract(&self.0);
        // Expanding 32 bytes from SHA-256 cannot exceed HKDF's limit of 255 blocks.
        let filled = prk.expand(&info, Len).and_then(|okm| okm.fill(&mut out));
        debug_assert!(filled.is_ok());
        out
    }

    /// True when both are the same key. Takes the same time whatever they are.
    pub fn is(&self, other: &RootKey) -> bool {
        self.hash(Purpose::Vault, b"") == other.hash(Purpose::Vault, b"")
    }

    /// A keyed hash of `message` under the key for `purpose`.
    pub fn hash(&self, purpose: Purpose, message: &[u8]) -> [u8; 32] {
        keyed_hash(&self.derive(purpose), message)
    }
}

/// HMAC-SHA-256.
pub fn keyed_hash(key: &[u8; 32], message: &[u8]) -> [u8; 32] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    let mut out = [0; 32];
    out.copy_from_slice(tag.as_ref());
    out
}

impl std::fmt::Debug for RootKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RootKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_keys_are_refused() {
        let text = b"this is a passphrase, not a key!";
        let sequence: Vec<u8> = (100..132).collect();
        for weak in [&[0u8; 32][..], &[7; 32], &[1; 31], &[], text, &sequence] {
            assert!(RootKey::new(weak).is_err(), "{weak:?}");
        }
    }

    /// F8.
    #[test]
    fn purposes_do_not_share_keys() {
        let bytes: Vec<u8> = (0..32u8).map(|i| i.wrapping_mul(37) ^ 0xA5).collect();
        let root = RootKey::new(&bytes).unwrap();
        assert_ne!(root.derive(Purpose::Session), root.derive(Purpose::RequestState));
        assert_eq!(root.derive(Purpose::ApiKey), root.derive(Purpose::ApiKey));
    }
}
