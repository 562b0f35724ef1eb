//! The sides that are compared, and the upstream that all of them reach.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{LazyLock, Mutex, PoisonError};

use anyhow::Context;
use bytes::Bytes;
use futures_util::{StreamExt, future, stream};
use gateway_tests::gateway::{Gateway, Options};
use gateway_tests::idp::{Algorithm, IdentityProvider};
use gateway_tests::postgres::{Database, Postgres};
use gateway_tests::process::{Tied, free_port};
use gateway_tests::serve::serve;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::load::Target;

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    /// The upstream itself.
    Direct,
    /// nginx with keep-alive towards the upstream, no log.
    Nginx,
    /// The gateway, governance on, scanners off.
    Unread,
    /// The gateway, governance on, every scanner at work.
    Read,
    /// The same, with a JWT of an identity provider instead of an API key.
    Token,
    /// The gateway with one policy that allows everything.
    Open,
    /// The gateway with a thousand policies, of whose tools the caller sees half.
    Governed,
}

impl Side {
    /// In the order of a round.
    pub(crate) const CALLS: [Side; 5] =
        [Side::Direct, Side::Nginx, Side::Unread, Side::Read, Side::Token];
    pub(crate) const LISTS: [Side; 4] = [Side::Direct, Side::Nginx, Side::Open, Side::Governed];
    pub(crate) const SIZES: [Side; 3] = [Side::Direct, Side::Nginx, Side::Unread];

    /// In the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Side::Direct => "direct",
            Side::Nginx => "nginx plain proxy",
            Side::Unread => "gateway, scanners off",
            Side::Read => "gateway, scanners on",
            Side::Token => "gateway, scanners on, JWT",
            Side::Open => "gateway, one policy",
            Side::Governed => "gateway, 1,000 policies",
        }
    }

    /// The server by which the gateway knows what is measured.
    fn server(self) -> &'static str {
        match self {
            Side::Direct | Side::Nginx | Side::Read | Side::Token => READ,
            Side::Unread => UNREAD,
            Side::Open => OPEN,
            Side::Governed => GOVERNED,
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// A tool call whose answer has so many kilobytes.
    Call {
        /// Of text.
        kilobytes: usize,
    },
    /// A listing of 200 tools.
    List,
    /// A stream on which nothing is told.
    Listen,
}

impl What {
    /// In the table.
    pub(crate) fn name(self) -> String {
        match self {
            What::Call { kilobytes } => format!("{kilobytes} KB"),
            What::List => "200 tools".into(),
            What::Listen => "a stream".into(),
        }
    }

    /// The upstream's path.
    fn path(self) -> &'static str {
        match self {
            What::Call { .. } | What::Listen => "/mcp",
            What::List => "/many/mcp",
        }
    }

    fn least(self) -> usize {
        match self {
            What::Call { kilobytes } => kilobytes * 1_000,
            // Half of them may stay unseen.
            What::List => 40_000,
            What::Listen => 0,
        }
    }

    fn method(self) -> &'static str {
        match self {
            What::Call { .. } => "tools/call",
            What::List => "tools/list",
            What::Listen => "subscriptions/listen",
        }
    }
}

/// Everything that runs; ends with the benchmark.
pub(crate) struct Sides {
    upstream: SocketAddr,
    nginx: Option<(SocketAddr, Tied)>,
    gateway: Gateway,
    key: String,
    provider: IdentityProvider,
    database: Database,
    postgres: Postgres,
}

pub(crate) const TOOL: &str = "lookup";
/// The same, which takes 50 ms.
pub(crate) const SLOW: &str = "look_slowly";
/// The server whose traffic scanners read, and the one whose traffic they don't.
const READ: &str = "bench";
const UNREAD: &str = "unread";
/// Servers with many tools: one policy for all, and a thousand.
const OPEN: &str = "open";
const GOVERNED: &str = "governed";

const CALLER: &str = "caller@example.com";
const AUDIENCE: &str = "https://mcp.example.com";

