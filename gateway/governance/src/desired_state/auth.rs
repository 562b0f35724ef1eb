//! How the gateway signs in to a server: the table `auth` of the file. Every mode has its own keys, and a key that
//! would do nothing is refused.

use gateway_core::server::{
    OauthClient, PrivateKey, Secret, SecretSource, TokenExchange, UpstreamAuth,
};
use url::Url;

use super::item::AuthItem;

/// The key below `auth`, and what is wrong with it.
pub(crate) type Wrong = (&'static str, String);

/// The modes with the keys that each takes.
const MODES: [(&str, &[&str]); 6] = [
    ("none", &[]),
    ("header", &["name", "value_env", "value_file"]),
    ("oauth_user", &CLIENT),
    ("oauth_shared", &CLIENT),
    ("identity_forward", &[]),
    (
        "token_exchange",
        &[
            "issuer",
            "token_url",
            "client_id",
            "client_secret_env",
            "client_secret_file",
            "private_key_env",
            "private_key_file",
            "key_id",
            "scopes",
            "audience",
        ],
    ),
];

/// Of the gateway as a client.
const CLIENT: [&str; 8] = [
    "issuer",
    "client_id",
    "client_secret_env",
    "client_secret_file",
    "private_key_env",
    "private_key_file",
    "key_id",
    "scopes",
];

/// How to sign in to a server.
pub(crate) fn auth(item: AuthItem) -> Result<UpstreamAuth, Wrong> {
    let Some((mode, takes)) = MODES.into_iter().find(|(mode, _)| *mode == item.mode) else {
        let known = MODES.map(|(mode, _)| mode).join(", ");
        return Err(("mode", format!("expected one of {known}; found \"{}\"", item.mode)));
    };
    if let Some(key) = given(&item).into_iter().find(|key| !takes.contains(key)) {
        let takes = if takes.is_empty() { "no other key".into() } else { takes.join(", ") };
        return Err((key, format!("mode \"{mode}\" takes {takes}")));
    }
    match mode {
        "none" => Ok(UpstreamAuth::None),
        "header" => {
            let name = header_name(item.name.as_deref()).map_err(|wrong| ("name", wrong))?;
            let keys = ("value_env", "value_file");
            let from = secret_source(keys, item.value_env, item.value_file)?;
            let from = from
                .ok_or_else(|| ("mode", "\"header\" needs value_env or value_file".to_owned()))?;
            Ok(UpstreamAuth::Header { name, from, value: None })
        }
        "oauth_user" => Ok(UpstreamAuth::OauthUser(client(item)?)),
        "oauth_shared" => Ok(UpstreamAuth::OauthShared(confidential(item)?)),
        "identity_forward" => Ok(UpstreamAuth::IdentityForward),
        _ => token_exchange(item).map(UpstreamAuth::TokenExchange),
    }
}

/// The keys that the file has.
fn given(item: &AuthItem) -> Vec<&'static str> {
    let keys = [
        ("name", item.name.is_some()),
        ("value_env", item.value_env.is_some()),
        ("value_file", item.value_file.is_some()),
        ("issuer", item.issuer.is_some()),
        ("client_id", item.client_id.is_some()),
        ("client_secret_env", item.client_secret_env.is_some()),
        ("client_secret_file", item.client_secret_file.is_some()),
        ("private_key_env", item.private_key_env.is_some()),
        ("private_key_file", item.private_key_file.is_some()),
        ("key_id", item.key_id.is_some()),
        ("scopes", item.scopes.is_some()),
        ("token_url", item.token_url.is_some()),
        ("audience", item.audience.is_some()),
    ];
    keys.into_iter().filter(|(_, given)| *given).map(|(key, _)| key).collect()
}

