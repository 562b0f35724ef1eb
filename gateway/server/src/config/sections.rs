//! Every section with its keys, comments and defaults. The comments are those of `config/gateway.toml`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::SecretString;
use url::Url;

use super::section::section;
use super::setting::{Format, Share, Size, SmtpTls};

const SECOND: Duration = Duration::from_secs(1);

#[expect(clippy::expect_used, reason = "the texts are constants and a test reads them")]
fn addr(text: &str) -> SocketAddr {
    text.parse().expect("the default is an address")
}

#[expect(clippy::expect_used, reason = "the texts are constants and a test reads them")]
fn url(text: &str) -> Url {
    text.parse().expect("the default is a URL")
}

section! {
    /// Where the gateway listens and how it is reached.
    pub struct Server {
        /// MCP, REST, OAuth, console. Port 0 takes a free one.
        listen: SocketAddr = addr("127.0.0.1:8080");
        /// Health and metrics; keep it away from clients.
        admin_listen: SocketAddr = addr("127.0.0.1:9090");
        /// The gateway as clients see it; Host and Origin are checked against it. Port 0 is the listener's.
        public_url: Url = url("http://127.0.0.1:8080");
        /// Further names that clients may use, host or host:port, checked in Host and Origin.
        allowed_hosts: Vec<String> = Vec::new();
        /// The longest request body.
        max_body: Size = Size(4 << 20);
        /// The longest request head, all headers together.
        max_headers: Size = Size(32 << 10);
        /// The time that a client has to send its request's head.
        head_timeout: Duration = 15 * SECOND;
        /// How long a client may take nothing of an answer.
        write_timeout: Duration = 30 * SECOND;
        /// The time that a client has to send its request's body.
        body_timeout: Duration = 30 * SECOND;
        /// On SIGTERM: how long everything is served as before while /health/ready says no, so that load
        /// balancers turn away first; longer than they take to notice.
        notice: Duration = Duration::ZERO;
        /// After that: the time that running calls get to finish.
        drain: Duration = 20 * SECOND;
        /// TLS on `listen`: the certificate chain and its key, PEM. Both or neither.
        tls_cert_file: Option<PathBuf> = None, like "\"/etc/gateway/tls.crt\"";
        /// See tls_cert_file.
        tls_key_file: Option<PathBuf> = None, like "\"/etc/gateway/tls.key\"";
    }
}

section! {
    /// Where everything lives that must last. Paths are relative to the working directory.
    pub struct Database {
        /// A Postgres (14 or later). Absent: a private Postgres of the gateway's own in data_dir.
        url: Option<SecretString> = None, like "\"postgres://gateway@db.example.com/gateway\"";
        /// A file that holds the url.
        url_file: Option<PathBuf> = None, like "\"/run/secrets/database-url\"";
        /// The url for migrations, where their role differs from the one that serves.
        migrate_url: Option<SecretString> = None, like "\"postgres://owner@db.example.com/gateway\"";
        /// A file that holds the migrate_url.
        migrate_url_file: Option<PathBuf> = None, like "\"/run/secrets/database-migrate-url\"";
        /// The private Postgres, and the audit trail's spool.
        data_dir: PathBuf = "./data".into();
        /// Bring the schema up to date at start.
        migrate: bool = true;
        /// Connections that this replica opens at most.
        max_connections: u32 = 16;
        /// How long a request waits for a connection.
        acquire_timeout: Duration = 2 * SECOND;
    }
}

section! {
    /// Where upstream servers and issuers may live.
    pub struct Egress {
        /// Networks beyond public addresses. Metadata, link-local and our own listeners never.
        allow_cidrs: Vec<IpNet> = Vec::new(), like "[\"127.0.0.0/8\", \"10.0.0.0/8\"]";
    }
}

section! {
    /// The root key: 32 random bytes, from which every purpose derives its own.
    pub struct Keys {
        /// Make it with: head -c 32 /dev/urandom > root.key. Only the demo makes its own.
        root_file: PathBuf = "./data/root.key".into();
        /// What wraps the keys that seal people's tokens for upstream servers: 32 random bytes of its own.
        /// Absent: derived from the root key.
        vault_file: Option<PathBuf> = None, like "\"/run/secrets/gateway/vault.key\"";
        /// While that key is being changed: the one before, until `gateway vault rotate` has run. If the one
        /// before was derived from the root key, nothing is needed here.
        vault_file_previous: Option<PathBuf> = None, like "\"/run/secrets/gateway/vault.old.key\"";
    }
}

