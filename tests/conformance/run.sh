#!/usr/bin/env bash
# The official conformance suite, both requirement sets: first against the fixture alone, then through the
# gateway. Exit code 0 on both, and no scenario may differ between the two.
set -euo pipefail
. "$(dirname "$0")/../clients/world.sh"
suite=$root/tests/conformance

install_npm
start_fixture
port=$(free_port)
start_gateway "$port" "$suite/policies.toml"
TARGET=$gateway API_KEY=$key PORT=$port "$node" "$suite/shim.mjs" >"$world/shim.log" 2>&1 &
children+=($!)
for _ in $(seq 100); do (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break || sleep 0.1; done

# The names of the scenarios that a revision requires of servers, each as " NAME:".
required() {
    sed -n '/^server:/,/^client:/s/^  - \(.*\)$/ \1:/p' "$npm_dir/node_modules/@modelcontextprotocol/conformance/requirements/$1.yaml"
}

# conform NAME URL REVISION: runs a set; leaves the scored scenarios in $world/NAME-REVISION.txt
conform() {
    local status=0 log=$world/$1-$3.log
    mkdir -p "$world/results" && cd "$world/results"
    timeout 600 "$node" "$npm_dir/node_modules/@modelcontextprotocol/conformance/dist/index.js" \
        server --url "$2" --requirements "$3" >"$log" 2>&1 || status=$?
    cd "$root"
    # Lines such as "✓ ping: 3 passed, 0 failed", of the scenarios that the revision requires.
    sed -n '/=== SUMMARY ===/,/^Total:/p' "$log" | grep -F -f <(required "$3") >"$world/$1-$3.txt" || true
    echo "$1, $3: exit $status, $(grep -E '^Total:' "$log" || echo 'no summary')"
    if [ "$status" -ne 0 ]; then sed -n '/=== SUMMARY ===/,$p' "$log"; fi
    return "$status"
}

passed=0
failed=0
for revision in 2025-11-25 2026-07-28; do
    for name in direct gateway; do
        url=$fixture
        [ "$name" = direct ] || url=http://127.0.0.1:$port/api/v1/proxy/fixture/mcp
        if conform "$name" "$url" "$revision"; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
    done
    if [ ! -s "$world/gateway-$revision.txt" ] ||
        ! diff "$world/direct-$revision.txt" "$world/gateway-$revision.txt"; then
        echo "the results through the gateway differ from the direct ones ($revision)"
        failed=$((failed + 1))
    fi
done
echo "conformance: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
