//! Errors in files that people write: each names the file, the line and the key, and says what is wrong.

use std::fmt;

/// One thing wrong with a configuration or desired-state file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, or the environment variable.
    pub place: String,
    /// The line, from 1; `None` for a variable or for what is missing from the whole file.
    pub line: Option<usize>,
    /// The key as a path, for instance `server.max_body` or `servers[2].slug`; may be empty.
    pub key: String,
    /// What is wrong and what was expected.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if self.key.is_empty() {
            write!(f, ": {}", self.message)
        } else {
            write!(f, ": {}: {}", self.key, self.message)
        }
    }
}

impl std::error::Error for Problem {}

/// The line, from 1, in which the byte at `offset` stands.
pub fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

/// `unknown key` with the nearest of `known`, where one is near.
pub fn unknown_key(name: &str, known: &[&str]) -> String {
    match nearest(name, known) {
        Some(near) => format!("unknown key; did you mean \"{near}\"?"),
        None => format!("unknown key; known are {}", known.join(", ")),
    }
}

/// The one of `known` that `name` most probably means.
pub fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let name = name.to_lowercase();
    let scored = known.iter().map(|word| (strsim::damerau_levenshtein(&name, word), *word));
    let (distance, word) = scored.min_by_key(|(distance, _)| *distance)?;
    (distance <= 1 + name.len() / 3).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_miss_is_named_and_a_far_one_is_not() {
        let known = ["max_body", "listen", "public_url"];
        assert_eq!(nearest("max_bdoy", &known), Some("max_body"));
        assert_eq!(nearest("LISTEN", &known), Some("listen"));
        assert_eq!(nearest("colour", &known), None);
        assert_eq!(line_of("a\nb\nc", 4), 3);
    }
}
