//! What the gateway says about itself: exchanges as spans of their callers' traces, operations as figures.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use gateway_tests::client::legacy_body;
use gateway_tests::rig::{Rig, Setup, check};
use gateway_tests::serve::serve;
use gateway_tests::wait::eventually;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// A collector of traces: keeps what it is sent, as it comes.
pub(crate) struct Collector {
    pub(crate) endpoint: String,
    pub(crate) exported: Arc<Mutex<Vec<u8>>>,
}

impl Collector {
    pub(crate) async fn start() -> Collector {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let exported = Arc::new(Mutex::new(Vec::new()));
        let kept = exported.clone();
        let service = service_fn(move |request| keep(kept.clone(), request));
        tokio::spawn(serve(listener, service));
        Collector { endpoint, exported }
    }

    /// Waits for the span with that id, of that trace, below that parent: the beginning of a `Span` of
    /// OTLP's protobuf, whose fields come in the order of their numbers.
    async fn has(&self, [trace, span, parent]: [&str; 3]) {
        let field = |number: u8, id: &str| {
            let id: Vec<u8> = id.as_bytes().chunks(2).map(hexadecimal).collect();
            [vec![number << 3 | 2, id.len() as u8], id].concat()
        };
        let wanted = [field(1, trace), field(2, span), field(4, parent)].concat();
        let what = format!("span {span} below {parent} in trace {trace} is exported");
        eventually(&what, Duration::from_secs(30), async || {
            let exported = self.exported.lock().unwrap();
            exported.windows(wanted.len()).any(|at| at == wanted).then_some(())
        })
        .await;
    }
}

