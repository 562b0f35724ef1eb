#!/usr/bin/env bash
# fuzz.sh TARGET [SECONDS]: libFuzzer on one target, from the kept corpus, with the stable toolchain. Needs a C++ compiler.
# New inputs are kept in target/fuzz/TARGET; one that breaks a promise is written there as crash-*, and printed: put it
# into the corpus, with a name that says what it is, and mend.
set -euo pipefail
cd "$(dirname "$0")/../.."

target=${1:?expected a target: see tests/stays/fuzz/corpus}
seconds=${2:-60}
corpus=tests/stays/fuzz/corpus/$target
[ -d "$corpus" ] || { echo "there is no $corpus" >&2; exit 2; }
found=target/fuzz/$target
mkdir -p "$found"

# What reports to libFuzzer which code ran. For the program alone, not for what runs while it is built: hence --target.
host=$(rustc -vV | sed -n 's/^host: //p')
cover="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
cover="$cover -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
RUSTFLAGS="$cover" CARGO_PROFILE_DEV_OPT_LEVEL=1 SQLX_OFFLINE=true cargo build --quiet --target "$host" \
    --target-dir target/fuzz/build --package gateway-tests --features libfuzzer --bin fuzz

FUZZ_TARGET=$target "target/fuzz/build/$host/debug/fuzz" -max_total_time="$seconds" -max_len=4096 -timeout=10 \
    -print_final_stats=1 -artifact_prefix="$found/" "$found" "$corpus"
