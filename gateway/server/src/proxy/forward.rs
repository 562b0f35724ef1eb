//! The only upstream IO. Takes nothing but a [`Recorded`] request; the original bytes go out, under headers
//! that are built from an allow-list, never copied and pruned: the client's credential never leaves. The
//! leg adds the server's address and the credential that governance has for the caller there (`connect`).

use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use gateway_core::json::{Json, write_string};
use gateway_core::mcp::headers::{
    LAST_EVENT_ID, METHOD, NAME, PARAM_PREFIX, PROTOCOL_VERSION, SESSION_ID,
};
use gateway_core::reason::Reason;
use gateway_core::server::Endpoint;
use gateway_governance::connections::{Refusing, Unconnected};
use gateway_governance::{Face, Origin};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};

use super::Proxy;
use super::confirm::Carried;
use super::connect;
use super::decide::Permitted;
use super::intent::Recorded;
use super::refusal::Refusal;
use super::resolve::Routed;
use crate::exchange::Body;
use crate::telemetry::{self, TraceParent};

/// Headers of the client that an upstream may see, besides `Mcp-Param-*`.
const FORWARDED: [HeaderName; 6] =
    [ACCEPT, CONTENT_TYPE, PROTOCOL_VERSION, METHOD, NAME, LAST_EVENT_ID];

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// An upstream's answer, its body still to come.
pub(super) struct Replied {
    pub(super) routed: Routed,
    pub(super) response: Response<Body>,
}

/// Sends it. Never twice: what failed after the first byte left is not tried again, with one exception: what has
/// no effects and was refused for its credential is sent again with a new one.
pub(super) async fn send(recorded: Recorded, proxy: &Proxy) -> Result<Replied, Refusal> {
    let permitted = recorded.into_inner().permitted;
    let request = match request(&permitted) {
        Ok(request) => request,
        Err((reason, detail)) => return Err(Refusal::of_routed(permitted.routed, reason, detail)),
    };
    let routed = permitted.routed;
    if !connect::may_repeat(&routed) {
        return once(routed, request, proxy).await.map_err(Unsent::into_refusal);
    }
    match once(routed, request.clone(), proxy).await {
        Err(Unsent::Stale(routed, _)) => {
            once(*routed, request, proxy).await.map_err(Unsent::into_refusal)
        }
        done => done.map_err(Unsent::into_refusal),
    }
}

/// Why there is no answer to pass on.
enum Unsent {
    Refused(Box<Refusal>),
    /// The server refused the credential, and there is a better one.
    Stale(Box<Routed>, Unconnected),
}

impl Unsent {
    fn into_refusal(self) -> Refusal {
        match self {
            Unsent::Refused(refusal) => *refusal,
            Unsent::Stale(routed, unconnected) => connect::refuse(*routed, unconnected),
        }
    }
}

async fn once(
    mut routed: Routed,
    request: Request<Bytes>,
    proxy: &Proxy,
) -> Result<Replied, Unsent> {
    let refused = |refusal| Unsent::Refused(Box::new(refusal));
    let credential = match Box::pin(connect::credential(&routed, proxy)).await {
        Ok(credential) => credential,
        Err(unconnected) => return Err(refused(connect::refuse(routed, unconnected))),
    };
    routed.understood.identified.received.receipt.leaves();
    let response = match proxy.leg.send(&routed.server, &credential, request).await {
        Ok(response) => response,
        Err(error) => {
            let refusal = Refusal::of_routed(routed, error.reason, error.detail);
            return Err(refused(Refusal { sent: error.sent, ..refusal }));
        }
    };
    let (head, body) = response.into_parts();
    if let Some(reason) = head.extensions.get::<Reason>() {
        routed.understood.identified.received.receipt.refused_behind(*reason);
    }
    match Box::pin(connect::refusing(&routed, (head.status, &head.headers), proxy)).await {
        Refusing::Nothing => Ok(Replied { routed, response: Response::from_parts(head, body) }),
        Refusing::Again(unconnected) => Err(Unsent::Stale(Box::new(routed), unconnected)),
        Refusing::Person(unconnected) => Err(refused(connect::refuse(routed, unconnected))),
    }
}

fn request(permitted: &Permitted) -> Result<Request<Bytes>, (Reason, String)> {
    let routed = &permitted.routed;
    let received = &routed.understood.identified.received;
    let uri = match &routed.server.endpoint {
        Endpoint::Http(url) => url.as_str(),
        Endpoint::InProcess => "http://runlayer/mcp",
    };
    let mut request = Request::builder()
        .method(received.method.clone())
        .uri(uri)
        .body(body(permitted))
        .map_err(|error| (Reason::UpstreamUnreachable, format!("url: {error}")))?;
    *request.headers_mut() = headers(routed);
    if let Some(task) = permitted.task().filter(|_| request.headers().contains_key(NAME)) {
        request.headers_mut().insert(NAME, encode(task));
    }
    if routed.server.endpoint == Endpoint::InProcess {
        request.extensions_mut().insert(routed.understood.identified.caller.clone());
        request.extensions_mut().insert(Origin {
            call: received.receipt.call,
            client_ip: received.peer,
            client_name: routed.client.name.clone(),
            face: Face::Tools,
        });
    }
    Ok(request)
}

