//! Relays an answer's body while it watches how the call ends, and concludes its record: at the end of the
//! body, or when it breaks off, or when the client leaves. Memory is bounded by one event, or by one read.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use gateway_core::mcp::{Era, Listing, MessageKind, Method};
use gateway_core::reason::Reason;
use gateway_core::record::Outcome;
use gateway_core::sniff::{Ending, Sniffer};
use gateway_core::sse::{self, Splitter};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::{Instant, Interval, Sleep};

use super::Proxy;
use super::filter::View;
use super::parse::Ask;
use super::receipt::{Ended, Receipt};
use super::resolve::Routed;
use super::shown::Shown;
use crate::exchange::{Body, BodyError};

/// How often a long stream looks whether its caller may still listen.
const REVOCATION_CHECK: Duration = Duration::from_secs(1);

/// An upstream body on its way to the client.
pub(super) struct Relay {
    upstream: Body,
    lane: Lane,
    view: View,
    watch: Watch,
    record: Record,
    ready: VecDeque<Bytes>,
    done: bool,
}

/// How the body is read.
enum Lane {
    /// One JSON text, streamed through.
    Whole(Sniffer),
    /// Server-sent events.
    Events(Splitter),
}

/// The deadlines of a stream.
struct Watch {
    idle: Pin<Box<Sleep>>,
    idle_for: Duration,
    total: Option<Pin<Box<Sleep>>>,
    revocation: Option<Interval>,
    /// What the client may use, where it can be told that this has changed.
    shown: Option<Shown>,
    draining: Arc<AtomicBool>,
    /// The id of a modern subscription, to be named when it is ended.
    subscription: Option<String>,
}

/// What is known for the record.
struct Record {
    receipt: Option<Receipt>,
    ending: Ending,
    /// No answer is owed: a stream that the client opened, a notification, a response.
    open_ended: bool,
    sent: u64,
    kept: Option<BytesMut>,
    keep: usize,
}

/// Makes a relay the body of a reply.
pub(super) fn boxed(relay: Relay) -> Body {
    relay.boxed_unsync()
}

impl Relay {
    /// A JSON answer, or none at all.
    pub(super) fn whole(routed: Routed, upstream: Body, view: View, proxy: &Proxy) -> Relay {
        let mut relay = Relay::new(routed, upstream, view, proxy);
        relay.watch.total = Some(Box::pin(tokio::time::sleep(proxy.settings.total)));
        relay
    }

    /// A stream of events.
    pub(super) fn events(routed: Routed, upstream: Body, view: View, proxy: &Proxy) -> Relay {
        let shown = Shown::of(&routed, &view);
        let mut relay = Relay::new(routed, upstream, view, proxy);
        relay.lane = Lane::Events(Splitter::new(proxy.settings.listing_limit));
        relay.watch.idle_for = proxy.settings.stream_idle;
        relay.watch.idle = Box::pin(tokio::time::sleep(proxy.settings.stream_idle));
        if relay.record.open_ended {
            let mut interval = tokio::time::interval(REVOCATION_CHECK);
            interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            relay.watch.revocation = Some(interval);
            relay.watch.shown = shown;
        }
        relay
    }

    fn new(routed: Routed, upstream: Body, view: View, proxy: &Proxy) -> Relay {
        let open_ended = match &routed.understood.ask {
            Ask::OpenStream | Ask::EndSession => true,
            Ask::Message(call) => {
                call.kind != MessageKind::Request || call.method == Some(Method::Listen)
            }
        };
        let call = routed.understood.call();
        let keep = proxy.settings.payload_limit;
        let kept = call.is_some_and(|call| call.method.is_some_and(Method::has_effects));
        let listens = call.filter(|call| call.method == Some(Method::Listen));
        Relay {
            upstream,
            lane: Lane::Whole(Sniffer::default()),
            view,
            watch: Watch {
                idle: Box::pin(tokio::time::sleep(proxy.settings.idle)),
                idle_for: proxy.settings.idle,
                total: None,
                revocation: None,
                shown: None,
                draining: proxy.draining.clone(),
                subscription: listens.and_then(|call| call.id.clone()),
            },
            record: Record {
                receipt: Some(routed.understood.identified.received.receipt),
                ending: Ending::default(),
                open_ended,
                sent: 0,
                kept: (kept && keep > 0).then(BytesMut::new),
                keep,
            },
            ready: VecDeque::new(),
            done: false,
        }
    }

