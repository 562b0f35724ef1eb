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
    tests/conformance/client.sh
    tests/conformance/authorization.sh

# Faults for longer, from a seed: processes are killed, networks break, replicas restart. Each test with rounds goes on
# for so many seconds.
chaos SECONDS="120" SEED="":
    SQLX_OFFLINE=true GATEWAY_TEST_SECONDS={{SECONDS}} GATEWAY_TEST_SEED={{SEED}} \
        cargo test -p gateway-tests --test it faults:: -- --nocapture --test-threads 1

# A flood of bad tokens, and what it leaves in the trail.
flood COUNT="1000000":
    SQLX_OFFLINE=true GATEWAY_TEST_FLOOD={{COUNT}} \
        cargo test -p gateway-tests --test it faults::flood -- --nocapture

# Real clients through the gateway.
clients:
    tests/clients/run.sh

# The pages in a real browser; PAGES_SHOTS=DIR keeps the screenshots.
pages:
    tests/pages/run.sh

# Image, chart, alerts and dashboard, without a cluster: just deploy "chart, full"
deploy ONLY="":
    tests/deploy/run.sh "{{ONLY}}"

# Dependencies as deny.toml says, advisories included; needs cargo-deny and the network.
deny:
    cargo deny --locked check

# Compare direct, nginx and the gateway; takes some minutes and needs nginx: just bench [pinned] [SECONDS [ROUNDS [PART...]]]
# Others: just bench half [SECONDS], just bench trail [SECONDS], just bench idle [STREAMS]
bench *ARGS:
    SQLX_OFFLINE=true cargo build --release --workspace
    GATEWAY_BIN="$PWD/target/release/gateway" target/release/bench {{ARGS}}

# What twice and five times the capacity do; takes some minutes: just chaos-load [SECONDS]
chaos-load *ARGS:
    SQLX_OFFLINE=true cargo build --release --workspace
    GATEWAY_BIN="$PWD/target/release/gateway" target/release/bench overload {{ARGS}}

# How long each analytics dataset takes on five million events; takes some minutes.
bench-analytics *ARGS:
    SQLX_OFFLINE=true cargo run --release -p gateway-tests --bin analytics -- {{ARGS}}

# A million made-up bodies (or COUNT): does every parser read what was authorised? Some minutes.
diff COUNT="1000000" SEED="20260728":
    DIFF_BODIES={{COUNT}} DIFF_SEED={{SEED}} SQLX_OFFLINE=true cargo test --workspace --test stays diff -- --nocapture

# Let libFuzzer look for inputs that break a target (a folder of tests/stays/fuzz/corpus).
fuzz TARGET SECONDS="60":
    tests/stays/fuzz.sh {{TARGET}} {{SECONDS}}

# Build faults in, one at a time (A1, A3, C6, E2): the tests must fail. Takes some minutes.
planted ID="":
    PLANTED={{ID}} SQLX_OFFLINE=true cargo test --workspace --test stays planted -- --ignored --nocapture

# Count instructions of the inner loops and compare with tests/bench/instructions; needs valgrind. --write keeps them.
instructions *ARGS:
    SQLX_OFFLINE=true cargo build --release --workspace --bin instructions
    target/release/instructions {{ARGS}}

# Write down what the SQL was checked against; needs an empty database: just sqlx postgres://...
sqlx URL:
    for file in migrations/*.sql; do psql -q -v ON_ERROR_STOP=1 -1 -f "$file" {{URL}}; done
    rm -rf .sqlx && mkdir .sqlx && touch gateway/store/src/lib.rs
    SQLX_OFFLINE=false SQLX_OFFLINE_DIR="$PWD/.sqlx" DATABASE_URL={{URL}} cargo check -p gateway-store --all-targets
