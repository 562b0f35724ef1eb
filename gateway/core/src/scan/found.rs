//! What the trail keeps of a find: never the thing itself.

use super::message::{DESCRIBED, Found};
use super::{Guard, Mode, Modes, fold};
use crate::keys::keyed_hash;
use crate::record::Finding;

/// Most characters of a find that are shown.
const SHOWN: usize = 4;

impl Found {
    /// What the trail keeps of it. `key` makes the same secret recognisable.
    pub fn finding(&self, guard: Guard, mode: Mode, key: &[u8; 32], scan_us: u64) -> Finding {
        let hash = keyed_hash(key, self.plain.as_bytes());
        Finding {
            guard,
            class: self.class,
            rule: (&self.rule).into(),
            mode,
            path: self.path.clone(),
            offset: self.span.start,
            length: self.span.len(),
            excerpt: excerpt(&self.plain),
            fingerprint: hash.iter().take(8).map(|b| format!("{b:02x}")).collect(),
            scan_us,
        }
    }
}

impl Found {
    /// Takes it out of the name of a place: a key may hold it.
    pub fn hide_in(&self, path: &mut String) {
        let key = self.plain.replace('~', "~0").replace('/', "~1");
        if !key.is_empty() && path.contains(&key) {
            *path = path.replace(&key, "…");
        }
    }
}

/// What the trail keeps of all of `found`: at most [`DESCRIBED`], the strictest first if there are more, in order of
/// place.
pub fn findings(
    found: &[Found],
    guard: Guard,
    modes: &Modes,
    key: &[u8; 32],
    scan_us: u64,
) -> Vec<Finding> {
    let mut kept: Vec<&Found> = found.iter().filter(|one| !one.plain.is_empty()).collect();
    // Stable: of equal modes the first stay.
    kept.sort_by_key(|one| std::cmp::Reverse(modes.of(guard, one.class)));
    kept.truncate(DESCRIBED);
    kept.sort_by_key(|one| (one.span.start, one.class));
    kept.into_iter()
        .map(|one| one.finding(guard, modes.of(guard, one.class), key, scan_us))
        .collect()
}

/// A few characters, never more than a quarter of it, none that does not show.
fn excerpt(plain: &str) -> String {
    let shown = (plain.chars().count() / 4).min(SHOWN);
    let seen = |c: &char| !c.is_control() && fold::unseen(*c).is_none();
    plain.chars().take(shown).filter(seen).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::Class;
    use crate::scan::rule::Name;

    #[test]
    fn excerpts_give_little_away() {
        for (plain, shown) in [
            ("", "…"),
            ("abc", "…"),
            ("abcd", "a…"),
            ("ghp_0123456789abcdef", "ghp_…"),
            ("\u{202E}\n\u{200B}\u{E0041}aaaaaaaaaaaa", "…"),
            ("\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}", "\u{e9}\u{e9}…"),
        ] {
            assert_eq!(excerpt(plain), shown);
        }
    }

    #[test]
    fn the_strictest_are_recorded_when_there_are_too_many() {
        let one = |class, start: usize, plain: &str| Found {
            class,
            rule: Name::BuiltIn("r"),
            path: String::new(),
            span: start..start + 1,
            plain: plain.into(),
        };
        let mut found: Vec<_> =
            (0..DESCRIBED).map(|i| one(Class::PersonalData, i, "a@b.example")).collect();
        found.push(one(Class::PersonalData, DESCRIBED, ""));
        found.push(one(Class::Secrets, DESCRIBED + 1, "secret"));
        let mut modes = Modes::default();
        modes.set(Guard::ToolCall, Class::Secrets, Mode::Block);
        let kept = findings(&found, Guard::ToolCall, &modes, &[7; 32], 1);
        assert_eq!(kept.len(), DESCRIBED);
        assert_eq!(kept.last().map(|last| last.mode), Some(Mode::Block));
        assert_eq!(kept.first().map(|first| first.offset), Some(0));
        let same = |n: usize| kept.get(n).map(|one| one.fingerprint.clone());
        assert_eq!(same(0), same(1), "the same thing is recognised");
        assert_ne!(same(0), same(DESCRIBED - 1));
    }
}
