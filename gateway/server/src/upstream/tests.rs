//! The upstream leg over real sockets.

mod addresses;
mod fetchers;
mod fixture;
mod reading;
mod sending;
