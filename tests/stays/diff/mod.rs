//! C2: what was authorised is what runs. Whatever the gateway's strict parser accepts, Python's, Node's and serde's
//! parsers read the same: id, method, name, URI and arguments. Numbers are compared as the doubles that Node has.
//!
//! `just diff` asks about a million bodies; a slice of that is asked every time.

mod bodies;
mod canonical;
mod reader;

use std::collections::BTreeMap;

use gateway_core::mcp::{Call, understand};

use crate::random::{Random, asked_for};
use crate::reading::agrees_with_serde;
use reader::Reader;

const SEED: u64 = 20_260_728;
const SLICE: u64 = 20_000;
/// So many bodies are under way at once.
const BATCH: u64 = 500;

/// A body that was accepted.
struct Accepted {
    body: Vec<u8>,
    call: Call,
}

/// How many were accepted, and why others were not.
#[derive(Default)]
struct Told {
    accepted: u64,
    refused: BTreeMap<String, u64>,
}

#[test]
fn what_was_authorised_is_what_runs() {
    let (seed, count) = (asked_for("DIFF_SEED", SEED), asked_for("DIFF_BODIES", SLICE));
    let mut random = Random::new(seed);
    let mut readers = [Reader::start("python3", "reader.py"), Reader::start("node", "reader.mjs")];
    let mut told = Told::default();
    for done in (0..count).step_by(usize::try_from(BATCH).unwrap()) {
        let batch = generate(BATCH.min(count - done), &mut random, &mut told);
        compare(&batch, &mut readers).unwrap_or_else(|trouble| panic!("seed {seed}: {trouble}"));
    }
    println!(
        "seed {seed}: {count} bodies, {} accepted, 0 read otherwise; refused {:?}",
        told.accepted, told.refused
    );
    // Else the grammar has degenerated.
    assert!(told.accepted > count / 4 && told.refused.len() >= 4, "{:?}", told.refused);
}

fn generate(count: u64, random: &mut Random, told: &mut Told) -> Vec<Accepted> {
    let mut accepted = Vec::new();
    for _ in 0..count {
        let (body, version) = bodies::body(random);
        match understand(&body, version) {
            Ok(call) => accepted.push(Accepted { body, call }),
            Err(flaw) => *told.refused.entry(flaw.reason.as_str().to_owned()).or_default() += 1,
        }
    }
    told.accepted += accepted.len() as u64;
    accepted
}

fn compare(batch: &[Accepted], readers: &mut [Reader]) -> Result<(), String> {
    // The pipes hold less than a batch: whoever answers early waits for us, so each is asked by a thread.
    std::thread::scope(|scope| {
        let answers: Vec<_> =
            readers.iter_mut().map(|reader| scope.spawn(|| answers(batch, reader))).collect();
        for one in batch {
            let read = agrees_with_serde(&one.call, &one.body);
            read.map_err(|trouble| format!("{trouble}\n{}", show(&one.body)))?;
        }
        answers.into_iter().try_for_each(|thread| thread.join().unwrap())
    })
}

fn answers(batch: &[Accepted], reader: &mut Reader) -> Result<(), String> {
    // Small pieces fit into the pipe back whole, so neither side waits for the other to read.
    for piece in batch.chunks(16) {
        reader.ask(piece.iter().map(|one| one.body.as_slice()));
        for one in piece {
            let ours = canonical::of_call(&one.call, std::str::from_utf8(&one.body).unwrap());
            let theirs = reader.answer();
            if ours != theirs {
                return Err(format!(
                    "{}: {theirs}\nours: {ours}\nbody: {}",
                    reader.name,
                    show(&one.body)
                ));
            }
        }
    }
    Ok(())
}

fn show(body: &[u8]) -> String {
    body.escape_ascii().to_string()
}
