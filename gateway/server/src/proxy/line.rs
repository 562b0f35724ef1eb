//! The whole path of an MCP exchange, on one screen. Every stage consumes what the last one made and
//! returns the next, so none can be skipped: only `intent` makes a `Recorded`, from a `Permitted` that only
//! `decide` makes, only `limit` passes on and only `scan` has read, and `forward` takes nothing else. On the way
//! back only `screen` makes what a client may get.
//!
//! ```text
//! accept -> identify -> parse -> resolve -> decide -> limit -> scan -> intent -> forward -> filter -> outcome
//!           who         what     which      policy,   how      what    no        the only   answers   written when
//!                                server     confirm   much,    it      record,   upstream   scanned,  the answer has
//!                                                     a place  carries no call   IO         trimmed   gone out
//! ```
//!
//! The record that an exchange owes travels along as a [`Receipt`](super::receipt::Receipt): a refusal
//! concludes it, the answer's stream concludes it, and dropping it (a client that left, a panic) does too.

use std::panic::AssertUnwindSafe;

use async_trait::async_trait;
use futures_util::FutureExt;
use gateway_core::ids::CallId;
use tracing::Instrument;

use super::plumbing::{Handler, Unread};
use super::receipt::next_call;
use super::refusal::Refusal;
use super::{
    Proxy, accept, confirm, decide, fail, filter, forward, identify, intent, limit, parse, resolve,
    scan,
};
use crate::exchange::{Exchange, Reply};
use crate::telemetry::{self, Stage, Timed};

impl Proxy {
    /// A governed exchange, from bytes in to bytes out. Read this first.
    async fn line(&self, exchange: Exchange, call: CallId) -> Result<Reply, Refusal> {
        let received = accept::receive(exchange, call, self)?;
        let identified = identify::caller(received, self).timed(Stage::Identify).await?;
        let understood = parse::message(identified, self)?;
        let routed = resolve::route(understood, self).timed(Stage::Resolve).await?;
        if let Some(agreement) = confirm::agreement(&routed) {
            return Box::pin(confirm::settle(routed, agreement, self)).await;
        }
        let permitted = decide::permit(routed, self).timed(Stage::Decide).await?;
        let counted = limit::count(permitted, self).timed(Stage::Limit).await?;
        let scanned = scan::request(counted, self).timed(Stage::Scan).await?;
        let recorded = intent::record(scanned, self).timed(Stage::Intent).await?;
        let replied = forward::send(recorded, self).timed(Stage::Forward).await?;
        filter::reply(replied, self).timed(Stage::Filter).await
    }
}

#[async_trait]
impl Handler for Proxy {
    async fn handle(&self, exchange: Exchange) -> Reply {
        let span = telemetry::exchange_span(&exchange.headers, &exchange.body);
        fail::arm(&exchange.headers);
        let call = next_call(&self.governance);
        let line = AssertUnwindSafe(self.line(exchange, call)).catch_unwind();
        match line.instrument(span).await {
            Ok(Ok(mut reply)) => {
                // For an answer whose body breaks before its first byte.
                reply.extensions_mut().insert(call);
                reply
            }
            Ok(Err(refusal)) => refusal.conclude(self),
            // The panic's own line is in the log; it cost this exchange and no other.
            Err(_panic) => accept::broken(call, self).conclude(self),
        }
    }

    fn refuse(&self, unread: Unread) -> Reply {
        accept::unreadable(unread, self).conclude(self)
    }
}
