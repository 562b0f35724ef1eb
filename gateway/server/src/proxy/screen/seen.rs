//! What a guard has seen in a message, and what may pass of it: [`Cleared`] is what a client may get and what a server
//! may hear, and only reading (or the settings' leave not to) makes one.

use std::ops::Range;

use bytes::Bytes;
use gateway_core::reason::Reason;
use gateway_core::record::Finding;
use gateway_core::scan::{Class, Found, Guard, Mode, message};
use gateway_core::sse;

use super::super::refusal::Refusal;
use super::super::resolve::Routed;

/// What a client may get. Made only here.
pub(in super::super) struct Cleared(Bytes);

/// The settings' leave to pass something on unread. Made only here.
#[derive(Clone, Copy)]
pub(in super::super) struct Waiver(pub(super) ());

/// What was found, as far as a record lists it, and how much more.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct Findings {
    pub(in super::super) listed: Vec<Finding>,
    pub(in super::super) beyond: Tally,
}

/// How many findings there are that no record lists, by kind.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct Tally(Vec<(Kind, u64)>);

/// What the figures tell apart.
pub(in super::super) type Kind = (Guard, Class, Mode);

impl Tally {
    /// So many more.
    pub(in super::super) fn add(&mut self, kind: Kind, more: u64) {
        match self.0.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count += more,
            None => self.0.push((kind, more)),
        }
    }

    /// And all of those.
    pub(in super::super) fn extend(&mut self, other: &Tally) {
        other.0.iter().for_each(|(kind, count)| self.add(*kind, *count));
    }

    /// What that guard has found is counted anew.
    pub(in super::super) fn forget(&mut self, guard: Guard) {
        self.0.retain(|((of, ..), _)| *of != guard);
    }

    /// How many of each kind.
    pub(in super::super) fn iter(&self) -> impl Iterator<Item = (Kind, u64)> {
        self.0.iter().copied()
    }
}

/// What a guard has seen in one message. Made only here.
pub(in super::super) struct Seen {
    /// For the record.
    pub(in super::super) findings: Findings,
    pub(super) verdict: Verdict,
    /// What no record may hold.
    pub(super) private: Vec<Found>,
    /// It was not read.
    pub(super) unread: bool,
}

/// What becomes of a message.
pub(super) enum Verdict {
    /// It passes as it is.
    Passes,
    /// It passes in this form.
    Masked(String),
    /// It does not pass.
    Blocked(Blocked),
}

/// Why a message does not pass.
#[derive(Debug, Clone)]
pub(in super::super) struct Blocked {
    pub(in super::super) reason: Reason,
    /// For clients and operators: which rule, where, and what can be done. Never what was found.
    pub(in super::super) told: String,
}

impl Blocked {
    /// What cannot be masked without changing what is asked for.
    pub(in super::super) fn unmaskable(what: &str) -> Blocked {
        let told = format!("what the request has in it cannot be masked: {what}");
        Blocked { reason: Reason::ScannerBlocked, told }
    }

    /// Ends the exchange.
    pub(in super::super) fn refuse(self, routed: Routed) -> Refusal {
        let message = Some(self.told.clone());
        Refusal { message, ..Refusal::of_routed(routed, self.reason, self.told) }
    }
}

impl Seen {
    pub(super) fn nothing() -> Seen {
        Seen {
            findings: Findings::default(),
            verdict: Verdict::Passes,
            private: Vec::new(),
            unread: false,
        }
    }

    /// What was read and may pass, as it came or masked. An error: it may not.
    pub(in super::super) fn clear(&mut self, as_it_came: Bytes) -> Result<Cleared, Blocked> {
        match std::mem::replace(&mut self.verdict, Verdict::Passes) {
            Verdict::Passes => Ok(Cleared(as_it_came)),
            Verdict::Masked(text) => Ok(Cleared(text.into())),
            Verdict::Blocked(blocked) => {
                self.verdict = Verdict::Blocked(blocked.clone());
                Err(blocked)
            }
        }
    }

    /// One of which only that much is to be recorded.
    pub(super) fn remarked(listed: Vec<Finding>, verdict: Verdict) -> Seen {
        let findings = Findings { listed, beyond: Tally::default() };
        Seen { findings, verdict, ..Seen::nothing() }
    }

    pub(super) fn blocked(blocked: Blocked) -> Seen {
        Seen { verdict: Verdict::Blocked(blocked), ..Seen::nothing() }
    }

    /// A part of the text that was read, without what no record may hold. `None`: it was not read.
    pub(in super::super) fn kept(&self, text: &str, part: Range<usize>) -> Option<String> {
        let source = text.get(part.clone()).filter(|_| !self.unread)?;
        let within = |span: &Range<usize>| part.start <= span.start && span.end <= part.end;
        let inside = |one: &&Found| !one.span.is_empty() && within(&one.span);
        let shifted = |one: &Found| {
            let span = one.span.start - part.start..one.span.end - part.start;
            Found { span, ..one.clone() }
        };
        let private: Vec<Found> = self.private.iter().filter(inside).map(shifted).collect();
        if private.is_empty() {
            return Some(source.to_owned());
        }
        Some(message::mask(source, &private))
    }

    /// True when all of the text may be kept as it is.
    pub(in super::super) fn is_clean(&self) -> bool {
        self.private.is_empty() && !self.unread
    }

    /// A name that the message gave, without what no record may hold.
    pub(in super::super) fn redact(&self, name: &mut String) {
        if self.private.iter().any(|one| one.plain.is_empty()) {
            // There are so many that not all of them are known.
            *name = "[masked]".into();
        }
        for one in self.private.iter().filter(|one| !one.plain.is_empty()) {
            if name.contains(&one.plain) {
                *name = name.replace(&one.plain, &format!("[masked:{}]", one.rule));
            }
        }
    }

    /// What else was seen in the same message.
    pub(in super::super) fn and(mut self, other: Seen) -> Seen {
        self.findings.listed.extend(other.findings.listed);
        self.findings.beyond.extend(&other.findings.beyond);
        self.private.extend(other.private);
        self.unread |= other.unread;
        self.verdict = match (self.verdict, other.verdict) {
            (blocked @ Verdict::Blocked(_), _) | (_, blocked @ Verdict::Blocked(_)) => blocked,
            (masked @ Verdict::Masked(_), _) => masked,
            (Verdict::Passes, other) => other,
        };
        self
    }
}

impl Cleared {
    /// The gateway's own words.
    pub(in super::super) fn ours(text: impl Into<Bytes>) -> Cleared {
        Cleared(text.into())
    }

    /// What the settings let pass unread.
    pub(in super::super) fn unread(bytes: Bytes, _: Waiver) -> Cleared {
        Cleared(bytes)
    }

    /// The same with what the gateway changes in it: listings trimmed, ids sealed.
    pub(in super::super) fn adapted(
        self,
        adapt: impl FnOnce(&str) -> Result<Option<String>, String>,
    ) -> Result<Cleared, String> {
        let text = std::str::from_utf8(&self.0).map_err(|e| e.to_string())?;
        Ok(match adapt(text)? {
            Some(adapted) => Cleared(adapted.into()),
            None => self,
        })
    }

    /// The same in the event that it came in, whose data was `data`.
    pub(in super::super) fn within(self, event: Bytes, data: &str) -> Cleared {
        if self.0 == data.as_bytes() {
            return Cleared(event);
        }
        let text = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
        Cleared(sse::with_data(text(&event), text(&self.0)).into())
    }

    /// What it is.
    pub(in super::super) fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// What goes out.
    pub(in super::super) fn into_bytes(self) -> Bytes {
        self.0
    }
}
