//! What one guard makes of one message: what it found, whether the message passes, and in which form. What a client
//! gets is made here only ([`Cleared`]), so nothing of a server's reaches it unread, unless the settings say so
//! ([`Waiver`]). Knows messages, not how they travel; `scan` asks about requests, `filter` and `stream` about answers.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use gateway_core::ids::ServerId;
use gateway_core::json::{Json, write_string};
use gateway_core::reason::Reason;
use gateway_core::record::Finding;
use gateway_core::scan::external::{UNAVAILABLE, VERDICT};
use gateway_core::scan::{Class, External, Found, Guard, Mode, OverLimit, Scanning, message};
use gateway_core::sse;
use gateway_governance::Snapshot;
use uuid::Uuid;

use super::Proxy;
use super::outside::Told;
use super::refusal::Refusal;
use super::resolve::Routed;
use crate::telemetry::TraceParent;

/// The most findings that one record lists; a message can hold very many.
pub(super) const FINDINGS: usize = 64;
/// The rule of what passed because it was too long to be read.
const UNSCANNED: &str = "unscanned";
/// What says what a message is about, or is handed back as it came: replaced, it would be another message.
const HANDLES: [&str; 21] = [
    "/id",
    "/jsonrpc",
    "/method",
    "/params/name",
    "/params/uri",
    "/params/ref/name",
    "/params/ref/uri",
    "/params/taskId",
    "/params/requestId",
    "/params/requestState",
    "/params/cursor",
    "/params/elicitationId",
    "/params/progressToken",
    "/params/_meta/progressToken",
    "/params/_meta/io.modelcontextprotocol~1related-task/taskId",
    "/result/_meta/io.modelcontextprotocol~1related-task/taskId",
    "/result/resultType",
    "/result/taskId",
    "/result/task/taskId",
    "/result/requestState",
    "/result/nextCursor",
];
const TRACEPARENT: &str = "/params/_meta/traceparent";

/// One guard of one server, ready to read messages.
#[derive(Clone)]
pub(super) struct Screen {
    scanning: Arc<Scanning>,
    guard: Guard,
    key: [u8; 32],
}

/// What a client may get. Made only here.
pub(super) struct Cleared(Bytes);

/// The settings' leave to pass something on unread. Made only here.
#[derive(Clone, Copy)]
pub(super) struct Waiver(());

/// What a guard has seen in one message. Made only here.
pub(super) struct Seen {
    /// For the record.
    pub(super) findings: Vec<Finding>,
    verdict: Verdict,
    /// What no record may hold.
    private: Vec<Found>,
    /// It was not read.
    unread: bool,
}

/// What becomes of a message.
enum Verdict {
    /// It passes as it is.
    Passes,
    /// It passes in this form.
    Masked(String),
    /// It does not pass.
    Blocked(Blocked),
}

