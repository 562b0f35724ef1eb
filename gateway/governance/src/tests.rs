//! Governance through its door, on a real Postgres; upstreams and other hosts are faked.

mod audit;
mod confirmations;
mod connections;
mod house;
mod learning;
mod oauth;
mod operations;
mod refresh;
mod vault;
mod world;
