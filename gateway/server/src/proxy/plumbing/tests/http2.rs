//! HTTP/2 without TLS, and both versions over TLS.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use gateway_core::reason::Reason;
use h2::client::SendRequest;
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::fixture::{Event, Rig, limits, within};
use crate::proxy::plumbing::{Limits, Listen, Plumbing, StartError, TlsFiles};

async fn open<S>(stream: S) -> SendRequest<Bytes>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn h2c(rig: &Rig) -> SendRequest<Bytes> {
    open(TcpStream::connect(rig.plumbing.address()).await.unwrap()).await
}

fn request(method: &str, path: &str) -> Request<()> {
    let uri = format!("http://gateway.test:8080{path}");
    Request::builder().method(method).uri(uri).version(Version::HTTP_2).body(()).unwrap()
}

async fn exchange(
    sender: &SendRequest<Bytes>,
    request: Request<()>,
    body: &[u8],
) -> Result<(Response<()>, Vec<u8>), h2::Error> {
    let mut sender = sender.clone().ready().await?;
    let (answer, mut stream) = sender.send_request(request, body.is_empty())?;
    if !body.is_empty() {
        stream.send_data(Bytes::copy_from_slice(body), true)?;
    }
    let (head, mut data) = answer.await?.into_parts();
    let mut out = Vec::new();
    while let Some(piece) = data.data().await {
        let piece = piece?;
        data.flow_control().release_capacity(piece.len())?;
        out.extend_from_slice(&piece);
    }
    Ok((Response::from_parts(head, ()), out))
}

#[tokio::test]
async fn many_exchanges_share_a_connection() {
    let rig = Rig::start(limits());
    let sender = h2c(&rig).await;
    let all = (0..20).map(|n| {
        let sender = sender.clone();
        async move {
            let body = vec![b'a' + n; usize::from(n) * 20_000];
            let (head, echoed) = exchange(&sender, request("POST", "/echo"), &body).await.unwrap();
            assert_eq!(head.status(), 200);
            assert_eq!(head.headers()["content-length"], body.len().to_string());
            assert!(echoed == body, "body {n}");
        }
    });
    within("20 exchanges", futures_util::future::join_all(all)).await;
}

#[tokio::test]
async fn the_authority_is_the_host_and_the_answer_has_no_hops() {
    let rig = Rig::start(limits());
    let sender = h2c(&rig).await;
    let (_, body) = exchange(&sender, request("GET", "/describe?q"), b"").await.unwrap();
    let text = String::from_utf8(body).unwrap();
    assert_eq!(text, "GET /describe Some(\"q\")\npeer 127.0.0.1\nhost: gateway.test:8080");
    let (head, _) = exchange(&sender, request("GET", "/hops"), b"").await.unwrap();
    let names: Vec<_> = head.headers().keys().map(|name| name.as_str()).collect();
    for hop in ["connection", "keep-alive", "transfer-encoding", "upgrade", "trailer"] {
        assert!(!names.contains(&hop), "{hop}");
    }
    let (head, body) = exchange(&sender, request("HEAD", "/describe"), b"").await.unwrap();
    assert_eq!((head.status().as_u16(), body.len()), (200, 0));
    let (head, _) = exchange(&sender, request("GET", "/nothing"), b"").await.unwrap();
    assert_eq!(head.status(), 204);
}

#[tokio::test]
async fn limits_hold() {
    let mut rig = Rig::start(Limits { body_bytes: 1_000, head_bytes: 8_192, ..limits() });
    let sender = h2c(&rig).await;
    let (head, _) = exchange(&sender, request("POST", "/echo"), &[b'x'; 2_000]).await.unwrap();
    assert_eq!(head.status(), 413);
    assert_eq!(rig.event().await, Event::Refused(Reason::BodyTooLarge, false));
    let mut large = request("GET", "/describe");
    large.headers_mut().insert("x", "y".repeat(10_000).parse().unwrap());
    let refused = exchange(&sender, large, b"").await;
    assert!(refused.is_err() || refused.unwrap().0.status() == 431);
    rig.no_event();
    let (head, _) = exchange(&sender, request("POST", "/echo"), b"fine").await.unwrap();
    assert_eq!(head.status(), 200);
    let (head, _) = exchange(&sender, request("GET", "/panic"), b"").await.unwrap();
    assert_eq!(head.status(), 500);
}

