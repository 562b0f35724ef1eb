//! `bench overload`: more calls than there is capacity for, open loop, at 0.8, 2 and 5 times what a closed loop gets
//! through. Once with everything bounded by the processor, which load, upstream and Postgres share with the gateway,
//! and once by the places at a server that takes its time, where the processor is not what is scarce.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use http::HeaderValue;
use http_body_util::Full;
use hyper::client::conn::http1::SendRequest;
use tokio::task::JoinSet;

use crate::load::{self, Target, run};
use crate::sides::{SLOW, Side, Sides, TOOL, What};
use crate::usage::Usage;

/// Connections at most; a call that finds none free is not made, and counted.
const CONNECTIONS: usize = 2_048;
/// Closed loop for the capacity.
const CLIENTS: usize = 64;

/// What is scarce.
#[derive(Clone, Copy)]
enum Scarce {
    Processor,
    Places,
}

/// One call as its client saw it.
struct Shot {
    status: u16,
    time: Duration,
}

/// What an open loop saw.
struct Seen {
    shots: Vec<Shot>,
    /// Calls that found no connection.
    unmade: usize,
    rss_mb: f64,
    seconds: f64,
}

/// Measures both and prints one table.
pub(crate) async fn measure(length: Duration) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "| scarce | offered | calls made/s | served/s | of C | p99 served ms | of 0.8 C | turned away/s | p50 / p99 of that ms | other | RSS MB |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|---|---|---|---|")?;
    for scarce in [Scarce::Processor, Scarce::Places] {
        let sides = Sides::start_with(scarce.config(), &[]).await?;
        let target = scarce.target(&sides)?;
        run(&target, CLIENTS, length / 2).await?;
        let capacity = run(&target, CLIENTS, length).await?.calls_per_second;
        let mut base = f64::NAN;
        for times in [0.8, 2.0, 5.0] {
            let seen = open_loop(&target, capacity * times, length).await?;
            if times < 1.0 {
                base = percentile(&seen.times(200), 0.99);
            }
            writeln!(out, "{}", seen.row(scarce, times, (capacity, base)))?;
            // What was turned away is forgotten before the next one.
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    }
    Ok(())
}

/// What calls take at half of what a closed loop gets through; each side at its own half, and nginx at the gateway's,
/// too.
pub(crate) async fn at_half(length: Duration) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "| side | calls/s | of capacity | p50 ms | p99 ms | other |\n|---|---|---|---|---|---|"
    )?;
    let sides = Sides::start(&[]).await?;
    let mut gateways = f64::NAN;
    for side in [Side::Unread, Side::Read, Side::Token, Side::Nginx] {
        let Some(target) = sides.target(side, What::Call { kilobytes: 1 }) else { continue };
        run(&target, CLIENTS, length / 2).await?;
        let capacity = run(&target, CLIENTS, length).await?.calls_per_second;
        let rates = match side {
            Side::Nginx => vec![gateways / 2.0, capacity / 2.0],
            Side::Direct
            | Side::Unread
            | Side::Read
            | Side::Token
            | Side::Open
            | Side::Governed => {
                vec![capacity / 2.0]
            }
        };
        if matches!(side, Side::Read) {
            gateways = capacity;
        }
        for rate in rates {
            let seen = open_loop(&target, rate, length).await?;
            let served = seen.times(200);
            writeln!(
                out,
                "| {} | {:.0} | {:.2} | {:.2} | {:.2} | {} |",
                side.name(),
                served.len() as f64 / seen.seconds,
                rate / capacity,
                percentile(&served, 0.5),
                percentile(&served, 0.99),
                seen.shots.len() - served.len() + seen.unmade,
            )?;
        }
    }
    Ok(())
}

