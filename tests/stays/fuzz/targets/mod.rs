//! The targets. Each gets any bytes and panics when what it promises does not hold; bytes that are refused are fine.

mod address;
mod csv;
mod cursor;
mod envelope;
mod headers;
mod jwt;
mod policy;
mod session;
mod sse;

/// Something that reads bytes of strangers.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&[u8]),
    /// How many mutated inputs every run of the tests gives it: some seconds.
    #[cfg_attr(not(test), expect(dead_code, reason = "libFuzzer counts by itself"))]
    pub(crate) inputs: u64,
    /// What its language is made of.
    #[cfg_attr(not(test), expect(dead_code, reason = "libFuzzer learns words by itself"))]
    pub(crate) words: &'static [&'static [u8]],
}

/// All of them.
pub(crate) const TARGETS: [&Target; 9] = [
    &envelope::TARGET,
    &headers::TARGET,
    &sse::TARGET,
    &session::TARGET,
    &jwt::TARGET,
    &address::TARGET,
    &policy::TARGET,
    &csv::TARGET,
    &cursor::TARGET,
];

pub(crate) fn named(name: &str) -> Option<&'static Target> {
    TARGETS.into_iter().find(|target| target.name == name)
}
