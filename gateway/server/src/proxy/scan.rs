//! What a request carries: the detectors read the very bytes that are to leave, and what they find is recorded,
//! masked, or stops the call. Only this file makes a [`Scanned`], and `intent` takes nothing else; nothing is changed
//! in its body any more.
//!
//! Policy comes first, so that only what may be called is read; but nobody is asked to agree to a call that a scanner
//! would stop ([`before_asking`]). People agree to the arguments as the client sent them: what is masked on the way
//! out is masked after that.

use std::ops::Range;

use bytes::Bytes;
use gateway_core::json::Json;
use gateway_core::mcp::headers::{self, LAST_EVENT_ID, METHOD, NAME, PARAM_PREFIX};
use gateway_core::mcp::{Era, MessageKind};
use gateway_core::scan::Guard;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderName, HeaderValue};

use super::decide::Permitted;
use super::limit::Counted;
use super::outgoing;
use super::outside::{Outside, Told};
use super::refusal::Refusal;
use super::resolve::Routed;
use super::screen::{Blocked, Cleared, Screen, Seen};
use super::task::RELATED;
use super::{Proxy, fail};

/// A permitted request that the detectors have read, whole.
pub(super) struct Scanned {
    permitted: Permitted,
    body: Cleared,
}

impl Scanned {
    /// What was permitted.
    pub(super) fn permitted(&self) -> &Permitted {
        &self.permitted
    }

    /// The bytes that leave.
    pub(super) fn body(&self) -> Bytes {
        self.body.bytes().clone()
    }

    /// The request as it came.
    pub(super) fn routed(&mut self) -> &mut Routed {
        &mut self.permitted.routed
    }

    /// The same when it goes no further.
    pub(super) fn into_routed(self) -> Routed {
        self.permitted.routed
    }
}

/// Reads what is to leave.
pub(super) async fn request(counted: Counted, proxy: &Proxy) -> Result<Scanned, Refusal> {
    let mut permitted = counted.into_inner();
    fail::point("scan");
    let body = outgoing::body(&permitted);
    let screen = Screen::of(&permitted.routed, Guard::ToolIntent, proxy);
    let told = ask_outside(&permitted.routed, &screen, text(&body), proxy).await;
    let seen = screen.message_told(text(&body), told);
    let mut seen = forwarded(&permitted.routed, &screen).fold(seen, Seen::and);
    note(&mut permitted.routed, text(&body), &seen, proxy);
    match clear(&permitted.routed, &mut seen, body) {
        Ok(body) => Ok(Scanned { permitted, body }),
        Err(blocked) => {
            end_session(&permitted.routed, &screen, &blocked, proxy).await;
            Err(blocked.refuse(permitted.routed))
        }
    }
}

/// What the organisation's own scanner says, where it is asked.
async fn ask_outside(routed: &Routed, screen: &Screen, text: &str, proxy: &Proxy) -> Told {
    if routed.understood.call().is_none() || !screen.asks_outside(text) {
        return Told::default();
    }
    Box::pin(Outside::of(routed, Guard::ToolIntent, proxy).ask(text)).await
}

/// A block may end the session; a modern caller has none.
pub(super) async fn end_session(
    routed: &Routed,
    screen: &Screen,
    blocked: &Blocked,
    proxy: &Proxy,
) {
    if let Some(session) = routed.session.as_ref().filter(|_| screen.ends_session(blocked)) {
        Box::pin(session.ender(proxy).end()).await;
    }
}

