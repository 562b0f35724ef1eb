//! The organisation's own patterns: compiled with limits, searched one after the other in stretches of bounded length,
//! so that no pattern makes a text take more than time in proportion to its length.

use std::ops::Range;

use regex_automata::util::syntax;
use regex_automata::{Input, PatternID, meta};

use super::budget::TOO_DENSE;
use super::detectors::{BadPattern, Pattern};
use super::plan::{self, Classes, Mark};
use super::rule::Name;
use super::{Class, hidden};

/// Most patterns of an organisation.
const PATTERNS: usize = 100;
/// Longest pattern, bytes.
const LENGTH: usize = 1_000;
/// Deepest nesting in a pattern.
const NESTING: u32 = 32;
/// Most memory that one compiled pattern may take, bytes.
const SIZE: usize = 256 * 1024;
/// Most memory that searching for one may take, bytes.
const SEARCH_SIZE: usize = 1 << 20;

/// Longest match, bytes; a search reads at most twice as far.
const STRETCH: usize = 4 * 1024;
/// So many matches of one pattern are told apart in one text. After them the rest of the text counts as one.
const MATCHES: usize = 1_000;

/// One of the organisation's patterns, ready to be looked for.
#[derive(Debug)]
pub(super) struct Own {
    name: Name,
    class: Class,
    regex: meta::Regex,
    it: Option<usize>,
}

/// Compiles them all, or says what is wrong with the first that cannot be.
pub(super) fn compile(patterns: &[Pattern]) -> Result<Vec<Own>, BadPattern> {
    if patterns.len() > PATTERNS {
        return Err(bad(PATTERNS, "name", format!("at most {PATTERNS} patterns")));
    }
    let mut own: Vec<Own> = Vec::with_capacity(patterns.len());
    for (index, pattern) in patterns.iter().enumerate() {
        let name = &pattern.name;
        check_name(index, name)?;
        if own.iter().any(|other| *other.name == **name) {
            return Err(bad(index, "name", format!("another name: {name} is there already")));
        }
        let regex = regex(index, &pattern.pattern)?;
        let it = regex.group_info().to_index(PatternID::ZERO, "it");
        own.push(Own { name: Name::Given(name.as_str().into()), class: pattern.class, regex, it });
    }
    Ok(own)
}

fn bad(index: usize, field: &'static str, expected: String) -> BadPattern {
    BadPattern { index, field, expected }
}

fn check_name(index: usize, name: &str) -> Result<(), BadPattern> {
    let letter = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
    if !(1..=64).contains(&name.len()) || !name.bytes().all(letter) {
        let expected = "expected 1 to 64 of a-z, 0-9, _ and -";
        return Err(bad(index, "name", expected.into()));
    }
    if plan::is_built_in(name) || hidden::is_built_in(name) || name == TOO_DENSE {
        return Err(bad(index, "name", format!("another name: {name} is a built-in rule")));
    }
    Ok(())
}

fn regex(index: usize, pattern: &str) -> Result<meta::Regex, BadPattern> {
    let refused = |expected: String| bad(index, "pattern", expected);
    if pattern.is_empty() || pattern.len() > LENGTH {
        return Err(refused(format!("expected 1 to {LENGTH} bytes, not {}", pattern.len())));
    }
    let syntax = syntax::Config::new().nest_limit(NESTING);
    let parsed = syntax::parse_with(pattern, &syntax)
        .map_err(|error| refused(format!("expected regex syntax: {}", in_short(&error))))?;
    if parsed.properties().minimum_len().unwrap_or(0) == 0 {
        return Err(refused("expected a pattern that does not match the empty string".into()));
    }
    let limits = meta::Config::new()
        .nfa_size_limit(Some(SIZE))
        .onepass_size_limit(Some(SIZE))
        .hybrid_cache_capacity(SEARCH_SIZE)
        .dfa_size_limit(Some(SIZE));
    meta::Builder::new().configure(limits).syntax(syntax).build(pattern).map_err(|_| {
        refused(format!(
            "expected a pattern that compiles to {} KiB: shorten its repetitions",
            SIZE / 1024
        ))
    })
}

/// The last line of the parser's answer, which says what is wrong; the others draw where.
fn in_short(error: &impl std::fmt::Display) -> String {
    let text = error.to_string();
    let line = text.lines().last().unwrap_or_default().trim();
    line.strip_prefix("error: ").unwrap_or(line).chars().take(200).collect()
}

/// Appends what stands in `text`, of the classes wanted.
pub(super) fn look<'a>(own: &'a [Own], classes: Classes, text: &str, found: &mut Vec<Mark<'a>>) {
    for one in own.iter().filter(|one| classes & 1 << one.class as u8 != 0) {
        one.look(text, found);
    }
}

