//! What scanning costs: microseconds per KB on one core, by class and all together, on text as it flows and on text made
//! to be slow. `cargo run --release -p gateway-core --example scanners [WHICH]`

use std::io::Write;
use std::sync::LazyLock;
use std::time::Instant;

use gateway_core::json::write_string;
use gateway_core::scan::{Class, Detectors, Guard, Mode, Modes, Pattern, message};

const KB: usize = 1024;
const MB: usize = 1024 * KB;
/// How often everything is measured.
const GOES: usize = 7;

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let only_these = std::env::args().nth(1).unwrap_or_default();
    let detectors = Detectors::built_in();
    let started = Instant::now();
    detectors.prepare(&Modes::default());
    writeln!(out, "compiling every rule: {} ms\n", started.elapsed().as_millis())?;

    writeln!(out, "us per KB, guard tool_call")?;
    write!(out, "{:<16}", "")?;
    for class in Class::ALL {
        write!(out, "{:>18}", class.as_str())?;
    }
    writeln!(out, "{:>8}{:>8}", "all", "finds")?;
    for (name, message) in flowing().into_iter().filter(|(name, _)| name.contains(&only_these)) {
        write!(out, "{name:<16}")?;
        for class in Class::ALL {
            write!(out, "{:>18.2}", per_kb(&detectors, &only(&[class]), &message))?;
        }
        let all = only(&Class::ALL);
        let finds = message::read(&detectors, Guard::ToolCall, &all, &message).len();
        writeln!(out, "{:>8.2}{finds:>8}", per_kb(&detectors, &all, &message))?;
    }

    writeln!(out, "\nms per MB, all classes")?;
    let all = only(&Class::ALL);
    for (name, message) in hostile().into_iter().filter(|(name, _)| name.contains(&only_these)) {
        let found = message::read(&detectors, Guard::ToolCall, &all, &message);
        let read = per_kb(&detectors, &all, &message) * 1.024;
        let started = processor_seconds();
        let masked = message::mask(&message, &found);
        let mask = (processor_seconds() - started) * 1e3 * MB as f64 / message.len() as f64;
        let (finds, left) = (found.len(), masked.len() / KB);
        writeln!(out, "{name:<28}{read:>8.2}   finds {finds:>7}   mask {mask:>6.2}   {left} KB")?;
    }

    if !"patterns".contains(&only_these) {
        return Ok(());
    }
    writeln!(out, "\nus per KB with patterns of an organisation, prose")?;
    let message = flowing().swap_remove(0).1;
    for count in [0, 1, 10, 100] {
        let patterns: Vec<_> = (0..count)
            .map(|n| Pattern {
                name: format!("own-{n}"),
                class: Class::PersonalData,
                pattern: format!(r"\bEMP{n}-[0-9]{{6}}\b"),
            })
            .collect();
        let own = Detectors::with(&patterns).map_err(std::io::Error::other)?;
        writeln!(out, "{count:<16}{:>8.2}", per_kb(&own, &all, &message))?;
    }
    Ok(())
}

fn only(classes: &[Class]) -> Modes {
    let mut modes = Modes::default();
    for class in Class::ALL.into_iter().filter(|class| !classes.contains(class)) {
        Guard::ALL.into_iter().for_each(|guard| modes.set(guard, class, Mode::Off));
    }
    modes
}

/// Of several goes the fastest: what disturbs only makes it slower.
fn per_kb(detectors: &Detectors, modes: &Modes, message: &str) -> f64 {
    let rounds = (2 * MB / message.len()).max(1);
    let go = |_| {
        let started = processor_seconds();
        for _ in 0..rounds {
            std::hint::black_box(message::read(detectors, Guard::ToolCall, modes, message));
        }
        (processor_seconds() - started) / rounds as f64
    };
    let fastest = (0..GOES).map(go).fold(f64::INFINITY, f64::min);
    fastest * 1e6 * KB as f64 / message.len() as f64
}

/// What this thread has had of a processor so far, as Linux counts it; elsewhere the time that has passed.
fn processor_seconds() -> f64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    std::thread::yield_now();
    let counted = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = counted.and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
    nanoseconds.map_or_else(|| START.elapsed().as_secs_f64(), |ns| ns / 1e9)
}

