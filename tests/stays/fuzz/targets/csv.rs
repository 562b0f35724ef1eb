//! CSV: every cell parses back to its text, none begins as a formula or holds what moves a terminal.

use gateway_governance::doors;

use super::Target;

pub(super) const TARGET: Target = Target {
    name: "csv",
    run,
    inputs: 40_000,
    words: &[
        b"=",
        b"+",
        b"-",
        b"@",
        b"\t",
        b"\r",
        b"\n",
        b"\r\n",
        b"\"",
        b"\"\"",
        b",",
        b";",
        b"'",
        b" ",
        b"\xef\xbb\xbf",
        b"\xe2\x80\x8b",
        b"\xef\xbc\x9d",
        b"\xef\xbc\x8b",
        b"\xc2\xa0",
        b"\x1b[31m",
        b"\xc2\x9b",
        b"\x7f",
        b"\0",
        b"|",
        b"=cmd|' /C calc'!A0",
        b"\x1e",
    ],
};

/// Cells that are separated by the byte 0x1e.
fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let cells: Vec<String> = text.split('\u{1e}').map(str::to_owned).collect();
    let rows: Vec<[String; 3]> = cells
        .chunks(3)
        .map(|row| [0, 1, 2].map(|i| row.get(i).cloned().unwrap_or_default()))
        .collect();
    let table = doors::csv(&rows).unwrap();
    let moves = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r');
    assert!(!table.contains(moves), "{table:?}");
    let mut reader = csv::ReaderBuilder::new().from_reader(table.as_bytes());
    let read: Vec<_> = reader.records().map(|record| record.unwrap()).collect();
    assert_eq!(read.len(), rows.len(), "{table:?}");
    for (read, row) in read.iter().zip(&rows) {
        assert_eq!(read.len(), 3);
        for (cell, text) in read.iter().zip(row) {
            check(cell, text);
        }
    }
}

fn check(cell: &str, text: &str) {
    let visible: String = text
        .chars()
        .map(|c| if c.is_control() && !"\t\n\r".contains(c) { '\u{fffd}' } else { c })
        .collect();
    assert_eq!(cell.strip_prefix('\'').filter(|_| cell != visible).unwrap_or(cell), visible);
    // What spreadsheets skip before they look whether it is a formula.
    let skipped = |c: char| {
        (c.is_whitespace() && !"\t\n\r".contains(c))
            || "\u{200b}\u{200e}\u{200f}\u{feff}".contains(c)
    };
    let shown = cell.trim_start_matches(skipped);
    assert!(
        !shown.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']),
        "{cell:?} is a formula"
    );
}
