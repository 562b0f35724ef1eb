//! What a token is for: the whole gateway, or one server behind it. Named by a URL (RFC 8707), which is the
//! gateway's public URL or a server's proxy URL with its id.

use gateway_core::ids::ServerId;
use url::Url;

use crate::snapshot::Snapshot;

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Every server, and the gateway's own interfaces.
    Gateway,
    /// That server alone.
    Server(ServerId),
}

/// Where a request goes, or what a token is wanted for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// The gateway's own interfaces.
    Gateway,
    /// A server, by its id or slug as written; whether there is one is another question.
    Server(String),
}

/// The gateway's addresses.
#[derive(Debug, Clone)]
pub(crate) struct Addresses {
    base: String,
    origin: Url,
}

impl Addresses {
    /// Below `server.public_url`.
    pub(crate) fn new(public_url: &Url) -> Addresses {
        let base = public_url.as_str().trim_end_matches('/').to_owned();
        Addresses { base, origin: public_url.clone() }
    }

    /// The gateway as clients see it, without a final slash: also the issuer of its tokens.
    pub(crate) fn issuer(&self) -> &str {
        &self.base
    }

    /// The name of an audience in tokens.
    pub(crate) fn name(&self, audience: Audience) -> String {
        match audience {
            Audience::Gateway => self.base.clone(),
            Audience::Server(id) => format!("{}/api/v1/proxy/{id}/mcp", self.base),
        }
    }

    /// The audience of that name.
    pub(crate) fn audience(&self, name: &str) -> Option<Audience> {
        match self.strip(name)? {
            "" => Some(Audience::Gateway),
            path => {
                let id = path.strip_prefix("/api/v1/proxy/")?.strip_suffix("/mcp")?;
                let audience = Audience::Server(id.parse().ok()?);
                // Ids have several spellings; only ours is in tokens.
                (self.name(audience) == name).then_some(audience)
            }
        }
    }

    /// The place that `resource` names, as a client writes it: its host in any case, the scheme's own port or
    /// none, a final slash behind a bare host.
    pub(crate) fn place(&self, resource: &str) -> Option<Place> {
        let url = Url::parse(resource).ok()?;
        let plain = url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        let ours = url.scheme() == self.origin.scheme()
            && url.host() == self.origin.host()
            && url.port_or_known_default() == self.origin.port_or_known_default();
        if !plain || !ours {
            return None;
        }
        if url.path() == "/" {
            return Some(Place::Gateway);
        }
        let named = url.path().strip_prefix("/api/v1/proxy/")?.strip_suffix("/mcp")?;
        let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        let fits = (1..=63).contains(&named.len()) && named.bytes().all(legal);
        fits.then(|| Place::Server(named.to_owned()))
    }

    fn strip<'a>(&self, name: &'a str) -> Option<&'a str> {
        name.strip_prefix(self.base.as_str())
    }
}

impl Place {
    /// The server there; `None` for the gateway itself.
    pub(crate) fn server(&self, snapshot: &Snapshot) -> Option<ServerId> {
        match self {
            Place::Gateway => None,
            Place::Server(named) => snapshot.server(named).map(|server| server.id),
        }
    }

    /// The audience; `None` when there is no such server.
    pub(crate) fn audience(&self, snapshot: &Snapshot) -> Option<Audience> {
        match self {
            Place::Gateway => Some(Audience::Gateway),
            Place::Server(_) => self.server(snapshot).map(Audience::Server),
        }
    }
}

impl Audience {
    /// Whether a token for it is good at `place`.
    pub(crate) fn covers(self, place: &Place, snapshot: &Snapshot) -> bool {
        match self {
            Audience::Gateway => true,
            Audience::Server(id) => place.server(snapshot) == Some(id),
        }
    }
}
