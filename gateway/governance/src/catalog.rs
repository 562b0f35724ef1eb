//! The catalogue of well-known servers: a JSON file `{"servers": [...]}` of `server.json` documents, as the MCP
//! registry has them. Built in is `config/catalog.json`; an operator may name another one.
//!
//! It is read once, at start. It knows nothing of the servers that are behind the gateway; `create_server` takes
//! from it what the administrator does not say.

use std::collections::HashSet;
use std::sync::Arc;

use serde::Deserialize;
use url::Url;

use crate::desired_state::names;

const BUILT_IN: &str = include_str!("../../../config/catalog.json");
/// What the registry's schema allows.
const LONGEST_NAME: usize = 200;
const LONGEST_TEXT: usize = 100;

/// The catalogue, in the order of its file. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Catalog {
    entries: Arc<Vec<CatalogEntry>>,
}

/// A well-known server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogEntry {
    /// Reverse DNS and a name, as in `com.example/tickets`.
    pub name: String,
    /// For people.
    pub title: String,
    /// For people.
    pub description: String,
    /// Where to read more.
    pub website: Option<String>,
    /// An https URL.
    pub icon: Option<String>,
    /// Its streamable-http endpoint.
    pub url: String,
    /// How it is signed in to.
    pub auth: AuthHint,
}

/// How a well-known server is signed in to: what an administrator has to add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthHint {
    /// Nothing.
    None,
    /// A header of this name with a secret value.
    Header(String),
    /// Each person's own account; with `true` the gateway must be registered there first.
    OauthUser(bool),
}

impl AuthHint {
    /// The name of the mode in desired state and answers.
    pub fn mode(&self) -> &'static str {
        match self {
            AuthHint::None => "none",
            AuthHint::Header(_) => "header",
            AuthHint::OauthUser(_) => "oauth_user",
        }
    }
}

impl Catalog {
    /// The one that is built in.
    pub fn built_in() -> Catalog {
        #[expect(clippy::expect_used, reason = "it is a constant, and a test reads it")]
        Catalog::read(BUILT_IN).expect("config/catalog.json is a catalogue")
    }

    /// Reads a catalogue; the error names entry and field.
    pub fn read(text: &str) -> Result<Catalog, String> {
        let file: File = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let mut entries = Vec::with_capacity(file.servers.len());
        let mut names = HashSet::new();
        for (index, server) in file.servers.into_iter().enumerate() {
            let place = format!("servers[{index}] ({})", server.name);
            let entry = server.entry().map_err(|wrong| format!("{place}.{wrong}"))?;
            if !names.insert(entry.name.clone()) {
                return Err(format!("{place}.name: it is there already"));
            }
            entries.push(entry);
        }
        Ok(Catalog { entries: Arc::new(entries) })
    }

    /// Every entry.
    pub fn entries(&self) -> &[CatalogEntry] {
        &self.entries
    }

    /// The entry of that name.
    pub fn entry(&self, name: &str) -> Option<&CatalogEntry> {
        self.entries.iter().find(|entry| entry.name == name)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    servers: Vec<ServerJson>,
}

/// A `server.json`, as far as the gateway needs it; the format grows, so other members pass.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ServerJson {
    name: String,
    #[serde(default)]
    title: Option<String>,
    description: String,
    #[serde(default)]
    website_url: Option<String>,
    #[serde(default)]
    icons: Vec<Icon>,
    #[serde(default)]
    remotes: Vec<Remote>,
    #[serde(default, rename = "_meta")]
    meta: Meta,
}

#[derive(Deserialize)]
struct Icon {
    src: String,
}

#[derive(Deserialize)]
struct Remote {
    #[serde(rename = "type")]
    transport: String,
    url: String,
    #[serde(default)]
    headers: Vec<Header>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    name: String,
    #[serde(default)]
    is_secret: bool,
}

