//! The gateway's edge: which `Host` and `Origin` it answers to. A page in a browser must not reach it by
//! rebinding a name of its own to our address, so both are compared with what the operator wrote.

use std::collections::HashSet;

use gateway_core::reason::Reason;
use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::{HeaderMap, HeaderName};
use url::Url;

const API_KEY: HeaderName = HeaderName::from_static("x-runlayer-api-key");

/// The names under which clients may speak to the gateway.
#[derive(Debug, Clone)]
pub struct Edge {
    authorities: HashSet<String>,
    origins: HashSet<String>,
    public_url: String,
}

impl Edge {
    /// `public_url` and the listening addresses are always allowed; `allowed_hosts` are further
    /// authorities (`name` or `name:port`).
    pub fn new(public_url: &Url, listening: &[String], allowed_hosts: &[String]) -> Edge {
        let public = authority(public_url);
        let more = listening.iter().chain(allowed_hosts).map(|host| host.to_ascii_lowercase());
        let mut authorities: HashSet<String> = more.collect();
        authorities.insert(public);
        let origins = authorities
            .iter()
            .flat_map(|host| [format!("http://{host}"), format!("https://{host}")])
            .collect();
        let public_url = public_url.as_str().trim_end_matches('/').to_owned();
        Edge { authorities, origins, public_url }
    }

    /// The base URL that clients use, without a final slash.
    pub fn public_url(&self) -> &str {
        &self.public_url
    }

    /// Refuses a request whose `Host` or `Origin` is absent where it must be there, doubled, or not ours.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), (Reason, String)> {
        self.check_host(headers)?;
        match single(headers, &ORIGIN).map_err(|d| (Reason::OriginNotAllowed, d))? {
            None => Ok(()),
            Some(origin) if self.origins.contains(&origin.to_ascii_lowercase()) => Ok(()),
            Some(_) => {
                let detail = "Origin: expected none, or the gateway's own";
                Err((Reason::OriginNotAllowed, detail.into()))
            }
        }
    }

    /// The half of [`Edge::check`] that holds also where pages of any origin may ask.
    pub fn check_host(&self, headers: &HeaderMap) -> Result<(), (Reason, String)> {
        let host = single(headers, &HOST).map_err(|d| (Reason::HostNotAllowed, d))?;
        match host {
            Some(host) if self.authorities.contains(&host.to_ascii_lowercase()) => Ok(()),
            Some(_) => {
                let detail = "Host: expected the gateway's own name (server.public_url or server.allowed_hosts)";
                Err((Reason::HostNotAllowed, detail.into()))
            }
            None => Err((Reason::HostNotAllowed, "Host: missing".into())),
        }
    }
}

/// `x-runlayer-api-key` and `Authorization`, as they came.
pub type Credentials<'a> = (Option<&'a str>, Option<&'a str>);

/// The credentials of a request: at most one of the two headers, once. The error says what was there.
pub fn credentials(headers: &HeaderMap) -> Result<Credentials<'_>, String> {
    let keys = headers.get_all(API_KEY).iter().count();
    let bearers = headers.get_all(AUTHORIZATION).iter().count();
    if keys + bearers > 1 {
        return Err(format!("{keys} {API_KEY} and {bearers} Authorization headers, expected one"));
    }
    // An unreadable value is a bad credential, not an absent one.
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("\u{fffd}"));
    Ok((text(API_KEY), text(AUTHORIZATION)))
}

/// `host[:port]` as clients write it: the scheme's own port is left out.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host,
    }
}

/// The value of a header that may be there once at most.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, String> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(format!("{name}: sent twice, expected once"));
    }
    first.map(|v| v.to_str().map_err(|_| format!("{name}: expected visible ASCII"))).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_answered() {
        let url = Url::parse("https://MCP.example.com").unwrap();
        let edge = Edge::new(&url, &["127.0.0.1:8080".into()], &["mcp.internal".into()]);
        let check = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, value.parse().unwrap());
            }
            edge.check(&headers).map_err(|(reason, _)| reason)
        };
        let (host, origin) = (Err(Reason::HostNotAllowed), Err(Reason::OriginNotAllowed));
        assert_eq!(check(&[("host", "mcp.example.com")]), Ok(()));
        assert_eq!(check(&[("host", "127.0.0.1:8080")]), Ok(()));
        assert_eq!(
            check(&[("host", "mcp.internal"), ("origin", "https://mcp.example.com")]),
            Ok(())
        );
        assert_eq!(check(&[]), host);
        assert_eq!(check(&[("host", "evil.example")]), host);
        assert_eq!(check(&[("host", "mcp.example.com:81")]), host);
        assert_eq!(check(&[("host", "mcp.example.com"), ("host", "mcp.example.com")]), host);
        for foreign in ["null", "https://evil.example", "https://mcp.example.com.evil.example"] {
            assert_eq!(
                check(&[("host", "mcp.internal"), ("origin", foreign)]),
                origin,
                "{foreign}"
            );
        }
    }

    #[test]
    fn one_credential_at_most() {
        let read = |pairs: &[(&str, &[u8])]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                let name: HeaderName = name.parse().unwrap();
                headers.append(name, http::HeaderValue::from_bytes(value).unwrap());
            }
            credentials(&headers)
                .map(|(key, bearer)| (key.map(str::to_owned), bearer.map(str::to_owned)))
                .map_err(|_| ())
        };
        let ambiguous = Err(());
        assert_eq!(read(&[]), Ok((None, None)));
        assert_eq!(read(&[("x-runlayer-api-key", b"k")]), Ok((Some("k".into()), None)));
        assert_eq!(read(&[("authorization", b"\xff")]), Ok((None, Some("\u{fffd}".into()))));
        assert_eq!(
            read(&[("x-runlayer-api-key", b"k"), ("authorization", b"Bearer b")]),
            ambiguous
        );
        assert_eq!(
            read(&[("authorization", b"Bearer a"), ("authorization", b"Bearer b")]),
            ambiguous
        );
    }
}
