//! The body of a request, whole and within its limit and deadline.

use bytes::{Bytes, BytesMut};
use gateway_core::reason::Reason;
use pingora_core::protocols::http::ServerSession;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::Limits;
use super::head::{self, Refused};
use crate::telemetry::{self, Shed};

/// Never reserved up front for a length that is only declared.
const FIRST_RESERVE: usize = 64 << 10;

/// The memory that one body takes of what all may take, until this is dropped. Grows with what has come, not with
/// what was declared: who announces much and sends little takes little.
pub(super) struct Room<'a> {
    all: &'a Semaphore,
    taken: Option<SemaphorePermit<'a>>,
    bytes: usize,
}

impl<'a> Room<'a> {
    pub(super) fn of(all: &'a Semaphore) -> Room<'a> {
        Room { all, taken: None, bytes: 0 }
    }

    fn grow(&mut self, bytes: usize) -> Result<(), Refused> {
        self.bytes += bytes;
        let had = self.taken.as_ref().map_or(0, SemaphorePermit::num_permits);
        let more = self.bytes.div_ceil(1 << 10).saturating_sub(had);
        let full = || {
            telemetry::shed(Shed::Bodies);
            (Reason::Overloaded, "the bodies of other requests fill the memory for them".to_owned())
        };
        let more = u32::try_from(more).map_err(|_| full())?;
        let more = self.all.try_acquire_many(more).map_err(|_| full())?;
        match &mut self.taken {
            Some(taken) => taken.merge(more),
            None => self.taken = Some(more),
        }
        Ok(())
    }
}

/// Reads the body into that room. A declared length over the limit is refused from the head alone.
pub(super) async fn read(
    session: &mut ServerSession,
    limits: &Limits,
    room: &mut Room<'_>,
) -> Result<Bytes, Refused> {
    let limit = limits.body_bytes;
    let declared = head::declared_length(session);
    if declared.is_some_and(|length| length > limit as u64) {
        return Err(too_large(limit));
    }
    if session.is_body_done() {
        return Ok(Bytes::new());
    }
    let reserve = declared.map_or(0, |length| usize::try_from(length).unwrap_or(limit));
    let reading = async {
        if head::expects_continue(session) {
            ask_for_body(session).await?;
        }
        collect(session, (limit, room), reserve.min(FIRST_RESERVE)).await
    };
    match timeout(limits.body_within, reading).await {
        Ok(body) => body,
        Err(_) => {
            let detail = format!("not complete after {} s", limits.body_within.as_secs_f32());
            Err((Reason::BodyIncomplete, detail))
        }
    }
}

async fn ask_for_body(session: &mut ServerSession) -> Result<(), Refused> {
    // pingora takes the interim response for the final one and gives up the connection: put back what it
    // had decided before.
    let keepalive = session.get_keepalive();
    session.write_continue_response().await.map_err(broke_off)?;
    session.set_keepalive(keepalive);
    Ok(())
}

async fn collect(
    session: &mut ServerSession,
    (limit, room): (usize, &mut Room<'_>),
    reserve: usize,
) -> Result<Bytes, Refused> {
    let Some(first) = session.read_request_body().await.map_err(broke_off)? else {
        return Ok(Bytes::new());
    };
    if first.len() > limit {
        return Err(too_large(limit));
    }
    room.grow(first.len())?;
    if session.is_body_done() {
        return Ok(first);
    }
    let mut body = BytesMut::with_capacity(reserve.max(first.len()));
    body.extend_from_slice(&first);
    while let Some(piece) = session.read_request_body().await.map_err(broke_off)? {
        if body.len() + piece.len() > limit {
            return Err(too_large(limit));
        }
        room.grow(piece.len())?;
        body.extend_from_slice(&piece);
    }
    Ok(body.freeze())
}

fn too_large(limit: usize) -> Refused {
    (Reason::BodyTooLarge, format!("the limit is {limit} bytes"))
}

fn broke_off(error: pingora_core::BError) -> Refused {
    tracing::debug!(%error, "request body broke off");
    (Reason::BodyIncomplete, "the body broke off or is badly framed".to_owned())
}
