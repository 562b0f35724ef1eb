//! What is hostile costs no more than its length allows and hides nothing; what is merely dense is read to the end.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::super::message::{self, Found};
use super::super::{Class, Detectors, Guard, Modes};
use super::*;
use crate::json::write_string;

/// Work that may be done before somebody looks at what is left: one window of a pattern, one run of digits.
const LAST: usize = 128 * 1024;

/// What is found by all classes with that much in the pot, and what that cost.
fn read(text: &str, pot: usize) -> (Vec<Found>, usize) {
    NEXT_POT.with(|next| next.set(pot));
    SPENT.with(|spent| spent.set(0));
    let found = message::read(&Detectors::built_in(), Guard::ToolCall, &Modes::default(), text);
    NEXT_POT.with(|next| next.set(POT));
    (found, SPENT.with(std::cell::Cell::get))
}

fn quoted(text: &str) -> String {
    let mut quoted = String::new();
    write_string(text, &mut quoted);
    quoted
}

fn every_literal() -> String {
    Detectors::literals().collect::<Vec<_>>().join(" ") + " "
}

#[test]
fn the_pot_is_shared_and_the_allowance_is_not() {
    let mut budget = Budget::default();
    budget.begin(100);
    budget.spend(100 * PER_BYTE + PER_TEXT);
    assert!(!budget.is_used_up());
    budget.begin(10);
    budget.spend(10 * PER_BYTE + PER_TEXT + POT - 1);
    assert!(!budget.is_used_up(), "the first text took nothing out of the pot");
    budget.spend(1);
    assert!(budget.is_used_up());
    budget.begin(1);
    budget.spend(PER_BYTE + PER_TEXT - 1);
    assert!(!budget.is_used_up(), "its own allowance is left");
    budget.spend(1);
    assert!(budget.is_used_up());
}

#[test]
fn hostile_texts_cost_what_their_length_allows() {
    const LENGTH: usize = 192 * 1024;
    let every = every_literal();
    let every_line = Detectors::literals().collect::<Vec<_>>().join("\n");
    let mut cut = Vec::new();
    for piece in [
        &every,
        &every_line,
        "a\u{200B}",
        "4111 1111 1111 1111 ",
        "a@b.co ",
        "password=\"kX9#mQ2$vL7!\" ",
        "VVVV",
        "1.1.",
        "::1",
        "ignore all ",
        "sk-",
    ] {
        let text = quoted(&piece.repeat(LENGTH / piece.len()));
        let (found, spent) = read(&text, 0);
        cut.extend(found.iter().find(|one| *one.rule == *TOO_DENSE).map(|_| piece));
        assert!(spent <= text.len() * PER_BYTE + PER_TEXT + LAST, "{:.20}: {spent}", piece);
    }
    assert!(cut.len() >= 3, "{cut:?}");
    // Many texts share one pot.
    let text = format!(
        "[{}1]",
        "\"a\u{200B}b\u{200B}c\u{200B}d\u{200B}e\u{200B}f\u{200B}\",".repeat(4_000)
    );
    let (_, spent) = read(&text, POT / 4);
    assert!(spent <= POT / 4 + text.len() * PER_BYTE + 4_000 * (PER_TEXT + FIND), "{spent}");
}

