//! The Model Context Protocol as a gateway reads it: which message it is, of which era, about what.
//!
//! [`message`] reads the JSON-RPC envelope from the body, [`headers`] compares what HTTP headers claim
//! with it. Policy decides on body values only. Upstream bytes are never built from these types.

pub mod headers;
mod message;
mod method;

pub use message::{Call, Client, Flaw, MessageKind, understand};
pub use method::{Listing, Method};

/// The current revision, and the only modern one.
pub const MODERN_VERSION: &str = "2026-07-28";
/// The newest revision with `initialize`.
pub const NEWEST_LEGACY_VERSION: &str = "2025-11-25";
/// The legacy revisions of streamable HTTP.
pub const LEGACY_VERSIONS: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

/// `_meta` keys of the modern era.
pub mod meta {
    /// The protocol version of a request.
    pub const PROTOCOL_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
    /// What the client can do.
    pub const CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
    /// Who the client is.
    pub const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
}

/// The two ways of speaking MCP. This is the one place that tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Era {
    /// Up to 2025-11-25: `initialize`, sessions.
    Legacy,
    /// 2026-07-28: stateless.
    Modern,
}

impl Era {
    /// The name in audit rows and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Era::Legacy => "legacy",
            Era::Modern => "modern",
        }
    }
}
