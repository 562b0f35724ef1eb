//! Checks what no single key can know.

use std::time::Duration;

use gateway_core::located::Problem;
use secrecy::ExposeSecret;

use super::load::Places;
use super::{AssertionIssuer, Config, Issuer, Notices, Provider, Scanner, SmtpTls};

pub(super) fn validate(config: &Config, places: &Places) -> Vec<Problem> {
    let mut wrong: Vec<(String, String)> = Vec::new();
    let mut refuse = |key: &str, message: &str| wrong.push((key.into(), message.into()));
    let server = &config.server;
    if server.listen == server.admin_listen && server.listen.port() != 0 {
        refuse(
            "server.admin_listen",
            "the same as server.listen; health and metrics need their own",
        );
    }
    let url = &server.public_url;
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    if !bare || !url.username().is_empty() || url.password().is_some() {
        refuse("server.public_url", "expected scheme, host and port only");
    }
    match (&server.tls_cert_file, &server.tls_key_file) {
        (Some(_), None) => refuse("server.tls_key_file", "missing: server.tls_cert_file is set"),
        (None, Some(_)) => refuse("server.tls_cert_file", "missing: server.tls_key_file is set"),
        (None, None) | (Some(_), Some(_)) => {}
    }
    if !(1 << 10..=256 << 20).contains(&server.max_body.0) {
        refuse("server.max_body", "expected 1KiB to 256MiB");
    }
    if !(1 << 10..=1 << 20).contains(&server.max_headers.0) {
        refuse("server.max_headers", "expected 1KiB to 1MiB");
    }
    if config.database.max_connections < 6 {
        refuse("database.max_connections", "expected at least 6: two are held by audit and notify");
    }
    let counts = [
        ("audit.queue", config.audit.queue),
        ("oauth.registrations_per_hour", config.oauth.registrations_per_hour),
        ("limits.in_flight", config.limits.in_flight),
        ("limits.per_server", config.limits.per_server),
        ("limits.turns", config.limits.turns),
        ("limits.waiting", config.limits.waiting),
        ("limits.connections", config.limits.connections),
    ];
    for (key, _) in counts.into_iter().filter(|(_, count)| *count == 0) {
        refuse(key, "expected at least 1");
    }
    if config.limits.body_memory.0 < server.max_body.0 {
        refuse("limits.body_memory", "expected at least server.max_body");
    }
    let twice = config.limits.upstream_listing.0.saturating_mul(2);
    if !(twice..=1 << 40).contains(&config.limits.answer_memory.0) {
        refuse(
            "limits.answer_memory",
            "expected at least twice limits.upstream_listing, at most 1TiB",
        );
    }
    let oauth = &config.oauth;
    if oauth.access_token > Duration::from_secs(3600) {
        refuse("oauth.access_token", "expected at most 1h");
    }
    if oauth.code > Duration::from_secs(600) {
        refuse("oauth.code", "expected at most 10m");
    }
    if oauth.unused_client <= oauth.refresh_token {
        refuse("oauth.unused_client", "expected longer than oauth.refresh_token");
    }
    if tracing_subscriber::EnvFilter::try_new(&config.log.filter).is_err() {
        refuse("log.filter", "expected a filter such as \"info\" or \"info,gateway_server=debug\"");
    }
    for (key, duration) in positive(config) {
        if duration.is_zero() {
            refuse(key, "expected more than zero");
        }
    }
    for (index, issuer) in config.identity.issuers.iter().enumerate() {
        let again = config.identity.issuers[..index].iter().any(|i| i.issuer == issuer.issuer);
        if issuer.issuer == server.public_url.as_str().trim_end_matches('/') && oauth.enabled {
            let key = format!("identity.issuers[{index}].issuer");
            refuse(&key, "this is the gateway itself, whose tokens are taken anyway");
        }
        if let Some((key, message)) = issuer_problem(issuer, again) {
            refuse(&format!("identity.issuers[{index}].{key}"), message);
        }
    }
    for (index, issuer) in config.oauth.assertion_issuers.iter().enumerate() {
        let before = &config.oauth.assertion_issuers[..index];
        let again = before.iter().any(|other| other.issuer == issuer.issuer);
        if let Some((key, message)) = assertion_issuer_problem(issuer, again) {
            refuse(&format!("oauth.assertion_issuers[{index}].{key}"), message);
        }
    }
    if config.scim.token.as_ref().is_some_and(|token| is_weak(token.expose_secret())) {
        refuse("scim.token", "expected at least 32 random characters, no spaces");
    }
    if let Err(wrong) = super::read_catalog(&config.servers) {
        refuse("servers.catalog_file", &wrong);
    }
    if config.servers.secret_dir.as_ref().is_some_and(|dir| !dir.is_absolute()) {
        refuse("servers.secret_dir", "expected an absolute path");
    }
    if !config.servers.probe.is_zero() && config.servers.probe < Duration::from_secs(1) {
        refuse("servers.probe", "expected at least 1s, or 0s");
    }
    for (index, provider) in config.sign_in.providers.iter().enumerate() {
        let before = &config.sign_in.providers[..index];
        let again = before.iter().any(|p| p.name == provider.name || p.issuer == provider.issuer);
        if let Some((key, message)) = provider_problem(provider, again) {
            refuse(&format!("sign_in.providers[{index}].{key}"), message);
        }
    }
    for (key, message) in notice_problems(&config.notices) {
        refuse(key, message);
    }
    for (key, message) in scanner_problems(&config.scanner) {
        refuse(key, message);
    }
    if config.flow_rule.window > Duration::from_secs(7 * 86_400) {
        refuse("flow_rule.window", "expected at most 7d");
    }
    wrong.into_iter().map(|(key, message)| problem(places, key, message)).collect()
}