impl Sides {
    /// Starts the upstream, nginx where it is installed, and the gateway. `launcher`: words before a proxy's command
    /// line, as those of `taskset`.
    pub(crate) async fn start(launcher: &[&str]) -> anyhow::Result<Sides> {
        Sides::start_with("", launcher).await
    }

    /// The same, with this in the gateway's configuration.
    pub(crate) async fn start_with(config: &str, launcher: &[&str]) -> anyhow::Result<Sides> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let upstream = listener.local_addr()?;
        tokio::spawn(serve(listener, service_fn(answer)));
        let postgres = Postgres::start();
        let database = postgres.database().await;
        let mut options = Options::new(&database.url);
        let provider = IdentityProvider::start().await;
        options.config = format!(
            "log.filter = \"warn\"\n{config}\n[[identity.issuers]]\nissuer = \"{}\"\naudience = \"{AUDIENCE}\"\n",
            provider.issuer()
        );
        options.state = Some(state(upstream));
        options.launcher = launcher.iter().map(|word| (*word).into()).collect();
        let gateway = Gateway::start(options).await;
        let key = gateway.key(CALLER);
        let nginx = nginx(upstream, launcher).await?;
        Ok(Sides { upstream, nginx, gateway, key, provider, database, postgres })
    }

    /// Where a side's calls go; `None` where it is not installed.
    pub(crate) fn target(&self, side: Side, what: What) -> Option<Target> {
        let base = |address: SocketAddr| Target {
            address,
            path: what.path().into(),
            least: what.least(),
            headers: headers(&address.to_string(), what),
            body: Bytes::from(message(what).to_string()),
            processes: vec![],
            database: vec![],
        };
        match side {
            Side::Direct => Some(base(self.upstream)),
            Side::Nginx => {
                let (address, process) = self.nginx.as_ref()?;
                Some(Target { processes: vec![process.id()], ..base(*address) })
            }
            Side::Unread | Side::Read | Side::Token | Side::Open | Side::Governed => {
                let authority = self.gateway.base.trim_start_matches("http://");
                let mut target = base(authority.parse().ok()?);
                let (name, value) = self.credential(side);
                target.headers.insert(HeaderName::from_static(name), value.parse().ok()?);
                target.path = format!("/api/v1/proxy/{}/mcp", side.server());
                target.processes = self.gateway.process_id().into_iter().collect();
                target.database = self.postgres.process_id().into_iter().collect();
                Some(target)
            }
        }
    }

    fn credential(&self, side: Side) -> (&'static str, String) {
        match side {
            Side::Token => {
                let token = self.provider.token(Algorithm::Es256, CALLER, AUDIENCE);
                ("authorization", format!("Bearer {token}"))
            }
            Side::Direct
            | Side::Nginx
            | Side::Unread
            | Side::Read
            | Side::Open
            | Side::Governed => ("x-runlayer-api-key", self.key.clone()),
        }
    }

    /// How many intents the trail holds.
    pub(crate) async fn records(&self) -> i64 {
        self.database.count("SELECT count(*) FROM audit_intent").await
    }
}

/// What people write and programs answer: words, dates, versions, ids, an address.
const PROSE: &str = "The deployment of service-42 (v2.14.3) finished on 2026-03-14T09:26:53Z; 3 of 3 pods are ready. \
    Build 7f3a9c21 took 412 s. See https://ci.example.com/builds/84213 for its log, or docs/runbook.md, section 4. ";

/// So many characters of it.
pub(crate) fn prose(length: usize) -> String {
    PROSE.chars().cycle().take(length).collect()
}

/// A modern request; of a tool call 673 bytes or so, as real ones are.
fn message(what: What) -> Value {
    let mut params = json!({
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": { "name": "bench", "version": "1" },
        },
    });
    if let What::Call { kilobytes } = what {
        params["name"] = json!(TOOL);
        params["arguments"] = json!({ "query": prose(200), "limit": 20, "kilobytes": kilobytes, "fields": ["id", "title"] });
    }
    if what == What::Listen {
        params["notifications"] = json!({ "toolsListChanged": true });
    }
    json!({ "jsonrpc": "2.0", "id": 7, "method": what.method(), "params": params })
}

