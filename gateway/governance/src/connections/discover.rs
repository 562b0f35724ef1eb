//! From a server's address to its authorization server: protected resource metadata (RFC 9728), then authorization
//! server metadata (RFC 8414, OpenID discovery). Every name must say of itself exactly what led to it, or somebody
//! could pass off another's metadata as their own (mix-up). A server that demands tokens and has no metadata of either
//! kind is taken for one of 2025-03-26: its own authorization server, with endpoints at the places of convention.

use bytes::Bytes;
use gateway_core::mcp::{NEWEST_LEGACY_VERSION, headers};
use gateway_core::server::OauthClient;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use super::challenge::Challenge;
use super::fetch::{Fetcher, NotFetched};
use super::trouble::Trouble;

/// What a server and its authorization server say.
#[derive(Debug, Clone)]
pub(super) struct Discovered {
    /// The value of `resource` in every request for tokens.
    pub(super) resource: String,
    /// The authorization server.
    pub(super) server: AuthorizationServer,
    /// Scopes to ask for where nobody configured any.
    pub(super) scopes: Vec<String>,
}

/// Authorization server metadata, as far as it matters here.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct AuthorizationServer {
    /// Who issues.
    pub(super) issuer: String,
    /// Where people agree.
    pub(super) authorization_endpoint: Option<String>,
    /// Where tokens are.
    pub(super) token_endpoint: Option<String>,
    /// Where clients register themselves.
    pub(super) registration_endpoint: Option<String>,
    /// Where tokens are given back.
    pub(super) revocation_endpoint: Option<String>,
    /// Must hold S256.
    #[serde(default)]
    pub(super) code_challenge_methods_supported: Vec<String>,
    /// How clients prove themselves.
    pub(super) token_endpoint_auth_methods_supported: Option<Vec<String>>,
    /// May name `offline_access`.
    #[serde(default)]
    pub(super) scopes_supported: Vec<String>,
    /// It takes the URL of a metadata document for a client id.
    #[serde(default)]
    pub(super) client_id_metadata_document_supported: bool,
    /// It names itself in every authorization response (RFC 9207).
    #[serde(default)]
    pub(super) authorization_response_iss_parameter_supported: bool,
}

/// Protected resource metadata, as far as it matters here.
#[derive(Debug, Deserialize)]
struct ProtectedResource {
    resource: String,
    #[serde(default)]
    authorization_servers: Vec<String>,
    #[serde(default)]
    scopes_supported: Vec<String>,
}

/// Finds out who issues tokens for the server at `url`.
pub(super) async fn discover(
    fetcher: &Fetcher,
    url: &str,
    client: &OauthClient,
) -> Result<Discovered, Trouble> {
    let server = Url::parse(url).map_err(|error| Trouble::metadata(format!("url: {error}")))?;
    let told = demand(fetcher, &server).await?;
    let demands = told.is_some();
    let challenge = told.unwrap_or_default();
    let found = protected_resource(fetcher, &server, &challenge).await?;
    let (resource, issuer, mut scopes) = match &found {
        Some(found) => {
            (found.resource.clone(), choose(found, client)?, found.scopes_supported.clone())
        }
        // Up to 2025-03-26 a server was its own authorization server.
        None => (
            without_slash(&server),
            client.issuer.clone().unwrap_or_else(|| own(&server)),
            Vec::new(),
        ),
    };
    if let Some(asked) = challenge.scope {
        scopes = asked.split_ascii_whitespace().map(str::to_owned).collect();
    }
    let by_convention = found.is_none() && demands && issuer == own(&server);
    let server = match metadata(fetcher, &issuer).await? {
        Some(metadata) => metadata,
        None if by_convention => AuthorizationServer::by_convention(issuer),
        None => return Err(without_metadata(&issuer)),
    };
    Ok(Discovered { resource, server, scopes })
}

/// What the server demands of somebody without a token; `None`: it demands none. Nothing is started: a server that
/// demands tokens refuses before it reads. Some let everybody begin, and demand a token of whoever goes on.
async fn demand(fetcher: &Fetcher, server: &Url) -> Result<Option<Challenge>, Trouble> {
    let begin = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{{"protocolVersion":"{NEWEST_LEGACY_VERSION}","capabilities":{{}},"clientInfo":{{"name":"gateway","version":"{}"}}}}}}"#,
        env!("CARGO_PKG_VERSION")
    );
    let begun = ask(fetcher, server, (begin, None)).await?;
    if demands(begun.status()) {
        return Ok(Some(Challenge::of(begun.headers())));
    }
    let session = begun.headers().get(headers::SESSION_ID).cloned();
    let go_on = r#"{"jsonrpc":"2.0","id":2,"method":"tools/list","params":{}}"#.to_owned();
    let answer = ask(fetcher, server, (go_on, session)).await?;
    Ok(demands(answer.status()).then(|| Challenge::of(answer.headers())))
}

