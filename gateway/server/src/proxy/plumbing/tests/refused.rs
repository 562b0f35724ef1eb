//! What never becomes an exchange: malformed, too large, too slow, too many; and panics.

use std::time::Duration;

use gateway_core::reason::Reason;

use super::fixture::{Event, Rig, limits, within};
use crate::proxy::plumbing::Limits;
use crate::turns::TurnSettings;

/// Sends `request`, expects this refusal, that nothing was handled, and that the connection ends.
async fn refused(rig: &mut Rig, request: &str, reason: Reason) {
    let mut client = rig.connect().await;
    client.send(request).await;
    let answer = client.answer().await;
    let shown = &request[..request.len().min(120)];
    assert_eq!(answer.status, reason.status(), "{shown:?}");
    assert_eq!(answer.text(), format!("{{\"reason\":\"{reason}\"}}"), "{shown:?}");
    assert_eq!(answer.header("connection"), Some("close"), "{shown:?}");
    assert!(client.is_closed().await, "{shown:?}");
    assert_eq!(rig.event().await, Event::Refused(reason, false), "{shown:?}");
    rig.no_event();
}

#[tokio::test]
async fn ambiguous_framing_is_refused() {
    let mut rig = Rig::start(limits());
    let smuggled = "0\r\n\r\nGET /admin HTTP/1.1\r\nHost: a\r\n\r\n";
    for headers in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5, 5",
        "Content-Length: +5",
        "Content-Length: -1",
        "Content-Length: 5 5",
        "Content-Length: 0x5",
        "Content-Length: 99999999999999999999999",
        "Content-Length : 5",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding:\u{b}chunked",
        "X: y\r\n Transfer-Encoding: chunked",
        "X: y\nContent-Length: 5",
        "X: a\rTransfer-Encoding: chunked",
        "X\u{0}: y",
        "X: y\u{0}z",
        ": empty",
        "no colon",
    ] {
        let request = format!("POST /echo HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n{smuggled}");
        refused(&mut rig, &request, Reason::MalformedRequest).await;
    }
}

#[tokio::test]
async fn what_is_not_http_is_refused() {
    let mut rig = Rig::start(limits());
    for request in [
        "HELLO\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/3.0\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: user@a\r\n\r\n",
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}\u{fc}\u{3}\u{3}\r\n\r\n",
    ] {
        refused(&mut rig, request, Reason::MalformedRequest).await;
    }
    refused(
        &mut rig,
        "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
        Reason::HttpMethodNotAllowed,
    )
    .await;
}

#[tokio::test]
async fn chunked_bodies_that_are_badly_framed_are_refused() {
    let mut rig = Rig::start(limits());
    let head = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in ["x\r\n", "-1\r\n\r\n", "5\r\nhelloXX0\r\n\r\n", "ffffffffffffffffff\r\n"] {
        let mut client = rig.connect().await;
        client.send(format!("{head}{body}")).await;
        assert_eq!(client.answer().await.status, 408, "{body:?}");
        assert_eq!(rig.event().await, Event::Refused(Reason::BodyIncomplete, false), "{body:?}");
    }
}

#[tokio::test]
async fn large_heads_are_refused() {
    let mut rig = Rig::start(Limits { head_bytes: 4_096, head_count: 20, ..limits() });
    let request = |headers: String| format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
    let one = request(format!("X: {}\r\n", "x".repeat(4_096)));
    refused(&mut rig, &one, Reason::HeadersTooLarge).await;
    let many = request((0..30).map(|n| format!("X-{n}: y\r\n")).collect());
    refused(&mut rig, &many, Reason::HeadersTooLarge).await;
    let hundreds = request((0..300).map(|n| format!("X-{n}: y\r\n")).collect());
    refused(&mut rig, &hundreds, Reason::HeadersTooLarge).await;
    let path = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "p".repeat(4_096));
    refused(&mut rig, &path, Reason::HeadersTooLarge).await;
}

#[tokio::test]
async fn endless_heads_are_refused() {
    let mut rig = Rig::start(limits());
    let mut client = rig.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\nX: ").await;
    let piece = vec![b'x'; 64 << 10];
    for _ in 0..40 {
        if tokio::io::AsyncWriteExt::write_all(&mut client.stream, &piece).await.is_err() {
            break;
        }
    }
    assert_eq!(rig.event().await, Event::Refused(Reason::HeadersTooLarge, false));
}

#[tokio::test]
async fn a_declared_length_over_the_limit_is_refused_from_the_head_alone() {
    let mut rig = Rig::start(Limits { body_bytes: 1_000, ..limits() });
    let head = "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1001";
    refused(&mut rig, &format!("{head}\r\n\r\n"), Reason::BodyTooLarge).await;
    let mut client = rig.connect().await;
    client.post("/echo", &[b'x'; 1_000]).await;
    assert_eq!(client.answer().await.status, 200, "the limit itself passes");
}

#[tokio::test]
async fn a_client_that_sends_too_much_still_reads_the_refusal() {
    let mut rig = Rig::start(Limits { body_bytes: 1_000, ..limits() });
    let mut client = rig.connect().await;
    client.post("/echo", &vec![b'x'; 3 << 20]).await;
    assert_eq!(client.answer().await.status, 413);
    assert_eq!(rig.event().await, Event::Refused(Reason::BodyTooLarge, false));

    let mut client = rig.connect().await;
    let chunk = format!("190\r\n{}\r\n", "x".repeat(400));
    let head = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.send(format!("{head}{}", chunk.repeat(3))).await;
    assert_eq!(client.answer().await.status, 413);
    assert_eq!(rig.event().await, Event::Refused(Reason::BodyTooLarge, false));
    rig.no_event();
}

