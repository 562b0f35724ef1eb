//! A conversation with a server in one era: questions, pages, answers as JSON or event streams. Works on raw
//! JSON, so that items keep every byte.

use std::collections::HashSet;

use bytes::Bytes;
use gateway_core::caller::Caller;
use gateway_core::credential::Credential;
use gateway_core::json::{Json, Kind};
use gateway_core::mcp::{
    Era, LEGACY_VERSIONS, Listing, MODERN_VERSION, NEWEST_LEGACY_VERSION, headers, meta,
};
use gateway_core::reason::Reason;
use gateway_core::server::Server;
use gateway_core::sse::{self, Splitter};
use gateway_governance::Unread;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;

use super::failure::LegError;
use super::leg::{Leg, LegBody};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const BOTH: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");
const CLIENT: &str =
    concat!(r#"{"name":"gateway","version":""#, env!("CARGO_PKG_VERSION"), r#""}"#);
/// JSON-RPC's "method not found": the server has no such listing.
const METHOD_NOT_FOUND: &str = "-32601";
const MAX_PAGES: usize = 1_000;

/// Why a question got no result.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// No usable answer.
    Failed(Reason, String),
    /// An HTTP status other than success.
    Status(StatusCode),
    /// It refuses what was presented.
    Refused(Box<(StatusCode, HeaderMap)>),
    /// A JSON-RPC error.
    Error { code: String, message: String },
}

impl From<LegError> for Unanswered {
    fn from(error: LegError) -> Unanswered {
        Unanswered::Failed(error.reason, error.detail)
    }
}

impl From<Unanswered> for Unread {
    fn from(unanswered: Unanswered) -> Unread {
        match unanswered {
            Unanswered::Failed(reason, detail) => (reason, detail).into(),
            Unanswered::Refused(refused) => {
                let detail = format!("it answered status {}", refused.0.as_u16());
                Unread { reason: Reason::UpstreamInvalid, detail, refused: Some(refused) }
            }
            Unanswered::Status(status) => {
                (Reason::UpstreamInvalid, format!("it answered status {}", status.as_u16())).into()
            }
            Unanswered::Error { code, message } => {
                (Reason::UpstreamInvalid, format!("it answered error {code}: {message}")).into()
            }
        }
    }
}

pub(super) fn invalid(detail: impl Into<String>) -> Unanswered {
    Unanswered::Failed(Reason::UpstreamInvalid, detail.into())
}

/// With whom, on whose account.
#[derive(Clone, Copy)]
pub(super) struct Party<'a> {
    pub(super) server: &'a Server,
    pub(super) credential: &'a Credential,
    pub(super) caller: Option<&'a Caller>,
}

/// A conversation with one server in one era.
pub(super) struct Talk<'a> {
    leg: &'a Leg,
    party: Party<'a>,
    era: Era,
    version: HeaderValue,
    session: Option<HeaderValue>,
    last_id: u64,
    /// Bytes of answers that may still be read.
    budget: usize,
}

