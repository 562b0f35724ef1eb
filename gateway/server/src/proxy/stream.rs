//! Relays an answer's body while it watches how the call ends, and concludes its record: at the end of the
//! body, or when it breaks off, or when the client leaves. Each event is read whole before it goes on; what a scanner
//! blocks does not: of an answer and of a server's question the call's refusal goes out instead, and nothing more; a
//! notification is dropped. Memory is bounded by one event, or by one read.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use gateway_core::json::Json;
use gateway_core::mcp::{Era, Method};
use gateway_core::reason::Reason;
use gateway_core::sniff::{Ending, Sniffer};
use gateway_core::sse::{self, Splitter};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::{Instant, Interval, Sleep};

use super::filter::{LISTINGS, SESSION_ENDED, View, not_strict};
use super::outcome::{Record, ending};
use super::outside::{Inquiry, Told};
use super::resolve::Routed;
use super::screen::{Blocked, Cleared, Seen, Waiver};
use super::shown::Shown;
use super::{Proxy, fail};
use crate::exchange::{Body, BodyError};

/// How often a stream looks whether its caller may still listen.
const STILL_GOOD_CHECK: Duration = Duration::from_secs(1);

/// An upstream body on its way to the client.
pub(super) struct Relay {
    upstream: Body,
    lane: Lane,
    view: View,
    watch: Watch,
    record: Record,
    ready: VecDeque<Cleared>,
    /// The event that the organisation's own scanner is being asked about: nothing goes on before it.
    asking: Option<Asking>,
    /// The upstream's body is over.
    over: bool,
    done: bool,
    /// Work began and did not come to its end: it panicked.
    working: bool,
}

/// A question about one event.
struct Asking {
    event: Bytes,
    ending: Ending,
    told: Pin<Box<dyn Future<Output = Told> + Send>>,
}

/// How the body is read.
enum Lane {
    /// One text, streamed through unread: nobody looks for anything in it.
    Whole(Sniffer, Waiver),
    /// Server-sent events.
    Events(Splitter),
}

/// What a relay was waiting for.
enum Came {
    Frame(Option<Result<Frame<Bytes>, BodyError>>),
    Told(Told),
}

/// The deadlines of a stream.
struct Watch {
    idle: Pin<Box<Sleep>>,
    idle_for: Duration,
    total: Option<Pin<Box<Sleep>>>,
    /// When to look whether the caller may still listen.
    still_good: Option<Interval>,
    /// What the client may use, where it can be told that this has changed.
    shown: Option<Shown>,
    draining: Arc<AtomicBool>,
    /// The id of a modern subscription, to be named when it is ended.
    subscription: Option<String>,
}

/// Makes a relay the body of a reply.
pub(super) fn boxed(relay: Relay) -> Body {
    relay.boxed_unsync()
}

impl Relay {
    /// An answer that passes as it comes.
    pub(super) fn whole(
        routed: Routed,
        upstream: Body,
        view: View,
        waiver: Waiver,
        proxy: &Proxy,
    ) -> Relay {
        let lane = Lane::Whole(Sniffer::default(), waiver);
        let mut relay = Relay::new(routed, upstream, view, lane, proxy);
        relay.watch.total = Some(Box::pin(tokio::time::sleep(proxy.settings.total)));
        relay
    }

    /// The same for one that was too long to be read: its beginning has arrived, and nothing of it is kept.
    pub(super) fn unread(mut self, so_far: Vec<Bytes>) -> Relay {
        self.record.keep_nothing();
        for piece in so_far {
            self.pass(piece);
        }
        self
    }

    /// A stream of events.
    pub(super) fn events(routed: Routed, upstream: Body, view: View, proxy: &Proxy) -> Relay {
        let shown = Shown::of(&routed, &view);
        let lane = Lane::Events(Splitter::new(proxy.settings.listing_limit));
        let mut relay = Relay::new(routed, upstream, view, lane, proxy);
        relay.watch.idle_for = proxy.settings.stream_idle;
        relay.watch.idle = Box::pin(tokio::time::sleep(proxy.settings.stream_idle));
        // A call has just been decided; what a client opens may have waited.
        let later = if relay.record.open_ended { Duration::ZERO } else { STILL_GOOD_CHECK };
        let mut interval = tokio::time::interval_at(Instant::now() + later, STILL_GOOD_CHECK);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        relay.watch.still_good = Some(interval);
        relay.watch.shown = shown;
        relay
    }

