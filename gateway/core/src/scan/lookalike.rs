//! Names that a person, or a model, takes for another name; and texts that steer away from other tools.
//!
//! Pure functions: which names there are, and whose was there first, knows whoever asks
//! (`gateway_governance::tool_list`).

use unicode_security::confusable_detection::skeleton;

/// Shorter foldings collide by chance.
const SHORTEST: usize = 3;
/// Shorter names, and such that are plain words, stand in any text.
const SHORTEST_MENTION: usize = 6;

/// What steers a model: of a text that names another server's tool.
const STEERING: [&str; 26] = [
    "instead of",
    "instead",
    "rather than",
    "in place of",
    "replaces",
    "replacement for",
    "supersedes",
    "deprecated",
    "do not use",
    "don't use",
    "never use",
    "do not call",
    "don't call",
    "never call",
    "before using",
    "before calling",
    "before you use",
    "before you call",
    "after calling",
    "must",
    "always",
    "ignore",
    "whenever",
    "first call",
    "call this first",
    "override",
];

/// The foldings of a name: two names of which one folding is the same look alike. By confusable characters (UTS 39)
/// on either side of folding case; punctuation, accents and what nobody sees are left out.
pub fn foldings(name: &str) -> impl Iterator<Item = String> {
    let lower = name.to_lowercase();
    let by_case = letters(skeleton(&lower));
    let by_shape = letters(skeleton(name));
    let second = (by_shape != by_case).then_some(by_shape);
    [Some(by_case), second]
        .into_iter()
        .flatten()
        .filter(|folded| folded.chars().count() >= SHORTEST)
}

fn letters(skeleton: impl Iterator<Item = char>) -> String {
    skeleton.filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// True for a name that holds anything but visible ASCII characters and spaces between them.
pub fn is_odd(name: &str) -> bool {
    name.trim() != name || name.chars().any(|c| !(c.is_ascii_graphic() || c == ' '))
}

/// True where a text tells its reader what to do or to leave, in words of [`STEERING`].
pub fn steers(text: &str) -> bool {
    let text = text.to_lowercase();
    STEERING.iter().any(|phrase| stands_in(&text, phrase))
}

/// Whether `phrase` stands in `text` as words of their own.
pub fn stands_in(text: &str, phrase: &str) -> bool {
    text.match_indices(phrase).any(|(at, found)| {
        let before = text.get(..at).and_then(|text| text.chars().next_back());
        let after = text.get(at + found.len()..).and_then(|text| text.chars().next());
        !before.is_some_and(is_of_name) && !after.is_some_and(is_of_name)
    })
}

/// The words of a text that can only be names: long enough, and joined by `_` or `-` or by capitals inside.
pub fn mentions(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !(is_of_name(c) || c == '-' || c == '.' || c == '/'));
    let words = words.map(|word| word.trim_matches(['-', '.', '/']));
    words.filter(|word| word.len() >= SHORTEST_MENTION && is_joined(word))
}

fn is_joined(word: &str) -> bool {
    let inner = word.get(1..).unwrap_or_default();
    let camel = word.starts_with(|c: char| c.is_ascii_lowercase())
        && inner.contains(|c: char| c.is_ascii_uppercase());
    camel || inner.contains(['_', '-'])
}

fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alike(a: &str, b: &str) -> bool {
        let others: Vec<String> = foldings(b).collect();
        foldings(a).any(|folded| others.contains(&folded))
    }

    #[test]
    fn what_is_taken_for_another_name() {
        for (a, b) in [
            ("send_email", "send-email"),
            ("send_email", "SendEmail"),
            ("send_email", "s\u{435}nd_email"),
            ("send_email", "send_\u{200b}email"),
            ("send_email", "send_ema\u{131}l"),
            ("send_email", "send_emai1"),
            ("delete", "deIete"),
            ("login", "l0gin"),
            ("transfer_form", "transfer_forrn"),
            ("pay", "\u{440}\u{430}\u{443}"),
        ] {
            assert!(alike(a, b) && alike(b, a), "{a} {b}");
        }
        for (a, b) in [
            ("send_email", "send_emails"),
            ("get_issue", "get_issues"),
            ("read_file", "write_file"),
            ("a1", "al"),
            ("list", "lost"),
        ] {
            assert!(!alike(a, b), "{a} {b}");
        }
    }

    #[test]
    fn odd_names() {
        for odd in ["s\u{435}nd", "a\u{202e}b", "tab\there", " a", "a\0", "größe"] {
            assert!(is_odd(odd), "{odd:?}");
        }
        for plain in ["send_email", "a.b-c/d", "list items", "GetThing2"] {
            assert!(!is_odd(plain), "{plain}");
        }
    }

    #[test]
    fn steering_words_are_words() {
        assert!(steers("ALWAYS call this") && steers("Use it instead of the other one."));
        assert!(!steers("Lists mustard recipes, sideways"));
    }

    #[test]
    fn only_what_can_be_nothing_but_a_name_is_a_mention() {
        let text = "Before send_email, search (or createIssue), use read-file. Well, get_x a_b";
        let found: Vec<&str> = mentions(text).collect();
        assert_eq!(found, ["send_email", "createIssue", "read-file"]);
    }
}
