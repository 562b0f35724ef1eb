//! The body of a request, whole and within its limit and deadline.

use bytes::{Bytes, BytesMut};
use gateway_core::reason::Reason;
use pingora_core::protocols::http::ServerSession;
use tokio::time::timeout;

use super::Limits;
use super::head::{self, Refused};

/// Never reserved up front for a length that is only declared.
const FIRST_RESERVE: usize = 64 << 10;

/// Reads the body. A declared length over the limit is refused from the head alone.
pub(super) async fn read(session: &mut ServerSession, limits: &Limits) -> Result<Bytes, Refused> {
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
        collect(session, limit, reserve.min(FIRST_RESERVE)).await
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
    limit: usize,
    reserve: usize,
) -> Result<Bytes, Refused> {
    let Some(first) = session.read_request_body().await.map_err(broke_off)? else {
        return Ok(Bytes::new());
    };
    if first.len() > limit {
        return Err(too_large(limit));
    }
    if session.is_body_done() {
        return Ok(first);
    }
    let mut body = BytesMut::with_capacity(reserve.max(first.len()));
    body.extend_from_slice(&first);
    while let Some(piece) = session.read_request_body().await.map_err(broke_off)? {
        if body.len() + piece.len() > limit {
            return Err(too_large(limit));
        }
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