/// Reads a call that people have to agree to before they are asked. Gives the arguments as people and the trail may
/// see them, with the answers to the server's questions that it carries.
pub(super) async fn before_asking(
    routed: &mut Routed,
    proxy: &Proxy,
) -> Result<Option<String>, Blocked> {
    let screen = Screen::of(routed, Guard::ToolIntent, proxy);
    let body = routed.understood.identified.received.body.clone();
    let text = text(&body);
    // It has not been taken out yet.
    let told = ask_outside(routed, &screen, text, proxy).await;
    let seen = screen.message_but(text, &ours(text), told);
    let mut seen = forwarded(routed, &screen).fold(seen, Seen::and);
    note(routed, text, &seen, proxy);
    if let Err(blocked) = clear(routed, &mut seen, body.clone()) {
        end_session(routed, &screen, &blocked, proxy).await;
        return Err(blocked);
    }
    // What was too long to be read is shown as it is: nobody agrees to what they cannot see.
    let shown = |value: Json<'_>| {
        let kept = value.span_in(text).and_then(|part| seen.kept(text, part));
        kept.unwrap_or_else(|| value.raw().to_owned())
    };
    let arguments = routed.understood.arguments().map(shown);
    let params = routed.understood.params().filter(|_| ours(text).is_empty());
    Ok(match params.and_then(|params| params.get("inputResponses")).map(shown) {
        Some(answers) => {
            let arguments = arguments.unwrap_or_else(|| "{}".into());
            Some(format!(r#"{{"arguments":{arguments},"inputResponses":{answers}}}"#))
        }
        None => arguments,
    })
}

fn clear(routed: &Routed, seen: &mut Seen, body: Bytes) -> Result<Cleared, Blocked> {
    let cleared = seen.clear(body.clone())?;
    let masked = *cleared.bytes() != body;
    if masked { agrees(routed, cleared) } else { Ok(cleared) }
}

fn text(body: &Bytes) -> &str {
    std::str::from_utf8(body).unwrap_or_default()
}

/// Puts what was seen into the record, and out of it what no record may hold. `text` is what was read.
fn note(routed: &mut Routed, text: &str, seen: &Seen, proxy: &Proxy) {
    let limit = proxy.settings.payload_limit;
    let receipt = &mut routed.understood.identified.received.receipt;
    receipt.was_read(Guard::ToolIntent, seen);
    if !seen.is_clean() {
        let part = Json::checked_before(text).at(&["params", "arguments"]);
        let part = part.and_then(|part| part.span_in(text)).filter(|_| receipt.arguments.is_some());
        let kept = part.and_then(|part| seen.kept(text, part));
        receipt.arguments = kept.filter(|kept| kept.len() <= limit).map(Bytes::from);
        let client = &mut routed.client;
        [&mut client.name, &mut client.version].into_iter().flatten().for_each(|n| seen.redact(n));
    }
}

/// What leaves in headers is read like what leaves in the body, but cannot be masked.
fn forwarded(routed: &Routed, screen: &Screen) -> impl Iterator<Item = Seen> {
    let theirs = &routed.understood.identified.received.headers;
    let call = routed.understood.call();
    // These were compared with the body, which is read.
    let compared =
        call.is_some_and(|call| call.era == Era::Modern && call.kind == MessageKind::Request);
    let leaves = move |name: &HeaderName| {
        name.as_str().starts_with(PARAM_PREFIX)
            || [ACCEPT, CONTENT_TYPE, LAST_EVENT_ID].contains(name)
            || (!compared && [METHOD, NAME].contains(name))
    };
    let unusual = theirs.iter().filter(move |(name, value)| leaves(name) && !is_usual(value));
    unusual.map(|(name, value)| {
        let text = String::from_utf8_lossy(value.as_bytes());
        let decoded = headers::decode(&text);
        screen.text(decoded.as_deref().unwrap_or(&text), name.as_str())
    })
}

/// What every client sends.
fn is_usual(value: &HeaderValue) -> bool {
    let usual: [&[u8]; 3] =
        [b"application/json", b"text/event-stream", b"application/json, text/event-stream"];
    usual.contains(&value.as_bytes())
}

/// A header that repeats an argument must say what the masked body says.
fn agrees(routed: &Routed, masked: Cleared) -> Result<Cleared, Blocked> {
    let Some(call) = routed.understood.call().filter(|call| call.era == Era::Modern) else {
        return Ok(masked);
    };
    let tool = call.target.as_deref().and_then(|name| routed.server.tool(name));
    let definition = tool.map(|tool| Json::checked_before(&tool.definition));
    let arguments = Json::checked_before(text(masked.bytes())).at(&["params", "arguments"]);
    let theirs = &routed.understood.identified.received.headers;
    match headers::compare_params(theirs, arguments, definition) {
        Ok(()) => Ok(masked),
        Err(mismatch) => Err(Blocked::unmaskable(&format!("{mismatch} once it is masked"))),
    }
}

/// Where a client's message may hold what we have sealed ourselves: the answer to our own question, the id of a task.
const SEALED: [(&[&str], &str); 5] = [
    (&["params", "requestState"], "rl-confirm."),
    (&["params", "requestState"], "rl-connect"),
    (&["params", "taskId"], "rl-task."),
    (&["params", "_meta", RELATED, "taskId"], "rl-task."),
    (&["result", "_meta", RELATED, "taskId"], "rl-task."),
];

fn ours(text: &str) -> Vec<Range<usize>> {
    let message = Json::checked_before(text);
    let sealed = |(path, begins): &(&[&str], &str)| {
        let value = message.at(path)?;
        value.as_str().filter(|value| value.starts_with(begins))?;
        value.span_in(text)
    };
    SEALED.iter().filter_map(sealed).collect()
}
