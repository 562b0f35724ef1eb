//! That it stays so: what was promised, asked of many inputs that a machine makes up.
//!
//! `diff` compares what is authorised with what other JSON parsers read, `fuzz` throws mutated inputs at everything that
//! reads bytes of strangers, `models` searches all orders of events of two protocols, `planted` keeps the patches of
//! `just planted` applicable. Everything is seeded and counted: the same inputs on every machine. Longer runs:
//! `just diff`, `just fuzz`.

#[cfg(test)]
mod diff;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod models;
#[cfg(test)]
mod planted;
#[cfg(test)]
mod random;
#[cfg(test)]
mod reading;
