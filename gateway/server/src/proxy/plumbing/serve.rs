//! One exchange, from bytes in to bytes out. Read [`exchange`] first.

use std::any::Any;
use std::net::{IpAddr, Ipv4Addr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt;
use gateway_core::ids::CallId;
use gateway_core::reason::Reason;
use http::StatusCode;
use pingora_core::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora_core::server::ShutdownWatch;
use tokio::sync::SemaphorePermit;

use super::answer::{Answer, Failed};
use super::head::{self, Head, Refused};
use super::{Shared, Unread, body};
use crate::exchange::{self, Early, Exchange, Reply};

/// Early frames that may wait to be written.
const EARLY_DEPTH: usize = 8;
/// Room on an HTTP/2 connection for a few bodies that are sent at once.
const H2_WINDOW: u32 = 1 << 20;

/// pingora's view of us.
pub(super) struct Serve {
    pub(super) shared: Arc<Shared>,
    pub(super) options: HttpServerOptions,
}

#[async_trait]
impl HttpServerApp for Serve {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        // HTTP/2 streams are tasks of their own: they count, and are cut, beside their connection.
        let _running = self.shared.running.token();
        tokio::select! {
            biased;
            () = self.shared.cut.cancelled() => None,
            reused = exchange(&self.shared, session, shutdown) => reused,
        }
    }

    fn h2_options(&self) -> Option<H2Options> {
        let mut options = default_h2_options();
        let head_bytes = u32::try_from(self.shared.limits.head_bytes).unwrap_or(u32::MAX);
        options.max_header_list_size(head_bytes);
        options.initial_window_size(H2_WINDOW);
        options.initial_connection_window_size(4 * H2_WINDOW);
        Some(options)
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }
}

/// Reads a request, has it answered, writes the answer; gives the connection back for the next request.
async fn exchange(
    shared: &Shared,
    mut session: ServerSession,
    shutdown: &ShutdownWatch,
) -> Option<ReusedHttpStream> {
    let reused = session.take_connection_user_context().is_some();
    // Off, pingora takes the first byte of a pipelined request for an error of the running one.
    session.set_pipelining_enabled(true);
    session.set_write_timeout(Some(shared.limits.write_within));
    match head::read(shared, &mut session, reused, shutdown).await {
        Ok(true) => {}
        Ok(false) => return None,
        Err(refused) => return refuse(shared, session, None, refused).await,
    }
    bound_keepalive(shared, &mut session);
    let head = head::describe(&session);
    if let Err(refused) = head::check(&session, &shared.limits) {
        return refuse(shared, session, Some(head), refused).await;
    }
    let place = match admit(shared) {
        Ok(place) => place,
        Err(refused) => return refuse(shared, session, Some(head), refused).await,
    };
    let body = match body::read(&mut session, &shared.limits).await {
        Ok(body) => body,
        Err(refused) => return refuse(shared, session, Some(head), refused).await,
    };
    let (early, frames) = Early::channel(EARLY_DEPTH);
    let Head { method, path, query, headers } = head;
    let peer = peer(&session);
    let exchange = Exchange { method, path, query, headers, peer, body, early };
    let mut answer = Answer::new(shared, session, true);
    let handling = AssertUnwindSafe(shared.handler.handle(exchange)).catch_unwind();
    let reply = match answer.wait(handling, frames).await.ok()? {
        Ok(reply) => reply,
        Err(panic) => failed(shared, &answer, None, describe_panic(&*panic)),
    };
    drop(place);
    send(shared, answer, reply).await
}

/// Writes the reply. One whose body breaks before its first byte is answered as our own failure.
async fn send(shared: &Shared, mut answer: Answer<'_>, reply: Reply) -> Option<ReusedHttpStream> {
    let call = reply.extensions().get::<CallId>().copied();
    match answer.send(reply).await {
        Ok(()) => answer.finish().await,
        Err(Failed::Gone) => None,
        Err(Failed::Unsent(detail)) => {
            let reply = failed(shared, &answer, call, detail);
            answer.send(reply).await.ok()?;
            answer.finish().await
        }
    }
}

fn failed(shared: &Shared, answer: &Answer<'_>, call: Option<CallId>, detail: String) -> Reply {
    tracing::error!(detail, "an exchange failed");
    let head = Some(head::describe(answer.session()));
    let mut unread = unread(answer.session(), head, (Reason::Internal, detail));
    (unread.began, unread.call) = (true, call);
    refusal(shared, unread)
}

/// Answers a request whose body (or even head) is not read. The client may still be sending; closing at
/// once would make its system throw the answer away, so the connection lingers for a moment.
async fn refuse(
    shared: &Shared,
    mut session: ServerSession,
    head: Option<Head>,
    refused: Refused,
) -> Option<ReusedHttpStream> {
    let has_head = head.is_some();
    let is_sending = has_head && !session.is_body_done();
    session.set_keepalive(None);
    let reply = refusal(shared, unread(&session, head, refused));
    let mut answer = Answer::new(shared, session, has_head);
    answer.send(reply).await.ok()?;
    if is_sending {
        answer.linger().await;
        return None;
    }
    answer.finish().await
}

fn unread(session: &ServerSession, head: Option<Head>, (reason, detail): Refused) -> Unread {
    let method = head.as_ref().map(|head| head.method.clone());
    let Head { path, headers, .. } = head.unwrap_or_default();
    Unread { reason, detail, method, path, headers, peer: peer(session), began: false, call: None }
}

fn refusal(shared: &Shared, unread: Unread) -> Reply {
    let reason = unread.reason;
    catch_unwind(AssertUnwindSafe(|| shared.handler.refuse(unread))).unwrap_or_else(|_| {
        let status = StatusCode::from_u16(reason.status()).unwrap_or_default();
        exchange::json(status, format!("{{\"reason\":\"{reason}\"}}"))
    })
}

fn admit(shared: &Shared) -> Result<SemaphorePermit<'_>, Refused> {
    if shared.is_closing() {
        return Err((Reason::ShuttingDown, "draining".to_owned()));
    }
    let limit = shared.limits.exchanges;
    shared
        .exchanges
        .try_acquire()
        .map_err(|_| (Reason::Overloaded, format!("{limit} exchanges are running")))
}

/// pingora sets an unlimited keep-alive on every HTTP/1.1 request it reads.
fn bound_keepalive(shared: &Shared, session: &mut ServerSession) {
    if session.get_keepalive().is_some() {
        // 0 would mean for ever.
        session.set_keepalive(Some(shared.limits.idle_within.as_secs().max(1)));
    }
}

fn peer(session: &ServerSession) -> IpAddr {
    let address = session.client_addr().and_then(|address| address.as_inet());
    address.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address| address.ip().to_canonical())
}

fn describe_panic(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panic: {}", text.unwrap_or("no message"))
}
