//! What governance is told at start: it reads no configuration itself.

use std::path::PathBuf;
use std::time::Duration;

use gateway_core::keys::{Purpose, RootKey};
use secrecy::SecretString;
use url::Url;

use crate::catalog::Catalog;
use crate::vault::WrappingKeys;

/// Everything that stays the same while the gateway runs.
#[derive(Debug, Clone)]
pub struct GovernanceSettings {
    /// The root key; each purpose derives its own.
    pub root_key: RootKey,
    /// What wraps the vault's data keys.
    pub vault: WrappingKeys,
    /// Where clients reach the gateway, for proxy URLs and install links.
    pub public_url: Url,
    /// Issuers whose JWTs are taken.
    pub issuers: Vec<Issuer>,
    /// How old an issuer's keys may be before they are read again.
    pub jwks_max_age: Duration,
    /// Least time between two reads of an issuer's keys that unknown key ids cause.
    pub jwks_min_refetch: Duration,
    /// How often the catalogue's version is polled, should a notification be lost.
    pub poll: Duration,
    /// How often servers' tools are read again without any sign of change.
    pub refresh: Duration,
    /// How old the snapshot may be, unconfirmed, before everything is refused.
    pub max_age: Duration,
    /// How long a request for a confirmation lives.
    pub confirmation_lifetime: Duration,
    /// Most recorded calls that one replay of a draft looks at.
    pub replayed_calls: usize,
    /// The authorization server.
    pub oauth: OauthSettings,
    /// Issuers that vouch for people towards clients (ID-JAG); their audience is this gateway.
    pub assertion_issuers: Vec<Issuer>,
    /// The provisioning system's token; without one there is no provisioning.
    pub scim_token: Option<SecretString>,
    /// How people sign in.
    pub sign_in: SignInSettings,
    /// How servers are looked after, and what administrators may make of them.
    pub servers: ServerSettings,
    /// False for a command: it tells nobody anything and ends nobody's access while it runs.
    pub serves: bool,
    /// Where notices go besides mail.
    pub webhook: Option<WebhookSettings>,
    /// The flow rule.
    pub flow: FlowSettings,
}

/// Whether what was read is remembered, so that data is not carried out unseen, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowSettings {
    /// Whether the rule holds.
    pub enabled: bool,
    /// How long what was read counts.
    pub window: time::Duration,
}

impl Default for FlowSettings {
    fn default() -> FlowSettings {
        FlowSettings { enabled: true, window: time::Duration::HOUR }
    }
}

/// How servers are looked after, and what administrators may make of them.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// How often each server is asked whether it answers; zero: never.
    pub probe: Duration,
    /// Servers that everybody knows.
    pub catalog: Catalog,
    /// How the names of environment variables begin that may be sent to a server that an administrator adds;
    /// empty: none may.
    pub secret_env_prefix: String,
    /// Where the files lie whose content may be sent to one; `None`: none may.
    pub secret_dir: Option<PathBuf>,
}

impl Default for ServerSettings {
    fn default() -> ServerSettings {
        ServerSettings {
            probe: Duration::from_secs(30),
            catalog: Catalog::built_in(),
            secret_env_prefix: "UPSTREAM_".into(),
            secret_dir: None,
        }
    }
}

/// Where signed notices go.
#[derive(Debug, Clone)]
pub struct WebhookSettings {
    /// The receiver.
    pub url: Url,
    /// What they are signed with: `whsec_` and base64, or any text.
    pub secret: SecretString,
}

/// What the authorization server is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OauthSettings {
    /// Whether there is one.
    pub enabled: bool,
    /// How long a person's access token lives, at most an hour.
    pub access_token: time::Duration,
    /// How long a refresh token lives that is not used.
    pub refresh_token: time::Duration,
    /// How long a code lives.
    pub code: time::Duration,
    /// Whether clients may register themselves.
    pub registration: bool,
    /// How many registrations one address gets in an hour.
    pub registrations_per_hour: u32,
    /// When a registered client is forgotten that is not used.
    pub unused_client: time::Duration,
}

impl Default for OauthSettings {
    fn default() -> OauthSettings {
        OauthSettings {
            enabled: true,
            access_token: time::Duration::minutes(15),
            refresh_token: time::Duration::days(30),
            code: time::Duration::seconds(60),
            registration: true,
            registrations_per_hour: 600,
            unused_client: time::Duration::days(90),
        }
    }
}

impl GovernanceSettings {
    /// The usual values, no issuers, the vault's key derived from the root key.
    pub fn new(root_key: RootKey, public_url: Url) -> GovernanceSettings {
        let vault = WrappingKeys { current: root_key.derive(Purpose::Vault), previous: None };
        GovernanceSettings {
            root_key,
            vault,
            public_url,
            issuers: Vec::new(),
            jwks_max_age: Duration::from_secs(600),
            jwks_min_refetch: Duration::from_secs(30),
            poll: Duration::from_secs(1),
            refresh: Duration::from_secs(60),
            max_age: Duration::from_secs(60),
            confirmation_lifetime: Duration::from_secs(300),
            replayed_calls: 20_000,
            oauth: OauthSettings::default(),
            assertion_issuers: Vec::new(),
            scim_token: None,
            sign_in: SignInSettings::default(),
            servers: ServerSettings::default(),
            serves: true,
            webhook: None,
            flow: FlowSettings::default(),
        }
    }
}

/// An issuer of JWTs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// Exactly as in `iss`.
    pub issuer: String,
    /// Exactly as in `aud`.
    pub audience: String,
    /// Where its keys are; `None`: by discovery below `issuer`.
    pub jwks_url: Option<Url>,
    /// The claim with the person's e-mail address; `email` must be vouched for by `email_verified`, any
    /// other claim is the operator's own choice and taken as it is.
    pub email_claim: String,
    /// Claims that must be there besides exp, iss, aud and sub.
    pub required_claims: Vec<String>,
}

impl Issuer {
    /// With keys by discovery, `email`, and nothing else required.
    pub fn new(issuer: impl Into<String>, audience: impl Into<String>) -> Issuer {
        Issuer {
            issuer: issuer.into(),
            audience: audience.into(),
            jwks_url: None,
            email_claim: "email".into(),
            required_claims: Vec::new(),
        }
    }
}

/// How people sign in.
#[derive(Debug, Clone, Default)]
pub struct SignInSettings {
    /// By passwords and one-time links of our own.
    pub local: bool,
    /// With these identity providers.
    pub providers: Vec<Provider>,
}

/// An OpenID Connect provider with which people sign in.
#[derive(Debug, Clone)]
pub struct Provider {
    /// As people see it; unique.
    pub name: String,
    /// Exactly as in `iss`; discovery is below it.
    pub issuer: String,
    /// As which the gateway is registered there.
    pub client_id: String,
    /// The secret that goes with it; `None`: a public client.
    pub client_secret: Option<SecretString>,
    /// Asked for besides `openid`.
    pub scopes: Vec<String>,
    /// Domains of addresses that are let in; empty: all.
    pub allowed_domains: Vec<String>,
    /// The claim with the names of the person's groups.
    pub groups_claim: String,
    /// The claim with the person's e-mail address; `email` must be vouched for by `email_verified`, any other
    /// claim is the operator's own choice and taken as it is.
    pub email_claim: String,
    /// Claims that are kept as the person's attributes.
    pub attributes: Vec<String>,
    /// Makes a person of whoever is not known here.
    pub create_users: bool,
}
