//! A payment service with a tool that nobody wants to be called by accident.

use std::sync::{Arc, Mutex, PoisonError};

use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{Implementation, ServerCapabilities, ServerConfig};
use rmcp::{ServerHandler, tool, tool_handler, tool_router};
use schemars::JsonSchema;
use serde::Deserialize;

#[derive(Clone)]
pub(super) struct Payments {
    payments: Arc<Mutex<Vec<Payment>>>,
}

struct Payment {
    id: &'static str,
    customer: &'static str,
    cents: u64,
    refunded: u64,
}

#[derive(Deserialize, JsonSchema)]
struct One {
    /// For instance P-2001.
    payment: String,
}

#[derive(Deserialize, JsonSchema)]
struct Refund {
    /// For instance P-2001.
    payment: String,
    /// Whole euros to give back.
    amount: u64,
}

#[tool_router(server_handler = false)]
impl Payments {
    pub(super) fn new() -> Payments {
        let payment = |id, customer, cents| Payment { id, customer, cents, refunded: 0 };
        let payments = vec![
            payment("P-2001", "Ada's Bakery", 12_900),
            payment("P-2002", "Northwind", 480_000),
            payment("P-2003", "Harbour Books", 3_450),
        ];
        Payments { payments: Arc::new(Mutex::new(payments)) }
    }

    #[tool(description = "List payments", annotations(read_only_hint = true))]
    async fn list_payments(&self) -> String {
        let payments = self.payments.lock().unwrap_or_else(PoisonError::into_inner);
        let lines: Vec<String> = payments.iter().map(Payment::line).collect();
        lines.join("\n")
    }

    #[tool(description = "Show one payment", annotations(read_only_hint = true))]
    async fn get_payment(&self, Parameters(one): Parameters<One>) -> Result<String, String> {
        let payments = self.payments.lock().unwrap_or_else(PoisonError::into_inner);
        let payment = payments.iter().find(|payment| payment.id == one.payment);
        payment.map(Payment::line).ok_or_else(|| format!("There is no payment {}", one.payment))
    }

    #[tool(
        description = "Give money back to the customer",
        annotations(destructive_hint = true, idempotent_hint = false)
    )]
    async fn refund(&self, Parameters(refund): Parameters<Refund>) -> Result<String, String> {
        let mut payments = self.payments.lock().unwrap_or_else(PoisonError::into_inner);
        let payment = payments.iter_mut().find(|payment| payment.id == refund.payment);
        let payment = payment.ok_or_else(|| format!("There is no payment {}", refund.payment))?;
        let cents = refund.amount.saturating_mul(100);
        if payment.refunded.saturating_add(cents) > payment.cents {
            return Err(format!("{} has less than that left", payment.id));
        }
        payment.refunded += cents;
        Ok(format!("Refunded {} EUR of {} to {}", refund.amount, payment.id, payment.customer))
    }
}

impl Payment {
    fn line(&self) -> String {
        let euros = |cents: u64| format!("{}.{:02} EUR", cents / 100, cents % 100);
        let (whole, back) = (euros(self.cents), euros(self.refunded));
        format!("{} {} {whole}, {back} refunded", self.id, self.customer)
    }
}

#[tool_handler]
impl ServerHandler for Payments {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("payments", "0.9.3"))
    }
}
