//! Governance through its door, on a real Postgres; upstreams and other hosts are faked.

mod agent_tokens;
mod agents;
mod audit;
mod confirmations;
mod house;
mod learning;
mod oauth;
mod operations;
mod provisioning;
mod refresh;