impl Scarce {
    fn name(self) -> &'static str {
        match self {
            Scarce::Processor => "processor",
            Scarce::Places => "places at the server",
        }
    }

    /// One caller gets 64 of these places, for 50 ms each.
    fn config(self) -> &'static str {
        match self {
            Scarce::Processor => "",
            Scarce::Places => "limits.per_server = 96\n",
        }
    }

    fn target(self, sides: &Sides) -> anyhow::Result<Target> {
        let mut target = sides
            .target(Side::Read, What::Call { kilobytes: 1 })
            .context("the gateway is there")?;
        if matches!(self, Scarce::Places) {
            let text = String::from_utf8(target.body.to_vec())?;
            target.body = text.replace(&format!("\"{TOOL}\""), &format!("\"{SLOW}\"")).into();
            target.headers.insert("mcp-name", HeaderValue::from_static(SLOW));
        }
        Ok(target)
    }
}

impl Seen {
    fn times(&self, status: u16) -> Vec<f64> {
        let of = self.shots.iter().filter(|shot| shot.status == status);
        let mut times: Vec<f64> = of.map(|shot| shot.time.as_secs_f64() * 1e3).collect();
        times.sort_by(f64::total_cmp);
        times
    }

    fn row(&self, scarce: Scarce, times: f64, (capacity, base): (f64, f64)) -> String {
        let (served, away) = (self.times(200), self.times(503));
        let rate = |number: usize| number as f64 / self.seconds;
        let other = self.shots.len() - served.len() - away.len();
        let p99 = percentile(&served, 0.99);
        let away_times = if away.is_empty() {
            "-".to_owned()
        } else {
            format!("{:.1} / {:.1}", percentile(&away, 0.5), percentile(&away, 0.99))
        };
        format!(
            "| {} | {times} C = {:.0}/s | {:.0} ({} not made) | {:.0} | {:.2} | {p99:.1} | {:.1} | {:.0} | {away_times} | {other} | {:.0} |",
            scarce.name(),
            capacity * times,
            rate(self.shots.len()),
            self.unmade,
            rate(served.len()),
            rate(served.len()) / capacity,
            p99 / base,
            rate(away.len()),
            self.rss_mb,
        )
    }
}

fn percentile(sorted: &[f64], p: f64) -> f64 {
    let at = ((sorted.len() as f64 - 1.0) * p).max(0.0) as usize;
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

/// The free connections, and how many there are in all.
#[derive(Default)]
struct Connections {
    free: Mutex<Vec<SendRequest<Full<Bytes>>>>,
    used: AtomicUsize,
}

/// So many calls a second for so long, whether the ones before are answered or not. A call's time begins when it is
/// due.
async fn open_loop(target: &Target, rate: f64, length: Duration) -> anyhow::Result<Seen> {
    let (target, connections) = (Arc::new(target.clone()), Arc::new(Connections::default()));
    let (began, mut due, mut unmade) = (Instant::now(), 0usize, 0);
    let mut calls = JoinSet::new();
    let mut shots = Vec::new();
    while began.elapsed() < length {
        let now = (began.elapsed().as_secs_f64() * rate) as usize;
        for _ in due..now {
            if connections.used.load(Ordering::Relaxed) >= CONNECTIONS {
                unmade += 1;
                continue;
            }
            connections.used.fetch_add(1, Ordering::Relaxed);
            calls.spawn(shoot(Arc::clone(&target), Arc::clone(&connections), Instant::now()));
        }
        due = now;
        while let Some(shot) = calls.try_join_next() {
            shots.push(shot?);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let seconds = began.elapsed().as_secs_f64();
    let rss_mb = Usage::of(&target.processes).rss_mb;
    while let Some(shot) = calls.join_next().await {
        shots.push(shot?);
    }
    Ok(Seen { shots, unmade, rss_mb, seconds })
}

/// One call. Status 0: it broke off, or the answer is not what it should be.
async fn shoot(target: Arc<Target>, connections: Arc<Connections>, due: Instant) -> Shot {
    let free = connections.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let open = match free {
        Some(open) => Ok(open),
        None => load::connect(target.address).await,
    };
    let mut status = 0;
    if let Ok(mut open) = open
        && let Ok(seen) = load::status(&mut open, &target).await
    {
        status = seen;
        connections.free.lock().unwrap_or_else(PoisonError::into_inner).push(open);
    }
    connections.used.fetch_sub(1, Ordering::Relaxed);
    Shot { status, time: due.elapsed() }
}