    /// Takes a piece of the upstream's body.
    fn take(&mut self, bytes: Bytes) -> Result<(), String> {
        match &mut self.lane {
            Lane::Whole(sniffer) => {
                sniffer.feed(&bytes);
                self.record.ending = sniffer.ending();
                self.record.keep(&bytes);
                self.ready.push_back(bytes);
                Ok(())
            }
            Lane::Events(splitter) => {
                splitter.push(&bytes);
                loop {
                    let Lane::Events(splitter) = &mut self.lane else { return Ok(()) };
                    match splitter.next_event() {
                        Ok(Some(event)) => self.event(event)?,
                        Ok(None) => return Ok(()),
                        Err(error) => return Err(error.to_string()),
                    }
                }
            }
        }
    }

    /// Looks at one event and passes on what the client may see of it.
    fn event(&mut self, event: Bytes) -> Result<(), String> {
        let text = std::str::from_utf8(&event).map_err(|e| e.to_string())?;
        let Some(data) = sse::data(text) else {
            self.ready.push_back(event);
            return Ok(());
        };
        let mut sniffer = Sniffer::default();
        sniffer.feed(data.as_bytes());
        let ending = sniffer.ending();
        if ending.method && ending.id && self.view.era == Era::Modern {
            // A modern server may not ask its client anything on a stream.
            return Ok(());
        }
        if ending.list_changed {
            self.view.governance.suspect(self.view.server.id, &self.view.caller);
        }
        if ending.is_answer() {
            self.record.ending = ending;
            self.record.keep(data.as_bytes());
        }
        if let Some(adapted) = self.adapt(&data, ending)? {
            self.ready.push_back(Bytes::from(sse::with_data(text, &adapted)));
            return Ok(());
        }
        self.ready.push_back(event);
        Ok(())
    }

    /// An event that lacks its closing blank line is looked at like any other: lax clients read it.
    fn last_event(&mut self) -> Result<(), String> {
        let Lane::Events(splitter) = &mut self.lane else { return Ok(()) };
        let rest = splitter.rest();
        if rest.is_empty() { Ok(()) } else { self.event(rest) }
    }

    /// A message on a stream is adapted like any other. A legacy stream that was opened anew may bring the
    /// answer to anything asked for before.
    fn adapt(&self, data: &str, ending: Ending) -> Result<Option<String>, String> {
        let tasks = || self.view.seal_tasks(data);
        match (ending.is_answer(), self.record.open_ended) {
            (true, false) => self.view.adapt(data),
            (true, true) => Ok(self.trim_any(data)?.or_else(tasks)),
            (false, open_ended) => Ok((open_ended || self.view.names_tasks).then(tasks).flatten()),
        }
    }

    /// Trims whatever listing the answer turns out to be.
    fn trim_any(&self, data: &str) -> Result<Option<String>, String> {
        let all =
            [Listing::Tools, Listing::Resources, Listing::ResourceTemplates, Listing::Prompts];
        let mut text: Option<String> = None;
        for listing in all {
            let view = View { listing: Some(listing), ..self.view.clone() };
            let trimmed = view.trim(text.as_deref().unwrap_or(data))?;
            text = trimmed.or(text);
        }
        let view = View { listing: None, introduces: true, ..self.view.clone() };
        let trimmed = view.trim(text.as_deref().unwrap_or(data))?;
        Ok(trimmed.or(text))
    }

    /// Which deadline has passed, if any.
    fn overdue(&mut self, context: &mut Context<'_>) -> Option<String> {
        if self.watch.idle.as_mut().poll(context).is_ready() {
            return Some(format!("nothing came for {} s", self.watch.idle_for.as_secs()));
        }
        let total = self.watch.total.as_mut();
        if total.is_some_and(|total| total.as_mut().poll(context).is_ready()) {
            return Some("the answer took too long in all".into());
        }
        None
    }

