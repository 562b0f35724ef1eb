//! The tables of the file as serde reads them. Texts that need a check of their own stay texts here.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::scanners::settings::ScannerSettings;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GroupItem {
    pub(super) name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UserItem {
    pub(super) email: String,
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) roles: Vec<String>,
    #[serde(default)]
    pub(super) groups: Vec<String>,
    #[serde(default = "yes")]
    pub(super) active: bool,
    pub(super) attributes: Option<Map<String, Value>>,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServerItem {
    pub(super) slug: String,
    pub(super) title: Option<String>,
    pub(super) description: Option<String>,
    pub(super) url: Option<String>,
    pub(super) auth: Option<AuthItem>,
    pub(super) status: Option<String>,
    pub(super) icon: Option<String>,
    pub(super) sensitive: Option<bool>,
    pub(super) labels: Option<Vec<String>>,
    pub(super) admins: Option<Vec<String>>,
    pub(super) scanners: Option<ScannerSettings>,
}

/// How the gateway signs in to a server, as written: each mode takes keys of its own. It names where secrets
/// come from and holds none.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuthItem {
    pub(crate) mode: String,
    pub(crate) name: Option<String>,
    pub(crate) value_env: Option<String>,
    pub(crate) value_file: Option<String>,
    pub(crate) issuer: Option<String>,
    pub(crate) client_id: Option<String>,
    pub(crate) client_secret_env: Option<String>,
    pub(crate) client_secret_file: Option<String>,
    pub(crate) private_key_env: Option<String>,
    pub(crate) private_key_file: Option<String>,
    pub(crate) key_id: Option<String>,
    pub(crate) scopes: Option<Vec<String>>,
    pub(crate) token_url: Option<String>,
    pub(crate) audience: Option<String>,
}
