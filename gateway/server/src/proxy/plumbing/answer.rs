//! The answer on its way out: waits for the handler, writes head and frames, keeps silent event streams
//! alive, and notices in every one of these states that the client has gone.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue, Method, StatusCode, Version, response};
use http_body::Body as _;
use http_body_util::BodyExt;
use pingora_core::apps::{HttpPersistentSettings, ReusedHttpStream};
use pingora_core::protocols::http::{HttpTask, ServerSession};
use pingora_http::ResponseHeader;
use tokio::sync::mpsc::Receiver;
use tokio::time::{sleep, timeout};

use super::Shared;
use super::head::HOP_BY_HOP;
use super::sse::{self, AsEvent, COMMENT, Tail};
use crate::exchange::{Body, EarlyFrame, Gone, Reply};

/// How long the first event of a stream may follow its head into the same packet.
const FIRST_EVENT: Duration = Duration::from_millis(1);
/// How long and how much of an unread body is thrown away so that the answer reaches its sender.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 16 << 20;

/// Asks reverse proxies not to collect the stream.
const NO_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// An answer that is being written.
pub(super) struct Answer<'a> {
    shared: &'a Shared,
    session: ServerSession,
    has_head: bool,
    opened: bool,
    tail: Tail,
}

/// Why an answer did not go out whole.
#[derive(Debug)]
pub(super) enum Failed {
    /// The client has left, or was cut because the body broke.
    Gone,
    /// The body broke before anything was written.
    Unsent(String),
}

impl From<Gone> for Failed {
    fn from(_: Gone) -> Failed {
        Failed::Gone
    }
}

/// What a body does next.
enum Next {
    Frame(Bytes),
    End,
    Broken(String),
    Silence,
}

