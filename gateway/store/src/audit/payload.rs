//! Arguments and results: cut at the limit, compressed, digested.

use std::cell::RefCell;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::chain::ChainKey;

/// Shorter than this nothing is won by compressing.
const RAW_BELOW: usize = 512;
/// Shorter than this, Huffman tables take longer than all the rest: level -1 does without.
const SHORT: usize = 4 * 1024;
/// Nobody reads back more than this from one payload, whatever a row claims.
const UNPACK_LIMIT: usize = 64 << 20;

/// Arguments or a result as it is read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// The bytes; only the first of them when `size` is larger.
    pub bytes: Bytes,
    /// How many bytes there were.
    pub size: u64,
}

impl Payload {
    /// True when only the beginning was kept.
    pub fn is_cut(&self) -> bool {
        self.size > self.bytes.len() as u64
    }
}

/// A payload as it lies in the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Packed {
    pub(super) codec: Codec,
    pub(super) size: i64,
    pub(super) kept: i64,
    #[serde(with = "base64_text")]
    pub(super) body: Vec<u8>,
}

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Codec {
    Raw,
    Zstd,
}

impl Codec {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Codec::Raw => "raw",
            Codec::Zstd => "zstd",
        }
    }

    pub(super) fn parse(name: &str) -> Option<Codec> {
        [Codec::Raw, Codec::Zstd].into_iter().find(|codec| codec.as_str() == name)
    }
}

thread_local! {
    // A context is about 1 MB and slow to make: one a thread, whose level each payload sets. `None` where it cannot be made.
    static COMPRESSOR: RefCell<Option<zstd::bulk::Compressor<'static>>> =
        RefCell::new(zstd::bulk::Compressor::new(1).ok());
}

impl Packed {
    /// Cuts at `limit` and compresses.
    pub(super) fn pack(bytes: &[u8], limit: usize) -> Packed {
        let kept = &bytes[..bytes.len().min(limit)];
        let (codec, body) = match compress(kept) {
            Some(body) => (Codec::Zstd, body),
            None => (Codec::Raw, kept.to_vec()),
        };
        Packed { codec, size: signed(bytes.len()), kept: signed(kept.len()), body }
    }

    /// The bytes as they were.
    pub(super) fn unpack(&self) -> Result<Payload, String> {
        let kept = usize::try_from(self.kept).unwrap_or(usize::MAX);
        if kept > UNPACK_LIMIT {
            return Err(format!("a payload of {kept} bytes is too large"));
        }
        let bytes = match self.codec {
            Codec::Raw => self.body.clone(),
            Codec::Zstd => zstd::bulk::decompress(&self.body, kept).map_err(|e| e.to_string())?,
        };
        Ok(Payload { bytes: bytes.into(), size: u64::try_from(self.size).unwrap_or(0) })
    }

    /// What its intent or event row says about it: with that, the chain covers payloads too, although
    /// they may be removed earlier.
    pub(super) fn digest(&self, key: &ChainKey) -> Vec<u8> {
        let head = format!("{}/{}/{}/", self.codec.as_str(), self.size, self.kept);
        key.tag(&[b"payload/", head.as_bytes(), &self.body]).to_vec()
    }
}

fn compress(bytes: &[u8]) -> Option<Vec<u8>> {
    if bytes.len() < RAW_BELOW {
        return None;
    }
    let level = if bytes.len() < SHORT { -1 } else { 1 };
    let packed = COMPRESSOR.with_borrow_mut(|compressor| {
        let compressor = compressor.as_mut()?;
        compressor.set_compression_level(level).ok()?;
        compressor.compress(bytes).ok()
    })?;
    (packed.len() < bytes.len()).then_some(packed)
}

fn signed(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

/// Bytes as text inside a spooled entry.
mod base64_text {
    use super::*;
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD_NO_PAD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        STANDARD_NO_PAD.decode(text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out() {
        let long = b"{\"a\":\"b\\u0000\"}".repeat(1000);
        for bytes in [&b""[..], b"{}", b"\0\xff", &long] {
            let packed = Packed::pack(bytes, 1 << 20);
            let text = serde_json::to_string(&packed).unwrap();
            let again: Packed = serde_json::from_str(&text).unwrap();
            assert_eq!(packed, again);
            assert_eq!(&again.unpack().unwrap().bytes[..], bytes);
            assert!(!again.unpack().unwrap().is_cut());
        }
        assert!(Packed::pack(&long, 1 << 20).body.len() < long.len() / 10);
    }

    #[test]
    fn beyond_the_limit_only_the_beginning_is_kept() {
        let packed = Packed::pack(&[b'x'; 1000], 10);
        let payload = packed.unpack().unwrap();
        assert_eq!((payload.bytes.len(), payload.size, payload.is_cut()), (10, 1000, true));
    }

    #[test]
    fn a_row_that_claims_too_much_is_refused() {
        let packed = Packed { kept: i64::MAX, ..Packed::pack(&[b'x'; 1000], 1000) };
        assert!(packed.unpack().is_err());
    }
}
