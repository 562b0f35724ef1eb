//! The rig: what the gateway's tests stand on. Everything is real: processes, sockets, Postgres. Start
//! with [`rig::check`]; the parts can be used alone. It knows the gateway only from outside: its command
//! line, its addresses, its tables.

#![expect(clippy::expect_used, reason = "a rig that cannot do its work must end the test")]
#![recursion_limit = "256"]

pub mod auditor;
pub mod breaker;
pub mod browser;
pub mod client;
pub mod fixture;
pub mod gateway;
pub mod guarded;
pub mod haproxy;
pub mod idp;
pub mod postgres;
pub mod process;
pub mod random;
pub mod rig;
pub mod scanner;
pub mod scissors;
pub mod serve;
pub mod upstream;
pub mod wait;
pub mod webhook;

/// reqwest is built without a TLS provider of its own.
pub fn install_crypto() {
    // Another test of this process may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
