//! B3: clients that send and read as slowly as they can are cut by deadlines; memory stays bounded and others are
//! served meanwhile.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use gateway_tests::rig::{Rig, Setup, check};
use gateway_tests::upstream::Answer;
use gateway_tests::wait::eventually;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{PATIENCE, call, client, memory};

const DEADLINES: &str =
    "server.head_timeout = \"2s\"\nserver.body_timeout = \"2s\"\nserver.write_timeout = \"2s\"\n";
/// Of each kind that sends.
const SENDERS: usize = 200;
const READERS: usize = 6;
/// What each of them asks for: more than the two systems have room for.
const EVENTS: usize = 768;
const EVENT: usize = 16 << 10;
/// Between two bytes.
const PAUSE: Duration = Duration::from_millis(150);
/// What 406 connections may take, with all that the calls beside them leave behind; a gateway that read for its slow
/// readers what their servers send would need 72 MiB more.
const MOST: u64 = 64 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_clients_are_cut_and_others_are_served() {
    let setup = Setup { config: DEADLINES.into(), ..Setup::default() };
    check(setup, async |rig| {
        let event = format!("data: {{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{{\"level\":\"info\",\"data\":\"{}\"}}}}\n\n", "x".repeat(EVENT));
        let events = (0..EVENTS).map(|_| (Duration::ZERO, event.clone())).collect();
        rig.upstream.tool("raw_big", json!({})).answer("raw_big", Answer::Events(events));
        let carol = client(rig, "carol", "fake");
        for _ in 0..20 {
            assert_eq!(call(&carol, "echo").await.unwrap().unwrap().status, 200);
        }
        let process = rig.gateway.process_id().unwrap();
        let (before, _) = memory(process);
        let address: SocketAddr = rig.gateway.base["http://".len()..].parse().unwrap();
        let mut slow = JoinSet::new();
        let head = format!("POST /api/v1/proxy/fake/mcp HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n");
        for _ in 0..SENDERS {
            slow.spawn(trickle(address, String::new(), format!("{head}X-Long: {}", "x".repeat(1024))));
            let body = format!("{head}Content-Length: 1024\r\n\r\n{{\"");
            slow.spawn(trickle(address, body, "x".repeat(1024)));
        }
        let request = big_request(rig, &head);
        for _ in 0..READERS {
            slow.spawn(sip(address, request.clone()));
        }
        // All of them are there; others are served.
        let (mut served, mut peak) = (0, 0);
        while !slow.is_empty() {
            let reply = call(&carol, "echo").await.unwrap().unwrap();
            assert_eq!(reply.status, 200, "{:?}", reply.body);
            served += 1;
            peak = peak.max(memory(process).0);
            while let Some(ended) = slow.try_join_next() {
                ended.unwrap().expect("it is cut, and not for the client's own fault");
            }
            sleep(Duration::from_millis(20)).await;
        }
        let grown = peak.saturating_sub(before);
        println!("{served} served beside them; memory grew by {} KiB", grown >> 10);
        assert!(grown <= MOST, "memory grew by {grown} bytes");
        assert_eq!(rig.upstream.calls("raw_big").len(), READERS);
        eventually("their connections are gone", Duration::from_secs(30), async || {
            let metrics = rig.gateway.metrics().await;
            let line = metrics.lines().find(|l| l.starts_with("gateway_pool_used{pool=\"connections\"}"))?;
            let open: usize = line.rsplit(' ').next()?.parse().ok()?;
            (open <= 8).then_some(())
        })
        .await;
    })
    .await;
}

/// Memory of connections that do nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_waits_takes_little() {
    check(Setup::default(), async |rig| {
        let address: SocketAddr = rig.gateway.base["http://".len()..].parse().unwrap();
        let process = rig.gateway.process_id().unwrap();
        // What the first ones need to be there at all is not theirs.
        let first = idle(address, 100).await;
        let (before, _) = memory(process);
        let rest = idle(address, 400).await;
        let each = memory(process).0.saturating_sub(before) / 400;
        println!("{} KiB for each connection that waits", each >> 10);
        assert!(each <= 64 << 10, "{each} bytes each");
        drop((first, rest));
    })
    .await;
}

/// Connections that have had one answer and keep waiting for their next request.
async fn idle(address: SocketAddr, number: usize) -> Vec<TcpStream> {
    let mut open = Vec::new();
    for _ in 0..number {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(format!("GET /nothing HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut answer = [0; 4096];
        let read = timeout(PATIENCE, stream.read(&mut answer)).await.unwrap().unwrap();
        assert!(
            answer[..read].starts_with(b"HTTP/1.1 4"),
            "{}",
            String::from_utf8_lossy(&answer[..read])
        );
        open.push(stream);
    }
    open
}

fn big_request(rig: &Rig, head: &str) -> String {
    let bob = client(rig, "bob", "fake");
    let body =
        bob.modern_body("tools/call", json!({"name": "raw_big", "arguments": {}})).to_string();
    format!(
        "{head}Connection: close\r\nAccept: application/json, text/event-stream\r\nAuthorization: Bearer {}\r\nMcp-Protocol-Version: 2026-07-28\r\n\
         Mcp-Method: tools/call\r\nMcp-Name: raw_big\r\nContent-Length: {}\r\n\r\n{body}",
        rig.key("bob"),
        body.len()
    )
}

/// Sends `first` at once and `rest` byte by byte until the gateway has had enough.
async fn trickle(address: SocketAddr, first: String, rest: String) -> io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(first.as_bytes()).await?;
    let mut answer = [0; 1024];
    // A minute, at most.
    for byte in rest.as_bytes().iter().take(400) {
        match timeout(PAUSE, stream.read(&mut answer)).await {
            // Closed, or first told why.
            Ok(Ok(0) | Err(_)) => return Ok(()),
            Ok(Ok(_)) => {}
            Err(_) => {
                if stream.write_all(&[*byte]).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
    Err(io::Error::other("it was never cut"))
}

/// Asks for 12 MiB of events and reads a byte now and then, with next to no room for more, until it is cut.
async fn sip(address: SocketAddr, request: String) -> io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4096)?;
    let mut stream = socket.connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut total = stream.read(&mut [0; 1]).await?;
    // Far longer than the deadline: a busy machine takes its time until there is anything that cannot be written.
    for _ in 0..160 {
        sleep(PAUSE).await;
        match timeout(PATIENCE, stream.read(&mut [0; 1])).await? {
            Ok(0) | Err(_) => return Ok(()),
            Ok(read) => total += read,
        }
    }
    // By now it was cut long ago: what is left is what the two systems had room for.
    let mut rest = vec![0; 64 << 10];
    loop {
        match timeout(PATIENCE, stream.read(&mut rest)).await? {
            Ok(0) | Err(_) => break,
            Ok(read) => total += read,
        }
    }
    println!("a slow reader got {} KiB", total >> 10);
    match total < EVENTS * EVENT {
        true => Ok(()),
        false => Err(io::Error::other("it was sent everything")),
    }
}