fn headers(host: &str, what: What) -> HeaderMap {
    let named = [("mcp-name", TOOL)];
    let named = if matches!(what, What::Call { .. }) { &named[..] } else { &named[1..] };
    let pairs = [
        ("host", host),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", what.method()),
    ];
    let pairs = pairs.into_iter().chain(named.iter().copied());
    let pair = |(name, value): (&'static str, &str)| {
        Some((HeaderName::from_static(name), HeaderValue::from_str(value).ok()?))
    };
    pairs.filter_map(pair).collect()
}

/// The upstream: discovery, one tool or two hundred, and results of as many kilobytes as are asked for.
async fn answer(
    request: Request<Incoming>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, hyper::Error> {
    let many = request.uri().path().starts_with("/many");
    let body = request.into_body().collect().await?.to_bytes();
    let message: Value = serde_json::from_slice(&body).unwrap_or_default();
    let text = match message["method"].as_str() {
        Some("subscriptions/listen") => return Ok(silence()),
        Some("server/discover") => answered(
            &message,
            &json!({
                "resultType": "complete", "supportedVersions": ["2026-07-28"],
                "capabilities": { "tools": {} }, "serverInfo": { "name": "bench", "version": "1" },
                "ttlMs": 60_000, "cacheScope": "public",
            }),
        ),
        Some("tools/list") if many => listing(),
        Some("tools/list") => {
            answered(&message, &tools([TOOL, SLOW].map(str::to_owned).into_iter()))
        }
        _ if message["params"]["name"] == SLOW => {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            result(1)
        }
        _ => result(message["params"]["arguments"]["kilobytes"].as_u64().unwrap_or(1)),
    };
    let mut response = Response::new(Full::from(text).boxed());
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, json);
    Ok(response)
}

/// A stream that begins and tells nothing more.
fn silence() -> Response<BoxBody<Bytes, Infallible>> {
    let first = json!({
        "jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged",
        "params": { "_meta": { "io.modelcontextprotocol/subscriptionId": 7 }, "notifications": { "toolsListChanged": true } },
    });
    let first = Ok(Frame::data(Bytes::from(format!("data: {first}\n\n"))));
    let events = stream::once(future::ready(first)).chain(stream::pending());
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(events)));
    let kind = HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
}

fn answered(message: &Value, result: &Value) -> Bytes {
    json!({ "jsonrpc": "2.0", "id": message["id"], "result": result }).to_string().into()
}

/// Made once: what the upstream costs should not be what is measured.
fn listing() -> Bytes {
    static MADE: LazyLock<Bytes> = LazyLock::new(|| {
        let names = (0..200).map(|n| format!("{}_{n}", if n % 2 == 0 { "look" } else { "drop" }));
        answered(&json!({ "id": 7 }), &tools(names))
    });
    MADE.clone()
}

fn tools(names: impl Iterator<Item = String>) -> Value {
    let one = |name: String| {
        json!({
            "name": name, "description": PROSE,
            "inputSchema": { "type": "object", "properties": {
                "query": { "type": "string", "description": "What to look for" },
                "limit": { "type": "integer", "minimum": 1, "maximum": 100 },
                "kilobytes": { "type": "integer" },
            } },
        })
    };
    let tools: Vec<Value> = names.map(one).collect();
    json!({ "resultType": "complete", "ttlMs": 60_000, "cacheScope": "public", "tools": tools })
}

fn result(kilobytes: u64) -> Bytes {
    static MADE: LazyLock<Mutex<HashMap<u64, Bytes>>> = LazyLock::new(Mutex::default);
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let make = || {
        let text = prose(1_000 * kilobytes as usize);
        let content = json!([{ "type": "text", "text": text }]);
        let result = json!({ "resultType": "complete", "content": content, "isError": false });
        answered(&json!({ "id": 7 }), &result)
    };
    made.entry(kilobytes).or_insert_with(make).clone()
}