fn headers(routed: &Routed) -> HeaderMap {
    let theirs = &routed.understood.identified.received.headers;
    let mut headers = HeaderMap::with_capacity(10);
    for (name, value) in theirs {
        if FORWARDED.contains(name) || name.as_str().starts_with(PARAM_PREFIX) {
            headers.append(name, value.clone());
        }
    }
    let session = routed.session.as_ref().and_then(|session| session.upstream.as_deref());
    if let Some(value) = session.and_then(|id| HeaderValue::from_str(id).ok()) {
        headers.insert(SESSION_ID, value);
    }
    let meta = || {
        let text = routed.understood.params()?.at(&["_meta", "traceparent"])?.as_str()?;
        TraceParent::parse(&text)
    };
    let incoming = TraceParent::of(theirs).or_else(meta);
    headers.extend(telemetry::onward(incoming.as_ref()).map(|parent| (TRACEPARENT, parent)));
    headers
}

/// A piece of the body, and what leaves in its place.
type Edit = (Range<usize>, String);

/// The original bytes, but for what is ours in them: the answer to our own question, and the ids of tasks,
/// whose places the upstream's own take.
fn body(permitted: &Permitted) -> Bytes {
    let routed = &permitted.routed;
    let text = routed.understood.text();
    let mut edits: Vec<Edit> = Vec::new();
    match permitted.carried() {
        Some(carried) => edits.extend(without_ours(routed, theirs(carried))),
        None if connect::came_back(routed) => edits.extend(without_ours(routed, (None, None))),
        None => {}
    }
    let named = || routed.understood.params()?.get("taskId")?.span_in(text);
    let named = permitted.task().and_then(|task| Some((named()?, task)));
    let related = permitted.relation().map(|(span, task)| (span.clone(), task.as_str()));
    edits.extend(named.into_iter().chain(related).map(|(span, task)| (span, quoted(task))));
    if edits.is_empty() {
        return routed.understood.identified.received.body.clone();
    }
    splice(text, edits)
}

fn splice(text: &str, mut edits: Vec<Edit>) -> Bytes {
    edits.sort_by_key(|(span, _)| span.start);
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for (span, value) in edits {
        // Two neighbouring members share a comma: never cut it twice.
        let start = span.start.max(at);
        out.push_str(&text[at..start]);
        out.push_str(&value);
        at = span.end.max(start);
    }
    out.push_str(&text[at..]);
    Bytes::from(out)
}

fn quoted(text: &str) -> String {
    let mut out = String::new();
    write_string(text, &mut out);
    out
}

/// As text where that is legal in a header, else as `=?base64?...?=`.
fn encode(text: &str) -> HeaderValue {
    let coded = || HeaderValue::try_from(format!("=?base64?{}?=", STANDARD.encode(text)));
    let plain = HeaderValue::from_str(text).ok().filter(|_| text.is_ascii());
    plain.or_else(|| coded().ok()).unwrap_or(HeaderValue::from_static(""))
}

/// What the client had sent for the upstream: its `requestState` and `inputResponses`, as JSON text.
type Theirs<'a> = (Option<&'a str>, Option<&'a str>);

fn theirs(carried: &Carried) -> Theirs<'_> {
    match carried.request_state.as_deref() {
        // The answer to another question of ours.
        Some(state) if connect::is_ours(state) => (None, None),
        state => (state, carried.input_responses.as_deref()),
    }
}

/// Takes our own question's answer out, and puts back what the client had sent for the upstream.
fn without_ours(routed: &Routed, (state, responses): Theirs<'_>) -> Vec<Edit> {
    let text = routed.understood.text();
    let Some(params) = routed.understood.params() else { return Vec::new() };
    let edit = |(key, value): (&str, Option<&str>)| {
        let span = match value {
            Some(_) => params.get(key).and_then(|v| v.span_in(text)),
            None => member_span(text, params, key),
        };
        Some((span?, value.unwrap_or_default().to_owned()))
    };
    [("requestState", state), ("inputResponses", responses)].into_iter().filter_map(edit).collect()
}

/// A member with the comma that separates it: the one before it, else the one behind it.
fn member_span(text: &str, object: Json<'_>, key: &str) -> Option<Range<usize>> {
    let member = object.members().find(|m| m.key == key)?;
    let span = Json::checked_before(member.raw).span_in(text)?;
    let before = text[..span.start].trim_end_matches([' ', '\t', '\r', '\n']);
    if let Some(shorter) = before.strip_suffix(',') {
        return Some(shorter.len()..span.end);
    }
    let behind = &text[span.end..];
    let comma = behind.trim_start_matches([' ', '\t', '\r', '\n']);
    let skipped = behind.len() - comma.len();
    let more = usize::from(comma.starts_with(','));
    Some(span.start..span.end + if more == 1 { skipped + 1 } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str, keys: &[&str]) -> String {
        let mut text = text.to_owned();
        for key in keys {
            let params = Json::parse(text.as_bytes()).unwrap().get("params").unwrap();
            let span = member_span(&text, params, key).unwrap();
            text.replace_range(span, "");
        }
        text
    }

    #[test]
    fn members_are_cut_with_their_comma() {
        let cases = [
            (r#"{"params":{"a":1,"x":2}}"#, r#"{"params":{"a":1}}"#),
            (r#"{"params":{"x":{"y":","} , "a":1}}"#, r#"{"params":{ "a":1}}"#),
            (r#"{"params":{"a":1 , "x":2 , "b":3}}"#, r#"{"params":{"a":1  , "b":3}}"#),
            (r#"{"params":{"x":2}}"#, r#"{"params":{}}"#),
        ];
        for (text, expected) in cases {
            assert_eq!(cut(text, &["x"]), expected);
            assert!(Json::parse(expected.as_bytes()).is_ok());
        }
    }
}
