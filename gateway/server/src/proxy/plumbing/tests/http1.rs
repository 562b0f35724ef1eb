//! HTTP/1: connections that are used again, framing both ways, hop-by-hop headers.

use super::fixture::{Event, Rig, limits};

#[tokio::test]
async fn a_connection_serves_many_requests_of_any_size() {
    let mut rig = Rig::start(limits());
    let mut client = rig.connect().await;
    for size in [0, 1, 1_400, 8_192, 70_000, 1 << 20] {
        let body = vec![b'b'; size];
        client.post("/echo", &body).await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.body.len()), (200, size));
        assert_eq!(answer.body, body);
        assert_eq!(answer.header("connection"), Some("keep-alive"));
        assert_eq!(answer.header("transfer-encoding"), None);
        assert_eq!(rig.event().await, Event::Handled("POST /echo".into()));
    }
}

#[tokio::test]
async fn chunked_bodies_are_read_whole() {
    let rig = Rig::start(limits());
    let mut client = rig.connect().await;
    let head = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let piece = "c".repeat(50_000);
    client.send(head).await;
    for _ in 0..5 {
        client.send(format!("{:x}\r\n{piece}\r\n", piece.len())).await;
    }
    client.send("0\r\n\r\n").await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.body.len()), (200, 250_000));
    client.post("/echo", b"again").await;
    assert_eq!(client.answer().await.text(), "again");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let rig = Rig::start(limits());
    let mut client = rig.connect().await;
    let requests: Vec<_> = (0..20)
        .map(|n| {
            let body = format!("request {n}");
            let length = body.len();
            format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}")
        })
        .collect();
    client.send(requests.concat()).await;
    for n in 0..20 {
        assert_eq!(client.answer().await.text(), format!("request {n}"));
    }
}

#[tokio::test]
async fn a_pipelined_request_does_not_disturb_the_running_one() {
    let mut rig = Rig::start(limits());
    let mut client = rig.connect().await;
    client.get("/chunks").await;
    assert_eq!(rig.event().await, Event::Handled("GET /chunks".into()));
    client.post("/echo", b"second").await;
    rig.frame("first");
    client.head().await;
    client.chunks_make("first").await;
    let Rig { frames, .. } = &rig;
    frames.send(Ok("!".into())).unwrap();
    client.chunks_make("!").await;
    rig.frames = tokio::sync::mpsc::unbounded_channel().0;
    assert_eq!(client.chunk().await, None);
    assert_eq!(client.answer().await.text(), "second");
}

#[tokio::test]
async fn expect_continue_is_answered_and_the_connection_stays() {
    let rig = Rig::start(limits());
    let mut client = rig.connect().await;
    for _ in 0..2 {
        let head = "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5";
        client.send(format!("{head}\r\n\r\n")).await;
        let interim = client.head().await;
        assert_eq!(interim.status, 100);
        client.send("hello").await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.text()), (200, "hello"));
        assert_eq!(answer.header("connection"), Some("keep-alive"));
    }
    client.send("POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n").await;
    assert_eq!(client.answer().await.status, 200, "no body, no interim answer");
}

#[tokio::test]
async fn old_clients_get_answers_that_end_with_the_connection() {
    let rig = Rig::start(limits());
    let mut client = rig.connect().await;
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.header("connection")), (404, Some("close")));
    assert!(client.is_closed().await);

    let mut client = rig.connect().await;
    client.send("GET /break HTTP/1.0\r\nHost: a\r\n\r\n").await;
    assert_eq!(client.answer().await.status, 500);

    let mut rig = Rig::start(limits());
    let mut client = rig.connect().await;
    client.send("GET /chunks HTTP/1.0\r\nHost: a\r\n\r\n").await;
    rig.frame("one");
    rig.frame("two");
    rig.frames = tokio::sync::mpsc::unbounded_channel().0;
    let head = client.head().await;
    assert_eq!(head.header("transfer-encoding"), None);
    assert_eq!(client.rest().await, b"onetwo");
}

#[tokio::test]
async fn a_client_that_closes_is_told_so() {
    let rig = Rig::start(limits());
    let mut client = rig.connect().await;
    client.send("GET /describe HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn answers_without_a_body_are_framed_so() {
    let rig = Rig::start(limits());
    let mut client = rig.connect().await;
    client.send("HEAD /describe HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let head = client.head().await;
    assert_ne!(head.header("content-length"), Some("0"));
    client.get("/nothing").await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.header("content-length")), (204, None));
    assert_eq!(answer.header("transfer-encoding"), None);
    client.get("/empty").await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.header("content-length")), (202, Some("0")));
    client.get("/nowhere").await;
    assert_eq!(client.answer().await.status, 404);
}

#[tokio::test]
async fn hop_by_hop_headers_go_one_hop() {
    let rig = Rig::start(limits());
    let mut client = rig.connect().await;
    client
        .send(
            "POST /describe?a=%20b HTTP/1.1\r\nHost: gateway.test\r\nConnection: x-api-key, close\r\n\
             Keep-Alive: 5\r\nTE: trailers\r\nTrailer: x\r\nUpgrade: websocket\r\n\
             Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic eA==\r\nX-Api-Key: k\r\n\
             Expect: nothing\r\nContent-Length: 2\r\n\r\n{}",
        )
        .await;
    let answer = client.answer().await;
    let lines: Vec<_> = answer.text().lines().collect();
    assert_eq!(
        lines,
        [
            "POST /describe Some(\"a=%20b\")",
            "peer 127.0.0.1",
            "content-length: 2",
            "host: gateway.test",
            "x-api-key: k"
        ]
    );

    let mut client = rig.connect().await;
    client.get("/hops").await;
    let answer = client.answer().await;
    for name in ["keep-alive", "transfer-encoding", "trailer", "upgrade", "proxy-authenticate"] {
        assert_eq!(answer.header(name), None, "{name}");
    }
    assert_eq!(answer.header("connection"), Some("keep-alive"));
    assert_eq!(answer.header("content-length"), Some("2"));
    assert_eq!(answer.header("x-kept"), Some("yes"));
}