/// Servers at one upstream, two with a hundred policies, one with a thousand, one with one: allows on globs, denies on
/// arguments, confirm rules on a destructive hint.
fn state(upstream: SocketAddr) -> String {
    let mut text = String::from(
        r#"
        [[groups]]
        name = "staff"
        [[users]]
        email = "caller@example.com"
        name = "Caller"
        roles = ["user"]
        groups = ["staff"]
        "#,
    );
    for (server, policies) in [(READ, 100), (UNREAD, 100), (OPEN, 1), (GOVERNED, 1_000)] {
        text.push_str(&governed(server, policies, upstream));
    }
    text
}

/// One server and so many policies for it.
fn governed(server: &str, policies: usize, upstream: SocketAddr) -> String {
    let class = "secrets personal_data hidden_characters injection dangerous_actions";
    let off: Vec<_> = class.split(' ').map(|class| format!("{class} = \"off\"")).collect();
    let off = format!("{{ {} }}", off.join(", "));
    let scanners = match server {
        UNREAD => format!(
            "scanners = {{ modes = {{ tool_list = {off}, tool_intent = {off}, tool_call = {off} }} }}"
        ),
        _ => String::new(),
    };
    let path = if [OPEN, GOVERNED].contains(&server) { What::List.path() } else { "/mcp" };
    let tools = if server == OPEN { "*" } else { "look*" };
    let mut text = format!(
        r#"
        [[servers]]
        slug = "{server}"
        title = "Bench"
        url = "http://{upstream}{path}"
        auth = {{ mode = "none" }}
        status = "active"
        {scanners}
        [[policies]]
        name = "staff look up at {server}"
        effect = "allow"
        principals = ["group:staff"]
        server = "{server}"
        tools = ["{tools}"]
        "#
    );
    for n in 1..policies {
        let rule = match n % 3 {
            0 => format!("effect = \"allow\"\ntools = [\"read_{n}_*\"]"),
            1 => format!(
                "effect = \"deny\"\ntools = [\"look*\"]\nwhen = [{{ arg = \"limit\", op = \"gt\", value = {} }}]",
                1_000 + n
            ),
            _ => "effect = \"confirm\"\nmessage = \"sure?\"\nwhen = [{ annotation = \"destructiveHint\", is = true }]".into(),
        };
        text.push_str(&format!(
            "\n[[policies]]\nname = \"rule {n} at {server}\"\nprincipals = [\"group:staff\"]\nserver = \"{server}\"\n{rule}\n"
        ));
    }
    text
}

async fn nginx(
    upstream: SocketAddr,
    launcher: &[&str],
) -> anyhow::Result<Option<(SocketAddr, Tied)>> {
    if Command::new("nginx").arg("-v").output().is_err() {
        writeln!(
            std::io::stderr(),
            "nginx is not installed (Debian: nginx); its rows are left out"
        )?;
        return Ok(None);
    }
    let dir: PathBuf = std::env::temp_dir().join(format!("gateway-bench-{}", std::process::id()));
    fs::create_dir_all(&dir)?;
    let address: SocketAddr = format!("127.0.0.1:{}", free_port()).parse()?;
    let config = format!(
        r"
        daemon off; worker_processes {workers}; pid {dir}/nginx.pid; error_log stderr warn;
        events {{ worker_connections 4096; }}
        http {{
            access_log off; client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy;
            fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
            keepalive_requests 1000000;
            upstream bench {{ server {upstream}; keepalive 512; keepalive_requests 1000000; }}
            server {{
                listen {address};
                location / {{
                    proxy_pass http://bench; proxy_http_version 1.1; proxy_set_header Connection '';
                }}
            }}
        }}
        ",
        dir = dir.display(),
        workers = if launcher.is_empty() { 2 } else { 1 },
    );
    let file = dir.join("nginx.conf");
    fs::write(&file, config)?;
    let mut words = launcher.iter().copied().chain(["nginx"]);
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).arg("-p").arg(&dir).arg("-c").arg(&file);
    let process = Tied::start(command, &dir.join("log"), "TERM", Some(&dir)).context("nginx")?;
    for _ in 0..100 {
        if tokio::net::TcpStream::connect(address).await.is_ok() {
            return Ok(Some((address, process)));
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    anyhow::bail!("nginx did not start: {}", fs::read_to_string(dir.join("log"))?)
}
