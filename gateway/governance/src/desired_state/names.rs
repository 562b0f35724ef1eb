//! Which names, addresses and URLs are taken. Everything is compared bytewise later, so what merely looks
//! like something else must not come in.

use gateway_core::server::{SecretSource, UpstreamAuth};
use policies::hidden_character;
use url::Url;

use super::item::AuthItem;

/// A name that people read: not empty, no white space around it, nothing invisible in it.
pub(super) fn name(text: &str) -> Result<(), String> {
    let wrong = if text.is_empty() {
        "expected a name"
    } else if text.trim() != text {
        "expected no white space around the name"
    } else if hidden_character(text).is_some() {
        "expected no control or invisible characters"
    } else if text.chars().count() > 200 {
        "expected at most 200 characters"
    } else {
        return Ok(());
    };
    Err(wrong.into())
}

/// An e-mail address, in lower case.
pub(super) fn email(text: &str) -> Result<String, String> {
    let legal = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_graphic() && !b"\"(),:;<>@[]\\".contains(&b))
    };
    match text.split_once('@') {
        Some((local, domain)) if legal(local) && legal(domain) && text.len() <= 254 => {
            Ok(text.to_ascii_lowercase())
        }
        _ => Err(format!("expected an e-mail address, found \"{}\"", text.escape_debug())),
    }
}

/// Where a server lives.
pub(super) fn server_url(text: &str) -> Result<String, String> {
    let url = Url::parse(text).map_err(|error| format!("expected a URL: {error}"))?;
    let wrong = if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        "expected http://... or https://..."
    } else if !url.username().is_empty() || url.password().is_some() {
        "expected no credentials in the URL; use auth"
    } else if url.fragment().is_some() {
        "expected no #fragment"
    } else {
        return Ok(url.to_string());
    };
    Err(wrong.into())
}

/// Headers that the gateway sets itself.
const OUR_HEADERS: [&str; 14] = [
    "accept",
    "accept-encoding",
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "last-event-id",
    "mcp-protocol-version",
    "mcp-session-id",
    "te",
    "traceparent",
    "transfer-encoding",
    "upgrade",
];

/// How to sign in to a server; the error's first part is the key below `auth`.
pub(super) fn auth(item: AuthItem) -> Result<UpstreamAuth, (&'static str, String)> {
    let AuthItem { mode, name, value_env, value_file } = item;
    match mode.as_str() {
        "none" if name.is_some() || value_env.is_some() || value_file.is_some() => {
            Err(("mode", "\"none\" takes no name, value_env or value_file".into()))
        }
        "none" => Ok(UpstreamAuth::None),
        "header" => {
            let name = header_name(name.as_deref()).map_err(|wrong| ("name", wrong))?;
            let from = secret_source(value_env, value_file)?;
            Ok(UpstreamAuth::Header { name, from, value: None })
        }
        other => Err(("mode", format!("expected \"none\" or \"header\", found \"{other}\""))),
    }
}

fn header_name(text: Option<&str>) -> Result<String, String> {
    let text = text.ok_or("missing: the header's name")?;
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if text.is_empty() || !text.bytes().all(token) {
        return Err(format!("expected a header name, found \"{}\"", text.escape_debug()));
    }
    let lower = text.to_ascii_lowercase();
    if OUR_HEADERS.contains(&lower.as_str()) || lower.starts_with("mcp-") {
        return Err(format!("\"{text}\" is set by the gateway itself"));
    }
    Ok(lower)
}

fn secret_source(
    env: Option<String>,
    file: Option<String>,
) -> Result<SecretSource, (&'static str, String)> {
    match (env, file) {
        (Some(env), None) if env.is_empty() || env.contains(['=', '\0']) => {
            Err(("value_env", "expected the name of an environment variable".into()))
        }
        (Some(env), None) => Ok(SecretSource::Env(env)),
        (None, Some(file)) if file.is_empty() || file.contains('\0') => {
            Err(("value_file", "expected a path".into()))
        }
        (None, Some(file)) => Ok(SecretSource::File(file)),
        (Some(_), Some(_)) => Err(("value_file", "value_env is set too; keep one".into())),
        (None, None) => Err(("mode", "\"header\" needs value_env or value_file".into())),
    }
}
