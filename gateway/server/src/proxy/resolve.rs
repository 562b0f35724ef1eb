//! Which server, in which state, in which session. A server on which the caller may do nothing looks like
//! no server; a tool that is not in the catalogue is looked up once before it is said not to exist.

use std::sync::Arc;

use gateway_core::decision::Circumstances;
use gateway_core::json::Json;
use gateway_core::mcp::headers::{self, SESSION_ID};
use gateway_core::mcp::{Client, Era, MessageKind, Method};
use gateway_core::reason::Reason;
use gateway_core::server::{Server, ServerStatus};
use gateway_governance::Snapshot;

use super::parse::{Ask, Understood};
use super::refusal::Refusal;
use super::session::Session;
use super::{Proxy, connect, fail};
use crate::upstream::Entry;

/// A request whose server is known and up.
pub(super) struct Routed {
    pub(super) understood: Understood,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) server: Arc<Server>,
    /// The legacy session that it belongs to.
    pub(super) session: Option<Session>,
    pub(super) client: Client,
    pub(super) circumstances: Circumstances,
    /// What lets it go to the server; `limit` puts it there.
    pub(super) entry: Option<Entry>,
}

/// Finds the server and opens the session.
pub(super) async fn route(mut understood: Understood, proxy: &Proxy) -> Result<Routed, Refusal> {
    fail::point("resolve");
    if !proxy.governance.is_fresh() {
        let detail = "the catalogue could not be refreshed in time".into();
        return Err(Refusal::of(understood, Reason::CatalogueStale, detail));
    }
    let snapshot = proxy.governance.snapshot();
    let Some(server) = snapshot.server(&understood.identified.received.server).cloned() else {
        return Err(Refusal::of(understood, Reason::ServerNotFound, String::new()));
    };
    let enters = proxy.governance.may_enter(&snapshot, &understood.identified.caller, &server);
    let subject = &mut understood.identified.received.receipt.subject;
    subject.server_id = Some(server.id);
    if enters {
        // Else it stays as it was asked for: an id is not turned into a name.
        subject.server_slug = Some(server.slug.to_string());
    }
    let session = match open_session(&understood, (&snapshot, &server), proxy) {
        Ok(session) => session,
        // Nor does a session tell whether there is a server.
        Err(_) if !enters => None,
        Err((reason, detail)) => return Err(Refusal::of(understood, reason, detail)),
    };
    let routed = describe(understood, session, (snapshot, server), proxy);
    if !enters {
        let detail = "no policy allows anything on it, or nobody delegated it".into();
        return Err(Refusal::of_routed(routed, Reason::ServerNotFound, detail));
    }
    if routed.server.status != ServerStatus::Active {
        let detail = format!("status {}", routed.server.status.as_str());
        return Err(Refusal::of_routed(routed, Reason::ServerDisabled, detail));
    }
    learned(routed, proxy).await
}

/// The session that the request names, if it names one.
fn open_session(
    understood: &Understood,
    (snapshot, server): (&Snapshot, &Server),
    proxy: &Proxy,
) -> Result<Option<Session>, (Reason, String)> {
    let headers = &understood.identified.received.headers;
    let mut values = headers.get_all(SESSION_ID).iter();
    let Some(handle) = values.next() else { return Ok(None) };
    let starts = understood.call().is_some_and(|call| call.method == Some(Method::Initialize));
    if understood.era() == Era::Modern || starts {
        // Modern requests have no sessions, and one that begins has none yet.
        return Ok(None);
    }
    if values.next().is_some() {
        return Err((Reason::HeaderMismatch, format!("{SESSION_ID}: sent twice, expected once")));
    }
    let now = proxy.governance.clock().now();
    let caller = &understood.identified.caller;
    let handle = handle.to_str().unwrap_or_default();
    let session = Session::open(&proxy.sessions, handle, server.id, caller, now)
        .map_err(|error| (Reason::SessionUnknown, error.to_string()))?;
    if snapshot.is_ended(&session.hash) {
        return Err((Reason::SessionUnknown, "the session was ended".into()));
    }
    Ok(Some(session))
}

/// Completes the picture: what the client is, how the call reached us.
fn describe(
    mut understood: Understood,
    session: Option<Session>,
    (snapshot, server): (Arc<Snapshot>, Arc<Server>),
    proxy: &Proxy,
) -> Routed {
    let told = understood.call().map(|call| call.client.clone()).unwrap_or_default();
    let client = session.as_ref().map_or(told, Session::client);
    let received = &mut understood.identified.received;
    let subject = &mut received.receipt.subject;
    subject.client_name.clone_from(&client.name);
    subject.client_version.clone_from(&client.version);
    subject.session = session.as_ref().map(Session::short_name);
    let circumstances = Circumstances {
        client: client.name.clone().unwrap_or_default(),
        ip: received.peer,
        now: proxy.governance.clock().now(),
    };
    Routed { understood, snapshot, server, session, client, circumstances, entry: None }
}

/// Makes sure that what is to be decided is known: the server's eras, the tool's definition.
async fn learned(mut routed: Routed, proxy: &Proxy) -> Result<Routed, Refusal> {
    let tool = routed
        .understood
        .call()
        .filter(|call| call.method == Some(Method::CallTool))
        .and_then(|call| call.target.clone());
    let unknown = tool.as_deref().is_some_and(|name| routed.server.tool(name).is_none());
    if routed.server.eras.is_none() || unknown {
        let caller = &routed.understood.identified.caller;
        let learning = proxy.governance.learn(&routed.server, tool.as_deref(), caller);
        routed.snapshot = match Box::pin(learning).await {
            Ok(snapshot) => snapshot,
            Err(unconnected) => return Err(connect::refuse(routed, unconnected)),
        };
        if let Some(server) = routed.snapshot.server(&routed.server.id.to_string()) {
            routed.server = server.clone();
        }
    } else {
        let caller = &routed.understood.identified.caller;
        proxy.governance.keep_learned(&routed.server, caller);
    }
    let modern = routed.understood.era() == Era::Modern && is_request(&routed.understood.ask);
    if modern && routed.server.eras.is_some_and(|eras| !eras.modern) {
        let version = routed.understood.call().and_then(|call| call.version.clone());
        let detail = format!("legacy server, asked for \"{}\"", version.unwrap_or_default());
        return Err(Refusal::of_routed(routed, Reason::UnsupportedProtocolVersion, detail));
    }
    let Some(tool) = tool else { return Ok(routed) };
    if routed.server.eras.is_none() {
        let detail = "its tools could not be read".into();
        return Err(Refusal::of_routed(routed, Reason::UpstreamUnreachable, detail));
    }
    let Some(definition) = routed.server.tool(&tool).map(|tool| tool.definition.clone()) else {
        let detail = "not among the server's tools".into();
        return Err(Refusal::of_routed(routed, Reason::TargetNotFound, detail));
    };
    params_match(routed, &definition)
}

fn is_request(ask: &Ask) -> bool {
    matches!(ask, Ask::Message(call) if call.kind == MessageKind::Request)
}

/// `Mcp-Param-*` of a modern tool call.
fn params_match(routed: Routed, definition: &str) -> Result<Routed, Refusal> {
    if routed.understood.era() == Era::Legacy {
        return Ok(routed);
    }
    let definition = Json::checked_before(definition);
    let arguments = routed.understood.arguments();
    let headers = &routed.understood.identified.received.headers;
    match headers::compare_params(headers, arguments, Some(definition)) {
        Ok(()) => Ok(routed),
        Err(mismatch) => Err(Refusal::of_routed(routed, Reason::HeaderMismatch, mismatch.0)),
    }
}
