//! What of the upstream's answer the client gets: all of it read before the first byte goes out (or event by event,
//! in `stream`), listings trimmed to what the caller may use, everything else byte for byte but for what scanners mask.
//! An answer that cannot be read in one way only (packed, in other characters than UTF-8, no strict JSON) is refused,
//! never passed unread. Response headers are built from an allow-list too.

use std::sync::Arc;

use gateway_core::caller::Caller;
use gateway_core::decision::{Circumstances, Target};
use gateway_core::json::{Json, JsonError, write_string};
use gateway_core::mcp::headers::SESSION_ID;
use gateway_core::mcp::{Era, Listing, Method};
use gateway_core::reason::Reason;
use gateway_core::scan::{Guard, external};
use gateway_core::server::Server;
use gateway_governance::tool_list::{Shown, Silence};
use gateway_governance::{Governance, Snapshot};
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, HeaderValue, Response};

use super::forward::Replied;
use super::listing::{INTRODUCTION, Said, Trim, definitions};
use super::outside::{Inquiry, Outside, Told};
use super::refusal::Refusal;
use super::returned;
use super::screen::{Screen, Seen, around};
use super::session::{Ender, Session};
use super::stream::{self, Relay};
use super::task::{self, TaskIds};
use super::whole::Answer;
use super::{Proxy, fail};
use crate::exchange::{Body, Reply};

/// Every kind of listing.
pub(super) const LISTINGS: [Listing; 4] =
    [Listing::Tools, Listing::Resources, Listing::ResourceTemplates, Listing::Prompts];

/// Texts of listings and introductions that are no server's prose.
const USUAL: [&str; 6] = [
    "/jsonrpc",
    "/id",
    "/result/resultType",
    "/result/cacheScope",
    "/result/nextCursor",
    "/result/protocolVersion",
];

/// Why nothing passes any more in a session that a block has ended.
pub(super) const SESSION_ENDED: &str = "the session was ended";

/// Decides what of a listing one caller sees.
#[derive(Clone)]
pub(super) struct View {
    pub(super) governance: Arc<Governance>,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) server: Arc<Server>,
    pub(super) caller: Caller,
    pub(super) circumstances: Circumstances,
    pub(super) era: Era,
    /// `None`: the message is not a listing.
    pub(super) listing: Option<Listing>,
    /// The answer is made for this caller only.
    pub(super) private: bool,
    /// The answer says what the server is: instructions and the like.
    pub(super) introduces: bool,
    /// Its status says that the request failed.
    pub(super) failed: bool,
    pub(super) tasks: Arc<TaskIds>,
    /// The answer may name tasks, whose ids are sealed before the client sees them.
    pub(super) names_tasks: bool,
    /// Reads what the server sends.
    pub(super) screen: Screen,
    /// Asks the organisation's own scanner about it.
    pub(super) outside: Outside,
    /// Ends the legacy session that the request came in.
    pub(super) session: Option<Ender>,
}

impl View {
    /// True when the gateway may have to change the answer.
    fn adapts(&self) -> bool {
        self.is_trimmed() || self.names_tasks
    }

    /// Whether the session that the request came in was ended meanwhile.
    pub(super) fn is_over(&self, snapshot: &Snapshot) -> bool {
        self.session.as_ref().is_some_and(|session| snapshot.is_ended(&session.hash))
    }

    /// Reads a body. An error: it has no one reading.
    pub(super) fn read(&self, essence: &str, body: &[u8], told: Told) -> Result<Seen, String> {
        let text = std::str::from_utf8(body).map_err(|e| e.to_string())?;
        if self.screen.is_off() {
            return Ok(self.with_definitions(self.screen.message(text), told.silence));
        }
        match Json::parse(body) {
            Ok(_) => Ok(self.message(text, told)),
            Err(_) if text.trim().is_empty() => Ok(self.screen.text("", "")),
            Err(error) if essence.ends_with("json") => Err(not_strict(&error)),
            Err(_) => Ok(self.screen.text_told(text, "", told)),
        }
    }

    /// Reads a JSON text that was checked before. What the guard of definitions reads when it trims the message is left
    /// to it.
    pub(super) fn message(&self, text: &str, told: Told) -> Seen {
        let silence = told.silence;
        let seen = match &*self.defining() {
            [] => self.screen.message_told(text, told),
            members => self.screen.message_around(text, members, told),
        };
        self.with_definitions(seen, silence)
    }

