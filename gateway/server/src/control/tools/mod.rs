//! The Runlayer MCP: an MCP server inside this process, reached through the same line as every other, so that
//! its calls are decided and recorded like theirs. rmcp speaks the protocol (both eras, no sessions); a tool
//! call becomes an operation in `call`. It decides nothing itself.

mod call;
mod cap;
mod shape;
pub mod table;
#[cfg(test)]
mod tests;

use std::sync::{Arc, LazyLock, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use gateway_core::caller::Caller;
use gateway_core::reason::Reason;
use gateway_governance::{Governance, Origin};
use http::header::{ACCEPT, CONTENT_TYPE, HOST, ORIGIN};
use http::{HeaderValue, Request};
use http_body_util::{BodyExt, Full};
use rmcp::handler::server::ServerHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, ErrorData, Implementation, JsonObject,
    ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
    ToolAnnotations,
};
use rmcp::service::{RequestContext, RoleServer};
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};

use super::arguments;
use crate::exchange::{BodyError, Reply};
use crate::upstream::Local;
use table::{Effect, Entry, TOOLS};

const INSTRUCTIONS: &str = "Ask the governance system itself: which servers and tools you may use, why a \
    call was refused (explain_access with the policy ids, get_audit_log with the correlation id), which calls \
    wait for an agreement. Lists come in pages: pass next_cursor as cursor. Tools that change something need \
    confirm=true, a JSON boolean; ask the person first.";

/// The Runlayer MCP as an upstream in this process.
pub fn local(governance: Arc<Governance>) -> Arc<dyn Local> {
    // Host and Origin were checked at the edge; what arrives here was built by the gateway itself.
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_sse_keep_alive(None)
        .disable_allowed_hosts()
        .disable_allowed_origins();
    let server = RunlayerMcp { governance };
    let service = StreamableHttpService::new(
        move || Ok(server.clone()),
        Arc::new(NeverSessionManager::default()),
        config,
    );
    Arc::new(InProcess { service })
}

struct InProcess {
    service: StreamableHttpService<RunlayerMcp, NeverSessionManager>,
}

#[async_trait]
impl Local for InProcess {
    async fn handle(&self, request: Request<Bytes>) -> Reply {
        let mut request = request.map(Full::new);
        let headers = request.headers_mut();
        headers.remove(ORIGIN);
        headers.insert(HOST, HeaderValue::from_static("runlayer.internal"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let both = HeaderValue::from_static("application/json, text/event-stream");
        headers.insert(ACCEPT, both);
        let why = Why::default();
        request.extensions_mut().insert(why.clone());
        // An answer is one JSON text: when it is there, the call is over.
        let reply = self.service.handle(request).await;
        let mut reply = reply.map(|body| body.map_err(BodyError::from).boxed_unsync());
        if let Some(reason) = why.0.get() {
            reply.extensions_mut().insert(*reason);
        }
        reply
    }
}

/// Where a call leaves the reason for which it was refused.
#[derive(Clone, Default)]
struct Why(Arc<OnceLock<Reason>>);

/// The MCP server.
#[derive(Clone)]
struct RunlayerMcp {
    governance: Arc<Governance>,
}

impl ServerHandler for RunlayerMcp {
    fn get_info(&self) -> ServerConfig {
        let mut info = ServerConfig::new(ServerCapabilities::builder().enable_tools().build());
        info.server_info = Implementation::new("runlayer", env!("CARGO_PKG_VERSION"));
        info.server_info.title = Some("Runlayer".into());
        info.instructions = Some(INSTRUCTIONS.into());
        info
    }

    async fn list_tools(
        &self,
        _page: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        // The same for everybody: policies filter the listing where all listings are filtered.
        Ok(ListToolsResult::with_all_items(DEFINITIONS.clone()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let Some(entry) = table::find(&request.name) else {
            return Err(ErrorData::invalid_params(format!("no tool \"{}\"", request.name), None));
        };
        let parts = context.extensions.get::<http::request::Parts>();
        let known = parts.and_then(|parts| {
            Some((parts.extensions.get::<Caller>()?, parts.extensions.get::<Origin>()?))
        });
        let Some((caller, origin)) = known else {
            return Err(ErrorData::internal_error("the call came without its caller", None));
        };
        let arguments = request.arguments.unwrap_or_default();
        let result = call::call(&self.governance, (caller, origin), entry, arguments).await;
        let why = parts.and_then(|parts| parts.extensions.get::<Why>());
        if let (Some(why), Some(reason)) = (why, call::refused_for(&result)) {
            // One request is one call.
            let _ = why.0.set(reason);
        }
        Ok(CallToolResponse::from(result))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        DEFINITIONS.iter().find(|tool| tool.name == name).cloned()
    }
}

/// The definitions, made once: they are the same for every caller and every call.
static DEFINITIONS: LazyLock<Vec<Tool>> = LazyLock::new(|| TOOLS.iter().map(definition).collect());

fn definition(entry: &Entry) -> Tool {
    let (input, output) = match arguments::of(entry.operation) {
        Some(of) => (shape::arguments(of.schema()), shape::answer(of.answer())),
        None => (JsonObject::new(), JsonObject::new()),
    };
    let reads = entry.effect == Effect::Reads;
    let annotations = ToolAnnotations::new()
        .read_only(reads)
        .destructive(!reads)
        .idempotent(true)
        .open_world(false);
    Tool::new(entry.operation, entry.description, Arc::new(input))
        .with_title(entry.title)
        .with_raw_output_schema(Arc::new(output))
        .with_annotations(annotations)
}
