//! Faces and wiring of the gateway: the data plane in [`proxy`], the control plane in [`control`], and what
//! starts them. `proxy` and `control` never import each other; they share `gateway_governance`.

pub mod app;
pub mod cli;
pub mod config;
pub mod control;
pub mod demo;
pub mod edge;
pub mod exchange;
pub mod fair;
pub mod proxy;
pub mod telemetry;
pub mod turns;
pub mod upstream;
