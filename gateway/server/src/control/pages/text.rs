//! Texts as people can judge them: JSON laid out without changing one token of it, and characters that hide or turn
//! what stands around them made visible. Escaping for HTML is the templates' work.

use std::fmt::Write;

/// The longest text that is shown whole.
const LONGEST: usize = 20_000;

/// A text that may have been cut.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) text: String,
    /// How many characters are missing.
    pub(super) missing: usize,
}

/// JSON text, a member a line. Tokens stay as they are: what is shown is what runs.
pub(super) fn json(text: &str) -> Shown {
    cut(&visible(&laid_out(text)))
}

/// One line of text by somebody else.
pub(super) fn line(text: &str) -> String {
    let shown = visible(text);
    let mut line: String = shown.chars().take(300).collect();
    if line.len() < shown.len() {
        line.push('…');
    }
    line
}

/// A browser by its description of itself, as people call it; what is not recognised is shown as it is.
pub(super) fn browser(agent: &str) -> String {
    let browsers = [
        ("Edg/", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
    ];
    let systems = [
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Android", "Android"),
        ("Windows", "Windows"),
        ("Mac OS", "macOS"),
        ("CrOS", "ChromeOS"),
        ("Linux", "Linux"),
    ];
    let find = |names: &[(&str, &'static str)]| {
        names.iter().find(|(part, _)| agent.contains(part)).map(|(_, name)| *name)
    };
    match (find(&browsers), find(&systems)) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        (_, _) if agent.is_empty() => "A browser".to_owned(),
        (_, _) => line(agent),
    }
}

/// `2026-01-31T12:00:05.1Z` as people read it.
pub(super) fn when(rfc3339: &str) -> String {
    match (rfc3339.get(..10), rfc3339.get(11..16)) {
        (Some(day), Some(minute)) => format!("{day} {minute} UTC"),
        (None, _) | (_, None) => rfc3339.to_owned(),
    }
}

fn cut(text: &str) -> Shown {
    let whole = text.chars().count();
    if whole <= LONGEST {
        return Shown { text: text.to_owned(), missing: 0 };
    }
    Shown { text: text.chars().take(LONGEST).collect(), missing: whole - LONGEST }
}

fn laid_out(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    let mut rest = text.chars().filter(|c| *c != '\r').peekable();
    while let Some(c) = rest.next() {
        if in_string {
            out.push(c);
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        match c {
            ' ' | '\t' | '\n' => {}
            '"' => {
                in_string = true;
                out.push(c);
            }
            '{' | '[' => {
                while rest.next_if(|c| c.is_ascii_whitespace()).is_some() {}
                out.push(c);
                match rest.next_if(|next| matches!(next, '}' | ']')) {
                    Some(end) => out.push(end),
                    None => {
                        depth += 1;
                        new_line(&mut out, depth);
                    }
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                new_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            other => out.push(other),
        }
    }
    out
}

/// Deep nesting is not worth an indentation without end.
fn new_line(out: &mut String, depth: usize) {
    out.push('\n');
    out.push_str(&"  ".repeat(depth.min(20)));
}

/// Characters that show nothing, or change how others show, as their number.
fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if hides(c) {
            let _ = write!(out, "⟨U+{:04X}⟩", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

fn hides(c: char) -> bool {
    (c.is_control() && c != '\n')
        || matches!(u32::from(c),
            0xAD | 0x34F | 0x61C | 0x115F | 0x1160 | 0x17B4 | 0x17B5
            | 0x180B..=0x180F | 0x200B..=0x200F | 0x2028..=0x202E | 0x2060..=0x206F
            | 0x3164 | 0xFE00..=0xFE0F | 0xFEFF | 0xFFA0 | 0xFFF0..=0xFFFB
            | 0x1D173..=0x1D17A | 0xE0000..=0xE0FFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_laid_out_without_changing_a_token() {
        let text = r#"{"id":12345678901234567890123,"a":[1.10,2e400,{}],"s":"x, {\"y\": [1]}\\","e":[],"u":"\u0041"}"#;
        let shown = json(text).text;
        let expected = "{\n  \"id\": 12345678901234567890123,\n  \"a\": [\n    1.10,\n    2e400,\n    {}\n  ],\n  \
                        \"s\": \"x, {\\\"y\\\": [1]}\\\\\",\n  \"e\": [],\n  \"u\": \"\\u0041\"\n}";
        assert_eq!(shown, expected);
    }

    #[test]
    fn what_hides_is_made_visible() {
        let tricky = "{\"to\":\"bob\u{202e}moc.live\u{200b}\u{e0041}\u{feff}\"}";
        let shown = json(tricky).text;
        for code in ["⟨U+202E⟩", "⟨U+200B⟩", "⟨U+E0041⟩", "⟨U+FEFF⟩"] {
            assert!(shown.contains(code), "{code} in {shown}");
        }
        assert_eq!(line("a\u{0}b\u{1b}[31m"), "a⟨U+0000⟩b⟨U+001B⟩[31m");
    }

    #[test]
    fn long_texts_are_cut_and_say_so() {
        let long = format!("\"{}\"", "é".repeat(LONGEST));
        let shown = json(&long);
        assert_eq!((shown.text.chars().count(), shown.missing), (LONGEST, 2));
        assert_eq!(json("{}").missing, 0);
        assert!(line(&"x".repeat(1000)).ends_with('…'));
    }

    #[test]
    fn browsers_are_called_what_people_call_them() {
        let chrome =
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/156.0.0.0 Safari/537.36";
        let phone =
            "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605 Safari/604";
        assert_eq!(browser(chrome), "Chrome on Linux");
        assert_eq!(browser(phone), "Safari on iPhone");
        assert_eq!(browser("curl/8 <b>"), "curl/8 <b>");
        assert_eq!(browser(""), "A browser");
    }

    #[test]
    fn times_are_readable() {
        assert_eq!(when("2026-01-31T12:00:05.123Z"), "2026-01-31 12:00 UTC");
        assert_eq!(when("odd"), "odd");
    }
}
