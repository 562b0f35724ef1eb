//! How many instructions the gateway's inner loops take, counted by valgrind: a regression shows on a noisy machine, too.
//!
//! `instructions` counts every case and compares it with `instructions.toml`; more than a twentieth above fails.
//! `--write` keeps what was counted. Counts depend on the compiler and, little, on the processor: after a change of
//! either, write them anew. `just instructions` builds and runs it.
#![expect(clippy::print_stdout, reason = "its figures are for people")]

mod cases;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};

const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/bench/instructions/instructions.toml");
/// Above what was kept by more than this, it is a regression; below, time to keep the better figure.
const TOLERANCE: f64 = 0.05;
/// What a case is run once and twice as often for: the difference is what one takes, without making it ready.
const ROUNDS: u64 = 200;

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [] => compare(),
        [write] if write == "--write" => {
            let counted = count_all()?;
            std::fs::write(KEPT, text(&counted)).context(KEPT)?;
            Ok(ExitCode::SUCCESS)
        }
        [case, rounds] => {
            let mut one = cases::named(case).with_context(|| format!("there is no case {case}"))?;
            for _ in 0..rounds.parse::<u64>()? {
                black_box(one());
            }
            Ok(ExitCode::SUCCESS)
        }
        _ => anyhow::bail!("expected nothing, --write, or a case and a number of rounds"),
    }
}

fn compare() -> Result<ExitCode> {
    let kept = std::fs::read_to_string(KEPT).context(KEPT)?;
    let kept: BTreeMap<String, u64> = toml::from_str(&kept).context(KEPT)?;
    let mut worse = 0;
    for (case, count) in count_all()? {
        let before = *kept.get(&case).with_context(|| format!("{KEPT} has no {case}"))?;
        let change = count as f64 / before as f64 - 1.0;
        let verdict = if change > TOLERANCE { "WORSE" } else { "" };
        worse += u32::from(change > TOLERANCE);
        println!("{case:<14} {count:>9}  {:>+6.1} %  {verdict}", change * 100.0);
    }
    Ok(if worse == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn count_all() -> Result<BTreeMap<String, u64>> {
    let mut counted = BTreeMap::new();
    for case in cases::NAMES {
        let (once, twice) = (count(case, ROUNDS)?, count(case, 2 * ROUNDS)?);
        counted.insert(case.to_owned(), twice.saturating_sub(once) / ROUNDS);
    }
    Ok(counted)
}

/// All instructions of a process that runs the case so often.
fn count(case: &str, rounds: u64) -> Result<u64> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]);
    let run = valgrind.arg(std::env::current_exe()?).args([case, &rounds.to_string()]).output();
    let run = run.context("valgrind, from the package of that name")?;
    let said = String::from_utf8_lossy(&run.stderr);
    ensure!(run.status.success(), "{case}: {said}");
    // `I refs:`, or in older versions `I   refs:`
    let figure = said.lines().find_map(|line| {
        let (name, figure) = line.split_once("refs:")?;
        name.trim_end().ends_with('I').then_some(figure)
    });
    let figure = figure.with_context(|| format!("valgrind did not count: {said}"))?;
    Ok(figure.trim().replace(',', "").parse()?)
}

fn text(counted: &BTreeMap<String, u64>) -> String {
    let mut text = "# Instructions of one round in a release build; `just instructions --write` makes this file.\n".to_owned();
    for (case, count) in counted {
        text.push_str(&format!("{case} = {count}\n"));
    }
    text
}
