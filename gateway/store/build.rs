//! Makes cargo see a new migration: the list of them is read when the crate is compiled.

use std::io::Write;

fn main() -> std::io::Result<()> {
    writeln!(std::io::stdout(), "cargo:rerun-if-changed=../../migrations")
}
