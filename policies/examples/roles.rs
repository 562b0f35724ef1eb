//! Prints `policies/roles.md`: `cargo run -q -p policies --example roles > policies/roles.md`.
#![expect(clippy::print_stdout, reason = "this is what it is for")]

use policies::PolicySet;

fn main() -> Result<(), Vec<policies::Problem>> {
    print!("{}{}", include_str!("../src/roles_head.md"), PolicySet::compile(&[])?.role_table());
    Ok(())
}
