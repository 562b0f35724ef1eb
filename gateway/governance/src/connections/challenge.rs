//! The `WWW-Authenticate` of a server that refuses a token: where its metadata is, what is missing.

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

/// What a Bearer challenge says (RFC 6750, RFC 9728).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Challenge {
    /// Where the protected resource metadata is.
    pub resource_metadata: Option<String>,
    /// The scopes that it takes, separated by spaces.
    pub scope: Option<String>,
    /// `invalid_token`, `insufficient_scope`, ...
    pub error: Option<String>,
}

impl Challenge {
    /// The first Bearer challenge among the headers; nothing where there is none.
    pub fn of(headers: &HeaderMap) -> Challenge {
        let values = headers.get_all(WWW_AUTHENTICATE).iter();
        let texts = values.filter_map(|value| value.to_str().ok());
        texts.filter_map(bearer).next().unwrap_or_default()
    }
}

/// The parameters behind the scheme `Bearer`, up to the next scheme.
fn bearer(text: &str) -> Option<Challenge> {
    let mut rest = Text(text);
    let mut inside = false;
    let mut found = None;
    loop {
        rest.skip();
        let Some(word) = rest.token() else { return found };
        if !rest.eat('=') {
            // A word without a value is a scheme (or token68, which Bearer has none of).
            if inside {
                return found;
            }
            inside = word.eq_ignore_ascii_case("bearer");
            if inside {
                found = Some(Challenge::default());
            }
            continue;
        }
        let value = rest.value()?;
        let Some(challenge) = found.as_mut().filter(|_| inside) else { continue };
        let slot = match word.to_ascii_lowercase().as_str() {
            "resource_metadata" => &mut challenge.resource_metadata,
            "scope" => &mut challenge.scope,
            "error" => &mut challenge.error,
            _ => continue,
        };
        // Said twice: the first counts.
        slot.get_or_insert(value);
    }
}

/// What is left to read.
struct Text<'a>(&'a str);

impl Text<'_> {
    fn skip(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t', ',']);
    }

    fn eat(&mut self, expected: char) -> bool {
        let after = self.0.trim_start_matches([' ', '\t']).strip_prefix(expected);
        after.inspect(|rest| self.0 = rest.trim_start_matches([' ', '\t'])).is_some()
    }

    fn token(&mut self) -> Option<String> {
        let legal = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/".contains(c);
        let end = self.0.find(|c| !legal(c)).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        (!token.is_empty()).then(|| token.to_owned())
    }

    /// A token or a quoted string.
    fn value(&mut self) -> Option<String> {
        let Some(quoted) = self.0.strip_prefix('"') else { return self.token() };
        let mut value = String::new();
        let mut escaped = false;
        for (at, c) in quoted.char_indices() {
            match c {
                _ if escaped => {
                    value.push(c);
                    escaped = false;
                }
                '\\' => escaped = true,
                '"' => {
                    self.0 = &quoted[at + 1..];
                    return Some(value);
                }
                _ => value.push(c),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str]) -> (Option<String>, Option<String>, Option<String>) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, value.parse().unwrap());
        }
        let Challenge { resource_metadata, scope, error } = Challenge::of(&headers);
        (resource_metadata, scope, error)
    }

    #[test]
    fn bearer_challenges_are_read() {
        let some = |text: &str| Some(text.to_owned());
        let cases = [
            (
                r#"Bearer resource_metadata="https://x/y", scope="a b""#,
                (some("https://x/y"), some("a b"), None),
            ),
            (
                r#"bearer error=insufficient_scope,scope="a""#,
                (None, some("a"), some("insufficient_scope")),
            ),
            (r#"Basic realm="x", Bearer scope="b""#, (None, some("b"), None)),
            (r#"Bearer scope="a", Basic scope="b""#, (None, some("a"), None)),
            (r#"Bearer scope = "a\"b", error="x""#, (None, some("a\"b"), some("x"))),
            ("Bearer", (None, None, None)),
            (r#"Digest scope="x""#, (None, None, None)),
            (r#"Bearer scope="never closed"#, (None, None, None)),
            (r#"Bearer scope="a", scope="b""#, (None, some("a"), None)),
            ("", (None, None, None)),
        ];
        for (text, expected) in cases {
            assert_eq!(read(&[text]), expected, "{text}");
        }
        let several = read(&["Basic realm=x", r#"Bearer error="invalid_token""#]);
        assert_eq!(several.2.as_deref(), Some("invalid_token"));
    }
}
