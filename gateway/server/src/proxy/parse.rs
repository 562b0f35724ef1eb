//! What is asked: one JSON-RPC message, or a legacy stream to be opened or session to be ended. Headers of
//! a modern request must say what its body says.

use gateway_core::json::Json;
use gateway_core::mcp::headers::{self, PROTOCOL_VERSION};
use gateway_core::mcp::{
    Call, Era, LEGACY_VERSIONS, MODERN_VERSION, MessageKind, Method as McpMethod, understand,
};
use gateway_core::reason::Reason;
use http::Method;

use super::identify::Identified;
use super::refusal::Refusal;
use super::{Proxy, fail};
use crate::telemetry::TraceParent;

/// A request whose meaning is known.
pub(super) struct Understood {
    pub(super) identified: Identified,
    pub(super) ask: Ask,
}

/// What a request asks for.
pub(super) enum Ask {
    /// POST: one message.
    Message(Box<Call>),
    /// GET: a legacy stream of server messages.
    OpenStream,
    /// DELETE: the end of a legacy session.
    EndSession,
}

impl Understood {
    /// The message, unless a stream is opened or a session ended.
    pub(super) fn call(&self) -> Option<&Call> {
        match &self.ask {
            Ask::Message(call) => Some(call),
            Ask::OpenStream | Ask::EndSession => None,
        }
    }

    /// The era that the request speaks.
    pub(super) fn era(&self) -> Era {
        self.call().map_or(Era::Legacy, |call| call.era)
    }

    /// The body as text; it was checked to be UTF-8.
    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.identified.received.body).unwrap_or_default()
    }

    /// The arguments of the call, as they stand in the body.
    pub(super) fn arguments(&self) -> Option<Json<'_>> {
        let span = self.call()?.arguments.clone()?;
        self.text().get(span).map(Json::checked_before)
    }

    /// `params`, as they stand in the body.
    pub(super) fn params(&self) -> Option<Json<'_>> {
        let span = self.call()?.params.clone()?;
        self.text().get(span).map(Json::checked_before)
    }
}

/// Reads the request.
pub(super) fn message(mut identified: Identified, proxy: &Proxy) -> Result<Understood, Refusal> {
    fail::point("parse");
    let received = &mut identified.received;
    let version = match version_header(&received.headers) {
        Ok(version) => version,
        Err(detail) => {
            return Err(Refusal::new(identified.received.receipt, Reason::HeaderMismatch, detail));
        }
    };
    if received.method != Method::POST {
        return without_body(identified, version.as_deref());
    }
    let call = match understand(&received.body, version.as_deref()) {
        Ok(call) => call,
        Err(flaw) => {
            let refusal = Refusal::new(identified.received.receipt, flaw.reason, flaw.detail);
            return Err(refusal.echo(flaw.id, flaw.era));
        }
    };
    received.receipt.understood(&call);
    // From here on whatever becomes of the call, its record says what it was to do. Who calls is known.
    let kept = |span: &std::ops::Range<usize>| span.len() <= proxy.settings.payload_limit;
    let arguments = call.arguments.clone().filter(kept);
    received.receipt.arguments = arguments.map(|span| received.body.slice(span));
    let params = call.params.clone().and_then(|span| received.body.get(span));
    let params = params.and_then(|text| std::str::from_utf8(text).ok()).map(Json::checked_before);
    let parent = params.and_then(|p| p.at(&["_meta", "traceparent"])).and_then(|t| t.as_str());
    let trace = || TraceParent::parse(parent.as_deref()?).map(|parent| parent.trace_id());
    let subject = &mut received.receipt.subject;
    subject.trace_id = subject.trace_id.take().or_else(trace);
    if let Err((reason, detail)) = versions(&call, &received.headers, version.as_deref()) {
        let refusal = Refusal::new(identified.received.receipt, reason, detail);
        return Err(refusal.answering(&call));
    }
    Ok(Understood { identified, ask: Ask::Message(Box::new(call)) })
}

fn version_header(headers: &http::HeaderMap) -> Result<Option<String>, String> {
    let mut values = headers.get_all(PROTOCOL_VERSION).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(format!("{PROTOCOL_VERSION}: sent twice, expected once"));
    }
    let text = first.map(|v| v.to_str().map(str::to_owned)).transpose();
    text.map_err(|_| format!("{PROTOCOL_VERSION}: expected visible ASCII"))
}

/// GET and DELETE belong to the legacy era.
fn without_body(mut identified: Identified, version: Option<&str>) -> Result<Understood, Refusal> {
    let received = &mut identified.received;
    received.receipt.subject.method = Some(received.method.to_string());
    received.receipt.subject.era = Some(Era::Legacy.as_str());
    if version == Some(MODERN_VERSION) {
        let detail = format!("{}: not in {MODERN_VERSION}, expected POST", received.method);
        return Err(Refusal::new(
            identified.received.receipt,
            Reason::HttpMethodNotAllowed,
            detail,
        ));
    }
    let ask = if received.method == Method::GET {
        Ask::OpenStream
    } else {
        received.receipt.ends_session();
        Ask::EndSession
    };
    Ok(Understood { identified, ask })
}

/// The version rules of both eras.
fn versions(
    call: &Call,
    headers: &http::HeaderMap,
    header: Option<&str>,
) -> Result<(), (Reason, String)> {
    match call.era {
        Era::Modern => {
            if call.kind == MessageKind::Request {
                headers::compare(headers, call)
                    .map_err(|mismatch| (Reason::HeaderMismatch, mismatch.0))?;
            }
            match call.version.as_deref() {
                Some(version) if version != MODERN_VERSION => {
                    Err((Reason::UnsupportedProtocolVersion, format!("version \"{version}\"")))
                }
                _ => Ok(()),
            }
        }
        // `initialize` negotiates in its body; whatever its header says is not held against it.
        Era::Legacy if call.method == Some(McpMethod::Initialize) => Ok(()),
        Era::Legacy => match header {
            Some(version) if !LEGACY_VERSIONS.contains(&version) && version != MODERN_VERSION => {
                let expected = LEGACY_VERSIONS.join(", ");
                let detail =
                    format!("{PROTOCOL_VERSION}: \"{version}\", expected one of {expected}");
                Err((Reason::UnsupportedProtocolVersion, detail))
            }
            _ => Ok(()),
        },
    }
}
