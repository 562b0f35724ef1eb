//! Starting and ending: several listeners in one process, draining, cutting.

use std::time::Duration;

use tokio::net::TcpStream;

use super::fixture::{Event, PATIENCE, Rig, limits, within};
use crate::proxy::plumbing::{Limits, Listen, Plumbing, StartError};

#[tokio::test]
async fn listeners_live_beside_and_after_each_other() {
    let first = Rig::start(limits());
    let second = Rig::start(limits());
    assert_ne!(first.plumbing.address(), second.plumbing.address());
    for rig in [&first, &second] {
        let mut client = rig.connect().await;
        client.post("/echo", b"x").await;
        assert_eq!(client.answer().await.status, 200);
    }
    let address = first.plumbing.address();
    assert!(within("draining", first.plumbing.drain(PATIENCE)).await);
    assert!(TcpStream::connect(address).await.is_err(), "the address is free");
    let mut client = second.connect().await;
    client.post("/echo", b"y").await;
    assert_eq!(client.answer().await.status, 200);
}

#[tokio::test]
async fn a_taken_address_is_an_error_at_once() {
    let rig = Rig::start(limits());
    let listen = Listen { address: rig.plumbing.address(), tls: None };
    let started = Plumbing::start(&listen, limits(), rig.plumbing.shared.handler.clone());
    assert!(matches!(started, Err(StartError::Bind { address, .. }) if address == listen.address));
}

#[tokio::test]
async fn draining_lets_running_exchanges_finish_and_closes_idle_connections() {
    let mut rig = Rig::start(limits());
    let mut idle = rig.connect().await;
    idle.post("/echo", b"x").await;
    assert_eq!(idle.answer().await.header("connection"), Some("keep-alive"));
    let mut silent = rig.connect().await;
    let mut running = rig.connect().await;
    running.get("/chunks").await;
    assert_eq!(rig.event().await, Event::Handled("POST /echo".into()));
    assert_eq!(rig.event().await, Event::Handled("GET /chunks".into()));

    let Rig { plumbing, frames, .. } = rig;
    let address = plumbing.address();
    let draining = tokio::spawn(plumbing.drain(PATIENCE));
    assert!(idle.is_closed().await);
    assert!(silent.is_closed().await);
    assert!(TcpStream::connect(address).await.is_err());
    assert!(!draining.is_finished(), "one exchange is still running");
    frames.send(Ok("done".into())).unwrap();
    drop(frames);
    let answer = running.answer().await;
    assert_eq!((answer.status, answer.text()), (200, "done"));
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(running.is_closed().await);
    assert!(within("draining", draining).await.unwrap(), "nothing was cut");
}

#[tokio::test]
async fn requests_on_open_connections_are_served_for_a_moment_then_refused() {
    let mut rig = Rig::start(Limits { lame_duck: Duration::from_secs(60), ..limits() });
    let mut client = rig.connect().await;
    client.post("/echo", b"x").await;
    assert_eq!(client.answer().await.status, 200);
    rig.event().await;
    let draining = tokio::spawn(rig.plumbing.drain(PATIENCE));
    while !draining.is_finished()
        && TcpStream::connect(client.stream.peer_addr().unwrap()).await.is_ok()
    {
        tokio::task::yield_now().await;
    }
    client.post("/echo", b"late").await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert!(client.is_closed().await);
    assert!(within("draining", draining).await.unwrap());
}

#[tokio::test]
async fn what_outlives_the_grace_is_cut() {
    let mut rig = Rig::start(limits());
    let mut hanging = rig.connect().await;
    hanging.get("/hang").await;
    assert_eq!(rig.event().await, Event::Handled("GET /hang".into()));
    let Rig { plumbing, mut events, .. } = rig;
    assert!(!within("draining", plumbing.drain(Duration::from_millis(100))).await);
    assert_eq!(events.recv().await, Some(Event::HandlerDropped));
    assert!(hanging.is_closed().await);
}

#[tokio::test]
async fn dropping_cuts_everything() {
    let mut rig = Rig::start(limits());
    let mut hanging = rig.connect().await;
    hanging.get("/hang").await;
    assert_eq!(rig.event().await, Event::Handled("GET /hang".into()));
    let Rig { plumbing, mut events, .. } = rig;
    drop(plumbing);
    assert_eq!(within("the cut", events.recv()).await, Some(Event::HandlerDropped));
    assert!(hanging.is_closed().await);
}
