//! The fuzz targets under libFuzzer, which looks for inputs that reach code no other has reached. `fuzz.sh` builds it;
//! `FUZZ_TARGET` names the target.
#![no_main]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a broken promise is a panic here")]

use std::sync::LazyLock;

mod reading;
#[path = "fuzz/targets/mod.rs"]
mod targets;

static TARGET: LazyLock<&targets::Target> = LazyLock::new(|| {
    let names = targets::TARGETS.map(|target| target.name).join(", ");
    let named = std::env::var("FUZZ_TARGET").ok().and_then(|name| targets::named(&name));
    named.unwrap_or_else(|| panic!("FUZZ_TARGET: expected one of {names}"))
});

libfuzzer_sys::fuzz_target!(|input: &[u8]| (TARGET.run)(input));
