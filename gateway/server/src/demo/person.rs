//! A person at a real MCP client (rmcp's): connects through the gateway with the person's key, or by sign-in
//! ([`super::browser`] plays the browser), and answers elicitations as the person would.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use rmcp::ClientHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResult, ClientCapabilities, ClientConfig, ElicitRequestParams,
    ElicitResult, ElicitationAction, ErrorData, Implementation, JsonObject, ProtocolVersion,
};
use rmcp::service::{
    ClientLifecycleMode, ClientServiceExt, RequestContext, RoleClient, RunningService, ServiceError,
};
use rmcp::transport::auth::{AuthClient, AuthorizationRequest, OAuthState};
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::transport::{StreamableHttpClientTransport, Transport};
use serde_json::{Value, json};

use super::browser::{Browser, REDIRECT};

/// How the client speaks.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mode {
    /// `initialize` and a session.
    Legacy,
    /// 2026-07-28.
    Modern,
}

/// What the person saw of an elicitation, and what they answer.
#[derive(Clone, Default)]
pub(super) struct Desk {
    agrees: Arc<AtomicBool>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Desk {
    /// From now on the person agrees, or declines.
    pub(super) fn agree(&self, agrees: bool) {
        self.agrees.store(agrees, Ordering::Relaxed);
    }

    /// The questions since the last look.
    pub(super) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientHandler for Desk {
    fn get_info(&self) -> ClientConfig {
        let capabilities = ClientCapabilities::builder().enable_elicitation().build();
        ClientConfig::new(capabilities, Implementation::new("demo-client", "1.0.0"))
            .with_protocol_version(ProtocolVersion::V_2025_11_25)
    }

    async fn create_elicitation(
        &self,
        request: ElicitRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        // Forms and links alike are shown to the person.
        let shown = json!(request);
        let message = shown["message"].as_str().unwrap_or_default().to_owned();
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(message);
        if !self.agrees.load(Ordering::Relaxed) {
            return Ok(ElicitResult::new(ElicitationAction::Decline));
        }
        Ok(ElicitResult::new(ElicitationAction::Accept).with_content(filled_in(&shown)))
    }
}

/// Fills a form in as a person does who agrees: yes to every question that can be answered with yes.
fn filled_in(shown: &Value) -> Value {
    let fields = shown["requestedSchema"]["properties"].as_object();
    let answers = fields.into_iter().flatten().filter_map(|(name, field)| {
        let answer = match field["type"].as_str()? {
            "boolean" => json!(true),
            _ => field.get("default").or_else(|| field["enum"].get(0))?.clone(),
        };
        Some((name.clone(), answer))
    });
    Value::Object(answers.collect())
}

/// One client's connection to one server.
pub(super) struct Person {
    pub(super) desk: Desk,
    service: RunningService<RoleClient, Desk>,
}

/// What came of a call.
pub(super) enum Saw {
    /// A result: its text and structured content.
    Result(String, Value),
    /// An `isError` result: its text, and what machines may read in `_meta`.
    ToolError(String, Value),
    /// A protocol error: its message and data.
    Error(String, Value),
}

impl Person {
    /// Connects with a key or a token.
    pub(super) async fn connect(url: &str, bearer: &str, mode: Mode) -> anyhow::Result<Person> {
        let config = StreamableHttpClientTransportConfig::with_uri(url).auth_header(bearer);
        Person::over(url, StreamableHttpClientTransport::from_config(config), mode).await
    }

    /// Connects with nothing but the URL: the client finds the authorization server, registers itself and sends
    /// its person to the browser. Gives the client id that it got, too.
    pub(super) async fn sign_in(
        url: &str,
        mut browser: Browser<'_>,
        mode: Mode,
    ) -> anyhow::Result<(Person, String)> {
        let mut state = OAuthState::new(url, None).await?;
        let request = AuthorizationRequest::new(REDIRECT).with_client_name("demo-client");
        state.start_authorization(request).await.context("discovery and registration")?;
        let back = browser.approve(&state.get_authorization_url().await?).await?;
        state.handle_callback_url(back.as_str()).await.context("the code for a token")?;
        let (client_id, _) = state.get_credentials().await?;
        let manager = state.into_authorization_manager().context("no token")?;
        let client = AuthClient::new(reqwest::Client::default(), manager);
        let config = StreamableHttpClientTransportConfig::with_uri(url);
        let transport = StreamableHttpClientTransport::with_client(client, config);
        Ok((Person::over(url, transport, mode).await?, client_id))
    }

    async fn over(
        url: &str,
        transport: impl Transport<RoleClient> + 'static,
        mode: Mode,
    ) -> anyhow::Result<Person> {
        let lifecycle = match mode {
            Mode::Legacy => ClientLifecycleMode::Initialize,
            Mode::Modern => ClientLifecycleMode::Discover {
                preferred_versions: vec![ProtocolVersion::V_2026_07_28],
            },
        };
        let desk = Desk::default();
        let service = desk.clone().serve_with_lifecycle(transport, lifecycle).await;
        let service = service.with_context(|| format!("connecting to {url}"))?;
        Ok(Person { desk, service })
    }

    /// Calls a tool; elicitations are answered on the way.
    pub(super) async fn call(&self, tool: &str, arguments: &Value) -> Saw {
        let arguments: JsonObject = arguments.as_object().cloned().unwrap_or_default();
        let params = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
        match self.service.call_tool(params).await {
            Ok(result) => Saw::of(&result),
            Err(error) => Saw::failed(&error),
        }
    }

    /// The names of the tools that the person can see.
    pub(super) async fn tools(&self) -> anyhow::Result<Vec<String>> {
        let tools = self.service.list_all_tools().await.context("tools/list")?;
        Ok(tools.into_iter().map(|tool| tool.name.into_owned()).collect())
    }

    /// Ends the connection.
    pub(super) async fn leave(self) {
        // The session's end is a courtesy to the server.
        let _ = self.service.cancel().await;
    }
}

impl Saw {
    fn of(result: &CallToolResult) -> Saw {
        let texts = result.content.iter().filter_map(|block| block.as_text());
        let texts: Vec<&str> = texts.map(|text| text.text.as_str()).collect();
        let text = texts.join("\n");
        if result.is_error == Some(true) {
            let meta = json!(result.meta);
            return Saw::ToolError(text, meta["com.runlayer/refusal"].clone());
        }
        Saw::Result(text, result.structured_content.clone().unwrap_or(Value::Null))
    }

    fn failed(error: &ServiceError) -> Saw {
        if let ServiceError::McpError(error) = error {
            return Saw::Error(
                error.message.to_string(),
                error.data.clone().unwrap_or(Value::Null),
            );
        }
        Saw::Error(error.to_string(), Value::Null)
    }

    /// The refusal's reason, or "".
    pub(super) fn reason(&self) -> &str {
        match self {
            Saw::Result(..) => "",
            Saw::ToolError(_, data) | Saw::Error(_, data) => {
                data["reason"].as_str().unwrap_or_default()
            }
        }
    }

    /// What a person reads.
    pub(super) fn text(&self) -> &str {
        match self {
            Saw::Result(text, _) | Saw::ToolError(text, _) | Saw::Error(text, _) => text,
        }
    }
}
