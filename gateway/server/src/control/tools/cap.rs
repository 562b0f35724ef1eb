//! Keeps an answer near 25,000 characters: what a model can read at once. Pages get shorter, so that their cursor
//! leads on; the texts of a single record are cut, and a note says where the whole is.

use serde_json::Value;

/// The most characters of an answer's JSON text.
pub(super) const LIMIT: usize = 25_000;
/// Left free for the note.
const RESERVE: usize = 500;

/// How many of a page's rows fit, where not all do; at least one.
pub(super) fn rows_that_fit(answer: &Value) -> Option<usize> {
    if length(answer) <= LIMIT {
        return None;
    }
    if let Some(table) = answer.get("csv") {
        let others = length(answer) - length(table);
        return records_that_fit(table.as_str()?, (LIMIT - RESERVE).saturating_sub(others));
    }
    let rows = answer.get("data")?.as_array()?;
    if rows.len() < 2 {
        return None;
    }
    let others = length(answer) - rows.iter().map(|row| length(row) + 1).sum::<usize>();
    let mut room = (LIMIT - RESERVE).saturating_sub(others);
    let fitting = rows.iter().take_while(|row| {
        let needed = length(row) + 1;
        let fits = needed <= room;
        room = room.saturating_sub(needed);
        fits
    });
    Some(fitting.count().clamp(1, rows.len() - 1))
}

/// The same of CSV text with a head, in characters as JSON writes them.
fn records_that_fit(table: &str, room: usize) -> Option<usize> {
    let (mut used, mut quoted) = (0, false);
    // Where each record ends, the head's first.
    let mut ends = Vec::new();
    for c in table.chars() {
        used += if c == '"' || c == '\\' || c.is_control() { 2 } else { 1 };
        match c {
            '"' => quoted = !quoted,
            '\n' if !quoted => ends.push(used),
            _ => {}
        }
    }
    let records = ends.len().checked_sub(1).filter(|records| *records > 1)?;
    let fitting = ends.iter().take_while(|end| **end <= room).count().saturating_sub(1);
    Some(fitting.clamp(1, records - 1))
}

/// Cuts texts until the answer fits; true if anything was cut.
pub(super) fn cut_texts(answer: &mut Value) -> bool {
    if length(answer) <= LIMIT {
        return false;
    }
    let mut longest = LIMIT / 2;
    while length(answer) > LIMIT - RESERVE && longest >= 32 {
        cut(answer, longest);
        longest /= 2;
    }
    if length(answer) > LIMIT - RESERVE {
        thin(answer);
    }
    true
}

fn cut(value: &mut Value, longest: usize) {
    match value {
        Value::String(text) => {
            let total = text.chars().count();
            if total > longest {
                let kept: String = text.chars().take(longest).collect();
                *text = format!("{kept}... (cut, {total} characters)");
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| cut(item, longest)),
        Value::Object(members) => members.values_mut().for_each(|member| cut(member, longest)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The last resort, for answers of very many small values: the largest members go.
fn thin(answer: &mut Value) {
    while length(answer) > LIMIT - RESERVE {
        let Some(members) = answer.as_object_mut() else { return };
        let largest = members.iter().max_by_key(|(_, member)| length(member));
        let Some(name) = largest.map(|(name, _)| name.clone()) else { return };
        members.remove(&name);
    }
}

fn length(value: &Value) -> usize {
    value.to_string().chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn short_answers_stay_as_they_are() {
        let mut answer = json!({"data": ["a", "b"], "next_cursor": null});
        assert_eq!(rows_that_fit(&answer), None);
        assert!(!cut_texts(&mut answer));
    }

    #[test]
    fn long_pages_tell_how_many_rows_fit() {
        let rows: Vec<Value> = (0..200).map(|n| json!({"n": n, "text": "x".repeat(300)})).collect();
        let answer = json!({"data": rows, "next_cursor": "c"});
        let fitting = rows_that_fit(&answer).unwrap();
        let page = json!({"data": rows[..fitting], "next_cursor": "c"});
        assert!(length(&page) <= LIMIT - RESERVE, "{}", length(&page));
        let one_more = json!({"data": rows[..=fitting], "next_cursor": "c"});
        assert!(length(&one_more) > LIMIT - RESERVE);
        let giants = json!({"data": ["x".repeat(30_000), "x".repeat(30_000)]});
        assert_eq!(rows_that_fit(&giants), Some(1));
    }

    #[test]
    fn long_tables_tell_how_many_records_fit() {
        let record =
            |n: usize| format!("{n},\"two\r\nlines and \"\"quotes\"\"\",{}\r\n", "x".repeat(90));
        let answer = |rows: usize| {
            let records: String = (0..rows).map(record).collect();
            json!({"dataset": "d", "csv": format!("a,b,c\r\n{records}"), "next_cursor": "c"})
        };
        let fitting = rows_that_fit(&answer(1000)).unwrap();
        assert!(fitting > 100, "{fitting}");
        assert!(length(&answer(fitting)) <= LIMIT - RESERVE);
        assert!(length(&answer(fitting + 1)) > LIMIT - RESERVE);
        assert_eq!(rows_that_fit(&answer(10)), None);
        let giants = json!({"csv": format!("a\r\n{0}\r\n{0}\r\n", "x".repeat(30_000))});
        assert_eq!(rows_that_fit(&giants), Some(1));
        let one = json!({"csv": format!("a\r\n{}\r\n", "x".repeat(30_000))});
        assert_eq!(rows_that_fit(&one), None, "its text is cut");
    }

    #[test]
    fn single_records_are_cut_by_their_texts_and_at_last_by_members() {
        let mut record =
            json!({"id": "1", "result": "ä".repeat(100_000), "arguments": {"a": "x".repeat(50)}});
        assert!(cut_texts(&mut record));
        assert!(length(&record) <= LIMIT);
        assert_eq!(record["arguments"]["a"], "x".repeat(50));
        assert!(record["result"].as_str().unwrap().ends_with("(cut, 100000 characters)"));
        let mut many = json!({"id": "1", "numbers": (0..50_000).collect::<Vec<_>>()});
        assert!(cut_texts(&mut many));
        assert_eq!(many, json!({"id": "1"}));
    }
}
