//! Private keys and signed tokens, whoever issued them.

use std::ops::Range;

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::{Rule, Seek, checked, checksums, plausible, secret, token};

pub(super) const RULES: &[Rule] = &[
    // Lines of base64, whole or cut off, their ends escaped or not, perhaps with headers before them.
    checked(
        "private_key",
        &["-----BEGIN ", "---- BEGIN "],
        r"(?-u)-{4,5} ?BEGIN (?:[A-Z0-9]+ ){0,2}PRIVATE KEY(?: BLOCK)? ?-{4,5}(?:[ \t\r\n]|\\+[nrt])*(?:[A-Za-z-]+: [ -~]*(?:[ \t\r\n]|\\+[nrt])+)*(?:[A-Za-z0-9+/=]{16,}(?:[ \t\r\n]|\\+[nrt])*)+(?:[A-Za-z0-9+/=]+(?:[ \t\r\n]|\\+[nrt])*){0,2}(?:-{4,5} ?END [A-Z0-9]+(?: [A-Z0-9]+)* ?-{4,5})?",
        private_key,
    ),
    token(
        "putty_private_key",
        &["Private-Lines: "],
        r"Private-Lines: [0-9]{1,3}(?:[ \r\n]|\\[nr]){1,4}(?P<it>(?:[A-Za-z0-9+/=]{1,64}(?:[ \r\n]|\\[nr]){1,4})+)",
    ),
    checked(
        "age_secret_key",
        &["AGE-SECRET-KEY-1"],
        "(?i-u:AGE-SECRET-KEY-1[02-9AC-HJ-NP-Z]{58})",
        checksums::bech32,
    ),
    token(
        "jwk_private_key",
        &["\"d\"", "\\\"d\\\""],
        r#"\\?"d\\?"[ \t]{0,4}:[ \t]{0,4}\\?"(?P<it>[A-Za-z0-9_-]{43,})\\?""#,
    ),
    secret("jwt", Seek::Byte { bytes: b".", find: jwt }, None),
];

/// True when there is key material behind the beginning, not prose or dots.
fn private_key(found: &str) -> bool {
    let body = found.trim_start_matches('-').split_once("----").map_or("", |(_, body)| body);
    let body = body.split("----").next().unwrap_or_default();
    body.split(|c: char| !c.is_ascii_alphanumeric() && !"+/=".contains(c))
        .any(|run| run.len() >= 40 && plausible::entropy(run) >= 3.0)
}

/// Header and claims in base64 of JSON; the signature may be missing. Asked at the first dot: a segment is read by the
/// dots at its ends only.
fn jwt(text: &str, at: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let rest = bytes.get(at + 1..)?;
    if !rest.starts_with(b"eyJ") {
        return None;
    }
    let inner = |byte: &&u8| byte.is_ascii_alphanumeric() || b"_-".contains(byte);
    let header = bytes.get(..at)?.iter().rev().take_while(inner).count();
    let claims = rest.iter().take_while(inner).count();
    if header < 15 || claims < 10 || rest.get(claims) != Some(&b'.') {
        return None;
    }
    let signature = rest.get(claims + 1..)?.iter().take_while(inner).count();
    // The header may stand behind other letters, escapes undone halfway, for instance.
    let head = text.get(at - header..at)?;
    let start = at - header + head.find("eyJ")?;
    let header = LENIENT.decode(text.get(start..at)?).ok()?;
    let names_algorithm = header.windows(5).any(|five| five == b"\"alg\"");
    names_algorithm.then_some(start..at + 1 + claims + 1 + signature)
}

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);