fn message_of(text: &str) -> String {
    let mut message =
        r#"{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"#.to_owned();
    write_string(text, &mut message);
    message.push_str(r#"}],"isError":false}}"#);
    message
}

/// Messages with prose, code, a log and JSON as they come along.
fn flowing() -> Vec<(&'static str, String)> {
    let prose = include_str!("../../../README.md").to_owned();
    let code = include_str!("../src/json.rs").to_owned();
    let log: String = (0..400)
        .map(|n| {
            format!(
                "2026-03-{:02}T10:{:02}:17.{:03}Z INFO gateway::proxy call finished server=wiki tool=search_{n} \
                 status=200 took_us={} request_id=0f8fad5b-d9cb-469f-a165-70867728{n:04x}\n",
                n % 28 + 1,
                n % 60,
                n % 1000,
                n * 37
            )
        })
        .collect();
    let json: String = (0..200)
        .map(|n| {
            format!(
                r#"{{"id":{n},"node_id":"MDU6SXNzdWUx{n:04}","title":"Crash on start {n}","labels":["bug"],"url":"https://git.example/repos/app/issues/{n}","comments":{}}},"#,
                n % 7
            )
        })
        .collect();
    let short: String = prose.chars().take(KB).collect();
    let structured = format!(r#"{{"structuredContent":[{json}null]}}"#);
    vec![
        ("prose", message_of(&prose)),
        ("prose, 1 KB", message_of(&short)),
        ("code", message_of(&code)),
        ("log", message_of(&log)),
        ("json", structured),
        ("json in a string", message_of(&json)),
    ]
}

/// 1 MB each that is made to be slow.
fn hostile() -> Vec<(&'static str, String)> {
    let of = |piece: &str| message_of(&piece.repeat(MB / piece.len()));
    let literals: Vec<&str> = Detectors::literals().collect();
    let shortest = literals.iter().min_by_key(|literal| literal.len()).copied().unwrap_or("abc");
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut seed = 7u64;
    let noise: String = (0..MB)
        .map(|_| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            char::from(alphabet[(seed >> 58) as usize])
        })
        .collect();
    let escapes = format!("\"{}\"", "\\u0041".repeat(MB / 6));
    let keys: String = (0..MB / 16).map(|n| format!("\"key{n:07}\":1,")).collect();
    let member = format!("{{\"password\":\"{}\"}},", "a@b.example ".repeat(300));
    let secret = format!("[{}1]", member.repeat(MB / member.len()));
    let numbers = format!("[{}1]", "4111111111111111,".repeat(MB / 17));
    vec![
        ("every literal", of(&literals.join(""))),
        ("every literal, spaced", of(&format!("{} ", literals.join(" ")))),
        ("the shortest literal", of(shortest)),
        ("eyJ and letters", of("eyJaaaaaaaaaa-")),
        ("a private key's beginning", of("-----BEGIN PRIVATE KEY-----\n")),
        ("digits", of("4")),
        ("digits and separators", of("4-1 ")),
        ("card numbers", of("4111 1111 1111 1111 ")),
        ("@", of("@")),
        ("card numbers of fours", of("4444 4444 4444 4448 ")),
        ("groups of every length", of("1.22.333-4444 55555/666666 7777777.88888888-999999999 ")),
        ("mail addresses", of("a@b.example ")),
        ("mail addresses of a secret", secret),
        ("mail addresses and escapes", of(&format!("{}%41", "a@b.example ".repeat(200)))),
        ("a@a@", of("a@")),
        (":", of("::1")),
        ("dots", of("1.1.")),
        ("escapes", escapes),
        ("percent-encoding", of("%41%42")),
        ("entities", of("&#65;&amp;")),
        ("one run of base64", message_of(&noise)),
        ("base64 of text", of("YWFhYWFhYWFhYWFh")),
        ("short runs of base64", of("YWFhYWFhYWFhYWFh ")),
        ("addresses among base64", of("a@b.example AOKAi2FhYWFhYWFh ")),
        ("base64 that reads four ways", of("VVVV")),
        ("zero bytes in base64", of("AAAAAAAA")),
        ("hidden characters", of("a\u{200B}")),
        (
            "hidden, in short strings",
            format!("[{}1]", "\"a\u{200B}b\u{200B}c\u{200B}\",".repeat(MB / 16)),
        ),
        ("one word", of("a")),
        ("keys", format!("{{{keys}\"end\":1}}")),
        ("numbers", numbers),
    ]
}