#[derive(Default, Deserialize)]
struct Meta {
    #[serde(default, rename = "com.runlayer/catalog")]
    ours: Ours,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ours {
    #[serde(default)]
    auth_mode: Option<String>,
    #[serde(default)]
    registered_client: bool,
}

impl ServerJson {
    fn entry(self) -> Result<CatalogEntry, String> {
        name(&self.name).map_err(|wrong| format!("name: {wrong}"))?;
        text(&self.description).map_err(|wrong| format!("description: {wrong}"))?;
        let title = self.title.unwrap_or_else(|| self.name.clone());
        text(&title).map_err(|wrong| format!("title: {wrong}"))?;
        let http = |remote: &&Remote| remote.transport == "streamable-http";
        let remote = self.remotes.iter().find(http);
        let remote = remote.ok_or("remotes: expected one of type streamable-http")?;
        let auth = hint(&self.meta.ours, remote)?;
        let url = names::server_url(&remote.url);
        let url = url.map_err(|wrong| format!("remotes.url: {wrong}"))?;
        // Parsing writes a template's braces as %7B: it leads nowhere.
        if url.contains("%7B") || url.contains('{') {
            return Err("remotes.url: expected an address without {variables}".into());
        }
        let icon = self.icons.into_iter().next().map(|icon| icon.src);
        if let Some(Err(wrong)) = icon.as_deref().map(names::icon) {
            return Err(format!("icons: {wrong}"));
        }
        if self.website_url.as_deref().is_some_and(|url| Url::parse(url).is_err()) {
            return Err("websiteUrl: expected a URL".into());
        }
        let ServerJson { name, description, website_url: website, .. } = self;
        Ok(CatalogEntry { name, title, description, website, icon, url, auth })
    }
}

fn hint(ours: &Ours, remote: &Remote) -> Result<AuthHint, String> {
    let header = remote.headers.iter().find(|header| header.is_secret);
    match (ours.auth_mode.as_deref(), header) {
        (Some("oauth_user"), _) => Ok(AuthHint::OauthUser(ours.registered_client)),
        (Some("none"), None) | (None, None) => Ok(AuthHint::None),
        (Some("header") | None, Some(header)) => Ok(AuthHint::Header(header.name.clone())),
        (Some("header"), None) => Err("remotes.headers: expected one with isSecret".into()),
        (Some("none"), Some(_)) => Err("_meta.auth_mode: none, but a header is secret".into()),
        (Some(_), _) => Err("_meta.auth_mode: expected none, header or oauth_user".into()),
    }
}

fn name(text: &str) -> Result<(), String> {
    let legal = |part: &str, more: &[u8]| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
    };
    match text.split_once('/') {
        Some((namespace, name))
            if text.len() <= LONGEST_NAME && legal(namespace, b".-") && legal(name, b"._-") =>
        {
            Ok(())
        }
        Some(_) | None => Err("expected a reverse DNS name, as com.example/tickets".into()),
    }
}

fn text(text: &str) -> Result<(), String> {
    names::name(text)?;
    if text.chars().count() > LONGEST_TEXT {
        return Err(format!("expected at most {LONGEST_TEXT} characters"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_catalogue_is_one() {
        let catalog = Catalog::read(BUILT_IN).unwrap();
        assert!(catalog.entries().len() >= 30, "{}", catalog.entries().len());
        for entry in catalog.entries() {
            assert!(entry.url.starts_with("https://"), "{}", entry.name);
            assert_ne!(entry.title, entry.name);
        }
        let hint = |name: &str| &catalog.entry(name).unwrap().auth;
        assert_eq!(*hint("com.deepwiki/mcp"), AuthHint::None);
        assert_eq!(*hint("app.linear/mcp"), AuthHint::OauthUser(false));
        assert_eq!(*hint("com.github/mcp"), AuthHint::OauthUser(true));
        assert_eq!(*hint("com.zapier/mcp"), AuthHint::Header("Authorization".into()));
        assert!(catalog.entry("com.example/absent").is_none());
    }

    #[test]
    fn what_is_wrong_is_named_by_entry_and_field() {
        let good = r#"{"name":"com.example/a","description":"A","version":"1.0.0","later":1,
            "remotes":[{"type":"sse","url":"https://a.test/sse"},{"type":"streamable-http","url":"https://a.test/mcp"}]}"#;
        let read = |entry: &str| Catalog::read(&format!(r#"{{"servers":[{entry}]}}"#));
        let entry = &read(good).unwrap().entries()[0].clone();
        assert_eq!((entry.url.as_str(), &entry.auth), ("https://a.test/mcp", &AuthHint::None));
        assert_eq!(entry.title, "com.example/a");
        let place = "servers[0] (com.example/a).";
        let cases = [
            (good.replace("example/a", "example"), "servers[0] (com.example).name: expected a rev"),
            (good.replace("\"A\"", "\"\""), "servers[0] (com.example/a).description: expected a"),
            (good.replace("streamable-http", "stdio"), "remotes: expected one of type streamable"),
            (good.replace("https://a.test/mcp", "ftp://a.test"), "remotes.url: expected http://"),
            (good.replace("a.test/mcp", "{tenant}.test/mcp"), "remotes.url: "),
            (
                good.replace("a.test/mcp", "a.test/{tenant}"),
                "remotes.url: expected an address with",
            ),
            (
                good.replace("\"later\":1", r#""icons":[{"src":"http://a.test/i"}]"#),
                "icons: expected",
            ),
            (good.replace("\"later\":1", r#""websiteUrl":"x""#), "websiteUrl: expected a URL"),
            (
                good.replace(
                    "\"later\":1",
                    r#""_meta":{"com.runlayer/catalog":{"auth_mode":"x"}}"#,
                ),
                "_meta.auth_mode: expected none",
            ),
            (format!("{good},{good}"), "servers[1] (com.example/a).name: it is there already"),
            ("{}".into(), "missing field `name`"),
        ];
        for (entry, expected) in cases {
            let error = read(&entry).expect_err(&entry);
            assert!(error.contains(expected), "{entry}\n  gave     {error}\n  expected {expected}");
            if expected.starts_with("remotes") || expected.starts_with("icons") {
                assert!(error.starts_with(place), "{error}");
            }
        }
        for text in ["", "[]", "{", r#"{"server":[]}"#] {
            assert!(Catalog::read(text).is_err(), "{text}");
        }
        assert_eq!(Catalog::read(r#"{"servers":[]}"#).unwrap().entries(), []);
    }
}