section! {
    /// Who is believed besides the gateway's own API keys.
    pub struct Identity {
        /// JWTs of other issuers: tables of issuer, audience, jwks_url (default: by discovery), email_claim
        /// (default: email, which email_verified must vouch for) and required_claims.
        issuers: Vec<Issuer> = Vec::new(), like "[{ issuer = \"https://idp.example.com\", audience = \"https://mcp.example.com\" }]";
        /// How long an issuer's keys are kept before they are read again.
        jwks_max_age: Duration = 600 * SECOND;
        /// A token with an unknown key id makes the keys be read again, but not more often than this.
        jwks_min_refetch: Duration = 30 * SECOND;
    }
}

section! {
    /// One issuer of JWTs.
    pub struct Issuer {
        /// The exact value of the `iss` claim.
        issuer: String = String::new();
        /// The exact value of the `aud` claim.
        audience: String = String::new();
        /// Where its keys are; default: by discovery.
        jwks_url: Option<Url> = None;
        /// The claim that holds the person's e-mail address.
        email_claim: String = "email".into();
        /// Claims that must be there besides iss, aud, exp and sub.
        required_claims: Vec<String> = Vec::new();
    }
}

section! {
    /// How people sign in, in a browser. Without a provider and with local = false nobody can.
    pub struct SignIn {
        /// Passwords and one-time links of the gateway's own: `gateway user password`, `gateway user link`. For
        /// demos and for machines without an identity provider.
        local: bool = false;
        /// OpenID Connect providers, [[sign_in.providers]]: name, issuer, client_id, client_secret or
        /// client_secret_file, scopes (default: email, profile), allowed_domains (default: all), email_claim
        /// (default: email, which email_verified must vouch for), groups_claim (default: groups), attributes
        /// (claims to keep), create_users (default: false; needs allowed_domains). Redirect URI to register:
        /// public_url and /sign-in/callback. Groups that a provider names are given and taken back with each
        /// sign-in, and made where they are missing; memberships from elsewhere stay as they are.
        providers: Vec<Provider> = Vec::new(), like "[{ name = \"Example\", issuer = \"https://idp.example.com\", client_id = \"gateway\", client_secret = \"...\" }]";
    }
}

section! {
    /// One provider with which people sign in.
    pub struct Provider {
        /// As people see it.
        name: String = String::new();
        /// Exactly as in the provider's discovery document.
        issuer: String = String::new();
        /// As which the gateway is registered there.
        client_id: String = String::new();
        /// The secret that goes with it; none for a public client.
        client_secret: Option<SecretString> = None;
        /// A file that holds the client_secret.
        client_secret_file: Option<PathBuf> = None;
        /// Asked for besides openid.
        scopes: Vec<String> = vec!["email".into(), "profile".into()];
        /// Domains of e-mail addresses that are let in; empty: all.
        allowed_domains: Vec<String> = Vec::new();
        /// The claim that holds the person's e-mail address.
        email_claim: String = "email".into();
        /// The claim that holds the names of the person's groups.
        groups_claim: String = "groups".into();
        /// Claims that are kept as the person's attributes.
        attributes: Vec<String> = Vec::new();
        /// Make a person of whoever is not known here.
        create_users: bool = false;
    }
}

section! {
    /// The authorization server: people sign in once in a browser, clients get tokens.
    pub struct Oauth {
        /// Off: tokens come from identity.issuers alone.
        enabled: bool = true;
        /// How long an access token works; at most 1h.
        access_token: Duration = 900 * SECOND;
        /// How long a client that is not used stays signed in.
        refresh_token: Duration = 30 * 86_400 * SECOND;
        /// How long a client has to redeem a code; at most 10m.
        code: Duration = 60 * SECOND;
        /// Clients without a metadata document of their own may register themselves.
        registration: bool = true;
        /// Registrations, and devices that ask, from one address in an hour; more are refused.
        registrations_per_hour: u32 = 600;
        /// A registered client that is not used for so long is forgotten; longer than refresh_token.
        unused_client: Duration = 90 * 86_400 * SECOND;
        /// Identity providers that vouch for people towards clients without a consent page (ID-JAG,
        /// enterprise-managed authorization): tables of issuer, jwks_url (default: by discovery) and
        /// email_claim (default: email).
        assertion_issuers: Vec<AssertionIssuer> = Vec::new(), like "[{ issuer = \"https://idp.example.com\" }]";
    }
}

