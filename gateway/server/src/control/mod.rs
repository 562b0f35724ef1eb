//! The control plane: one operation, several faces. A face decodes, calls `Governance::perform` and encodes; it holds
//! no permission of its own and no SQL. `tools` is the Runlayer MCP, `rest` the HTTP interface, `oauth` the
//! authorization server, `scim` provisioning; what they have in common is beside them. It never imports the data plane.

pub mod arguments;
mod caller;
#[cfg(test)]
mod coverage;
pub mod health;
pub mod metadata;
pub mod oauth;
pub mod pages;
mod refusal;
pub mod rest;
pub mod scim;
#[cfg(test)]
pub(crate) mod testing;
pub mod tools;
