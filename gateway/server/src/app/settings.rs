//! The configuration in the words of each floor.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use gateway_core::Clock;
use gateway_core::keys::{Purpose, RootKey};
use gateway_governance::{
    FlowSettings, GovernanceSettings, Issuer, Mail, OauthSettings, Provider, Random, Scanner,
    ServerSettings, SignInSettings, WebhookSettings, WrappingKeys,
};
use gateway_store::StoreSettings;
use gateway_store::audit::TrailSettings;
use secrecy::ExposeSecret;
use url::Url;

use crate::config::{Config, Problem, read_catalog};
use crate::proxy;
use crate::proxy::plumbing::{Limits, Listen, TlsFiles};
use crate::turns::TurnSettings;
use crate::upstream::{
    BreakerSettings, Guard, LegSettings, MailLeg, MailSettings, ScannerLeg, ScannerSettings,
};

pub(crate) fn store(config: &Config) -> StoreSettings {
    let database = &config.database;
    StoreSettings {
        url: database.url.clone(),
        migrate_url: database.migrate_url.clone(),
        data_dir: database.data_dir.clone(),
        migrate: database.migrate,
        max_connections: database.max_connections,
        acquire_timeout: database.acquire_timeout,
    }
}

pub(super) fn trail(
    config: &Config,
    root: &RootKey,
    clock: Arc<dyn Clock>,
    random: &dyn Random,
) -> TrailSettings {
    let mut replica = [0; 16];
    random.fill(&mut replica);
    let replica = uuid::Builder::from_random_bytes(replica).into_uuid();
    let audit = &config.audit;
    let chain = root.derive(Purpose::AuditChain);
    let defaults = TrailSettings::new(replica, config.spool_dir(), chain, clock);
    TrailSettings {
        queue: audit.queue as usize,
        keep_payloads: audit.keep_payloads,
        payload_limit: audit.payload_limit.bytes(),
        deadline: audit.deadline,
        spool_intents: audit.spool,
        ..defaults
    }
}

pub(super) fn governance(
    config: &Config,
    root: RootKey,
    vault: WrappingKeys,
    public_url: Url,
) -> Result<GovernanceSettings, Problem> {
    let issuer = |issuer: &crate::config::Issuer| Issuer {
        issuer: issuer.issuer.clone(),
        audience: issuer.audience.clone(),
        jwks_url: issuer.jwks_url.clone(),
        email_claim: issuer.email_claim.clone(),
        required_claims: issuer.required_claims.clone(),
    };
    let assertions = |issuer: &crate::config::AssertionIssuer| Issuer {
        jwks_url: issuer.jwks_url.clone(),
        email_claim: issuer.email_claim.clone(),
        ..Issuer::new(&issuer.issuer, public_url.as_str().trim_end_matches('/'))
    };
    let provider = |provider: &crate::config::Provider| Provider {
        name: provider.name.clone(),
        issuer: provider.issuer.clone(),
        client_id: provider.client_id.clone(),
        client_secret: provider.client_secret.clone(),
        scopes: provider.scopes.clone(),
        allowed_domains: provider.allowed_domains.clone(),
        groups_claim: provider.groups_claim.clone(),
        email_claim: provider.email_claim.clone(),
        attributes: provider.attributes.clone(),
        create_users: provider.create_users,
    };
    let notices = &config.notices;
    let webhook = notices.webhook_url.clone().zip(notices.webhook_secret.clone());
    Ok(GovernanceSettings {
        servers: servers(&config.servers)?,
        webhook: webhook.map(|(url, secret)| WebhookSettings { url, secret }),
        assertion_issuers: config.oauth.assertion_issuers.iter().map(assertions).collect(),
        scim_token: config.scim.token.clone(),
        sign_in: SignInSettings {
            local: config.sign_in.local,
            providers: config.sign_in.providers.iter().map(provider).collect(),
        },
        issuers: config.identity.issuers.iter().map(issuer).collect(),
        jwks_max_age: config.identity.jwks_max_age,
        jwks_min_refetch: config.identity.jwks_min_refetch,
        poll: config.catalogue.poll,
        refresh: config.catalogue.refresh,
        max_age: config.catalogue.max_age,
        confirmation_lifetime: config.confirm.expires,
        flow: FlowSettings {
            enabled: config.flow_rule.enabled,
            // Bounded by validation.
            window: config.flow_rule.window.try_into().unwrap_or(time::Duration::HOUR),
        },
        vault,
        oauth: oauth(config),
        ..GovernanceSettings::new(root, public_url.clone())
    })
}