fn scanner_problems(scanner: &Scanner) -> Vec<(&'static str, &'static str)> {
    let mut wrong = Vec::new();
    let mut refuse = |is: bool, key, message| {
        if is {
            wrong.push((key, message));
        }
    };
    let url = scanner.url.as_ref();
    let named = |url: &url::Url| !url.username().is_empty() || url.password().is_some();
    refuse(url.is_some_and(named), "scanner.url", "expected no user and no password in it");
    let legal = |token: &secrecy::SecretString| {
        let text = token.expose_secret();
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic())
    };
    let token = scanner.token.as_ref();
    refuse(!token.is_none_or(legal), "scanner.token", "expected printable ASCII, no spaces");
    let fits = (10..=30_000).contains(&scanner.deadline_ms);
    refuse(!fits, "scanner.deadline_ms", "expected 10 to 30000");
    refuse(scanner.concurrency == 0, "scanner.concurrency", "expected at least 1");
    wrong
}

fn notice_problems(notices: &Notices) -> Vec<(&'static str, &'static str)> {
    let Notices { webhook_url, webhook_secret, smtp_host, smtp_user, smtp_password, .. } = notices;
    let mut wrong = Vec::new();
    let mut refuse = |is: bool, key, message| {
        if is {
            wrong.push((key, message));
        }
    };
    let long = webhook_secret.as_ref().is_none_or(|secret| secret.expose_secret().len() >= 24);
    refuse(!long, "notices.webhook_secret", "expected at least 24 random bytes");
    let named = |url: &url::Url| !url.username().is_empty() || url.password().is_some();
    refuse(
        webhook_url.as_ref().is_some_and(named),
        "notices.webhook_url",
        "expected no user and no password in it",
    );
    refuse(
        webhook_url.is_some() && webhook_secret.is_none(),
        "notices.webhook_secret",
        "missing: notices.webhook_url is set",
    );
    let from = notices.mail_from.as_deref().map(str::parse::<lettre::message::Mailbox>);
    refuse(
        matches!(from, Some(Err(_))),
        "notices.mail_from",
        "expected an address such as gateway@example.com",
    );
    refuse(
        smtp_host.is_some() && from.is_none(),
        "notices.mail_from",
        "missing: notices.smtp_host is set",
    );
    refuse(!(1..=65535).contains(&notices.smtp_port), "notices.smtp_port", "expected 1 to 65535");
    refuse(
        smtp_user.is_some() != smtp_password.is_some(),
        "notices.smtp_user",
        "expected smtp_user and smtp_password, or neither",
    );
    refuse(
        smtp_password.is_some() && notices.smtp_tls == SmtpTls::None,
        "notices.smtp_tls",
        "expected starttls or tls: a password does not travel in the open",
    );
    wrong
}

/// An item of an array is found where the array stands.
fn problem(places: &Places, key: String, message: String) -> Problem {
    let given = key.split('[').next().unwrap_or(&key);
    let at_array = places.problem(given, message);
    Problem { key, ..at_array }
}

