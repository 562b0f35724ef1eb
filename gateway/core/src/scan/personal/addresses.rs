//! Addresses of people and of machines.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

/// What stands behind a dot in names of files and packages as often as at the end of an address.
const NO_DOMAINS: &[&str] = &[
    "png",
    "jpg",
    "jpeg",
    "gif",
    "svg",
    "webp",
    "ico",
    "css",
    "scss",
    "js",
    "mjs",
    "ts",
    "tsx",
    "jsx",
    "json",
    "html",
    "map",
    "py",
    "rs",
    "java",
    "cpp",
    "toml",
    "yaml",
    "yml",
    "lock",
    "txt",
    "md",
    "local",
    "internal",
    "localhost",
    "invalid",
    "lan",
    "service",
    "target",
    "socket",
    "timer",
    "mount",
];

/// Accounts of programs, not of people.
const NOBODY: &[&str] =
    &["git", "noreply", "no-reply", "donotreply", "do-not-reply", "mailer-daemon", "hg", "svn"];

/// An e-mail address around `@` (RFC 5321's unquoted form; letters of Latin scripts in the domain).
pub(super) fn email(text: &str, at: usize) -> Option<Range<usize>> {
    const LOCAL: usize = 64;
    const DOMAIN: usize = 120;
    let bytes = text.as_bytes();
    let is_local = |b: &&u8| b.is_ascii_alphanumeric() || b"._%+'-".contains(b);
    // Most signs stand in no address: that must cost little.
    let begins_name = |b: &u8| b.is_ascii_alphanumeric() || !b.is_ascii();
    if !at.checked_sub(1).and_then(|i| bytes.get(i)).as_ref().is_some_and(is_local)
        || !bytes.get(at + 1).is_some_and(begins_name)
    {
        return None;
    }
    let before = bytes.get(at.saturating_sub(LOCAL)..at)?;
    let length = before.iter().rev().take_while(is_local).count();
    let quiet = before.get(before.len() - length..)?;
    let trimmed = quiet.iter().take_while(|b| b".'%+-".contains(b)).count();
    let start = at - length + trimmed;
    let local = text.get(start..at)?;
    let is_nobody = || NOBODY.iter().any(|name| local.eq_ignore_ascii_case(name));
    let has_gap = quiet.windows(2).any(|two| two == b"..");
    if local.is_empty() || local.ends_with('.') || has_gap || is_nobody() {
        return None;
    }
    let rest = text.get(at + 1..)?;
    let is_domain =
        |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '\u{c0}'..='\u{24f}');
    let length: usize = rest.chars().take(DOMAIN).take_while(is_domain).map(char::len_utf8).sum();
    let domain = rest.get(..length)?.trim_end_matches(['.', '-']);
    // `user:password@host`, `git@host:path` and URLs with a user name no person's address.
    let before = start.checked_sub(1).and_then(|i| bytes.get(i));
    if matches!(before, Some(b'/' | b'@' | b'\\')) || !is_public_name(domain) {
        return None;
    }
    let has_password = before == Some(&b':')
        && text.get(..start)?.ends_with(':')
        && is_userinfo(bytes.get(..start)?);
    (!has_password).then_some(start..at + 1 + domain.len())
}

/// True when what ends here is `scheme://user:`.
fn is_userinfo(before: &[u8]) -> bool {
    let near = before.get(before.len().saturating_sub(80)..).unwrap_or_default();
    let run = near.iter().rev().take_while(|b| b.is_ascii_graphic()).count();
    near.get(near.len() - run..).is_some_and(|run| run.windows(3).any(|three| three == b"://"))
}

/// At least two labels, none empty, the last of letters and not the ending of a file.
fn is_public_name(domain: &str) -> bool {
    let Some((labels, last)) = domain.rsplit_once('.') else { return false };
    let is_label =
        |label: &str| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-');
    (2..=24).contains(&last.len())
        && last.chars().all(char::is_alphabetic)
        && !NO_DOMAINS.iter().any(|ending| last.eq_ignore_ascii_case(ending))
        && labels.split('.').all(is_label)
}

/// A public IPv4 address whose first dot stands here; not what is rather a version.
pub(super) fn ipv4(text: &str, at: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let first = digits_before(bytes, at);
    if !(1..=3).contains(&first) || !bytes.get(at + 1)?.is_ascii_digit() {
        return None;
    }
    let start = at - first;
    // A later dot of a row, or a word before it: `touches` would refuse both, but only after reading.
    let before = start.checked_sub(1).and_then(|i| bytes.get(i));
    if before.is_some_and(|b| b.is_ascii_alphanumeric() || b"_.".contains(b)) {
        return None;
    }
    let rest = bytes.get(start..(start + 16).min(bytes.len()))?;
    let length = rest.iter().take_while(|b| b.is_ascii_digit() || **b == b'.').count();
    let literal = text.get(start..start + length)?;
    let literal = literal.strip_suffix('.').unwrap_or(literal);
    let address: Ipv4Addr = literal.parse().ok()?;
    let end = start + literal.len();
    let is_whole = !touches(bytes, start, end) && !is_network(text.get(end..)?, "/32");
    let is_version = address.octets().iter().all(|octet| *octet < 32) || says_version(text, start);
    (is_whole && is_public(address) && !is_version).then_some(start..end)
}

