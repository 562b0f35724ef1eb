//! The binary: everything is in the library, so that tests run the same code.

use std::process::ExitCode;

/// Takes 15 to 22 % off the CPU time of a call.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    gateway_server::cli::main(std::env::args_os(), std::env::vars_os())
}
