//! One exchange, from bytes in to bytes out. Read [`exchange`] first.

use std::any::Any;
use std::hash::{BuildHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::FutureExt;
use gateway_core::ids::CallId;
use gateway_core::reason::Reason;
use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderName, StatusCode};
use pingora_core::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora_core::server::ShutdownWatch;
use tokio::sync::SemaphorePermit;
use tokio::time::timeout;

use super::answer::{Answer, Failed};
use super::head::{self, Head, Refused};
use super::{Shared, Unread, body};
use crate::exchange::{self, Early, Exchange, Reply};
use crate::telemetry::{self, Shed};
use crate::turns::{NoTurn, Turn};

/// Early frames that may wait to be written.
const EARLY_DEPTH: usize = 8;
/// What clients are told apart by.
const CREDENTIALS: [HeaderName; 3] =
    [AUTHORIZATION, HeaderName::from_static("x-runlayer-api-key"), COOKIE];
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
    if shared.is_closing() {
        let refused = (Reason::ShuttingDown, "draining".to_owned());
        return refuse(shared, session, Some(head), refused).await;
    }
    let mut room = body::Room::of(&shared.bodies);
    let body = match body::read(&mut session, &shared.limits, &mut room).await {
        Ok(body) => body,
        Err(refused) => return refuse(shared, session, Some(head), refused).await,
    };
    let peer = peer(&session);
    let (turn, place) = match admit(shared, &head.headers, peer).await {
        Ok(admitted) => admitted,
        Err(refused) => return refuse(shared, session, Some(head), refused).await,
    };
    let (early, frames) = Early::channel(EARLY_DEPTH);
    let Head { method, path, query, headers } = head;
    let exchange = Exchange { method, path, query, headers, peer, body, early, turn: turn.clone() };
    let mut answer = Answer::new(shared, session, true);
    let handling = AssertUnwindSafe(shared.handler.handle(exchange)).catch_unwind();
    let handling = within_turn(turn, shared.turns.last(), handling);
    let reply = match answer.wait(handling, frames).await.ok()? {
        Ok(reply) => reply,
        Err(panic) => failed(shared, &answer, None, describe_panic(&*panic)),
    };
    drop((place, room));
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
    // A crowd that had to connect anew for each try would cost more than answering it.
    if is_sending || refused.0 != Reason::Overloaded {
        session.set_keepalive(None);
    }
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

/// Waits for its turn, and takes a place among those that are handled. Who is turned away hears it early.
async fn admit<'a>(
    shared: &'a Shared,
    headers: &HeaderMap,
    peer: IpAddr,
) -> Result<(Turn, SemaphorePermit<'a>), Refused> {
    let began = Instant::now();
    let turn = shared.turns.take(client(shared, headers, peer)).await;
    telemetry::turn_waited(began.elapsed());
    let turn = turn.map_err(|none| {
        telemetry::shed(Shed::Turns);
        let detail = match none {
            NoTurn::Full => "too many of the client's requests wait for their turn".to_owned(),
            NoTurn::TooLong(time) => format!("no turn within {} ms", time.as_millis()),
        };
        (Reason::Overloaded, detail)
    })?;
    let limit = shared.limits.exchanges;
    let place = shared.exchanges.try_acquire().map_err(|_| {
        telemetry::shed(Shed::Exchanges);
        (Reason::Overloaded, format!("{limit} exchanges are running"))
    })?;
    Ok((turn, place))
}

/// Who shows the same credential is one client; who shows none is his address. Nothing is verified yet.
fn client(shared: &Shared, headers: &HeaderMap, peer: IpAddr) -> u128 {
    let mut hasher = shared.clients.build_hasher();
    let mut shown = false;
    for value in CREDENTIALS.into_iter().filter_map(|name| headers.get(name)) {
        hasher.write(value.as_bytes());
        shown = true;
    }
    if !shown {
        peer.hash(&mut hasher);
    }
    hasher.finish().into()
}

/// What takes longer than a turn lasts waits for something else than the gateway, a person for instance.
async fn within_turn<F: Future>(turn: Turn, lasts: Duration, handling: F) -> F::Output {
    let mut handling = pin!(handling);
    if let Ok(done) = timeout(lasts, &mut handling).await {
        return done;
    }
    turn.end();
    handling.await
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
