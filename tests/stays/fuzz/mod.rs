//! Everything that reads bytes of strangers, fed with a kept corpus and what mutations make of it.
//!
//! Each target takes any bytes and panics when a promise is broken. Here each gets a fixed number of inputs from a fixed
//! seed; `just fuzz TARGET SECONDS` lets libFuzzer look for more, guided by the code that inputs reach. What it finds
//! belongs into `corpus/TARGET`.

mod mutate;
pub(crate) mod targets;

use std::path::Path;

use crate::random::{Random, asked_for};
use mutate::mutate;
use targets::Target;

const SEED: u64 = 20_260_728;

/// Prints the input that was being looked at when a target panicked.
struct Culprit<'a> {
    target: &'a Target,
    input: &'a [u8],
    origin: String,
}

impl Drop for Culprit<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}, {}: \"{}\"", self.target.name, self.origin, self.input.escape_ascii());
        }
    }
}

fn feed(target: &Target, input: &[u8], origin: String) {
    let _culprit = Culprit { target, input, origin };
    (target.run)(input);
}

fn corpus(target: &Target) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("stays/fuzz/corpus").join(target.name);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut kept: Vec<_> = files
        .map(|file| file.unwrap())
        .map(|file| (file.file_name().into_string().unwrap(), std::fs::read(file.path()).unwrap()))
        .collect();
    kept.sort();
    assert!(kept.len() >= 3, "{} holds too little", folder.display());
    kept
}

/// The kept inputs, then so many mutations of them.
fn survives(name: &str) {
    let target = targets::named(name).unwrap();
    let kept = corpus(target);
    for (file, input) in &kept {
        feed(target, input, file.clone());
    }
    let (seed, count) = (asked_for("FUZZ_SEED", SEED), asked_for("FUZZ_INPUTS", target.inputs));
    let mut random = Random::new(seed);
    for number in 0..count {
        let input = mutate(&kept, target.words, &mut random);
        feed(target, &input, format!("seed {seed}, input {number}"));
    }
    println!("{name}: {} kept, {count} mutated inputs from seed {seed}", kept.len());
}

macro_rules! survive {
    ($($name:ident),+) => {
        $(#[test]
        fn $name() {
            survives(stringify!($name));
        })+

        #[test]
        fn every_target_is_run() {
            let run = [$(stringify!($name)),+];
            assert_eq!(targets::TARGETS.map(|target| target.name), run);
        }
    };
}

survive!(envelope, headers, sse, session, jwt, address, policy, csv, cursor);
