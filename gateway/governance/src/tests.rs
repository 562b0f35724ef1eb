//! Governance through its door, on a real Postgres; upstreams and other hosts are faked.

mod agents;
mod audit;
mod confirmations;
mod house;
mod learning;
mod operations;
mod refresh;