fn servers(servers: &crate::config::Servers) -> Result<ServerSettings, Problem> {
    let catalog = read_catalog(servers).map_err(|message| Problem {
        place: "config".into(),
        line: None,
        key: "servers.catalog_file".into(),
        message,
    })?;
    Ok(ServerSettings {
        probe: servers.probe,
        catalog,
        secret_env_prefix: servers.secret_env_prefix.clone(),
        secret_dir: servers.secret_dir.clone(),
    })
}

fn oauth(config: &Config) -> OauthSettings {
    let oauth = &config.oauth;
    // Bounded by validation, far from where this would fail.
    let span = |d: std::time::Duration| time::Duration::try_from(d).unwrap_or(time::Duration::HOUR);
    OauthSettings {
        enabled: oauth.enabled,
        access_token: span(oauth.access_token),
        refresh_token: span(oauth.refresh_token),
        code: span(oauth.code),
        registration: oauth.registration,
        registrations_per_hour: oauth.registrations_per_hour,
        unused_client: span(oauth.unused_client),
    }
}

pub(super) fn listen(config: &Config) -> Listen {
    let server = &config.server;
    let tls = server.tls_cert_file.clone().zip(server.tls_key_file.clone());
    Listen { address: server.listen, tls: tls.map(|(cert, key)| TlsFiles { cert, key }) }
}

pub(super) fn plumbing(config: &Config) -> Limits {
    Limits {
        head_bytes: config.server.max_headers.bytes(),
        body_bytes: config.server.max_body.bytes(),
        head_within: config.server.head_timeout,
        body_within: config.server.body_timeout,
        write_within: config.server.write_timeout,
        connections: config.limits.connections as usize,
        exchanges: config.limits.in_flight as usize,
        all_bodies: config.limits.body_memory.bytes(),
        turns: TurnSettings {
            turns: config.limits.turns as usize,
            waiting: config.limits.waiting as usize,
            patience: config.limits.wait,
            standing: config.limits.wait_in_crowd,
            ..TurnSettings::default()
        },
        ..Limits::default()
    }
}

pub(super) fn leg(config: &Config) -> LegSettings {
    LegSettings {
        connect: config.limits.connect,
        first_byte: config.limits.first_byte,
        all: config.limits.in_flight as usize,
        per_server: config.limits.per_server as usize,
        breaker: BreakerSettings {
            failures: config.limits.breaker_failures,
            pause: config.limits.breaker_pause,
        },
        listing_body: config.limits.upstream_listing.bytes(),
        ..LegSettings::default()
    }
}

/// The way to the mail server, if one is configured.
pub(super) fn mail(config: &Config, guard: &Arc<Guard>) -> Option<Arc<dyn Mail>> {
    let notices = &config.notices;
    let public_name = config.server.public_url.host_str().unwrap_or("localhost");
    let settings = MailSettings {
        host: notices.smtp_host.clone()?,
        // Checked by validation.
        port: u16::try_from(notices.smtp_port).ok()?,
        tls: notices.smtp_tls,
        account: notices.smtp_user.clone().zip(notices.smtp_password.clone()),
        from: notices.mail_from.as_deref()?.parse().ok()?,
        own_name: public_name.to_owned(),
    };
    Some(Arc::new(MailLeg::new(Arc::clone(guard), settings)))
}