fn demands(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

async fn ask(
    fetcher: &Fetcher,
    server: &Url,
    (body, session): (String, Option<HeaderValue>),
) -> Result<Response<Bytes>, Trouble> {
    let mut request = Request::new(Bytes::from(body));
    *request.method_mut() = Method::POST;
    let to = request.headers_mut();
    to.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    to.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    to.insert(headers::PROTOCOL_VERSION, HeaderValue::from_static(NEWEST_LEGACY_VERSION));
    to.extend(session.map(|session| (headers::SESSION_ID, session)));
    fetcher.send(server, request).await
}

/// Where the challenge says, else at the path, else at the root; `None` where there is none.
async fn protected_resource(
    fetcher: &Fetcher,
    server: &Url,
    challenge: &Challenge,
) -> Result<Option<ProtectedResource>, Trouble> {
    let places = match &challenge.resource_metadata {
        Some(place) => vec![place.clone()],
        None => well_known(server, "oauth-protected-resource"),
    };
    let Some(found) = first::<ProtectedResource>(fetcher, &places).await? else {
        let told = challenge.resource_metadata.as_ref();
        return match told {
            Some(place) => {
                Err(Trouble::metadata(format!("{place}: the server names it, and it is not there")))
            }
            None => Ok(None),
        };
    };
    if covers(&found.resource, server) {
        return Ok(Some(found));
    }
    Err(Trouble::metadata(format!(
        "resource: the metadata is of \"{}\", not of this server",
        found.resource.escape_debug()
    )))
}

/// The metadata is the server's own, or of a whole of which the server is a part.
fn covers(resource: &str, server: &Url) -> bool {
    let Ok(resource) = Url::parse(resource) else { return false };
    if resource.fragment().is_some() || resource.origin() != server.origin() {
        return false;
    }
    let (whole, part) = (resource.path().trim_end_matches('/'), server.path());
    let same_query = resource.query().is_none() || resource.query() == server.query();
    let below =
        part.strip_prefix(whole).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    below && same_query
}

fn choose(found: &ProtectedResource, client: &OauthClient) -> Result<String, Trouble> {
    let named = &found.authorization_servers;
    match &client.issuer {
        Some(issuer) if named.is_empty() || named.contains(issuer) => Ok(issuer.clone()),
        Some(issuer) => Err(Trouble::metadata(format!(
            "authorization_servers: the server no longer names {issuer}, which auth.issuer demands"
        ))),
        None => named.first().cloned().ok_or_else(|| {
            Trouble::metadata("authorization_servers: the server names none".into())
        }),
    }
}

/// Reads an issuer's metadata, which must be its own.
pub(super) async fn authorization_server(
    fetcher: &Fetcher,
    issuer: &str,
) -> Result<AuthorizationServer, Trouble> {
    metadata(fetcher, issuer).await?.ok_or_else(|| without_metadata(issuer))
}

fn without_metadata(issuer: &str) -> Trouble {
    Trouble::metadata(format!("{issuer}: it has no metadata"))
}

async fn metadata(fetcher: &Fetcher, issuer: &str) -> Result<Option<AuthorizationServer>, Trouble> {
    let url = Url::parse(issuer).map_err(|e| Trouble::metadata(format!("issuer: {e}")))?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(Trouble::metadata("issuer: expected no query and no fragment".into()));
    }
    let mut places = well_known(&url, "oauth-authorization-server");
    places.truncate(1);
    places.extend(well_known(&url, "openid-configuration").into_iter().take(1));
    if url.path() != "/" {
        let path = url.as_str().trim_end_matches('/');
        places.push(format!("{path}/.well-known/openid-configuration"));
    }
    let Some(found) = first::<AuthorizationServer>(fetcher, &places).await? else {
        return Ok(None);
    };
    if found.issuer != issuer {
        return Err(Trouble::metadata(format!(
            "issuer: the metadata of {issuer} says it is of \"{}\"",
            found.issuer.escape_debug()
        )));
    }
    for (key, endpoint) in found.endpoints() {
        usable(key, endpoint, &url)?;
    }
    Ok(Some(found))
}

