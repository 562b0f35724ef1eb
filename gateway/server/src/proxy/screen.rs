//! What one guard makes of one message: what it found, whether the message passes, and in which form. What a client
//! gets is made here only ([`Cleared`]), so nothing of a server's reaches it unread, unless the settings say so
//! ([`Waiver`]). Knows messages, not how they travel; `scan` asks about requests, `whole` and `stream` about answers.

mod seen;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::cmp::Reverse;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use gateway_core::ids::ServerId;
use gateway_core::json::Json;
use gateway_core::reason::Reason;
use gateway_core::record::Finding;
use gateway_core::scan::external::{UNAVAILABLE, VERDICT};
use gateway_core::scan::{Class, External, Found, Guard, Mode, OverLimit, Scanning, message};
use gateway_governance::Snapshot;
use gateway_governance::tool_list::Silence;
use uuid::Uuid;

use super::Proxy;
use super::outgoing::splice;
use super::outside::Told;
use super::resolve::Routed;
use super::task::RELATED;
pub(super) use seen::{Blocked, Cleared, Findings, Seen, Tally, Waiver};

use crate::telemetry::TraceParent;
use seen::Verdict;

/// The most findings that one record lists; a message can hold very many.
pub(super) const FINDINGS: usize = 64;
/// The rule of what passed because it was too long to be read.
const UNSCANNED: &str = "unscanned";
/// What says what a message is about, or is handed back as it came: replaced, it would be another message.
const HANDLES: [&[&str]; 21] = [
    &["id"],
    &["jsonrpc"],
    &["method"],
    &["params", "name"],
    &["params", "uri"],
    &["params", "ref", "name"],
    &["params", "ref", "uri"],
    &["params", "taskId"],
    &["params", "requestId"],
    &["params", "requestState"],
    &["params", "cursor"],
    &["params", "elicitationId"],
    &["params", "progressToken"],
    &["params", "_meta", "progressToken"],
    &["params", "_meta", RELATED, "taskId"],
    &["result", "_meta", RELATED, "taskId"],
    &["result", "resultType"],
    &["result", "taskId"],
    &["result", "task", "taskId"],
    &["result", "requestState"],
    &["result", "nextCursor"],
];
/// Ours by protocol: an id of the trace, made of random digits.
const TRACEPARENT: &[&str] = &["params", "_meta", "traceparent"];

/// One guard of one server, ready to read messages.
#[derive(Clone)]
pub(super) struct Screen {
    scanning: Arc<Scanning>,
    guard: Guard,
    key: [u8; 32],
}