section! {
    /// One issuer of identity assertions. Their audience is this gateway.
    pub struct AssertionIssuer {
        /// The exact value of the `iss` claim.
        issuer: String = String::new();
        /// Where its keys are; default: by discovery.
        jwks_url: Option<Url> = None;
        /// The claim that holds the person's e-mail address.
        email_claim: String = "email".into();
    }
}

section! {
    /// Provisioning of people and groups by SCIM 2.0 at /scim/v2. Without a token there is none.
    pub struct Scim {
        /// The bearer token of the provisioning system, at least 32 characters.
        token: Option<SecretString> = None, like "\"...\"";
        /// A file that holds the token.
        token_file: Option<PathBuf> = None, like "\"/run/secrets/scim-token\"";
    }
}

section! {
    /// The audit trail: no record, no call.
    pub struct Audit {
        /// How long a call waits for its record before it is refused.
        deadline: Duration = 2 * SECOND;
        /// Keep arguments and results.
        keep_payloads: bool = true;
        /// The longest argument or result that is kept whole.
        payload_limit: Size = Size(256 << 10);
        /// Records that may wait to be written.
        queue: u32 = 8192;
        /// While Postgres is away: write intents to disk and let calls pass. Needs a persistent volume.
        spool: bool = false;
        /// Where outcomes wait while Postgres is away; default: the folder spool in database.data_dir.
        spool_dir: Option<PathBuf> = None, like "\"/var/lib/gateway/spool\"";
    }
}

section! {
    /// Calls that a person must agree to.
    pub struct Confirm {
        /// How long a request for agreement, and an agreement, lasts.
        expires: Duration = 300 * SECOND;
    }
}

section! {
    /// Who is told of requests for access, of decisions on them, and of calls that wait for an approver.
    pub struct Notices {
        /// Gets each notice as a signed POST (Standard Webhooks). Absent: no webhook.
        webhook_url: Option<Url> = None, like "\"https://hooks.example.com/gateway\"";
        /// What they are signed with: whsec_ and base64, or any text, at least 24 bytes.
        webhook_secret: Option<SecretString> = None, like "\"whsec_...\"";
        /// A file that holds the webhook_secret.
        webhook_secret_file: Option<PathBuf> = None, like "\"/run/secrets/webhook\"";
        /// The mail server, at an address that egress lets through. Absent: no mail.
        smtp_host: Option<String> = None, like "\"mail.example.com\"";
        /// Its port.
        smtp_port: u32 = 587;
        /// starttls, tls from the first byte, or none, which takes no password.
        smtp_tls: SmtpTls = SmtpTls::StartTls;
        /// As whom to sign in there.
        smtp_user: Option<String> = None, like "\"gateway\"";
        /// The password that goes with it.
        smtp_password: Option<SecretString> = None, like "\"...\"";
        /// A file that holds the smtp_password.
        smtp_password_file: Option<PathBuf> = None, like "\"/run/secrets/smtp\"";
        /// The sender of mail; needed with smtp_host.
        mail_from: Option<String> = None, like "\"gateway@example.com\"";
    }
}

section! {
    /// Calls that would carry data out: whoever has read from a server labelled untrusted and from one labelled private
    /// must agree before a server labelled outward is called. Without labels nothing happens.
    pub struct FlowRule {
        /// Off: labels are for policies only.
        enabled: bool = true;
        /// How long what was read counts, on all replicas; at most 7d.
        window: Duration = 3600 * SECOND;
    }
}

section! {
    /// A scanner of the organisation's own, asked about what flows besides the built-in one where the scanner settings
    /// say so. README.md has the JSON.
    pub struct Scanner {
        /// Gets a POST for each message, at an address that egress lets through. Absent: there is none.
        url: Option<Url> = None, like "\"https://scanner.example.com/v1/scan\"";
        /// Sent as a bearer token.
        token: Option<SecretString> = None, like "\"...\"";
        /// A file that holds the token.
        token_file: Option<PathBuf> = None, like "\"/run/secrets/scanner\"";
        /// How long an answer may take, in milliseconds; 10 to 30000.
        deadline_ms: u32 = 500;
        /// Messages that are asked about at a time; for more it counts as not there.
        concurrency: u32 = 64;
    }
}