#[tokio::test]
async fn slow_heads_are_cut() {
    let mut rig = Rig::start(Limits { head_within: Duration::from_millis(300), ..limits() });
    let mut silent = rig.connect().await;
    assert!(silent.is_closed().await);
    let mut preface = rig.connect().await;
    preface.send("PRI * HTT").await;
    assert!(preface.is_closed().await);
    let mut dribbling = rig.connect().await;
    dribbling.send("GET / HTTP/1.1\r\nHost: a\r\n").await;
    // Faster than any timeout between reads, until the server has had enough.
    for _ in 0..1_000 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let sent = tokio::io::AsyncWriteExt::write_all(&mut dribbling.stream, b"X: y\r\n").await;
        if sent.is_err() {
            rig.no_event();
            return;
        }
    }
    panic!("a head may take for ever");
}

#[tokio::test]
async fn slow_bodies_are_refused() {
    let mut rig = Rig::start(Limits { body_within: Duration::from_millis(300), ..limits() });
    let request = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf";
    refused(&mut rig, request, Reason::BodyIncomplete).await;
}

#[tokio::test]
async fn idle_connections_are_closed() {
    let rig = Rig::start(Limits {
        idle_within: Duration::from_millis(200),
        head_within: Duration::from_millis(200),
        ..limits()
    });
    let mut client = rig.connect().await;
    client.post("/echo", b"1").await;
    assert_eq!(client.answer().await.status, 200);
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn a_panic_costs_one_request() {
    let mut rig = Rig::start(limits());
    let mut client = rig.connect().await;
    for _ in 0..3 {
        client.post("/panic", b"{}").await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.text()), (500, "{\"reason\":\"internal\"}"));
        assert_eq!(rig.event().await, Event::Handled("POST /panic".into()));
        assert_eq!(rig.event().await, Event::Refused(Reason::Internal, true));
    }
    client.get("/panic-body").await;
    assert_eq!(client.answer().await.status, 500);
    client.post("/echo", b"alive").await;
    assert_eq!(client.answer().await.text(), "alive");
}

#[tokio::test]
async fn more_exchanges_than_allowed_are_refused() {
    let mut rig = Rig::start(Limits { exchanges: 1, ..limits() });
    let mut first = rig.connect().await;
    first.get("/hang").await;
    assert_eq!(rig.event().await, Event::Handled("GET /hang".into()));
    // The connection stays: a crowd that had to connect anew for each try would cost more.
    let mut second = rig.connect().await;
    for _ in 0..2 {
        second.post("/echo", b"{}").await;
        assert_eq!(second.answer().await.status, 503);
        assert_eq!(rig.event().await, Event::Refused(Reason::Overloaded, false));
    }
    drop(first);
    assert_eq!(rig.event().await, Event::HandlerDropped);
    second.post("/echo", b"{}").await;
    assert_eq!(second.answer().await.status, 200);
}

#[tokio::test]
async fn who_gets_no_turn_in_time_is_refused_and_a_turn_does_not_last_for_ever() {
    let turns = TurnSettings {
        turns: 1,
        patience: Duration::from_millis(50),
        lasts: Duration::from_secs(2),
        ..TurnSettings::default()
    };
    let mut rig = Rig::start(Limits { turns, ..limits() });
    let mut first = rig.connect().await;
    first.get("/hang").await;
    assert_eq!(rig.event().await, Event::Handled("GET /hang".into()));
    let mut second = rig.connect().await;
    second.post("/echo", b"{}").await;
    assert_eq!(second.answer().await.status, 503);
    assert_eq!(rig.event().await, Event::Refused(Reason::Overloaded, false));
    // What hangs waits for something else than the gateway by now.
    let served = async {
        loop {
            second.post("/echo", b"{}").await;
            if second.answer().await.status == 200 {
                return;
            }
        }
    };
    within("a turn", served).await;
}

#[tokio::test]
async fn bodies_take_no_more_memory_than_they_may_together() {
    let mut rig = Rig::start(Limits { all_bodies: 64 << 10, ..limits() });
    let mut first = rig.connect().await;
    let head = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n";
    first.send([head.as_bytes(), &[b'x'; 50_000]].concat()).await;
    // It has been read as soon as there is no room beside it.
    let mut second = rig.connect().await;
    let refused = async {
        loop {
            second.post("/echo", &[b'y'; 20_000]).await;
            match second.answer().await.status {
                503 => return,
                status => assert_eq!(status, 200),
            }
        }
    };
    within("a refusal", refused).await;
    first.send(vec![b'x'; 10_000]).await;
    assert_eq!(first.answer().await.status, 200, "what was there first is served");
    let mut third = rig.connect().await;
    third.post("/echo", &[b'y'; 20_000]).await;
    assert_eq!(third.answer().await.status, 200, "and then there is room again");
    while rig.event().await != Event::Refused(Reason::Overloaded, false) {}
}

#[tokio::test]
async fn more_connections_than_allowed_are_closed() {
    let rig = Rig::start(Limits { connections: 1, ..limits() });
    let mut first = rig.connect().await;
    first.post("/echo", b"1").await;
    assert_eq!(first.answer().await.status, 200);
    assert!(rig.connect().await.is_closed().await);
    first.post("/echo", b"2").await;
    assert_eq!(first.answer().await.status, 200);
}