fn client(item: AuthItem) -> Result<OauthClient, Wrong> {
    let issuer = item.issuer.map(|text| url("issuer", text)).transpose()?;
    let client_id = item.client_id.map(|id| visible("client_id", id)).transpose()?;
    let keys = ("client_secret_env", "client_secret_file");
    let secret = secret_source(keys, item.client_secret_env, item.client_secret_file)?;
    let keys = ("private_key_env", "private_key_file");
    let pem = secret_source(keys, item.private_key_env, item.private_key_file)?.map(Secret::of);
    let key_id = item.key_id.map(|id| visible("key_id", id)).transpose()?;
    match (&secret, &pem) {
        (Some(_), Some(_)) => {
            return Err(("private_key_env", "there is a client secret, too; keep one".into()));
        }
        (_, None) if key_id.is_some() => {
            return Err((
                "key_id",
                "missing beside it: private_key_env or private_key_file".into(),
            ));
        }
        (Some(_), None) | (None, Some(_)) if client_id.is_none() => {
            return Err(("client_id", "missing: a secret or a key belongs to a client".into()));
        }
        (None, None) | (Some(_), None) | (None, Some(_)) => {}
    }
    let scopes = item.scopes.unwrap_or_default();
    // RFC 6749, section 3.3.
    let token = |b: u8| matches!(b, 0x21 | 0x23..=0x5B | 0x5D..=0x7E);
    if let Some(scope) = scopes.iter().find(|s| s.is_empty() || !s.bytes().all(token)) {
        return Err(("scopes", format!("\"{}\" is no scope", scope.escape_debug())));
    }
    let private_key = pem.map(|pem| PrivateKey { pem, key_id });
    Ok(OauthClient {
        issuer,
        client_id,
        client_secret: secret.map(Secret::of),
        private_key,
        scopes,
    })
}

/// A client that proves itself: client credentials and exchanges are nothing for public clients.
fn confidential(item: AuthItem) -> Result<OauthClient, Wrong> {
    let mode = item.mode.clone();
    let client = client(item)?;
    if client.client_id.is_none() {
        return Err(("client_id", format!("missing: \"{mode}\" needs a registered client")));
    }
    if client.secret().is_none() {
        let message = format!(
            "missing: \"{mode}\" needs client_secret_env, client_secret_file, private_key_env or private_key_file"
        );
        return Err(("client_secret_env", message));
    }
    Ok(client)
}

fn token_exchange(mut item: AuthItem) -> Result<TokenExchange, Wrong> {
    let token_url = item.token_url.take().map(|text| url("token_url", text)).transpose()?;
    let audience = item.audience.take().map(|text| visible("audience", text)).transpose()?;
    if token_url.is_none() && item.issuer.is_none() {
        return Err(("issuer", "missing: \"token_exchange\" needs issuer or token_url".into()));
    }
    Ok(TokenExchange { client: confidential(item)?, token_url, audience })
}

/// Kept as written: issuers are compared bytewise.
fn url(key: &'static str, text: String) -> Result<String, Wrong> {
    let parsed = Url::parse(&text).map_err(|error| (key, format!("expected a URL: {error}")))?;
    let wrong = if !matches!(parsed.scheme(), "http" | "https") || parsed.host().is_none() {
        "expected http://... or https://..."
    } else if !parsed.username().is_empty() || parsed.password().is_some() {
        "expected no credentials in the URL"
    } else if parsed.fragment().is_some() {
        "expected no #fragment"
    } else if key == "issuer" && parsed.query().is_some() {
        "expected no ?query"
    } else {
        return Ok(text);
    };
    Err((key, wrong.into()))
}

fn visible(key: &'static str, text: String) -> Result<String, Wrong> {
    if text.is_empty() || !text.bytes().all(|b| matches!(b, 0x20..=0x7E)) {
        return Err((key, "expected visible ASCII characters".into()));
    }
    Ok(text)
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

fn header_name(text: Option<&str>) -> Result<String, String> {
    let text = text.ok_or("missing: the header's name")?;
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if text.is_empty() || !text.bytes().all(token) {
        return Err(format!("expected a header name, found \"{}\"", text.escape_debug()));
    }
    let lower = text.to_ascii_lowercase();
    let ours = OUR_HEADERS.contains(&lower.as_str());
    if ours || lower.starts_with("mcp-") || lower.starts_with("x-runlayer-") {
        return Err(format!("\"{text}\" is set by the gateway itself"));
    }
    Ok(lower)
}

fn secret_source(
    (env_key, file_key): (&'static str, &'static str),
    env: Option<String>,
    file: Option<String>,
) -> Result<Option<SecretSource>, Wrong> {
    match (env, file) {
        (Some(env), None) if env.is_empty() || env.contains(['=', '\0']) => {
            Err((env_key, "expected the name of an environment variable".into()))
        }
        (Some(env), None) => Ok(Some(SecretSource::Env(env))),
        (None, Some(file)) if file.is_empty() || file.contains('\0') => {
            Err((file_key, "expected a path".into()))
        }
        (None, Some(file)) => Ok(Some(SecretSource::File(file))),
        (Some(_), Some(_)) => Err((file_key, format!("{env_key} is set too; keep one"))),
        (None, None) => Ok(None),
    }
}
