//! Which names, addresses and URLs are taken. Everything is compared bytewise later, so what merely looks
//! like something else must not come in.

use policies::hidden_character;
use url::Url;

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