async fn keep(
    kept: Arc<Mutex<Vec<u8>>>,
    request: Request<Incoming>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, hyper::Error> {
    let body = request.into_body().collect().await?.to_bytes();
    kept.lock().unwrap().extend_from_slice(&body);
    Ok(Response::new(Empty::new().boxed()))
}

fn hexadecimal(pair: &[u8]) -> u8 {
    u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()
}

/// Trace and span of the last call's `traceparent` at the upstream.
fn at_the_upstream(rig: &Rig) -> (String, String) {
    let calls = rig.upstream.calls("echo");
    let parent = calls.last().expect("the call arrived").header("traceparent");
    let parts: Vec<&str> = parent.split('-').collect();
    let [_, trace, span, _] = parts[..] else { panic!("no traceparent: {parent:?}") };
    (trace.into(), span.into())
}

const HEADER: &str = "00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-aaaaaaaaaaaaaaaa-01";
const MESSAGE: &str = "00-bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-bbbbbbbbbbbbbbbb-01";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchange_is_a_child_of_its_callers_span() {
    let collector = Collector::start().await;
    let config = format!("telemetry.otlp_endpoint = \"{}\"", collector.endpoint);
    check(Setup { config, ..Setup::default() }, async |rig| {
        let bob = rig.client("bob");
        let session = bob.legacy().await;
        let echo = || json!({"name": "echo", "arguments": {}});
        // What header and message name, and whose child the exchange is.
        let cases: [(Option<&str>, Value, Option<&str>); 7] = [
            (Some(HEADER), Value::Null, Some(HEADER)),
            (None, json!(MESSAGE), Some(MESSAGE)),
            (Some(HEADER), json!(MESSAGE), Some(HEADER)),
            (Some("00-nonsense"), json!(MESSAGE), Some(MESSAGE)),
            (None, Value::Null, None),
            (None, json!(MESSAGE.to_uppercase()), None),
            (None, json!(7), None),
        ];
        let mut spans = Vec::new();
        for (header, message, parent) in cases {
            let mut modern = bob.modern_body("tools/call", echo());
            let mut legacy = legacy_body("tools/call", echo());
            if !message.is_null() {
                modern["params"]["_meta"]["traceparent"] = message.clone();
                legacy["params"]["_meta"] = json!({"traceparent": message});
            }
            for request in [bob.modern_request(&modern), session.request(&legacy)] {
                let request = header.into_iter().fold(request, |r, h| r.header("traceparent", h));
                assert_eq!(bob.send(request).await.result()["isError"], false);
                let what = format!("{header:?} {message}");
                let (trace, span) = at_the_upstream(rig);
                match parent {
                    Some(parent) => {
                        assert_eq!(trace, parent[3..35], "{what}");
                        spans.push([trace, span, parent[36..52].to_owned()]);
                    }
                    None => {
                        assert!(![HEADER, MESSAGE].iter().any(|t| t.contains(&trace)), "{what}")
                    }
                }
            }
        }
        for span in spans {
            collector.has(span.each_ref().map(String::as_str)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn operations_are_counted_however_they_end() {
    check(Setup::default(), async |rig| {
        let rest = async |name: &str, method: http::Method, path: &str, body: &str| {
            let client = rig.client(name).at(&format!("{}/api/v1/{path}", rig.gateway.base));
            let request = client.request(method).header("content-type", "application/json");
            client.send(request.body(body.to_owned())).await.status
        };
        let (get, put) = (http::Method::GET, http::Method::PUT);
        for _ in 0..2 {
            assert_eq!(rest("bob", get.clone(), "servers", "").await, 200);
        }
        assert_eq!(rest("bob", get.clone(), "policies", "").await, 403);
        let (status, body) = ("servers/fake/status", r#"{"status":"active"}"#);
        assert_eq!(rest("bob", put.clone(), status, body).await, 403);
        assert_eq!(rest("alice", put, status, body).await, 200);
        // Neither is an operation.
        assert_eq!(rest("bob", get, "no_such_operation", "").await, 404);
        rig.client_of("bob", "runlayer").call("no_such_operation", json!({})).await;
        assert!(rig.ask("bob", "list_servers", json!({})).await["data"].is_array());
        let unconfirmed = json!({"server_id": "fake", "status": "disabled"});
        for name in ["bob", "alice"] {
            assert!(rig.ask(name, "set_server_status", unconfirmed.clone()).await.is_null());
        }

        let figures = rig.gateway.metrics().await;
        let counted = figures.lines().filter(|line| line.starts_with("gateway_operations_total{"));
        let mut counted: Vec<&str> = counted.collect();
        counted.sort_unstable();
        let line = |face, operation, outcome, reason, count| {
            format!(
                "gateway_operations_total{{face=\"{face}\",operation=\"{operation}\",outcome=\"{outcome}\",reason=\"{reason}\"}} {count}"
            )
        };
        assert_eq!(
            counted,
            [
                line("rest", "list_policies", "denied", "role_missing", 1),
                line("rest", "list_servers", "ok", "none", 2),
                line("rest", "set_server_status", "denied", "role_missing", 1),
                line("rest", "set_server_status", "ok", "none", 1),
                line("tools", "list_servers", "ok", "none", 1),
                line("tools", "set_server_status", "denied", "confirm_missing", 1),
                line("tools", "set_server_status", "denied", "role_missing", 1),
            ]
        );
    })
    .await;
}

/// A record lists some of them; the figures know them all.
#[tokio::test]
async fn every_finding_is_counted() {
    check(Setup::default(), async |rig| {
        let many = vec![crate::scanning::SECRET; 100];
        let reply = rig.client("bob").call("echo", json!({"texts": many})).await;
        assert_eq!(reply.result()["isError"], false, "{:?}", reply.body);
        for guard in ["tool_intent", "tool_call"] {
            let counted = format!(
                "gateway_findings_total{{class=\"secrets\",guard=\"{guard}\",mode=\"monitor\"}} 100\n"
            );
            let figures = rig.gateway.metrics().await;
            let all = figures.lines().filter(|line| line.starts_with("gateway_findings_total"));
            assert!(figures.contains(&counted), "{counted}{:#?}", all.collect::<Vec<_>>());
        }
    })
    .await;
}
