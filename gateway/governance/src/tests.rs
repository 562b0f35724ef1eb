//! Governance through its door, on a real Postgres; upstreams and other hosts are faked.

mod agent_tokens;
mod agents;
mod audit;
mod confirmations;
mod connections;
mod health;
mod house;
mod learning;
mod oauth;
mod operations;
mod provider;
mod provisioning;
mod refresh;
mod servers;
mod sign_in;
mod sign_in_provider;
mod signer;
mod vault;
mod world;
