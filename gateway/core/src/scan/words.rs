//! Whether a member's key may say what its value is: then both are read together.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

use super::{personal, secrets};

/// True for keys such as `db_password` and `socialSecurityNumber`.
pub(super) fn give_meaning(key: &str) -> bool {
    static WORDS: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
        let words = secrets::WORDS.iter().copied().chain(personal::words());
        AhoCorasick::builder().ascii_case_insensitive(true).build(words).ok()
    });
    WORDS.as_ref().is_some_and(|words| words.is_match(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_say_what_their_value_is() {
        for key in [
            "password",
            "DB_PASSWORD",
            "clientSecret",
            "api-key",
            "ssn",
            "taxId",
            "numeroDNI",
            "tel",
            "IdNr",
        ] {
            assert!(give_meaning(key), "{key}");
        }
        for key in ["", "name", "id", "description", "count", "url"] {
            assert!(!give_meaning(key), "{key}");
        }
    }
}
