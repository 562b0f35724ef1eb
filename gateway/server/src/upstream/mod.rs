//! The upstream leg: the only code that opens connections to other hosts.
//!
//! [`entry`] lets a call in where its server has answered lately ([`breaker`]) and there is a place left for its caller.
//! [`Leg::send`] takes one request to one server over a pooled HTTP client; [`connect`] resolves names and
//! opens sockets, and asks [`Guard`] about every address at that moment. [`reader`] asks servers on the
//! gateway's own account (eras, listings), [`fetch`] gets key sets, [`mail`] hands over letters,
//! [`scanner`] asks the organisation's own scanner. Knows nothing of policies or audit.

mod address;
mod breaker;
mod connect;
mod entry;
mod failure;
mod fetch;
mod leg;
mod mail;
mod reader;
mod scanner;
mod talk;
#[cfg(test)]
mod tests;

pub use address::{AddressRefused, Guard};
pub use breaker::BreakerSettings;
pub use connect::{Resolve, SystemResolver};
pub use entry::{Entry, TurnedAway};
pub use failure::LegError;
pub use leg::{Leg, LegBody, LegSettings, Local};
pub use mail::{MailLeg, MailSettings};
pub use scanner::{ScannerLeg, ScannerSettings};
