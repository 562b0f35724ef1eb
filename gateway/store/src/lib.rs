//! The store: the only place that speaks SQL, one noun a file.
//!
//! It knows nothing of HTTP, MCP or policies: it keeps what others decided. Everything goes through a
//! [`Store`]; without a database URL that is a private Postgres of ours ([`private_postgres`]). What
//! replicas share is read at once as a [`catalogue::Catalogue`], and [`notify`] says when it changed.
//! The audit trail's writer and readers live in [`audit`].

pub mod access_request;
pub mod agent;
pub mod analytics;
pub mod api_key;
pub mod audit;
pub mod browser_session;
pub mod catalogue;
pub mod confirmation;
pub mod connection;
pub mod definition;
pub mod desired_state;
mod ended_session;
pub mod error;
pub mod flow;
pub mod group;
pub mod identity_link;
pub mod limit;
pub mod local_password;
pub mod notice;
pub mod notify;
pub mod oauth_client;
pub mod oauth_device;
pub mod oauth_listing;
pub mod oauth_refresh;
pub mod oauth_session;
mod oauth_sweep;
pub mod people;
pub mod policy;
pub mod pool;
pub mod private_postgres;
pub mod scanner;
pub mod scim;
pub mod server;
pub mod server_health;
pub mod signing_key;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod tool;
pub mod user;
pub mod vault;

pub use error::StoreError;
pub use pool::{Store, StoreSettings};