fn positive(config: &Config) -> [(&'static str, Duration); 25] {
    [
        ("server.head_timeout", config.server.head_timeout),
        ("server.write_timeout", config.server.write_timeout),
        ("server.body_timeout", config.server.body_timeout),
        ("server.drain", config.server.drain),
        ("database.acquire_timeout", config.database.acquire_timeout),
        ("identity.jwks_max_age", config.identity.jwks_max_age),
        ("identity.jwks_min_refetch", config.identity.jwks_min_refetch),
        ("oauth.access_token", config.oauth.access_token),
        ("oauth.refresh_token", config.oauth.refresh_token),
        ("oauth.code", config.oauth.code),
        ("audit.deadline", config.audit.deadline),
        ("confirm.expires", config.confirm.expires),
        ("flow_rule.window", config.flow_rule.window),
        ("catalogue.poll", config.catalogue.poll),
        ("catalogue.max_age", config.catalogue.max_age),
        ("catalogue.refresh", config.catalogue.refresh),
        ("limits.connect", config.limits.connect),
        ("limits.first_byte", config.limits.first_byte),
        ("limits.idle", config.limits.idle),
        ("limits.stream_idle", config.limits.stream_idle),
        ("limits.total", config.limits.total),
        ("limits.session", config.limits.session),
        ("limits.wait", config.limits.wait),
        ("limits.wait_in_crowd", config.limits.wait_in_crowd),
        ("limits.breaker_pause", config.limits.breaker_pause),
    ]
}

/// What a bearer token cannot be, or what somebody typed.
fn is_weak(token: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
    let mut distinct: Vec<u8> = token.bytes().collect();
    distinct.sort_unstable();
    distinct.dedup();
    token.len() < 32 || distinct.len() < 10 || !token.bytes().all(legal)
}

fn assertion_issuer_problem(
    issuer: &AssertionIssuer,
    again: bool,
) -> Option<(&'static str, &'static str)> {
    if issuer.issuer.is_empty() {
        return Some(("issuer", "missing: the exact value of the iss claim"));
    }
    if issuer.email_claim.is_empty() {
        return Some(("email_claim", "expected the name of a claim"));
    }
    if again {
        return Some(("issuer", "this issuer is configured twice"));
    }
    if issuer.jwks_url.is_none() && url::Url::parse(&issuer.issuer).is_err() {
        return Some((
            "jwks_url",
            "missing: the issuer is no URL, so discovery cannot find its keys",
        ));
    }
    None
}

fn issuer_problem(issuer: &Issuer, again: bool) -> Option<(&'static str, &'static str)> {
    if issuer.issuer.is_empty() {
        return Some(("issuer", "missing: the exact value of the iss claim"));
    }
    if issuer.audience.is_empty() {
        return Some(("audience", "missing: the exact value of the aud claim"));
    }
    if issuer.email_claim.is_empty() {
        return Some(("email_claim", "expected the name of a claim"));
    }
    if again {
        return Some(("issuer", "this issuer is configured twice"));
    }
    if issuer.jwks_url.is_none() && url::Url::parse(&issuer.issuer).is_err() {
        return Some((
            "jwks_url",
            "missing: the issuer is no URL, so discovery cannot find its keys",
        ));
    }
    None
}

fn provider_problem(provider: &Provider, again: bool) -> Option<(&'static str, &'static str)> {
    if provider.name.trim().is_empty() {
        return Some(("name", "missing: what people see"));
    }
    let issuer = url::Url::parse(&provider.issuer).ok();
    if !issuer.is_some_and(|url| matches!(url.scheme(), "https" | "http") && url.host().is_some()) {
        return Some(("issuer", "expected the provider's URL, as in its discovery document"));
    }
    if provider.client_id.is_empty() {
        return Some(("client_id", "missing: as which the gateway is registered at the provider"));
    }
    if again {
        return Some(("name", "this name, or this issuer, is configured twice"));
    }
    if provider.email_claim.is_empty() || provider.groups_claim.is_empty() {
        return Some(("email_claim", "email_claim and groups_claim: expected the name of a claim"));
    }
    if provider.create_users && provider.allowed_domains.is_empty() {
        return Some((
            "allowed_domains",
            "missing: with create_users = true everybody whom the provider knows would come in",
        ));
    }
    None
}
