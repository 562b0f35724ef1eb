//! Characters that a model reads and a person does not see.
//!
//! What scripts and emoji need is let through where they need it: joiners in Persian and Indic words, in families and
//! flags, variation selectors behind symbols, colours in a terminal's output. Everything else that does not show is found,
//! run by run; several of them in a row carry data, whatever they are.

use super::Class;
use super::budget::{Budget, FIND};
use super::plan::Mark;
use super::rule::Name;

/// Every rule of this file.
pub(super) const NAMES: [&str; 7] = [
    "tag_characters",
    "bidirectional_override",
    "zero_width_characters",
    "soft_hyphen",
    "variation_selectors",
    "blank_characters",
    "control_characters",
];

static TAGS: Name = Name::BuiltIn(NAMES[0]);
static BIDI: Name = Name::BuiltIn(NAMES[1]);
static ZERO_WIDTH: Name = Name::BuiltIn(NAMES[2]);
static SOFT_HYPHEN: Name = Name::BuiltIn(NAMES[3]);
static VARIATION: Name = Name::BuiltIn(NAMES[4]);
static BLANK: Name = Name::BuiltIn(NAMES[5]);
static CONTROL: Name = Name::BuiltIn(NAMES[6]);

/// True for the name of a rule of this class.
pub(super) fn is_built_in(name: &str) -> bool {
    NAMES.contains(&name)
}

/// True for what shows as soon as it is written as an escape: in code `\b` is the end of a word.
pub(super) fn is_control(rule: &str) -> bool {
    *rule == *CONTROL
}

/// Appends every run of them, as long as `budget` lasts.
pub(super) fn find(text: &str, budget: &mut Budget, found: &mut Vec<Mark<'_>>) {
    // Piece by piece, without a branch for each byte: most texts are plain to the end.
    let all_plain = |piece: &[u8]| piece.iter().fold(true, |all, byte| all & is_plain(*byte));
    if text.as_bytes().chunks(64).all(all_plain) {
        return;
    }
    let mut hits = Hits { first: found.len(), found, budget };
    // What was excused last: a second one right behind it is not.
    let mut excused: Option<(usize, &'static Name, usize)> = None;
    let mut before: Option<char> = None;
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|_| !hits.budget.is_used_up()) {
        let plain = rest.bytes().position(|byte| !is_plain(byte)).unwrap_or(rest.len());
        before = rest.get(..plain).and_then(|plain| plain.chars().next_back()).or(before);
        at += plain;
        let Some(c) = text.get(at..).and_then(|rest| rest.chars().next()) else { break };
        let end = at + c.len_utf8();
        if let Some(name) = kind(c) {
            let skipped = harmless(text, at, c, before);
            if let Some(skipped) = skipped.filter(|skipped| *skipped > end) {
                before = Some(c);
                at = skipped;
                continue;
            }
            let behind = excused.filter(|(_, _, last)| *last == at);
            if skipped.is_some() && (behind.is_none() || in_emoji(text, at, c)) {
                excused = Some((at, name, end));
            } else {
                if let Some((start, first, _)) = behind {
                    hits.add(first, start, at);
                }
                hits.add(name, at, end);
            }
        }
        before = Some(c);
        at = end;
    }
}

/// What was found of one text, from `first` on.
struct Hits<'f, 'm> {
    first: usize,
    found: &'f mut Vec<Mark<'m>>,
    budget: &'f mut Budget,
}

impl Hits<'_, '_> {
    /// One more character of a run, or a run of its own.
    fn add(&mut self, rule: &'static Name, start: usize, end: usize) {
        match self.found.get_mut(self.first..).and_then(<[Mark<'_>]>::last_mut) {
            Some(last) if last.span.end == start && std::ptr::eq(last.rule, rule) => {
                last.span.end = end;
            }
            Some(last) if last.span.end > start => {}
            Some(_) | None => {
                let (class, says) = (Class::HiddenCharacters, None);
                self.budget.spend(FIND);
                self.found.push(Mark { class, rule, weight: 100, span: start..end, says });
            }
        }
    }
}

/// ASCII that shows, and what divides lines and columns.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~')
}

/// The rule that a character belongs to, if it does not show.
fn kind(c: char) -> Option<&'static Name> {
    match c {
        '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{ac}' => None,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' => Some(&CONTROL),
        '\u{ad}' => Some(&SOFT_HYPHEN),
        '\u{e0000}'..='\u{e007f}' => Some(&TAGS),
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => Some(&BIDI),
        '\u{200b}'..='\u{200f}' | '\u{61c}' | '\u{2060}' | '\u{feff}' | '\u{34f}' => {
            Some(&ZERO_WIDTH)
        }
        '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' | '\u{180b}'..='\u{180f}' => {
            Some(&VARIATION)
        }
        '\u{2061}'..='\u{2065}' | '\u{206a}'..='\u{206f}' | '\u{fff9}'..='\u{fffb}' => Some(&BLANK),
        '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' | '\u{17b4}' | '\u{17b5}' => Some(&BLANK),
        '\u{1d173}'..='\u{1d17a}' | '\u{e0080}'..='\u{e00ff}' | '\u{e01f0}'..='\u{e0fff}' => {
            Some(&BLANK)
        }
        '\u{1bca0}'..='\u{1bca3}' | '\u{13430}'..='\u{13438}' => Some(&BLANK),
        _ => None,
    }
}