/// What is read: a JSON message, in which something is `ours`, or a text, with what it is called in findings.
enum Form<'a> {
    Json(&'a [Range<usize>]),
    Text(&'a str),
}

impl Screen {
    /// The guard of the server that the request goes to.
    pub(super) fn of(routed: &Routed, guard: Guard, proxy: &Proxy) -> Screen {
        let scanning = routed.snapshot.scanning(routed.server.id).clone();
        Screen { scanning, guard, key: proxy.finding_key }
    }

    /// The same guard by the settings of now.
    pub(super) fn renew(&mut self, snapshot: &Snapshot, server: ServerId) {
        self.scanning = snapshot.scanning(server).clone();
    }

    /// What is taken out of records about requests that were refused before they were read.
    pub(super) fn for_records(snapshot: &Snapshot, server: Option<ServerId>) -> Screen {
        let scanning = snapshot.scanning(server.unwrap_or(ServerId(Uuid::nil()))).clone();
        Screen { scanning, guard: Guard::ToolIntent, key: [0; 32] }
    }

    /// True when nothing is looked for.
    pub(super) fn is_off(&self) -> bool {
        self.scanning.modes.is_off(self.guard)
    }

    /// Longest message that is read, bytes.
    pub(super) fn limit(&self) -> usize {
        self.scanning.limit
    }

    /// Where nothing is looked for, everything may pass unread.
    pub(super) fn waiver(&self) -> Option<Waiver> {
        self.is_off().then_some(Waiver(()))
    }

    /// Where the settings say so, what is longer than what is read may pass, too: with what is to be recorded.
    pub(super) fn over_limit(&self, length: usize) -> Result<(Waiver, Seen), Blocked> {
        match self.scanning.over_limit {
            OverLimit::Pass => Ok((Waiver(()), self.unscanned(length))),
            OverLimit::Refuse => Err(self.too_long()),
        }
    }

    /// Reads a JSON text that was checked before.
    pub(super) fn message(&self, text: &str) -> Seen {
        self.message_told(text, Told::default())
    }

    /// The same together with what the organisation's own scanner says of it.
    pub(super) fn message_told(&self, text: &str, told: Told) -> Seen {
        self.message_but(text, &[], told)
    }

    /// The same without what is `ours` in it.
    pub(super) fn message_but(&self, text: &str, ours: &[Range<usize>], told: Told) -> Seen {
        self.read(text, Form::Json(ours), told)
    }

    /// The same without those members of the result, which somebody else reads and which stay as they are.
    pub(super) fn message_around(&self, text: &str, members: &[&str], told: Told) -> Seen {
        let (rest, taken) = around(text, members);
        let mut seen = self.message_told(&rest, told);
        if let Verdict::Masked(masked) = &mut seen.verdict {
            for (member, was) in taken {
                if let Some(span) = member_span(masked, member) {
                    masked.replace_range(span, was);
                }
            }
        }
        seen
    }

    /// Reads any other text. It cannot be masked: what would be is blocked. `place` names it in findings.
    pub(super) fn text(&self, text: &str, place: &str) -> Seen {
        self.text_told(text, place, Told::default())
    }

    /// The same together with what the organisation's own scanner says of it as a JSON string.
    pub(super) fn text_told(&self, text: &str, place: &str, told: Told) -> Seen {
        let mut seen = self.read(text, Form::Text(place), told);
        // It is no part of a message that is kept.
        seen.private.iter_mut().for_each(|one| one.span = 0..0);
        seen
    }

    fn read(&self, text: &str, form: Form<'_>, mut told: Told) -> Seen {
        if self.is_off() || text.is_empty() {
            return Seen::nothing();
        }
        if text.len() > self.scanning.limit {
            return match self.over_limit(text.len()) {
                Ok((_, seen)) => seen,
                Err(blocked) => Seen { unread: true, ..Seen::blocked(blocked) },
            };
        }
        let started = Instant::now();
        let found = self.find(text, &form, &mut told);
        if found.is_empty() {
            return self.outside(&told);
        }
        let modes = match form {
            Form::Json(_) => self.modes(text, &found),
            Form::Text(_) => found.iter().map(|one| unmaskable(self.set(one))).collect(),
        };
        let took = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.judge(text, found, &modes, took).and(self.outside(&told))
    }

    fn find(&self, text: &str, form: &Form<'_>, told: &mut Told) -> Vec<Found> {
        let Scanning { detectors, modes, .. } = &*self.scanning;
        let mut found = match form {
            Form::Json(_) => message::read(detectors, self.guard, modes, text),
            Form::Text(_) => message::read_text(detectors, self.guard, modes, text),
        };
        let more = self.outside_finds(told, &found);
        if !more.is_empty() {
            found.extend(more);
            found.sort_by_key(|one| one.span.start);
        }
        match form {
            Form::Text(place) => {
                found.iter_mut().for_each(|one| (*place).clone_into(&mut one.path));
            }
            Form::Json(ours) if !found.is_empty() => {
                let trace = traceparent(text);
                found.retain(|one| !is_in(&one.span, ours.iter().chain(&trace)));
            }
            Form::Json(_) => {}
        }
        found
    }

    fn judge(&self, text: &str, found: Vec<Found>, modes: &[Mode], took: u64) -> Seen {
        let mut recorded: Vec<(&Found, Mode)> = found.iter().zip(modes.iter().copied()).collect();
        // The strictest first; of equal ones the first of the message.
        recorded.sort_by_key(|(_, mode)| Reverse(*mode));
        let finding = |(one, mode): (&Found, Mode)| one.finding(self.guard, mode, &self.key, took);
        let verdict = match recorded.first() {
            Some(&(one, Mode::Block)) => {
                Verdict::Blocked(self.blocked(&finding((one, Mode::Block))))
            }
            Some(&(one, Mode::Mask)) => {
                let masked = recorded.iter().filter(|(_, mode)| *mode == Mode::Mask);
                let masked = masked.map(|(one, _)| (*one).clone()).collect();
                self.masked(text, masked, || self.blocked(&finding((one, Mode::Block))))
            }
            Some((_, Mode::Monitor | Mode::Off)) | None => Verdict::Passes,
        };
        let mut findings = Findings::default();
        for (one, mode) in recorded {
            // What is not described is only counted.
            if !one.plain.is_empty() && findings.listed.len() < FINDINGS {
                findings.listed.push(finding((one, mode)));
            } else {
                findings.beyond.add((self.guard, one.class, mode), 1);
            }
        }
        let is_private = |one: &Found| matches!(one.class, Class::Secrets | Class::PersonalData);
        let private = found.into_iter().filter(is_private).collect();
        Seen { findings, verdict, private, unread: false }
    }

    fn masked(&self, text: &str, mut found: Vec<Found>, blocked: impl Fn() -> Blocked) -> Verdict {
        found.sort_by_key(|one| one.span.start);
        let masked = message::mask(text, &found);
        // Two keys that became one would be another message.
        match Json::parse(masked.as_bytes()) {
            Ok(_) => Verdict::Masked(masked),
            Err(_) => Verdict::Blocked(blocked()),
        }
    }

    /// What is done about each: what cannot be masked where it stands is blocked.
    fn modes(&self, text: &str, found: &[Found]) -> Vec<Mode> {
        let handles = match found.iter().any(|one| self.set(one) == Mode::Mask) {
            true => handles(text),
            false => Vec::new(),
        };
        let mode = |one: &Found| match is_in(&one.span, handles.iter()) {
            true => unmaskable(self.set(one)),
            false => self.set(one),
        };
        found.iter().map(mode).collect()
    }

    /// What the settings say is done about it.
    fn set(&self, one: &Found) -> Mode {
        self.scanning.modes.of(self.guard, one.class)
    }

    /// Whether the organisation's own scanner is asked about anything.
    pub(super) fn has_outside(&self) -> bool {
        self.scanning.external != External::Off
    }

    /// Whether it is asked about that message: it is of those that are read.
    pub(super) fn asks_outside(&self, text: &str) -> bool {
        self.has_outside() && !self.is_off() && text.len() <= self.scanning.limit
    }

    /// What becomes of a message with a definition, or of a call of a tool with one, about which it gave no answer.
    pub(super) fn unheard(&self, silence: Silence) -> Seen {
        let closed = silence.suspected || self.scanning.external == External::FailClosed;
        let mode = if closed { Mode::Block } else { Mode::Monitor };
        let finding = Finding::whole(Guard::ToolList, Class::Injection, UNAVAILABLE, mode);
        let told = "the organisation's own scanner, which reads definitions before they are shown or used, does not \
                    answer now; try again later";
        let verdict = match closed {
            true => {
                Verdict::Blocked(Blocked { reason: Reason::ScannerUnavailable, told: told.into() })
            }
            false => Verdict::Passes,
        };
        Seen::remarked(vec![finding], verdict)
    }

    /// What it found of classes that are looked for. Their places tell nothing that was found before.
    fn outside_finds(&self, told: &mut Told, before: &[Found]) -> Vec<Found> {
        let wanted = |one: &Found| self.scanning.modes.of(self.guard, one.class) != Mode::Off;
        let mut found: Vec<Found> = std::mem::take(&mut told.found);
        found.retain(wanted);
        for one in &mut found {
            before.iter().for_each(|known| known.hide_in(&mut one.path));
        }
        found
    }

    /// What becomes of a message because of it, beside what it found.
    fn outside(&self, told: &Told) -> Seen {
        let closed = self.scanning.external == External::FailClosed;
        let (rule, blocked) = match (told.blocks, told.missing) {
            (true, _) => (VERDICT, Some((Reason::ScannerBlocked, "does not let it pass"))),
            (false, true) => {
                let blocked = closed.then_some((Reason::ScannerUnavailable, "does not answer now"));
                (UNAVAILABLE, blocked)
            }
            (false, false) => return Seen::nothing(),
        };
        let mode = if blocked.is_some() { Mode::Block } else { Mode::Monitor };
        let finding = Finding::whole(self.guard, Class::Injection, rule, mode);
        let told = |what: &str| match self.guard {
            Guard::ToolIntent => format!("the organisation's own scanner {what}"),
            Guard::ToolCall | Guard::ToolList => format!(
                "the call was made, and its answer is withheld: the organisation's own scanner {what}"
            ),
        };
        let verdict = match blocked {
            Some((reason, what)) => Verdict::Blocked(Blocked { reason, told: told(what) }),
            None => Verdict::Passes,
        };
        Seen::remarked(vec![finding], verdict)
    }

    /// Whether a block ends the session that the message came in.
    pub(super) fn ends_session(&self, blocked: &Blocked) -> bool {
        self.scanning.end_session && blocked.reason == Reason::ScannerBlocked
    }

    fn blocked(&self, finding: &Finding) -> Blocked {
        let place = if finding.path.is_empty() { "/" } else { &finding.path };
        let what = format!("{} ({}) at {place}", finding.class.as_str(), finding.rule);
        let told = match self.guard {
            Guard::ToolIntent => format!(
                "the request has {what}; take it out and call again, or ask an administrator about the scanner \
                 settings of this server"
            ),
            Guard::ToolCall | Guard::ToolList => format!(
                "the call was made, and its answer is withheld: it has {what}; an administrator can change the \
                 scanner settings of this server"
            ),
        };
        Blocked { reason: Reason::ScannerBlocked, told }
    }

    fn too_long(&self) -> Blocked {
        let (limit, guard) = (self.scanning.limit, self.guard);
        let told = match guard {
            Guard::ToolIntent => {
                format!("the request has more than {limit} bytes; send less at once")
            }
            Guard::ToolCall | Guard::ToolList => format!(
                "the call was made, and its answer is withheld: it has more than {limit} bytes; ask for less at once"
            ),
        };
        Blocked { reason: Reason::ScanLimitExceeded, told }
    }

    /// One finding for each class that was not looked for.
    fn unscanned(&self, length: usize) -> Seen {
        let modes = &self.scanning.modes;
        let wanted =
            Class::ALL.into_iter().filter(|class| modes.of(self.guard, *class) != Mode::Off);
        let remark = |class| Finding::whole(self.guard, class, UNSCANNED, Mode::Monitor);
        let findings = wanted.map(|class| Finding { length, ..remark(class) });
        Seen { unread: true, ..Seen::remarked(findings.collect(), Verdict::Passes) }
    }
}

/// A message without those members of its result: what stands there instead is short. And what they were.
pub(super) fn around<'a, 'm>(
    text: &'a str,
    members: &[&'m str],
) -> (Cow<'a, str>, Vec<(&'m str, &'a str)>) {
    let message = Json::checked_before(text);
    let place = |member: &&'m str| Some((*member, message.at(&["result", member])?.span_in(text)?));
    let places: Vec<_> = members.iter().filter_map(place).collect();
    let taken = places.iter().map(|(member, span)| (*member, &text[span.clone()])).collect();
    let edits: Vec<_> = places.into_iter().map(|(_, span)| (span, "0".to_owned())).collect();
    match edits.is_empty() {
        true => (Cow::Borrowed(text), taken),
        false => (Cow::Owned(splice(text, edits)), taken),
    }
}

fn unmaskable(mode: Mode) -> Mode {
    if mode == Mode::Mask { Mode::Block } else { mode }
}

fn member_span(text: &str, member: &str) -> Option<Range<usize>> {
    Json::checked_before(text).at(&["result", member])?.span_in(text)
}

fn is_in<'a>(span: &Range<usize>, mut places: impl Iterator<Item = &'a Range<usize>>) -> bool {
    places.any(|place| place.start < span.end && span.start < place.end)
}

fn handles(text: &str) -> Vec<Range<usize>> {
    let message = Json::checked_before(text);
    HANDLES.iter().filter_map(|path| message.at(path)?.span_in(text)).collect()
}

fn traceparent(text: &str) -> Option<Range<usize>> {
    let value = Json::checked_before(text).at(TRACEPARENT)?;
    let said = value.as_str()?;
    // What may follow in later versions is not known to be one.
    TraceParent::parse(&said).filter(|_| said.len() == 55)?;
    value.span_in(text)
}