/// Why a message does not pass.
#[derive(Debug, Clone)]
pub(super) struct Blocked {
    pub(super) reason: Reason,
    /// For clients and operators: which rule, where, and what can be done. Never what was found.
    pub(super) told: String,
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
        self.message_but(text, |_| false, told)
    }

    /// The same without what is `ours` in it.
    pub(super) fn message_but(
        &self,
        text: &str,
        ours: impl Fn(&Found) -> bool,
        mut told: Told,
    ) -> Seen {
        if self.is_off() {
            return Seen::nothing();
        }
        if text.len() > self.scanning.limit {
            return match self.over_limit(text.len()) {
                Ok((_, seen)) => seen,
                Err(blocked) => Seen { unread: true, ..Seen::blocked(blocked) },
            };
        }
        let started = Instant::now();
        let Scanning { detectors, modes, .. } = &*self.scanning;
        let mut found = message::read(detectors, self.guard, modes, text);
        let more = self.from_outside(&mut told, &found);
        found.extend(more);
        found.sort_by_key(|one| one.span.start);
        if found.is_empty() {
            return self.outside(&told);
        }
        found.retain(|one| !(ours(one) || one.path == TRACEPARENT && is_traceparent(text)));
        let took = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.judge(text, found, took).and(self.outside(&told))
    }

    /// Whether the organisation's own scanner is asked about that message, too: it is of those that are read.
    pub(super) fn asks_outside(&self, text: &str) -> bool {
        self.scanning.external != External::Off
            && !self.is_off()
            && text.len() <= self.scanning.limit
    }

    /// What it found of classes that are looked for. Their places tell nothing that was found before.
    fn from_outside(&self, told: &mut Told, before: &[Found]) -> Vec<Found> {
        let wanted = |one: &Found| self.scanning.modes.of(self.guard, one.class) != Mode::Off;
        let mut found: Vec<Found> = std::mem::take(&mut told.found);
        found.retain(wanted);
        for one in &mut found {
            before.iter().for_each(|known| hide(&mut one.path, known));
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
        let finding = Finding {
            guard: self.guard,
            class: Class::Injection,
            rule: rule.into(),
            mode,
            path: String::new(),
            offset: 0,
            length: 0,
            excerpt: String::new(),
            fingerprint: String::new(),
            scan_us: 0,
        };
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
        Seen { findings: vec![finding], verdict, ..Seen::nothing() }
    }

    /// Whether a block ends the session that the message came in.
    pub(super) fn ends_session(&self, blocked: &Blocked) -> bool {
        self.scanning.end_session && blocked.reason == Reason::ScannerBlocked
    }

    /// What `listing` reads, item by item.
    pub(super) fn left_to_listing(&self) -> Seen {
        Seen::nothing()
    }

    /// Reads any other text. It cannot be masked: what would be is blocked. `place` names it in findings.
    pub(super) fn text(&self, text: &str, place: &str) -> Seen {
        self.text_told(text, place, Told::default())
    }

    /// The same together with what the organisation's own scanner says of it as a JSON string.
    pub(super) fn text_told(&self, text: &str, place: &str, told: Told) -> Seen {
        if self.is_off() || text.is_empty() {
            return Seen::nothing();
        }
        let mut quoted = String::with_capacity(text.len() + 2);
        write_string(text, &mut quoted);
        let mut seen = self.message_told(&quoted, told);
        for finding in &mut seen.findings {
            place.clone_into(&mut finding.path);
            finding.mode = unmaskable(finding.mode);
        }
        // It is no part of a message that is kept.
        seen.private.iter_mut().for_each(|one| one.span = 0..0);
        if let (Verdict::Masked(_), Some(first)) = (&seen.verdict, seen.findings.first()) {
            let first = first.clone();
            seen.verdict = Verdict::Blocked(self.blocked(&first));
        }
        seen
    }

    fn judge(&self, text: &str, found: Vec<Found>, took: u64) -> Seen {
        let modes: Vec<Mode> = found.iter().map(|one| self.mode(one)).collect();
        let keys = secret_keys(&found);
        let finding = |(one, mode): (&Found, &Mode)| {
            let mut finding = one.finding(self.guard, *mode, &self.key, took);
            for key in &keys {
                finding.path = finding.path.replace(key, "…");
            }
            finding
        };
        let with = |wanted: Mode| found.iter().zip(&modes).find(|(_, mode)| **mode == wanted);
        let verdict = if let Some(worst) = with(Mode::Block) {
            Verdict::Blocked(self.blocked(&finding(worst)))
        } else if let Some(first) = with(Mode::Mask) {
            let replaced =
                |(one, mode): (&Found, &Mode)| (*mode == Mode::Mask).then(|| one.clone());
            let replaced: Vec<Found> = found.iter().zip(&modes).filter_map(replaced).collect();
            let masked = message::mask(text, &replaced);
            // Two keys that became one would be another message.
            if Json::parse(masked.as_bytes()).is_ok() {
                Verdict::Masked(masked)
            } else {
                let first = Finding { mode: Mode::Block, ..finding(first) };
                Verdict::Blocked(self.blocked(&first))
            }
        } else {
            Verdict::Passes
        };
        let findings = found.iter().zip(&modes).take(FINDINGS).map(finding).collect();
        let is_private = |one: &Found| matches!(one.class, Class::Secrets | Class::PersonalData);
        let private = found.into_iter().filter(is_private).collect();
        Seen { findings, verdict, private, unread: false }
    }

    /// What is done about it: what cannot be masked where it stands is blocked.
    fn mode(&self, one: &Found) -> Mode {
        let mode = self.scanning.modes.of(self.guard, one.class);
        if HANDLES.contains(&one.path.as_str()) { unmaskable(mode) } else { mode }
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
        let findings = wanted.map(|class| Finding {
            guard: self.guard,
            class,
            rule: UNSCANNED.into(),
            mode: Mode::Monitor,
            path: String::new(),
            offset: 0,
            length,
            excerpt: String::new(),
            fingerprint: String::new(),
            scan_us: 0,
        });
        Seen { findings: findings.collect(), unread: true, ..Seen::nothing() }
    }
}

