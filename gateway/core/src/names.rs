//! How lax parsers compare the names of members: by Unicode case folding. Upstreams that read JSON that way
//! (Go's `encoding/json` does) take `Amount`, and `argumentſ` with a long s, for what they know in lower case.

/// True when a lax parser takes one name for the other, and they are not the same.
pub fn twins(a: &str, b: &str) -> bool {
    if a.is_ascii() && b.is_ascii() {
        return a != b && a.eq_ignore_ascii_case(b);
    }
    a != b && folded(a).eq(folded(b))
}

/// Up, then down: the signs that differ only in case, the long s and the Kelvin sign among them, meet.
fn folded(name: &str) -> impl Iterator<Item = char> {
    name.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_lax_parser_takes_for_another() {
        for (a, b) in [
            ("amount", "Amount"),
            ("arguments", "argumentſ"),
            ("taskId", "tas\u{212a}ID"),
            ("größe", "GRÖSSE"),
            ("σ", "ς"),
        ] {
            assert!(twins(a, b) && twins(b, a), "{a} {b}");
        }
        for (a, b) in [("a", "a"), ("ſ", "ſ"), ("a", "b"), ("a", "ab"), ("a", "ä"), ("", "ſ")] {
            assert!(!twins(a, b), "{a} {b}");
        }
    }
}
