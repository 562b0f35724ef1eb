//! What of the upstream's answer the client gets: listings trimmed to what the caller may use, everything
//! else byte for byte. Response headers are built from an allow-list too.

use std::sync::Arc;

use bytes::Bytes;
use gateway_core::caller::Caller;
use gateway_core::decision::{Circumstances, Target};
use gateway_core::mcp::headers::SESSION_ID;
use gateway_core::mcp::{Era, Listing, Method};
use gateway_core::reason::Reason;
use gateway_core::record::Outcome;
use gateway_core::server::Server;
use gateway_core::sniff::Sniffer;
use gateway_governance::tool_list::{DefinitionKind, Shown};
use gateway_governance::{Governance, Snapshot};
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::Proxy;
use super::forward::Replied;
use super::listing::Trim;
use super::receipt::Ended;
use super::refusal::Refusal;
use super::session::Session;
use super::stream::{self, Relay};
use super::task::{self, TaskIds};
use crate::exchange::{self, Body, Reply};

/// Headers of an upstream that a client may see.
const RETURNED: [HeaderName; 3] = [CONTENT_TYPE, RETRY_AFTER, ALLOW];

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
    pub(super) tasks: Arc<TaskIds>,
    /// The answer may name tasks, whose ids are sealed before the client sees them.
    pub(super) names_tasks: bool,
}

impl View {
    /// The message as the caller may see it; `None` when it stays as it is.
    pub(super) fn adapt(&self, text: &str) -> Result<Option<String>, String> {
        let trimmed = if self.is_trimmed() { self.trim(text)? } else { None };
        if !self.names_tasks {
            return Ok(trimmed);
        }
        let sealed = self.seal_tasks(trimmed.as_deref().unwrap_or(text));
        Ok(sealed.or(trimmed))
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
                guard.item(&now, server, kind(listing), (name, raw))
            }
            Some(_) | None => Shown::Cut,
        };
        let said = |name: &'static str, raw: &str| guard.said(&now, server, name, raw);
        let said: Option<&dyn Fn(&'static str, &str) -> Shown> =
            if self.introduces { Some(&said) } else { None };
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

fn kind(listing: Listing) -> DefinitionKind {
    match listing {
        Listing::Tools => DefinitionKind::Tool,
        Listing::Resources => DefinitionKind::Resource,
        Listing::ResourceTemplates => DefinitionKind::ResourceTemplate,
        Listing::Prompts => DefinitionKind::Prompt,
    }
}

/// Makes the client's answer out of the upstream's.
pub(super) async fn reply(replied: Replied, proxy: &Proxy) -> Result<Reply, Refusal> {
    let status = replied.response.status();
    if let Some((reason, detail)) = unusable(status) {
        return Err(Refusal::of_routed(replied.routed, reason, detail));
    }
    let headers = headers(&replied, proxy);
    let view = view(&replied, proxy);
    let essence = essence(replied.response.headers());
    let (parts, body) = replied.response.into_parts();
    let mut out = Response::new(());
    *out.status_mut() = parts.status;
    *out.headers_mut() = headers;
    if essence == "text/event-stream" {
        let relay = Relay::events(replied.routed, body, view, proxy);
        return Ok(out.map(|()| stream::boxed(relay)));
    }
    let adapts = view.is_trimmed() || view.names_tasks;
    if !(parts.status.is_success() && adapts) {
        let relay = Relay::whole(replied.routed, body, view, proxy);
        return Ok(out.map(|()| stream::boxed(relay)));
    }
    match whole(body, proxy).await.and_then(|bytes| adapted(&view, bytes)) {
        Ok(bytes) => {
            let mut sniffer = Sniffer::default();
            sniffer.feed(&bytes);
            let ok = sniffer.ending().is_ok();
            let outcome = if ok { Outcome::Ok } else { Outcome::Error };
            let keeps = view.names_tasks && bytes.len() <= proxy.settings.payload_limit;
            let ended = Ended {
                response_bytes: bytes.len() as u64,
                result: keeps.then(|| bytes.clone()),
                ..Ended::without_body(outcome, None, String::new())
            };
            replied.routed.understood.identified.received.receipt.conclude(ended);
            Ok(out.map(|()| exchange::full(bytes)))
        }
        Err(detail) => Err(Refusal::of_routed(replied.routed, Reason::UpstreamInvalid, detail)),
    }
}

/// Statuses that are about us, not about the client: a 401 of the upstream would make the client throw its
/// own good credential away.
fn unusable(status: StatusCode) -> Option<(Reason, String)> {
    let refused = matches!(status.as_u16(), 401 | 403 | 407);
    if refused {
        let detail = format!("status {status}: it refuses the gateway's credential");
        return Some((Reason::UpstreamInvalid, detail));
    }
    let odd = status.is_redirection() || status.is_informational() || status.is_server_error();
    odd.then(|| (Reason::UpstreamInvalid, format!("status {status}")))
}

fn essence(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn headers(replied: &Replied, proxy: &Proxy) -> HeaderMap {
    let theirs = replied.response.headers();
    let mut headers = HeaderMap::with_capacity(4);
    for name in RETURNED {
        if let Some(value) = theirs.get(&name) {
            headers.insert(name, value.clone());
        }
    }
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
        tasks: proxy.tasks.clone(),
        names_tasks: method == Some(Method::Task)
            || (method == Some(Method::CallTool) && task::may_start(routed.understood.params())),
    }
}

async fn whole(body: Body, proxy: &Proxy) -> Result<Bytes, String> {
    let limit = proxy.settings.listing_limit;
    let collected = Limited::new(body, limit).collect();
    let collected = tokio::time::timeout(proxy.settings.total, collected).await;
    match collected {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(format!("the listing is longer than {limit} bytes"))
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the listing did not arrive in time".into()),
    }
}

fn adapted(view: &View, bytes: Bytes) -> Result<Bytes, String> {
    let text = std::str::from_utf8(&bytes).map_err(|e| e.to_string())?;
    Ok(match view.adapt(text)? {
        Some(adapted) => Bytes::from(adapted),
        None => bytes,
    })
}
