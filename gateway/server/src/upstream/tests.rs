//! The upstream leg over real sockets.

mod addresses;
mod fetchers;
mod fixture;
mod mail;
mod reading;
mod scanner;
mod sending;
