//! A closed loop of calls: so many connections, each with one call under way, for so long. Every answer is
//! read whole and checked; what is not a good result counts as an error.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::usage::Usage;

/// Where the load goes, and whose processor time is counted.
#[derive(Clone)]
pub(crate) struct Target {
    /// The address.
    pub(crate) address: SocketAddr,
    /// The path.
    pub(crate) path: String,
    /// The least that a good answer has, bytes.
    pub(crate) least: usize,
    /// Headers of every call, `Host` among them.
    pub(crate) headers: HeaderMap,
    /// The body of every call.
    pub(crate) body: Bytes,
    /// The side's processes.
    pub(crate) processes: Vec<u32>,
    /// Postgres, where the side has one.
    pub(crate) database: Vec<u32>,
}

/// One measurement.
pub(crate) struct Measured {
    /// Good answers a second.
    pub(crate) calls_per_second: f64,
    /// Median time of a call.
    pub p50_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
    /// Processor time of the side's processes.
    pub(crate) cpu_ms: f64,
    /// Processor time of Postgres.
    pub(crate) database_cpu_ms: f64,
    /// Resident memory of the side's processes at the end.
    pub(crate) rss_mb: f64,
    /// Calls that failed.
    pub(crate) errors: u64,
}

/// Runs `concurrency` connections for `length`.
pub(crate) async fn run(
    target: &Target,
    concurrency: usize,
    length: Duration,
) -> anyhow::Result<Measured> {
    let target = Arc::new(target.clone());
    let before = (Usage::of(&target.processes), Usage::of(&target.database));
    let started = Instant::now();
    let until = started + length;
    let workers: Vec<_> =
        (0..concurrency).map(|_| tokio::spawn(worker(Arc::clone(&target), until))).collect();
    let (mut latencies, mut errors) = (Vec::new(), 0);
    for worker in workers {
        let (times, failed) = worker.await.context("a worker panicked")?;
        latencies.extend(times);
        errors += failed;
    }
    let elapsed = started.elapsed().as_secs_f64();
    let after = (Usage::of(&target.processes), Usage::of(&target.database));
    latencies.sort_unstable();
    let calls = latencies.len().max(1) as f64;
    let percentile = |p: f64| {
        let at = ((latencies.len() as f64 - 1.0) * p).max(0.0) as usize;
        latencies.get(at).map_or(f64::NAN, |t| t.as_secs_f64() * 1e3)
    };
    Ok(Measured {
        calls_per_second: latencies.len() as f64 / elapsed,
        p50_ms: percentile(0.5),
        p99_ms: percentile(0.99),
        cpu_ms: (after.0.cpu_seconds - before.0.cpu_seconds) * 1e3 / calls,
        database_cpu_ms: (after.1.cpu_seconds - before.1.cpu_seconds) * 1e3 / calls,
        rss_mb: after.0.rss_mb,
        errors,
    })
}

async fn worker(target: Arc<Target>, until: Instant) -> (Vec<Duration>, u64) {
    let (mut times, mut errors) = (Vec::with_capacity(1 << 14), 0u64);
    let mut connection = None;
    // A side that is down must not be asked without bound.
    while Instant::now() < until && errors < 1_000 {
        if connection.is_none() {
            connection = connect(target.address).await.ok();
        }
        let Some(open) = &mut connection else {
            errors += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let started = Instant::now();
        match call(open, &target).await {
            Ok(()) => times.push(started.elapsed()),
            Err(_) => {
                errors += 1;
                connection = None;
            }
        }
    }
    (times, errors)
}

pub(crate) async fn connect(address: SocketAddr) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn call(open: &mut SendRequest<Full<Bytes>>, target: &Target) -> anyhow::Result<()> {
    let status = status(open, target).await?;
    anyhow::ensure!(status == 200, "status {status}");
    Ok(())
}

/// Makes a call, reads its answer whole and gives its status; an error where 200 comes with anything but the result.
pub(crate) async fn status(
    open: &mut SendRequest<Full<Bytes>>,
    target: &Target,
) -> anyhow::Result<u16> {
    open.ready().await?;
    let mut request = Request::post(&target.path).body(Full::new(target.body.clone()))?;
    *request.headers_mut() = target.headers.clone();
    let response = open.send_request(request).await?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await?.to_bytes();
    // What fails is short.
    let failed = body.len() < 64 << 10 && contains(&body, b"isError\":true");
    let good = body.len() >= target.least && body.ends_with(b"}}") && !failed;
    anyhow::ensure!(good || status != 200, "not the result");
    Ok(status)
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
