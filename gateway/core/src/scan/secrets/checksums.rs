//! Checksums that tokens carry.

use super::plausible;

/// GitHub's and npm's: the last six characters are the CRC-32 of what stands between them and the prefix, in base 62.
/// Longer ones are of a later kind that says nothing about its checksum.
pub(super) fn github(found: &str) -> bool {
    const BODY: usize = 30;
    let Some((_, rest)) = found.split_once('_') else { return false };
    let (Some(body), Some(sum)) = (rest.get(..BODY), rest.get(BODY..BODY + 6)) else {
        return false;
    };
    base62(crc32fast::hash(body.as_bytes())) == *sum.as_bytes()
        || (rest.len() > BODY + 6 && plausible::token(rest))
}

/// Grafana's: behind the last underscore stands the CRC-32 of all before it, lowest byte first, in hexadecimal.
pub(super) fn grafana(found: &str) -> bool {
    let Some((body, sum)) = found.rsplit_once('_') else { return false };
    let sum = u32::from_str_radix(sum, 16);
    sum.is_ok_and(|sum| sum.swap_bytes() == crc32fast::hash(body.as_bytes()))
}

/// Bech32 (BIP 173), all in one case.
pub(super) fn bech32(found: &str) -> bool {
    const ALPHABET: &str = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    let lower = found.to_ascii_lowercase();
    let Some((prefix, rest)) = lower.rsplit_once('1') else { return false };
    let mut sum = 1;
    let expanded = prefix.bytes().map(|b| u32::from(b >> 5)).chain([0]);
    for value in expanded.chain(prefix.bytes().map(|b| u32::from(b & 31))) {
        sum = bech32_step(sum, value);
    }
    for c in rest.chars() {
        let Some(value) = ALPHABET.find(c).and_then(|at| u32::try_from(at).ok()) else {
            return false;
        };
        sum = bech32_step(sum, value);
    }
    sum == 1
}

fn bech32_step(sum: u32, value: u32) -> u32 {
    const GENERATORS: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
    let top = sum >> 25;
    let next = ((sum & 0x01ff_ffff) << 5) ^ value;
    let folded = GENERATORS.iter().enumerate().filter(|(i, _)| (top >> i) & 1 == 1);
    folded.fold(next, |next, (_, generator)| next ^ generator)
}

/// Six digits, padded with zeros.
fn base62(mut number: u32) -> [u8; 6] {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut out = [b'0'; 6];
    for place in out.iter_mut().rev() {
        *place = DIGITS[(number % 62) as usize];
        number /= 62;
    }
    out
}
