//! The benchmark: direct, nginx as a plain proxy, and the gateway with governance fully on, in alternating rounds
//! against the same upstream. Prints Markdown tables. Run with `just bench`; not part of CI.
//! `bench overload`, `half`, `idle` and `trail` measure something else: see there. `bench pinned` gives the proxy one core and all the rest another.
//!
//! Governance on means: an API key (or a JWT), a hundred policies with confirm rules among them, and a durable audit
//! record with payloads in a Postgres of its own with fsync on.

mod idle;
mod load;
mod overload;
mod sides;
mod trail;
mod usage;

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use anyhow::Context;

use crate::load::{Measured, run};
use crate::sides::{Side, Sides, What};

/// One cell of a table: all rounds of one side at one concurrency.
#[derive(Default)]
struct Cell {
    rounds: Vec<Measured>,
}

/// What is measured in one table.
struct Part {
    title: &'static str,
    what: Vec<What>,
    sides: Vec<Side>,
    clients: Vec<usize>,
}

/// What the command line asks for.
struct Asked {
    length: Duration,
    rounds: usize,
    parts: Vec<Part>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    gateway_tests::install_crypto();
    let mut arguments = std::env::args().skip(1).peekable();
    let word = arguments.peek().cloned().unwrap_or_default();
    let number = |otherwise| std::env::args().nth(2).map_or(Ok(otherwise), |text| text.parse());
    match &*word {
        "overload" => return overload::measure(Duration::from_secs(number(8)?)).await,
        "half" => return overload::at_half(Duration::from_secs(number(8)?)).await,
        "trail" => return trail::measure(Duration::from_secs(number(8)?)).await,
        "idle" => return idle::measure(usize::try_from(number(9_000)?)?).await,
        _ => {}
    }
    let pinned = arguments.next_if(|text| text == "pinned").is_some();
    let asked = asked(arguments)?;
    if pinned {
        apart()?;
    }
    let sides = Sides::start(if pinned { &["taskset", "-c", "0"] } else { &[] }).await?;
    let mut out = std::io::stdout().lock();
    for part in &asked.parts {
        writeln!(out, "### {}\n", part.title)?;
        table(&mut out, part, &asked, &sides).await?;
    }
    let records = sides.records().await;
    writeln!(out, "The trail holds {records} intents of the gateway's calls, warm-up included.")?;
    Ok(())
}

async fn table(
    out: &mut impl Write,
    part: &Part,
    asked: &Asked,
    sides: &Sides,
) -> anyhow::Result<()> {
    writeln!(
        out,
        "| clients | what | side | calls/s | p50 ms | p99 ms | CPU ms per call | Postgres CPU ms per call | RSS MB | errors |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|---|---|---|")?;
    for clients in &part.clients {
        for what in &part.what {
            let mut cells: BTreeMap<Side, Cell> = BTreeMap::new();
            for round in 0..=asked.rounds {
                for side in &part.sides {
                    let Some(target) = sides.target(*side, *what) else { continue };
                    let measured = run(&target, *clients, asked.length).await?;
                    // The first round warms connections and caches.
                    if round > 0 {
                        cells.entry(*side).or_default().rounds.push(measured);
                    }
                }
            }
            for (side, cell) in &cells {
                writeln!(out, "{}", row(*clients, *what, *side, cell))?;
            }
        }
    }
    writeln!(out)?;
    Ok(())
}

/// Load, upstream and Postgres leave the first core to the proxy that is measured.
fn apart() -> anyhow::Result<()> {
    let this = std::process::id().to_string();
    let taskset =
        std::process::Command::new("taskset").args(["-a", "-p", "-c", "1", &this]).output();
    let output = taskset.context("taskset (Debian: util-linux)")?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// `bench [pinned] [SECONDS [ROUNDS [PART...]]]`: a measurement's length, how often each is repeated, and which tables:
/// `calls`, `lists`, `sizes`, each perhaps with numbers of clients, as in `calls:16,64`.
fn asked(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Asked> {
    let seconds: u64 = arguments.next().map_or(Ok(4), |text| text.parse())?;
    let rounds: usize = arguments.next().map_or(Ok(3), |text| text.parse())?;
    anyhow::ensure!((1..=60).contains(&seconds), "SECONDS: expected 1 to 60");
    anyhow::ensure!((1..=20).contains(&rounds), "ROUNDS: expected 1 to 20");
    let mut parts = arguments.map(|text| part(&text)).collect::<Result<Vec<_>, _>>()?;
    if parts.is_empty() {
        parts = ["calls", "lists", "sizes"].into_iter().map(part).collect::<Result<_, _>>()?;
    }
    Ok(Asked { length: Duration::from_secs(seconds), rounds, parts })
}

fn part(text: &str) -> anyhow::Result<Part> {
    let (name, clients) = text.split_once(':').unwrap_or((text, ""));
    let clients: Option<Vec<usize>> = (!clients.is_empty())
        .then(|| clients.split(',').map(|number| number.parse().context("PART: clients")).collect())
        .transpose()?;
    let part = match name {
        "calls" => Part {
            title: "Tool calls, 673 bytes, answers of 1 KB",
            what: vec![What::Call { kilobytes: 1 }],
            sides: Side::CALLS.to_vec(),
            clients: clients.unwrap_or_else(|| vec![1, 16, 64, 256]),
        },
        "lists" => Part {
            title: "Listings of 200 tools",
            what: vec![What::List],
            sides: Side::LISTS.to_vec(),
            clients: clients.unwrap_or_else(|| vec![16]),
        },
        "sizes" => Part {
            title: "Tool calls by the size of their answers",
            what: [1, 16, 256, 4096].map(|kilobytes| What::Call { kilobytes }).to_vec(),
            sides: Side::SIZES.to_vec(),
            clients: clients.unwrap_or_else(|| vec![16]),
        },
        other => anyhow::bail!("PART: expected calls, lists or sizes, not {other}"),
    };
    Ok(part)
}

/// Medians over the rounds; errors are added up.
fn row(clients: usize, what: What, side: Side, cell: &Cell) -> String {
    let median = |value: fn(&Measured) -> f64| {
        let mut values: Vec<f64> = cell.rounds.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let cpu = |value: f64| if value > 0.0 { format!("{value:.3}") } else { "-".into() };
    let errors: u64 = cell.rounds.iter().map(|m| m.errors).sum();
    let rss = median(|m| m.rss_mb);
    format!(
        "| {clients} | {} | {} | {:.0} | {:.2} | {:.2} | {} | {} | {} | {errors} |",
        what.name(),
        side.name(),
        median(|m| m.calls_per_second),
        median(|m| m.p50_ms),
        median(|m| m.p99_ms),
        cpu(median(|m| m.cpu_ms)),
        cpu(median(|m| m.database_cpu_ms)),
        if rss > 0.0 { format!("{rss:.0}") } else { "-".into() },
    )
}
