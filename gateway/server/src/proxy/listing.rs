//! Cuts out of a listing what the caller may not use or nobody has approved. Works on the raw text: items are removed
//! whole, or replaced by what of them may be shown; the rest stays byte for byte, so members that nobody here knows
//! survive. The same for what a server says about itself when a client introduces itself.

use gateway_core::json::{Json, JsonError, Kind};
use gateway_core::mcp::Listing;
use gateway_governance::tool_list::{DefinitionKind, INSTRUCTIONS, Shown};

use super::outgoing::{Edit, splice};

/// Other members in which a server presents itself; no client works without them.
const PRESENTED: [&str; 2] = ["serverInfo", "_meta"];

/// All members in which a server introduces itself.
pub(super) const INTRODUCTION: [&str; 3] = [INSTRUCTIONS, PRESENTED[0], PRESENTED[1]];

/// What to do with a response that holds a listing.
pub(super) struct Trim<'a> {
    /// What it lists; `None` for the answers to `initialize` and `server/discover`.
    pub(super) listing: Option<Listing>,
    /// A modern answer must say that it is for this caller only.
    pub(super) private: bool,
    /// What of an item may be shown, by its name or URI and its exact text.
    pub(super) keep: &'a dyn Fn(&str, &str) -> Shown,
    /// What of the named member of an introduction may be shown; `None`: it is none.
    pub(super) said: Option<Said<'a>>,
}

/// Decides on a named member of an introduction, by its exact text.
pub(super) type Said<'a> = &'a dyn Fn(&'static str, &str) -> Shown;

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
        if let Some(said) = self.said {
            edits.extend(introduced(text, result, said));
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
    fn cut(&self, text: &str, items: Json<'_>) -> Option<Edit> {
        let key = self.listing?.key();
        let mut kept = String::with_capacity(items.raw().len());
        let mut changed = false;
        for item in items.elements() {
            let name = item.get(key).and_then(|name| name.as_str());
            // What has no name cannot be called, and cannot be decided on.
            let shown = name.map_or(Shown::Cut, |name| (self.keep)(&name, item.raw()));
            let shown = match &shown {
                Shown::Cut => None,
                Shown::Whole => Some(item.raw()),
                // Rather nothing than something that no client can read.
                Shown::Masked(masked) => {
                    Some(masked.as_str()).filter(|text| Json::parse(text.as_bytes()).is_ok())
                }
            };
            changed |= shown != Some(item.raw());
            if let Some(shown) = shown {
                kept.push(if kept.is_empty() { '[' } else { ',' });
                kept.push_str(shown);
            }
        }
        if !changed {
            return None;
        }
        if kept.is_empty() {
            kept.push('[');
        }
        kept.push(']');
        Some((items.span_in(text)?, kept))
    }
}

/// The definitions in a message that holds these listings, and an introduction if it `introduces`, as [`Trim`] looks at
/// them: kind and exact text.
pub(super) fn definitions(
    text: &str,
    listings: &[Listing],
    introduces: bool,
) -> Vec<(DefinitionKind, String)> {
    let Some(result) = Json::checked_before(text).get("result") else { return Vec::new() };
    let mut found = Vec::new();
    for listing in listings {
        let items = result.get(listing.member()).filter(|items| items.kind() == Kind::Array);
        let items = items.into_iter().flat_map(|items| items.elements());
        found.extend(items.map(|item| ((*listing).into(), item.raw().to_owned())));
    }
    if introduces {
        let members = INTRODUCTION.iter().filter_map(|name| result.get(name));
        found.extend(members.map(|m| (DefinitionKind::Instructions, m.raw().to_owned())));
    }
    found
}

/// What of an introduction has to be said otherwise: instructions that may not be shown become empty.
fn introduced(
    text: &str,
    result: Json<'_>,
    said: &dyn Fn(&'static str, &str) -> Shown,
) -> Vec<Edit> {
    let mut edits = Vec::new();
    for name in INTRODUCTION {
        let Some(member) = result.get(name) else { continue };
        let instead = match said(name, member.raw()) {
            Shown::Whole => continue,
            Shown::Masked(masked) if Json::parse(masked.as_bytes()).is_ok() => masked,
            Shown::Masked(_) | Shown::Cut if name == INSTRUCTIONS => "\"\"".into(),
            Shown::Masked(_) | Shown::Cut => "{}".into(),
        };
        edits.extend(member.span_in(text).map(|span| (span, instead)));
    }
    edits
}

/// `cacheScope` must be `private`: what is trimmed for one caller is not for another.
fn scope(text: &str, result: Json<'_>) -> Option<Edit> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn trim(text: &str, private: bool) -> Option<String> {
        let keep = |name: &str, raw: &str| match name {
            "mask" => Shown::Masked(raw.replace("secret", "***")),
            "broken" => Shown::Masked("{".into()),
            _ if name.starts_with("no") => Shown::Cut,
            _ => Shown::Whole,
        };
        let trim = Trim { listing: Some(Listing::Tools), private, keep: &keep, said: None };
        trim.apply(text).unwrap()
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
    fn items_are_replaced_whole_or_not_shown() {
        let text = r#"{"result":{"tools":[{"name":"a"}, {"name":"mask","d":"secret"},{"name":"broken"}],"x":"secret"}}"#;
        let expected =
            r#"{"result":{"tools":[{"name":"a"},{"name":"mask","d":"***"}],"x":"secret"}}"#;
        assert_eq!(trim(text, false).as_deref(), Some(expected));
    }

    #[test]
    fn an_introduction_says_no_more_than_it_may() {
        let keep = |_: &str, _: &str| Shown::Whole;
        let said = |name: &'static str, raw: &str| match (name, raw) {
            (INSTRUCTIONS, "\"bad\"") => Shown::Cut,
            ("serverInfo", raw) if raw.contains("bad") => Shown::Masked(raw.replace("bad", "***")),
            _ => Shown::Whole,
        };
        let trim = Trim { listing: None, private: false, keep: &keep, said: Some(&said) };
        let text =
            r#"{"result":{"instructions":"bad","serverInfo":{"name":"bad"}, "capabilities":{}}}"#;
        let expected =
            r#"{"result":{"instructions":"","serverInfo":{"name":"***"}, "capabilities":{}}}"#;
        assert_eq!(trim.apply(text).unwrap().as_deref(), Some(expected));
        assert_eq!(trim.apply(r#"{"result":{"instructions":"good"}}"#).unwrap(), None);
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
        let keep = |_: &str, _: &str| Shown::Whole;
        let trim = Trim { listing: Some(Listing::Tools), private: false, keep: &keep, said: None };
        assert!(trim.apply(r#"{"result":{"tools":[{"name":"yes","name":"no"}]}}"#).is_err());
    }
}