impl AuthorizationServer {
    /// 2025-03-26, "Fallbacks for Servers without Metadata Discovery"; PKCE is every client's duty there.
    fn by_convention(issuer: String) -> AuthorizationServer {
        let at = |path: &str| Some(format!("{issuer}{path}"));
        AuthorizationServer {
            authorization_endpoint: at("/authorize"),
            token_endpoint: at("/token"),
            registration_endpoint: at("/register"),
            code_challenge_methods_supported: vec!["S256".to_owned()],
            issuer,
            ..AuthorizationServer::default()
        }
    }

    fn endpoints(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("authorization_endpoint", self.authorization_endpoint.as_deref()),
            ("token_endpoint", self.token_endpoint.as_deref()),
            ("registration_endpoint", self.registration_endpoint.as_deref()),
            ("revocation_endpoint", self.revocation_endpoint.as_deref()),
        ]
        .into_iter()
        .filter_map(|(key, endpoint)| Some((key, endpoint?)))
    }
}

/// An issuer behind TLS does not send people or codes out of it.
fn usable(key: &str, endpoint: &str, issuer: &Url) -> Result<(), Trouble> {
    let url = Url::parse(endpoint).map_err(|e| Trouble::metadata(format!("{key}: {e}")))?;
    let wrong = match url.scheme() {
        "https" => None,
        "http" if issuer.scheme() == "http" => None,
        _ => Some("expected https"),
    };
    let wrong = wrong.or(url.fragment().map(|_| "expected no fragment")).or((!url
        .username()
        .is_empty()
        || url.password().is_some())
    .then_some("expected no user and password"));
    wrong.map_or(Ok(()), |wrong| Err(Trouble::metadata(format!("{key}: {wrong}"))))
}

/// The origin as the name of an issuer.
fn own(server: &Url) -> String {
    server.origin().ascii_serialization()
}

/// The well-known address before the path, then the one of the whole origin.
fn well_known(url: &Url, name: &str) -> Vec<String> {
    let origin = url.origin().ascii_serialization();
    let path = url.path().trim_end_matches('/');
    let root = format!("{origin}/.well-known/{name}");
    if path.is_empty() { vec![root] } else { vec![format!("{root}{path}"), root] }
}

/// The first document that is there. One that is there and not readable ends the search.
async fn first<T: DeserializeOwned>(
    fetcher: &Fetcher,
    places: &[String],
) -> Result<Option<T>, Trouble> {
    for place in places {
        let url = Url::parse(place).map_err(|e| Trouble::metadata(format!("{place}: {e}")))?;
        match fetcher.document(&url).await {
            Ok(found) => return Ok(Some(found)),
            Err(NotFetched::Absent) => {}
            Err(NotFetched::Trouble(trouble)) => return Err(trouble),
        }
    }
    Ok(None)
}

/// As RFC 8707 wants it where no metadata says otherwise.
fn without_slash(server: &Url) -> String {
    match (server.path(), server.query()) {
        ("/", None) => server.as_str().trim_end_matches('/').to_owned(),
        _ => server.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_server_and_what_holds_it_cover_it() {
        let server = Url::parse("https://mcp.example.com/team/mcp").unwrap();
        for good in [
            "https://mcp.example.com/team/mcp",
            "https://mcp.example.com/team/mcp/",
            "https://mcp.example.com/team",
            "https://mcp.example.com",
            "https://mcp.example.com:443/",
        ] {
            assert!(covers(good, &server), "{good}");
        }
        for bad in [
            "https://mcp.example.com/team/mcp/more",
            "https://mcp.example.com/te",
            "https://mcp.example.com/other",
            "http://mcp.example.com/team/mcp",
            "https://mcp.example.com:8443/team/mcp",
            "https://mcp.example.com.evil.test/team/mcp",
            "https://evil.test/team/mcp",
            "https://mcp.example.com/team/mcp#x",
            "https://mcp.example.com/team/mcp?x",
            "team/mcp",
            "",
        ] {
            assert!(!covers(bad, &server), "{bad}");
        }
    }

    #[test]
    fn well_known_addresses_stand_before_the_path() {
        let places = |url: &str| well_known(&Url::parse(url).unwrap(), "x").join(" ");
        assert_eq!(places("https://a.test"), "https://a.test/.well-known/x");
        assert_eq!(
            places("https://a.test/b/c/"),
            "https://a.test/.well-known/x/b/c https://a.test/.well-known/x"
        );
    }

    #[test]
    fn endpoints_stay_behind_tls() {
        let issuer = Url::parse("https://as.test").unwrap();
        for bad in
            ["http://as.test/t", "ftp://x", "https://u:p@as.test/t", "https://as.test/#f", ""]
        {
            assert!(usable("token_endpoint", bad, &issuer).is_err(), "{bad}");
        }
        assert!(usable("token_endpoint", "https://other.test/t", &issuer).is_ok());
    }
}