    /// Why a stream that the client keeps open has to end, if it has to.
    fn must_end(&mut self, context: &mut Context<'_>) -> Option<(Reason, &'static str)> {
        let interval = self.watch.revocation.as_mut()?;
        while interval.poll_tick(context).is_ready() {
            let (governance, caller) = (&self.view.governance, &self.view.caller);
            // Nobody knows whether the caller is still good.
            if !governance.is_fresh() {
                return Some((Reason::CatalogueStale, "the gateway cannot read its rules now"));
            }
            let snapshot = governance.snapshot();
            let still = snapshot.still_good(caller, governance.clock().now());
            let enters = snapshot
                .present(caller)
                .is_some_and(|caller| governance.may_enter(&snapshot, &caller, &self.view.server));
            if !(still && enters) {
                return Some((Reason::CredentialInvalid, "access was revoked"));
            }
            if self.watch.draining.load(Ordering::Relaxed) {
                return Some((Reason::ShuttingDown, "the gateway is shutting down"));
            }
            let shown = self.watch.shown.as_mut();
            self.ready.extend(shown.and_then(|shown| shown.changed(&self.view)));
        }
        None
    }

    /// Ends a stream, and says so where the era has a way to say it.
    fn end(&mut self, reason: Reason, why: &str) {
        if let Some(id) = &self.watch.subscription {
            let cancelled = format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id},"reason":"{why}"}}}}"#
            );
            self.ready.push_back(Bytes::from(sse::message(&cancelled)));
        }
        self.finish(Some((reason, why.into())));
    }

    /// The body is over; a reason says that it broke off.
    fn finish(&mut self, broken: Option<(Reason, String)>) {
        self.done = true;
        self.record.conclude(broken);
    }
}

impl Record {
    /// Keeps the answer for the trail, or nothing of it if it is too long.
    fn keep(&mut self, bytes: &[u8]) {
        let Some(kept) = &mut self.kept else { return };
        if kept.len() + bytes.len() > self.keep {
            self.kept = None;
        } else {
            kept.extend_from_slice(bytes);
        }
    }

    fn conclude(&mut self, broken: Option<(Reason, String)>) {
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
        let result = self.kept.take().filter(|_| answered).map(BytesMut::freeze);
        receipt.conclude(Ended {
            response_bytes: self.sent,
            result,
            ..Ended::without_body(outcome, reason, detail)
        });
    }
}

impl http_body::Body for Relay {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let relay = &mut *self;
        loop {
            if let Some(bytes) = relay.ready.pop_front() {
                relay.record.sent += bytes.len() as u64;
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            if relay.done {
                return Poll::Ready(None);
            }
            match Pin::new(&mut relay.upstream).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => {
                    let next = Instant::now() + relay.watch.idle_for;
                    relay.watch.idle.as_mut().reset(next);
                    let Ok(bytes) = frame.into_data() else { continue };
                    if let Err(detail) = relay.take(bytes) {
                        relay.finish(Some((Reason::UpstreamInvalid, detail.clone())));
                        return Poll::Ready(Some(Err(BodyError::new(detail))));
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    relay.finish(Some((Reason::UpstreamInvalid, error.to_string())));
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Ready(None) => {
                    let broken = relay.last_event().err();
                    relay.finish(broken.map(|detail| (Reason::UpstreamInvalid, detail)));
                }
                Poll::Pending => {
                    if let Some((reason, why)) = relay.must_end(context) {
                        relay.end(reason, why);
                    } else if !relay.ready.is_empty() {
                        // Told above that what the client may use has changed.
                    } else if let Some(detail) = relay.overdue(context) {
                        relay.finish(Some((Reason::UpstreamTimeout, detail.clone())));
                        return Poll::Ready(Some(Err(BodyError::new(detail))));
                    } else {
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ready.is_empty() && self.done
    }

    fn size_hint(&self) -> SizeHint {
        match &self.lane {
            Lane::Whole(_) if self.ready.is_empty() && !self.done => self.upstream.size_hint(),
            Lane::Whole(_) | Lane::Events(_) => SizeHint::new(),
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // The client has left. An answer that had passed whole is one all the same, and a stream that the
        // client opened is its own to close.
        if self.record.ending.is_answer() || self.record.open_ended {
            self.record.conclude(None);
        }
    }
}
