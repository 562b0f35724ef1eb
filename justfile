# `just` lists these. ./test and ./demo need no just.

default:
    @just --list

# Everything that must hold before a change lands; the same as CI.
check:
    ./test

# Format, lints and tests, without the conformance suite and the clients.
quick:
    cargo fmt --all
    SQLX_OFFLINE=true cargo clippy --workspace --all-targets -- -D warnings
    SQLX_OFFLINE=true cargo test --workspace

# The walk-through, then it serves: just demo --once
demo *ARGS:
    ./demo {{ARGS}}

# The official conformance suite, direct and through the gateway.
conformance:
    tests/conformance/run.sh

# Real clients through the gateway.
clients:
    tests/clients/run.sh

# Compare direct, nginx and the gateway; takes some minutes.
bench *ARGS:
    tests/bench/run.sh {{ARGS}}
