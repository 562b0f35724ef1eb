//! The plumbing over real sockets.

mod fixture;
mod http1;
mod http2;
mod refused;
mod shutdown;
mod streams;
