//! Governance through its door, on a real Postgres; upstreams and other hosts are faked.

mod access_requests;
mod agent_tokens;
mod agents;
mod audit;
mod confirmations;
mod connections;
mod house;
mod learning;
mod notices;
mod oauth;
mod operations;
mod provider;
mod provisioning;
mod refresh;
mod sign_in;
mod sign_in_provider;
mod signer;
mod vault;
mod world;
