//! How an answer ends, and the record of it: written when the answer has gone out, when it breaks off, or when the
//! client leaves.

use bytes::{Bytes, BytesMut};
use gateway_core::mcp::{MessageKind, Method};
use gateway_core::reason::Reason;
use gateway_core::record::Outcome;
use gateway_core::sniff::{Ending, Sniffer};

use super::parse::Ask;
use super::receipt::{Ended, Receipt};
use super::refusal::{Form, Refusal, Way};
use super::resolve::Routed;
use super::screen::{Blocked, Findings};
use super::{Proxy, fail};

/// What is known for the record of an exchange whose answer is on its way.
pub(super) struct Record {
    receipt: Option<Receipt>,
    pub(super) ending: Ending,
    /// No answer is owed: a stream that the client opened, a notification, a response.
    pub(super) open_ended: bool,
    sent: u64,
    kept: Kept,
    /// The longest answer that the trail keeps, bytes.
    keep: usize,
    form: Form,
}

/// What the trail gets of the answer.
enum Kept {
    Nothing,
    Pieces(BytesMut),
    Whole(Bytes),
}

impl Record {
    /// Of a request that has left.
    pub(super) fn of(routed: Routed, proxy: &Proxy) -> Record {
        let open_ended = match &routed.understood.ask {
            Ask::OpenStream | Ask::EndSession => true,
            Ask::Message(call) => {
                call.kind != MessageKind::Request || call.method == Some(Method::Listen)
            }
        };
        let call = routed.understood.call();
        let keep = proxy.settings.payload_limit;
        let kept = call.is_some_and(|call| call.method.is_some_and(Method::has_effects));
        Record {
            form: call.map(Form::answering).unwrap_or_default(),
            receipt: Some(routed.understood.identified.received.receipt),
            ending: Ending::default(),
            open_ended,
            sent: 0,
            kept: if kept && keep > 0 { Kept::Pieces(BytesMut::new()) } else { Kept::Nothing },
            keep,
        }
    }

    /// So many bytes of the answer went out.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
    }

    /// What scanners found in it.
    pub(super) fn found(&mut self, findings: &Findings) {
        if let Some(receipt) = &mut self.receipt {
            receipt.found(findings);
        }
    }

    /// Keeps a piece of the answer for the trail, or nothing of it if it is too long.
    pub(super) fn keep(&mut self, bytes: &[u8]) {
        match &mut self.kept {
            Kept::Pieces(kept) if kept.len() + bytes.len() <= self.keep => {
                kept.extend_from_slice(bytes)
            }
            Kept::Pieces(_) | Kept::Whole(_) => self.kept = Kept::Nothing,
            Kept::Nothing => {}
        }
    }

    /// Keeps nothing of the answer: nobody has read it.
    pub(super) fn keep_nothing(&mut self) {
        self.kept = Kept::Nothing;
    }

    /// True when the trail keeps an answer of so many bytes.
    pub(super) fn keeps(&self, bytes: usize) -> bool {
        matches!(self.kept, Kept::Pieces(_)) && bytes <= self.keep
    }

    /// The answer has arrived whole: `text`; the trail may hold `kept` of it.
    pub(super) fn answered(&mut self, text: &[u8], kept: Option<Bytes>) {
        self.ending = ending(text);
        self.kept = match kept {
            Some(kept) if self.keeps(kept.len()) => Kept::Whole(kept),
            Some(_) | None => Kept::Nothing,
        };
    }

    /// Ends the exchange with a refusal; gives the message that the client gets in the answer's place.
    pub(super) fn refuse(&mut self, blocked: Blocked) -> Option<String> {
        let receipt = self.receipt.take()?;
        Some(refusal(receipt, self.form.clone(), blocked).conclude_as_message())
    }

    /// Ends the exchange because what came cannot be used. `None`: nobody waits for an answer.
    pub(super) fn fail(&mut self, reason: Reason, detail: &str) -> Option<String> {
        self.form.id.as_ref().filter(|_| !self.open_ended)?;
        let receipt = self.receipt.take()?;
        let refusal = Refusal::new(receipt, reason, detail.to_owned());
        Some(Refusal { form: self.form.clone(), ..refusal }.conclude_as_message())
    }

    /// Ends an exchange that has left and may not go on; gives the message that the client gets in the answer's place.
    /// `None`: nobody waits for an answer, or it has passed.
    pub(super) fn cut(&mut self, reason: Reason, why: &str) -> Option<String> {
        self.form.id.as_ref().filter(|_| !self.open_ended && !self.ending.is_answer())?;
        let receipt = self.receipt.take()?;
        let refusal = Refusal::new(receipt, reason, why.to_owned());
        let form = self.form.clone();
        Some(Refusal { form, sent: true, ..refusal }.conclude_as_message())
    }

    /// Records the refusal of a message on a stream that goes on; the message is for whoever waits for the answer to `id`.
    pub(super) fn refuse_beside(
        &self,
        id: Option<String>,
        findings: &Findings,
        blocked: Blocked,
    ) -> Option<String> {
        let mut receipt = self.receipt.as_ref()?.beside();
        receipt.found(findings);
        let form = Form { id, tool: false, ..self.form.clone() };
        Some(refusal(receipt, form, blocked).conclude_as_message())
    }

    /// The answer is over; `broken` says that it broke off.
    pub(super) fn conclude(&mut self, broken: Option<(Reason, String)>) {
        fail::point("outcome");
        let Some(receipt) = self.receipt.take() else { return };
        let answered = self.ending.is_answer();
        let (outcome, reason, detail) = match broken {
            _ if answered && self.ending.is_ok() => (Outcome::Ok, None, String::new()),
            _ if answered => (Outcome::Error, None, String::new()),
            Some((reason, detail)) if self.open_ended => (Outcome::Cancelled, Some(reason), detail),
            Some((reason, detail)) => (Outcome::Error, Some(reason), detail),
            None if self.open_ended => (Outcome::Ok, None, String::new()),
            // A legacy server may close the stream and answer on another one.
            None => (Outcome::Unknown, None, "the stream ended before the answer".into()),
        };
        let result = match std::mem::replace(&mut self.kept, Kept::Nothing) {
            Kept::Pieces(pieces) if answered => Some(pieces.freeze()),
            Kept::Whole(whole) if answered => Some(whole),
            Kept::Pieces(_) | Kept::Whole(_) | Kept::Nothing => None,
        };
        receipt.conclude(Ended {
            response_bytes: self.sent,
            result,
            ..Ended::without_body(outcome, reason, detail)
        });
    }

    /// Reading the answer panicked: nobody knows what the client has got.
    pub(super) fn panicked(&mut self) {
        let Some(receipt) = self.receipt.take() else { return };
        let ended = Ended::without_body(Outcome::Unknown, Some(Reason::Internal), "panic".into());
        receipt.conclude(ended);
    }

    /// The client has left. An answer that had passed whole is one all the same, and a stream that the client
    /// opened is its own to close.
    pub(super) fn left(&mut self) {
        if self.ending.is_answer() || self.open_ended {
            self.conclude(None);
        }
    }
}

/// How a message ends.
pub(super) fn ending(text: &[u8]) -> Ending {
    let mut sniffer = Sniffer::default();
    sniffer.feed(text);
    sniffer.ending()
}

fn refusal(receipt: Receipt, form: Form, Blocked { reason, told }: Blocked) -> Refusal {
    Refusal {
        receipt,
        reason,
        detail: told.clone(),
        form,
        policies: Vec::new(),
        message: Some(told),
        way: Way::None,
        sent: false,
    }
}