impl<'a> Talk<'a> {
    pub(super) fn modern(leg: &'a Leg, party: Party<'a>) -> Talk<'a> {
        Talk {
            leg,
            party,
            era: Era::Modern,
            version: HeaderValue::from_static(MODERN_VERSION),
            session: None,
            last_id: 0,
            budget: leg.settings.listing_body,
        }
    }

    /// A modern conversation, if the server says that it speaks the modern version.
    pub(super) async fn discover(leg: &'a Leg, party: Party<'a>) -> Result<Talk<'a>, Unanswered> {
        let mut talk = Talk::modern(leg, party);
        let (_, answer) = talk.ask("server/discover", "").await?;
        let result = Json::checked_before(&answer);
        let speaks = result.get("supportedVersions").is_none_or(|versions| {
            versions.elements().any(|version| version.as_str().as_deref() == Some(MODERN_VERSION))
        });
        if result.kind() == Kind::Object && speaks {
            Ok(talk)
        } else {
            Err(invalid("server/discover does not name the modern version"))
        }
    }

    /// A legacy conversation: `initialize` and, where the server gives one out, a session.
    pub(super) async fn initialize(leg: &'a Leg, party: Party<'a>) -> Result<Talk<'a>, Unanswered> {
        let mut talk = Talk::modern(leg, party);
        talk.era = Era::Legacy;
        talk.version = HeaderValue::from_static(NEWEST_LEGACY_VERSION);
        let params = format!(
            r#""protocolVersion":"{NEWEST_LEGACY_VERSION}","capabilities":{{}},"clientInfo":{CLIENT}"#
        );
        let (head, answer) = talk.ask("initialize", &params).await?;
        talk.session = head.headers.get(headers::SESSION_ID).cloned();
        let version = Json::checked_before(&answer).get("protocolVersion");
        let version = version.and_then(|v| v.as_str());
        match LEGACY_VERSIONS.into_iter().find(|known| version.as_deref() == Some(known)) {
            Some(version) => talk.version = HeaderValue::from_static(version),
            None => {
                talk.close().await;
                return Err(invalid("initialize: not a legacy protocol version"));
            }
        }
        let initialized = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        match talk.post("notifications/initialized", initialized.to_owned()).await {
            Ok(answer) if answer.status().is_success() => Ok(talk),
            Ok(answer) => Err(Unanswered::Status(answer.status())),
            Err(error) => Err(error),
        }
    }

    /// All pages of a listing; nothing where the server has no such listing.
    pub(super) async fn list(&mut self, listing: Listing) -> Result<Vec<String>, Unanswered> {
        let mut items = Vec::new();
        let mut cursors = HashSet::new();
        let mut params = String::new();
        for _ in 0..MAX_PAGES {
            let page = match self.ask(listing.method(), &params).await {
                Ok((_, page)) => page,
                Err(Unanswered::Error { code, .. }) if code == METHOD_NOT_FOUND => {
                    return Ok(items);
                }
                Err(error) => return Err(error),
            };
            let page = Json::checked_before(&page);
            let member = listing.member();
            let found = page.get(member).filter(|found| found.kind() == Kind::Array);
            let found = found.ok_or_else(|| invalid(format!("\"{member}\": expected an array")))?;
            items.extend(found.elements().map(|item| item.raw().to_owned()));
            let cursor = page.get("nextCursor").filter(|cursor| cursor.kind() == Kind::String);
            let Some(cursor) = cursor else { return Ok(items) };
            if !cursors.insert(cursor.raw().to_owned()) {
                return Err(invalid("\"nextCursor\" comes back: the listing never ends"));
            }
            params = format!(r#""cursor":{}"#, cursor.raw());
        }
        Err(invalid(format!("more than {MAX_PAGES} pages")))
    }

    /// Ends a session; the server may not care.
    pub(super) async fn close(self) {
        if self.session.is_none() {
            return;
        }
        let request = self.request(Method::DELETE, None, String::new());
        let Party { server, credential, .. } = self.party;
        if let Err(error) = self.leg.send(None, server, credential, request).await {
            tracing::debug!(%error, server = %server.slug, "a session was not ended");
        }
    }

    /// Sends a request with these members of `params`; gives the answer's head and `result`.
    async fn ask(
        &mut self,
        method: &'static str,
        params: &str,
    ) -> Result<(http::response::Parts, String), Unanswered> {
        self.last_id += 1;
        let id = self.last_id.to_string();
        let params = match self.era {
            Era::Legacy => params.to_owned(),
            Era::Modern => {
                let (version, capabilities, info) =
                    (meta::PROTOCOL_VERSION, meta::CLIENT_CAPABILITIES, meta::CLIENT_INFO);
                let comma = if params.is_empty() { "" } else { "," };
                format!(
                    r#""_meta":{{"{version}":"{MODERN_VERSION}","{capabilities}":{{}},"{info}":{CLIENT}}}{comma}{params}"#
                )
            }
        };
        let body =
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{{params}}}}}"#);
        let answer = self.post(method, body).await?;
        let (head, body) = answer.into_parts();
        let message = self.read(&head, body, &id).await?;
        result_of(&message, &head).map(|result| (head, result))
    }

    async fn post(
        &self,
        method: &'static str,
        body: String,
    ) -> Result<Response<LegBody>, Unanswered> {
        let Party { server, credential, .. } = self.party;
        let request = self.request(Method::POST, Some(method), body);
        let answer = self.leg.send(None, server, credential, request).await?;
        if matches!(answer.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            let refused = (answer.status(), answer.headers().clone());
            return Err(Unanswered::Refused(Box::new(refused)));
        }
        Ok(answer)
    }

    fn request(&self, http: Method, method: Option<&'static str>, body: String) -> Request<Bytes> {
        let mut request = Request::new(Bytes::from(body));
        *request.method_mut() = http;
        let to = request.headers_mut();
        to.insert(CONTENT_TYPE, JSON);
        to.insert(ACCEPT, BOTH);
        to.insert(headers::PROTOCOL_VERSION, self.version.clone());
        if let (Era::Modern, Some(method)) = (self.era, method) {
            to.insert(headers::METHOD, HeaderValue::from_static(method));
        }
        if let Some(session) = &self.session {
            to.insert(headers::SESSION_ID, session.clone());
        }
        if let Some(caller) = self.party.caller {
            request.extensions_mut().insert(caller.clone());
        }
        request
    }

    /// The JSON text of the message that answers request `id`; empty where the body is not MCP.
    async fn read(
        &mut self,
        head: &http::response::Parts,
        mut body: LegBody,
        id: &str,
    ) -> Result<String, Unanswered> {
        let media = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media = media.and_then(|m| m.split(';').next()).unwrap_or_default().trim();
        let is_stream = media.eq_ignore_ascii_case("text/event-stream");
        if !is_stream && !media.eq_ignore_ascii_case("application/json") {
            if head.status.is_success() {
                return Err(invalid("it answered neither JSON nor an event stream"));
            }
            return Ok(String::new());
        }
        let mut splitter = Splitter::new(self.budget);
        let mut whole = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|e| {
                Unanswered::Failed(Reason::UpstreamUnreachable, format!("its answer: {e}"))
            })?;
            let Ok(data) = frame.into_data() else { continue };
            self.budget = self.budget.checked_sub(data.len()).ok_or_else(|| {
                invalid(format!("more than {} bytes", self.leg.settings.listing_body))
            })?;
            if !is_stream {
                whole.extend_from_slice(&data);
                continue;
            }
            splitter.push(&data);
            while let Some(event) = splitter.next_event().map_err(|e| invalid(e.to_string()))? {
                if let Some(message) = answer_in(&event, id) {
                    return Ok(message);
                }
            }
        }
        if is_stream {
            return Err(invalid("its event stream ended without an answer"));
        }
        String::from_utf8(whole).map_err(|_| invalid("its answer is not UTF-8"))
    }
}

