//! The store's promises, on a real Postgres; one file a noun.

mod access_request;
mod confirmation;
mod definition;
mod desired_state;
mod flow;
mod learned;
mod limit;
mod opening;
mod people;
mod policy;
mod scanner;
mod server;
mod shared;