section! {
    /// The snapshot of servers, people and policies that decisions are made on.
    pub struct Catalogue {
        /// Changes arrive at once by NOTIFY; this is how often the gateway looks besides.
        poll: Duration = SECOND;
        /// A snapshot that could not be confirmed for so long is not trusted: calls are refused.
        max_age: Duration = 60 * SECOND;
        /// How often the tools of a server are read again.
        refresh: Duration = 60 * SECOND;
    }
}

section! {
    /// How servers are looked after, and what administrators may make of them.
    pub struct Servers {
        /// How often each server is asked whether it answers; one that fails less and less often, up to 10m. One
        /// replica does it for all. 0s: never.
        probe: Duration = 30 * SECOND;
        /// Another catalogue of well-known servers: {"servers": [...]} of the MCP registry's server.json.
        /// Absent: the one that is built in.
        catalog_file: Option<PathBuf> = None, like "\"/etc/gateway/catalog.json\"";
        /// Servers that administrators add may be sent environment variables whose names begin so; empty: none.
        /// Servers in the desired state may be sent any.
        secret_env_prefix: String = "UPSTREAM_".into();
        /// The same of files: those below this folder. Absent: none.
        secret_dir: Option<PathBuf> = None, like "\"/run/secrets/upstream\"";
    }
}

section! {
    /// Deadlines and bounds of the way to the upstream.
    pub struct Limits {
        /// To connect, TLS included.
        connect: Duration = 5 * SECOND;
        /// To the first byte of the answer.
        first_byte: Duration = 60 * SECOND;
        /// Between two pieces of a JSON answer.
        idle: Duration = 60 * SECOND;
        /// Between two events of a stream.
        stream_idle: Duration = 3600 * SECOND;
        /// For a whole call that is not a stream.
        total: Duration = 300 * SECOND;
        /// How long a session handle of the older protocol versions works.
        session: Duration = 86_400 * SECOND;
        /// The longest listing, and the longest single event, that an upstream may answer with.
        upstream_listing: Size = Size(16 << 20);
        /// Calls in flight on this replica; more are refused. Of these, and of the numbers below that several share,
        /// nobody has more than twice as many as are free: alone two thirds.
        in_flight: u32 = 4096;
        /// Calls that wait for one server; more are refused, so that a slow one hurts only itself.
        per_server: u32 = 1024;
        /// Failures in a row (no connection, no answer in time) after which a server is not called; 0: never.
        breaker_failures: u32 = 5;
        /// How long it is not called then, before one call is let through to see.
        breaker_pause: Duration = 5 * SECOND;
        /// Calls that are worked on at once, until they leave for their server; the rest waits for its turn.
        turns: u32 = 256;
        /// Calls that may wait for their turn.
        waiting: u32 = 2048;
        /// How long a call may wait for its turn; then it is refused.
        wait: Duration = SECOND / 2;
        /// How long, once the line has not been empty for as long as that.
        wait_in_crowd: Duration = SECOND / 40;
        /// Memory for request bodies, all together.
        body_memory: Size = Size(256 << 20);
        /// Memory for answers that are no streams, all together, until their clients have them; more wait.
        answer_memory: Size = Size(256 << 20);
        /// Client connections to this replica; more are closed at once.
        connections: u32 = 20_000;
    }
}

section! {
    /// Traces by OTLP over HTTP.
    pub struct Telemetry {
        /// The collector; absent: no export.
        otlp_endpoint: Option<Url> = None, like "\"http://127.0.0.1:4318\"";
        /// The Authorization header for it.
        otlp_authorization: Option<SecretString> = None, like "\"Bearer ...\"";
        /// A file that holds the otlp_authorization.
        otlp_authorization_file: Option<PathBuf> = None, like "\"/run/secrets/otlp\"";
        /// The name under which the gateway appears.
        service_name: String = "gateway".into();
        /// The share of traces that is exported, unless the client's traceparent decides.
        sample: Share = Share(1.0);
    }
}

section! {
    /// Log lines, on stderr. Never bodies, tokens or arguments.
    pub struct Log {
        /// human or json.
        format: Format = Format::Human;
        /// What is logged, as tracing's EnvFilter reads it. Of the libraries inside only warnings are: their
        /// lines would show what clients send.
        filter: String = "info".into();
    }
}
