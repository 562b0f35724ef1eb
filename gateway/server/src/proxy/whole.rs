//! An answer that is read whole before its first byte goes out: collected up to its limit, read by the guard, changed
//! by the gateway where it has to (`filter` says how), and recorded. All of them together have so much memory: what
//! comes when it is full waits, and so does its server.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use gateway_core::reason::Reason;
use http_body::Body as _;
use http_body_util::{BodyExt, Full};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use super::filter::{SESSION_ENDED, View};
use super::outcome::Record;
use super::refusal::Refusal;
use super::resolve::Routed;
use super::scan;
use super::screen::{Cleared, Seen};
use super::stream::{self, Relay};
use super::{Proxy, Settings};
use crate::exchange::{Body, BodyError};
use crate::telemetry::{self, Shed};

/// An answer that is read whole before its first byte goes out.
pub(super) struct Answer {
    pub(super) routed: Routed,
    pub(super) body: Body,
    pub(super) view: View,
    /// The gateway may have to change it.
    pub(super) adapts: bool,
    /// Its content type.
    pub(super) essence: String,
}

impl Answer {
    /// Reads it; gives what the client gets.
    pub(super) async fn read(self, proxy: &Proxy) -> Result<Body, Refusal> {
        let Answer { mut routed, body, view, adapts, essence } = self;
        let hard = proxy.settings.listing_limit;
        // What is cut out of a longer listing must be found, however little of it is scanned.
        let bound = if adapts { hard } else { view.screen.limit().min(hard) };
        let mut room = Room { all: Arc::clone(&proxy.answers), taken: None };
        let bytes = match collect(body, (bound, &mut room), &proxy.settings).await {
            Ok(Collected::Whole(bytes)) => bytes,
            Ok(Collected::Longer(..)) if adapts => {
                let detail = format!("the answer is longer than {hard} bytes");
                return Err(Refusal::of_routed(routed, Reason::UpstreamInvalid, detail));
            }
            Ok(Collected::Longer(so_far, rest)) => {
                return match view.screen.over_limit(so_far.iter().map(Bytes::len).sum()) {
                    Ok((waiver, seen)) => {
                        routed.understood.identified.received.receipt.found(&seen.findings);
                        let relay = Relay::whole(routed, rest, view, waiver, proxy);
                        Ok(stream::boxed(relay.unread(so_far)))
                    }
                    Err(blocked) => Err(blocked.refuse(routed)),
                };
            }
            Err((reason, detail)) => {
                // It was made; only its answer could not be taken.
                let sent = reason == Reason::Overloaded;
                return Err(Refusal { sent, ..Refusal::of_routed(routed, reason, detail) });
            }
        };
        let told = Box::pin(view.ask_outside(&bytes)).await;
        let mut seen = match view.read(&essence, &bytes, told) {
            Ok(seen) => seen,
            Err(detail) => {
                return Err(Refusal::of_routed(routed, Reason::UpstreamInvalid, detail));
            }
        };
        routed.understood.identified.received.receipt.found(&seen.findings);
        if view.is_over(&proxy.governance.snapshot()) {
            let over = Refusal::of_routed(routed, Reason::SessionUnknown, SESSION_ENDED.into());
            return Err(Refusal { sent: true, ..over });
        }
        let cleared = match seen.clear(bytes.clone()) {
            Ok(cleared) => cleared,
            Err(blocked) => {
                scan::end_session(&routed, &view.screen, &blocked, proxy).await;
                return Err(blocked.refuse(routed));
            }
        };
        let adapt = |text: &str| if adapts { view.adapt(text) } else { Ok(None) };
        let cleared = match cleared.adapted(adapt) {
            Ok(cleared) => cleared,
            Err(detail) => {
                return Err(Refusal::of_routed(routed, Reason::UpstreamInvalid, detail));
            }
        };
        let mut record = Record::of(routed, proxy);
        let kept =
            record.keeps(bytes.len()).then(|| kept(&seen, &bytes, &cleared, adapt)).flatten();
        record.answered(cleared.bytes(), kept);
        record.sent(cleared.bytes().len());
        record.conclude(None);
        Ok(room.hold(cleared.into_bytes()))
    }
}

/// What the trail may hold of an answer: what the client got of it, without secrets and personal data.
fn kept(
    seen: &Seen,
    came: &Bytes,
    went: &Cleared,
    adapt: impl Fn(&str) -> Result<Option<String>, String>,
) -> Option<Bytes> {
    if seen.is_clean() {
        return Some(went.bytes().clone());
    }
    let text = std::str::from_utf8(came).ok()?;
    let kept = seen.kept(text, 0..text.len())?;
    Some(adapt(&kept).ok()?.unwrap_or(kept).into())
}

/// The memory that one answer takes of what all may take: until its client has it.
struct Room {
    /// In units of 1 KiB.
    all: Arc<Semaphore>,
    taken: Option<OwnedSemaphorePermit>,
}

impl Room {
    /// Makes room for so many bytes in all; waits for it.
    async fn grow(&mut self, bytes: usize) -> Result<(), AcquireError> {
        let had = self.taken.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = bytes.div_ceil(1 << 10).saturating_sub(had);
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        let more = Arc::clone(&self.all).acquire_many_owned(more).await?;
        match &mut self.taken {
            Some(taken) => taken.merge(more),
            None => self.taken = Some(more),
        }
        Ok(())
    }

    /// A body that keeps it until it is dropped.
    fn hold(self, bytes: Bytes) -> Body {
        let never = move |never| {
            let _ = &self;
            BodyError::from(never)
        };
        Full::new(bytes).map_err(never).boxed_unsync()
    }
}

/// A body, as far as it was read.
enum Collected {
    Whole(Bytes),
    /// It is longer than what is read: its beginning, and what is still to come.
    Longer(Vec<Bytes>, Body),
}

/// Reads a body of at most `bound` bytes.
async fn collect(
    mut body: Body,
    (bound, room): (usize, &mut Room),
    settings: &Settings,
) -> Result<Collected, (Reason, String)> {
    let late = |what: &str| (Reason::UpstreamTimeout, what.to_owned());
    let end = tokio::time::Instant::now() + settings.total;
    let (mut pieces, mut length) = (Vec::new(), 0);
    let declared = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    while declared <= bound && length <= bound {
        let next = tokio::time::timeout(settings.idle, body.frame());
        let frame = match tokio::time::timeout_at(end, next).await {
            Ok(Ok(Some(Ok(frame)))) => frame,
            Ok(Ok(Some(Err(error)))) => return Err((Reason::UpstreamInvalid, error.to_string())),
            Ok(Ok(None)) => return Ok(Collected::Whole(joined(pieces, length))),
            Ok(Err(_)) => return Err(late("the answer paused for too long")),
            Err(_) => return Err(late("the answer took too long in all")),
        };
        let Ok(piece) = frame.into_data() else { continue };
        length += piece.len();
        match tokio::time::timeout(settings.idle, room.grow(length)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => {
                telemetry::shed(Shed::Answers);
                let detail = "the answers of other calls fill the memory for them".to_owned();
                return Err((Reason::Overloaded, detail));
            }
        }
        if !piece.is_empty() {
            pieces.push(piece);
        }
    }
    Ok(Collected::Longer(pieces, body))
}

fn joined(mut pieces: Vec<Bytes>, length: usize) -> Bytes {
    match (pieces.pop(), pieces.is_empty()) {
        (Some(only), true) => only,
        (last, _) => {
            let mut whole = BytesMut::with_capacity(length);
            pieces.into_iter().chain(last).for_each(|piece| whole.extend_from_slice(&piece));
            whole.freeze()
        }
    }
}
