//! Every address of the authorization server that speaks JSON, once.

use http::Method;

/// Below this, addresses are the authorization server's, save those of the pages.
pub const PREFIX: &str = "/api/v1/oauth/";
/// RFC 8414.
pub const AUTHORIZATION_SERVER: &str = "/.well-known/oauth-authorization-server";
/// OpenID Connect Discovery, where clients look as well.
pub const OPENID: &str = "/.well-known/openid-configuration";

/// What happens at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Does {
    /// The metadata document.
    Metadata,
    /// The same with what OpenID clients insist on.
    OpenIdMetadata,
    /// The public keys.
    Jwks,
    /// RFC 7591.
    Register,
    /// RFC 6749, section 3.2.
    Token,
    /// RFC 7009.
    Revoke,
    /// RFC 8628, section 3.1.
    Device,
}

/// An address. All of them are there for everybody; who may do what is said by what is sent.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// The path; what stands behind a final `*` is a resource's own path.
    pub path: &'static str,
    /// What happens there.
    pub does: Does,
}

const fn route(method: &'static str, path: &'static str, does: Does) -> Route {
    Route { method, path, does }
}

/// The addresses.
pub const ROUTES: &[Route] = &[
    route("GET", "/.well-known/oauth-authorization-server", Does::Metadata),
    route("GET", "/.well-known/oauth-authorization-server/*", Does::Metadata),
    route("GET", "/.well-known/openid-configuration", Does::OpenIdMetadata),
    route("GET", "/.well-known/openid-configuration/*", Does::OpenIdMetadata),
    route("GET", "/api/v1/oauth/jwks", Does::Jwks),
    route("POST", "/api/v1/oauth/register", Does::Register),
    route("POST", "/api/v1/oauth/token", Does::Token),
    route("POST", "/api/v1/oauth/revoke", Does::Revoke),
    route("POST", "/api/v1/oauth/device", Does::Device),
];

/// What is at an address.
#[derive(Debug)]
pub(super) enum Found {
    /// A route.
    Route(&'static Route),
    /// Only another method: this one.
    OtherMethod(&'static str),
    /// Nothing.
    Nothing,
}

/// Looks up an address.
pub(super) fn find(method: &Method, path: &str) -> Found {
    let Some(route) = ROUTES.iter().find(|route| fits(route.path, path)) else {
        return Found::Nothing;
    };
    if route.method == method.as_str() {
        Found::Route(route)
    } else {
        Found::OtherMethod(route.method)
    }
}

fn fits(template: &str, path: &str) -> bool {
    match template.strip_suffix('*') {
        Some(start) => path.starts_with(start),
        None => path == template,
    }
}

/// Whether an exchange for that path comes to this face.
pub fn is_ours(path: &str) -> bool {
    path.starts_with(AUTHORIZATION_SERVER) || path.starts_with(OPENID) || path.starts_with(PREFIX)
}

/// Whether a page of any origin may read what is at that path: public documents, and endpoints that take no
/// cookie. MCP clients that live in a browser need them.
pub fn is_open_to_pages(path: &str) -> bool {
    path.starts_with("/.well-known/") || ROUTES.iter().any(|route| fits(route.path, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found() {
        let found = |method: &str, path: &str| match find(&method.parse().unwrap(), path) {
            Found::Route(route) => format!("{:?}", route.does),
            Found::OtherMethod(method) => method.to_owned(),
            Found::Nothing => "nothing".into(),
        };
        assert_eq!(found("GET", AUTHORIZATION_SERVER), "Metadata");
        let inserted = format!("{OPENID}/api/v1/proxy/tickets/mcp");
        assert_eq!(found("GET", &inserted), "OpenIdMetadata");
        assert_eq!(found("GET", "/api/v1/oauth/token"), "POST");
        for path in ["/api/v1/oauth/", "/api/v1/oauth/token/", "/api/v1/oauth/authorize"] {
            assert_eq!(found("POST", path), "nothing", "{path}");
        }
        assert_eq!(found("GET", "/.well-known/oauth-authorization-serverx"), "nothing");
    }

    #[test]
    fn pages_of_other_origins_reach_nothing_that_takes_a_cookie() {
        for closed in ["/api/v1/oauth/authorize", "/sign-in", "/api/v1/servers", "/account"] {
            assert!(!is_open_to_pages(closed), "{closed}");
        }
        assert!(is_open_to_pages("/api/v1/oauth/token"));
        assert!(is_open_to_pages("/.well-known/oauth-protected-resource"));
    }
}