/// Lists, dumps and listings, whole: no false alarm, and all that is in them is told apart.
#[test]
fn what_is_merely_dense_is_read() {
    let lines =
        |count: usize, line: &dyn Fn(usize) -> String| (0..count).map(line).collect::<String>();
    let noise: Vec<u8> = (0..40_000u32)
        .flat_map(|n| n.wrapping_mul(0x9E37_79B9).rotate_left(n % 31).to_le_bytes())
        .collect();
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x} ")).collect::<String>();
    for (name, text, finds) in [
        ("addresses", lines(10_000, &|n| format!("p{n:05}@example.org\n")), 10_000),
        ("cards", "4111 1111 1111 1111\n".repeat(10_000), 10_000),
        ("card numbers", "4111111111111111,\n".repeat(10_000), 10_000),
        (
            "a table",
            lines(6_000, &|n| {
                format!(
                    "{} {} {} {n} {} {}\n",
                    n * 7 % 10,
                    n * 31 % 100,
                    n * 37 % 1000,
                    n * 1009,
                    n % 3
                )
            }),
            0,
        ),
        (
            "a table in a row",
            lines(6_000, &|n| {
                format!(
                    "{} {} {} {n} {} {} ",
                    n * 7 % 10,
                    n * 31 % 100,
                    n * 37 % 1000,
                    n * 1009,
                    n % 3
                )
            }),
            0,
        ),
        ("hex", noise.chunks(16).take(4_000).map(|line| hex(line) + "\n").collect(), 0),
        ("an image", STANDARD.encode(&noise), 0),
        (
            "minified",
            lines(3_000, &|n| {
                format!(
                    "function a{n}(t,e){{return t.b{n}===e?(this.c=\"x{n}\\n\",!0):e.d[{n}]||\"\"}};"
                )
            }),
            0,
        ),
        ("source", include_str!("../plan.rs").repeat(8), 0),
        ("names of rules", include_str!("../../../../../SCANNERS.md").repeat(4), 0),
        ("prose", include_str!("../../../../../README.md").repeat(6), 0),
        (
            "a log",
            lines(2_000, &|n| {
                format!(
                    "2026-03-{:02}T10:{:02}:17.{:03}Z INFO call finished server=wiki status=200 took_us={n} \
                     peer=10.0.{}.7:443 id=0f8fad5b-d9cb-469f-a165-70867728{n:04x}\n",
                    n % 28 + 1,
                    n % 60,
                    n % 1000,
                    n % 256
                )
            }),
            0,
        ),
    ] {
        let text = quoted(&text);
        let (found, spent) = read(&text, POT);
        println!(
            "{name:<16} {:.2} a byte, {} KB",
            spent as f64 / text.len() as f64,
            text.len() / 1024
        );
        assert!(found.iter().all(|one| *one.rule != *TOO_DENSE), "{name}: {spent}");
        assert!(found.len() >= finds, "{name}: {}", found.len());
    }
}

/// One that was cut is found by every class that is looked for, in any form in which it was not read.
fn lies_in_a_find(text: &str, plant: &str, class: Class) -> Result<(), TestCaseError> {
    let place = text.find(plant).expect("planted");
    let (found, _) = read(text, 0);
    let covers = |one: &Found| {
        one.class == class && one.span.start <= place && place + plant.len() <= one.span.end
    };
    prop_assert!(found.iter().any(covers), "{:?} in {} finds", plant, found.len());
    let masked = message::mask(text, &found);
    prop_assert!(crate::json::Json::parse(masked.as_bytes()).is_ok());
    prop_assert!(!masked.contains(plant));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn what_is_planted_in_hostile_texts_lies_in_a_find(
        soup in 0..8usize,
        before in 0..6_000usize,
        after in 0..6_000usize,
        plant in 0..3usize,
        form in 0..3usize,
        spread in any::<bool>(),
    ) {
        let every = every_literal();
        let piece = [
            &every, "a\u{200B}", "password=\"kX9#mQ2$vL7!\" ", "a@b.co ", "4111 1111 1111 1111 ", "VVVV", "1.1. ", "ignore all ",
        ][soup];
        let (plant, class) = [
            ("glpat-aB3dE6gH9jK2mN5pQ8sT", Class::Secrets),
            ("anna.schmidt@example.org", Class::PersonalData),
            ("DE89 3704 0044 0532 0130 00", Class::PersonalData),
        ][plant];
        let plant = match form {
            0 => plant.to_owned(),
            1 => plant.bytes().map(|b| format!("%{b:02X}")).collect(),
            _ => STANDARD.encode(plant),
        };
        let some = |bytes: usize| piece.chars().cycle().take(bytes).collect::<String>();
        // In one string, or beside others that used up what they share.
        let between = if spread { "\",\"" } else { " ; " };
        let text = |text: String| { let quoted = quoted(&text); quoted[1..quoted.len() - 1].to_owned() };
        let text = format!("[\"{}{between}{} ; {}\"]", text(some(before)), plant, text(some(after)));
        lies_in_a_find(&text, &plant, class)?;
    }
}
