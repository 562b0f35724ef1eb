//! Governance: what may be done, by whom, and every operation once.
//!
//! It knows nothing of HTTP, MCP framing or SQL. [`Governance`] holds the catalogue as an immutable
//! [`Snapshot`], identifies callers, decides, keeps people's agreements, and performs the control plane's
//! operations ([`perform`]). The data plane (`proxy`) and the control plane (`control`) share it and
//! nothing else. What it needs from outside is in [`ports`].

mod catalog;
pub mod confirmations;
pub mod connections;
mod decide;
pub mod desired_state;
#[doc(hidden)]
pub mod doors;
mod flow;
mod governance;
mod grants;
mod health;
mod identity;
mod learn;
pub mod limits;
mod notices;
pub mod oauth;
pub mod operations;
pub mod perform;
pub mod ports;
mod refresh;
pub mod scanners;
pub mod scim;
mod settings;
pub mod sign_in;
mod snapshot;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod tool_list;
mod vault;

pub use catalog::{AuthHint, Catalog, CatalogEntry};
pub use confirmations::Confirmations;
pub use connections::Connections;
pub use decide::Attempt;
pub use flow::Flow;
pub use governance::{Governance, Parts, StartError, command_line};
pub use identity::{Presented, Unidentified};
pub use limits::{Limits, OverLimit};
pub use operations::{OPERATIONS, Operation, OperationSpec};
pub use perform::{Answer, Face, Origin, Refused};
pub use ports::{
    Fetch, Letter, Mail, Offline, Probed, Random, Scanner, ScannerQuestion, SystemClock,
    SystemRandom, Unread, Upstreams,
};
pub use refresh::RefreshError;
pub use settings::{
    FlowSettings, GovernanceSettings, Issuer, OauthSettings, Provider, ServerSettings,
    SignInSettings, WebhookSettings,
};
pub use sign_in::SignIn;
pub use snapshot::{Snapshot, SnapshotError};
pub use vault::{VaultError, WrappingKeys};
