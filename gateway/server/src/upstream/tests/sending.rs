//! Requests to servers that behave, die, stall, lie or change their mind.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use gateway_core::caller::{AuthMethod, Caller, PrincipalKind, User};
use gateway_core::ids::UserId;
use gateway_core::reason::Reason;
use gateway_core::server::Endpoint;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use tokio::net::TcpListener;
use uuid::Uuid;

use super::fixture::{
    Answers, Script, Upstream, guard, leg, leg_with, none, ok, post, presenting, server, settings,
    within,
};
use crate::exchange::{self, Body};
use crate::upstream::leg::public_authorities;
use crate::upstream::{BreakerSettings, Leg, LegSettings, Local};

async fn text(answer: Response<Body>) -> String {
    let body = within("the body", answer.into_body().collect()).await.unwrap();
    String::from_utf8(body.to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn requests_arrive_as_given_with_address_and_credential_of_the_server() {
    let upstream = Upstream::start(Script::Answer(ok("{\"a\": 1e400}"))).await;
    let server = server(upstream.url() + "?v=1#part");
    let mut request = post("{\"jsonrpc\": \"2.0\"}");
    *request.uri_mut() = "http://elsewhere.test/other".parse().unwrap();
    request.headers_mut().insert("host", "elsewhere.test".parse().unwrap());
    request.headers_mut().insert("authorization", "Bearer client".parse().unwrap());
    request.headers_mut().insert("mcp-method", "tools/call".parse().unwrap());
    let leg = leg();
    let answer = leg.send(None, &server, &presenting("Bearer s3cret"), request).await.unwrap();
    assert_eq!(text(answer).await, "{\"a\": 1e400}");
    let received = upstream.received().remove(0);
    let mut lines: Vec<_> = received.split("\r\n").collect();
    assert_eq!(lines.remove(0), "POST /mcp?v=1 HTTP/1.1");
    lines.sort_unstable();
    let host = format!("host: {}", upstream.address);
    assert_eq!(
        lines,
        [
            "",
            "authorization: Bearer s3cret",
            "content-length: 18",
            &*host,
            "mcp-method: tools/call",
            "{\"jsonrpc\": \"2.0\"}"
        ]
    );
}

#[tokio::test]
async fn connections_are_shared_by_server_and_credential_only() {
    let upstream = Upstream::start(Script::Answer(ok("{}"))).await;
    let leg = leg();
    let plain = server(upstream.url());
    for _ in 0..3 {
        text(leg.send(None, &plain, &none(), post("{}")).await.unwrap()).await;
    }
    assert_eq!(upstream.connections(), 1);
    let (first, second) = (presenting("a"), presenting("b"));
    text(leg.send(None, &plain, &first, post("{}")).await.unwrap()).await;
    assert_eq!(upstream.connections(), 2);
    text(leg.send(None, &plain, &second, post("{}")).await.unwrap()).await;
    assert_eq!(upstream.connections(), 3);
    let mut other = plain.clone();
    other.id.0 = Uuid::from_u128(2);
    text(leg.send(None, &other, &none(), post("{}")).await.unwrap()).await;
    assert_eq!(upstream.connections(), 4);
    text(leg.send(None, &plain, &first, post("{}")).await.unwrap()).await;
    assert_eq!(upstream.connections(), 4);
}

#[tokio::test]
async fn a_credential_that_cannot_be_presented_sends_nothing() {
    let upstream = Upstream::start(Script::Answer(ok("{}"))).await;
    for value in ["two\nlines", "lines\0"] {
        let server = server(upstream.url());
        let error = leg().send(None, &server, &presenting(value), post("{}")).await.unwrap_err();
        assert_eq!((error.reason, error.sent), (Reason::UpstreamCredentialMissing, false));
        assert!(!error.to_string().contains("lines"), "no secret in errors");
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_dead_server_is_named_within_its_deadline() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let refused = server(format!("http://{closed}/"));
    let error = leg().send(None, &refused, &none(), post("{}")).await.unwrap_err();
    assert_eq!((error.reason, error.sent), (Reason::UpstreamUnreachable, false), "{error}");

    let nameless = Leg::with(guard(&[]), settings(), Answers::new(vec![]), public_authorities());
    let error =
        nameless.send(None, &server("http://no.test/"), &none(), post("{}")).await.unwrap_err();
    assert_eq!((error.reason, error.sent), (Reason::UpstreamUnreachable, false), "{error}");

    // It closes in the middle of the handshake.
    let plain = Upstream::start(Script::Slam).await;
    let error =
        leg().send(None, &server(plain.url().replace("http", "https")), &none(), post("{}")).await;
    let error = error.map(drop).unwrap_err();
    assert_eq!((error.reason, error.sent), (Reason::UpstreamUnreachable, false), "{error}");
}

struct Never;

#[async_trait]
impl crate::upstream::Resolve for Never {
    async fn resolve(&self, _: &str, _: u16) -> std::io::Result<Vec<std::net::SocketAddr>> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_silent_server_is_given_up() {
    let short = LegSettings {
        connect: Duration::from_millis(200),
        first_byte: Duration::from_millis(400),
        ..settings()
    };
    let leg = Leg::with(guard(&[]), short.clone(), Arc::new(Never), public_authorities());
    let error =
        within("names", leg.send(None, &server("http://no.test/"), &none(), post("{}"))).await;
    let error = error.map(drop).unwrap_err();
    assert_eq!((error.reason, error.sent), (Reason::UpstreamTimeout, false), "{error}");

    // It accepts and says nothing: in the handshake, then after the request.
    let silent = Upstream::start(Script::SayAndWait(String::new())).await;
    let leg = leg_with(short);
    let tls = server(silent.url().replace("http", "https"));
    let error =
        within("TLS", leg.send(None, &tls, &none(), post("{}"))).await.map(drop).unwrap_err();
    assert_eq!((error.reason, error.sent), (Reason::UpstreamTimeout, false), "{error}");
    for body in ["{}", ""] {
        let asked =
            within("an answer", leg.send(None, &server(silent.url()), &none(), post(body))).await;
        let error = asked.map(drop).unwrap_err();
        assert_eq!((error.reason, error.sent), (Reason::UpstreamTimeout, true), "{error}");
    }
}

#[tokio::test]
async fn answers_that_are_not_http_are_named() {
    let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    for text in ["HELLO\r\n\r\n".to_owned(), "HTTP/1.1 abc\r\n\r\n".to_owned(), long] {
        let upstream = Upstream::start(Script::SayAndWait(text)).await;
        let error = leg()
            .send(None, &server(upstream.url()), &none(), post("{}"))
            .await
            .map(drop)
            .unwrap_err();
        assert_eq!((error.reason, error.sent), (Reason::UpstreamInvalid, true), "{error}");
    }
}

#[tokio::test]
async fn redirects_are_answers() {
    let target = Upstream::start(Script::Answer(ok("{}"))).await;
    let to = target.url();
    let moved = format!("HTTP/1.1 307 Moved\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
    let upstream = Upstream::start(Script::Answer(moved)).await;
    let answer = leg().send(None, &server(upstream.url()), &none(), post("{}")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(target.connections(), 0);
}

#[tokio::test]
async fn a_request_that_may_have_arrived_is_never_sent_again() {
    let whole = ok("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}");
    let leg = leg();
    for cut in 0..whole.len() {
        let upstream = Upstream::start(Script::Once(whole[..cut].to_owned())).await;
        let server = server(upstream.url());
        let broke = match within("a cut answer", leg.send(None, &server, &none(), post("{}"))).await
        {
            Err(error) => error.sent,
            Ok(answer) => answer.into_body().collect().await.is_err(),
        };
        assert!(broke, "cut after {cut} bytes");
        assert_eq!(upstream.received().len(), 1, "cut after {cut} bytes");
    }
    let upstream = Upstream::start(Script::Slam).await;
    assert!(leg.send(None, &server(upstream.url()), &none(), post("{}")).await.is_err());
    assert_eq!(upstream.connections(), 1, "not even tried again");
}

#[tokio::test]
async fn connections_that_went_stale_cost_nothing_and_double_nothing() {
    // Each connection answers once, promises to stay, and closes: every second request meets a stale one.
    let upstream = Upstream::start(Script::Once(ok("{}"))).await;
    let leg = leg();
    let server = server(upstream.url());
    let mut unknown = 0;
    for number in 0..200 {
        match leg.send(None, &server, &none(), post(&format!("request {number};"))).await {
            Ok(answer) => drop(text(answer).await),
            Err(error) => unknown += usize::from(error.sent),
        }
    }
    let received = upstream.received().concat();
    for number in 0..200 {
        let times = received.matches(&format!("request {number};")).count();
        assert!(times <= 1, "request {number} arrived {times} times");
    }
    assert!(unknown < 200, "some got through");
}

#[tokio::test]
async fn dropping_the_answer_or_the_question_aborts_it_upstream() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    let upstream = Upstream::start(Script::SayAndWait(head.to_owned())).await;
    let leg = leg();
    let mut answer = leg.send(None, &server(upstream.url()), &none(), post("{}")).await.unwrap();
    let first = within("a frame", answer.body_mut().frame()).await.unwrap().unwrap();
    assert_eq!(first.into_data().unwrap(), "hello");
    drop(answer);
    closed(&upstream).await;

    let upstream = Upstream::start(Script::SayAndWait(String::new())).await;
    let server = server(upstream.url());
    let nothing = none();
    let asking = leg.send(None, &server, &nothing, post("{}"));
    let received = async {
        while upstream.received().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = asking => panic!("nobody answers"),
        () = within("the request", received) => {}
    }
    closed(&upstream).await;
}

async fn closed(upstream: &Upstream) {
    let closed = async {
        while upstream.received().last().map(String::as_str) != Some("closed") {
            tokio::task::yield_now().await;
        }
    };
    within("the connection's end", closed).await;
}

#[tokio::test]
async fn a_server_that_hangs_fills_its_own_places_only() {
    let hanging = Upstream::start(Script::SayAndWait(String::new())).await;
    let healthy = Upstream::start(Script::Answer(ok("{}"))).await;
    let leg = Arc::new(leg_with(LegSettings { per_server: 2, ..settings() }));
    let slow = server(hanging.url());
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let (leg, slow) = (leg.clone(), slow.clone());
            tokio::spawn(async move { leg.send(None, &slow, &none(), post("{}")).await.map(drop) })
        })
        .collect();
    let received = async {
        while hanging.received().len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    within("two requests", received).await;
    let error = leg.send(None, &slow, &none(), post("{}")).await.map(drop).unwrap_err();
    assert_eq!((error.reason, error.sent), (Reason::Overloaded, false));
    text(leg.send(None, &server(healthy.url()), &none(), post("{}")).await.unwrap()).await;
    waiting.iter().for_each(|task| task.abort());
}

#[tokio::test]
async fn a_server_that_is_gone_is_not_asked_for_a_while_and_another_address_is_another_server() {
    let breaker = BreakerSettings { failures: 2, pause: Duration::from_secs(600) };
    let leg = leg_with(LegSettings { breaker, ..settings() });
    let upstream = Upstream::start(Script::Answer(ok("{}"))).await;
    // Nobody listens on a port that was just free.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gone = server(format!("http://{free}/mcp"));
    for _ in 0..2 {
        let entry = leg.enter(&gone, 7).unwrap();
        let error = leg.send(Some(&entry), &gone, &none(), post("{}")).await.map(drop).unwrap_err();
        assert_eq!((error.reason, error.sent), (Reason::UpstreamUnreachable, false));
    }
    for caller in [7, 8] {
        let away = leg.enter(&gone, caller).map(drop).unwrap_err();
        assert_eq!(away.reason, Reason::UpstreamUnavailable);
        assert!((590..=601).contains(&away.retry_after), "{away:?}");
    }
    // What the gateway itself asks goes out all the same.
    let error = leg.send(None, &gone, &none(), post("{}")).await.map(drop).unwrap_err();
    assert_eq!(error.reason, Reason::UpstreamUnreachable);
    let moved = server(upstream.url());
    assert_eq!(moved.id, gone.id);
    let entry = leg.enter(&moved, 7).unwrap();
    text(leg.send(Some(&entry), &moved, &none(), post("{}")).await.unwrap()).await;
    assert_eq!(leg.used().0, 1);
    drop(entry);
    assert_eq!(leg.used().0, 0);
}

struct Here;

#[async_trait]
impl Local for Here {
    async fn handle(&self, request: Request<Bytes>) -> Response<Body> {
        let caller = request.extensions().get::<Caller>().map(|caller| caller.user.email.clone());
        exchange::json(StatusCode::OK, caller.unwrap_or_default())
    }
}

#[tokio::test]
async fn the_in_process_server_gets_the_caller() {
    let leg = leg();
    let mut runlayer = server("");
    runlayer.endpoint = Endpoint::InProcess;
    let error = leg.send(None, &runlayer, &none(), post("{}")).await.map(drop).unwrap_err();
    assert_eq!((error.reason, error.sent), (Reason::UpstreamUnreachable, false));
    leg.set_local(Arc::new(Here));
    let mut request = post("{}");
    request.extensions_mut().insert(Caller::new(
        Arc::new(User {
            kind: PrincipalKind::Person,
            id: UserId(Uuid::nil()),
            email: "alice@example.com".into(),
            name: String::new(),
            roles: Vec::new(),
            groups: Vec::new(),
            attributes: Default::default(),
            active: true,
        }),
        AuthMethod::ApiKey,
        "key",
    ));
    let answer = leg.send(None, &runlayer, &none(), request).await.unwrap();
    assert_eq!(text(answer).await, "alice@example.com");
}
