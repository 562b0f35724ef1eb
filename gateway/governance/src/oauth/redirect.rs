//! Redirect URIs: which ones a client may name, which one it may use, and how an answer goes there.
//!
//! Only the normal form of a URI is taken, the one that every parser reads alike; it is compared byte for
//! byte. A loopback URI may come with another port each time (RFC 8252, section 7.3).

use url::form_urlencoded;
use url::{Host, Url};

/// The longest one.
const LONGEST: usize = 2048;
/// Hosts that are this machine, as the URI writes them.
const LOOPBACK: [&str; 3] = ["127.0.0.1", "[::1]", "localhost"];
/// Private-use schemes of clients that have no reversed domain name in theirs (RFC 8252, section 7.1).
const KNOWN_SCHEMES: &[&str] = &[
    "antigravity",
    "claude",
    "code-oss",
    "cursor",
    "cursor-nightly",
    "goose",
    "jetbrains",
    "kiro",
    "lmstudio",
    "positron",
    "raycast",
    "trae",
    "vscode",
    "vscode-insiders",
    "vscodium",
    "warp",
    "warppreview",
    "windsurf",
    "windsurf-next",
    "zed",
];
/// What the answer adds itself: a URI that brings one along would carry two of them.
const OURS: [&str; 6] = ["code", "state", "iss", "error", "error_description", "error_uri"];

/// Whether a client may name it. The error says what is wrong.
pub(crate) fn check(uri: &str) -> Result<(), &'static str> {
    if uri.len() > LONGEST {
        return Err("too long");
    }
    let legal = |b: u8| b.is_ascii_graphic() && !b"\"'<>\\^`{|}*#".contains(&b);
    if !uri.bytes().all(legal) {
        return Err(
            "expected a URI without a fragment, wildcards, or characters that need encoding",
        );
    }
    let url = Url::parse(uri).map_err(|_| "expected an absolute URI")?;
    // `https://host` and `https://host/` are the same; nothing else may change by being read.
    let normal = url.as_str() == uri || url.as_str().strip_suffix('/') == Some(uri);
    if !normal {
        return Err("expected the URI in its normal form");
    }
    if !url.username().is_empty() || url.password().is_some() || authority(uri).contains('@') {
        return Err("expected no user name in it");
    }
    if url.query_pairs().any(|(name, _)| OURS.contains(&&*name)) {
        return Err("its query holds a parameter of the answer");
    }
    match url.scheme() {
        "https" if matches!(url.host(), Some(Host::Domain(name)) if name.ends_with('.')) => {
            Err("expected a host without a final dot")
        }
        "https" => Ok(()),
        "http" if strip_port(uri).is_some() => Ok(()),
        "http" => Err("http is for 127.0.0.1, [::1] and localhost only"),
        scheme if scheme.contains('.') || KNOWN_SCHEMES.contains(&scheme) => private_use(&url),
        _ => Err("expected https, http on this machine, or an application's own scheme"),
    }
}

fn private_use(url: &Url) -> Result<(), &'static str> {
    let scheme = url.scheme();
    let tidy = !scheme.starts_with('.') && !scheme.ends_with('.') && !scheme.contains("..");
    // Something has to follow the scheme.
    let whole = url.has_host() || url.path().len() > 1;
    if tidy && whole { Ok(()) } else { Err("expected a scheme, and a path or host behind it") }
}

/// Whether `uri` is one of the `registered`.
pub(crate) fn matches(registered: &[String], uri: &str) -> bool {
    registered.iter().any(|known| {
        known == uri
            || strip_port(known).zip(strip_port(uri)).is_some_and(|(known, uri)| known == uri)
    })
}

/// Host and rest of an http URI on this machine, its port left out.
fn strip_port(uri: &str) -> Option<(&str, &str)> {
    let rest = uri.strip_prefix("http://")?;
    let host = LOOPBACK.into_iter().find(|host| rest.starts_with(host))?;
    let (host, after) = rest.split_at(host.len());
    let Some(port) = after.strip_prefix(':') else {
        let whole = after.is_empty() || after.starts_with(['/', '?']);
        return whole.then_some((host, after));
    };
    let digits = port.bytes().take_while(u8::is_ascii_digit).count();
    let (port, path) = port.split_at(digits);
    let real = port.parse::<u16>().is_ok_and(|port| port != 0);
    (real && (path.is_empty() || path.starts_with(['/', '?']))).then_some((host, path))
}

fn authority(uri: &str) -> &str {
    let rest = uri.split_once("://").map_or("", |(_, rest)| rest);
    rest.split(['/', '?']).next().unwrap_or_default()
}

/// What people see of it: its host, or its scheme where it has none.
pub(crate) fn shown(uri: &str) -> String {
    match Url::parse(uri) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => {
            url.host_str().unwrap_or_default().to_owned()
        }
        Ok(url) => format!("{}:", url.scheme()),
        Err(_) => String::new(),
    }
}

/// The URI with these parameters added.
pub(crate) fn answer(uri: &str, parameters: &[(&str, &str)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in parameters {
        query.append_pair(name, value);
    }
    let joint = if uri.contains('?') { '&' } else { '?' };
    format!("{uri}{joint}{}", query.finish())
}
