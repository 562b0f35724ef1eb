//! Whether something can be a secret at all: placeholders and examples are none.

/// True for a token: not an example, not one character over and over.
pub(super) fn token(found: &str) -> bool {
    // Four times the same letter in a row happens by chance, once in a few thousand tokens.
    const PARTS: &[&str] = &[
        "example",
        "xxxxxx",
        "placeholder",
        "redacted",
        "your_",
        "your-",
        "yourkey",
        "yourtoken",
        "...",
        "***",
    ];
    entropy(found) >= 2.5 && !says(found, PARTS)
}

/// True for what stands beside a name such as `password` and could be one: neither a placeholder nor a reference to where
/// the secret is kept.
pub(super) fn password(found: &str) -> bool {
    const WHOLE: &[&str] = &[
        "password",
        "passwd",
        "pass",
        "pwd",
        "secret",
        "token",
        "user",
        "username",
        "null",
        "none",
        "nil",
        "true",
        "false",
        "undefined",
        "string",
        "test",
        "admin",
        "root",
        "guest",
        "postgres",
        "mysql",
        "redis",
        "changeit",
        "required",
        "optional",
        "empty",
        "unset",
        "default",
        "value",
        "hidden",
        "masked",
    ];
    const PARTS: &[&str] = &[
        "changeme",
        "change_me",
        "change-me",
        "change_it",
        "xxxx",
        "your_",
        "your-",
        "yourpass",
        "yoursecret",
        "yourtoken",
        "<your",
        "example",
        "placeholder",
        "redacted",
        "replace",
        "todo",
        "fixme",
        "...",
        "***",
        "dummy",
        "sample",
        "insert",
        "${",
        "{{",
        "%{",
        "$(",
        "#{",
        "process.env",
        "os.environ",
        "env.",
        "getenv",
        "secrets.",
        "vault:",
        "file:",
        "env:",
        "ssm:",
        "arn:",
        "://",
        "•",
    ];
    let quiet = found.trim_matches(|c: char| c == '"' || c == '\'');
    let lower = quiet.to_ascii_lowercase();
    let enclosed =
        ["<", "[", "{", "(", "$", "%", "@", "&"].iter().any(|open| lower.starts_with(open))
            && [">", "]", "}", ")", "%"].iter().any(|close| lower.ends_with(close));
    let reference = lower.starts_with('$') && lower.get(1..).is_some_and(is_name);
    quiet.len() >= 3
        && entropy(quiet) >= 1.5
        && !enclosed
        && !reference
        && !WHOLE.contains(&lower.as_str())
        && !says(&lower, PARTS)
}

/// True for a value that is too random to be a word, a name, a path or a number.
pub(super) fn random(found: &str) -> bool {
    let digits = found.bytes().filter(u8::is_ascii_digit).count();
    let lower = found.bytes().filter(u8::is_ascii_lowercase).count();
    let upper = found.bytes().filter(u8::is_ascii_uppercase).count();
    // Without a digit only letters that change their case as no name does.
    let is_mixed = found.len() >= 20 && upper * 3 >= found.len() && lower * 4 >= found.len();
    (digits > 0 || is_mixed)
        && lower + upper > 0
        && (found.len() - lower) * 5 >= found.len()
        && entropy(found) >= if found.len() < 12 { 2.7 } else { 3.0 }
        && !is_worded(found)
}

/// True for what people choose: a letter and something else than letters, not merely a name.
pub(super) fn chosen(found: &str) -> bool {
    let letters = found.bytes().filter(u8::is_ascii_alphabetic).count();
    let digits = found.bytes().filter(u8::is_ascii_digit).count();
    let signs = found.bytes().filter(|b| b"!@#$%^&*+~?=".contains(b)).count();
    found.len() >= 6 && letters > 0 && (digits > 0 || signs > 0) && password(found)
}

/// Words, short numbers and what joins them: `session-store-v2`, `TOKEN_TYPE_2`, `auth/login`.
fn is_worded(text: &str) -> bool {
    let is_word = |part: &str| {
        let word = part.trim_end_matches(|c: char| c.is_ascii_digit());
        part.len() - word.len() <= 4
            && word.bytes().all(|b| b.is_ascii_alphabetic())
            && same_case(word)
    };
    text.split(|c: char| !c.is_ascii_alphanumeric()).all(is_word)
}

/// All in one case, or in words of three letters and more that begin with a capital: `RsaPrivateKey`.
fn same_case(word: &str) -> bool {
    let upper = word.bytes().filter(u8::is_ascii_uppercase).count();
    let capitals_begin = word
        .as_bytes()
        .windows(2)
        .all(|two| !matches!(two, [a, b] if a.is_ascii_uppercase() && b.is_ascii_uppercase()));
    upper == word.len() || (upper * 3 <= word.len() && capitals_begin)
}

/// Shannon entropy, bits per byte.
pub(super) fn entropy(text: &str) -> f64 {
    let mut counts = [0u32; 256];
    for byte in text.bytes() {
        counts[usize::from(byte)] += 1;
    }
    let whole = text.len() as f64;
    counts.iter().filter(|n| **n > 0).map(|n| f64::from(*n) / whole).map(|p| -p * p.log2()).sum()
}

fn says(text: &str, any: &[&str]) -> bool {
    let lower = text.to_ascii_lowercase();
    any.iter().any(|word| lower.contains(word))
}

fn is_name(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
