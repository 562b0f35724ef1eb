//! Which names, addresses and URLs are taken. Everything is compared bytewise later, so what merely looks
//! like something else must not come in.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gateway_core::caller::Attributes;
use gateway_core::ids::Slug;
use policies::hidden_character;
use serde_json::{Map, Value};
use url::Url;
use uuid::Uuid;

/// The longest icon: it lies in every replica's memory.
const LONGEST_ICON: usize = 8 * 1024;
/// The longest address of an icon, and the longest description.
const LONGEST_TEXT: usize = 2_000;
/// The longest name or value of an attribute, and the most of them.
const LONGEST_ATTRIBUTE: usize = 200;
const MOST_ATTRIBUTES: usize = 100;
/// Kinds of pictures that hold nothing but a picture.
const PICTURES: [&str; 4] = ["image/png", "image/jpeg", "image/webp", "image/gif"];

/// A name that people read: not empty, no white space around it, nothing invisible in it.
pub(crate) fn name(text: &str) -> Result<(), String> {
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
pub(crate) fn email(text: &str) -> Result<String, String> {
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
pub(crate) fn server_url(text: &str) -> Result<String, String> {
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

/// A server's short name. An id is none: whoever is called like another server's id would get its callers.
pub(crate) fn slug(text: &str) -> Result<Slug, String> {
    if Uuid::parse_str(text).is_ok() {
        return Err(format!("\"{text}\" is not a slug: it reads like a server's id"));
    }
    text.parse().map_err(|wrong: gateway_core::ids::NotASlug| wrong.to_string())
}

/// What people read about a server.
pub(crate) fn description(text: &str) -> Result<(), String> {
    if text.chars().count() > LONGEST_TEXT {
        return Err(format!("expected at most {LONGEST_TEXT} characters"));
    }
    if text.split(['\n', '\t']).any(|line| hidden_character(line).is_some()) {
        return Err("expected no control or invisible characters".into());
    }
    Ok(())
}

/// An icon: an https URL, or a small picture as data URI.
pub(crate) fn icon(text: &str) -> Result<(), String> {
    if text.len() > LONGEST_ICON {
        return Err(format!("expected at most {LONGEST_ICON} characters; link to it by https://"));
    }
    if let Some(data) = text.strip_prefix("data:") {
        let (kind, body) = data.split_once(";base64,").unwrap_or((data, ""));
        if !PICTURES.contains(&kind) {
            return Err(format!("expected data:KIND;base64,... of {}", PICTURES.join(", ")));
        }
        let picture = STANDARD.decode(body).unwrap_or_default();
        return if picture.is_empty() {
            Err("expected base64 after the comma".into())
        } else {
            Ok(())
        };
    }
    match Url::parse(text) {
        Ok(url)
            if url.scheme() == "https"
                && text.len() <= LONGEST_TEXT
                && url.username().is_empty()
                && url.password().is_none() =>
        {
            Ok(())
        }
        Ok(_) | Err(_) => Err("expected https://... or data:image/...;base64,...".into()),
    }
}

/// A text or a list of texts by name; the error has the field and what is wrong with it.
pub(crate) fn attributes(written: &Map<String, Value>) -> Result<Attributes, (String, String)> {
    let good = |text: &str| {
        !text.trim().is_empty()
            && text.chars().count() <= LONGEST_ATTRIBUTE
            && hidden_character(text).is_none()
    };
    let all = || "attributes".to_owned();
    if written.len() > MOST_ATTRIBUTES {
        return Err((all(), format!("expected at most {MOST_ATTRIBUTES}")));
    }
    let mut read = Attributes::new();
    for (name, value) in written {
        if !good(name) || name.contains('=') {
            return Err((all(), "expected names of visible characters without =".to_owned()));
        }
        let list = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        let texts = list.iter().map(|text| text.as_str().filter(|text| good(text)));
        let texts: Option<Vec<String>> = texts.map(|text| text.map(str::to_owned)).collect();
        let mut texts = texts.filter(|texts| texts.len() <= MOST_ATTRIBUTES).ok_or_else(|| {
            let wrong = "expected a text or a list of texts, up to 200 characters";
            (format!("attributes.{name}"), wrong.to_owned())
        })?;
        texts.sort_unstable();
        texts.dedup();
        read.insert(name.clone(), texts);
    }
    Ok(read)
}
