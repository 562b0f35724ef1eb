//! The store's promises, on a real Postgres; one file a noun.

mod confirmation;
mod desired_state;
mod learned;
mod limit;
mod opening;
mod shared;
