//! The organisation's own scanner as the line asks it: about a message that the built-in one reads as well, and about
//! definitions in it that it has not read yet. What it says is put together with that by `screen`, of definitions by
//! `gateway_governance::tool_list`; how it is reached is `upstream/scanner.rs`'s.

use std::sync::Arc;

use gateway_core::ids::CallId;
use gateway_core::mcp::Method;
use gateway_core::scan::external::{self, Judged};
use gateway_core::scan::{Found, Guard};
use gateway_governance::tool_list::{Silence, Unheard};
use gateway_governance::{Governance, ScannerQuestion};

use super::Proxy;
use super::resolve::Routed;

/// What it is told of the call besides the message. Cheap to clone.
#[derive(Clone)]
pub(super) struct Outside {
    governance: Arc<Governance>,
    call: CallId,
    guard: Guard,
    server: Arc<str>,
    method: Option<Arc<str>>,
    tool: Option<Arc<str>>,
}

/// What it said. The default: it was not asked.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) found: Vec<Found>,
    /// It does not let the message pass.
    pub(super) blocks: bool,
    /// It was asked and gave no answer that makes sense.
    pub(super) missing: bool,
    /// The same about a definition.
    pub(super) silence: Option<Silence>,
}

/// What it is to be asked of a message.
#[derive(Default)]
pub(super) struct Inquiry {
    /// A JSON text that was checked before.
    pub(super) message: Option<String>,
    /// Definitions in it that it has not read.
    pub(super) definitions: Option<Unheard>,
}

impl Outside {
    /// About what the request carries, or its answer.
    pub(super) fn of(routed: &Routed, guard: Guard, proxy: &Proxy) -> Outside {
        let call = routed.understood.call();
        let calls_tool = |call: &&gateway_core::mcp::Call| call.method == Some(Method::CallTool);
        let tool = call.filter(calls_tool).and_then(|call| call.target.as_deref());
        let method = call.map(|call| call.method_name.as_str()).filter(|name| !name.is_empty());
        Outside {
            governance: proxy.governance.clone(),
            call: routed.understood.identified.received.receipt.call,
            guard,
            server: routed.server.slug.as_str().into(),
            method: method.map(Arc::from),
            tool: tool.map(Arc::from),
        }
    }

    /// Asks about both.
    pub(super) async fn inquire(&self, inquiry: Inquiry) -> Told {
        let mut told = match &inquiry.message {
            Some(message) => self.ask(message).await,
            None => Told::default(),
        };
        if let Some(definitions) = inquiry.definitions {
            let heard = self.governance.hear(definitions, self.call, self.method.as_deref()).await;
            told.silence = heard.err();
        }
        told
    }

    /// Asks about a JSON text that was checked before.
    pub(super) async fn ask(&self, message: &str) -> Told {
        let texts = external::texts(message);
        if texts.is_empty() {
            return Told::default();
        }
        let question = ScannerQuestion {
            version: 1,
            correlation_id: self.call,
            guard: self.guard,
            server: &self.server,
            method: self.method.as_deref(),
            tool: self.tool.as_deref(),
            texts: &texts,
            message,
        };
        // Settings that want one where none is configured want it all the same.
        let Some(scanner) = self.governance.scanner() else { return Told::missing() };
        match scanner.ask(&question).await {
            Ok(Judged { found, blocks }) => Told { found, blocks, ..Told::default() },
            Err(_told) => Told::missing(),
        }
    }
}

impl Told {
    fn missing() -> Told {
        Told { missing: true, ..Told::default() }
    }
}