    fn new(routed: Routed, upstream: Body, view: View, lane: Lane, proxy: &Proxy) -> Relay {
        let call = routed.understood.call();
        let listens = call.filter(|call| call.method == Some(Method::Listen));
        Relay {
            upstream,
            lane,
            view,
            watch: Watch {
                idle: Box::pin(tokio::time::sleep(proxy.settings.idle)),
                idle_for: proxy.settings.idle,
                total: None,
                still_good: None,
                shown: None,
                draining: proxy.draining.clone(),
                subscription: listens.and_then(|call| call.id.clone()),
            },
            record: Record::of(routed, proxy),
            ready: VecDeque::new(),
            asking: None,
            over: false,
            done: false,
            working: false,
        }
    }

    /// Takes a piece of the upstream's body.
    fn take(&mut self, bytes: Bytes) -> Result<(), String> {
        fail::point("stream");
        if let Lane::Events(splitter) = &mut self.lane {
            splitter.push(&bytes);
        } else {
            self.pass(bytes);
        }
        self.drain()
    }

    /// Reads the events that are there, up to one about which somebody has to be asked.
    fn drain(&mut self) -> Result<(), String> {
        while !self.done && self.asking.is_none() {
            let Lane::Events(splitter) = &mut self.lane else { break };
            match splitter.next_event() {
                Ok(Some(event)) => self.event(event)?,
                Ok(None) => break,
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(())
    }

    /// Passes on what nobody reads.
    fn pass(&mut self, bytes: Bytes) {
        let Lane::Whole(sniffer, waiver) = &mut self.lane else { return };
        sniffer.feed(&bytes);
        self.record.ending = sniffer.ending();
        self.record.keep(&bytes);
        self.ready.push_back(Cleared::unread(bytes, *waiver));
    }

    /// Reads one event and passes on what the client may see of it.
    fn event(&mut self, event: Bytes) -> Result<(), String> {
        let text = std::str::from_utf8(&event).map_err(|e| e.to_string())?;
        let data = sse::data(text).unwrap_or_default();
        let ending = ending(data.as_bytes());
        if ending.method && ending.id && self.view.era == Era::Modern {
            // A modern server may not ask its client anything on a stream.
            return Ok(());
        }
        // A stream may live longer than the settings with which it began.
        self.view.screen.renew(&self.view.governance.snapshot(), self.view.server.id);
        if let Some(inquiry) = self.inquiry(&data, ending) {
            let outside = self.view.outside.clone();
            let told = Box::pin(async move { outside.inquire(inquiry).await });
            self.asking = Some(Asking { event, ending, told });
            return Ok(());
        }
        self.told(event, ending, Told::default())
    }

    /// What the organisation's own scanner is to be asked about an event.
    fn inquiry(&self, data: &str, ending: Ending) -> Option<Inquiry> {
        if !self.view.screen.has_outside() || Json::parse(data.as_bytes()).is_err() {
            return None;
        }
        self.view.inquiry(data, self.record.open_ended && ending.is_answer())
    }

    /// Reads one event, with what the organisation's own scanner says of it.
    fn told(&mut self, event: Bytes, ending: Ending, told: Told) -> Result<(), String> {
        let text = std::str::from_utf8(&event).map_err(|e| e.to_string())?;
        let data = sse::data(text).unwrap_or_default();
        let mut seen = self.read(text, &data, told)?;
        let came = match &data {
            Cow::Borrowed(data) => event.slice_ref(data.as_bytes()),
            Cow::Owned(joined) => Bytes::copy_from_slice(joined.as_bytes()),
        };
        let cleared = match seen.clear(came) {
            Ok(cleared) => cleared,
            Err(blocked) => {
                self.block(&data, &seen, blocked);
                return Ok(());
            }
        };
        self.record.found(&seen.findings);
        if ending.list_changed {
            self.view.governance.suspect(self.view.server.id, &self.view.caller);
        }
        if ending.is_answer() {
            self.record.ending = ending;
            self.keep(&seen, &data);
        }
        let cleared = cleared.adapted(|data| self.adapt(data, ending))?;
        self.ready.push_back(cleared.within(event.clone(), &data));
        Ok(())
    }

    /// The organisation's own scanner has answered, or not.
    fn answered(&mut self, told: Told) -> Result<(), String> {
        let Some(asking) = self.asking.take() else { return Ok(()) };
        self.told(asking.event, asking.ending, told)?;
        self.drain()
    }

    /// Reads an event: its data, and what else stands in it. An error: it has no one reading.
    fn read(&self, event: &str, data: &str, told: Told) -> Result<Seen, String> {
        let screen = &self.view.screen;
        let beside = screen.text(&sse::beside_data(event), "");
        if data.trim().is_empty() || screen.is_off() {
            return Ok(self.view.with_definitions(beside, told.silence));
        }
        match Json::parse(data.as_bytes()) {
            Ok(_) => Ok(self.view.message(data, told).and(beside)),
            // Clients take no message from it.
            Err(_) if sse::kind(event).is_some() => Ok(screen.text(data, "").and(beside)),
            Err(error) => Err(not_strict(&error)),
        }
    }

    /// What a scanner has blocked does not go on.
    fn block(&mut self, data: &str, seen: &Seen, blocked: Blocked) {
        if let Some(session) =
            self.view.session.clone().filter(|_| self.view.screen.ends_session(&blocked))
        {
            // Nobody waits for it: the refusal goes out meanwhile, and whatever comes next in the session finds it over.
            tokio::spawn(async move { session.end().await });
        }
        let message = Json::parse(data.as_bytes()).ok();
        let member = |key| message.and_then(|message| message.get(key));
        let (asks, id) = (member("method").is_some(), member("id"));
        if self.record.open_ended {
            // The stream is not this message's own: it goes on.
            let id = id.filter(|_| !asks).map(|id| id.raw().to_owned());
            let waits = id.is_some();
            let told = self.record.refuse_beside(id, &seen.findings, blocked);
            self.ready
                .extend(told.filter(|_| waits).map(|told| Cleared::ours(sse::message(&told))));
            return;
        }
        self.record.found(&seen.findings);
        let waits = message.is_some() && !(asks && id.is_none());
        if waits {
            let told = self.record.refuse(blocked);
            self.ready.extend(told.map(|told| Cleared::ours(sse::message(&told))));
            self.done = true;
        }
    }

    /// Keeps an answer for the trail.
    fn keep(&mut self, seen: &Seen, data: &str) {
        if seen.is_clean() {
            return self.record.keep(data.as_bytes());
        }
        match seen.kept(data, 0..data.len()) {
            Some(kept) => self.record.keep(kept.as_bytes()),
            None => self.record.keep_nothing(),
        }
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
        let mut text: Option<String> = None;
        for listing in LISTINGS {
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

    /// Why the stream has to end, if it has to. Looks once in a while, and wakes the task for that.
    fn must_end(&mut self, context: &mut Context<'_>) -> Option<(Reason, &'static str)> {
        while self.watch.still_good.as_mut()?.poll_tick(context).is_ready() {
            if let Some(ended) = self.may_listen().err() {
                return Some(ended);
            }
            let shown = self.watch.shown.as_mut();
            let changed = shown.and_then(|shown| shown.changed(&self.view));
            self.ready.extend(changed.map(Cleared::ours));
        }
        None
    }

    /// Whether the caller may still listen: the answer to a call as long as caller and session are good; what a client
    /// keeps open as long as it could open it anew, too.
    fn may_listen(&self) -> Result<(), (Reason, &'static str)> {
        const REVOKED: (Reason, &str) = (Reason::CredentialInvalid, "access was revoked");
        let (governance, caller) = (&self.view.governance, &self.view.caller);
        let open_ended = self.record.open_ended;
        // Nobody knows whether the caller is still good.
        if open_ended && !governance.is_fresh() {
            return Err((Reason::CatalogueStale, "the gateway cannot read its rules now"));
        }
        let snapshot = governance.snapshot();
        if !snapshot.still_good(caller, governance.clock().now()) {
            return Err(REVOKED);
        }
        if self.view.is_over(&snapshot) {
            return Err((Reason::SessionUnknown, SESSION_ENDED));
        }
        if !open_ended {
            return Ok(());
        }
        let enters = |caller| governance.may_enter(&snapshot, &caller, &self.view.server);
        if !snapshot.present(caller).is_some_and(enters) {
            return Err(REVOKED);
        }
        if self.watch.draining.load(Ordering::Relaxed) {
            return Err((Reason::ShuttingDown, "the gateway is shutting down"));
        }
        Ok(())
    }

    /// Ends the stream, and says so to whoever waits for an answer, or where the era has a way to say it.
    fn end(&mut self, reason: Reason, why: &str) {
        if let Some(told) = self.record.cut(reason, why) {
            self.ready.push_back(Cleared::ours(sse::message(&told)));
            self.finish(None);
            return;
        }
        if let Some(id) = &self.watch.subscription {
            let cancelled = format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id},"reason":"{why}"}}}}"#
            );
            self.ready.push_back(Cleared::ours(sse::message(&cancelled)));
        }
        self.finish(Some((reason, why.into())));
    }

    /// What came cannot be used.
    fn fail(&mut self, detail: &str) -> bool {
        self.tell(Reason::UpstreamInvalid, detail)
    }

    /// Nothing comes any more, and the answer has not come. Among events there is a way to say so; else the
    /// answer breaks off.
    fn broke(&mut self, reason: Reason, detail: String) -> Option<BodyError> {
        let events = matches!(self.lane, Lane::Events(_));
        let answered = events && !self.record.open_ended && self.record.ending.is_answer();
        if !answered && events && self.tell(reason, &detail) {
            return None;
        }
        self.finish(Some((reason, detail.clone())));
        // What was lost behind the answer is nothing that anybody waits for.
        (!answered).then(|| BodyError::new(detail))
    }

    /// Tells whoever waits for the answer that none of use comes. False: nobody does.
    fn tell(&mut self, reason: Reason, detail: &str) -> bool {
        let told = self.record.fail(reason, detail);
        self.done |= told.is_some();
        let waits = told.is_some();
        self.ready.extend(told.map(|told| Cleared::ours(sse::message(&told))));
        waits
    }

    /// The body is over; a reason says that it broke off.
    fn finish(&mut self, broken: Option<(Reason, String)>) {
        self.done = true;
        self.asking = None;
        self.record.conclude(broken);
    }

    /// Goes one step on: ends the stream if it must end, else takes what the scanner or the upstream has to say.
    fn step(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        if let Some((reason, why)) = self.must_end(context) {
            self.end(reason, why);
            return Poll::Ready(Ok(()));
        }
        if !self.ready.is_empty() {
            // Told above that what the client may use has changed.
            return Poll::Ready(Ok(()));
        }
        let came = match &mut self.asking {
            Some(asking) => asking.told.as_mut().poll(context).map(Came::Told),
            None if self.over => {
                self.finish(None);
                return Poll::Ready(Ok(()));
            }
            None => Pin::new(&mut self.upstream).poll_frame(context).map(Came::Frame),
        };
        if let Poll::Ready(came) = came {
            self.watch.idle.as_mut().reset(Instant::now() + self.watch.idle_for);
            return Poll::Ready(self.came(came));
        }
        match self.overdue(context) {
            Some(detail) => {
                Poll::Ready(self.broke(Reason::UpstreamTimeout, detail).map_or(Ok(()), Err))
            }
            None => Poll::Pending,
        }
    }

    fn came(&mut self, came: Came) -> Result<(), BodyError> {
        let used = match came {
            Came::Told(told) => self.answered(told),
            Came::Frame(Some(Ok(frame))) => match frame.into_data() {
                Ok(bytes) => self.take(bytes),
                Err(_trailers) => Ok(()),
            },
            Came::Frame(Some(Err(error))) => {
                let broke = self.broke(Reason::UpstreamInvalid, error.to_string());
                return broke.map_or(Ok(()), Err);
            }
            Came::Frame(None) => {
                self.over = true;
                self.last_event()
            }
        };
        match used {
            Err(detail) if !self.fail(&detail) => {
                self.finish(Some((Reason::UpstreamInvalid, detail.clone())));
                if self.over { Ok(()) } else { Err(BodyError::new(detail)) }
            }
            Err(_) | Ok(()) => Ok(()),
        }
    }

    /// The next of what the client gets.
    fn next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            if let Some(cleared) = self.ready.pop_front() {
                let bytes = cleared.into_bytes();
                self.record.sent(bytes.len());
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            if self.done {
                return Poll::Ready(None);
            }
            match self.step(context) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl http_body::Body for Relay {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.working = true;
        let next = self.next(context);
        self.working = false;
        next
    }

    fn is_end_stream(&self) -> bool {
        self.ready.is_empty() && self.done
    }

    fn size_hint(&self) -> SizeHint {
        match &self.lane {
            Lane::Whole(..) if self.ready.is_empty() && !self.done => self.upstream.size_hint(),
            Lane::Whole(..) | Lane::Events(_) => SizeHint::new(),
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if self.working {
            self.record.panicked();
        }
        self.record.left();
    }
}
