//! The sides that are compared, and the upstream that all of them reach.

use std::convert::Infallible;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use bytes::Bytes;
use gateway_tests::gateway::{Gateway, Options};
use gateway_tests::postgres::{Database, Postgres};
use gateway_tests::process::{Tied, free_port};
use gateway_tests::serve::serve;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::load::Target;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    /// The upstream itself.
    Direct,
    /// nginx with keep-alive towards the upstream, no log.
    Nginx,
    /// The gateway, governance on, scanners off.
    Unread,
    /// The gateway, governance on, every scanner at work.
    Gateway,
}

impl Side {
    /// In the order of a round.
    pub(crate) const ALL: [Side; 4] = [Side::Direct, Side::Nginx, Side::Unread, Side::Gateway];

    /// In the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Side::Direct => "direct",
            Side::Nginx => "nginx plain proxy",
            Side::Unread => "gateway, scanners off",
            Side::Gateway => "gateway, scanners on",
        }
    }
}

/// Everything that runs; ends with the benchmark.
pub(crate) struct Sides {
    upstream: SocketAddr,
    nginx: Option<(SocketAddr, Tied)>,
    gateway: Gateway,
    key: String,
    database: Database,
    postgres: Postgres,
}

pub(crate) const TOOL: &str = "lookup";
/// The same, which takes 50 ms.
pub(crate) const SLOW: &str = "look_slowly";
/// The server whose traffic scanners read, and the one whose traffic they don't.
const READ: &str = "bench";
const UNREAD: &str = "unread";

impl Sides {
    /// Starts the upstream, nginx where it is installed, and the gateway.
    pub(crate) async fn start() -> anyhow::Result<Sides> {
        Sides::start_with("").await
    }

    /// The same, with this in the gateway's configuration.
    pub(crate) async fn start_with(config: &str) -> anyhow::Result<Sides> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let upstream = listener.local_addr()?;
        tokio::spawn(serve(listener, service_fn(answer)));
        let postgres = Postgres::start();
        let database = postgres.database().await;
        let mut options = Options::new(&database.url);
        options.config = format!("log.filter = \"warn\"\n{config}");
        options.state = Some(state(upstream));
        let gateway = Gateway::start(options).await;
        let key = gateway.key("caller@example.com");
        let nginx = nginx(upstream).await?;
        Ok(Sides { upstream, nginx, gateway, key, database, postgres })
    }

    /// Where a side's calls go; `None` where it is not installed.
    pub(crate) fn target(&self, side: Side) -> Option<Target> {
        let base = |address: SocketAddr| Target {
            address,
            path: "/mcp".into(),
            headers: headers(&address.to_string()),
            body: Bytes::from(call().to_string()),
            processes: vec![],
            database: vec![],
        };
        Some(match side {
            Side::Direct => base(self.upstream),
            Side::Nginx => {
                let (address, process) = self.nginx.as_ref()?;
                Target { processes: vec![process.id()], ..base(*address) }
            }
            Side::Unread | Side::Gateway => {
                let authority = self.gateway.base.trim_start_matches("http://");
                let mut target = base(authority.parse().ok()?);
                let key = HeaderValue::from_str(&self.key).ok()?;
                target.headers.insert(HeaderName::from_static("x-runlayer-api-key"), key);
                let server = if side == Side::Unread { UNREAD } else { READ };
                target.path = format!("/api/v1/proxy/{server}/mcp");
                target.processes = self.gateway.process_id().into_iter().collect();
                target.database = self.postgres.process_id().into_iter().collect();
                target
            }
        })
    }

    /// How many intents the trail holds.
    pub(crate) async fn records(&self) -> i64 {
        self.database.count("SELECT count(*) FROM audit_intent").await
    }
}

/// What people write and programs answer: words, dates, versions, ids, an address.
const PROSE: &str = "The deployment of service-42 (v2.14.3) finished on 2026-03-14T09:26:53Z; 3 of 3 pods are ready. \
    Build 7f3a9c21 took 412 s. See https://ci.example.com/builds/84213 for its log, or docs/runbook.md, section 4. ";

