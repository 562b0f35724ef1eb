//! The benchmark: direct, nginx as a plain proxy, and the gateway with governance fully on, its scanners off
//! and on, in alternating rounds against the same upstream. Prints one Markdown table. Run with `just bench`; not part of CI.
//! `bench overload` measures something else: see there.
//!
//! Governance on means: an API key, a hundred policies with confirm rules among them, and a durable audit
//! record with payloads in a Postgres of its own with fsync on.

mod load;
mod overload;
mod sides;
mod usage;

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use crate::load::{Measured, run};
use crate::sides::{Side, Sides};

/// How many clients call at once.
const CONCURRENCY: [usize; 4] = [1, 16, 64, 256];

/// One cell of the table: all rounds of one side at one concurrency.
#[derive(Default)]
struct Cell {
    rounds: Vec<Measured>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    gateway_tests::install_crypto();
    if std::env::args().nth(1).as_deref() == Some("overload") {
        let seconds = std::env::args().nth(2).map_or(Ok(8), |text| text.parse())?;
        return overload::measure(Duration::from_secs(seconds)).await;
    }
    let (seconds, rounds) = arguments()?;
    let sides = Sides::start().await?;
    let mut cells: BTreeMap<(usize, Side), Cell> = BTreeMap::new();
    for concurrency in CONCURRENCY {
        for round in 0..=rounds {
            for side in Side::ALL {
                let Some(target) = sides.target(side) else { continue };
                let measured = run(&target, concurrency, Duration::from_secs(seconds)).await?;
                // The first round warms connections and caches.
                if round > 0 {
                    cells.entry((concurrency, side)).or_default().rounds.push(measured);
                }
            }
        }
    }
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "| clients | side | calls/s | p50 ms | p99 ms | CPU ms per call | Postgres CPU ms per call | RSS MB | errors |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|---|---|")?;
    for ((concurrency, side), cell) in &cells {
        writeln!(out, "{}", row(*concurrency, *side, cell))?;
    }
    let records = sides.records().await;
    writeln!(out, "\nThe trail holds {records} intents of the gateway's calls, warm-up included.")?;
    Ok(())
}

/// `bench [SECONDS [ROUNDS]]`: a measurement's length and how often each is repeated.
fn arguments() -> anyhow::Result<(u64, usize)> {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().map_or(Ok(4), |text| text.parse())?;
    let rounds = arguments.next().map_or(Ok(3), |text| text.parse())?;
    anyhow::ensure!((1..=60).contains(&seconds), "SECONDS: expected 1 to 60");
    anyhow::ensure!((1..=20).contains(&rounds), "ROUNDS: expected 1 to 20");
    Ok((seconds, rounds))
}

/// Medians over the rounds; errors are added up.
fn row(concurrency: usize, side: Side, cell: &Cell) -> String {
    let median = |value: fn(&Measured) -> f64| {
        let mut values: Vec<f64> = cell.rounds.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let cpu = |value: f64| if value > 0.0 { format!("{value:.3}") } else { "-".into() };
    let errors: u64 = cell.rounds.iter().map(|m| m.errors).sum();
    let rss = median(|m| m.rss_mb);
    format!(
        "| {concurrency} | {} | {:.0} | {:.2} | {:.2} | {} | {} | {} | {errors} |",
        side.name(),
        median(|m| m.calls_per_second),
        median(|m| m.p50_ms),
        median(|m| m.p99_ms),
        cpu(median(|m| m.cpu_ms)),
        cpu(median(|m| m.database_cpu_ms)),
        if rss > 0.0 { format!("{rss:.0}") } else { "-".into() },
    )
}