/// The way to the organisation's own scanner, if one is configured.
pub(super) fn scanner(config: &Config, guard: &Arc<Guard>) -> Option<Arc<dyn Scanner>> {
    let scanner = &config.scanner;
    let settings = ScannerSettings {
        url: scanner.url.clone()?,
        token: scanner.token.clone(),
        deadline: Duration::from_millis(scanner.deadline_ms.into()),
        concurrency: scanner.concurrency as usize,
    };
    Some(Arc::new(ScannerLeg::new(Arc::clone(guard), settings)))
}

pub(super) fn proxy(config: &Config) -> proxy::Settings {
    let audit = &config.audit;
    proxy::Settings {
        payload_limit: if audit.keep_payloads { audit.payload_limit.bytes() } else { 0 },
        listing_limit: config.limits.upstream_listing.bytes(),
        all_answers: config.limits.answer_memory.bytes(),
        idle: config.limits.idle,
        stream_idle: config.limits.stream_idle,
        total: config.limits.total,
        confirm_expires: config.confirm.expires,
        session_expires: config.limits.session,
    }
}

/// `server.public_url`; with port 0 in it, or left at its default beside another `server.listen`, it
/// names the bound port.
pub(super) fn public_url(config: &Config, bound: SocketAddr) -> Url {
    let mut url = config.server.public_url.clone();
    let default = crate::config::Server::default();
    let untouched = url == default.public_url && config.server.listen != default.listen;
    if url.port() == Some(0) || untouched {
        // Only URLs without a host refuse a port, and those are not configurable.
        let _ = url.set_port(Some(bound.port()));
    }
    url
}

/// The names under which a client on this machine reaches the listener.
pub(super) fn listening_names(bound: SocketAddr) -> Vec<String> {
    let port = bound.port();
    let mut names = vec![bound.to_string()];
    if bound.ip().is_loopback() || bound.ip().is_unspecified() {
        names.extend([
            format!("127.0.0.1:{port}"),
            format!("localhost:{port}"),
            format!("[::1]:{port}"),
        ]);
    }
    names
}

/// The database is nothing that a server's URL may lead to.
pub(super) async fn forbid_database(config: &Config, guard: &Guard) {
    let urls = [&config.database.url, &config.database.migrate_url];
    for url in urls.into_iter().flatten() {
        let Ok(url) = Url::parse(url.expose_secret()) else { continue };
        let Some(host) = url.host_str().filter(|host| !host.is_empty()) else { continue };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        match tokio::net::lookup_host((host, url.port().unwrap_or(5432))).await {
            Ok(addresses) => addresses.for_each(|address| guard.forbid(address)),
            Err(error) => tracing::warn!(%error, "the database's host name does not resolve"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_public_url_follows_the_bound_port_unless_it_was_set() {
        let bound: SocketAddr = "127.0.0.1:4711".parse().unwrap();
        let mut config = Config::default();
        assert_eq!(public_url(&config, bound).as_str(), "http://127.0.0.1:8080/");
        config.server.listen = "127.0.0.1:0".parse().unwrap();
        assert_eq!(public_url(&config, bound).as_str(), "http://127.0.0.1:4711/");
        config.server.public_url = Url::parse("http://localhost:0").unwrap();
        assert_eq!(public_url(&config, bound).as_str(), "http://localhost:4711/");
        config.server.public_url = Url::parse("https://mcp.example.com").unwrap();
        assert_eq!(public_url(&config, bound).as_str(), "https://mcp.example.com/");
    }

    #[tokio::test]
    async fn the_database_cannot_be_reached_as_a_server() {
        let mut config = Config::default();
        config.database.url = Some("postgres://u@127.0.0.1:5433/x".into());
        let guard = Guard::new(vec!["127.0.0.0/8".parse().unwrap()]);
        let database = "127.0.0.1:5433".parse().unwrap();
        assert!(guard.check(database).is_ok());
        forbid_database(&config, &guard).await;
        assert!(guard.check(database).is_err());
        assert!(guard.check("127.0.0.1:5434".parse().unwrap()).is_ok());
    }
}