/// A modern tool call of 673 bytes or so, as real ones are.
fn call() -> Value {
    let query: String = PROSE.chars().take(200).collect();
    json!({
        "jsonrpc": "2.0", "id": 7, "method": "tools/call",
        "params": {
            "name": TOOL,
            "arguments": { "query": query, "limit": 20, "fields": ["id", "title", "state"] },
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
                "io.modelcontextprotocol/clientInfo": { "name": "bench", "version": "1" },
            },
        },
    })
}

fn headers(host: &str) -> HeaderMap {
    let pairs = [
        ("host", host),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", TOOL),
    ];
    let pair = |(name, value): (&'static str, &str)| {
        Some((HeaderName::from_static(name), HeaderValue::from_str(value).ok()?))
    };
    pairs.into_iter().filter_map(pair).collect()
}

/// The upstream: discovery, one tool, and its result of 1 KB.
async fn answer(
    request: Request<Incoming>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, hyper::Error> {
    let body = request.into_body().collect().await?.to_bytes();
    let message: Value = serde_json::from_slice(&body).unwrap_or_default();
    let result = match message["method"].as_str() {
        Some("server/discover") => json!({
            "resultType": "complete", "supportedVersions": ["2026-07-28"],
            "capabilities": { "tools": {} }, "serverInfo": { "name": "bench", "version": "1" },
            "ttlMs": 60_000, "cacheScope": "public",
        }),
        Some("tools/list") => json!({
            "resultType": "complete", "ttlMs": 60_000, "cacheScope": "public",
            "tools": [TOOL, SLOW].map(|name| {
                json!({ "name": name, "description": "Looks something up", "inputSchema": { "type": "object" } })
            }),
        }),
        _ if message["params"]["name"] == SLOW => {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            result()
        }
        _ => result(),
    };
    let text = json!({ "jsonrpc": "2.0", "id": message["id"], "result": result }).to_string();
    let mut response = Response::new(Full::from(text).boxed());
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, json);
    Ok(response)
}

fn result() -> Value {
    json!({
            "resultType": "complete",
            "content": [{ "type": "text", "text": PROSE.chars().cycle().take(1_000).collect::<String>() }],
            "isError": false,
    })
}

/// Two servers at one upstream, with a hundred policies each: allows on globs, denies on arguments, confirm rules on a destructive hint.
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
    for server in [READ, UNREAD] {
        text.push_str(&governed(server, upstream));
    }
    text
}

/// One server and a hundred policies for it.
fn governed(server: &str, upstream: SocketAddr) -> String {
    let class = "secrets personal_data hidden_characters injection dangerous_actions";
    let off: Vec<_> = class.split(' ').map(|class| format!("{class} = \"off\"")).collect();
    let off = format!("{{ {} }}", off.join(", "));
    let scanners = match server {
        UNREAD => format!(
            "scanners = {{ modes = {{ tool_list = {off}, tool_intent = {off}, tool_call = {off} }} }}"
        ),
        _ => String::new(),
    };
    let mut text = format!(
        r#"
        [[servers]]
        slug = "{server}"
        title = "Bench"
        url = "http://{upstream}/mcp"
        auth = {{ mode = "none" }}
        status = "active"
        {scanners}
        [[policies]]
        name = "staff look up at {server}"
        effect = "allow"
        principals = ["group:staff"]
        server = "{server}"
        tools = ["look*"]
        "#
    );
    for n in 0..99 {
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

async fn nginx(upstream: SocketAddr) -> anyhow::Result<Option<(SocketAddr, Tied)>> {
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
        daemon off; worker_processes 2; pid {dir}/nginx.pid; error_log stderr warn;
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
        dir = dir.display()
    );
    let file = dir.join("nginx.conf");
    fs::write(&file, config)?;
    let mut command = Command::new("nginx");
    command.arg("-p").arg(&dir).arg("-c").arg(&file);
    let process = Tied::start(command, &dir.join("log"), "TERM", Some(&dir)).context("nginx")?;
    for _ in 0..100 {
        if tokio::net::TcpStream::connect(address).await.is_ok() {
            return Ok(Some((address, process)));
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    anyhow::bail!("nginx did not start: {}", fs::read_to_string(dir.join("log"))?)
}
