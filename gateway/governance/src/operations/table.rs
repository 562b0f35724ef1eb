//! Tables that are exported: the same rows as JSON objects and as CSV (RFC 4180) that no spreadsheet takes for
//! formulas. What is in them is the operations' business.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use gateway_core::reason::Reason;

use crate::perform::Refused;

/// How rows are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Comma-separated values with a head.
    #[default]
    Csv,
    /// An array of objects.
    Json,
}

impl Format {
    /// The ending of a file's name.
    pub(super) fn ending(self) -> &'static str {
        match self {
            Format::Csv => "csv",
            Format::Json => "json",
        }
    }
}

/// What a table's columns are called and mean.
pub(crate) type Columns = &'static [(&'static str, &'static str)];

/// A row, in the order of the columns.
pub(crate) type Row = Vec<Value>;

/// Rows as objects.
pub(super) fn objects(columns: Columns, rows: Vec<Row>) -> Vec<Map<String, Value>> {
    let object = |row: Row| {
        columns.iter().zip(row).map(|((name, _), value)| ((*name).to_owned(), value)).collect()
    };
    rows.into_iter().map(object).collect()
}

/// Rows as CSV text with a head; lines end in CR LF.
pub(crate) fn csv(columns: Columns, rows: &[Row]) -> Result<String, Refused> {
    let mut writer =
        csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    let failed = |what: String| Refused::new(Reason::Internal, format!("CSV: {what}"));
    writer.write_record(columns.iter().map(|(name, _)| name)).map_err(|e| failed(e.to_string()))?;
    for row in rows {
        writer.write_record(row.iter().map(cell)).map_err(|e| failed(e.to_string()))?;
    }
    let bytes = writer.into_inner().map_err(|e| failed(e.to_string()))?;
    String::from_utf8(bytes).map_err(|e| failed(e.to_string()))
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => inert(text),
        Value::Array(_) | Value::Object(_) => inert(&value.to_string()),
    }
}

/// Text that is text wherever it is opened: an apostrophe before what spreadsheets take for a formula, and no
/// control characters, which terminals obey.
fn inert(text: &str) -> String {
    let visible = |c: char| match c {
        '\t' | '\n' | '\r' => c,
        c if c.is_control() => '\u{fffd}',
        c => c,
    };
    let blank = |c: char| c.is_whitespace() && !matches!(c, '\t' | '\n' | '\r');
    let invisible = |c| blank(c) || ('\u{200b}'..='\u{200f}').contains(&c) || c == '\u{feff}';
    let begins = text.trim_start_matches(invisible).chars().next();
    let active = matches!(
        begins,
        Some('=' | '+' | '-' | '@' | '\t' | '\r' | '\n' | '＝' | '＋' | '－' | '＠')
    );
    let guard = if active { "'" } else { "" };
    guard.chars().chain(text.chars().map(visible)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const COLUMNS: Columns = &[("text", "any"), ("number", "any")];

    fn written(text: &str) -> String {
        csv(COLUMNS, &[vec![json!(text), json!(-1.5)]]).unwrap()
    }

    #[test]
    fn csv_follows_rfc_4180() {
        assert_eq!(written("plain"), "text,number\r\nplain,-1.5\r\n");
        assert_eq!(written("a,b"), "text,number\r\n\"a,b\",-1.5\r\n");
        assert_eq!(written("say \"hi\""), "text,number\r\n\"say \"\"hi\"\"\",-1.5\r\n");
        assert_eq!(written("two\r\nlines"), "text,number\r\n\"two\r\nlines\",-1.5\r\n");
        assert_eq!(
            csv(COLUMNS, &[vec![Value::Null, json!(true)]]).unwrap(),
            "text,number\r\n,true\r\n"
        );
        // Read back, every text is what it was.
        let texts = ["", "ä ö", "a\nb", "\"", ",", "x\ty"];
        let rows: Vec<Row> = texts.iter().map(|text| vec![json!(text), json!(1)]).collect();
        let all = csv(COLUMNS, &rows).unwrap();
        let mut reader = csv::Reader::from_reader(all.as_bytes());
        let read: Vec<String> = reader.records().map(|row| row.unwrap()[0].to_owned()).collect();
        assert_eq!(read, texts);
    }

    #[test]
    fn no_cell_is_a_formula_or_moves_a_terminal() {
        let active = [
            "=1+1",
            "+1",
            "-1",
            "@SUM(A1)",
            "\t=1",
            "\r=1",
            "\n=1",
            " =1",
            "\u{a0}=1",
            "\u{3000}=1",
            "\u{feff}=1",
            "\u{200b}@x",
            "＝1",
            "=cmd|' /C calc'!A0",
            "-2+3",
            "+\"x\"",
            "=HYPERLINK(\"http://x\",\"y\")",
        ];
        for text in active {
            let all = written(text);
            let mut reader = csv::Reader::from_reader(all.as_bytes());
            let row = reader.records().next().unwrap().unwrap();
            assert_eq!(row[0], format!("'{text}"), "{text:?}");
        }
        for text in ["\u{1b}[31mred", "bell\u{7}", "\u{9b}2J", "del\u{7f}", "nul\0"] {
            let all = written(text);
            assert!(!all.chars().any(|c| c.is_control() && c != '\r' && c != '\n'), "{all:?}");
        }
        for quiet in ["a=b", "1-1", "user@example.com", "5 + 5"] {
            assert!(written(quiet).contains(&format!("\n{quiet},")), "{quiet}");
        }
    }
}