    /// The members of the result that hold definitions.
    fn defining(&self) -> Vec<&'static str> {
        match self.listing {
            Some(listing) => vec![listing.member()],
            None if self.introduces => INTRODUCTION.to_vec(),
            None => Vec::new(),
        }
    }

    /// What was seen in a message, when the organisation's own scanner gave no answer about a definition in it.
    pub(super) fn with_definitions(&self, seen: Seen, silence: Option<Silence>) -> Seen {
        match silence {
            Some(silence) => seen.and(self.screen.unheard(silence)),
            None => seen,
        }
    }

    /// What it is to be asked about a message; `None`: nothing. `text` was checked before. `anything`: it may be
    /// the answer to anything.
    pub(super) fn inquiry(&self, text: &str, anything: bool) -> Option<Inquiry> {
        if !self.screen.has_outside() {
            return None;
        }
        let members = self.defining();
        let rest = around(text, &members).0;
        let asks = self.screen.asks_outside(&rest) && (members.is_empty() || says_more(&rest));
        let listings: &[Listing] = if anything { &LISTINGS } else { self.listing.as_slice() };
        let found = definitions(text, listings, self.introduces || anything);
        let now = self.governance.snapshot();
        let server = now.server_by_id(self.server.id).unwrap_or(&self.server);
        let items = found.iter().map(|(kind, raw)| (*kind, raw.as_str()));
        let definitions = self.governance.tool_list().unheard(&now, server, items);
        let message = asks.then(|| rest.into_owned());
        let asked = message.is_some() || definitions.is_some();
        asked.then_some(Inquiry { message, definitions })
    }

    /// What it says of a body, whatever that is.
    pub(super) async fn ask_outside(&self, body: &[u8]) -> Told {
        let Ok(text) = std::str::from_utf8(body) else { return Told::default() };
        if !self.screen.has_outside() || text.trim().is_empty() {
            return Told::default();
        }
        if Json::parse(body).is_ok() {
            return match self.inquiry(text, false) {
                Some(inquiry) => self.outside.inquire(inquiry).await,
                None => Told::default(),
            };
        }
        if !self.screen.asks_outside(text) {
            return Told::default();
        }
        let mut quoted = String::with_capacity(text.len() + 2);
        write_string(text, &mut quoted);
        self.outside.ask(&quoted).await
    }

    /// The message as the caller may see it; `None` when it stays as it is.
    pub(super) fn adapt(&self, text: &str) -> Result<Option<String>, String> {
        let trimmed = match self.trim_whole(text) {
            // What says that it failed may say it in any form; what a client could read as a listing is none then.
            Err(_) if self.failed && Json::parse(text.as_bytes()).is_err() => None,
            trimmed => trimmed?,
        };
        if !self.names_tasks {
            return Ok(trimmed);
        }
        let sealed = self.seal_tasks(trimmed.as_deref().unwrap_or(text));
        Ok(sealed.or(trimmed))
    }

    fn trim_whole(&self, text: &str) -> Result<Option<String>, String> {
        if self.is_trimmed() { self.trim(text) } else { Ok(None) }
    }

    /// True where an answer may have to be trimmed.
    fn is_trimmed(&self) -> bool {
        self.listing.is_some() || self.private || self.introduces
    }

    /// The message with its task ids sealed; `None` when it names none.
    pub(super) fn seal_tasks(&self, text: &str) -> Option<String> {
        self.tasks.seal_in(self.server.id, &self.caller, text)
    }

    /// The message with everything that the caller may not use or see cut out; `None` when it stays as it is.
    pub(super) fn trim(&self, text: &str) -> Result<Option<String>, String> {
        // As old as the exchange, while an approval or a change counts at once.
        let now = self.governance.snapshot();
        let server = now.server_by_id(self.server.id).unwrap_or(&self.server);
        let guard = self.governance.tool_list();
        let keep = |name: &str, raw: &str| match self.listing {
            Some(listing) if self.is_listed(listing, name) => {
                guard.item(&now, server, listing.into(), (name, raw))
            }
            Some(_) | None => Shown::Cut,
        };
        let said = |name: &'static str, raw: &str| guard.said(&now, server, name, raw);
        let said: Option<Said<'_>> = if self.introduces { Some(&said) } else { None };
        let trim = Trim { listing: self.listing, private: self.private, keep: &keep, said };
        trim.apply(text).map_err(|e| e.to_string())
    }

    /// Whether policies let the caller see the item of that name.
    fn is_listed(&self, listing: Listing, name: &str) -> bool {
        let target = match listing {
            Listing::Tools => Target::Tool(name),
            Listing::Resources | Listing::ResourceTemplates => Target::Resource(name),
            Listing::Prompts => Target::Prompt(name),
        };
        let (snapshot, circumstances) = (&self.snapshot, &self.circumstances);
        if listing == Listing::Tools && self.server.tool(name).is_none() {
            self.governance.suspect(self.server.id, &self.caller);
        }
        self.governance.listed(snapshot, &self.caller, &self.server, target, circumstances)
    }
}

/// Whether what is left of a message without its definitions says anything but what every listing and every introduction
/// says.
fn says_more(rest: &str) -> bool {
    external::texts(rest).iter().any(|text| !USUAL.contains(&text.path.as_str()))
}

