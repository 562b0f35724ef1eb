//! Answers that take their time: event streams, early frames, large and broken bodies, clients that leave.

use std::time::Duration;

use gateway_core::reason::Reason;
use tokio::sync::mpsc;

use super::fixture::{Event, Rig, limits};
use crate::exchange::BodyError;
use crate::proxy::plumbing::Limits;

fn chatty() -> Limits {
    Limits { comment_every: Duration::from_millis(50), ..limits() }
}

#[tokio::test]
async fn event_streams_open_at_once_and_are_kept_alive_between_events() {
    let rig = Rig::start(chatty());
    let mut client = rig.connect().await;
    client.get("/stream").await;
    let head = client.head().await;
    assert_eq!(head.status, 200);
    assert_eq!(head.header("x-accel-buffering"), Some("no"));
    assert_eq!(head.header("cache-control"), Some("no-cache"));
    assert_eq!(head.header("content-length"), None);
    client.chunks_make(": keep-alive\n\n").await;
    client.chunks_make(": keep-alive\n\n").await;
    rig.frame("data: {\"half\":");
    client.until("data: {\"half\":").await;
    client.until("\r\n").await;
    // Longer than several comments: none may stand inside the event.
    tokio::time::sleep(Duration::from_millis(300)).await;
    rig.frame("1}\n\n");
    client.chunks_make("1}\n\n").await;
    client.chunks_make(": keep-alive\n\n").await;
}

#[tokio::test]
async fn only_event_streams_get_comments() {
    let mut rig = Rig::start(chatty());
    let mut client = rig.connect().await;
    client.get("/chunks").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    rig.frame("text");
    tokio::time::sleep(Duration::from_millis(200)).await;
    rig.frames = mpsc::unbounded_channel().0;
    let answer = client.answer().await;
    assert_eq!((answer.text(), answer.header("x-accel-buffering")), ("text", None));
}

#[tokio::test]
async fn early_frames_open_the_answer_and_json_follows_as_an_event() {
    let rig = Rig::start(limits());
    let mut client = rig.connect().await;
    client.post("/early", b"{}").await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.header("mcp-session-id")), (200, Some("s1")));
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    assert_eq!(answer.text(), "data: ask\n\ndata: more\n\ndata: {\"a\":\ndata: 1}\n\n");

    client.post("/early-stream", b"{}").await;
    let answer = client.answer().await;
    assert_eq!(answer.text(), "data: ask\n\ndata: more\n\ndata: last\n\n");

    client.post("/early-panic", b"{}").await;
    let answer = client.answer().await;
    assert_eq!(answer.text(), "data: ask\n\ndata: more\n\ndata: {\"reason\":\"internal\"}\n\n");
}

#[tokio::test]
async fn an_opened_answer_is_kept_alive_while_the_handler_waits() {
    let mut rig = Rig::start(chatty());
    let mut client = rig.connect().await;
    client.post("/early-hang", b"{}").await;
    client.head().await;
    client.chunks_make("data: ask\n\ndata: more\n\n: keep-alive\n\n").await;
    assert_eq!(rig.event().await, Event::Handled("POST /early-hang".into()));
    drop(client);
    assert_eq!(rig.event().await, Event::HandlerDropped);
}

#[tokio::test]
async fn large_answers_are_not_collected() {
    let mut rig = Rig::start(Limits { write_within: Duration::from_millis(300), ..limits() });
    let mut client = rig.connect().await;
    client.get("/big").await;
    assert_eq!(client.head().await.status, 200);
    assert_eq!(rig.event().await, Event::Handled("GET /big".into()));
    // The client takes nothing: after a while the server gives up, having asked for a few frames only.
    let Event::Frames(frames) = rig.event().await else { panic!("not the body") };
    assert!(frames < 256, "{frames} frames of 64 KiB were made for a client that reads nothing");
}

#[tokio::test]
async fn a_broken_body_is_never_a_whole_answer() {
    let rig = Rig::start(limits());
    let mut client = rig.connect().await;
    client.get("/chunks").await;
    rig.frame("part");
    client.head().await;
    client.chunks_make("part").await;
    rig.frames.send(Err(BodyError::new("cut"))).unwrap();
    assert!(client.is_closed().await, "no last chunk");

    let mut rig = Rig::start(limits());
    let mut client = rig.connect().await;
    client.get("/break").await;
    assert_eq!(client.answer().await.status, 500, "nothing was written yet");
    assert_eq!(rig.event().await, Event::Handled("GET /break".into()));
    assert_eq!(rig.event().await, Event::Refused(Reason::Internal, true));
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed_while_the_handler_runs() {
    let mut rig = Rig::start(limits());
    for reset in [false, true] {
        let mut client = rig.connect().await;
        client.post("/hang", b"{}").await;
        assert_eq!(rig.event().await, Event::Handled("POST /hang".into()));
        if reset {
            client.stream.set_zero_linger().unwrap();
        }
        drop(client);
        assert_eq!(rig.event().await, Event::HandlerDropped);
    }
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed_while_its_answer_streams() {
    for path in ["/stream", "/chunks"] {
        let mut rig = Rig::start(limits());
        let mut client = rig.connect().await;
        client.get(path).await;
        rig.frame("data: 1\n\n");
        client.head().await;
        client.chunks_make("data: 1\n\n").await;
        assert_eq!(rig.event().await, Event::Handled(format!("GET {path}")));
        drop(client);
        assert_eq!(rig.event().await, Event::BodyDropped);
    }
}

#[tokio::test]
async fn a_body_that_was_read_to_its_end_was_not_aborted() {
    let mut rig = Rig::start(limits());
    let mut client = rig.connect().await;
    client.get("/stream").await;
    rig.frame("data: 1\n\n");
    rig.frames = mpsc::unbounded_channel().0;
    assert_eq!(client.answer().await.text(), "data: 1\n\n");
    client.post("/echo", b"next").await;
    assert_eq!(client.answer().await.text(), "next");
    assert_eq!(rig.event().await, Event::Handled("GET /stream".into()));
    assert_eq!(rig.event().await, Event::Handled("POST /echo".into()));
}
