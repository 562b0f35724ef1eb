//! Probes and listings against servers of both eras, and key sets.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use gateway_core::caller::{AuthMethod, Caller, PrincipalKind, User};
use gateway_core::ids::UserId;
use gateway_core::mcp::Listing;
use gateway_core::reason::Reason;
use gateway_core::server::Eras;
use gateway_governance::{Fetch, Upstreams};
use http::{Method, StatusCode};
use url::Url;
use uuid::Uuid;

use super::fixture::{Script, Upstream, leg, leg_with, none, ok, server, settings};
use crate::exchange::{self, Exchange, Reply};
use crate::proxy::plumbing::{Handler, Limits, Listen, Plumbing, Unread};
use crate::upstream::LegSettings;

/// How a fake server behaves.
#[derive(Clone, Copy, Default)]
struct Fake {
    legacy: bool,
    modern: bool,
    /// Answers as an event stream, behind a notification and a request of its own.
    streams: bool,
    /// The next page's cursor is always the same.
    endless: bool,
    /// Bytes of padding in each tool.
    padding: usize,
    /// Refuses everything with this status.
    status: Option<u16>,
}

struct Running {
    fake: Fake,
    seen: Arc<Mutex<Vec<String>>>,
}

fn start(fake: Fake) -> (Plumbing, String, Arc<Mutex<Vec<String>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let running = Running { fake, seen: seen.clone() };
    let listen = Listen { address: ([127, 0, 0, 1], 0).into(), tls: None };
    let plumbing = Plumbing::start(&listen, Limits::default(), Arc::new(running)).unwrap();
    let url = format!("http://{}/mcp", plumbing.address());
    (plumbing, url, seen)
}

#[async_trait]
impl Handler for Running {
    async fn handle(&self, exchange: Exchange) -> Reply {
        let body = serde_json::from_slice(&exchange.body).unwrap_or(serde_json::Value::Null);
        let method = body["method"].as_str().unwrap_or_default().to_owned();
        let session = exchange.header("mcp-session-id").unwrap_or("-");
        let version = exchange.header("mcp-protocol-version").unwrap_or("-");
        let header = exchange.header("mcp-method").unwrap_or("-");
        let seen = format!("{} {method} {session} {version} {header}", exchange.method);
        self.seen.lock().unwrap().push(seen);
        if let Some(status) = self.fake.status {
            return exchange::empty(StatusCode::from_u16(status).unwrap());
        }
        if exchange.method == Method::DELETE {
            return exchange::empty(StatusCode::OK);
        }
        self.answer(&body, &method, session)
    }

    fn refuse(&self, _unread: Unread) -> Reply {
        exchange::empty(StatusCode::BAD_REQUEST)
    }
}