/// The message in an event, if it answers request `id`; notifications and requests of the server pass by.
fn answer_in(event: &[u8], id: &str) -> Option<String> {
    let data = sse::data(std::str::from_utf8(event).ok()?)?;
    let message = Json::parse(data.as_bytes()).ok()?;
    let answers = message.get("method").is_none() && message.get("id")?.raw() == id;
    answers.then(|| message.raw().to_owned())
}

/// The `result` of an answer, which must be strict JSON.
fn result_of(message: &str, head: &http::response::Parts) -> Result<String, Unanswered> {
    if message.is_empty() {
        return Err(Unanswered::Status(head.status));
    }
    let answer = Json::parse(message.as_bytes());
    if !head.status.is_success() && answer.is_err() {
        return Err(Unanswered::Status(head.status));
    }
    let answer = answer.map_err(|e| invalid(format!("its answer: {e}")))?;
    if let Some(error) = answer.get("error") {
        let code = error.get("code").map(|code| code.raw().to_owned()).unwrap_or_default();
        let message = error.get("message").and_then(|m| m.as_str()).unwrap_or_default();
        return Err(Unanswered::Error { code, message: message.chars().take(200).collect() });
    }
    if !head.status.is_success() {
        return Err(Unanswered::Status(head.status));
    }
    let result = answer.get("result").ok_or_else(|| invalid("its answer has no \"result\""))?;
    Ok(result.raw().to_owned())
}
