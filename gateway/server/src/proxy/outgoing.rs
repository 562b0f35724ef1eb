//! The bytes that are to leave: the client's own, but for what is ours in them: the answer to our own question, and
//! the ids of tasks, whose places the upstream's own take. `scan` reads them next; nothing is changed in them behind it.

use std::ops::Range;

use bytes::Bytes;
use gateway_core::json::{Json, write_string};

use super::confirm::Carried;
use super::connect;
use super::decide::Permitted;
use super::parse::Ask;
use super::resolve::Routed;

/// A piece of a text, and what stands in its place.
pub(super) type Edit = (Range<usize>, String);

/// The body of a permitted request.
pub(super) fn body(permitted: &Permitted) -> Bytes {
    let routed = &permitted.routed;
    match routed.understood.ask {
        Ask::Message(_) => {}
        // What stands behind a GET or DELETE means nothing, and nobody has read it.
        Ask::OpenStream | Ask::EndSession => return Bytes::new(),
    }
    let text = routed.understood.text();
    let mut edits: Vec<Edit> = Vec::new();
    match permitted.carried() {
        Some(carried) => edits.extend(without_ours(routed, theirs(carried))),
        None if connect::came_back(routed) => edits.extend(without_ours(routed, (None, None))),
        None => {}
    }
    let named = || routed.understood.params()?.get("taskId")?.span_in(text);
    let named = permitted.task().and_then(|task| Some((named()?, task)));
    let related = permitted.relation().map(|(span, task)| (span.clone(), task.as_str()));
    edits.extend(named.into_iter().chain(related).map(|(span, task)| (span, quoted(task))));
    if edits.is_empty() {
        return routed.understood.identified.received.body.clone();
    }
    Bytes::from(splice(text, edits))
}

/// The text with these changes.
pub(super) fn splice(text: &str, mut edits: Vec<Edit>) -> String {
    edits.sort_by_key(|(span, _)| span.start);
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for (span, value) in edits {
        // Two neighbouring members share a comma: never cut it twice.
        let start = span.start.max(at);
        out.push_str(&text[at..start]);
        out.push_str(&value);
        at = span.end.max(start);
    }
    out.push_str(&text[at..]);
    out
}

fn quoted(text: &str) -> String {
    let mut out = String::new();
    write_string(text, &mut out);
    out
}

/// What the client had sent for the upstream: its `requestState` and `inputResponses`, as JSON text.
type Theirs<'a> = (Option<&'a str>, Option<&'a str>);

fn theirs(carried: &Carried) -> Theirs<'_> {
    match carried.request_state.as_deref() {
        // The answer to another question of ours.
        Some(state) if connect::is_ours(state) => (None, None),
        state => (state, carried.input_responses.as_deref()),
    }
}

/// Takes our own question's answer out, and puts back what the client had sent for the upstream.
fn without_ours(routed: &Routed, (state, responses): Theirs<'_>) -> Vec<Edit> {
    let text = routed.understood.text();
    let Some(params) = routed.understood.params() else { return Vec::new() };
    let edit = |(key, value): (&str, Option<&str>)| {
        let span = match value {
            Some(_) => params.get(key).and_then(|v| v.span_in(text)),
            None => member_span(text, params, key),
        };
        Some((span?, value.unwrap_or_default().to_owned()))
    };
    [("requestState", state), ("inputResponses", responses)].into_iter().filter_map(edit).collect()
}

/// A member with the comma that separates it: the one before it, else the one behind it.
fn member_span(text: &str, object: Json<'_>, key: &str) -> Option<Range<usize>> {
    let member = object.members().find(|m| m.key == key)?;
    let span = Json::checked_before(member.raw).span_in(text)?;
    let before = text[..span.start].trim_end_matches([' ', '\t', '\r', '\n']);
    if let Some(shorter) = before.strip_suffix(',') {
        return Some(shorter.len()..span.end);
    }
    let behind = &text[span.end..];
    let comma = behind.trim_start_matches([' ', '\t', '\r', '\n']);
    let skipped = behind.len() - comma.len();
    let more = usize::from(comma.starts_with(','));
    Some(span.start..span.end + if more == 1 { skipped + 1 } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str, keys: &[&str]) -> String {
        let mut text = text.to_owned();
        for key in keys {
            let params = Json::parse(text.as_bytes()).unwrap().get("params").unwrap();
            let span = member_span(&text, params, key).unwrap();
            text.replace_range(span, "");
        }
        text
    }

    #[test]
    fn members_are_cut_with_their_comma() {
        let cases = [
            (r#"{"params":{"a":1,"x":2}}"#, r#"{"params":{"a":1}}"#),
            (r#"{"params":{"x":{"y":","} , "a":1}}"#, r#"{"params":{ "a":1}}"#),
            (r#"{"params":{"a":1 , "x":2 , "b":3}}"#, r#"{"params":{"a":1  , "b":3}}"#),
            (r#"{"params":{"x":2}}"#, r#"{"params":{}}"#),
        ];
        for (text, expected) in cases {
            assert_eq!(cut(text, &["x"]), expected);
            assert!(Json::parse(expected.as_bytes()).is_ok());
        }
    }
}