impl<'a> Answer<'a> {
    /// `has_head`: the request's head was read; pingora panics when asked for one that was not.
    pub(super) fn new(shared: &'a Shared, session: ServerSession, has_head: bool) -> Answer<'a> {
        Answer { shared, session, has_head, opened: false, tail: Tail::default() }
    }

    pub(super) fn session(&self) -> &ServerSession {
        &self.session
    }

    /// Waits for the handler and writes early frames meanwhile. `Gone`: the caller drops the handler.
    pub(super) async fn wait<T>(
        &mut self,
        handling: impl Future<Output = T>,
        mut frames: Receiver<EarlyFrame>,
    ) -> Result<T, Gone> {
        let mut handling = pin!(handling);
        let mut listening = true;
        loop {
            let may_comment = self.opened && self.tail.is_between_events();
            tokio::select! {
                biased;
                done = &mut handling => {
                    while let Ok(frame) = frames.try_recv() {
                        self.early(frame).await?;
                    }
                    return Ok(done);
                }
                frame = frames.recv(), if listening => match frame {
                    Some(frame) => self.early(frame).await?,
                    None => listening = false,
                },
                () = gone(&mut self.session) => return Err(Gone),
                () = sleep(self.shared.limits.comment_every), if may_comment => {
                    self.write(COMMENT).await?;
                }
            }
        }
    }

    async fn early(&mut self, (headers, frame): EarlyFrame) -> Result<(), Gone> {
        if self.opened {
            return self.write(frame).await;
        }
        let mut reply = http::Response::new(());
        *reply.headers_mut() = headers;
        let stream = HeaderValue::from_static("text/event-stream");
        reply.headers_mut().insert(CONTENT_TYPE, stream);
        self.open(reply.into_parts().0, None, Some(frame), false).await
    }

    /// Writes the reply, or its body behind early frames.
    pub(super) async fn send(&mut self, reply: Reply) -> Result<(), Failed> {
        let (parts, mut body) = reply.into_parts();
        let is_stream = sse::is_stream(&parts.headers);
        if self.opened {
            let event = (!is_stream).then(AsEvent::default);
            return self.stream(&mut body, None, true, event).await;
        }
        let length = body.size_hint().exact();
        if self.has_no_body(parts.status) {
            return Ok(self.open(parts, length, None, true).await?);
        }
        // Only an event stream announces itself before its first frame.
        let patience = if is_stream { Some(FIRST_EVENT) } else { None };
        let mut held = None;
        match self.next(&mut body, patience).await? {
            Next::Frame(frame) => {
                held = next_frame(&mut body).now_or_never();
                let end = matches!(held, Some(Next::End));
                self.open(parts, length, Some(frame), end).await?;
                if end {
                    return Ok(());
                }
            }
            Next::End => return Ok(self.open(parts, Some(0), None, true).await?),
            Next::Silence => self.open(parts, length, None, false).await?,
            Next::Broken(detail) => return Err(Failed::Unsent(detail)),
        }
        self.stream(&mut body, held, is_stream, None).await
    }

    /// Writes the frames of a body; those of a JSON body as one event where an event stream is open.
    async fn stream(
        &mut self,
        body: &mut Body,
        mut held: Option<Next>,
        is_stream: bool,
        mut event: Option<AsEvent>,
    ) -> Result<(), Failed> {
        loop {
            let may_comment = is_stream && self.tail.is_between_events();
            let patience = may_comment.then_some(self.shared.limits.comment_every);
            let next = match held.take() {
                Some(next) => next,
                None => self.next(body, patience).await?,
            };
            match (next, &mut event) {
                (Next::Frame(frame), None) => self.write(frame).await?,
                (Next::Frame(frame), Some(event)) => {
                    let piece = event.piece(&frame);
                    self.write(piece).await?;
                }
                (Next::Silence, _) => self.write(COMMENT).await?,
                (Next::End, None) => return Ok(()),
                (Next::End, Some(event)) => {
                    let end = event.end();
                    return Ok(self.write(end).await?);
                }
                (Next::Broken(detail), _) => {
                    tracing::debug!(detail, "an answer broke off");
                    // No closing chunk: the client must see that something is missing.
                    self.session.shutdown().await;
                    return Err(Failed::Gone);
                }
            }
        }
    }

    /// The body's next frame, unless the client leaves first. `Silence`: none came within `patience`.
    async fn next(&mut self, body: &mut Body, patience: Option<Duration>) -> Result<Next, Gone> {
        tokio::select! {
            biased;
            next = next_frame(body) => Ok(next),
            () = gone(&mut self.session) => Err(Gone),
            () = sleep(patience.unwrap_or_default()), if patience.is_some() => Ok(Next::Silence),
        }
    }

    /// Writes the head, with the first frame in the same write.
    async fn open(
        &mut self,
        parts: response::Parts,
        length: Option<u64>,
        first: Option<Bytes>,
        end: bool,
    ) -> Result<(), Gone> {
        if self.shared.is_draining() {
            self.session.set_keepalive(None);
        }
        let head = self.response_head(parts, length);
        self.opened = true;
        let mut tasks = vec![HttpTask::Header(head, end && first.is_none())];
        if let Some(first) = first {
            self.tail.push(&first);
            tasks.push(HttpTask::Body(Some(first), end));
        }
        self.write_tasks(tasks).await
    }

    async fn write(&mut self, frame: Bytes) -> Result<(), Gone> {
        if frame.is_empty() {
            // On HTTP/1.1 an empty chunk would end the body.
            return Ok(());
        }
        self.tail.push(&frame);
        self.write_tasks(vec![HttpTask::Body(Some(frame), false)]).await
    }

    async fn write_tasks(&mut self, tasks: Vec<HttpTask>) -> Result<(), Gone> {
        self.session.response_duplex_vec(tasks).await.map(drop).map_err(|error| {
            tracing::debug!(%error, "the client does not take the answer");
            Gone
        })
    }

    /// The head without what concerns other connections, framed for this one.
    fn response_head(
        &self,
        mut parts: response::Parts,
        length: Option<u64>,
    ) -> Box<ResponseHeader> {
        if parts.status.is_informational() {
            tracing::error!(status = %parts.status, "not a final status");
            parts.status = StatusCode::INTERNAL_SERVER_ERROR;
        }
        let headers = &mut parts.headers;
        for name in HOP_BY_HOP {
            headers.remove(name);
        }
        // The handler's own length is not trusted: a body that ends early must not pass as whole.
        headers.remove(CONTENT_LENGTH);
        let has_length = !matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if let Some(length) = length.filter(|_| has_length) {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        } else if has_length && self.takes_chunks() {
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        if sse::is_stream(headers) {
            headers.insert(NO_BUFFERING, HeaderValue::from_static("no"));
            let no_cache = HeaderValue::from_static("no-cache");
            headers.entry(CACHE_CONTROL).or_insert(no_cache);
        }
        Box::new(ResponseHeader::from(parts))
    }

    fn takes_chunks(&self) -> bool {
        // A request whose head could not be read gets a whole, short answer and then the end.
        self.has_head && self.session.req_header().version == Version::HTTP_11
    }

    fn has_no_body(&self, status: StatusCode) -> bool {
        matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
            || (self.has_head && self.session.req_header().method == Method::HEAD)
    }

    /// Ends the answer; gives the connection back where it can be used again.
    pub(super) async fn finish(self) -> Option<ReusedHttpStream> {
        let mut settings = HttpPersistentSettings::for_session(&self.session);
        settings.set_user_context(Box::new(()));
        let reusable = self.session.finish().await.ok()??;
        Some(ReusedHttpStream::from_reusable_stream(reusable, settings))
    }

    /// Ends the answer and throws away what the client is still sending.
    pub(super) async fn linger(mut self) {
        let draining = async {
            self.session.finish_body().await.ok()?;
            if self.session.is_http2() {
                return None;
            }
            self.session.shutdown().await;
            let mut left = LINGER_BYTES;
            while let Some(piece) = self.session.read_request_body().await.ok()? {
                left = left.checked_sub(piece.len())?;
            }
            Some(())
        };
        let _ = timeout(LINGER, draining).await;
    }
}

/// Comes back when the client has closed the connection or reset the stream.
async fn gone(session: &mut ServerSession) {
    if let Err(error) = session.read_body_or_idle(true).await {
        tracing::debug!(%error, "the client has gone");
    }
}

async fn next_frame(body: &mut Body) -> Next {
    loop {
        return match AssertUnwindSafe(body.frame()).catch_unwind().await {
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) if data.is_empty() => continue,
                Ok(data) => Next::Frame(data),
                // Trailers: HTTP/1.1 clients seldom read them and MCP has none.
                Err(_) => continue,
            },
            Ok(Some(Err(error))) => Next::Broken(error.to_string()),
            Ok(None) => Next::End,
            Err(_) => Next::Broken("panic in the body".to_owned()),
        };
    }
}
