//! Sealed tokens: small values that a client carries for us and can neither read nor change.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

/// AES-256-GCM under one derived key, made once: nothing is derived per request.
pub struct Sealer {
    key: LessSafeKey,
}

/// The token was not made by us for this use, or was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the token was not issued here")]
pub struct NotSealed;

impl Sealer {
    /// A sealer for one purpose's key.
    pub fn new(key: &[u8; 32]) -> Sealer {
        // The key has AES-256's length by its type.
        #[expect(clippy::expect_used, reason = "32 bytes are always a valid AES-256 key")]
        let unbound = UnboundKey::new(&AES_256_GCM, key).expect("32 bytes fit AES-256");
        Sealer { key: LessSafeKey::new(unbound) }
    }

    /// Seals `plain`, bound to `context`; `nonce` must be random. URL-safe base64, no padding.
    pub fn seal(&self, nonce: [u8; NONCE_LEN], context: &[u8], plain: &[u8]) -> String {
        let mut sealed = plain.to_vec();
        let done = self.key.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(context),
            &mut sealed,
        );
        debug_assert!(done.is_ok(), "sealing fails only beyond 64 GiB");
        let mut token = nonce.to_vec();
        token.append(&mut sealed);
        URL_SAFE_NO_PAD.encode(token)
    }

    /// Opens a token that was sealed with the same key and context.
    pub fn open(&self, context: &[u8], token: &str) -> Result<Vec<u8>, NotSealed> {
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| NotSealed)?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_LEN).ok_or(NotSealed)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| NotSealed)?;
        let mut sealed = sealed.to_vec();
        let plain = self
            .key
            .open_in_place(nonce, Aad::from(context), &mut sealed)
            .map_err(|_| NotSealed)?;
        Ok(plain.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_opens_only_whole_and_in_its_context() {
        let sealer = Sealer::new(&[9; 32]);
        let token = sealer.seal([1; 12], b"server a", b"upstream session");
        assert_eq!(sealer.open(b"server a", &token).unwrap(), b"upstream session");
        assert_eq!(sealer.open(b"server b", &token), Err(NotSealed));
        assert_eq!(Sealer::new(&[8; 32]).open(b"server a", &token), Err(NotSealed));
        for i in 0..token.len() {
            let mut forged = token.clone().into_bytes();
            forged[i] = if forged[i] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).unwrap();
            assert!(sealer.open(b"server a", &forged).is_err(), "byte {i}");
        }
        assert_eq!(sealer.open(b"server a", "short"), Err(NotSealed));
        assert_eq!(sealer.open(b"server a", ""), Err(NotSealed));
    }
}