/// A public IPv6 address whose first colon stands here.
pub(super) fn ipv6(text: &str, at: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let start = at.checked_sub(4)?;
    if !matches!(bytes.get(start), Some(b'2' | b'3')) {
        return None;
    }
    // Global unicast addresses, 2000::/3, have all four digits.
    let head = bytes.get(start..at)?;
    if !head.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let rest = bytes.get(start..(start + 46).min(bytes.len()))?;
    let length = rest.iter().take_while(|b| b.is_ascii_hexdigit() || **b == b':').count();
    let literal = text.get(start..start + length)?;
    let literal = match literal.strip_suffix(':') {
        Some(shorter) if !literal.ends_with("::") => shorter,
        Some(_) | None => literal,
    };
    let address: Ipv6Addr = literal.parse().ok()?;
    let end = start + literal.len();
    let is_documentation =
        matches!(address.segments(), [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..]);
    let is_whole = !touches(bytes, start, end) && !is_network(text.get(end..)?, "/128");
    (is_whole && !is_documentation).then_some(start..end)
}

fn is_public(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    let is_shared = a == 100 && (64..128).contains(&b);
    let is_benchmark = a == 198 && (18..20).contains(&b);
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || address.is_unspecified()
        || is_shared
        || is_benchmark
        || a == 0
        || a >= 224)
}

fn digits_before(bytes: &[u8], at: usize) -> usize {
    let before = bytes.get(at.saturating_sub(4)..at).unwrap_or_default();
    before.iter().rev().take_while(|b| b.is_ascii_digit()).count()
}

/// True when letters, digits or what joins them go on at either end.
fn touches(bytes: &[u8], start: usize, end: usize) -> bool {
    let joins = |at: Option<usize>| {
        at.and_then(|i| bytes.get(i))
            .is_some_and(|b| b.is_ascii_alphanumeric() || b"_.:".contains(b))
    };
    let before = start.checked_sub(1).and_then(|i| bytes.get(i));
    let behind = bytes.get(end).copied();
    let goes_on = match behind {
        // A sentence's end, a port.
        Some(b'.' | b':') => bytes.get(end + 1).is_some_and(u8::is_ascii_alphabetic),
        Some(b) => b.is_ascii_alphanumeric() || b == b'_',
        None => false,
    };
    let hyphen =
        |at: Option<usize>| at.and_then(|i| bytes.get(i)).is_some_and(u8::is_ascii_alphanumeric);
    let version = before == Some(&b'-') && hyphen(start.checked_sub(2))
        || behind == Some(b'-') && hyphen(Some(end + 1));
    // `=1.2.3.4` and `:2a00::1` follow a name.
    let led = before.is_some_and(|b| b.is_ascii_alphanumeric() || b"_.".contains(b));
    led || goes_on
        || version
        || (before == Some(&b':') && joins(start.checked_sub(2)) && is_hex_led(bytes, start))
}

/// True when a colon before it belongs to more of an address, or to a time.
fn is_hex_led(bytes: &[u8], start: usize) -> bool {
    let before = start.checked_sub(2).and_then(|i| bytes.get(i));
    before.is_some_and(|b| b.is_ascii_hexdigit() && !b.is_ascii_alphabetic() || *b == b':')
}

/// True when a whole network is meant.
fn is_network(rest: &str, one: &str) -> bool {
    let digits = rest
        .strip_prefix('/')
        .map_or(0, |rest| rest.bytes().take_while(u8::is_ascii_digit).count());
    digits > 0 && rest.get(..digits + 1) != Some(one)
}

fn says_version(text: &str, start: usize) -> bool {
    let bytes = text.as_bytes();
    let near = bytes.get(start.saturating_sub(12)..start).unwrap_or_default().to_ascii_lowercase();
    let near = String::from_utf8_lossy(&near).into_owned();
    let close = near.trim_end_matches([' ', ':', '=', '"', '\'', '(', '>', '~', '^']);
    close.ends_with("version")
        || close.ends_with("ver")
        || close.ends_with(" v")
        || close.ends_with("release")
        || near.ends_with("==")
        || near.ends_with(">=")
        || near.ends_with("~>")
        || near.ends_with('@')
}