impl Running {
    fn answer(&self, body: &serde_json::Value, method: &str, session: &str) -> Reply {
        let modern = !body["params"]["_meta"].is_null();
        let spoken = if modern { self.fake.modern } else { self.fake.legacy };
        if !spoken || (!modern && method != "initialize" && session != "s1") {
            return exchange::json(StatusCode::BAD_REQUEST, "no such era");
        }
        let result = match method {
            "server/discover" => r#"{"supportedVersions":["2025-11-25","2026-07-28"]}"#.to_owned(),
            "initialize" => r#"{"protocolVersion":"2025-06-18","capabilities":{}}"#.to_owned(),
            "notifications/initialized" => return exchange::empty(StatusCode::ACCEPTED),
            "tools/list" => self.tools(body["params"]["cursor"].as_str()),
            _ => {
                let error = r#"{"code":-32601,"message":"Method not found"}"#;
                return self
                    .wrap(&format!(r#"{{"jsonrpc":"2.0","id":{},"error":{error}}}"#, body["id"]));
            }
        };
        self.wrap(&format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, body["id"]))
    }

    fn tools(&self, cursor: Option<&str>) -> String {
        let padding = "x".repeat(self.fake.padding);
        match cursor {
            None => format!(
                r#"{{"tools":[{{"name":"one", "odd" : 1.0e2,"pad":"{padding}"}}],"nextCursor":"p\u0032"}}"#
            ),
            Some("p2") if self.fake.endless => r#"{"tools":[],"nextCursor":"p\u0032"}"#.to_owned(),
            Some("p2") => r#"{"tools":[{"name":"two","x":"é\/"}]}"#.to_owned(),
            Some(other) => panic!("cursor {other}"),
        }
    }

    fn wrap(&self, message: &str) -> Reply {
        let mut reply = if self.fake.streams {
            let text = format!(
                ": hello\n\ndata: {{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\"}}\n\n\
                 data: {{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"roots/list\"}}\n\ndata: {message}\n\n"
            );
            let mut reply = http::Response::new(exchange::full(text));
            reply.headers_mut().insert("content-type", "text/event-stream".parse().unwrap());
            reply
        } else {
            exchange::json(StatusCode::OK, message.to_owned())
        };
        reply.headers_mut().insert("mcp-session-id", "s1".parse().unwrap());
        reply
    }
}

const TOOLS: [&str; 2] =
    [r#"{"name":"one", "odd" : 1.0e2,"pad":""}"#, r#"{"name":"two","x":"é\/"}"#];

#[tokio::test]
async fn eras_and_tools_are_found_out() {
    for streams in [false, true] {
        for (legacy, modern) in [(true, false), (false, true), (true, true)] {
            let fake = Fake { legacy, modern, streams, ..Fake::default() };
            let (_running, url, seen) = start(fake);
            let probed = leg().probe(&server(url), &none()).await.unwrap();
            assert_eq!(probed.eras, Eras { legacy, modern });
            assert_eq!(probed.tools, TOOLS, "byte for byte");
            let seen = seen.lock().unwrap();
            let ended =
                seen.iter().filter(|line| line.starts_with("DELETE  s1 2025-06-18")).count();
            assert_eq!(ended, usize::from(legacy), "{seen:?}");
        }
    }
}

#[tokio::test]
async fn each_era_is_spoken_properly() {
    let (_running, url, seen) = start(Fake { legacy: true, ..Fake::default() });
    leg().probe(&server(url), &none()).await.unwrap();
    assert_eq!(
        *seen.lock().unwrap(),
        [
            "POST server/discover - 2026-07-28 server/discover",
            "POST initialize - 2025-11-25 -",
            "POST notifications/initialized s1 2025-06-18 -",
            "POST tools/list s1 2025-06-18 -",
            "POST tools/list s1 2025-06-18 -",
            "DELETE  s1 2025-06-18 -"
        ]
    );
    let (_running, url, seen) = start(Fake { modern: true, ..Fake::default() });
    let mut known = server(url);
    known.eras = Some(Eras { legacy: false, modern: true });
    let tools = leg().list(&known, Listing::Tools, &caller(), &none()).await.unwrap();
    assert_eq!(tools, TOOLS);
    let line = "POST tools/list - 2026-07-28 tools/list";
    assert_eq!(*seen.lock().unwrap(), [line, line]);
}

fn caller() -> Caller {
    let user = User {
        kind: PrincipalKind::Person,
        id: UserId(Uuid::nil()),
        email: "alice@example.com".into(),
        name: String::new(),
        roles: Vec::new(),
        groups: Vec::new(),
        attributes: Default::default(),
        active: true,
    };
    Caller::new(Arc::new(user), AuthMethod::ApiKey, "key")
}

#[tokio::test]
async fn a_listing_that_the_server_does_not_have_is_empty() {
    for fake in [Fake { legacy: true, ..Fake::default() }, Fake { modern: true, ..Fake::default() }]
    {
        let (_running, url, _) = start(fake);
        let prompts = leg().list(&server(url), Listing::Prompts, &caller(), &none()).await;
        assert!(prompts.unwrap().is_empty());
    }
}

#[tokio::test]
async fn servers_that_misbehave_are_named() {
    let small = || LegSettings { listing_body: 100_000, ..settings() };
    for (fake, expected) in [
        (Fake::default(), "status 400"),
        (Fake { status: Some(401), ..Fake::default() }, "status 401"),
        (Fake { status: Some(500), ..Fake::default() }, "status 500"),
        (Fake { status: Some(302), ..Fake::default() }, "status 302"),
        (Fake { modern: true, endless: true, ..Fake::default() }, "never ends"),
        (Fake { modern: true, padding: 200_000, ..Fake::default() }, "more than 100000 bytes"),
        (Fake { legacy: true, streams: true, padding: 200_000, ..Fake::default() }, "100000 bytes"),
    ] {
        let (_running, url, _) = start(fake);
        let gateway_governance::Unread { reason, detail, refused } =
            leg_with(small()).probe(&server(url), &none()).await.unwrap_err();
        assert_eq!(reason, Reason::UpstreamInvalid, "{detail}");
        assert_eq!(refused.is_some(), expected == "status 401", "a refusal is told as one");
        assert!(detail.contains(expected), "{detail:?} should say {expected:?}");
    }
    for answer in ["<html>", "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{},\"result\":{}}", "{}"] {
        let text = ok(answer).replace("\r\n\r\n", "\r\nContent-Type: application/json\r\n\r\n");
        let upstream = Upstream::start(Script::Answer(text)).await;
        let probed = leg().probe(&server(upstream.url()), &none()).await;
        assert_eq!(probed.map(|_| ()).unwrap_err().reason, Reason::UpstreamInvalid, "{answer}");
    }
}

#[tokio::test]
async fn a_server_that_stalls_or_is_dead_is_given_up() {
    let short = LegSettings { listing_within: Duration::from_millis(300), ..settings() };
    let silent = Upstream::start(Script::SayAndWait(String::new())).await;
    let probed = leg_with(short).probe(&server(silent.url()), &none()).await;
    assert_eq!(probed.map(|_| ()).unwrap_err().reason, Reason::UpstreamTimeout);

    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let probed = leg().probe(&server(format!("http://{closed}/")), &none()).await;
    assert_eq!(probed.map(|_| ()).unwrap_err().reason, Reason::UpstreamUnreachable);
}

#[tokio::test]
async fn documents_are_fetched_whole_or_not_at_all() {
    let fetch = async |script, limit| {
        let upstream = Upstream::start(script).await;
        leg().get(&Url::parse(&upstream.url()).unwrap(), limit).await
    };
    assert_eq!(fetch(Script::Answer(ok("{\"keys\":[]}")), 100).await.unwrap(), "{\"keys\":[]}");
    assert!(fetch(Script::Answer(ok("{\"keys\":[]}")), 5).await.unwrap_err().contains("limit 5"));
    let moved = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n";
    assert!(fetch(Script::Answer(moved.into()), 100).await.unwrap_err().contains("status 302"));
    let cut = ok("{\"keys\":[]}").replace("11", "12");
    assert!(fetch(Script::Once(cut), 100).await.is_err());
}

#[tokio::test]
async fn a_ping_asks_one_question_of_the_era_that_is_known() {
    let (_running, url, seen) = start(Fake { legacy: true, modern: true, ..Fake::default() });
    let ping = async |eras: Option<Eras>| {
        let server = gateway_core::server::Server { eras, ..server(url.clone()) };
        leg().ping(&server, &none()).await.map_err(|unread| unread.reason)
    };
    let methods = || {
        let all = std::mem::take(&mut *seen.lock().unwrap());
        all.iter()
            .map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" "))
            .collect::<Vec<_>>()
    };
    assert_eq!(ping(Some(Eras { legacy: true, modern: true })).await, Ok(()));
    assert_eq!(methods(), ["POST server/discover"]);
    assert_eq!(ping(None).await, Ok(()));
    assert_eq!(methods(), ["POST server/discover"]);
    assert_eq!(ping(Some(Eras { legacy: true, modern: false })).await, Ok(()));
    let asked = methods();
    assert_eq!(asked[..2], ["POST initialize", "POST notifications/initialized"], "{asked:?}");
    assert!(!asked.iter().any(|asked| asked.contains("tools/list")), "{asked:?}");