impl Blocked {
    /// What cannot be masked without changing what is asked for.
    pub(super) fn unmaskable(what: &str) -> Blocked {
        let told = format!("what the request has in it cannot be masked: {what}");
        Blocked { reason: Reason::ScannerBlocked, told }
    }

    /// Ends the exchange.
    pub(super) fn refuse(self, routed: Routed) -> Refusal {
        let message = Some(self.told.clone());
        Refusal { message, ..Refusal::of_routed(routed, self.reason, self.told) }
    }
}

impl Seen {
    fn nothing() -> Seen {
        Seen { findings: Vec::new(), verdict: Verdict::Passes, private: Vec::new(), unread: false }
    }

    /// What was read and may pass, as it came or masked. An error: it may not.
    pub(super) fn clear(&mut self, as_it_came: Bytes) -> Result<Cleared, Blocked> {
        match std::mem::replace(&mut self.verdict, Verdict::Passes) {
            Verdict::Passes => Ok(Cleared(as_it_came)),
            Verdict::Masked(text) => Ok(Cleared(text.into())),
            Verdict::Blocked(blocked) => {
                self.verdict = Verdict::Blocked(blocked.clone());
                Err(blocked)
            }
        }
    }

    fn blocked(blocked: Blocked) -> Seen {
        Seen { verdict: Verdict::Blocked(blocked), ..Seen::nothing() }
    }

    /// A part of the text that was read, without what no record may hold. `None`: it was not read.
    pub(super) fn kept(&self, text: &str, part: Range<usize>) -> Option<String> {
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
    pub(super) fn is_clean(&self) -> bool {
        self.private.is_empty() && !self.unread
    }

    /// A name that the message gave, without what no record may hold.
    pub(super) fn redact(&self, name: &mut String) {
        for one in self.private.iter().filter(|one| !one.plain.is_empty()) {
            if name.contains(&one.plain) {
                *name = name.replace(&one.plain, &format!("[masked:{}]", one.rule));
            }
        }
    }

    /// What else was seen in the same message.
    pub(super) fn and(mut self, other: Seen) -> Seen {
        self.findings.extend(other.findings);
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
    pub(super) fn ours(text: impl Into<Bytes>) -> Cleared {
        Cleared(text.into())
    }

    /// What the settings let pass unread.
    pub(super) fn unread(bytes: Bytes, _: Waiver) -> Cleared {
        Cleared(bytes)
    }

    /// The same with what the gateway changes in it: listings trimmed, ids sealed.
    pub(super) fn adapted(
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
    pub(super) fn within(self, event: Bytes, data: &str) -> Cleared {
        if self.0 == data.as_bytes() {
            return Cleared(event);
        }
        let text = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
        Cleared(sse::with_data(text(&event), text(&self.0)).into())
    }

    /// What it is.
    pub(super) fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// What goes out.
    pub(super) fn into_bytes(self) -> Bytes {
        self.0
    }
}

/// Takes what was found out of a place's name: a key may hold it.
fn hide(path: &mut String, found: &Found) {
    let key = found.plain.replace('~', "~0").replace('/', "~1");
    if !key.is_empty() && path.contains(&key) {
        *path = path.replace(&key, "…");
    }
}

fn unmaskable(mode: Mode) -> Mode {
    if mode == Mode::Mask { Mode::Block } else { mode }
}

/// Found keys as they stand in paths, which must not tell them either.
fn secret_keys(found: &[Found]) -> Vec<String> {
    let segment = |one: &Found| one.plain.replace('~', "~0").replace('/', "~1");
    let keys = found.iter().filter(|one| !one.plain.is_empty());
    let mut keys: Vec<String> = keys
        .filter_map(|one| Some(segment(one)).filter(|segment| one.path.contains(segment)))
        .collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// Ours by protocol: an id of the trace, made of random digits.
fn is_traceparent(text: &str) -> bool {
    let value = Json::checked_before(text).at(&["params", "_meta", "traceparent"]);
    // What may follow in later versions is not known to be one.
    let exact = |text: &str| text.len() == 55 && TraceParent::parse(text).is_some();
    value.and_then(|value| value.as_str()).is_some_and(|text| exact(&text))
}
