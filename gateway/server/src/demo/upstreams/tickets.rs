//! A ticket tracker of the legacy era: `initialize`, sessions, state in memory.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};

use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{Implementation, ProtocolVersion, ServerCapabilities, ServerConfig};
use rmcp::{ServerHandler, tool, tool_handler, tool_router};
use schemars::JsonSchema;
use serde::Deserialize;

#[derive(Clone)]
pub(super) struct Tickets {
    tickets: Arc<Mutex<Vec<Ticket>>>,
}

struct Ticket {
    id: u32,
    title: String,
    open: bool,
}

#[derive(Deserialize, JsonSchema)]
struct List {
    /// Only open tickets.
    open: Option<bool>,
    /// At most so many.
    limit: Option<usize>,
}

#[derive(Deserialize, JsonSchema)]
struct One {
    /// The ticket's number.
    id: u32,
}

#[derive(Deserialize, JsonSchema)]
struct New {
    /// One line.
    title: String,
}

#[tool_router(server_handler = false)]
impl Tickets {
    pub(super) fn new() -> Tickets {
        let titles = ["Printer on fire", "VPN drops every hour", "Cannot export invoices"];
        let tickets = titles.iter().zip(101..).map(|(title, id)| Ticket {
            id,
            title: (*title).to_owned(),
            open: true,
        });
        Tickets { tickets: Arc::new(Mutex::new(tickets.collect())) }
    }

    #[tool(description = "List tickets, newest last", annotations(read_only_hint = true))]
    async fn list_tickets(&self, Parameters(list): Parameters<List>) -> String {
        let tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = tickets.iter().filter(|ticket| ticket.open || list.open != Some(true));
        let lines: Vec<String> = wanted.take(list.limit.unwrap_or(50)).map(Ticket::line).collect();
        lines.join("\n")
    }

    #[tool(description = "Show one ticket", annotations(read_only_hint = true))]
    async fn get_ticket(&self, Parameters(one): Parameters<One>) -> Result<String, String> {
        let tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        let ticket = tickets.iter().find(|ticket| ticket.id == one.id);
        ticket.map(Ticket::line).ok_or_else(|| format!("There is no ticket {}", one.id))
    }

    #[tool(description = "Open a ticket", annotations(destructive_hint = false))]
    async fn create_ticket(&self, Parameters(new): Parameters<New>) -> String {
        let mut tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        let id = 101 + u32::try_from(tickets.len()).unwrap_or(u32::MAX - 101);
        tickets.push(Ticket { id, title: new.title, open: true });
        format!("Opened ticket {id}")
    }

    #[tool(description = "Close a ticket", annotations(destructive_hint = true))]
    async fn close_ticket(&self, Parameters(one): Parameters<One>) -> Result<String, String> {
        let mut tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        let ticket = tickets.iter_mut().find(|ticket| ticket.id == one.id);
        let ticket = ticket.ok_or_else(|| format!("There is no ticket {}", one.id))?;
        ticket.open = false;
        Ok(format!("Closed ticket {}", one.id))
    }
}

impl Ticket {
    fn line(&self) -> String {
        let state = if self.open { "open" } else { "closed" };
        format!("{} {} ({state})", self.id, self.title)
    }
}

#[tool_handler]
impl ServerHandler for Tickets {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("tickets", "1.4.0"))
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        Cow::Borrowed(ProtocolVersion::known_up_to(&ProtocolVersion::V_2025_11_25))
    }
}