#[tokio::test]
async fn a_reset_stream_is_noticed_and_its_neighbours_live() {
    let mut rig = Rig::start(limits());
    let sender = h2c(&rig).await;
    let mut ready = sender.clone().ready().await.unwrap();
    let (hanging, mut stream) = ready.send_request(request("GET", "/hang"), true).unwrap();
    assert_eq!(rig.event().await, Event::Handled("GET /hang".into()));
    stream.send_reset(h2::Reason::CANCEL);
    drop(hanging);
    assert_eq!(rig.event().await, Event::HandlerDropped);

    let mut ready = sender.clone().ready().await.unwrap();
    let (streaming, mut stream) = ready.send_request(request("GET", "/stream"), true).unwrap();
    assert_eq!(rig.event().await, Event::Handled("GET /stream".into()));
    let mut answer = within("the head", streaming).await.unwrap();
    rig.frame("data: 1\n\n");
    let first = within("an event", answer.body_mut().data()).await.unwrap().unwrap();
    assert_eq!(first, "data: 1\n\n");
    stream.send_reset(h2::Reason::CANCEL);
    drop(answer);
    assert_eq!(rig.event().await, Event::BodyDropped);

    let (head, _) = exchange(&sender, request("POST", "/echo"), b"x").await.unwrap();
    assert_eq!(head.status(), 200);
}

#[tokio::test]
async fn a_closed_connection_is_noticed_by_all_its_streams() {
    let mut rig = Rig::start(limits());
    let stream = TcpStream::connect(rig.plumbing.address()).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut ready = sender.ready().await.unwrap();
    let _hanging = ready.send_request(request("GET", "/hang"), true).unwrap();
    assert_eq!(rig.event().await, Event::Handled("GET /hang".into()));
    connection.abort();
    assert_eq!(rig.event().await, Event::HandlerDropped);
}

fn files() -> TlsFiles {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/proxy/plumbing/tests");
    TlsFiles { cert: dir.join("test-cert.pem"), key: dir.join("test-key.pem") }
}

/// Asks over TLS; the client offers only this version.
async fn over_tls(rig: &Rig, version: Version, body: Vec<u8>) -> (Response<()>, Bytes) {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(files().cert).unwrap()).unwrap();
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let builder = HttpsConnectorBuilder::new().with_tls_config(config).https_only();
    let connector = match version {
        Version::HTTP_2 => builder.enable_http2().build(),
        _ => builder.enable_http1().build(),
    };
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let uri = format!("https://localhost:{}/echo", rig.plumbing.address().port());
    let request = Request::post(uri).body(Full::new(Bytes::from(body))).unwrap();
    let answer = within("TLS", client.request(request)).await.unwrap();
    let (head, body) = answer.into_parts();
    let body = within("the body", body.collect()).await.unwrap().to_bytes();
    (Response::from_parts(head, ()), body)
}

#[tokio::test]
async fn tls_speaks_both_versions() {
    let rig = Rig::listen(limits(), Some(files()));
    for version in [Version::HTTP_2, Version::HTTP_11] {
        let (head, echoed) = over_tls(&rig, version, vec![b'z'; 100_000]).await;
        assert_eq!((head.status().as_u16(), head.version()), (200, version));
        assert_eq!(echoed.len(), 100_000);
    }
    let mut plain = rig.connect().await;
    plain.get("/describe").await;
    assert!(!plain.rest().await.starts_with(b"HTTP/1.1 200"), "no plain text on TLS");
}

#[tokio::test]
async fn unusable_certificates_are_named() {
    let listen = |cert: PathBuf, key: PathBuf| Listen {
        address: ([127, 0, 0, 1], 0).into(),
        tls: Some(TlsFiles { cert, key }),
    };
    let good = files();
    let missing = PathBuf::from("no-such-file.pem");
    for (cert, key) in [
        (missing.clone(), good.key.clone()),
        (good.cert.clone(), missing),
        (good.cert.clone(), good.cert.clone()),
        (good.key.clone(), good.key.clone()),
    ] {
        let handler = Arc::new(Never);
        let started = Plumbing::start(&listen(cert.clone(), key), limits(), handler);
        let Err(StartError::Tls { cert: named, .. }) = started else { panic!("{cert:?}") };
        assert_eq!(named, cert);
    }
}

struct Never;

#[async_trait::async_trait]
impl crate::proxy::plumbing::Handler for Never {
    async fn handle(&self, _exchange: crate::exchange::Exchange) -> crate::exchange::Reply {
        unreachable!("nothing listens")
    }

    fn refuse(&self, _unread: crate::proxy::plumbing::Unread) -> crate::exchange::Reply {
        unreachable!("nothing listens")
    }
}