/// Makes the client's answer out of the upstream's.
pub(super) async fn reply(replied: Replied, proxy: &Proxy) -> Result<Reply, Refusal> {
    fail::point("filter");
    let view = view(&replied, proxy);
    if let Some((reason, detail)) = unusable(&replied.response, &view) {
        return Err(Refusal::of_routed(replied.routed, reason, detail));
    }
    let headers = headers(&replied, proxy);
    let essence = returned::essence(replied.response.headers());
    let Replied { routed, response } = replied;
    let (parts, body) = response.into_parts();
    let mut out = Response::new(());
    *out.status_mut() = parts.status;
    *out.headers_mut() = headers;
    if essence == "text/event-stream" {
        let relay = Relay::events(routed, body, view, proxy);
        return Ok(out.map(|()| stream::boxed(relay)));
    }
    let adapts = view.adapts();
    if let Some(waiver) = view.screen.waiver().filter(|_| !adapts) {
        let relay = Relay::whole(routed, body, view, waiver, proxy);
        return Ok(out.map(|()| stream::boxed(relay)));
    }
    let body = Answer { routed, body, view, adapts, essence }.read(proxy).await?;
    Ok(out.map(|()| body))
}

/// Why a body has no one reading.
pub(super) fn not_strict(error: &JsonError) -> String {
    format!("not strict JSON: {error}")
}

/// What cannot be passed on: answers about us, and answers that cannot be read.
fn unusable(response: &Response<Body>, view: &View) -> Option<(Reason, String)> {
    let (status, headers) = (response.status(), response.headers());
    // A 401 of the upstream would make the client throw its own good credential away.
    let refused = matches!(status.as_u16(), 401 | 403 | 407);
    let odd = status.is_redirection() || status.is_informational() || status.is_server_error();
    let detail = if refused {
        format!("status {status}: it refuses the gateway's credential")
    } else if odd {
        format!("status {status}")
    } else if let Some(coding) = headers.get_all(CONTENT_ENCODING).iter().find(|c| is_packed(c)) {
        format!("content-encoding {coding:?}: expected identity, as was asked for")
    } else if !view.screen.is_off() && !returned::is_utf8(headers) {
        "content-type: expected UTF-8".into()
    } else {
        return None;
    };
    Some((Reason::UpstreamInvalid, detail))
}

fn is_packed(coding: &HeaderValue) -> bool {
    !(coding.is_empty() || coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

fn headers(replied: &Replied, proxy: &Proxy) -> HeaderMap {
    let now = proxy.governance.clock().now().into();
    let mut headers = returned::headers(replied.response.headers(), now);
    headers.insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let starts = replied
        .routed
        .understood
        .call()
        .is_some_and(|call| call.method == Some(Method::Initialize));
    if starts && replied.response.status().is_success() {
        headers.extend(session(replied, proxy).map(|handle| (SESSION_ID, handle)));
    }
    headers
}

/// Our own handle for the session that has just begun, also where the upstream keeps none: it remembers
/// what the client can do.
fn session(replied: &Replied, proxy: &Proxy) -> Option<HeaderValue> {
    let upstream = replied.response.headers().get(SESSION_ID).and_then(|v| v.to_str().ok());
    let expires = proxy.governance.clock().now() + proxy.settings.session_expires;
    let session = Session::new(upstream.map(str::to_owned), &replied.routed.client, expires);
    let mut nonce = [0; 12];
    proxy.governance.random().fill(&mut nonce);
    let caller = &replied.routed.understood.identified.caller;
    let handle = session.seal(&proxy.sessions, nonce, replied.routed.server.id, caller);
    HeaderValue::try_from(handle).ok()
}

fn view(replied: &Replied, proxy: &Proxy) -> View {
    let routed = &replied.routed;
    let method = routed.understood.call().and_then(|call| call.method);
    let era = routed.understood.era();
    let listing = if let Some(Method::List(listing)) = method { Some(listing) } else { None };
    View {
        governance: proxy.governance.clone(),
        snapshot: routed.snapshot.clone(),
        server: routed.server.clone(),
        caller: routed.understood.identified.caller.clone(),
        circumstances: routed.circumstances.clone(),
        era,
        listing,
        private: era == Era::Modern && (listing.is_some() || method == Some(Method::Discover)),
        introduces: matches!(method, Some(Method::Initialize | Method::Discover)),
        failed: !replied.response.status().is_success(),
        tasks: proxy.tasks.clone(),
        names_tasks: method == Some(Method::Task)
            || (method == Some(Method::CallTool) && task::may_start(routed.understood.params())),
        screen: Screen::of(routed, Guard::ToolCall, proxy),
        outside: Outside::of(routed, Guard::ToolCall, proxy),
        session: routed.session.as_ref().map(|session| session.ender(proxy)),
    }
}