impl Own {
    fn look<'a>(&'a self, text: &str, found: &mut Vec<Mark<'a>>) {
        let (mut at, mut count) = (0, 0);
        while at < text.len() {
            let end = text.floor_char_boundary(at + 2 * STRETCH);
            let half = text.floor_char_boundary(at + STRETCH);
            match self.regex.search(&Input::new(text).range(at..end)) {
                // One that begins further on is looked at again from there, with all it may read before it.
                Some(matched) if end == text.len() || matched.start() < half => {
                    count += 1;
                    if count > MATCHES {
                        return self.mark(matched.start()..text.len(), found);
                    }
                    self.mark(self.found(text, matched.range()), found);
                    at = matched.end().max(at + 1);
                }
                Some(_) => at = half,
                None if end == text.len() => return,
                None => at = half,
            }
        }
    }

    fn found(&self, text: &str, matched: Range<usize>) -> Range<usize> {
        let Some(it) = self.it else { return matched };
        let mut groups = self.regex.create_captures();
        self.regex.search_captures(&Input::new(text).range(matched.clone()), &mut groups);
        match groups.get_group(it) {
            Some(it) if !it.is_empty() => it.range(),
            Some(_) | None => matched,
        }
    }

    fn mark<'a>(&'a self, span: Range<usize>, found: &mut Vec<Mark<'a>>) {
        let (class, rule) = (self.class, &self.name);
        found.push(Mark { class, rule, weight: 100, span, says: None });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(name: &str, pattern: &str) -> Pattern {
        Pattern { name: name.into(), class: Class::Secrets, pattern: pattern.into() }
    }

    fn found(own: &str, text: &str) -> Vec<(usize, usize)> {
        let (own, mut marks) = (compile(&[pattern("p", own)]).unwrap(), vec![]);
        look(&own, Classes::MAX, text, &mut marks);
        marks.into_iter().map(|mark| (mark.span.start, mark.span.end)).collect()
    }

    #[test]
    fn patterns_that_do_not_fit_are_refused() {
        for (name, text, field, says) in [
            ("", "abc", "name", "1 to 64"),
            ("A", "abc", "name", "1 to 64"),
            (&"a".repeat(65), "abc", "name", "1 to 64"),
            ("soft_hyphen", "abc", "name", "built-in"),
            ("too_dense", "abc", "name", "built-in"),
            ("p", "", "pattern", "1 to 1000 bytes"),
            ("p", &"a".repeat(1_001), "pattern", "1 to 1000 bytes"),
            ("p", "(", "pattern", "regex syntax"),
            ("p", r"(a)\1", "pattern", "regex syntax"),
            ("p", "(?=a)b", "pattern", "regex syntax"),
            ("p", "a*", "pattern", "empty"),
            ("p", r"\b", "pattern", "empty"),
            ("p", "a|", "pattern", "empty"),
            ("p", "^$", "pattern", "empty"),
            ("p", &format!("{}a{}", "(".repeat(60), ")".repeat(60)), "pattern", "regex syntax"),
            ("p", "(?:a{100}){100}", "pattern", "compiles to"),
            ("p", r"\w{500}", "pattern", "compiles to"),
            ("p", "((a{1,50}){1,50}){1,50}", "pattern", "compiles to"),
        ] {
            let error = compile(&[pattern("ok", "abc"), pattern(name, text)]).unwrap_err();
            assert_eq!((error.index, error.field), (1, field), "{text} {error}");
            assert!(error.expected.contains(says), "{text}: {error}");
        }
        assert!(compile(&vec![pattern("a", "abc"); 2]).is_err(), "the same name twice");
        let many: Vec<_> = (0..101).map(|n| pattern(&format!("p{n}"), "abc")).collect();
        assert!(compile(&many).is_err());
        assert_eq!(compile(&many[..100]).unwrap().len(), 100);
    }

    #[test]
    fn finds_are_the_group_it_or_the_whole() {
        assert_eq!(found(r"no (?P<it>\d+)", "no 12, no 3"), [(3, 5), (10, 11)]);
        assert_eq!(found(r"\d{2}", "12345"), [(0, 2), (2, 4)]);
        assert_eq!(found("\u{e9}+", "a\u{e9}\u{e9}b"), [(1, 5)]);
        assert!(found("abc", "").is_empty());
    }

    #[test]
    fn what_lies_across_stretches_is_found_whole() {
        for before in (STRETCH - 8..STRETCH + 8).chain(2 * STRETCH - 8..2 * STRETCH + 8) {
            let text =
                format!("{}secret-0123{}", "\u{e9}".repeat(before / 2), "y".repeat(3 * STRETCH));
            let start = before / 2 * 2;
            assert_eq!(found(r"secret-\d+", &text), [(start, start + 11)]);
        }
    }

    /// A pattern that reads to the end for every match is bounded, and nothing that it finds is left out.
    #[test]
    fn too_many_matches_become_one() {
        let text = "a".repeat(MATCHES + 500);
        let all = found("a", &text);
        assert_eq!(all.len(), MATCHES + 1);
        assert_eq!(all.last(), Some(&(MATCHES, text.len())));
        assert_eq!(found("(?s)a.*[^a]|a", &text).len(), MATCHES + 1);
    }
}
