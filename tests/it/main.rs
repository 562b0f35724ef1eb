//! The integration tests: one binary, one file for each subject. Each test has a world of its own (see
//! `gateway_tests::rig`) and is audited at its end.

#[cfg(test)]
mod access;
#[cfg(test)]
mod agents;
#[cfg(test)]
mod attacks;
#[cfg(test)]
mod bytes;
#[cfg(test)]
mod confirm;
#[cfg(test)]
mod connect;
#[cfg(test)]
mod definitions;
#[cfg(test)]
mod eras;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod flow;
#[cfg(test)]
mod house;
#[cfg(test)]
mod identity;
#[cfg(test)]
mod kept;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod others;
#[cfg(test)]
mod outside;
#[cfg(test)]
mod overload;
#[cfg(test)]
mod policies;
#[cfg(test)]
mod prompts;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod rig_itself;
#[cfg(test)]
mod scanner_settings;
#[cfg(test)]
mod scanning;
#[cfg(test)]
mod scopes;
#[cfg(test)]
mod servers;
#[cfg(test)]
mod sign_in;
#[cfg(test)]
mod smoke;
#[cfg(test)]
mod tasks;
#[cfg(test)]
mod telemetry;
