//! Cuts out of a listing what the caller may not use. Works on the raw text: items are removed whole, the
//! rest stays byte for byte, so members that nobody here knows survive.

use std::ops::Range;

use gateway_core::json::{Json, JsonError, Kind};
use gateway_core::mcp::Listing;

/// What to do with a response that holds a listing.
pub(super) struct Trim<'a> {
    /// What it lists; `None` for `server/discover`, whose answer is only made private.
    pub(super) listing: Option<Listing>,
    /// A modern answer must say that it is for this caller only.
    pub(super) private: bool,
    /// Whether an item may be shown, by its name or URI.
    pub(super) keep: &'a dyn Fn(&str) -> bool,
}

impl Trim<'_> {
    /// The trimmed message; `None` when nothing had to be changed.
    pub(super) fn apply(&self, text: &str) -> Result<Option<String>, JsonError> {
        let message = Json::parse(text.as_bytes())?;
        let Some(result) = message.get("result").filter(|r| r.kind() == Kind::Object) else {
            return Ok(None);
        };
        let mut edits = Vec::new();
        let items = self.listing.and_then(|listing| result.get(listing.member()));
        if let Some(items) = items.filter(|items| items.kind() == Kind::Array) {
            edits.extend(self.cut(text, items));
        }
        if self.private {
            edits.extend(scope(text, result));
        }
        if edits.is_empty() {
            return Ok(None);
        }
        Ok(Some(splice(text, edits)))
    }

    /// The array without what may not be shown.
    fn cut(&self, text: &str, items: Json<'_>) -> Option<(Range<usize>, String)> {
        let key = self.listing?.key();
        let mut kept = String::with_capacity(items.raw().len());
        let mut dropped = false;
        for item in items.elements() {
            let name = item.get(key).and_then(|name| name.as_str());
            // What has no name cannot be called, and cannot be decided on.
            if !name.is_some_and(|name| (self.keep)(&name)) {
                dropped = true;
                continue;
            }
            kept.push(if kept.is_empty() { '[' } else { ',' });
            kept.push_str(item.raw());
        }
        if !dropped {
            return None;
        }
        if kept.is_empty() {
            kept.push('[');
        }
        kept.push(']');
        Some((items.span_in(text)?, kept))
    }
}

/// `cacheScope` must be `private`: what is trimmed for one caller is not for another.
fn scope(text: &str, result: Json<'_>) -> Option<(Range<usize>, String)> {
    match result.get("cacheScope") {
        Some(value) if value.raw() == "\"private\"" => None,
        Some(value) => Some((value.span_in(text)?, "\"private\"".into())),
        None => {
            let at = result.span_in(text)?.start + 1;
            let comma = if result.members().next().is_some() { "," } else { "" };
            Some((at..at, format!("\"cacheScope\":\"private\"{comma}")))
        }
    }
}

fn splice(text: &str, mut edits: Vec<(Range<usize>, String)>) -> String {
    edits.sort_by_key(|(span, _)| span.start);
    let mut out = String::with_capacity(text.len() + 32);
    let mut at = 0;
    for (span, replacement) in edits {
        out.push_str(&text[at..span.start]);
        out.push_str(&replacement);
        at = span.end;
    }
    out.push_str(&text[at..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trim(text: &str, private: bool) -> Option<String> {
        let keep = |name: &str| !name.starts_with("no");
        Trim { listing: Some(Listing::Tools), private, keep: &keep }.apply(text).unwrap()
    }

    #[test]
    fn items_are_cut_and_everything_else_stays() {
        let text = r#"{"jsonrpc":"2.0", "id":1e0,"result":{"tools":[ {"name":"no1"}, {"x":1E400,"name":"yes"},{"name":"n\u006f2"},{"title":"nameless"} ],"nextCursor":"c","tools2":[]}}"#;
        let expected = r#"{"jsonrpc":"2.0", "id":1e0,"result":{"tools":[{"x":1E400,"name":"yes"}],"nextCursor":"c","tools2":[]}}"#;
        assert_eq!(trim(text, false).as_deref(), Some(expected));
        assert_eq!(
            trim(r#"{"result":{"tools":[{"name":"no"}]}}"#, false).as_deref(),
            Some(r#"{"result":{"tools":[]}}"#)
        );
        assert_eq!(trim(r#"{"result":{"tools":[ {"name":"yes"} ]}}"#, false), None);
        assert_eq!(trim(r#"{"error":{"code":1}}"#, true), None);
        assert!(trim(r#"{"result":{"tools":[{"name":"yes","name":"no"}]}}"#.replace(",\"name\":\"no\"", "").as_str(), false).is_none());
    }

    #[test]
    fn modern_listings_become_private() {
        let cases = [
            (
                r#"{"result":{"tools":[],"cacheScope":"public"}}"#,
                Some(r#"{"result":{"tools":[],"cacheScope":"private"}}"#),
            ),
            (
                r#"{"result":{"tools":[]}}"#,
                Some(r#"{"result":{"cacheScope":"private","tools":[]}}"#),
            ),
            (r#"{"result":{}}"#, Some(r#"{"result":{"cacheScope":"private"}}"#)),
            (r#"{"result":{"tools":[],"cacheScope":"private"}}"#, None),
        ];
        for (text, expected) in cases {
            assert_eq!(trim(text, true).as_deref(), expected);
        }
    }

    #[test]
    fn two_readings_of_one_listing_are_refused() {
        let keep = |_: &str| true;
        let trim = Trim { listing: Some(Listing::Tools), private: false, keep: &keep };
        assert!(trim.apply(r#"{"result":{"tools":[{"name":"yes","name":"no"}]}}"#).is_err());
    }
}
