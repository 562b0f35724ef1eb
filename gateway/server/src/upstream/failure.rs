//! Why a request got no answer, and whether it may have arrived.

use std::error::Error;

use gateway_core::reason::Reason;
use hyper_util::client::legacy;

use super::connect::NotConnected;

/// A request got no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct LegError {
    /// Why.
    pub reason: Reason,
    /// What was tried and what happened; holds no secret.
    pub detail: String,
    /// Some of the request may have reached the server.
    pub sent: bool,
}

impl LegError {
    pub(super) fn unsent(reason: Reason, detail: impl Into<String>) -> LegError {
        LegError { reason, detail: detail.into(), sent: false }
    }
}

/// What an error of the client means. Whatever is not known to be unsent counts as sent.
pub(super) fn explain(error: &legacy::Error) -> LegError {
    if let Some(not) = find::<NotConnected>(error) {
        return LegError::unsent(not.reason, not.detail.clone());
    }
    if error.is_connect() {
        return LegError::unsent(Reason::UpstreamUnreachable, describe(error));
    }
    let cause = find::<hyper::Error>(error);
    let detail = describe(error);
    // "Canceled" is hyper's word for a request that no connection has begun to write.
    if cause.is_some_and(hyper::Error::is_canceled) {
        return LegError::unsent(Reason::UpstreamUnreachable, detail);
    }
    let reason = match cause {
        Some(cause) if cause.is_parse() => Reason::UpstreamInvalid,
        Some(cause) if cause.is_timeout() => Reason::UpstreamTimeout,
        Some(_) | None => Reason::UpstreamUnreachable,
    };
    LegError { reason, detail, sent: true }
}

fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

pub(super) fn describe(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&error.to_string());
        next = error.source();
    }
    text
}
