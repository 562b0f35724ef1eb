//! The configuration: one TOML file, a section each, read once at start.
//!
//! [`sections`] holds the keys with their comments and defaults, [`load`] puts file and environment
//! together, `validate` checks what no single key can know, [`show`] prints. What may change while
//! the gateway runs is not here: it lives in Postgres.

mod load;
mod root_key;
pub mod section;
pub mod sections;
pub mod setting;
mod show;
#[cfg(test)]
mod tests;
mod validate;

pub use gateway_core::located::Problem;
pub use root_key::{make_root_key, read_root_key, read_vault_keys};
pub use sections::{
    AssertionIssuer, Audit, Catalogue, Confirm, Database, Egress, FlowRule, Identity, Issuer, Keys,
    Limits, Log, Notices, Oauth, Provider, Scanner, Scim, Server, Servers, SignIn, Telemetry,
};
pub use setting::{Format, Size, SmtpTls};

use std::path::{Path, PathBuf};

/// The whole configuration.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// `[server]`
    pub server: Server,
    /// `[database]`
    pub database: Database,
    /// `[egress]`
    pub egress: Egress,
    /// `[keys]`
    pub keys: Keys,
    /// `[identity]`
    pub identity: Identity,
    /// `[oauth]`
    pub oauth: Oauth,
    /// `[scim]`
    pub scim: Scim,
    /// `[sign_in]`
    pub sign_in: SignIn,
    /// `[audit]`
    pub audit: Audit,
    /// `[confirm]`
    pub confirm: Confirm,
    /// `[flow_rule]`
    pub flow_rule: FlowRule,
    /// `[scanner]`
    pub scanner: Scanner,
    /// `[notices]`
    pub notices: Notices,
    /// `[catalogue]`
    pub catalogue: Catalogue,
    /// `[servers]`
    pub servers: Servers,
    /// `[limits]`
    pub limits: Limits,
    /// `[telemetry]`
    pub telemetry: Telemetry,
    /// `[log]`
    pub log: Log,
}

/// Runs the same code for every section, in the order in which they are shown.
macro_rules! each_section {
    ($each:ident) => {
        $each!(
            server, database, egress, keys, identity, sign_in, oauth, scim, audit, confirm,
            flow_rule, scanner, notices, catalogue, servers, limits, telemetry, log
        )
    };
}
pub(crate) use each_section;

/// The configuration is not usable: everything that is wrong with it, in the order of the file.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Refused(pub Vec<Problem>);

impl Config {
    /// Reads `path`, lays `GATEWAY__SECTION__KEY` of `environment` over it, reads the secrets that
    /// `*_file` keys name, and checks everything.
    pub fn load(
        path: &Path,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Config, Refused> {
        load::load(path, environment)
    }

    /// The effective configuration as TOML, secrets hidden.
    pub fn describe(&self) -> String {
        show::describe(self)
    }

    /// The text of `config/gateway.toml`: every key with its comment and default.
    pub fn template() -> String {
        show::template()
    }

    /// Where outcomes wait while Postgres is away.
    pub fn spool_dir(&self) -> PathBuf {
        self.audit.spool_dir.clone().unwrap_or_else(|| self.database.data_dir.join("spool"))
    }
}

/// The catalogue of well-known servers; the error says what is wrong with the file.
pub(crate) fn read_catalog(servers: &Servers) -> Result<gateway_governance::Catalog, String> {
    let Some(path) = &servers.catalog_file else {
        return Ok(gateway_governance::Catalog::built_in());
    };
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    gateway_governance::Catalog::read(&text).map_err(|wrong| format!("{}: {wrong}", path.display()))
}
