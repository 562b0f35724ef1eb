//! The upstream leg over real sockets.

mod addresses;
mod fixture;
mod reading;
mod sending;
