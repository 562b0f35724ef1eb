//! The only upstream IO. Takes nothing but a [`Recorded`] request; the bytes that were read go out, under headers
//! that are built from an allow-list, never copied and pruned: the client's credential never leaves. The
//! leg adds the server's address and the credential that governance has for the caller there (`connect`).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use gateway_core::mcp::headers::{
    LAST_EVENT_ID, METHOD, NAME, PARAM_PREFIX, PROTOCOL_VERSION, SESSION_ID,
};
use gateway_core::reason::Reason;
use gateway_core::server::Endpoint;
use gateway_governance::connections::{Refusing, Unconnected};
use gateway_governance::{Face, Origin};
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};

use super::intent::Recorded;
use super::refusal::Refusal;
use super::resolve::Routed;
use super::scan::Scanned;
use super::{Proxy, connect, fail};
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
    let scanned = recorded.into_inner();
    fail::point("forward");
    let request = match request(&scanned) {
        Ok(request) => request,
        Err((reason, detail)) => {
            return Err(Refusal::of_routed(scanned.into_routed(), reason, detail));
        }
    };
    let routed = scanned.into_routed();
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
    let response =
        match proxy.leg.send(routed.entry.as_ref(), &routed.server, &credential, request).await {
            Ok(response) => response,
            Err(error) => {
                let refusal = Refusal::of_routed(routed, error.reason, error.detail);
                return Err(refused(Refusal { sent: error.sent, ..refusal }));
            }
        };
    fail::point("forwarded");
    let (head, body) = response.into_parts();
    if let Some(reason) = head.extensions.get::<Reason>() {
        routed.understood.identified.received.receipt.refused_behind(*reason);
    }
    match Box::pin(connect::refusing(&routed, (head.status, &head.headers), proxy)).await {
        Refusing::Nothing => {
            // Whoever streams for hours takes nobody's place.
            routed.entry = None;
            Ok(Replied { routed, response: Response::from_parts(head, body) })
        }
        Refusing::Again(unconnected) => Err(Unsent::Stale(Box::new(routed), unconnected)),
        Refusing::Person(unconnected) => Err(refused(connect::refuse(routed, unconnected))),
    }
}

fn request(scanned: &Scanned) -> Result<Request<Bytes>, (Reason, String)> {
    let permitted = scanned.permitted();
    let routed = &permitted.routed;
    let received = &routed.understood.identified.received;
    let uri = match &routed.server.endpoint {
        Endpoint::Http(url) => url.as_str(),
        Endpoint::InProcess => "http://runlayer/mcp",
    };
    let mut request = Request::builder()
        .method(received.method.clone())
        .uri(uri)
        .body(scanned.body())
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
    // What is packed could not be read on its way back.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
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

/// As text where that is legal in a header, else as `=?base64?...?=`.
fn encode(text: &str) -> HeaderValue {
    let coded = || HeaderValue::try_from(format!("=?base64?{}?=", STANDARD.encode(text)));
    let plain = HeaderValue::from_str(text).ok().filter(|_| text.is_ascii());
    plain.or_else(|| coded().ok()).unwrap_or(HeaderValue::from_static(""))
}
