//! What the demo prints: a walk-through for people, or one JSON object a line for programs.

use std::io::{self, Write};

use serde_json::{Value, json};

/// Where the demo prints to.
pub(super) struct Screen {
    json: bool,
    steps: usize,
}

/// One step of the walk-through, done.
pub(super) struct Step {
    /// Who does it.
    pub(super) who: String,
    /// What they do.
    pub(super) what: String,
    /// What it shows.
    pub(super) shows: String,
    /// What they saw.
    pub(super) saw: Vec<String>,
    /// Whether it went as expected.
    pub(super) ok: bool,
}

/// An audit row, as far as it is shown.
pub(super) struct Row(pub(super) [String; 8]);

/// The table's head; times are UTC.
const COLUMNS: [&str; 8] = ["time", "who", "auth", "server", "what", "action", "outcome", "reason"];

impl Screen {
    pub(super) fn new(json: bool) -> Screen {
        Screen { json, steps: 0 }
    }

    /// A line for people only.
    pub(super) fn say(&self, line: &str) -> io::Result<()> {
        if self.json {
            return Ok(());
        }
        print(line)
    }

    /// An object for programs only.
    pub(super) fn tell(&self, object: &Value) -> io::Result<()> {
        if self.json { print(&object.to_string()) } else { Ok(()) }
    }

    /// One step.
    pub(super) fn step(&mut self, step: &Step) -> io::Result<()> {
        self.steps += 1;
        let Step { who, what, shows, saw, ok } = step;
        self.tell(&json!({"kind": "step", "number": self.steps, "who": who, "what": what,
            "shows": shows, "saw": saw, "ok": ok}))?;
        let mark = if *ok { "as expected" } else { "NOT AS EXPECTED" };
        self.say(&format!("\n{}. {shows}", self.steps))?;
        self.say(&format!("   {who}: {what}"))?;
        for line in saw.iter().flat_map(|text| text.lines()) {
            self.say(&format!("     | {line}"))?;
        }
        self.say(&format!("   {mark}"))
    }

    /// The audit rows as a table.
    pub(super) fn rows(&self, rows: &[Row]) -> io::Result<()> {
        for Row(cells) in rows {
            let pairs = COLUMNS.iter().zip(cells).map(|(name, cell)| ((*name).into(), json!(cell)));
            let object: serde_json::Map<String, Value> = pairs.collect();
            self.tell(&json!({"kind": "audit_row", "row": object}))?;
        }
        let head = COLUMNS.map(str::to_owned);
        let all = || std::iter::once(&head).chain(rows.iter().map(|row| &row.0));
        let width = |column: usize| {
            all().map(|cells| cells[column].chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..COLUMNS.len()).map(width).collect();
        for (index, cells) in all().enumerate() {
            let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            self.say(&format!("   {}", padded.collect::<Vec<_>>().join("  ").trim_end()))?;
            if index == 0 {
                let line: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
                self.say(&format!("   {}", line.join("  ")))?;
            }
        }
        Ok(())
    }
}

fn print(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
