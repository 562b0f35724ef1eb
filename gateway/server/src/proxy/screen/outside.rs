//! What becomes of a message because of what the organisation's own scanner says of it, beside what the built-in one
//! finds.

use gateway_core::reason::Reason;
use gateway_core::record::Finding;
use gateway_core::scan::external::{UNAVAILABLE, VERDICT};
use gateway_core::scan::{Class, External, Found, Guard, Mode};

use super::super::outside::Told;
use super::seen::Verdict;
use super::{Blocked, Screen, Seen};

impl Screen {
    /// Whether it is asked about that message: it is of those that are read.
    pub(in super::super) fn asks_outside(&self, text: &str) -> bool {
        let scanning = &self.scanning;
        scanning.external != External::Off && !self.is_off() && text.len() <= scanning.limit
    }

    /// Puts what it found beside what was found before, if somebody wants to know. Its places tell nothing of that.
    pub(super) fn hear(&self, found: &mut Vec<Found>, more: Vec<Found>) {
        let before = found.len();
        for mut one in more {
            if self.scanning.modes.of(self.guard, one.class) == Mode::Off {
                continue;
            }
            found.iter().take(before).for_each(|known| hide(&mut one.path, known));
            found.push(one);
        }
        found.sort_by_key(|one| one.span.start);
    }

    /// Its own verdict, and what its silence means.
    pub(super) fn outside(&self, blocks: bool, missing: bool) -> Seen {
        let closed = self.scanning.external == External::FailClosed;
        let (rule, blocked) = match (blocks, missing) {
            (true, _) => (VERDICT, Some((Reason::ScannerBlocked, "does not let it pass"))),
            (false, true) => {
                let blocked = (Reason::ScannerUnavailable, "does not answer now; try again later");
                (UNAVAILABLE, closed.then_some(blocked))
            }
            (false, false) => return Seen::nothing(),
        };
        let finding = Finding {
            guard: self.guard,
            // It has none of its own; this is what such scanners are for.
            class: Class::Injection,
            rule: rule.into(),
            mode: if blocked.is_some() { Mode::Block } else { Mode::Monitor },
            path: String::new(),
            offset: 0,
            length: 0,
            excerpt: String::new(),
            fingerprint: String::new(),
            scan_us: 0,
        };
        let called = match self.guard {
            Guard::ToolIntent => "",
            Guard::ToolCall | Guard::ToolList => "the call was made, and its answer is withheld: ",
        };
        let verdict = match blocked {
            Some((reason, what)) => {
                let told = format!("{called}the organisation's own scanner {what}");
                Verdict::Blocked(Blocked { reason, told })
            }
            None => Verdict::Passes,
        };
        Seen { findings: vec![finding], verdict, ..Seen::nothing() }
    }

    /// Whether that block ends the session that the message came in.
    pub(in super::super) fn ends_session(&self, blocked: &Blocked) -> bool {
        self.scanning.end_session && blocked.reason == Reason::ScannerBlocked
    }

    /// Reads a JSON text together with what the organisation's own scanner says of it.
    pub(in super::super) fn message_told(&self, text: &str, told: Told) -> Seen {
        self.message_but(text, &[], told)
    }
}

/// Takes what was found out of a place's name: a key may hold it.
fn hide(path: &mut String, found: &Found) {
    let key = found.plain.replace('~', "~0").replace('/', "~1");
    if !key.is_empty() && path.contains(&key) {
        *path = path.replace(&key, "…");
    }
}
