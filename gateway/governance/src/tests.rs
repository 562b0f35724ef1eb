//! Governance through its door, on a real Postgres; upstreams and other hosts are faked.

mod agent_tokens;
mod agents;
mod analytics;
mod audit;
mod confirmations;
mod connections;
mod duty;
mod health;
mod house;
mod learning;
mod limits;
mod oauth;
mod operations;
mod people;
mod policies;
mod provider;
mod provisioning;
mod refresh;
mod replay;
mod sensitive;
mod servers;
mod sign_in;
mod sign_in_provider;
mod signer;
mod vault;
mod world;