/// Where to go on when what stands at `at` is what its script, an emoji or a terminal needs.
fn harmless(text: &str, at: usize, c: char, before: Option<char>) -> Option<usize> {
    let end = at + c.len_utf8();
    let rest = text.get(end..).unwrap_or_default();
    let behind = rest.chars().next();
    let fits = match c {
        // Emoji, and words of scripts whose letters join.
        '\u{200d}' => {
            before.is_some_and(|b| is_pictograph(b) || b == '\u{fe0f}')
                && behind.is_some_and(is_pictograph)
                || before.is_some_and(joins)
        }
        '\u{200c}' => before.is_some_and(joins),
        // A break where no spaces are written.
        '\u{200b}' => [before, behind].into_iter().flatten().any(is_spaceless),
        // Marks of direction beside the scripts that need them, and at their ends.
        '\u{200e}' | '\u{200f}' | '\u{61c}' => {
            [before, behind].into_iter().flatten().any(is_right_to_left)
        }
        '\u{feff}' => at == 0,
        '\u{fe00}'..='\u{fe0f}' => before.is_some_and(|b| {
            is_pictograph(b) || is_ideograph(b) || b.is_ascii_digit() || b == '#' || b == '*'
        }),
        '\u{e0100}'..='\u{e01ef}' => before.is_some_and(is_ideograph),
        '\u{180b}'..='\u{180f}' => before.is_some_and(joins),
        '\u{115f}' | '\u{1160}' => {
            [before, behind].into_iter().flatten().any(|c| matches!(c, '\u{1100}'..='\u{11ff}'))
        }
        // A form feed divides pages.
        '\u{c}' => true,
        '\u{1b}' => return after_colour(rest).map(|length| end + length),
        // The flags of England, Scotland and Wales are spelled in tags.
        '\u{e0020}'..='\u{e007e}' if before == Some('\u{1f3f4}') => {
            return flag_end(text.get(at..)?).map(|length| at + length);
        }
        _ => false,
    };
    fits.then_some(end)
}

/// True for what may follow another hidden character within one emoji: `❤`, U+FE0F, U+200D, `🔥`.
fn in_emoji(text: &str, at: usize, c: char) -> bool {
    let behind = text.get(at + c.len_utf8()..).and_then(|rest| rest.chars().next());
    c == '\u{200d}' && behind.is_some_and(is_pictograph)
}

/// The length of `[1;31m` behind an escape: colours, not text that is concealed (8) nor anything else.
fn after_colour(rest: &str) -> Option<usize> {
    let inner = rest.strip_prefix('[')?;
    let length =
        inner.bytes().take(24).take_while(|b| b.is_ascii_digit() || b";:".contains(b)).count();
    let is_concealed = inner.get(..length)?.split([';', ':']).any(|number| number == "8");
    (inner.as_bytes().get(length) == Some(&b'm') && !is_concealed).then_some(length + 2)
}

/// The length of up to six tag letters and the tag that ends them.
fn flag_end(tags: &str) -> Option<usize> {
    let letters = tags
        .chars()
        .take_while(|c| matches!(c, '\u{e0030}'..='\u{e0039}' | '\u{e0061}'..='\u{e007a}'))
        .count();
    let ends = tags.chars().nth(letters) == Some('\u{e007f}');
    (ends && (4..=6).contains(&letters)).then_some((letters + 1) * '\u{e007f}'.len_utf8())
}

fn is_pictograph(c: char) -> bool {
    matches!(c, '\u{1f000}'..='\u{1faff}' | '\u{2190}'..='\u{2bff}' | '\u{203c}' | '\u{2049}' | '\u{2122}' | '\u{2139}'
        | '\u{3030}' | '\u{303d}' | '\u{3297}' | '\u{3299}' | '\u{a9}' | '\u{ae}')
}

fn is_ideograph(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}' | '\u{3000}'..='\u{30ff}'
        | '\u{1000}'..='\u{109f}' | '\u{ff00}'..='\u{ff60}')
}

/// Letters that join: Arabic, Syriac, N'Ko, Mongolian, the scripts of India, Sinhala, Tibetan, Burmese, Khmer, Javanese.
fn joins(c: char) -> bool {
    matches!(c, '\u{600}'..='\u{7ff}' | '\u{840}'..='\u{8ff}' | '\u{900}'..='\u{dff}' | '\u{f00}'..='\u{109f}'
        | '\u{1780}'..='\u{18af}' | '\u{a8e0}'..='\u{a9ff}' | '\u{fb50}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}'
        | '\u{11000}'..='\u{11fff}' | '\u{1e900}'..='\u{1e95f}')
}