    let (_refusing, url, _) = start(Fake { status: Some(401), ..Fake::default() });
    let unread = leg().ping(&server(url), &none()).await.unwrap_err();
    assert_eq!(unread.refused.map(|refused| refused.0), Some(StatusCode::UNAUTHORIZED));
    let unread = leg().ping(&server("http://127.0.0.1:1/mcp"), &none()).await.unwrap_err();
    assert_eq!(unread.reason, Reason::UpstreamUnreachable);
}

#[tokio::test]
async fn what_the_guard_never_passes_is_said_before_a_server_is_added() {
    let cases = [
        ("http://127.0.0.1:9/mcp", None),
        ("http://10.0.0.1/mcp", Some(Reason::UpstreamAddressRefused)),
        ("http://169.254.169.254/latest", Some(Reason::UpstreamAddressRefused)),
        ("http://[::ffff:169.254.169.254]/", Some(Reason::UpstreamAddressRefused)),
        ("http://2852039166/", Some(Reason::UpstreamAddressRefused)),
        ("http://[fd00:ec2::254]/", Some(Reason::UpstreamAddressRefused)),
        ("http://0/", Some(Reason::UpstreamAddressRefused)),
        ("ftp://127.0.0.1/", Some(Reason::UpstreamUnreachable)),
    ];
    for (url, expected) in cases {
        let said = leg().reachable(url).await.err().map(|unread| unread.reason);
        assert_eq!(said, expected, "{url}");
    }
}
