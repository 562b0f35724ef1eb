//! A value beside a name that says that it is secret: `DB_PASSWORD=...`, `"clientSecret": "..."`, `token => '...'`.
//!
//! What is read lies between this sign and the next of its kind, so a text full of them costs no more than one reading.

use std::ops::Range;

use super::{Rule, Seek, plausible, secret};

pub(super) const RULES: &[Rule] = &[Rule {
    weight: 100,
    ..secret("assigned_secret", Seek::Byte { bytes: b"=:>", find: assigned_secret }, None)
}];

/// Longest name and longest value that are looked at, bytes.
const NAME: usize = 64;
const VALUE: usize = 256;

/// Names end in one of these, in any case, separators left out; before that they may say for what.
const PASSWORDS: &[&str] =
    &["password", "passwd", "pwd", "passphrase", "passwort", "contrasena", "motdepasse"];
const KEYS: &[&str] = &[
    "secret",
    "token",
    "apikey",
    "accesskey",
    "secretkey",
    "privatekey",
    "authkey",
    "encryptionkey",
    "signingkey",
    "masterkey",
    "accountkey",
    "sharedkey",
    "storagekey",
    "secretkeybase",
    "subscriptionkey",
    "credential",
    "credentials",
    "appkey",
    "authtoken",
    "functionskey",
];

/// Tokens that are no secrets.
const OPEN: &[&str] = &[
    "pagetoken",
    "nexttoken",
    "previoustoken",
    "csrftoken",
    "xsrftoken",
    "synctoken",
    "continuationtoken",
    "cancellationtoken",
    "designtoken",
    "maxtoken",
    "eostoken",
    "bostoken",
    "padtoken",
    "unktoken",
    "septoken",
    "clstoken",
    "masktoken",
    "starttoken",
    "stoptoken",
    "deltatoken",
    "resumetoken",
    "changetoken",
    "clientrequesttoken",
    "idempotencytoken",
    "antiforgerytoken",
    "progresstoken",
    "publickeytoken",
    "publictoken",
];

/// For what a secret is, behind its name.
const SUFFIXES: &[&str] = &[
    "prod",
    "production",
    "dev",
    "development",
    "staging",
    "stage",
    "live",
    "test",
    "value",
    "primary",
    "secondary",
];

fn assigned_secret(text: &str, at: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let sign = *bytes.get(at)?;
    let name = name_before(bytes, at)?;
    // `<password>...</password>`
    if sign == b'>' && name.start.checked_sub(1).and_then(|i| bytes.get(i)) != Some(&b'<') {
        return None;
    }
    let start = skip(bytes, at + 1, b"=>", 1);
    let start = skip(bytes, start, b" \t", 4);
    let escaped = usize::from(bytes.get(start) == Some(&b'\\'));
    let quote = bytes.get(start + escaped).filter(|b| b"\"'`".contains(b)).copied();
    let range = match quote {
        Some(quote) => quoted(bytes, start + escaped + 1, quote)?,
        None => bare(bytes, start, sign)?,
    };
    if sign == b'>' && bytes.get(range.end) != Some(&b'<') {
        return None;
    }
    let value = text.get(range.clone())?;
    let is_secret = match kind(text.get(name)?)? {
        Kind::Password => plausible::chosen(value),
        Kind::Key => value.len() >= 10 && plausible::password(value) && plausible::random(value),
    };
    is_secret.then_some(range)
}

enum Kind {
    Password,
    Key,
}

fn kind(name: &str) -> Option<Kind> {
    let mut plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    plain.make_ascii_lowercase();
    let trimmed = plain.trim_end_matches(|c: char| c.is_ascii_digit());
    let suffix = SUFFIXES.iter().find_map(|suffix| trimmed.strip_suffix(suffix));
    let ends_in = |names: &[&str]| {
        [Some(trimmed), suffix]
            .into_iter()
            .flatten()
            .any(|name| names.iter().any(|n| name.ends_with(n)))
    };
    if ends_in(OPEN) {
        return None;
    }
    if ends_in(PASSWORDS) {
        return Some(Kind::Password);
    }
    ends_in(KEYS).then_some(Kind::Key)
}

/// The name that ends before the sign, quotes and spaces between them skipped.
fn name_before(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    let before = bytes.get(at.saturating_sub(8)..at)?;
    // `"name":`, `name :=`, `name ?=`, `["name"] =`
    let is_gap = |b: &&u8| {
        matches!(b, b' ' | b'\t' | b'"' | b'\'' | b'`' | b']' | b'\\' | b':' | b'?' | b'+')
    };
    let gap = before.iter().rev().take_while(is_gap).count();
    let end = at - gap;
    let is_name = |b: &&u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    let before = bytes.get(end.saturating_sub(NAME)..end)?;
    let length = before.iter().rev().take_while(is_name).count();
    let name = before.get(before.len() - length..)?;
    name.windows(3).any(begins_a_word).then_some(end - length..end)
}

/// Cheap, because it is asked at every sign: most names hold none of the words.
fn begins_a_word(three: &[u8]) -> bool {
    let &[a, b, c] = three else { return false };
    matches!(
        &[a | 0x20, b | 0x20, c | 0x20],
        b"pas" | b"pwd" | b"sec" | b"tok" | b"key" | b"cre" | b"con" | b"mot"
    )
}

fn quoted(bytes: &[u8], start: usize, quote: u8) -> Option<Range<usize>> {
    let window = bytes.get(start..(start + VALUE).min(bytes.len()))?;
    let length = window.iter().position(|byte| *byte == quote || byte.is_ascii_whitespace())?;
    let closed = window.get(length) == Some(&quote);
    let escape = usize::from(length > 0 && window.get(length - 1) == Some(&b'\\'));
    (closed && length > escape).then_some(start..start + length - escape)
}

/// What is not quoted must look like one word, and not like code.
fn bare(bytes: &[u8], start: usize, sign: u8) -> Option<Range<usize>> {
    let window = bytes.get(start..(start + VALUE).min(bytes.len()))?;
    let is_value =
        |b: &&u8| b.is_ascii_graphic() && !b"\"'`,;<>(){}[]|\\&".contains(b) && **b != sign;
    let mut length = window.iter().take_while(is_value).count();
    // Base64's padding is no second sign.
    if sign == b'=' {
        length += window.get(length..)?.iter().take(2).take_while(|b| **b == b'=').count();
    }
    let value = window.get(..length)?;
    let is_call = window.get(length).is_some_and(|b| b"([{".contains(b));
    // `self.token2`, `config.db.password`
    let is_member = value.contains(&b'.')
        && value.split(|b| *b == b'.').all(|part| {
            part.first().is_some_and(|b| b.is_ascii_lowercase() || *b == b'_')
                && part.iter().all(|b| b.is_ascii_alphabetic() || b"_12".contains(b))
        });
    // The full stop or colon of a sentence is not the secret's.
    let tail = value.iter().rev().take_while(|b| b".:?".contains(b)).count().min(1);
    (!is_call && !is_member && !value.windows(2).any(|two| two == b"::") && length > tail)
        .then_some(start..start + length - tail)
}

fn skip(bytes: &[u8], from: usize, any: &[u8], most: usize) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    from + rest.iter().take(most).take_while(|byte| any.contains(byte)).count()
}