fn is_spaceless(c: char) -> bool {
    matches!(c, '\u{e00}'..='\u{eff}' | '\u{f00}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{3040}'..='\u{30ff}'
        | '\u{4e00}'..='\u{9fff}')
}

fn is_right_to_left(c: char) -> bool {
    matches!(c, '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}' | '\u{1e800}'..='\u{1eeff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(&Name, &str)]) {
        let mut marks = vec![];
        find(text, &mut Budget::default(), &mut marks);
        let found: Vec<(&Name, &str)> =
            marks.into_iter().map(|hit| (hit.rule, &text[hit.span])).collect();
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn what_does_not_show_is_found_run_by_run() {
        check("say \u{e0068}\u{e0069} now", &[(&TAGS, "\u{e0068}\u{e0069}")]);
        check("a\u{202e}b\u{202c}", &[(&BIDI, "\u{202e}"), (&BIDI, "\u{202c}")]);
        check("\u{2066}x\u{2069}", &[(&BIDI, "\u{2066}"), (&BIDI, "\u{2069}")]);
        check("pass\u{200b}word", &[(&ZERO_WIDTH, "\u{200b}")]);
        check("a\u{200c}b\u{200d}c", &[(&ZERO_WIDTH, "\u{200c}"), (&ZERO_WIDTH, "\u{200d}")]);
        check("a\u{2060}b", &[(&ZERO_WIDTH, "\u{2060}")]);
        check("a\u{feff}b", &[(&ZERO_WIDTH, "\u{feff}")]);
        check("a\u{200e}b", &[(&ZERO_WIDTH, "\u{200e}")]);
        check("in\u{ad}struc\u{ad}tion", &[(&SOFT_HYPHEN, "\u{ad}"), (&SOFT_HYPHEN, "\u{ad}")]);
        check("a\u{fe0f}", &[(&VARIATION, "\u{fe0f}")]);
        check("x\u{e0100}\u{e0101}", &[(&VARIATION, "\u{e0100}\u{e0101}")]);
        check("a\u{3164}b\u{ffa0}", &[(&BLANK, "\u{3164}"), (&BLANK, "\u{ffa0}")]);
        check("f\u{2061}x\u{2064}", &[(&BLANK, "\u{2061}"), (&BLANK, "\u{2064}")]);
        check("a\0b\u{7f}c\u{9b}", &[(&CONTROL, "\0"), (&CONTROL, "\u{7f}"), (&CONTROL, "\u{9b}")]);
        check("a\u{8}b", &[(&CONTROL, "\u{8}")]);
        check("\u{1b}[8mhidden\u{1b}[0m", &[(&CONTROL, "\u{1b}")]);
        check("\u{1b}]0;title\u{7}", &[(&CONTROL, "\u{1b}"), (&CONTROL, "\u{7}")]);
    }

    #[test]
    fn what_scripts_emoji_and_terminals_need_is_not() {
        check("plain text\twith\nlines\r\nand ümlauts, 中文, ру́сский", &[]);
        check("\u{feff}a byte order mark in front", &[]);
        // Families, hearts, keycaps, flags, skin tones.
        check(
            "👨\u{200d}👩\u{200d}👧 ❤\u{fe0f}\u{200d}🔥 1\u{fe0f}\u{20e3} ☀\u{fe0f} 👩🏽\u{200d}🚀",
            &[],
        );
        check("🏴\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f} 🇩🇪", &[]);
        // Persian "I want", "books"; Hindi and Sinhala conjuncts; Malayalam.
        check("می\u{200c}خواهم کتاب\u{200c}ها क्\u{200d}ष ශ්\u{200d}රී ന്\u{200d}", &[]);
        check("עברית\u{200f} 123 العربية\u{200e}", &[]);
        check("ภาษา\u{200b}ไทย ខ្មែរ\u{200b}អក្សរ", &[]);
        // An ideograph's variant.
        check("葛\u{e0100}城", &[]);
        check("\u{1b}[1;31merror\u{1b}[0m: line\u{c}", &[]);
    }

    #[test]
    fn what_is_excused_once_is_not_in_a_row() {
        check("😀\u{fe0f}\u{fe01}\u{fe02}", &[(&VARIATION, "\u{fe0f}\u{fe01}\u{fe02}")]);
        check("می\u{200c}\u{200c}خ", &[(&ZERO_WIDTH, "\u{200c}\u{200c}")]);
        check("ไ\u{200b}\u{200b}ท", &[(&ZERO_WIDTH, "\u{200b}\u{200b}")]);
        // More tags than a flag has, and tags that end nowhere.
        let tags: String =
            "abcdefghi".chars().map(|c| char::from_u32(0xe0000 + c as u32).unwrap()).collect();
        check(&format!("🏴{tags}\u{e007f}"), &[(&TAGS, &format!("{tags}\u{e007f}"))]);
        check("🏴\u{e0067}\u{e0062}", &[(&TAGS, "\u{e0067}\u{e0062}")]);
    }
}
